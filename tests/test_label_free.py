"""Models whose layers are shown no label: their formulas by hand, and nothing but the head hears of a class."""

import dataclasses

import pytest
import torch
from conftest import make_toy, toy_config

from ffcore.goodness import normalise
from ffcore.models.vicreg import covariance, invariance, variance
from ffcore.readout import evaluate
from ffcore.training import Trainer, build_model

MODELS = ("vicreg", "reconstruction")


def batch_of(data, n=64):
    return data.train.x[:n].float() / 255, data.train.y[:n]


def terms(trainer, x, y):
    return list(trainer.model.terms(x, y, None, range(len(trainer.groups))))


# VICReg's three terms.


def test_invariance_is_the_mean_squared_difference():
    one, other = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [2.0, 4.0]])
    assert invariance(one, other).item() == pytest.approx((0 + 4 + 1 + 0) / 4)
    assert invariance(one, one) == 0


def test_variance_asks_every_unit_for_a_standard_deviation_of_1_and_for_no_more():
    h = torch.tensor([[0.0, 0.0, 5.0], [0.6, 8.0, 5.0], [1.2, 16.0, 5.0]])  # s.d. 0.6, 8 and 0
    assert variance(h).item() == pytest.approx(((1 - 0.6) + 0 + 1) / 3, abs=0.01)
    assert variance(10 * h[:, :2]) == 0


def test_covariance_counts_pairs_of_different_units_only():
    h = torch.tensor([[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0], [1.0, 2.0, 3.0], [-1.0, -2.0, 3.0]])
    c = torch.cov(h.T)
    assert covariance(h).item() == pytest.approx(2 * (c[0, 1] ** 2 + c[0, 2] ** 2 + c[1, 2] ** 2).item() / 3, rel=1e-5)
    apart = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert covariance(7 * apart) == 0  # a unit's own variance is none of it


def test_the_terms_are_defined_for_one_image():
    h = torch.rand(1, 5, requires_grad=True)
    (variance(h) + covariance(h)).backward()
    assert torch.isfinite(h.grad).all()


def test_every_layer_takes_the_three_terms_of_its_own_activity(toy):
    trainer = Trainer(toy_config("vicreg", set={"model.invariance": 2, "model.variance": 3, "model.covariance": 5}), toy)
    model, (x, y) = trainer.model, batch_of(toy)
    state = model.rng.get_state()
    told = terms(trainer, x, y)
    model.rng.set_state(state)
    one, two = model.seen(x).flatten(1), model.seen(x).flatten(1)
    assert not torch.equal(one, two)
    for i in range(2):
        one, two = (torch.relu(normalise(h, "rms") @ model.weights[i].T + model.biases[i]) for h in (one, two))
        loss = 2 * invariance(one, two) + 3 * (variance(one) + variance(two)) / 2 + 5 * (covariance(one) + covariance(two))
        torch.testing.assert_close(told[i].loss, loss, rtol=1e-4, atol=1e-5)
        assert told[i].stats["invariance"].item() == pytest.approx(invariance(one, two).item(), rel=1e-4)


def test_a_view_is_shifted_blanked_and_noisy_as_the_settings_say():
    data = make_toy(4, (2, 6, 7))

    def seen(**settings):
        quiet = {"model.shift": 0, "model.noise": 0, "model.blank": 0}
        net = build_model(toy_config("vicreg", set=quiet | {f"model.{k}": v for k, v in settings.items()}), data)
        return net.seen(x)

    x = torch.rand(400, 2, 6, 7) + 1
    assert torch.equal(seen(), x)
    assert ((seen(noise=0.2) - x).std() - 0.2).abs() < 0.01
    blanked = seen(blank=0.3)
    assert 0.27 < (blanked == 0).float().mean() < 0.33
    assert torch.equal(blanked[blanked > 0], x[blanked > 0])
    found = set()
    for before, after in zip(x, seen(shift=1), strict=True):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                padded = torch.nn.functional.pad(before, (1, 1, 1, 1))[:, 1 + dy : 7 + dy, 1 + dx : 8 + dx]
                if torch.equal(padded, after):
                    found.add((dy, dx))
                    break
    assert len(found) == 9  # each image by its own shift, and zeros move in


