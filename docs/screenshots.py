"""Takes the README's pictures from the real dashboard: `python docs/screenshots.py` (or `make screenshots`)."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

import ffcore

HERE = Path(__file__).parent
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
STILL = "[data-testid='stApp'][data-test-script-state='notRunning']"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FFCORE_RUNS"] = folder
        port = free_port()
        server = subprocess.Popen([sys.executable, "-m", "ffcore", "app", "--port", str(port)])
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(100):
                try:
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
                    break
                except OSError:
                    time.sleep(0.3)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
                page = browser.new_page()

                def shot(path: str, name: str, wait: float = 1.0, height: int = 860) -> None:
                    page.set_viewport_size({"width": 1280, "height": height})
                    page.goto(f"{address}/{path}")
                    page.wait_for_selector(STILL)
                    time.sleep(wait)
                    page.screenshot(path=HERE / name)

                shot("", "start.png")
                shot("negatives?run=ff-mnist&digit=3&strategy=image_mixing", "negatives.png", 5, 1720)
                run = ffcore.submit(set={"train.epochs": 8})
                while run.state in ("queued", "running") and not run.snapshots()[3:]:
                    time.sleep(0.2)
                shot(f"live?run={run.id}", "live.png", 4)
                ffcore.stop(run)
                pcl = ffcore.train(model="pcl", data="mnist-5k")
                ffcore.train(data="mnist-5k")  # plain Forward-Forward beside it
                shot(f"variants?model=pcl&run={pcl.id}&live=0", "variants.png", 6, 1500)
                dead = ffcore.train(preset="ref-pcl", data="mnist-5k")
                ffcore.analyse("health", dead)
                shot(f"health?run={dead.id}&layer=2&live=0", "health.png", 6, 1250)
                net = ffcore.train()
                ffcore.analyse("embed", net, method="tsne")
                shot(f"embeddings?run={net.id}&method=tsne&live=0", "embeddings.png", 6, 1100)
                for protocol in ("converged", "reference"):
                    ffcore.analyse("probe", net, protocol=protocol, train=20_000)
                shot(f"transfer?run={net.id}&live=0", "transfer.png", 6, 1400)
                painter = ffcore.train(model="pff", epochs=3 if ffcore.data.present("mnist") else None)
                ffcore.analyse("generate", painter)
                shot(f"generations?run={painter.id}&live=0", "generations.png", 6, 1300)
                browser.close()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
