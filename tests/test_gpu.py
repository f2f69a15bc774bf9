"""The same laws on a CUDA device; skipped, aloud, where there is none."""

import pytest
import torch
from conftest import make_toy, toy_config

from ffcore.models import MODELS
from ffcore.negatives import STRATEGIES
from ffcore.readout import evaluate
from ffcore.training import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def on_cuda(data):
    """The toy data, resident on the GPU."""
    from dataclasses import replace

    parts = ("train", "validation", "test")
    return replace(data, **{k: type(data.train)(*(t.cuda() for t in getattr(data, k))) for k in parts})


HONEST = [name for name in MODELS if MODELS[name].faithful]


def weights(config, data):
    """The trainer at the end of a run, and its weights."""
    trainer = Trainer({**config, "device": "cuda"}, data)
    for _ in trainer.events():
        pass
    return trainer, {key: value.clone() for key, value in trainer.model.state_dict().items()}


def how(config, compiled):
    """The configuration with another way to take steps."""
    return {**config, "train": {**config["train"], "compile": compiled}}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("model", ["ff", "backprop", "layer_collab", "mono_forward", "cwc"])
def test_recorded_steps_are_those_taken_one_by_one(model, precision, toy):
    data = on_cuda(make_toy(n=500))  # seven full batches, and a last one that no graph fits
    config = toy_config(model, set={"train.precision": precision, "train.epochs": 3})
    recorded, one = weights(how(config, "auto"), data)
    eager, two = weights(how(config, "off"), data)
    assert eager.graphs is None
    assert recorded.graphs.why is None
    assert recorded.graphs.recorded
    assert all(torch.equal(one[key], two[key]) for key in one)
    for purpose, rng in recorded.rng.items():
        assert torch.equal(rng.get_state(), eager.rng[purpose].get_state())


@pytest.mark.parametrize("schedule", ["greedy", "alternate", "staggered"])
def test_every_set_of_layers_has_a_graph_of_its_own(schedule, toy):
    data = on_cuda(toy)
    config = toy_config("ff", set={"train.schedule": schedule, "train.epochs": 5, "train.homeostasis": 0.1, "train.recycle": 7})
    recorded, one = weights(how(config, "auto"), data)
    _, two = weights(how(config, "off"), data)
    assert len(recorded.graphs.recorded) > 1
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_recorded_optimisers_see_the_learning_rate_of_every_step(optimiser, toy):
    data = on_cuda(toy)
    config = toy_config("ff", set={"train.optimiser": optimiser, "train.epochs": 3})
    recorded, one = weights(how(config, "auto"), data)
    _, two = weights(how(config, "off"), data)
    assert recorded.graphs.recorded
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_recorded_steps_draw_anew(toy):
    data = on_cuda(toy)
    drawn = {"train.shift": 1, "train.flip": True, "train.drop_pixels": 0.2}
    config = toy_config("ff", set={**drawn, "train.epochs": 3})
    recorded, one = weights(how(config, "auto"), data)
    _, two = weights(how(config, "off"), data)
    assert recorded.graphs.recorded
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_replay_waits_for_a_recording_that_begins_late(toy, monkeypatch):
    """Its stream writes where random numbers are drawn from, and a busy GPU may come to that after the first replay: that one
    would draw others, or the write would meet memory that is somebody else's by then."""
    begin, replay, idle = torch.cuda.CUDAGraph.capture_begin, torch.cuda.CUDAGraph.replay, []

    def late(graph, *more, **named):
        torch.cuda._sleep(50_000_000)
        return begin(graph, *more, **named)

    def watched(graph):
        replay(graph)
        torch.cuda.current_stream().synchronize()
        idle.append(trainer.graphs.stream.query())

    monkeypatch.setattr(torch.cuda.CUDAGraph, "capture_begin", late)
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", watched)
    trainer = Trainer({**how(toy_config("backprop", set={"train.drop_pixels": 0.2}), "auto"), "device": "cuda"}, on_cuda(toy))
    for chosen in trainer.order(0, 0):
        trainer.learn_from(chosen)
    assert idle
    assert all(idle)


