"""A read-only server refuses at every door through which a dashboard writes, in one line, and its pages stand."""

import itertools
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.parse import urlparse

import pytest
from browser import READY
from conftest import TINY

import ffcore
from ffcore import data, runs
from ffcore.data import public
from ffcore.serve import app_folder

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

pytestmark = pytest.mark.usefixtures("no_bundle")

DOORS = {  # what a dashboard may ask for → how
    "submit": lambda store: ffcore.submit(**TINY),
    "train": lambda store: ffcore.train(**TINY),
    "keep_images": lambda store: ffcore.keep_images("mine.npz", b"PK"),
    "requeue": lambda store: ffcore.requeue(store["paused"]),
    "resume": lambda store: ffcore.resume(store["paused"]),
    "pause": lambda store: ffcore.pause(store["queued"]),
    "stop": lambda store: ffcore.stop(store["paused"]),
    "control": lambda store: store["queued"].control("stop"),
    "delete": lambda store: ffcore.delete(store["ff"]),
    "discard": lambda store: ffcore.discard(store["ff"]),
    "restore": lambda store: ffcore.restore(store["ff"].id),
    "purge": lambda store: ffcore.purge(),
    "annotate": lambda store: ffcore.annotate(store["ff"], ["mine"]),
    "import_zip": lambda store: ffcore.import_zip(store["ff"].dir.parent / "run.zip"),
    "analyse": lambda store: ffcore.analyse("health", store["ff"]),
    "submit_analysis": lambda store: ffcore.submit_analysis(ffcore.find_analysis("health", store["ff"])),
    "cancel": lambda store: ffcore.find_analysis("health", store["ff"]).cancel(),
    "download": lambda store: public.download(data.DATASETS["mnist"], store["ff"].dir.parent / "data"),
}


@pytest.fixture
def read_only(store, monkeypatch):
    """The store of runs, and what lies in it, under a server that is read-only."""
    runs.export(store["ff"], store["ff"].dir.parent / "run.zip")
    monkeypatch.setenv("FFCORE_READ_ONLY", "1")
    return store


def contents() -> dict[str, bytes]:
    place = runs.runs_root()
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize("name", DOORS)
def test_every_door_refuses_in_one_line_with_the_remedy_and_changes_nothing(read_only, name):
    before = contents()
    with pytest.raises(ffcore.Refused) as refusal:
        DOORS[name](read_only)
    said = str(refusal.value)
    assert said.startswith("this dashboard is read-only: it does not ")
    assert "FFCORE_READ_ONLY" in said
    assert "\n" not in said
    assert contents() == before


def test_what_is_answered_is_told_by_a_read_only_dashboard_too(store, monkeypatch):
    told = ffcore.health(store["ff"])
    monkeypatch.setenv("FFCORE_READ_ONLY", "1")
    assert ffcore.health(store["ff"]) == told
    ffcore.submit_analysis(ffcore.find_analysis("health", store["ff"]))


@pytest.mark.parametrize("word", ["", "0"])
def test_nothing_is_refused_where_it_is_off(store, monkeypatch, word):
    monkeypatch.setenv("FFCORE_READ_ONLY", word)
    assert not ffcore.read_only()
    assert ffcore.stop(store["paused"]).state == "stopped"


def test_every_public_function_that_makes_or_removes_files_is_a_door():
    """The doors are marked in the source; a new writer that is not on the list above would be seen here."""
    marked = set()
    for module in ("jobs.py", "runs.py", "rundir.py", "analyses.py", "data/public.py"):
        lines = (app_folder().parent / "ffcore" / module).read_text().splitlines()
        marked |= {
            after.split("def ")[1].split("(")[0] for at, after in itertools.pairwise(lines) if "door(" in at and "def " in after
        }
    known = {"prepare": "submit", "ask": "pause", "_make": "analyse"}
    assert {known.get(name, name) for name in marked} | {"train", "stop", "submit_analysis"} == set(DOORS)


