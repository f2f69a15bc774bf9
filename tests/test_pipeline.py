"""Layers a batch apart: lower ones take the next batch while upper ones learn from the last, and nothing else changes."""

import contextlib
import itertools
import threading

import pytest
import torch
from conftest import toy_config

from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward
from ffcore.negatives import STRATEGIES
from ffcore.training import Trainer

EVEN = 21  # of 42 pixels: two such layers cost 2 · 42 · 21 and 4 · 21 · 21 products


@pytest.fixture
def threads():
    """Sets how many threads compute, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def trainer_of(toy, model="ff", negatives="hard_label", widths=(EVEN, EVEN), **more):
    settings = {"model.widths": list(widths), "train.batch_size": 32, "train.epochs": 3, **more}
    return Trainer(toy_config(model, toy, negatives=negatives, set=settings), toy)


def trained(trainer):
    """Its state at the end of training, and what it told of its layers on the way, by step."""
    told = {event["step"]: event["layers"] for event in trainer.events() if event["event"] == "tick"}
    return trainer.state()[0], told


def assert_equal(states, others):
    assert states.keys() == others.keys()
    for name, tensor in states.items():
        assert torch.equal(tensor, others[name]), name


@pytest.mark.parametrize(
    ("more", "landing"),
    [
        ({}, 1),
        ({"widths": (EVEN,) * 4}, 2),
        ({"negatives": "wrong_label", "train.optimiser": "sgd"}, 1),
        ({"train.precision": "bf16"}, 1),
        ({"train.head_every": 3, "model.votes": [2]}, 1),
        ({"train.drop_pixels": 0.3, "train.shift": 1}, 1),
    ],
)
def test_a_batch_apart_every_number_is_the_same(toy, threads, more, landing, monkeypatch):
    monkeypatch.setattr("ffcore.training.TICK", 0)
    threads(2)
    apart, where = trainer_of(toy, **more), set()
    assert apart.landing == landing
    take = apart._take
    apart._take = lambda *args: where.add(threading.current_thread()) or take(*args)
    after, late = trained(apart)
    assert len(where) > 1
    assert torch.get_num_threads() == 2
    threads(1)
    before, told = trained(trainer_of(toy, **more, **{"train.pipeline": "off"}))
    assert_equal(after, before)
    first = {1 + epoch * apart.steps_per_epoch for epoch in range(3)}  # an epoch's first batch is waited for
    assert late == {step: told[step if step in first else step - 1] for step in told}


def test_a_state_saved_on_the_way_has_every_layer_at_the_same_batch(toy, threads, monkeypatch):
    monkeypatch.setattr("ffcore.training.TICK", 0)
    threads(2)
    whole, _ = trained(trainer_of(toy))
    cut, later, free = trainer_of(toy), trainer_of(toy), threading.Event()
    free.set()
    step = cut.optimisers[1].step
    cut.optimisers[1].step = lambda: free.wait(20) and step()
    with contextlib.closing(cut.events()) as events:
        for event in events:
            if event["event"] == "tick" and event["step"] == cut.steps_per_epoch + 2:
                cut.settle()
                free.clear()  # layer 2 is not done with the next batch when its state is asked for
            if event["event"] == "tick" and event["step"] == cut.steps_per_epoch + 3:
                break
        threading.Timer(0.1, free.set).start()
        saved = cut.state()
    assert torch.get_num_threads() == 2
    later.restore(*saved)
    assert_equal(trained(later)[0], whole)


@pytest.mark.parametrize("batch", [1, 16])  # of an epoch's 16
def test_what_goes_wrong_above_is_told_below(toy, threads, batch):
    threads(2)
    trainer, calls = trainer_of(toy, **{"train.epochs": 1}), itertools.count(1)

    def full():
        if next(calls) == batch:
            raise MemoryError("no room for layer 2")

    trainer.optimisers[1].step = full
    with pytest.raises(MemoryError, match="no room for layer 2"):
        list(trainer.events())
    assert torch.get_num_threads() == 2
    assert trainer.upstairs is None


@pytest.mark.parametrize(("widths", "landing"), [((EVEN,), 0), ((EVEN, 90), 0), ((90, 9), 0), ((EVEN, EVEN + 4), 1)])
def test_layers_part_only_where_both_halves_weigh_alike(toy, threads, widths, landing):
    threads(2)
    assert trainer_of(toy, widths=widths).landing == landing
    threads(1)
    assert trainer_of(toy, widths=widths).landing == 0


@pytest.mark.parametrize(
    "more",
    [
        {"train.pipeline": "off"},
        {"train.compile": "fuse"},
        {"train.schedule": "greedy"},
        {"train.schedule": "alternate"},
        {"train.schedule": "staggered"},
        {"train.batch_size": 64},  # eight batches
        {"negatives": "masking"},  # layer 1 sees two images
        {"train.homeostasis": 0.1},
        {"train.recycle": 50},
        {"negatives": "layer_wise"},
        {"negatives": "hard_mining"},
        {"negatives.layers": 2},
        {"negatives.layers": 0},
        {"negatives.by": "softmax"},
        {"model.sparsity": 0.1},
        {"model.activation": "gelu"},
    ],
)
def test_where_more_is_needed_than_what_the_layer_below_passes_on_all_learn_together(toy, threads, more):
    threads(2)
    assert trainer_of(toy, **more).landing == 0


def test_strategies_of_ones_own_wait_for_all_layers(toy, threads):
    """One that inherits may ask or draw more."""

    class Mine(STRATEGIES["hard_label"]):
        pass

    threads(2)
    assert STRATEGIES["hard_label"]().below
    assert not Mine().below


@pytest.mark.parametrize("name", [name for name in MODELS if issubclass(MODELS[name], ForwardForward) and name != "ff"])
def test_variants_learn_together(toy, name):
    assert MODELS[name](MODELS[name].Settings(), toy.shape, 4).costs() == []
