"""Laws of the store of analyses: asked once, computed once, lost by no accident, and readable whatever lies there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
from filelock import FileLock

import ffcore
from ffcore import analyses, files, runs, worker
from ffcore.errors import Failed, Refused
from ffcore.lab import ANALYSES
from ffcore.lab.generate import NO_SLOPE
from ffcore.models import MODELS

TALLY = """
import time
from pathlib import Path

import numpy as np

from ffcore.errors import Failed, Refused
from ffcore.lab import ANALYSES
from ffcore.lab.base import Analysis
from ffcore.registry import Settings

HERE = Path(__file__).parent


@ANALYSES.register("tally")
class Tally(Analysis):
    title, source, most = "Tally", "a test", 2

    class Settings(Settings):
        n: int = 1
        epoch: int | None = None

    @classmethod
    def resolve(cls, settings, runs):
        return {**settings, "n": min(settings["n"], 100)}

    @classmethod
    def check_here(cls, settings, runs):
        if (HERE / "away").exists():
            raise Refused("the images are not here; fetch them")

    @classmethod
    def measure(cls, runs, settings, tell, root):
        with (HERE / "computed").open("a") as file:
            file.write(f"{settings.n}\\n")
        tell(0.5, "counting")
        while (HERE / "wait").exists():
            tell(0.5, "waiting")
            time.sleep(0.02)
        if (HERE / "wrong").exists():
            pass
        bias = runs[0].model.incoming()[0][1].detach().numpy()
        return {"n": settings.n, "told": runs[0].epoch}, {"row": np.arange(settings.n), "bias": bias}