def page(name: str, **query: str) -> AppTest:
    at = AppTest.from_file(str(app_folder() / "main.py"), default_timeout=60)
    if name != "start":
        at.switch_page(f"views/{name}.py")
    for key, value in query.items():
        at.query_params[key] = value
    at.run()
    assert not at.exception, at.exception[0].message
    return at


@pytest.mark.parametrize("name", ["start", "train", "runs", "live", "health", "embeddings", "lessons", "teach", "about"])
def test_pages_stand_and_say_that_they_are_read_only(read_only, name):
    before = contents()
    assert any("Read-only" in caption.value for caption in page(name).caption)
    assert contents() == before


@pytest.mark.parametrize(
    ("name", "query", "labels"),
    [
        ("train", {"data": "digits"}, ["Start training"]),
        ("runs", {}, ["Delete"]),
        ("run", {}, ["Queue it now", "Keep", "Delete"]),
        ("live", {"run": "queued"}, ["Pause", "Stop"]),
        ("live", {"run": "paused"}, ["Resume", "Stop"]),
        ("health", {}, ["Find the causes"]),
        ("embeddings", {}, ["Lay out by PCA"]),
        ("generations", {}, ["Make them"]),
        ("variants", {}, ["Train it"]),
    ],
)
def test_what_starts_or_changes_something_is_disabled_and_nothing_starts_by_itself(read_only, name, query, labels):
    before = contents()
    at = page(name, **query | {"run": read_only[query.get("run", "ff")].id})
    shown = {b.label: b for b in at.button}
    for label in labels:
        assert shown[label].disabled, label
        assert shown[label].help == "This dashboard is read-only"
    assert not [error.value for error in at.error if "read-only" in error.value]
    assert contents() == before


def test_an_experiment_of_a_lesson_cannot_be_started(read_only):
    at = page("lessons", lesson="pcl", step="run")
    trains = [b for b in at.button if b.label.startswith("Train: ")]
    assert trains
    assert all(b.disabled for b in trains)


@pytest.mark.parametrize("path", ["a b", "ff?x=1", "../..//x", "ff/../x y", "é"])
def test_a_path_that_no_address_can_hold_is_refused(path):
    with pytest.raises(ffcore.Refused, match="--base-path"):
        ffcore.app(base_path=path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def below(own_runs):
    """The address of a read-only server below the path /ff."""
    port = free_port()
    command = [shutil.which("ffcore") or "ffcore", "app", "--port", str(port), "--base-path", "/ff/", "--read-only"]
    server = subprocess.Popen(command if shutil.which("ffcore") else [sys.executable, "-m", *command], stdout=-3, stderr=-3)
    try:
        address = f"http://127.0.0.1:{port}/ff"
        for _ in range(240):
            try:
                if urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).read() == b"ok":
                    break
            except OSError:
                time.sleep(0.25)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def test_a_server_below_a_path_takes_the_socket_that_a_proxy_passes_on(below):
    """What For teachers says of a proxy: path as it is, host unchanged, upgrade let through; no protection is switched off."""
    with socket.create_connection(("127.0.0.1", urlparse(below).port), timeout=30) as proxy:
        proxy.sendall(
            b"GET /ff/_stcore/stream HTTP/1.1\r\nHost: class.example.org\r\nOrigin: https://class.example.org\r\n"
            b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: streamlit\r\n\r\n"
        )
        assert proxy.recv(100).startswith(b"HTTP/1.1 101")


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/", "/glossary"])
def test_a_page_below_a_path_finds_its_server_at_once(below, chromium, path):
    tab, asked, broken = chromium.new_page(), [], []
    tab.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
    tab.on("request", lambda request: asked.append(urlparse(request.url).path))
    tab.goto(below + path)
    tab.locator(READY).wait_for(timeout=60_000)
    assert broken == []
    assert [at for at in asked if at.endswith("/health")] == ["/ff/_stcore/health"]
    assert urlparse(tab.url).path == f"/ff{path}"
