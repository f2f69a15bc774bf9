"""When steps are recorded and when not, told by a stand-in for the GPU; and what is counted for the speed figures."""

import gc
import importlib.util
import itertools
import json
import re
import shutil
import sys
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import toy_config

from ffcore import benchmarks, training
from ffcore.config import TrainSettings
from ffcore.data import DATASETS
from ffcore.errors import Refused
from ffcore.graphs import WARM, Graphs
from ffcore.training import Trainer


@pytest.fixture
def gpu(monkeypatch):
    """torch.cuda without a GPU: what is recorded runs at once, a replay is only counted."""
    told = SimpleNamespace(replays=0, recording=False, mode="default", waits=[])

    class Graph:
        def register_generator_state(self, generator):
            assert not told.recording

        def replay(self):
            told.replays += 1
            assert told.waits  # for what the recording began with

    @contextmanager
    def recording(graph, stream):
        told.recording = True
        told.waits.clear()
        assert not gc.isenabled()  # an older graph that dies now would spoil this one
        try:
            yield
        except RuntimeError:
            raise RuntimeError("a recording was spoilt")  # noqa: B904 as capture_end does
        finally:
            told.recording = False

    stream = SimpleNamespace(wait_stream=told.waits.append)
    fakes = {
        "CUDAGraph": Graph, "graph": recording, "Stream": lambda device: stream, "current_stream": lambda device: stream,
        "stream": lambda stream: nullcontext(), "set_stream": lambda stream: None, "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": lambda mode: setattr(told, "mode", mode),
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return told


def graphs_of(step, batch=4):
    weight = torch.nn.Parameter(torch.zeros(2))
    freed = []
    drawn = SimpleNamespace(freed=freed, clone_state=lambda: "as before", graphsafe_set_state=freed.append)
    return Graphs(step, batch, [drawn], [weight]), weight


def test_a_step_is_recorded_once_it_has_been_taken_often_enough_and_replayed_from_then_on(gpu):
    taken = []
    graphs, weight = graphs_of(lambda chosen, groups: taken.append((chosen.tolist(), set(groups))) or len(taken))
    batch = torch.arange(4)
    weight.grad = torch.ones(2)
    told = [graphs(batch + n, {0, 1}) for n in range(WARM + 3)]
    assert len(taken) == WARM + 1  # the last one while recording
    assert gpu.replays == 3
    assert told[WARM:] == [WARM + 1] * 3
    assert graphs.chosen.tolist() == (batch + WARM + 2).tolist()
    weight.grad = None
    graphs(batch, {0, 1})
    assert torch.equal(weight.grad, torch.ones(2))  # what the graph writes to
    graphs(batch, {1})  # another set of groups begins anew
    assert taken[-1] == ([0, 1, 2, 3], {1})
    assert list(graphs.recorded) == [{0, 1}]


def test_a_batch_of_another_size_is_never_replayed(gpu):
    taken = []
    graphs, _ = graphs_of(lambda chosen, groups: taken.append(len(chosen)))
    for _ in range(WARM + 2):
        graphs(torch.arange(4), {0})
        graphs(torch.arange(3), {0})
    assert taken.count(3) == WARM + 2
    assert gpu.replays == 2
    assert graphs.why is None


def test_a_step_that_waits_for_the_device_is_not_recorded(gpu):
    def step(chosen, groups):
        if gpu.mode == "warn":
            warnings.warn("called a synchronizing CUDA operation (Triggered internally …)", stacklevel=1)
        taken.append(gpu.recording)

    taken = []
    graphs, _ = graphs_of(step)
    for _ in range(WARM + 3):
        graphs(torch.arange(4), {0})
    assert taken == [False] * (WARM + 3)
    assert graphs.why == "a step reads from the device"
    assert gpu.replays == 0


def test_a_step_that_cannot_be_recorded_is_taken_as_before(gpu):
    def step(chosen, groups):
        taken.append(gpu.recording)
        if gpu.recording:
            weight.grad = torch.ones(2)  # lies in the memory of the recording that fails
            raise error

    for error in (RuntimeError("operation not permitted when stream is capturing\nmore"), torch.OutOfMemoryError("no room")):
        taken = []
        graphs, weight = graphs_of(step)
        for _ in range(WARM):
            graphs(torch.arange(4), {0})
        if isinstance(error, torch.OutOfMemoryError):
            with pytest.raises(torch.OutOfMemoryError, match="no room"):
                graphs(torch.arange(4), {0})
        else:
            graphs(torch.arange(4), {0})
            assert taken == [False] * WARM + [True, False]
            assert graphs.why == "a step cannot be recorded: operation not permitted when stream is capturing"
            assert [each.freed for each in graphs.generators] == [["as before"]]
        assert weight.grad is None


def test_graphs_are_for_a_gpu_and_for_models_whose_steps_are_alike(toy, monkeypatch):
    monkeypatch.setattr(training, "Graphs", lambda step, batch, *_: batch)

    def chosen(model, compiled, device):
        trainer = Trainer(toy_config(model, set={"train.compile": compiled, "train.batch_size": 600}), toy)
        assert trainer.graphs is None
        trainer.device = torch.device(device)
        return trainer._graphs()

    assert chosen("ff", "auto", "cuda") == 512  # no more images than there are
    assert chosen("ff", "auto", "cpu") is None
    assert chosen("ff", "off", "cuda") is None
    assert chosen("hybrid", "auto", "cuda") is None


def test_older_runs_say_yes_or_no_to_compiling():
    assert [TrainSettings(compile=word).compile for word in (True, False, "auto")] == ["fuse", "off", "auto"]


def test_the_learning_rate_is_that_of_pytorchs_own_cycle(toy):
    trainer = Trainer(toy_config("ff", set={"train.epochs": 3}), toy)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=trainer.train.lr)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, trainer.train.lr, total_steps=trainer.steps + 1, cycle_momentum=False
    )
    for taken in range(trainer.steps):
        trainer.taken[0] = taken
        assert trainer.rate(0) == optimiser.param_groups[0]["lr"]
        optimiser.step()
        cycle.step()


