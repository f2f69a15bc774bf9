"""Pictures of every page of the dashboard, with the bundled nets: `python docs/screenshots.py` (or `make screenshots`).

What the README shows goes into docs/, the rest into docs/screens/, which stays out of git. `--all` adds every page in dark
and 390 pixels wide.
"""

import argparse
import io
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import ffcore

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from browser import FLAGS, READY, Server, wait  # noqa: E402  (what the browser tests use)

PAGES = re.findall(r'st\.Page\("views/(\w+)\.py"', (HERE.parent / "app" / "main.py").read_text("utf-8"))
README = set(re.findall(r"\(docs/(\w+)\.(?:png|gif)\)", (HERE.parent / "README.md").read_text("utf-8")))
ASKED = {  # page → what its address says besides; without: what a reader sees first
    "draw": "run=ff-mnist&beside=ff-threshold-mnist",
    "replay": "run=ff-mnist&beside=backprop-mnist&epoch=0",
    "negatives": "digit=3&strategy=image_mixing",
    "variants": "model=pcl",
}
TALLEST = {"start": 860, "draw": 1180, "replay": 1250, "negatives": 1720, "variants": 1500, "health": 1250, "embeddings": 1100}
EPOCHS = 7  # of the runs that Replay shows
LOOKS = {"": (1280, "light"), "-dark": (1280, "dark"), "-phone": (390, "light"), "-phone-dark": (390, "dark")}


def keep(page: Page, file: Path) -> None:
    """The picture on screen as a PNG of 256 colours, a third as large as Chromium's."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        file.parent.mkdir(exist_ok=True)
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def moving(page: Page, file: Path) -> None:
    """Every epoch of Replay as an animated GIF, two thirds as large, that stops after three rounds."""
    frames = []
    for epoch in range(EPOCHS + 1):
        if epoch:
            page.get_by_role("button", name="one step on").click()
            page.wait_for_timeout(400)
        with Image.open(io.BytesIO(page.screenshot())) as image:
            small = image.convert("RGB").resize((2 * image.width // 3, 2 * image.height // 3), Image.Resampling.LANCZOS)
            frames.append(small.quantize(256, dither=Image.Dither.NONE))
    first, *others = frames
    pauses = [1_500, *[700] * (len(others) - 1), 3_000]
    first.save(file, save_all=True, append_images=others, duration=pauses, loop=2, optimize=True)


def still(page: Page) -> None:
    """Wait for the script's end, for charts and for pictures."""
    page.locator("[data-testid='stMain'] h1").first.wait_for()
    page.locator(READY).wait_for()
    page.wait_for_function("() => [...document.querySelectorAll('.live-chart')].every(chart => chart._fullLayout)")
    page.wait_for_timeout(1_500)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("pages", nargs="*", help="these only; default: all")
    asked.add_argument("--all", action="store_true", help="in dark and on a phone, too")
    told = asked.parse_args()
    if odd := set(told.pages) - set(PAGES):
        asked.error(f"no page {min(odd)}; there are {', '.join(PAGES)}")
    looks = LOOKS if told.all else {"": LOOKS[""]}
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        os.environ["FFCORE_RUNS"] = str(server.root)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                for name in told.pages or PAGES:
                    for look, (width, scheme) in looks.items():
                        page = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme)
                        page.set_default_timeout(60_000)
                        shoot(page, server.url, name, look)
                        page.close()
                browser.close()
        finally:
            server.kill()


def shoot(page: Page, address: str, name: str, look: str) -> None:
    """One page as it is at first, Live with a net that is learning; as high as it is, or as the README has room for."""
    query, run = ASKED.get(name, ""), None
    if name == "live":
        run = ffcore.submit(data="mnist-5k", epochs=1_000)
        wait(lambda: run.status()["step"] > 600, 120, "the run did not start")
        query = f"run={run.id}"
    page.goto(f"{address}/{'' if name == 'start' else name}?{query}")
    still(page)
    high = page.locator("[data-testid='stMain']").evaluate("n => n.scrollHeight")
    most = TALLEST.get(name, 3_000) if page.viewport_size["width"] > 1_000 else 6_000
    page.set_viewport_size({"width": page.viewport_size["width"], "height": min(high + 60, most)})
    still(page)
    if name == "replay" and not look:
        moving(page, HERE / "replay.gif")
    else:
        keep(page, (HERE if name in README and not look else HERE / "screens") / f"{name}{look}.png")
    if run:
        ffcore.stop(run)
        time.sleep(0.5)  # its end is told
    print(f"{name}{look}", flush=True)


if __name__ == "__main__":
    main()