"""


@pytest.fixture
def tally(tmp_path, monkeypatch):
    """A folder with a plug-in analysis that counts (in `computed`), and waits while there is `wait`."""
    folder = tmp_path / "plugins" / "lab"
    folder.mkdir(parents=True)
    (folder / "tally.py").write_text(TALLY)
    monkeypatch.setenv("FFCORE_PLUGINS", str(folder.parent))
    return folder


def computed(tally) -> int:
    path = tally / "computed"
    return len(path.read_text().split()) if path.exists() else 0


def until(said, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def ask(run, **settings) -> analyses.Finding:
    return ffcore.find_analysis("tally", run, **settings)


# The same question


def test_the_same_question_is_one_directory_and_computed_once(store, tally):
    run = store["ff"]
    first, again = (ffcore.analyse("tally", ref, n=3) for ref in (run, run.id))
    assert first.dir == again.dir == ask(run, n=3).dir
    assert first.dir.parent == run.dir / "analyses"
    assert computed(tally) == 1
    assert (again.state, again.result()["n"], again.result()["runs"]) == ("done", 3, [run.id])
    assert np.array_equal(again.arrays()["row"], [0, 1, 2])
    ffcore.submit_analysis(again)
    assert again.state == "done"


def test_questions_that_come_to_the_same_are_the_same(store, tally):
    """None is not given; what `resolve` makes equal is equal; the last epoch is the net as it is."""
    same = [{"n": 100}, {"n": 200}, {"n": 100, "epoch": None}, {"n": 100, "epoch": 2}]
    assert len({ask(store["ff"], **settings).dir for settings in same}) == 1


def test_another_setting_epoch_run_order_version_or_code_is_another_question(store, tally, monkeypatch):
    ff, bp = store["ff"], store["backprop"]
    find = ffcore.find_analysis
    asked = [find("tally", ff), find("tally", ff, n=2), find("tally", ff, epoch=0), find("tally", ff, epoch=1)]
    asked += [find("tally", bp), find("tally", ff, bp), find("tally", bp, ff)]
    (tally / "tally.py").write_text(TALLY + "\n# mended\n")
    asked.append(find("tally", ff))
    monkeypatch.setattr(ANALYSES["tally"], "version", 2)
    asked.append(find("tally", ff))
    assert len({finding.dir.name for finding in asked}) == len(asked)


def test_a_run_that_has_gone_on_is_asked_anew(store, tally):
    run = store["paused"]
    first = ffcore.analyse("tally", run)
    ffcore.resume(run)
    assert ask(run).state == "absent"
    assert ffcore.stored_analyses(run, "tally") == []
    assert ffcore.analyse("tally", run).dir != first.dir


def test_unlike_nets_that_began_with_the_same_weights_do_not_share_an_answer(store, tally, no_bundle, monkeypatch):
    """Of bundled runs, which lie read-only, all answers are in one folder."""
    monkeypatch.setattr(analyses, "_read_only", lambda folder: True)
    run = store["ff"]
    other = ffcore.Run(shutil.copytree(run.dir, run.dir.with_name("other")))
    other.write_config(id=run.id[:-4] + "ffff", recipe="another")
    one, two = (ffcore.analyse("tally", r, epoch=0) for r in (run, other))
    assert one.dir.parent == two.dir.parent == runs.runs_root() / "analyses"
    assert one.dir != two.dir
    assert [f.dir for f in ffcore.stored_analyses(other, "tally")] == [two.dir]


# Where answers lie


def test_a_bundled_runs_answers_lie_in_the_runs_folder(store, tally, no_bundle, tmp_path):
    place = shutil.copytree(store["ff"].dir, tmp_path / "bundled" / "small")
    run = ffcore.find("small")
    assert run.bundled
    finding = ffcore.analyse("tally", run)
    assert finding.dir.parent == runs.runs_root() / "analyses"
    assert not (place / "analyses").exists()
    assert [f.dir for f in ffcore.stored_analyses(run, "tally")] == [finding.dir]
    assert ffcore.stored_analyses(store["ff"], "tally") == []  # the same weights under another name


def test_an_answer_is_found_wherever_it_was_stored(store, tally, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(analyses, "_read_only", lambda folder: True)
        stored = ffcore.analyse("tally", store["ff"])
    assert ffcore.analyse("tally", store["ff"]).dir == stored.dir
    assert computed(tally) == 1


def test_a_folder_that_takes_no_file_is_told_in_a_line(store, tally, monkeypatch):
    (store["ff"].dir / "analyses").write_text("in the way")
    for do in (lambda: ffcore.analyse("tally", store["ff"]), lambda: ffcore.submit_analysis(ask(store["ff"]))):
        with pytest.raises(Failed, match=r"cannot write analyses in .*mend that") as told:
            do()
        assert "\n" not in str(told.value)


def test_what_this_machine_lacks_matters_only_where_there_is_no_answer(store, tally):
    finding = ffcore.analyse("tally", store["ff"])
    (tally / "away").touch()
    assert ask(store["ff"]).dir == finding.dir
    with pytest.raises(Refused, match="the images are not here"):
        ask(store["ff"], n=2)


# Questions that make no sense


def test_a_question_that_makes_no_sense_is_refused_and_nothing_is_made(store, tally):
    before = sorted(store["ff"].dir.rglob("*"))
    queued = store["queued"]
    for kind, refs, settings, why in [
        ("talli", [store["ff"]], {}, "no analysis named 'talli'; did you mean 'tally'"),
        ("tally", [], {}, "tally takes 1 to 2 runs, not 0"),
        ("tally", [store["ff"]] * 3, {}, "tally takes 1 to 2 runs, not 3"),
        ("health", [store["ff"]] * 2, {}, "health takes 1 run, not 2"),
        ("tally", ["nobody"], {}, "no run 'nobody'"),
        ("tally", [store["ff"]], {"m": 1}, r"no setting 'tally\.m'"),
        ("tally", [store["ff"]], {"n": "x"}, r'tally\.n="x"'),
        ("tally", [store["ff"]], {"epoch": 7}, r"kept no weights of epoch 7; it has those of \[0, 1, 2\]"),
        *((kind, [queued], {}, "has no weights yet") for kind in ("tally", *ANALYSES)),
    ]:
        with pytest.raises(Refused, match=why):
            ffcore.find_analysis(kind, *refs, **settings)
    assert sorted(store["ff"].dir.rglob("*")) == before
    assert ffcore.stored_analyses(queued, "tally") == []


def test_a_damaged_run_is_refused(store, tally):
    (store["ff"].dir / "config.json").write_text("[]")
    with pytest.raises(Refused, match=r"is damaged: config\.json is not a JSON object"):
        ask(store["ff"])
    assert ffcore.stored_analyses(store["ff"], "tally") == []


def test_a_run_that_ended_without_weights_names_the_epochs_that_it_kept(store, tally):
    run = store["failed"]
    for file in run.dir.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(Refused, match=r"has no weights \(it is failed\); name one of the epochs \[0, 1\], which it kept"):
        ask(run)
    assert ffcore.analyse("tally", run, epoch=0).result()["told"] == 0


@pytest.mark.parametrize("kind", ["health", "similarity", "embed"])
def test_own_images_that_are_gone_or_no_longer_the_same_are_told_in_a_line(tmp_path, kind):
    path = own_data(tmp_path / "own.npz", (1, 5, 6), 3)
    small = {"model.widths": [6], "data.validation": 30}
    run = ffcore.train(model="ff", data=str(path), epochs=1, device="cpu", set=small)
    own_data(path, (1, 5, 6), 3, seed=1)
    with pytest.raises(Refused, match="is no longer the data that run"):
        ffcore.analyse(kind, run)
    path.unlink()
    with pytest.raises(Refused, match=r"own\.npz are not here; put them back there"):
        ffcore.find_analysis(kind, run)


# Whatever the net


def own_data(path, shape, classes, n=240, seed=0):
    """An .npz of noisy copies of one random picture per class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = (rng.random((classes, *shape))[y] + 0.2 * rng.standard_normal((n, *shape))).clip(0, 1)
    np.savez(path, x=(255 * x).astype("u1"), y=y)
    return path


