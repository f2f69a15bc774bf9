"""Starts the dashboard, which is a Streamlit app beside this package."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from ffcore.errors import Failed, Refused

BASE_PATH = re.compile(r"[\w.-]*(/[\w.-]+)*", re.ASCII)


def app_folder() -> Path:
    """Where the dashboard lies: inside a wheel, else beside the package."""
    package = Path(__file__).absolute().parent
    return wheel if (wheel := package / "_app").is_dir() else package.parent / "app"


def app(
    port: int = 8501,
    host: str = "127.0.0.1",
    root: str | None = None,
    data_root: str | None = None,
    base_path: str = "",
    read_only: bool = False,
) -> None:
    """Serve the dashboard until Ctrl-C; `base_path`: where a proxy shows it, `read_only`: it starts, changes, deletes nothing.

    Raises Refused for a busy port, a missing Streamlit, or a path that no address can hold.
    """
    if not BASE_PATH.fullmatch(base_path.strip("/")):
        raise Refused(f"--base-path '{base_path}' is no path of an address; give letters, digits, . _ - and /, such as ff")
    if find_spec("streamlit") is None or find_spec("plotly") is None:
        raise Refused("the dashboard needs Streamlit and Plotly; pip install 'ffcore[app]'")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise Refused(
            f"cannot serve on {host}:{port}: {getattr(error, 'strerror', None) or error}; take another with --port {port + 1}"
        ) from None
    env = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}  # the cores are for the runs
    env |= {key: str(Path(value).absolute()) for key, value in (("FFCORE_RUNS", root), ("FFCORE_DATA", data_root)) if value}
    env |= {"FFCORE_READ_ONLY": "1"} if read_only else {}
    options = {"port": port, "address": host, "headless": True}
    options |= {"baseUrlPath": path} if (path := base_path.strip("/")) else {}
    command = [sys.executable, app_folder() / "server.py", json.dumps({f"server.{key}": options[key] for key in options})]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the server, too, instead of leaving it behind
    try:
        status = subprocess.run(command, env=env).returncode
    except KeyboardInterrupt:
        return
    if status:
        raise Failed(f"the dashboard ended with status {status}; the lines above say why")