# Reconstruction.


def test_each_layer_restores_its_own_input(toy):
    trainer = Trainer(toy_config("reconstruction", set={"model.corruption": 0}), toy)
    model, (x, y) = trainer.model, batch_of(toy)
    for offset in model.offsets:
        offset.data.normal_()
    h = x.flatten(1)
    for i, term in enumerate(terms(trainer, x, y)[:2]):
        u = normalise(h, "rms")
        h = torch.relu(u @ model.weights[i].T + model.biases[i])
        error = h @ model.decoders[i].T + model.offsets[i] - u
        torch.testing.assert_close(term.loss, error.square().mean())
        torch.testing.assert_close(term.stats["unexplained"], term.loss)


def test_the_target_is_the_input_before_it_was_blanked(toy):
    trainer = Trainer(toy_config("reconstruction", set={"model.corruption": 0.5}), toy)
    model, (x, y) = trainer.model, batch_of(toy)
    state = model.rng.get_state()
    told = terms(trainer, x, y)
    model.rng.set_state(state)
    u = normalise(x.flatten(1), "rms")
    blanked = model.corrupted(u)
    assert 0.45 < (blanked == 0)[u > 0].float().mean() < 0.55
    h = torch.relu(blanked @ model.weights[0].T + model.biases[0])
    torch.testing.assert_close(told[0].loss, (model.restored(0, h) - u).square().mean())


def test_a_layer_learns_to_restore(toy):
    trainer = Trainer(toy_config("reconstruction"), toy)
    x, y = batch_of(toy, 256)
    before = [term.stats["unexplained"].item() for term in terms(trainer, x, y)[:2]]
    for _ in trainer.events():
        pass
    after = [term.stats["unexplained"].item() for term in terms(trainer, x, y)[:2]]
    assert after[0] < 0.6 * before[0]
    assert after[1] < 0.6 * before[1]


# Both.


@pytest.mark.parametrize("model", MODELS)
def test_no_label_reaches_a_layer(model, toy):
    def trained(y):
        data = dataclasses.replace(toy, train=toy.train._replace(y=y))
        trainer = Trainer(toy_config(model, set={"train.epochs": 2}), data)
        for _ in trainer.events():
            pass
        return trainer.model

    true, other = trained(toy.train.y), trained(toy.train.y.flip(0).roll(1))
    for (name, one), two in zip(true.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two) != name.startswith("head."), name


@pytest.mark.parametrize("model", MODELS)
def test_the_head_reads_all_layers_and_moves_none(model, toy):
    trainer = Trainer(toy_config(model), toy)
    net, (x, y) = trainer.model, batch_of(toy)
    assert net.layer_groups() == [0, 1]
    before = [w.clone() for w in net.weights]
    term = list(net.terms(x, y, None, {2}))
    assert [t.group for t in term] == [2]
    term[0].loss.backward()
    assert all(w.grad is None for w in net.weights)
    assert all(torch.equal(a, b) for a, b in zip(before, net.weights, strict=True))
    activities = net.activities(x)
    read = torch.cat([normalise(h, "rms") for h in activities], 1)
    torch.testing.assert_close(net.scores(x)["softmax"], net.head(read))
    torch.testing.assert_close(activities[1], torch.relu(normalise(activities[0], "rms") @ net.weights[1].T + net.biases[1]))


@pytest.mark.parametrize("model", MODELS)
def test_colour_images_are_learnt(model):
    data = make_toy(4, (3, 8, 9))
    trainer = Trainer(toy_config(model), data)
    for _ in trainer.events():
        pass
    assert evaluate(trainer.model, *data.test).accuracy["softmax"] > 0.9