@pytest.mark.parametrize("model", [name for name in MODELS if MODELS[name].faithful])
def test_every_model_can_be_asked_everything(tmp_path, model):
    """Of colour images that are not square, of three classes: all analyses tell of the same layers and images."""
    small = {"widths": [12, 10, 8] if model == "hybrid" else [12, 10], "channels": [6, 12], "latent": 5}
    small = {f"model.{key}": value for key, value in small.items() if key in MODELS[model].Settings.model_fields}
    images = own_data(tmp_path / "own.npz", (3, 6, 9), 3)
    run = ffcore.train(model=model, data=str(images), epochs=1, device="cpu", set={**small, "data.validation": 30})
    units = [len(bias) for _, bias in run.model.incoming()]
    health = ffcore.analyse("health", run, n=9_999)
    told, arrays = health.result(), health.arrays()
    assert [row["units"] for row in told["layers"]] == units
    assert [len(dead) for dead in told["units"]] == [(arrays[f"rate_{i}"] == 0).sum() for i in range(1, len(units) + 1)]
    assert arrays["images"].shape[1:] == (3, 6, 9)
    assert arrays["fields"].shape == (units[0], 6, 9) or model in ("conv_ff", "cwc")
    alike = ffcore.similarity(run)
    assert len(alike["rows"]) == len(units)
    assert all(value is None or value == pytest.approx(1) for value in alike["diagonal"])
    if told["layers"][0]["dead"] == 1:
        with pytest.raises(Refused, match="it is dead"):
            ffcore.analyse("embed", run, n=20, layer="1")
    else:
        layout = ffcore.analyse("embed", run, n=20, layer="1").arrays()
        assert layout["xy"].shape == (1, 20, 2)
        assert set(layout["prediction"].flatten()) <= {0, 1, 2}
    if model in NO_SLOPE:
        with pytest.raises(Refused, match="hands on no slope"):
            ffcore.analyse("generate", run, what="ascent", n=3)
    else:
        made = ffcore.analyse("generate", run, what="ascent", n=3, steps=20, smooth=0, jitter=0, ink=0)
        assert made.arrays()["images"].shape == (1, 3, 3, 6, 9)
        assert sum(row["after"] - row["before"] for row in made.result()["rows"]) > 0


# What goes wrong on the way