def test_after_a_spoilt_recording_steps_are_taken_one_by_one(toy, monkeypatch):
    data, config = on_cuda(toy), toy_config("ff", set={"train.epochs": 2, "train.drop_pixels": 0.2})
    _, two = weights(how(config, "off"), data)
    take = Trainer.take

    def spoils(self, chosen):
        x, y = take(self, chosen)
        if torch.cuda.is_current_stream_capturing():
            torch.rand(1, generator=self.rng["pixels"], device="cuda").item()
        return x, y

    monkeypatch.setattr(Trainer, "take", spoils)
    recorded, one = weights(how(config, "auto"), data)
    assert recorded.graphs.why.startswith("a step cannot be recorded")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_an_older_graph_that_dies_while_another_is_recorded_spoils_nothing(toy):
    import gc

    data, config = on_cuda(toy), toy_config("ff", set={"train.epochs": 1})
    before = gc.get_threshold()
    try:
        for _ in range(3):  # a trainer and its graphs hold one another, so only a collection frees them
            gc.set_threshold(1)
            recorded, _ = weights(how(config, "auto"), data)
            assert recorded.graphs.why is None
            assert recorded.graphs.recorded
            gc.set_threshold(100_000)
            del recorded
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize("compiled", ["auto", "off"])
@pytest.mark.parametrize("model", ["ff", "backprop", "layer_collab", "mono_forward", "cwc"])
def test_no_step_of_an_epoch_waits_for_the_device(model, compiled, toy):
    trainer = Trainer({**how(toy_config(model), compiled), "device": "cuda"}, on_cuda(toy))
    for chosen in (*trainer.order(0, 0), *trainer.order(1, 0), *trainer.order(2, 0)):  # graphs of both sets are there
        trainer.learn_from(chosen)
    order = trainer.order(3, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for chosen in order:
            trainer.learn_from(chosen)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_gradients_that_snapshots_tell_of_are_the_last_step_s(toy):
    data = on_cuda(toy)
    told = []
    for compiled in ("auto", "off"):
        trainer = Trainer({**how(toy_config("ff"), compiled), "device": "cuda"}, data)
        for n in range(21):
            trainer.learn_from(trainer.order(n // 8, n % 8)[0])
        told.append([p.grad.clone() for p in trainer.model.weights])
    assert all(torch.equal(a, b) for a, b in zip(*told, strict=True))


@pytest.mark.parametrize("model", HONEST)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_each_model_learns_on_the_gpu_and_repeats_itself(model, precision, toy):
    data = on_cuda(toy)

    def trained():
        config = {**toy_config(model, set={"train.precision": precision}), "device": "cuda"}
        trainer = Trainer(config, data)
        for _ in trainer.events():
            pass
        return trainer

    one, two = trained(), trained()
    assert evaluate(one.model, *data.test, precision).accuracy[one.model.readouts[0]] > 0.85
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_every_strategy_works_on_the_gpu(strategy, toy):
    data = on_cuda(toy)

    def trained():
        config = toy_config("ff", set={"train.epochs": 1})
        settings = STRATEGIES[strategy]().model_dump()
        trainer = Trainer({**config, "device": "cuda", "negatives": {"name": strategy, **settings}}, data)
        told = list(trainer.events())
        assert told[-1]["arrays"]["pos"].sum() > 0
        return trainer.model

    assert all(torch.equal(a, b) for a, b in zip(trained().parameters(), trained().parameters(), strict=True))


def test_resume_on_the_gpu_is_bit_identical(toy):
    data, config = on_cuda(toy), {**toy_config("ff", set={"train.epochs": 2}), "device": "cuda"}
    whole = Trainer(config, data)
    for _ in whole.events():
        pass
    half = Trainer(config, data)
    for x, y in list(half.batches(0, 0))[:5]:
        half.learn(x, y)
    tensors, metadata = half.state()
    other = Trainer(config, data)
    other.restore(tensors, metadata)
    for _ in other.events():
        pass
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), other.model.parameters(), strict=True))


def test_cpu_and_gpu_agree(toy):
    trainer = Trainer(toy_config("ff"), toy)
    x = toy.test.x[:20].float() / 255
    with torch.no_grad():
        here = trainer.model.label_goodness(x)
        there = trainer.model.cuda().label_goodness(x.cuda()).cpu()
    torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-4)
