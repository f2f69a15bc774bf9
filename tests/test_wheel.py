"""The wheel, unpacked and used from elsewhere: it must bring the dashboard and the bundled checkpoints along."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.name for path in (ROOT / "app" / "views").glob("*.py"))

OPEN_EVERY_PAGE = """
import json, pathlib, sys
from streamlit.testing.v1 import AppTest
import ffcore
from ffcore.serve import app_folder
sys.path.insert(0, str(app_folder()))  # as for its server.py
told = {"package": str(pathlib.Path(ffcore.__file__).parent), "app": str(app_folder()),
        "bundled": str(ffcore.bundled_root()), "runs": [run.id for run in ffcore.list_runs()], "pages": {}}
for name in sys.argv[1:]:
    page = AppTest.from_file(str(app_folder() / "main.py"), default_timeout=60)
    page.switch_page(f"views/{name}").run()
    told["pages"][name] = [error.message for error in page.exception]
    assert page.main.children, name
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the working tree as it is, without a network."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel's files in a folder of their own: what `pip install` would put into site-packages."""
    place = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


@pytest.fixture
def elsewhere(installed, tmp_path):
    """How to start a process in another directory that knows of the wheel alone."""
    env = {**os.environ, "PYTHONPATH": str(installed), "FFCORE_RUNS": str(tmp_path / "runs"), "OMP_NUM_THREADS": "1"}
    return {"cwd": tmp_path, "env": env}


def test_the_wheel_holds_what_it_needs_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    app = {f"ffcore/_app/{p.relative_to(ROOT / 'app').as_posix()}" for p in (ROOT / "app").rglob("*") if p.is_file()}
    app = {name for name in app if "__pycache__" not in name}
    assert {"ffcore/_app/main.py", "ffcore/_app/.streamlit/config.toml"} <= app <= set(names)
    assert any(name.startswith("ffcore/_app/components/") and name.endswith(".js") for name in names)
    assert {f"ffcore/{p.relative_to(ROOT / 'ffcore').as_posix()}" for p in (ROOT / "ffcore").rglob("*.py")} <= set(names)
    for checkpoint in (ROOT / "checkpoints").glob("*/config.json"):
        place = f"ffcore/_checkpoints/{checkpoint.parent.name}"
        assert {f"{place}/config.json", f"{place}/status.json", f"{place}/weights.safetensors"} <= set(names)
    assert any(name.startswith("ffcore/_checkpoints/") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"ffcore"}
    assert not [name for name in names if "test" in name.lower() or "__pycache__" in name or name.endswith((".pyc", ".tmp"))]
    assert "ffcore = ffcore.cli:main" in points
    assert wheel.stat().st_size < 27 * 2**20  # 25 MB of it are checkpoints


def test_its_dashboard_opens_every_page_from_any_directory(installed, elsewhere):
    done = subprocess.run(
        [sys.executable, "-c", OPEN_EVERY_PAGE, *PAGES], capture_output=True, text=True, timeout=120, **elsewhere
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["package"] == str(installed / "ffcore")
    assert told["app"] == str(installed / "ffcore" / "_app")
    assert told["bundled"] == str(installed / "ffcore" / "_checkpoints")
    assert sorted(told["runs"]) == sorted(path.parent.name for path in (ROOT / "checkpoints").glob("*/config.json"))
    assert told["pages"] == {name: [] for name in PAGES}


def test_its_command_serves_the_dashboard_it_brought(installed, elsewhere):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = elsewhere["cwd"] / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "ffcore", "app", "--port", str(port)]
        process = subprocess.Popen(command, stdout=out, stderr=out, **elsewhere)

    def read(path):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2) as reply:
            return reply.read()
        return b""

    try:
        end = time.monotonic() + 60
        while read("_stcore/health") != b"ok" and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert read("_stcore/health") == b"ok", log.read_text()
        assert b"<title>Streamlit</title>" in read("")
        assert b"BACKEND_BASE_URL" in read("train")
        assert "127.0.0.1" in log.read_text()
    finally:
        process.terminate()
        process.wait(15)