@pytest.mark.parametrize(
    ("code", "kind", "why"),
    [
        ("raise Refused('not this net; take another')", Refused, "not this net; take another"),
        ("raise Failed('diverged; lower it')", Failed, "diverged; lower it"),
        ("raise MemoryError", Failed, "out of memory; ask for fewer images"),
        ("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: 9 GB')", Failed, "ask for fewer images"),
        ("{}['a\\nb']", Failed, r"KeyError: .*log\.txt has the details"),
        ("return {'n': {1, 2}}, {}", Failed, "not JSON serializable"),
        ("return {'n': 'x' * 2**22}, {}", Failed, r"4\.0 MB of JSON, more than 4; ask for less"),
    ],
)
def test_an_analysis_that_fails_says_why_in_a_line_and_can_be_asked_again(store, tally, code, kind, why):
    (tally / "wrong").touch()
    (tally / "tally.py").write_text(TALLY.replace("            pass", f"            {code}"))
    finding = ask(store["ff"])
    with pytest.raises(kind, match=why) as told:
        ffcore.analyse("tally", store["ff"])
    status = finding.status()
    assert status["state"] == "failed"
    assert status["reason"] == " ".join(str(told.value).split())
    assert finding.result() is None
    assert "\n" not in status["reason"]
    (tally / "wrong").unlink()
    assert ffcore.analyse("tally", store["ff"]).result()["n"] == 1


def test_an_interrupted_one_is_cancelled_and_can_be_asked_again(store, tally):
    def interrupt(done, doing):
        if doing == "counting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ffcore.analyse("tally", store["ff"], progress=interrupt)
    assert ask(store["ff"]).status()["state"] == "cancelled"
    assert ffcore.analyse("tally", store["ff"]).state == "done"


def test_cancelling_what_this_process_computes_ends_the_analysis_and_not_the_process(store, tally):
    (tally / "wait").touch()
    finding = ask(store["ff"])

    def cancel():
        until(lambda: finding.status()["doing"] == "waiting")
        finding.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Failed, match="cancelled"):
        ffcore.analyse("tally", store["ff"])
    thread.join()
    assert finding.state == "cancelled"
    (tally / "wait").unlink()
    assert ffcore.analyse("tally", store["ff"]).state == "done"


# Processes


def test_a_killed_process_leaves_it_lost_and_asking_again_answers(store, tally):
    (tally / "wait").touch()
    finding = ask(store["ff"])
    ffcore.submit_analysis(finding)
    assert finding.state in ("queued", "running")
    until(lambda: finding.status()["doing"] == "waiting")
    told = finding.status()
    assert (told["state"], told["done"]) == ("running", 0.5)
    os.kill(json.loads((finding.dir / "status.json").read_bytes())["pid"], signal.SIGKILL)
    until(lambda: finding.state == "lost")
    assert "ask again" in finding.status()["reason"]
    assert finding.result() is None
    (tally / "wait").unlink()
    ffcore.submit_analysis(finding)
    until(lambda: finding.state == "done")
    assert finding.result()["n"] == 1
    assert not (finding.dir / "status.json").exists()


def test_cancelling_a_running_and_a_queued_process_leaves_no_answer(store, tally):
    (tally / "wait").touch()
    (runs.runs_root() / ".slots").mkdir()
    running, queued = ask(store["ff"]), ask(store["ff"], n=2)
    ffcore.submit_analysis(running)
    until(lambda: running.status()["doing"] == "waiting")
    taken = [FileLock(runs.runs_root() / ".slots" / f"cpu-{i}.lock") for i in range(worker.places())]
    running.cancel()
    until(lambda: running.state == "cancelled")
    for lock in taken:
        lock.acquire(timeout=60)
    ffcore.submit_analysis(queued)
    ffcore.submit_analysis(queued)  # a second click
    until(queued._locked)
    assert (queued.state, queued.status()["doing"]) == ("queued", "waiting for its turn")
    queued.cancel()
    until(lambda: queued.state == "cancelled")
    for lock in taken:
        lock.release()
    assert running.result() is queued.result() is None
    assert computed(tally) == 1
    (tally / "wait").unlink()
    assert ffcore.analyse("tally", store["ff"], n=2).state == "done"


