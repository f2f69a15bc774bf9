"""Each variant changes what its paper changes, and nothing else: formulas by hand, and plain Forward-Forward at the zero."""

import pytest
import torch
from conftest import toy_config

from ffcore.goodness import normalise
from ffcore.training import Trainer


def trained(toy, model="ff", epochs=2, **settings):
    """The net and its last step's terms after a few epochs of the toy problem."""
    trainer = Trainer(toy_config(model, set={"train.epochs": epochs, **settings}), toy)
    for _ in trainer.events():
        pass
    return trainer


def batch_of(data, n=64):
    return data.train.x[:n].float() / 255, data.train.y[:n]


def terms(trainer, x, y):
    view = trainer.model.view()
    pair = trainer.strategy(x, y, view, trainer.rng["negatives"]) if trainer.strategy else None
    return pair, list(trainer.model.terms(x, y, pair, range(len(trainer.groups)), view))


def assert_same_layers(one, other):
    for mine, theirs in zip(one.model.weights, other.model.weights, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("model", "zero"),
    [
        ("layer_collab", {"model.gamma": 0}),
        ("three_factor", {"model.modulator": "none"}),
        ("three_factor", {"model.floor": 0.999999}),
    ],
)
def test_at_zero_a_variant_is_plain_forward_forward(model, zero, toy):
    """Bit for bit: whatever else a variant does, it does not touch the rule."""
    plain, variant = trained(toy), trained(toy, model, **zero)
    if "model.floor" in zero:
        for mine, theirs in zip(plain.model.weights, variant.model.weights, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=5e-3)
    else:
        assert_same_layers(plain, variant)


# Layer collaboration


@pytest.mark.parametrize(
    ("mode", "others"), [("all", [[1, 2], [0, 2], [0, 1]]), ("previous", [[], [0], [0, 1]]), ("next", [[1, 2], [2], []])]
)
def test_a_layer_counts_the_others_goodness(mode, others, toy):
    trainer = Trainer(toy_config("layer_collab", set={"model.widths": [9, 8, 7], "model.mode": mode, "model.gamma": 0.5,
                                                      "model.peer": 0}), toy)  # fmt: skip
    pair, told = terms(trainer, *batch_of(toy))
    pos, neg = trainer.model.pair_goodness(pair)
    gap = pos - neg
    for layer, chosen in enumerate(others):
        joint = gap[:, layer] + 0.5 * gap[:, chosen].sum(1)
        torch.testing.assert_close(told[layer].loss, torch.nn.functional.softplus(-4 * joint).mean())
        torch.testing.assert_close(told[layer].stats["pos"], pos[:, layer])  # what is shown is its own


# Mono-Forward


def test_each_layer_reads_the_class_off_its_own_activity(toy):
    trainer = trained(toy, "mono_forward")
    model, (x, y) = trainer.model, batch_of(toy)
    _, told = terms(trainer, x, y)
    h = normalise(x.flatten(1), "rms")
    for i, term in enumerate(told):
        h = torch.relu(h @ model.weights[i].T + model.biases[i])
        logits = h @ model.projections[i].T
        torch.testing.assert_close(term.loss, torch.nn.functional.cross_entropy(logits, y))
        torch.testing.assert_close(model.label_goodness(x)[:, :, i], logits)
    torch.testing.assert_close(model.scores(x)["last"], logits)


# Three factors


def beliefs(model, x):
    with torch.no_grad():
        return model.label_goodness(x).float()


@pytest.mark.parametrize("kind", ["reward_prediction", "top_down", "layer_agreement", "novelty", "attention"])
def test_a_third_factor_is_positive_has_mean_1_and_carries_no_gradient(kind, toy):
    trainer = trained(toy, "three_factor", **{"model.modulator": kind, "model.widths": [20, 20, 20], "model.floor": 0.25})
    x, y = batch_of(toy)
    _, told = terms(trainer, x + 0.3 * torch.rand(x.shape), y)
    for layer in range(3):
        factor = trainer.model.weight(layer, told[layer].stats["pos"], told[layer].stats["neg"])
        assert factor.min() >= 0.25
        assert factor.mean().item() == pytest.approx(1, abs=1e-4)
        assert not factor.requires_grad


@pytest.mark.parametrize("kind", ["reward_prediction", "top_down", "layer_agreement", "novelty", "attention"])
def test_every_modulator_follows_its_formula(kind, toy):
    x, y = batch_of(toy)
    trainer = trained(toy, "three_factor", 1, **{"model.modulator": kind, "model.widths": [20, 20, 20]})
    model = trainer.model
    g = beliefs(model, x)
    p, own = (4 * g.sum(2)).softmax(1), g.argmax(1)
    expected, usual, spread = (t.clone() for t in (model.expected_reward, model.usual, model.spread))
    _, told = terms(trainer, x, y)
    pos = told[1].stats["pos"]
    model.usual, model.spread = usual.clone(), spread.clone()
    wanted = {
        "top_down": 1 - p[torch.arange(len(y)), y],
        "attention": torch.distributions.Categorical(p).entropy(),
        "layer_agreement": ((own[:, 0] == own[:, 1]).float() + (own[:, 2] == own[:, 1]).float()) / 2,
        "reward_prediction": ((g.sum(2).argmax(1) == y).float() - expected).abs(),
        "novelty": (pos - usual[1]).abs() / spread[1].sqrt(),
    }[kind]
    torch.testing.assert_close(model.modulator(1, pos), wanted, rtol=1e-3, atol=1e-4)


def test_the_expected_reward_follows_the_nets_success(toy):
    trainer = trained(toy, "three_factor", 12, **{"model.memory": 0.9})
    assert trainer.model.expected_reward > 0.9
