"""Runs as real processes: killed, paused, stopped, queued, out of disk, and taken up again without losing a bit."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import ffcore
from ffcore import cli, files, jobs, runs, training, worker
from ffcore.errors import Failed, Refused
from ffcore.models.ff import ForwardForward

ROOT = Path(ffcore.__file__).parents[1]
EPOCHS, STEPS = 10, 79  # and steps of an epoch
SMALL = {"model.widths": [32, 32], "train.batch_size": 16, "train.precision": "float32"}


def asked(epochs=EPOCHS, **settings):
    """A run of a few seconds, on real digits; it is in the middle of an epoch most of the time."""
    return {"data": "digits", "device": "cpu", "epochs": epochs, "set": {**SMALL, **settings}}


@pytest.fixture(autouse=True)
def one_place(monkeypatch):
    """One slot on whatever machine, one thread in every process: the same arithmetic. Nobody outlives a test."""
    monkeypatch.setattr(jobs, "cores", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield
    for run in runs.list_runs(bundled=False):
        if run.alive():
            os.kill(run.status()["pid"], signal.SIGKILL)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(one_thread, tmp_path_factory):
    """The run that nothing disturbs."""
    return ffcore.train(root=str(tmp_path_factory.mktemp("whole")), **asked())


def wait_for(run, reached, seconds=60):
    """Wait until `reached()`; a run that does not get there shows its log."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            log = run.dir / "log.txt"
            pytest.fail(f"{run.status()}\n{log.read_text() if log.exists() else 'no log'}")
        time.sleep(0.01)


def saved_step(run):
    """Steps in the saved state; 0 before there is one."""
    try:
        with safe_open(run.dir / "state.safetensors", "pt") as file:
            return json.loads(file.metadata()["state"])["step"]
    except OSError:
        return 0


def under_way(run):
    """Wait until the run has saved a state that is worth going on from."""
    wait_for(run, lambda: saved_step(run) > 0)
    assert run.state == "running"


def weights(run):
    return load_file(run.dir / "weights.safetensors")


def epochs(run):
    """The epoch events as they must repeat, without the clock."""
    clock = ("time", "seconds")
    return [{k: v for k, v in e.items() if k not in clock} for e in run.events()[0] if e["event"] == "epoch"]


def assert_nothing_lost(run, whole):
    """`run` ended where `whole` did: bit-equal weights, every epoch told once, every snapshot there and equal."""
    assert run.state == "done"
    ours, theirs = weights(run), weights(whole)
    assert ours.keys() == theirs.keys()
    assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []
    assert [e["epoch"] for e in epochs(run)] == list(range(EPOCHS + 1))
    assert epochs(run) == epochs(whole)
    steps = [e["step"] for e in run.events()[0] if "step" in e]
    assert steps == sorted(steps)
    assert run.snapshots() == whole.snapshots() == list(range(EPOCHS + 1))
    for epoch in (1, EPOCHS):
        ours, theirs = run.snapshot(epoch), whole.snapshot(epoch)
        assert [key for key in theirs if not np.array_equal(ours[key], theirs[key])] == []
    assert run.status()["result"]["readouts"] == whole.status()["result"]["readouts"]
    assert not (run.dir / "state.safetensors").exists()


# processes


def test_kill_nine_loses_nothing(whole, capsys, monkeypatch):
    run = ffcore.submit(**asked())
    under_way(run)
    os.kill(run.status()["pid"], signal.SIGKILL)
    wait_for(run, lambda: run.state == "lost", 5)
    monkeypatch.setattr(sys, "argv", ["ffcore", "runs", "list"])
    cli.main()
    line = next(line for line in capsys.readouterr().out.splitlines() if run.id in line)
    assert "lost" in line
    assert f"ffcore resume {run.id}" in line
    step = saved_step(run)
    assert 0 < step < EPOCHS * STEPS
    assert_nothing_lost(ffcore.resume(run), whole)
    begun = [(e["step"], e["resumed"]) for e in run.events()[0] if e["event"] == "start"]
    assert begun == [(0, False), (step, True)]