def test_two_processes_that_ask_the_same_compute_it_once(store, tally):
    (tally / "wait").touch()
    code = "import sys, ffcore; print(ffcore.analyse('tally', sys.argv[1]).result()['n'])"
    command = [sys.executable, "-c", code, str(store["ff"].dir)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    finding, heard = ask(store["ff"]), []
    until(lambda: finding.status()["doing"] == "waiting")

    def third():
        ffcore.analyse("tally", store["ff"], progress=lambda done, doing: heard.append(doing))

    thread = threading.Thread(target=third)
    thread.start()
    until(lambda: heard)
    (tally / "wait").unlink()
    assert [process.communicate(timeout=90) for process in both] == [("1\n", "")] * 2
    thread.join()
    assert computed(tally) == 1
    assert set(heard) == {"another process is at it: waiting"}


def test_a_process_that_cannot_begin_says_why(store, tally, tmp_path):
    """Its runs folder has no place for the queue."""
    (runs.runs_root() / ".slots").write_text("in the way")
    finding = ask(store["ff"])
    ffcore.submit_analysis(finding)
    until(lambda: finding.state not in ("queued", "running"))
    told = finding.status()
    assert (told["state"], told["reason"][:19]) == ("failed", "cannot write .slots")
    elsewhere = ffcore.find_analysis("tally", store["ff"], root=str(tmp_path / "not" / "yet"))
    ffcore.submit_analysis(elsewhere)
    until(lambda: elsewhere.state == "done")


# Damage


RUBBISH = [b"", b"{", b"[1]", b"7", b"\xff\xfe", b"{}", b'{"kind": 3, "settings": [], "weights": 1, "runs": 2}', b"[" * 9_999]
STATUS = [
    {"state": ["running"]},
    {"state": "done"},
    {"state": "running", "done": "half", "doing": 7, "reason": []},
    {"state": "queued", "queued_at": "today", "pid": "1"},
    {"state": "queued", "queued_at": None, "pid": -1, "done": 10**400},
    {"state": "failed", "reason": {"a": 1}, "done": -3},
]


@pytest.mark.parametrize("name", ["result.json", "request.json", "status.json", "arrays.npz"])
@pytest.mark.parametrize("content", RUBBISH, ids=range(len(RUBBISH)))
def test_a_damaged_file_costs_a_line(store, tally, name, content):
    run = store["ff"]
    finding = ffcore.analyse("tally", run)
    good = finding.result()
    (finding.dir / name).write_bytes(content)
    finding = ask(run)
    lost = name == "result.json" and content[:2] != b'{"'  # else it says something, if not what we wrote
    assert finding.state == ("absent" if lost else "done")
    assert len(ffcore.stored_analyses(run, "tally")) == (not lost and name != "request.json")
    if name == "arrays.npz":
        with pytest.raises(Refused, match=f"delete {finding.dir} and ask again") as told:
            finding.arrays()
        assert "\n" not in str(told.value)
    elif finding.state == "absent":
        assert finding.result() is None
        assert ffcore.analyse("tally", run).result()["n"] == good["n"]
        assert computed(tally) == 2


def test_arrays_that_are_gone_are_missed(store, tally):
    finding = ffcore.analyse("tally", store["ff"])
    (finding.dir / "arrays.npz").unlink()
    with pytest.raises(Refused, match=r"are gone; delete .* and ask again"):
        finding.arrays()


@pytest.mark.parametrize("status", STATUS, ids=range(len(STATUS)))
def test_a_status_that_says_nonsense_is_sensible(store, tally, status):
    finding = ask(store["ff"])
    finding.dir.mkdir(parents=True)
    (finding.dir / "status.json").write_text(json.dumps(status))
    told = finding.status()
    assert told["state"] in ("absent", "lost", "failed")
    assert 0 <= told["done"] <= 1
    assert isinstance(told["doing"], str)
    assert told["reason"] is None or isinstance(told["reason"], str)
    finding.cancel()
    assert not (finding.dir / "cancel").exists()
    assert ffcore.analyse("tally", store["ff"]).state == "done"


@pytest.mark.parametrize("change", [{"runs": 7, "made": "now"}, {"runs": [], "made": [1]}, {"made": None}])
def test_an_edited_result_does_not_hide_the_others(store, tally, change):
    one, two = (ffcore.analyse("tally", store["ff"], n=n) for n in (1, 2))
    (one.dir / "result.json").write_bytes(files.to_json({**one.result(), **change}))
    assert [f.dir for f in ffcore.stored_analyses(store["ff"], "tally")] == [two.dir, one.dir]


def test_stored_answers_are_those_of_the_weights_that_are_there(store, tally, monkeypatch):
    run, made = store["ff"], [{"n": 2}, {"n": 3}, {"epoch": 0}]
    asked = [ffcore.analyse("tally", run, **settings).dir for settings in made]
    assert [f.dir for f in ffcore.stored_analyses(run, "tally")] == asked[::-1]
    (run.dir / "snapshots" / "weights-0000.safetensors").unlink()
    assert [f.dir for f in ffcore.stored_analyses(run, "tally")] == asked[1::-1]
    monkeypatch.setattr(ANALYSES["tally"], "version", 2)
    assert ffcore.stored_analyses(run, "tally") == []


# Journeys


def test_answers_travel_with_their_run_and_no_path_of_this_machine_does(store, tally, tmp_path, monkeypatch):
    run = store["ff"]
    (tally / "tally.py").write_text(TALLY.replace('"told":', '"where": str(runs[0].dir / "x"), "told":'))
    finding = ffcore.analyse("tally", run, n=4)
    ffcore.analyse("tally", run, epoch=0)
    (finding.dir / "log.txt").write_text("mine")
    (run.dir / "analyses" / "notes").mkdir()
    (run.dir / "analyses" / "notes" / "request.json").write_text("{}")
    runs.export(run, tmp_path / "a.zip")
    archive = zipfile.ZipFile(tmp_path / "a.zip")
    told = [name for name in archive.namelist() if name.startswith("analyses")]
    assert len(told) == 6
    assert {name.rpartition("/")[2] for name in told} == {"request.json", "result.json", "arrays.npz"}
    for name in archive.namelist():
        content = archive.read(name)
        assert str(tmp_path).encode() not in content, name
        assert str(run.dir.parent).encode() not in content, name
    back = runs.import_zip(tmp_path / "a.zip", tmp_path / "there")
    shutil.rmtree(runs.runs_root())
    monkeypatch.setenv("FFCORE_RUNS", str(tmp_path / "there"))
    assert len(ffcore.stored_analyses(back, "tally")) == 2
    found = ffcore.analyse("tally", back, n=4)
    assert found.dir == back.dir / "analyses" / finding.dir.name
    assert found.arrays()["row"].tolist() == [0, 1, 2, 3]
    assert computed(tally) == 2


def test_the_path_of_own_data_stays_here(store, tally, tmp_path):
    run, own = store["ff"], str(tmp_path / "private" / "faces é.npz")
    run.write_config(data={**run.config["data"], "name": own})
    (tally / "tally.py").write_text(TALLY.replace('"told":', '"data": runs[0].config["data"]["name"], "told":'))
    finding = ffcore.analyse("tally", run)
    assert finding.result()["data"] == own
    runs.export(run, tmp_path / "a.zip")
    told = json.loads(zipfile.ZipFile(tmp_path / "a.zip").read(f"analyses/{finding.dir.name}/result.json"))
    assert told["data"] == "faces é.npz"


@pytest.mark.parametrize(
    "name",
    [
        "analyses/../../evil/request.json", "analyses/tally-0123456789abcdef/run.py", "analyses/tally-0123456789abcdef/.lock",
        "analyses/tally-0123456789abcdef/status.json", "analyses/tally-0123456789abcdef/cancel",
        "analyses/TALLY-0123456789abcdef/result.json", "analyses/tally-012345678/result.json", "analyses/result.json",
        "analyses/tally-0123456789abcdef/deeper/result.json",
    ],
)  # fmt: skip
def test_no_other_file_comes_in_with_them(store, tmp_path, name):
    runs.export(store["ff"], tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr(name, b"{}")
    with pytest.raises(Refused, match="is no part of a run directory"):
        runs.import_zip(tmp_path / "a.zip", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_arrays_that_would_fill_the_memory_do_not_come_in(store, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_UNPACKED", 3 * 2**20)
    runs.export(store["ff"], tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        large = tmp_path / "large.npz"
        np.savez_compressed(large, row=np.zeros(4 * 2**20, np.uint8))
        archive.write(large, "analyses/tally-0123456789abcdef/arrays.npz")
    with pytest.raises(Refused, match="too many bytes"):
        runs.import_zip(tmp_path / "a.zip", tmp_path / "there")
