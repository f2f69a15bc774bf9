"""The run store: what is alive, what is torn, what is hostile, and what must survive all of it."""

import errno
import io
import json
import os
import pickle
import random
import shlex
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save

from ffcore import files, rundir, runs
from ffcore.config import configure
from ffcore.errors import Failed, Refused

CONFIG = {
    "preset": None,
    "tag": None,
    "seed": 3,
    "device": "cpu",
    "test": True,
    "data_root": "/somewhere",
    "train": {"epochs": 2},
    "given": {},
    "data": {"name": "mnist"},
    "model": {"name": "ff", "widths": [500, 500]},
    "negatives": {"name": "hard_label"},
}
FACTS = {
    "data_hash": "0", "data_title": "MNIST", "provenance": "after NIST", "shape": [1, 28, 28], "classes": ["0", "1"],
    "sizes": {"train": 1},
}  # fmt: skip
NOON = runs.datetime(2026, 1, 2, 12, tzinfo=runs.UTC)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty root, and an empty folder of bundled checkpoints beside it."""
    bundled = tmp_path / "checkpoints"
    bundled.mkdir()
    for module in (runs, rundir):
        monkeypatch.setattr(module, "bundled_root", lambda: bundled)
    return tmp_path / "runs"


@pytest.fixture
def run(root):
    return runs.create(CONFIG, root)


def filled(run):
    """`run` with one of every part, and over."""
    run.append({"event": "start", "step": 0})
    run.write_snapshot(1, {"edges": np.arange(6.0).reshape(1, 6), "goodness": np.ones((4, 3, 1), np.float16)})
    run.write_arrays("samples.npz", {"images": np.zeros((4, 1, 2, 2), np.uint8), "labels": np.arange(4)})
    run.write_arrays("evaluation.npz", {"confusion": np.eye(3, dtype=np.int64)})
    run.replace("weights.safetensors", save({"w": np.arange(3, dtype=np.float32)}))
    run.replace("state.safetensors", save({"w": np.arange(3, dtype=np.float32)}))
    (run.dir / "log.txt").write_text("hello from this machine")
    run.write_status(state="done", pid=7, result={"run": run.id, "dir": str(run.dir), "test_accuracy": 0.5})
    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


# making


def test_a_new_run_is_queued_and_carries_its_config(run, root):
    assert runs.ID.fullmatch(run.id)
    assert run.dir == root / run.id
    assert {key: run.config[key] for key in CONFIG} == CONFIG
    assert (run.config["format"], run.state, run.want(), run.bundled) == (1, "queued", "run", False)
    assert names(root) == [run.id]


def test_ids_are_unique_even_when_chance_repeats_itself(root, monkeypatch):
    draws = iter(["aaaa", "aaaa", "bbbb"])
    real = runs.secrets.token_hex
    monkeypatch.setattr(runs.secrets, "token_hex", lambda n: next(draws) if n == 2 else real(n))
    monkeypatch.setattr(runs, "datetime", type("Still", (), {"now": staticmethod(lambda tz: NOON)}))
    first, second = runs.create(CONFIG, root), runs.create(CONFIG, root)
    assert first.id[:-4] == second.id[:-4]
    assert (first.id[-4:], second.id[-4:]) == ("aaaa", "bbbb")


def test_an_empty_directory_may_become_a_run(root, tmp_path):
    (tmp_path / "mine").mkdir()
    assert runs.create(CONFIG, root, tmp_path / "mine").dir == tmp_path / "mine"
    assert not root.exists()


@pytest.mark.parametrize("place", ["full", "file", "file/below"])
def test_a_place_that_is_taken_or_impossible_is_refused_and_left_alone(root, tmp_path, place):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    before = tree(tmp_path)
    with pytest.raises(Refused, match="; choose another place"):
        runs.create(CONFIG, root, tmp_path / place)
    assert tree(tmp_path) == before


def test_an_unwritable_place_is_refused(tmp_path, root, monkeypatch):
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.geteuid() == 0:  # permissions do not bind the superuser
        mkdir = Path.mkdir

        def refuse(self, *args, **kwargs):
            if self.parent.name == "locked":
                raise PermissionError(13, "Permission denied")
            mkdir(self, *args, **kwargs)

        monkeypatch.setattr(Path, "mkdir", refuse)
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    for place in ("locked", "locked/below"):
        with pytest.raises(Refused, match="choose another place"):
            runs.create(CONFIG, root, tmp_path / place)


@pytest.mark.parametrize("exists", [True, False])
def test_a_disk_that_fills_up_while_a_run_is_made_leaves_nothing(root, tmp_path, monkeypatch, exists):
    target = tmp_path / "deep" / "mine"
    if exists:
        target.mkdir(parents=True)
    before = tree(tmp_path)
    full_disk_for("config.json", monkeypatch)
    with pytest.raises(Failed, match="disk full"):
        runs.create(CONFIG, root, target)
    assert tree(tmp_path) == before


# alive means locked

HOLD = """
import sys, time
from ffcore import runs
run = runs.Run(sys.argv[1])
with run.lock():
    run.write_status(state="running", heartbeat=time.time())
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(run):
    """Another process that trains `run`."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run.dir)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_kill_nine_makes_a_running_run_lost(run, holder):
    assert run.alive()
    assert run.state == "running"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not run.alive()
    status = run.status()
    assert status["state"] == "lost"
    assert f"ffcore resume {run.id}" in status["reason"]
    with run.lock():  # and somebody else may take over
        assert run.state == "running"


def test_two_writers_are_refused(run, holder):
    with pytest.raises(Refused, match=f"another process is training run {run.id}; "), run.lock():
        pass
    assert run.alive()


def test_a_run_is_alive_to_its_own_process_too(run):
    with run.lock():
        assert run.alive()
    assert not run.alive()


def test_a_checker_who_holds_the_lock_for_a_moment_refuses_no_start(run):
    with run.lock():
        pass
    checker = rundir.FileLock(run.dir / ".lock")
    held = threading.Event()

    def check():
        with checker:
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=check)
    thread.start()
    held.wait()
    with run.lock():
        thread.join()
        assert run.alive()


def test_looking_leaves_no_trace(run):
    before = tree(run.dir)
    assert not run.alive()
    run.write_status(state="running", heartbeat=time.time())
    assert run.state == "lost"
    assert tree(run.dir).keys() == before.keys()


def test_a_run_that_is_over_is_not_probed(run, monkeypatch):
    (run.dir / ".lock").touch()
    monkeypatch.setattr(rundir, "FileLock", lambda *a, **k: pytest.fail("probed"))
    for state in runs.TERMINAL:
        run.write_status(state=state)
        assert (run.alive(), run.state) == (False, state)


def test_a_submitted_run_has_a_moment_to_start(run):
    now = time.time()
    assert run.state == "queued"
    run.write_status(heartbeat=now + 1)  # it did start, and holds no lock any more
    assert run.state == "lost"
    run.write_status(heartbeat=None, queued_at=now - 60)
    assert run.state == "lost"


def test_a_run_without_a_heartbeat_hangs(run):
    with run.lock():
        run.write_status(state="running", heartbeat=time.time() - 60, queued_at=0)
        assert "hanging" not in run.status()
        run.write_status(heartbeat=time.time() - 180)
        assert (run.state, run.status()["hanging"]) == ("running", True)
        run.write_status(state="queued", queued_at=time.time())  # resumed just now
        assert "hanging" not in run.status()


def test_what_a_killed_writer_left_is_swept_up(run):
    (run.dir / ".state.safetensors.abcd.tmp").write_text("half")
    with run.lock():
        assert not list(run.dir.glob(".*.tmp"))


# events


def test_a_torn_line_waits_for_its_rest(run):
    path = run.dir / "events.jsonl"
    assert run.events() == ([], 0)
    path.write_bytes(b'{"a": 1}\n{"b"')
    events, offset = run.events()
    assert (events, offset) == ([{"a": 1}], 9)
    assert run.events(offset) == ([], 9)
    with path.open("ab") as file:
        file.write(b": 2}\n")
    assert run.events(offset) == ([{"b": 2}], 18)


def test_garbage_lines_are_skipped(run):
    (run.dir / "events.jsonl").write_bytes(b'{"a": 1}\n\xff\xfe{]\n[1]\n' + b"[" * 100_000 + b'\n\n{"b": 2}\n')
    assert run.events()[0] == [{"a": 1}, {"b": 2}]


def test_only_the_news_is_read(run):
    path = run.dir / "events.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": 2}\n')
    _, offset = run.events()
    path.write_bytes(b'{"X": 9}\n{"Y": 9}\n{"c": 3}\n')
    assert run.events(offset)[0] == [{"c": 3}]


def test_a_reader_keeps_up_with_a_writer(run):
    def write():
        for step in range(500):
            run.append({"step": step, "pad": "x" * (step % 97)})

    writer = threading.Thread(target=write)
    writer.start()
    seen, offset = [], 0
    while writer.is_alive() or run.events(offset)[0]:
        news, offset = run.events(offset)
        seen += [event["step"] for event in news]
    assert seen == list(range(500))
    assert offset == run.events_size()


def test_a_line_torn_by_a_kill_does_not_swallow_the_next(run):
    (run.dir / "events.jsonl").write_bytes(b'{"a": 1}\n{"to')
    _, offset = run.events()
    run.append({"b": 2})
    assert run.events(offset)[0] == [{"b": 2}]


def test_numbers_that_are_not_finite_stay_readable_json(run):
    run.append({"loss": float("nan"), "layers": [{"gap": float("inf"), "pos": (1.0, 2.0)}]})
    line = (run.dir / "events.jsonl").read_text()
    value = json.loads(line, parse_constant=lambda name: pytest.fail(name))
    assert value == {"loss": None, "layers": [{"gap": None, "pos": [1.0, 2.0]}]}


def test_resume_cuts_the_events_back_exactly_and_readers_notice(run):
    run.append({"step": 1})
    offset = run.events_size()
    run.append({"step": 2})
    run.append({"step": 3})
    _, reader = run.events()
    run.truncate_events(offset)
    assert run.events() == ([{"step": 1}], offset)
    assert run.events(reader) == ([], 0)
    run.append({"step": 20, "longer": "than both lines that were cut away"})
    assert run.events(reader) == ([], 0)
    with pytest.raises(Refused, match="saved state knows of 9999; start a new run"):
        run.truncate_events(9999)


# writing whole files or none


def full_disk_for(name, monkeypatch):
    write = Path.write_bytes

    def write_bytes(self, data):
        if f".{name}." in self.name:
            write(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def test_a_full_disk_leaves_the_old_file_and_no_other(run, monkeypatch):
    run.write_status(step=5)
    before = tree(run.dir)
    full_disk_for("status.json", monkeypatch)
    with pytest.raises(Failed, match=f"^disk full while writing status.json in {run.dir}; free some space and resume$"):
        run.write_status(step=6)
    assert tree(run.dir) == before
    assert run.status()["step"] == 5


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), Exception("Error while serializing: I/O error: (os error 28)")]
)
def test_a_writer_function_on_a_full_disk_leaves_the_old_file_and_no_other(run, error):
    run.replace("state.safetensors", b"good")
    before = tree(run.dir)

    def write(path):
        path.write_bytes(b"ha")
        raise error

    with pytest.raises(Failed, match=r"disk full while writing state\.safetensors"):
        run.replace("state.safetensors", write)
    assert tree(run.dir) == before


def test_a_full_disk_tears_no_event(run, monkeypatch):
    run.append({"step": 1})
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data):
            return self.file.write(data[:5])

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, *a, **k: Full(real(self, *a, **k)))
        with pytest.raises(Failed, match=r"disk full while writing events\.jsonl"):
            run.append({"step": 2})
    assert (run.dir / "events.jsonl").read_text() == '{"step":1}\n'


def test_a_reader_never_sees_half_a_status(run):
    done = threading.Event()

    def write():
        for step in range(300):
            run.write_status(step=step, reason="x" * 20_000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    other = runs.Run(run.dir)
    while not done.is_set():
        assert other.problem is None
    writer.join()
    assert other.status()["step"] == 299


def test_two_threads_that_write_the_status_lose_nothing(run, monkeypatch):
    read = files.read_json
    monkeypatch.setattr(files, "read_json", lambda path: (read(path), time.sleep(0.002))[0])
    threads = [threading.Thread(target=lambda k=k: [run.write_status(**{k: n}) for n in range(10)]) for k in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.status()[k] for k in "abcd"] == [9] * 4


def test_state_reaches_the_disk_before_it_gets_its_name(run, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda fd: order.append("sync"))
    real = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: order.append(to.name) or real(self, to))
    run.replace("state.safetensors", b"x")
    run.write_status(step=1)
    assert order == ["sync", "state.safetensors", "status.json"]


def test_arrays_come_back_as_they_went_and_are_never_pickles(run):
    arrays = {"edges": np.arange(6.0).reshape(2, 3), "mean_0": np.ones(4, np.float32), "empty": np.zeros((0, 3))}
    assert run.write_snapshot(12, arrays) == "epoch-0012.npz"
    run.write_snapshot(3, {"a": np.zeros(1)})
    assert run.snapshots() == [3, 12]
    back = run.snapshot(12)
    assert all(back[k].dtype == v.dtype and np.array_equal(back[k], v) for k, v in arrays.items())
    assert back.keys() == arrays.keys()
    assert run.samples() is None
    with pytest.raises(TypeError, match="Python objects"):
        run.write_arrays("samples.npz", {"images": np.array([{}], object)})
    with pytest.raises(Refused, match=r"no snapshot of epoch 4; it has \[3, 12\]"):
        run.snapshot(4)
    (run.dir / "snapshots" / "epoch-0003.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(Refused, match="damaged"):
        run.snapshot(3)


def test_control_takes_three_words(run):
    run.control("pause")
    assert run.want() == "pause"
    with pytest.raises(Refused, match="known: run, pause, stop"):
        run.control("explode")
    (run.dir / "control.json").write_text('{"want": ["stop"]')
    assert run.want() == "run"


# finding


def test_a_run_is_found_by_path_id_prefix_latest_and_bundled_name(root, monkeypatch):
    a = runs.create(CONFIG, root)
    b = runs.create({**CONFIG, "model": {"name": "backprop"}}, root)
    a.write_config(created="2026-01-01T00:00:00.000+00:00")
    bundled = runs.create(CONFIG, root, rundir.bundled_root() / "ff-mnist")
    assert runs.find(a.dir) == runs.find(a.id, root) == a
    assert runs.find(b.id[:-2], root) == b
    assert runs.find("latest", root) == b
    found = runs.find("ff-mnist", root)
    assert (found, found.bundled, found.id) == (bundled, True, "ff-mnist")
    monkeypatch.chdir(root)
    shadow = runs.create(CONFIG, root, root / "elsewhere" / b.id)
    assert runs.find(f"elsewhere/{b.id}", root) == shadow
    monkeypatch.chdir(root / "elsewhere")
    assert runs.find(b.id, root) == shadow  # a path comes first
    named = runs.create(CONFIG, root, root / "ff-mnist")
    assert runs.find("ff-mnist", root) == named  # and a run of one's own before a bundled one


def test_the_store_lists_newest_first_and_flags_what_is_bundled(root):
    made = [runs.create(CONFIG, root) for _ in range(3)]
    bundled = runs.create(CONFIG, root, rundir.bundled_root() / "ff-mnist")
    for day, one in zip((2, 4, 1, 3), [*made, bundled], strict=True):
        one.write_config(created=f"2026-01-0{day}T00:00:00.000+00:00")
    (root / "notes").mkdir()
    (root / "readme.txt").touch()
    shutil.copytree(made[0].dir, root / ".half-made.tmp")
    assert runs.list_runs(root) == [made[1], bundled, made[0], made[2]]
    assert [r.bundled for r in runs.list_runs(root)] == [False, True, False, False]
    assert runs.list_runs(root, bundled=False) == [made[1], made[0], made[2]]
    assert runs.list_runs(root / "nowhere", bundled=False) == []


def test_a_prefix_that_fits_two_is_refused(root):
    a, b = runs.create(CONFIG, root), runs.create(CONFIG, root)
    with pytest.raises(Refused, match="'20' fits 2 runs"):
        runs.find("20", root)
    assert {a, b} == set(runs.list_runs(root, bundled=False))


@pytest.mark.parametrize("ref", ["", "nope", "latest", "..", "file", "empty", "\0", "x" * 5000, "a/" * 3000])
def test_what_is_no_run_is_refused_in_one_line(root, tmp_path, monkeypatch, ref):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match=r"^[^\n]*; [^\n]*$"):
        runs.find(ref, root)


DAMAGE = {
    "config.json": [None, b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"format": 2}', b'{"format": 1, "id": "../x"}'],
    "status.json": [None, b"", b'{"state"', b"7", b'{"state": "asleep"}', b'{"state": ["done"]}',
                    b'{"state": "running", "heartbeat": "now"}', b'{"state": "done", "result": 3}',
                    b'{"state": "done", "x": "' + b"x" * 2**22 + b'"}'],
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), [(n, c) for n, all_ in DAMAGE.items() for c in all_])
def test_a_damaged_directory_is_told_as_such(run, root, name, content):
    good = runs.create(CONFIG, root)
    good.write_config(created="2020-01-01T00:00:00.000+00:00")
    (run.dir / name).unlink()
    if content is not None:
        (run.dir / name).write_bytes(content)
    run = runs.Run(run.dir)
    assert name in run.problem
    assert run.state == "damaged"
    assert run.status()["reason"] == run.problem
    assert not run.alive()
    assert run in runs.list_runs(root)
    assert run.title()
    assert runs.find("latest", root) == good
    with pytest.raises(Refused, match=f"is damaged: {run.problem}; "):
        runs.find(run.dir)
    assert runs.find(run.dir, damaged=True) == run


@pytest.mark.parametrize("change", [{"model": None}, {"data": {}}, {"negatives": []}, {"seed": "0"}, {"facts": None}])
def test_a_config_of_the_wrong_shape_is_damage(run, change):
    run.write_config(**change)
    assert next(iter(change)) in run.problem


def test_a_thousand_runs_are_listed(root):
    config = runs.create(CONFIG, root).config
    for n in range(1000):
        folder = root / f"20260101-000000-ff-{n:04x}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**config, "id": folder.name}))
        (folder / "status.json").write_text('{"state": "done"}')
    assert sum(r.state == "done" for r in runs.list_runs(root)) == 1000


# deleting


def test_delete_removes_the_run_and_follows_no_link(run, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.txt").write_text("precious")
    (run.dir / "link").symlink_to(outside)
    (run.dir / "snapshots").symlink_to(outside)
    run.write_status(state="done")
    runs.delete(run)
    assert list(root.iterdir()) == []
    assert (outside / "thesis.txt").read_text() == "precious"


def test_delete_refuses_the_living(run, holder):
    with pytest.raises(Refused, match=f"alive; `ffcore stop {run.id}` first"):
        runs.delete(run)
    (run.dir / "status.json").write_text("{")  # in disorder, yet somebody holds it
    with pytest.raises(Refused, match="alive"):
        runs.delete(run)
    holder.kill()
    holder.wait()
    runs.delete(run)
    assert not run.dir.exists()


def test_delete_refuses_one_that_is_just_starting(run):
    with pytest.raises(Refused, match="alive"):
        runs.delete(run)


def test_delete_refuses_bundled_links_and_what_is_no_run(run, root, tmp_path):
    run.write_status(state="done")
    bundled = runs.create(CONFIG, root, rundir.bundled_root() / "ff-mnist")
    bundled.write_status(state="done")
    (tmp_path / "link").symlink_to(run.dir)
    (root / "to-bundled").symlink_to(bundled.dir)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"theme": "dark"}')
    before = tree(tmp_path)
    for place, why in [
        (bundled.dir, "bundled"),
        (root / "to-bundled", "bundled"),
        (tmp_path / "link", "is a link"),
        (other, "not a run directory"),
        (tmp_path, "not a run directory"),
        (root, "not a run directory"),
    ]:
        with pytest.raises(Refused, match=why):
            runs.delete(runs.Run(place))
    assert tree(tmp_path) == before


# zips


def test_a_run_survives_the_journey_in_a_zip(run, root, tmp_path):
    filled(run)
    with (run.dir / "events.jsonl").open("ab") as file:
        file.write(b'{"torn')
    (run.dir / ".lock").touch()
    (run.dir / "snapshots" / "epoch-0002.npz").symlink_to(tmp_path)
    (run.dir / "snapshots" / "epoch-0003.npz").symlink_to(run.dir / "samples.npz")
    runs.export(run, tmp_path / "a.zip")
    archive = zipfile.ZipFile(tmp_path / "a.zip")
    assert archive.namelist() == [
        "config.json", "evaluation.npz", "events.jsonl", "samples.npz", "snapshots/epoch-0001.npz", "status.json",
        "weights.safetensors",
    ]  # fmt: skip
    assert archive.read("events.jsonl") == b'{"event":"start","step":0}\n'
    content = b"".join(archive.read(name) for name in archive.namelist())
    assert str(tmp_path).encode() not in content
    assert CONFIG["data_root"].encode() not in content
    back = runs.import_zip(tmp_path / "a.zip", root / "other")
    assert (back.id, back.state, back.problem, back.config["data_root"]) == (run.id, "done", None, None)
    assert back.events() == ([{"event": "start", "step": 0}], 27)
    assert np.array_equal(back.snapshot(1)["edges"], run.snapshot(1)["edges"])
    assert (back.dir / "weights.safetensors").read_bytes() == (run.dir / "weights.safetensors").read_bytes()
    assert back.status()["result"]["test_accuracy"] == 0.5
    assert names(root / "other") == [run.id]


def test_equal_runs_give_equal_zips(run, tmp_path):
    filled(run)
    runs.export(run, tmp_path / "a.zip")
    os.utime(run.dir / "config.json", (0, 0))
    runs.export(run, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_an_id_that_is_taken_gets_a_fresh_end(run, root, tmp_path):
    runs.export(filled(run), tmp_path / "a.zip")
    with (tmp_path / "a.zip").open("rb") as file:  # as a page uploads it
        back = runs.import_zip(file, root)
    assert back.id != run.id
    assert back.id[:-4] == run.id[:-4]
    assert back.dir == root / back.id
    assert runs.find(back.id, root) == back


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
def test_a_run_that_was_not_over_arrives_stopped(run, root, tmp_path, state):
    filled(run).write_status(state=state)
    runs.export(run, tmp_path / "a.zip")
    status = runs.import_zip(tmp_path / "a.zip", root).status()
    assert (status["state"], status["reason"]) == ("stopped", f"imported from a run that was {state}")


def test_export_overwrites_nothing(run, tmp_path):
    for name in ("a.zip", "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "a.zip").write_text("precious")
        with pytest.raises(Refused, match="choose another name"):
            runs.export(run, tmp_path / name)
    with pytest.raises(Refused, match="choose another place"):
        runs.export(run, tmp_path / "nowhere" / "a.zip")
    assert (tmp_path / "a.zip").read_text() == "precious"


def test_export_that_fails_leaves_no_file(run, tmp_path, monkeypatch):
    def full(self, *args):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(Failed, match=r"disk full while writing a\.zip"):
        runs.export(run, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


@pytest.fixture
def parts(run):
    """{name: bytes} of a good zip; a test spoils one."""
    filled(run)
    return {name: data for name, data in tree(run.dir).items() if files.PARTS.fullmatch(name)}


def build(path, parts, extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [*parts.items(), *extra]:
            archive.writestr(name, data)
    return path


def refuse(path, root, match):
    """Importing `path` is refused in one line, and nothing is left: neither in the root nor beside it."""
    before = tree(root.parent)
    with pytest.raises(Refused, match=r"(?s)\A[^\n]+; [^\n]+\Z") as caught:
        runs.import_zip(path, root)
    assert match in str(caught.value)
    assert tree(root.parent) == before


def test_the_good_zip_that_the_attacks_start_from_is_accepted(parts, root, tmp_path):
    back = runs.import_zip(build(tmp_path / "a.zip", parts, [("snapshots/", b"")]), root)
    assert (back.problem, back.config["data_root"]) == (None, None)


@pytest.mark.parametrize(
    "name",
    ["/etc/cron.d/x", "../x", "snapshots/../../x.json", "..\\x", "C:\\x", "snapshots\\epoch-0001.npz",
     "run/config.json", "model.pkl", "weights.pt", "code.py", "state.safetensors", "log.txt", ".lock", "control.json",
     "CONFIG.JSON", "snapshots/epoch-0001.npz/x", "config.json\0.py", "snapshots/epoch-١٢٣٤.npz", "folder/",
     "weights.safetensors "],
)  # fmt: skip
def test_names_outside_a_run_directory_are_refused(parts, root, tmp_path, name):
    build(tmp_path / "a.zip", parts, [(name.replace("\0", "@"), b"x")])
    if "\0" in name:  # zipfile would cut the name short
        data = (tmp_path / "a.zip").read_bytes()
        (tmp_path / "a.zip").write_bytes(data.replace(b"config.json@", b"config.json\0"))
    refuse(tmp_path / "a.zip", root, "is no part of a run directory")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices_are_refused(parts, root, tmp_path, kind):
    entry = zipfile.ZipInfo("events.jsonl")
    entry.external_attr = (kind | 0o777) << 16
    del parts["events.jsonl"]
    refuse(build(tmp_path / "a.zip", parts, [(entry, b"/etc/passwd")]), root, "is a link or no plain file")


def test_twice_the_same_name_is_refused(parts, root, tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        build(tmp_path / "a.zip", parts, [("config.json", b"{}")])
    refuse(tmp_path / "a.zip", root, "twice")


def test_an_encrypted_zip_is_refused(parts, root, tmp_path):
    data = bytearray(build(tmp_path / "a.zip", parts).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    refuse(tmp_path / "a.zip", root, "encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_packing_is_refused(parts, root, tmp_path, method):
    with zipfile.ZipFile(build(tmp_path / "a.zip", parts), "a", method) as archive:
        archive.writestr("snapshots/epoch-0009.npz", bytes(100))
    refuse(tmp_path / "a.zip", root, "packed in an unusual way")


def test_too_many_entries_are_refused(parts, root, tmp_path):
    many = [(f"snapshots/epoch-{n:06d}.npz", b"") for n in range(files.MAX_ENTRIES)]
    refuse(build(tmp_path / "a.zip", parts, many), root, "entries, more than 20000")


def test_a_bomb_is_refused_by_its_header(parts, root, tmp_path, monkeypatch):
    archive = zipfile.ZipFile(build(tmp_path / "a.zip", parts), "a", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("snapshots/epoch-0009.npz", "w") as out:
        for _ in range(513):
            out.write(bytes(2**20))
    assert (tmp_path / "a.zip").stat().st_size < 4 * 2**20
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *a: pytest.fail("unpacked some of it first"))
    refuse(tmp_path / "a.zip", root, "unpacks to more than 512 MB")


def test_a_bomb_whose_header_lies_is_refused(parts, root, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_UNPACKED", 2**20)
    parts["events.jsonl"] = bytes(2**22)
    data = build(tmp_path / "a.zip", parts).read_bytes()
    assert data.count(struct.pack("<L", 2**22)) == 2
    (tmp_path / "a.zip").write_bytes(data.replace(struct.pack("<L", 2**22), struct.pack("<L", 10)))
    refuse(tmp_path / "a.zip", root, "CRC")


def test_bytes_are_counted_as_they_come_out(parts, root, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_UNPACKED", 2**20)
    monkeypatch.setattr(files, "_check_entries", lambda archive: None)  # as if the headers had deceived it
    parts["events.jsonl"] = bytes(2**22)
    refuse(build(tmp_path / "a.zip", parts), root, "unpacks to more than 1 MB")


def npz(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


def npy(header, body=b""):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def objects():
    out = io.BytesIO()
    np.save(out, np.array([print], object), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (lambda: npz(images=objects()), "Python objects"),
        (
            lambda: npz(images=npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}", bytes(8))),
            "objects",
        ),
        (lambda: npz(images=pickle.dumps(print)), "magic"),
        (lambda: npz(images=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)}")), "damaged"),
        (lambda: npz(images=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,)}")), "promises more"),
        (lambda: npz(images=npy("{'descr': '<f8', 'shape': (((((")), "damaged"),
        (lambda: npz(images=bytes(600 * 2**20)), "too many bytes"),
        (lambda: b"PK", "not a zip file"),
        (lambda: b"", "not a zip file"),
    ],
    ids=["object", "structured", "pickle", "expression", "giant", "syntax", "bomb", "stub", "empty"],
)
def test_arrays_that_need_a_pickle_or_lie_are_refused(parts, root, tmp_path, content, why):
    parts["samples.npz"] = content()
    refuse(build(tmp_path / "a.zip", parts), root, why)


def test_bombs_inside_several_arrays_add_up(parts, root, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_UNPACKED", 2**20)
    out = io.BytesIO()
    np.savez_compressed(out, a=np.zeros(700_000, np.uint8))
    parts["snapshots/epoch-0001.npz"] = out.getvalue()
    runs.delete(runs.import_zip(build(tmp_path / "a.zip", parts), root))
    (tmp_path / "a.zip").unlink()
    parts["snapshots/epoch-0002.npz"] = out.getvalue()
    refuse(build(tmp_path / "a.zip", parts), root, "too many bytes")


def test_weights_that_are_no_safetensors_are_refused(parts, root, tmp_path):
    good = parts["weights.safetensors"]
    for bad in (b"", pickle.dumps({"w": 1}), good[:-1], good + b"x", struct.pack("<Q", 2**60) + good[8:]):
        parts["weights.safetensors"] = bad
        refuse(build(tmp_path / "a.zip", parts), root, "no valid safetensors file")


@pytest.mark.parametrize("name", ["config.json", "status.json"])
def test_a_zip_without_its_papers_is_refused(parts, root, tmp_path, name):
    good = json.loads(parts[name])
    for bad in (b"{", b"[]", json.dumps({**good, "format": 7, "state": "lost"}).encode(), None):
        if bad is None:
            del parts[name]
        else:
            parts[name] = bad
        refuse(build(tmp_path / "a.zip", parts), root, name)


@pytest.mark.parametrize("bad", ["../../x", "/abs", "latest", "20260101-0-ff-ab12/..", "20260101-000000-ff-ab12\n", 7])
def test_an_id_that_could_lead_elsewhere_is_refused(parts, root, tmp_path, bad):
    parts["config.json"] = json.dumps({**json.loads(parts["config.json"]), "id": bad}).encode()
    refuse(build(tmp_path / "a.zip", parts), root, "no valid id")


def test_what_is_no_zip_is_refused(run, root, tmp_path):
    (tmp_path / "a.zip").write_text("hello")
    for place in (tmp_path / "a.zip", tmp_path / "nowhere.zip", tmp_path):
        refuse(place, root, "choose a zip that `ffcore runs export` made")
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="choose another place with --runs"):
        runs.import_zip(tmp_path / "a.zip", tmp_path / "file")
    with pytest.raises(Refused):
        runs.import_zip(tmp_path / "a.zip", tmp_path / "new" / "root")
    assert not (tmp_path / "new").exists()


def test_a_zip_with_any_byte_wrong_is_refused_or_harmless(parts, root, tmp_path):
    good = build(tmp_path / "a.zip", parts).read_bytes()
    rng = random.Random(0)
    for n in range(300):
        bad = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        try:
            back = runs.import_zip(io.BytesIO(bad[: rng.randrange(len(bad))] if n % 5 == 0 else bad), root)
        except Refused:
            continue
        assert back.problem is None  # the flip hit something that zip does not check
        assert back.dir.parent == root
        runs.delete(back)
    assert len(names(root)) == 1


# what a run says of itself


def test_command_repeats_the_run(root):
    given = {
        "model.widths": [500, 500], "model.objective": "gap", "model.label_layers": None, "train.lr": 1e-3,
        "train.compile": True, "data.note": "a b; rm -rf $HOME 'x'", "data.code": "3",
    }  # fmt: skip
    config = {**CONFIG, "preset": "quick", "data": {"name": "my data/x.npz"}, "given": given, "test": False}
    words = shlex.split(runs.create(config, root).command())
    assert words[:14] == [
        "ffcore", "train", "--model", "ff", "--negatives", "hard_label", "--data", "my data/x.npz", "--preset", "quick",
        "--data-root", "/somewhere", "--seed", "3",
    ]  # fmt: skip
    assert words[-1] == "--no-test"
    settings = dict(word.split("=", 1) for word in words[15:-1:2])
    assert set(words[14:-1:2]) == {"--set"}

    def read(text):  # as the command line does
        try:
            return json.loads(text)
        except ValueError:
            return text

    assert {key: read(text) for key, text in settings.items()} == given
    assert settings["model.widths"] == "[500,500]"
    assert settings["model.objective"] == "gap"


def test_command_of_a_run_without_negatives(root):
    config = {**CONFIG, "model": {"name": "backprop"}, "negatives": None, "data_root": None}
    assert runs.create(config, root).command() == "ffcore train --model backprop --data mnist --seed 3"


def test_title_and_size(run):
    assert run.title() == "ff · hard_label · mnist · seed 3"
    run.write_config(facts=FACTS)
    assert run.title() == "ff · hard_label · MNIST · seed 3"
    before = run.size_bytes()
    run.replace("snapshots/epoch-0001.npz", bytes(1234))
    (run.dir / "link").symlink_to("/dev/zero")
    assert run.size_bytes() == before + 1234 == sum(len(data or b"") for name, data in tree(run.dir).items())


def test_config_is_read_again_when_the_worker_has_added_to_it(run):
    reader = runs.Run(run.dir)
    assert reader.config["facts"] == {}
    run.write_config(facts=FACTS)
    assert reader.config["facts"] == FACTS


def test_the_store_loads_no_torch():
    code = "import sys, ffcore.runs; sys.exit(bool({'torch', 'numpy', 'safetensors'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The trash, and what people put to a run


def test_a_discarded_run_is_gone_from_every_list_and_comes_back_as_it_was(run, root):
    run.write_status(state="done")
    before = tree(run.dir)
    runs.discard(run)
    assert runs.list_runs(root, bundled=False) == []
    with pytest.raises(Refused, match="no run"):
        runs.find(run.id, root)
    [there] = runs.discarded(root)
    assert there.id == run.id
    assert runs.restore(there.dir.name, root).dir == run.dir
    assert tree(run.dir) == before
    assert runs.discarded(root) == []


def test_a_run_does_not_come_back_over_another_one_or_from_elsewhere(run, root):
    run.write_status(state="done")
    place = runs.discard(run).dir
    run.dir.mkdir()
    with pytest.raises(Refused, match="is taken"):
        runs.restore(run.dir.name, root)
    for name in ("../x", "nope", ""):
        with pytest.raises(Refused, match="in the trash"):
            runs.restore(name, root)
    assert place.is_dir()


def test_the_trash_keeps_a_run_for_a_week(run, root):
    run.write_status(state="done")
    old = runs.discard(run).dir
    day = 86_400
    os.utime(old, (time.time() - 8 * day,) * 2)
    young = runs.create(CONFIG, root)
    young.write_status(state="done")
    runs.discard(young)
    assert [r.id for r in runs.discarded(root)] == [young.id]
    assert runs.purge(root, days=1) == 0
    assert runs.purge(root) == 1
    assert runs.discarded(root) == []


def test_a_trash_that_somebody_else_empties_meanwhile_is_no_failure(run, root, monkeypatch):
    run.write_status(state="done")
    there = runs.discard(run)
    listed = [there, rundir.Run(there.dir.with_name("gone"))]
    monkeypatch.setattr(runs, "_directories", lambda place: [r.dir for r in listed])
    monkeypatch.setattr(runs, "_looks_like_run", lambda directory: True)
    assert runs.discarded(root) == listed
    assert runs.purge(root) == 1


def test_what_cannot_be_removed_stops_neither_the_others_nor_a_new_one(run, root, monkeypatch):
    more = [runs.create(CONFIG, root) for _ in range(3)]
    for each in (run, *more):
        each.write_status(state="done")
    old = [runs.discard(each).dir for each in more]
    for directory in old:
        os.utime(directory, (0, 0))

    remove = shutil.rmtree

    def refuse(path, **_):
        if path == old[1]:
            raise PermissionError(errno.EACCES, "Permission denied")
        remove(path)

    def refuse_time(path):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    monkeypatch.setattr(os, "utime", refuse_time)
    there = runs.discard(run)
    assert {r.dir for r in runs.discarded(root)} == {there.dir, old[1]}
    with pytest.raises(Refused, match=f"cannot remove {old[1]}: Permission denied"):
        runs.purge(root)
    assert [r.dir for r in runs.discarded(root)] == [old[1]]


def test_the_living_are_not_discarded(run, holder):
    with pytest.raises(Refused, match="alive"):
        runs.discard(run)
    assert run.dir.is_dir()


@pytest.mark.parametrize("remove", [runs.delete, runs.discard])
def test_a_run_that_an_analysis_is_at_work_on_stays(run, root, remove):
    run.write_status(state="done")
    other = runs.create(CONFIG, root)
    other.write_status(state="done")
    for place in (run.dir, other.dir, root):  # with it, with the first of two runs, or in the runs folder
        finding = place / "analyses" / "similarity-0123456789abcdef"
        finding.mkdir(parents=True)
        request = {"kind": "similarity", "runs": [str(other.dir), str(run.dir)]}
        (finding / "request.json").write_bytes(files.to_json(request))
        (finding / "status.json").write_bytes(files.to_json({"state": "running"}))
        with FileLock(finding / ".lock"), pytest.raises(Refused, match=r"similarity\) is at work"):
            remove(run)
        (finding / "status.json").write_bytes(files.to_json({"state": "queued", "queued_at": time.time()}))
        with pytest.raises(Refused, match="at work"):  # its process is about to come
            remove(run)
        (finding / "status.json").write_bytes(files.to_json({"state": "queued", "queued_at": time.time() - 60}))
    remove(run)  # nobody holds them any more
    assert not run.dir.exists()


def test_tags_and_a_note_are_kept_with_the_run_and_travel_with_it(run, root, tmp_path):
    run.write_status(state="done")
    assert run.notes() == {"tags": [], "note": ""}
    runs.annotate(run, tags=[" good ", "good", "for  class", ""])
    runs.annotate(run, note=" see lr ")
    told = {"tags": ["good", "for class"], "note": "see lr"}
    assert run.notes() == told
    runs.export(run, tmp_path / "x.zip")
    assert runs.import_zip(tmp_path / "x.zip", root).notes() == told


def test_a_tag_given_at_the_start_is_the_first_until_it_is_taken_off(root):
    run = runs.create({**CONFIG, "tag": "study"}, root)
    assert run.notes()["tags"] == ["study"]
    runs.annotate(run, tags=[])
    assert run.notes()["tags"] == []


@pytest.mark.parametrize("text", ["{", "[]", '{"tags": "x", "note": 3}', '{"tags": [1, {}], "note": null}'])
def test_damaged_notes_are_none(run, text):
    (run.dir / "notes.json").write_text(text)
    assert run.notes() == {"tags": [], "note": ""}


def test_notes_of_an_imported_run_are_cut_where_they_are_too_long(run):
    (run.dir / "notes.json").write_text(json.dumps({"tags": ["x" * 99] * 99, "note": "y" * 9_999}))
    assert run.notes() == {"tags": ["x" * 40] * 20, "note": "y" * 2_000}


def test_too_many_words_and_a_bundled_run_are_refused(run):
    for more in ({"tags": ["x" * 41]}, {"tags": [str(i) for i in range(21)]}, {"note": "x" * 2_001}):
        with pytest.raises(Refused, match="shorten"):
            runs.annotate(run, **more)
    bundled = runs.create(CONFIG, run_dir=rundir.bundled_root() / "ff-mnist")
    with pytest.raises(Refused, match="bundled"):
        runs.annotate(bundled, tags=["x"])


def test_what_a_run_asked_for_makes_the_same_configuration_again():
    wanted = {"model": "ff", "negatives": "wrong_label", "data": "digits", "seed": 3, "test": False,
              "set": {"model.widths": [16], "model.objective": "threshold"}}  # fmt: skip
    config = configure(**wanted)
    assert rundir.asked(config) == wanted
    assert configure(**rundir.asked(config))["recipe"] == config["recipe"]
    assert rundir.set_words(wanted["set"]) == ["model.widths=[16]", "model.objective=threshold"]