def test_one_place_is_shared_in_turn(whole):
    """First come, first served; a pause frees the place, and whoever goes on queues up again."""
    first = ffcore.submit(**asked())
    under_way(first)
    second, third = ffcore.submit(**asked(1)), ffcore.submit(**asked(1))
    for place, run in ((1, second), (2, third)):
        wait_for(run, run.alive)
        assert (run.state, ffcore.position(run)) == ("queued", place)
    assert ffcore.position(first) == 0

    assert ffcore.stop(third).state == "stopped"
    assert third.status()["reason"] == "before its turn came"
    assert second.state == "queued"
    with pytest.raises(Refused, match="is stopped, not running; there is nothing to pause"):
        ffcore.pause(third)

    assert ffcore.pause(first).state == "paused"
    wait_for(first, lambda: not first.alive(), 5)
    paused_at = saved_step(first)
    assert paused_at == first.status()["step"]
    ffcore.requeue(first)
    wait_for(second, lambda: second.state == "running")
    assert ffcore.position(first) == 1
    wait_for(first, lambda: first.state == "running")
    assert second.state == "done"  # the place was free only then
    wait_for(first, lambda: first.state == "done")
    assert_nothing_lost(first, whole)
    assert [e["step"] for e in first.events()[0] if e["event"] == "start"] == [0, paused_at]


def test_stop_takes_two_seconds_and_keeps_the_weights():
    run = ffcore.submit(**asked(10_000))
    under_way(run)
    with pytest.raises(Refused, match=f"run {run.id} is running; "):
        ffcore.resume(run)
    with pytest.raises(Refused, match=f"another process is training run {run.id}; "):
        worker.work(run, None, time.time())
    with pytest.raises(Refused, match="is alive"):
        ffcore.delete(run)
    with pytest.raises(Refused, match="another process is training"):
        ffcore.evaluate(run)
    assert run.state == "running"
    asked_at = time.monotonic()
    ffcore.stop(run)
    assert time.monotonic() - asked_at < 2
    status = run.status()
    assert (status["state"], status["eta"], run.alive()) == ("stopped", None, False)
    assert status["result"]["validation_accuracy"] > 0.5
    net = ffcore.load(run.id)
    assert torch.equal(net.model.weights[0], weights(run)["weights.0"])
    assert net.scores(torch.zeros(1, 8, 8))["goodness"].shape == (1, 10)


def test_sigterm_pauses_whether_a_run_trains_or_waits(whole):
    """What a machine that shuts down sends."""
    first = ffcore.submit(**asked())
    under_way(first)
    waiting = ffcore.submit(**asked(1))
    wait_for(waiting, lambda: waiting.status()["pid"])
    for run in (waiting, first):
        os.kill(run.status()["pid"], signal.SIGTERM)
        wait_for(run, lambda run=run: run.state not in runs.LIVE, 5)
        assert run.state == "paused"
    assert_nothing_lost(ffcore.resume(first), whole)
    assert ffcore.resume(waiting).state == "done"


