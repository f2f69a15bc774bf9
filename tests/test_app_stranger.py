"""The stranger's script: from the first page to a link for a friend, each step at most two clicks from where the last ended."""

import re

import pytest
from browser import READY, Server, wait

import ffcore
from ffcore import runs

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
BROKEN = "ref-pcl-mnist"


class Reader:
    """A tab whose clicks are counted, step by step."""

    def __init__(self, tab):
        self.tab, self.clicks = tab, 0

    def click(self, role: str, name: str | re.Pattern) -> None:
        self.tab.get_by_role(role, name=name).first.click()
        self.clicks += 1

    def arrived(self, step: str) -> None:
        """The next step begins here."""
        assert self.clicks <= 2, f"{step} took {self.clicks} clicks"
        self.clicks = 0

    def sees(self, text: str | re.Pattern) -> None:
        self.tab.get_by_text(text).first.wait_for()


@pytest.fixture
def fresh(chromium, tmp_path):
    """The dashboard on a new machine; what the stranger trains is stopped."""
    made = Server(tmp_path)
    yield made
    for run in runs.list_runs(made.root, bundled=False):
        if run.state in runs.LIVE:
            ffcore.stop(run)
    made.kill()


def draw_a_seven(tab) -> None:
    box = tab.get_by_role("application").bounding_box()
    x, y, side = box["x"], box["y"], box["width"]
    tab.mouse.move(x + 0.28 * side, y + 0.25 * side)
    tab.mouse.down()
    for across, down in ((0.72, 0.25), (0.45, 0.8)):
        tab.mouse.move(x + across * side, y + down * side, steps=12)
    tab.mouse.up()


def test_draw_break_understand_mend_and_send(chromium, fresh):
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    tab.set_default_timeout(30_000)
    reader = Reader(tab)
    tab.goto(fresh.url)

    reader.click("button", "Draw your own")
    tab.get_by_role("application").wait_for()
    tab.locator(READY).wait_for()
    draw_a_seven(tab)
    reader.arrived("drawing a 7")

    reader.sees(re.compile("On screen: your drawing"))
    reader.sees(re.compile("reads 7$"))
    reader.sees(re.compile(r"layer \d prefers 7", re.IGNORECASE))
    assert tab.locator(".goodness td.win").count() >= 2  # the label that excites each layer most
    reader.arrived("seeing why it is a 7")

    reader.click("link", "Break one")
    tab.wait_for_url(re.compile(f"/health.*run={BROKEN}"))
    reader.arrived("breaking PCL")

    reader.sees(re.compile(r"of [\d,]+ units are dead"))
    reader.sees(re.compile("What they died of"))
    tab.get_by_role("heading", name=re.compile("^Unit .* of layer")).wait_for()
    reader.arrived("seeing which units died and why")

    reader.click("button", "Fix it")
    tab.wait_for_url(re.compile("/train"))
    assert "model=pcl" in tab.url
    tab.get_by_role("button", name="Start training").wait_for()
    wait(lambda: tab.get_by_role("button", name="Start training").is_enabled(), 20, "it cannot be started")
    reader.click("button", "Start training")
    tab.wait_for_url(re.compile("/live"))
    reader.arrived("mending it")
    (mended,) = runs.list_runs(fresh.root, bundled=False)
    assert mended.config["model"]["name"] == "pcl"

    reader.click("button", "Share and repeat")
    reader.click("button", "Copy link to this view")
    tab.get_by_role("button", name="Copied").wait_for()
    reader.arrived("copying the link")
    link = tab.evaluate("navigator.clipboard.readText()")
    assert link == tab.url
    friend = chromium.new_context().new_page()
    friend.goto(link)
    friend.get_by_text(mended.id).first.wait_for()
    context.close()
