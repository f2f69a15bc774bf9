"""What browser tests share: the dashboard on a free port, when a page is still."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

READY = "[data-testid='stApp'][data-test-script-state='notRunning']"
FLAGS = [
    "--no-sandbox", "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--no-first-run",
]  # fmt: skip


class Server:
    """`ffcore app` on a free port over its own runs folder, on two cores: one place in the queue."""

    def __init__(self, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.root, self.url, self.log = folder / "runs", f"http://127.0.0.1:{self.port}", folder / "server.log"
        self.env = {**os.environ, "FFCORE_RUNS": str(self.root), "FFCORE_DATA": str(folder / "no data")}
        self.start()

    def start(self) -> None:
        def two_cores():
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

        command = [sys.executable, "-m", "ffcore", "app", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.env, stdout=log, stderr=log, start_new_session=True, preexec_fn=two_cores
            )
        wait(lambda: self.healthy(), 40, f"no answer from {self.url}")

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2) as answer:
                return answer.read() == b"ok"
        except OSError:
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def wait(condition, seconds: float, complaint: str):
    """The condition's value as soon as it holds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, complaint
        time.sleep(0.02)
    return value