def test_ctrl_c_pauses_a_run_in_the_foreground(whole, tmp_path):
    words = ["--data", "digits", "--device", "cpu", "--epochs", str(EPOCHS), "--run-dir", str(tmp_path / "mine"), "--json"]
    words += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    process = subprocess.Popen(
        [sys.executable, "-m", "ffcore", "train", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    run = runs.Run(tmp_path / "mine")
    under_way(run)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("error: interrupted; ")
    assert f"ffcore resume {run.dir}" in last  # it lies where `latest` would not look
    assert "Traceback" not in err
    assert run.state == "paused"
    assert_nothing_lost(ffcore.resume(str(run.dir)), whole)


# interruptions at the worst moment, in this process


def test_ctrl_c_within_a_step_leaves_no_half_step_behind(whole, monkeypatch):
    calls, term = [], ForwardForward.term

    def interrupted(self, layer, z, h):
        calls.append(layer)
        if len(calls) == 2 * 300:
            signal.raise_signal(signal.SIGINT)  # layer 1 has taken its step, layer 2 has not
        return term(self, layer, z, h)

    monkeypatch.setattr(ForwardForward, "term", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ffcore.train(**asked())
    run = runs.find("latest")
    assert run.state == "paused"
    assert saved_step(run) >= 300
    assert_nothing_lost(ffcore.resume(run), whole)


def test_a_second_ctrl_c_ends_at_once_and_the_saved_state_stays(whole, monkeypatch):
    monkeypatch.setattr(worker, "SAVE_SHARE", 0)
    calls, term = [], ForwardForward.term
    before = signal.getsignal(signal.SIGINT)

    def interrupted(self, layer, z, h):
        calls.append(layer)
        if len(calls) == 2 * 300:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return term(self, layer, z, h)

    monkeypatch.setattr(ForwardForward, "term", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ffcore.train(**asked())
    run = runs.find("latest")
    assert run.state == "paused"
    assert saved_step(run) == 299 // STEPS * STEPS
    assert_nothing_lost(ffcore.resume(run), whole)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_paused_after_its_last_step_still_ends_with_its_accuracies(whole):
    def pause_at_the_end(run, event):
        if event["event"] == "epoch" and event["epoch"] == EPOCHS:
            run.control("pause")

    run = ffcore.train(pause_at_the_end, **asked())
    assert run.state == "paused"
    known = run.status()["result"]["validation_accuracy"]
    again = ffcore.resume(run)
    assert again.status()["result"]["validation_accuracy"] == known
    assert_nothing_lost(again, whole)


def test_pausing_twice_in_a_row_forgets_no_accuracy():
    def pause_at(step):
        return lambda run, event: event["step"] >= step and run.control("pause")

    run = ffcore.train(pause_at(STEPS), **asked(3))
    known = run.status()["result"]
    assert known["validation_accuracy"] > 0
    ffcore.resume(run, pause_at(0))
    assert (run.state, run.status()["result"]) == ("paused", known)
    assert ffcore.stop(run).state == "stopped"  # a paused one needs no process to keep its weights
    assert torch.equal(ffcore.load(run.id).model.weights[0], weights(run)["weights.0"])


# what goes wrong


def test_a_diverged_run_says_why_and_keeps_its_last_good_weights(monkeypatch, capsys):
    monkeypatch.setattr(training, "TICK", 0)
    monkeypatch.setattr(worker, "SAVE_EVERY", 0)  # a state after every step
    wild = {"train.optimiser": "sgd", "train.lr": 10.0, "train.lr_schedule": "constant", "model.norm": "none",
            "model.objective": "threshold", "model.alpha": 1000.0}  # fmt: skip
    with pytest.raises(Failed, match=r"diverged at step \d+: .*; lower train.lr"):
        ffcore.train(**asked(3, **wild))
    run = runs.find("latest")
    status = run.status()
    assert status["state"] == "failed"
    assert status["reason"].startswith("diverged at step")
    assert "\n" not in status["reason"]
    assert run.events()[0][-1]["reason"] == status["reason"]
    assert status["reason"] in (run.dir / "log.txt").read_text()
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    assert weights(run)["weights.0"].any()
    monkeypatch.setattr(sys, "argv", ["ffcore", "runs", "show", run.id])
    cli.main()
    assert status["reason"] in capsys.readouterr().out


def test_a_step_that_breaks_a_weight_is_noticed_before_the_state_is_saved(monkeypatch):
    monkeypatch.setattr(training, "TICK", 0)
    monkeypatch.setattr(worker, "SAVE_EVERY", 0)
    learn = training.Trainer.learn_from

    def broken(self, chosen):
        terms = learn(self, chosen)  # whose losses are finite: they were taken before the step
        if self.step == 9:
            self.model.weights[0].data[0, 0] = float("nan")
        return terms

    monkeypatch.setattr(training.Trainer, "learn_from", broken)
    with pytest.raises(Failed, match="diverged at step 9: "):
        ffcore.train(**asked(1))
    run = runs.find("latest")
    assert saved_step(run) == 8
    assert all(torch.isfinite(value).all() for value in weights(run).values())


def test_a_full_disk_keeps_the_earlier_state_to_go_on_from(whole, monkeypatch):
    monkeypatch.setattr(worker, "SAVE_SHARE", 0)
    replace, before = files.replace, []

    def nearly_full(folder, name, content, durable=True):
        if name == "state.safetensors":
            if len(before) == 4:
                content = full
            else:
                before.append(folder / name)
        replace(folder, name, content, durable)

    def full(path):
        path.write_bytes(b"some of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(files, "replace", nearly_full)
        with pytest.raises(Failed, match=r"disk full while writing state.safetensors in .*; free some space and resume"):
            ffcore.train(**asked())
    run = runs.find("latest")
    status = run.status()
    assert (status["state"], status["reason"][:9]) == ("failed", "disk full")
    assert saved_step(run) == 2 * STEPS
    assert [p.name for p in run.dir.iterdir() if p.name.endswith(".tmp")] == []
    assert_nothing_lost(ffcore.resume(run), whole)


def paused(epochs=2, **more):
    """A run that paused itself after its first epoch."""

    def pause(run, event):
        if event["event"] == "epoch" and event["epoch"] == 1:
            run.control("pause")

    return ffcore.train(pause, **{**asked(epochs), **more})


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * 8 + b[8:], lambda b: b"{}"])
def test_a_damaged_state_is_one_line(damage):
    run = paused()
    state = run.dir / "state.safetensors"
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises((Failed, Refused), match=r"state.safetensors in .* is damaged .*; start the run again") as told:
        ffcore.resume(run)
    assert "\n" not in str(told.value)
    assert run.status()["state"] == "failed"
    assert run.status()["reason"] == str(told.value)
    assert [e["epoch"] for e in epochs(run)] == [0, 1]  # what was told stays


def test_a_run_without_its_state_is_not_begun_again_over_its_own_events():
    run = paused()
    (run.dir / "state.safetensors").unlink()
    with pytest.raises(Refused, match="has no saved state to go on from; train it anew: ffcore train "):
        ffcore.resume(run)
    assert [e["epoch"] for e in epochs(run)] == [0, 1]
    assert run.state == "paused"


def test_data_that_changed_under_a_run_are_refused(tmp_path):
    x, y = np.random.default_rng(0).integers(0, 255, (60, 8, 8), np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    run = paused(data=str(tmp_path / "mine.npz"))
    x[0, 0, 0] ^= 1
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    with pytest.raises((Failed, Refused), match=r"mine\.npz has changed since the run began; start a new run"):
        ffcore.resume(run)
    with pytest.raises(Refused, match=r"no longer the data that run .* was trained on; "):
        ffcore.evaluate(run)
    assert (run.dir / "state.safetensors").exists()
    x[0, 0, 0] ^= 1
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    assert ffcore.resume(run).state == "done"  # the old data are back, and nothing was lost


def test_relative_places_mean_the_same_to_the_process_behind_a_run(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", x=np.zeros((60, 8, 8), np.uint8), y=np.arange(60) % 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FFCORE_RUNS", "here")
    monkeypatch.setenv("FFCORE_DATA", "there")
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: started.append((command, how)))
    run = ffcore.submit(data="mine.npz", data_root="elsewhere", device="cpu", epochs=1)
    assert run.config["data"]["name"] == str(tmp_path / "mine.npz")
    assert run.config["data_root"] == str(tmp_path / "elsewhere")
    command, how = started[0]
    assert command[-1] == str(tmp_path / "here" / run.id)
    assert how["env"]["FFCORE_DATA"] == str(tmp_path / "there")
    assert how["start_new_session"]


def test_a_run_uses_as_many_threads_as_its_place_has_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    for module in (jobs, worker):
        monkeypatch.setattr(module, "cores", lambda: 9)
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: started.append(how["env"]))
    assert ffcore.submit(**asked(1)).config["slots"] == {"kind": "cpu", "count": 4}
    assert started[0]["OMP_NUM_THREADS"] == "2"
    assert started[0]["GOMP_SPINCOUNT"] == "2000"  # idle threads that spin would stall whoever trains beside


def test_what_a_study_has_trained_is_found_and_not_trained_again():
    wanted = {**asked(1), "tag": "study"}
    first = jobs.trained_once(wanted, None)
    assert jobs.trained_once(wanted, None).id == first.id
    other = jobs.trained_once({**wanted, "seed": 1}, None)
    assert {run.id for run in runs.list_runs(bundled=False)} == {first.id, other.id}


# A run that begins with the weights of another.


@pytest.fixture
def source(whole):
    """The undisturbed run, in this test's folder."""
    runs.runs_root().mkdir()
    shutil.copytree(whole.dir, runs.runs_root() / whole.id)
    return ffcore.load(whole.id)


def test_a_run_begins_with_the_weights_of_another_and_says_whose(source):
    branch = ffcore.train(**asked(epochs=0, **{"train.init_from": source.id}))
    assert all(torch.equal(value, source.model.state_dict()[key]) for key, value in branch.model.state_dict().items())
    assert f"--set train.init_from={source.id}" in branch.command()
    assert not (branch.dir / "start.safetensors").exists()  # its own state holds them


def test_a_run_goes_on_from_an_earlier_epoch_with_settings_of_its_own(source):
    branch = ffcore.train(**asked(epochs=1, **{"train.init_from": f"{source.id}@2", "train.lr": 1e-9}))
    earlier = ffcore.Trained(source.dir, 2).model.state_dict()
    for key, value in branch.model.named_parameters():
        torch.testing.assert_close(value, earlier[key], rtol=0, atol=1e-5)  # so small a rate moves next to nothing
    assert not torch.equal(branch.model.weights[0], source.model.weights[0])


def test_a_queued_branch_needs_its_source_no_more(source):
    expected = ffcore.train(**asked(epochs=2, **{"train.init_from": source.id}))
    branch, _ = jobs.prepare(**asked(epochs=2, **{"train.init_from": source.id}))
    shutil.rmtree(source.dir)
    jobs.start(branch)
    wait_for(branch, lambda: branch.state == "done")
    for key, value in load_file(branch.dir / "weights.safetensors").items():
        assert torch.equal(value, expected.model.state_dict()[key])


def test_a_branch_whose_weights_broke_in_the_queue_fails_and_trains_nothing_else(source):
    branch, images = jobs.prepare(**asked(epochs=2, **{"train.init_from": source.id}))
    (branch.dir / "start.safetensors").write_bytes(b"half")
    with pytest.raises(Failed, match=r"start\.safetensors .* is damaged .*; start the run again: ffcore train"):
        worker.work(branch, None, time.time(), images)
    assert branch.state == "failed"
    assert not branch.events()[0] or branch.events()[0][0]["event"] == "end"


def test_a_run_under_way_is_begun_from_only_at_an_epoch_that_it_kept(source):
    source.write_status(state="stopped")
    with pytest.raises(Refused, match=rf"it is stopped; name one of the epochs .*: {source.id}@EPOCH"):
        ffcore.train(**asked(epochs=0, **{"train.init_from": source.id}))
    branch = ffcore.train(**asked(epochs=0, **{"train.init_from": f"{source.id}@4"}))
    assert torch.equal(branch.model.weights[0], ffcore.Trained(source.dir, 4).model.weights[0])


@pytest.mark.parametrize(
    ("begin", "more", "says"),
    [
        ("{id}", {"model.widths": [32, 16]}, r"that net has other layers; give this one its own: .*'widths': \[32, 32\]"),
        ("{id}@3", {}, "kept no weights of epoch 3; it has those of"),
        ("nobody", {}, "no run 'nobody'"),
        ("latest", {}, "another run will be the latest soon; name it: 20"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_made(source, begin, more, says):
    with pytest.raises(Refused, match=says):
        ffcore.train(**asked(**{"train.init_from": begin.format(id=source.id), **more}))
    assert [run.id for run in runs.list_runs(bundled=False)] == [source.id]


def test_ticks_are_kept_however_short_the_epochs_are_and_grow_rare_with_the_age_of_a_run(monkeypatch):
    """Each step a tick, right after the end of an epoch: that end must not count as one."""
    monkeypatch.setattr(training, "TICK", 0.0)
    monkeypatch.setattr(worker, "SPARSE", 20)
    told = []
    run = ffcore.train(
        lambda _, event: told.append(event["seconds"]) if event["event"] == "tick" else None,
        data="digits", device="cpu", epochs=60, set={**SMALL, "train.batch_size": 2_000},
    )  # fmt: skip
    wanted, last = [], 0.0
    for seconds in told:
        if seconds - last >= seconds / worker.SPARSE:
            wanted.append(seconds)
            last = seconds
    kept = [event["seconds"] for event in run.events()[0] if event["event"] == "tick"]
    assert kept == wanted
    assert 10 < len(kept) < len(told) == 60
