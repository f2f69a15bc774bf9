"""When steps are recorded and when not, told by a stand-in for the GPU; and what is counted for the speed figures."""

import gc
import itertools
import warnings
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from conftest import toy_config

from ffcore import benchmarks, training
from ffcore.config import TrainSettings
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
