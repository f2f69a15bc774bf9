"""The same laws on a CUDA device; skipped, aloud, where there is none."""

import pytest
import torch
from conftest import toy_config

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


@pytest.mark.parametrize("model", [name for name in MODELS if MODELS[name].faithful])
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
