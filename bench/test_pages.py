"""`make bench`: how soon a page is there, in Chromium, over a server on two cores with the bundled nets and no other run.

Painted: heading, digit and heat map are on the screen with a size, seen from within the page at the next frame; counted from
the start of the navigation. Cold: a new server and a new browser profile; warm: the same tab's context has been there before.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys

import pytest
from browser import FLAGS, READY, Server

from ffcore.serve import app_folder

PAGES = [name for name in re.findall(r'"views/(\w+)\.py"', (app_folder() / "main.py").read_text()) if name != "start"]
WATCH = """
const shown = (selector) => [...document.querySelectorAll(selector)].some((n) =>
  n.getBoundingClientRect().height > 0 && (n.tagName !== "IMG" || (n.complete && n.naturalWidth)));
const wanted = SELECTORS, look = () => {
  if (wanted.every(shown)) window.painted ??= performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
window.shifted = 0;
new PerformanceObserver((list) => list.getEntries().forEach((e) => { if (!e.hadRecentInput) window.shifted += e.value; }))
  .observe({ type: "layout-shift", buffered: true });
"""
START = ["h1", ".goodness table", "[data-testid='stMain'] img"]
SCRIPT = """
import json, sys, time
from streamlit.testing.v1 import AppTest
from ffcore.serve import app_folder
at = AppTest.from_file(str(app_folder() / "main.py"), default_timeout=60)
times = []
for _ in range(3):
    begin = time.perf_counter()
    at.run()
    times.append(time.perf_counter() - begin)
    assert not at.exception
    torch = "torch" in sys.modules
    assert at.title[0].value.startswith("A net that learns")
    if _ == 0: first = torch
print(json.dumps({"first": times[0], "again": min(times[1:]), "torch": first}))
"""


@pytest.fixture(scope="module")
def playwright():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as made:
        yield made


@pytest.fixture(scope="module")
def chromium(playwright):
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine; Debian's package is called chromium")
    browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
    yield browser
    browser.close()


def painted(context, address: str, selectors: list[str]) -> tuple[float, float, float]:
    """(seconds to first meaningful paint, to the end of the script, layout shift) of one visit."""
    tab = context.new_page()
    tab.add_init_script(WATCH.replace("SELECTORS", json.dumps(selectors)))
    tab.goto(address)
    tab.wait_for_function("window.painted", timeout=60_000)
    tab.locator(READY).wait_for(timeout=60_000)
    done = tab.evaluate("performance.now()") / 1000
    tab.wait_for_timeout(500)  # what still moves
    told = tab.evaluate("painted") / 1000, done, tab.evaluate("shifted")
    tab.close()
    return told


@pytest.mark.timeout(600)
def test_start_is_painted(benchmark, tell, chromium, tmp_path):
    cold, warm, shifts = [], [], []

    def visit():
        folder = tmp_path / str(len(cold))
        folder.mkdir()
        server, context = Server(folder), chromium.new_context(viewport={"width": 1280, "height": 900})
        try:
            cold.append(painted(context, server.url, START)[0])
            for _ in range(3):
                seconds, _, shift = painted(context, server.url, START)
                warm.append(seconds)
                shifts.append(shift)
        finally:
            context.close()
            server.kill()

    benchmark.pedantic(visit, rounds=3)
    tell("Start, first meaningful paint, cold", statistics.median(cold), "s", cold)
    tell("Start, first meaningful paint, warm", statistics.median(warm), "s", warm)
    tell("Start, layout shift", max(shifts), "(at most 0.1 is good)", shifts)


@pytest.mark.timeout(300)
def test_starts_script(benchmark, tell):
    """In a fresh process, without a browser."""
    told = []

    def once():
        out = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
        told.append(json.loads(out.splitlines()[-1]))

    benchmark.pedantic(once, rounds=5)
    for key, name in (("first", "Start's script, the first time"), ("again", "Start's script, again")):
        tell(name, statistics.median(one[key] for one in told), "s", [one[key] for one in told])
    tell(
        "Start's script imports torch",
        float(any(one["torch"] for one in told)),
        "(0: no)",
        [float(one["torch"]) for one in told],
    )


@pytest.mark.timeout(900)
def test_every_other_page(benchmark, tell, chromium, tmp_path):
    """Warm: the heading is there; and the script has ended."""
    (tmp_path / "pages").mkdir()
    server, context = Server(tmp_path / "pages"), chromium.new_context(viewport={"width": 1280, "height": 900})
    times: dict[str, list[tuple[float, float, float]]] = {}

    def round_trip():
        for name in PAGES:
            times.setdefault(name, []).append(painted(context, f"{server.url}/{name}?live=0", ["h1"]))

    try:
        benchmark.pedantic(round_trip, rounds=2, warmup_rounds=1)
    finally:
        context.close()
        server.kill()
    for name, visits in times.items():
        for word, values in zip(("heading", "whole script"), list(zip(*visits[1:], strict=True))[:2], strict=True):
            tell(f"{name}, {word}", statistics.median(values), "s", list(values))
