"""Every page of the dashboard in a real Chromium, as on a new machine: the bundled nets, no data, no runs of one's own.

The pages are read from the navigation, so a new one falls under this by itself.
"""

import re
import shutil
from pathlib import Path
from urllib.parse import urlparse

import pytest
from browser import READY, Server, wait

Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

APP = Path(__file__).resolve().parents[1] / "app"
PAGES = re.findall(r'st\.Page\("views/(\w+)\.py"', (APP / "main.py").read_text("utf-8"))
SECTIONS = {
    name: section
    for section, pages in re.findall(r'"(\w+)": \[(.*?)\]', (APP / "main.py").read_text("utf-8"), re.DOTALL)
    for name in PAGES
    if f'"views/{name}.py"' in pages
}
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
VIEW = """() => {
  const main = document.querySelector("[data-testid='stMain']"), words = main.cloneNode(true);
  words.querySelectorAll("style, script, .live-room, [data-testid='stPopover']").forEach((part) => part.remove());
  const all = (what, told) => [...main.querySelectorAll(what)].map(told);
  const values = all("input, textarea, [role='slider']", (part) => part.getAttribute("aria-valuetext") ?? part.value);
  const pictures = all("img", (part) => part.src.startsWith("data:") ? part.src : part.alt);
  return JSON.stringify([words.textContent.replace(/\\s+/g, " ").trim(), values, pictures]);
}"""


@pytest.fixture(scope="module")
def bare(chromium, tmp_path_factory):
    """The dashboard on a machine that has never trained anything."""
    made = Server(tmp_path_factory.mktemp("bare"))
    yield made
    made.kill()
    shutil.rmtree(made.root, ignore_errors=True)


def tab_of(chromium, folder) -> "object":
    """A tab of a browser of its own, which notes what it asks for and complains about."""
    tab = chromium.new_context(viewport=WIDE, color_scheme="light").new_page()
    tab.asked, tab.broken = set(), []
    tab.on("console", lambda message: tab.broken.append(message.text) if message.type == "error" else None)
    tab.on("request", lambda request: tab.asked.add(request.url))
    tab.on("websocket", lambda socket: tab.asked.add(socket.url))
    tab.on("pageerror", lambda error: tab.broken.append(str(error)))
    tab.set_default_timeout(30_000)
    return tab


@pytest.fixture(scope="module")
def reader(chromium, bare):
    return tab_of(chromium, bare)


@pytest.fixture(scope="module")
def stranger(chromium, bare):
    """Whoever gets a link: another browser, which has never seen the page."""
    return tab_of(chromium, bare)


def still(tab) -> None:
    """Wait until the script has ended and what it has drawn has come."""
    tab.locator("[data-testid='stMain'] h1").first.wait_for()
    tab.locator(READY).wait_for()
    tab.wait_for_timeout(250)  # a click's rerun begins a moment after it
    tab.locator(READY).wait_for()


def findings(tab, **options) -> list[str]:
    """What axe calls serious or critical, a line each."""
    told = Axe().run(tab, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [
        f"{one['id']}: {one['help']}: " + " | ".join(node["html"][:160] for node in one["nodes"][:4])
        for one in told
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_readable_and_local_and_its_address_shows_the_same_to_others(bare, reader, stranger, name):
    """No exception, nothing on the console, no other host, nothing serious in axe in light or dark, no sideways scrolling.

    Then something is chosen; whoever opens the address then sees the same words.
    """
    reader.broken.clear()
    stranger.broken.clear()
    reader.set_viewport_size(WIDE)
    reader.emulate_media(color_scheme="light")
    reader.goto(f"{bare.url}/{'' if name == 'start' else name}?live=0")
    still(reader)
    light = findings(reader)
    reader.emulate_media(color_scheme="dark")
    wait(lambda: dark_of(reader), 5, "the page did not turn dark")
    dark = findings(reader, runOnly=["color-contrast"])
    reader.set_viewport_size(PHONE)
    still(reader)
    wide = reader.locator("[data-testid='stMain']").evaluate("n => n.scrollWidth - n.clientWidth")
    reader.set_viewport_size(WIDE)
    choose_another(reader)
    still(reader)
    stranger.goto(reader.url)
    still(stranger)
    both = (reader, stranger)
    wait(lambda: len({tab.evaluate(VIEW) for tab in both}) == 1, 20, f"{reader.url} shows something else to others")
    hosts = {urlparse(url).hostname for url in reader.asked if urlparse(url).scheme not in ("data", "blob", "about")}
    assert (light, dark) == ([], [])
    assert wide <= 0, f"{wide} px too wide for a phone"
    assert hosts == {"127.0.0.1"}
    assert [tab.locator("[data-testid='stException']").count() for tab in both] == [0, 0]
    assert reader.broken + stranger.broken == []


def test_every_page_about_a_run_of_ones_own_is_reached_by_the_navigation_and_fits_a_phone(server, reader):
    """The same with a run on other images than the bundled ones, from page to page as a reader goes."""
    reader.broken.clear()
    reader.set_viewport_size(WIDE)
    reader.goto(server.url)
    still(reader)
    wrong = {}
    for name in PAGES[1:]:
        reader.set_viewport_size(WIDE)
        reader.get_by_test_id("stTopNavSection").filter(has_text=SECTIONS[name]).click()
        reader.locator(f"[data-testid='stTopNavDropdownLink'][href$='/{name}']").click()
        reader.wait_for_url(re.compile(rf"/{name}\b"))
        still(reader)
        reader.set_viewport_size(PHONE)
        still(reader)
        wide = reader.locator("[data-testid='stMain']").evaluate("n => n.scrollWidth - n.clientWidth")
        broken = reader.locator("[data-testid='stException']").count()
        if wide > 0 or broken or reader.broken:
            wrong[name] = f"{wide} px too wide, {broken} exceptions, {reader.broken}"
    assert wrong == {}


def dark_of(tab) -> bool:
    return tab.evaluate("() => getComputedStyle(document.querySelector(\"[data-testid='stApp']\")).colorScheme == 'dark'")


def choose_another(tab) -> None:
    """Take another option of the first choice on the page, if there is one."""
    main = tab.locator("[data-testid='stMain']")
    others = main.locator("[data-testid='stButtonGroup'] [data-variant]:not([data-selected='true'])")
    if others.count():
        others.first.click()
    elif main.get_by_role("combobox").count():
        main.get_by_role("combobox").first.click()
        options = tab.get_by_role("option")
        options.first.wait_for()
        options.nth(min(1, options.count() - 1)).click()