def test_products_are_counted_as_by_hand():
    sizes, batch = [784, 500, 500], 512
    one, two = 784 * 500, 500 * 500
    backprop = benchmarks.products("backprop", sizes, 10, batch)
    assert backprop == 2 * batch * (2 * one + 3 * (two + 5_000))
    alone = benchmarks.products("ff", sizes, 10, batch, head_every=10**9)
    apart = benchmarks.products("ff", sizes, 10, batch, shared=False, head_every=10**9)
    assert alone == pytest.approx(2 * batch * (2 * one + 4 * two))
    assert apart == pytest.approx(2 * batch * (4 * one + 4 * two))
    assert alone / backprop == pytest.approx(1.15, abs=0.01)
    assert benchmarks.products("mono_forward", sizes, 10, batch) == 2 * batch * (2 * (one + two) + 30 * 1_000)


def test_a_race_counts_seconds_of_training_and_ends_at_the_last_epoch(toy):
    told = benchmarks.race(Trainer(toy_config("ff", set={"train.epochs": 4, "train.telemetry": False}), toy))
    assert [row["epoch"] for row in told] == [1, 2, 3, 4]
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(told))
    assert told[-1]["accuracy"] > told[0]["accuracy"]


def test_trainers_take_turns_and_train_in_the_meantime(toy):
    trainers = [
        Trainer(toy_config(model, set={"train.telemetry": False, "train.epochs": 100}), toy) for model in ("ff", "backprop")
    ]
    told = benchmarks.pace(trainers, steps=4, repeats=3, warm=2)
    assert [trainer.step for trainer in trainers] == [14, 14]
    assert all(0 < p.low <= p.seconds <= p.high for p in told)


# `ffcore bench`

TINY = benchmarks.Size(
    1, 2, (1, 2), 1, ("ff", "backprop"), (8, 16), (1, 4), (32, 64), (2, 5), (256, 512), 1, 400
)  # fmt: skip


@pytest.fixture
def tiny(monkeypatch):
    """`ffcore bench --quick` on tiny nets and 8 × 8 digits."""
    monkeypatch.setattr(benchmarks, "QUICK", TINY)
    monkeypatch.setattr(benchmarks, "SHAPE", {"model.widths": [16, 16], "train.batch_size": 64})
    monkeypatch.setattr(benchmarks, "peaks", lambda *_: {"operations": 1e9})
    monkeypatch.setattr(benchmarks, "TARGETS", (0.2, 0.999))
    monkeypatch.setattr(benchmarks, "STUDY", 0.2)
    monkeypatch.setattr(benchmarks, "SMALL_NET", 0.999)
    monkeypatch.setitem(benchmarks.RULES, "cwc", {"model": "cwc", "set": {"model.channels": [10, 10]}})


def test_the_command_tells_rows_of_the_contract_and_nothing_else(tiny):
    from click.testing import CliRunner

    from ffcore.cli import cli

    done = CliRunner().invoke(cli, ["bench", "--quick", "--data", "digits", "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {row["bench"] for row in told["results"]} == set(benchmarks.BENCHES)
    for row in told["results"]:
        assert row.keys() >= {"name", "value", "unit", "n", "spread", "ratio"}
        if row["value"] is not None:
            assert row["spread"][0] <= row["value"] <= row["spread"][1]
    rows = {row["name"]: row for row in told["results"]}
    assert rows["step, backprop"]["ratio"] == 1
    assert rows["seconds to 20.0%, ff"]["value"] > 0
    assert rows["seconds to 99.9%, ff"]["value"] is None
    deep, shallow = (rows[f"kept for backward, depth {n}, backprop"]["value"] for n in (4, 1))
    assert deep > shallow
    assert rows["kept for backward, depth 4, mono_forward"]["value"] < deep
    assert told["machine"]["data"] == "digits"
    assert f"read-out of {DATASETS['digits'].sizes['test']} images, label by label" in rows
    theirs = rows["the reference study's training, extrapolated to 50,000 images"]
    assert re.fullmatch(r"the [\d.]+ s in which ff is at 20\.00%", theirs["against"])
    assert theirs["value"] / theirs["ratio"] == pytest.approx(float(theirs["against"].split()[1]), abs=0.006)
    beyond = rows["30 epochs of explore_forward_forward's steps, on 60,000 images"]
    assert (beyond["ratio"], beyond["against"]) == (None, "ff, which did not reach 99.90%")
    step = rows["the reference study's step, measured on 400 images"]
    assert theirs["value"] == pytest.approx(2_000 * step["value"] * 50_000 / 400)


def test_an_unknown_bench_is_refused_by_name():
    with pytest.raises(Refused, match="no bench named 'step'; did you mean 'steps'"):
        benchmarks.bench(["step"])


def test_ratios_are_of_what_was_measured_in_turn():
    assert benchmarks.median_ratio([2, 4, 60], [1, 2, 30]) == 2  # the machine slowed down thirtyfold, for both
    assert benchmarks.row("x", [3, 1, 2], "s")["spread"] == [1, 3]
    assert benchmarks.row("x", [], "s")["value"] is None


def test_growth_is_the_exponent():
    assert benchmarks.slope([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_what_is_kept_for_backward_grows_with_depth_only_where_the_error_comes_from_above(toy):
    def kept(model, depth):
        widths = {"model.widths": [32] * depth, "train.telemetry": False, "train.precision": "float32"}
        return benchmarks.kept_for_backward(Trainer(toy_config(model, set=widths), toy))

    assert kept("backprop", 6) - kept("backprop", 3) == 3 * 64 * 32 * 4  # bytes of a batch's activity in three layers
    assert kept("ff", 6) == kept("ff", 3)
    assert kept("mono_forward", 6) == kept("mono_forward", 3)


def test_a_target_takes_the_seconds_of_the_shortest_length_whose_median_reaches_it():
    ended = {
        4: [{"accuracy": a, "seconds": s} for a, s in ((0.96, 4.0), (0.97, 5.0), (0.98, 6.0))],
        2: [{"accuracy": a, "seconds": s} for a, s in ((0.99, 1.0), (0.9, 2.0), (0.9, 3.0))],
    }
    assert benchmarks.reaching(ended, (0.9, 0.97, 0.98)) == {0.9: [1.0, 2.0, 3.0], 0.97: [4.0, 5.0, 6.0]}


# bench/gpu.py and bench/h100.py


@pytest.fixture
def h100(tmp_path, monkeypatch):
    """The script that makes the table of results, with a table of its own to write to."""
    place = Path(benchmarks.__file__).parents[1] / "bench" / "h100.py"
    spec = importlib.util.spec_from_file_location("h100", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STORED", shutil.copy(module.STORED, tmp_path / "h100.json"))
    return module


def written(tmp_path, name: str, **parts) -> str:
    (tmp_path / name).write_text(json.dumps({"parts": {key: {"result": value} for key, value in parts.items()}}))
    return str(tmp_path / name)


def test_results_of_a_gpu_become_rows_and_what_was_not_measured_stays(h100, tmp_path, monkeypatch):
    before = json.loads(h100.STORED.read_text())["results"]
    step = {"widths": [500, 500], "how": "graph", "operations": 1e9}
    steps = [{**step, "rule": "ff", "rounds": [2.0, 4.0, 60.0]}, {**step, "rule": "backprop", "rounds": [1.0, 2.0, 30.0]}]
    ends = [{"preset": "paper", "epochs": 30, "widths": [500, 500], "accuracy": a} for a in (0.98, 0.99)]
    files = [
        written(tmp_path, "a.json", ceilings={"bf16": {"operations": 1e12}}, steps=steps),
        written(tmp_path, "b.json", presets=ends),
    ]
    monkeypatch.setattr(sys, "argv", ["h100.py", *files])
    h100.main()
    after = json.loads(h100.STORED.read_text())["results"]
    rows = {row["name"]: row for row in after}
    assert (rows["step, ff, 500-500, graph"]["ratio"], rows["step, ff, 500-500, graph"]["n"]) == (2, 3)
    assert rows["test accuracy, paper (500-500, 30 epochs)"]["value"] == pytest.approx(0.985)
    assert [row for row in after if row["bench"] == "race"] == [row for row in before if row["bench"] == "race"]


def test_a_part_that_two_files_tell_is_refused(h100, tmp_path):
    files = [written(tmp_path, name, presets=[]) for name in ("a.json", "b.json")]
    with pytest.raises(SystemExit, match=r"b\.json: 'presets' is told by an earlier file, too"):
        h100.parts(files)
