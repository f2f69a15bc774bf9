"""The converged linear probe: what features are worth, whatever their scale."""

import pytest
import torch

from ffcore import probes
from ffcore.errors import Refused
from ffcore.models.base import generator
from ffcore.training import build_model


def clouds(n, classes=4, width=12, apart=1.0, seed=0):
    """Gaussian clouds, one per class, with class means drawn once."""
    means = apart * torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=rng)
    return means[y] + torch.randn(n, width, generator=rng), y


def test_clouds_far_apart_are_told_apart_and_noise_is_not():
    assert probes.linear(clouds(400, apart=8), clouds(400, apart=8, seed=1)).accuracy == 1
    x, _ = clouds(2_000)
    y = torch.randint(4, (2_000,), generator=torch.Generator().manual_seed(5))
    assert probes.linear((x[:1_000], y[:1_000]), (x[1_000:], y[1_000:])).accuracy < 0.35


def test_the_scale_of_features_does_not_matter():
    """The reference study compared features of different scale with one fixed learning rate, and so ranked scales."""
    train, out = clouds(600, apart=0.7), clouds(600, apart=0.7, seed=1)
    scale, shift = torch.logspace(-4, 3, 12), torch.linspace(-50, 50, 12)
    plain, scaled = (probes.linear(*((x * s + t, y) for x, y in (train, out))) for s, t in ((1, 0), (scale, shift * scale)))
    assert scaled.accuracy == pytest.approx(plain.accuracy, abs=0.005)
    assert 0.7 < plain.accuracy < 0.999
    assert plain.converged
    assert scaled.converged


def test_a_dead_unit_does_no_harm():
    (x, y), (x_out, y_out) = clouds(400), clouds(400, seed=1)
    told = probes.linear((torch.cat([x, torch.zeros(400, 1)], 1), y), (torch.cat([x_out, torch.zeros(400, 1)], 1), y_out))
    assert told.accuracy == pytest.approx(probes.linear((x, y), (x_out, y_out)).accuracy)
    assert told.features == 13


def test_the_penalty_is_chosen_without_the_held_out_images():
    train, (x, y) = clouds(300, apart=0.3), clouds(300, apart=0.3, seed=1)
    told, spoilt = probes.linear(train, (x, y)), probes.linear(train, (x, (y + 1) % 4))
    assert told.l2 == spoilt.l2
    assert spoilt.accuracy < 0.3


def test_it_finds_the_optimum_that_it_says_it_has():
    """At the end the gradient of the penalised loss is zero, computed here from the definition."""
    from sklearn.linear_model import LogisticRegression

    kept = []
    fit = LogisticRegression.fit

    def spy(self, x, y):
        kept.append((self, torch.tensor(x), torch.tensor(y)))
        return fit(self, x, y)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogisticRegression, "fit", spy)
        told = probes.linear(clouds(500), clouds(100, seed=1))
    model, x, y = kept[-1]
    assert len(y) == 500 == told.images
    w = torch.tensor(model.coef_, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(model.intercept_, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x.double() @ w.T + bias, y) + told.l2 / 2 * w.square().sum()
    loss.backward()
    assert max(w.grad.abs().max(), bias.grad.abs().max()) < 1e-3
    torch.testing.assert_close(x.mean(0), torch.zeros(12), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(12), rtol=0, atol=1e-4)


def test_too_little_to_probe_is_refused():
    with pytest.raises(Refused, match="a probe needs 100 images of at least two classes and got 50"):
        probes.linear(clouds(50), clouds(50))
    x, _ = clouds(200)
    with pytest.raises(Refused, match="at least two classes"):
        probes.linear((x, torch.zeros(200).long()), (x, torch.zeros(200).long()))


def test_an_untrained_net_beats_raw_pixels_on_digits_and_layers_are_read_together(digits):
    from conftest import toy_config

    net = build_model(toy_config("untrained", set={"model.widths": [300, 300]}), digits)
    told, raw = probes.probe(net, digits, 2_000), probes.probe(None, digits, 2_000)
    assert (told["features"], raw["features"]) == (600, 784)
    assert told["accuracy"] > raw["accuracy"]
    assert 0.8 < raw["accuracy"] < 0.95


def test_a_class_that_only_the_choosing_part_holds_is_no_obstacle():
    x, y = clouds(300, apart=8)
    order = y.eq(3).int().argsort(stable=True)
    rare = torch.cat([order[y[order] != 3], order[y[order] == 3][:5]])
    told = probes.linear((x[rare], y[rare]), (x[y != 3], y[y != 3]))
    assert (told.images, told.accuracy) == (len(rare), 1)


def test_features_that_are_no_numbers_are_refused():
    (x, y), out = clouds(200), clouds(50)
    x[3, 3] = torch.nan
    with pytest.raises(Refused, match="no numbers cannot be probed"):
        probes.linear((x, y), out)


def test_features_are_those_of_an_image_whose_class_is_not_known(toy):
    from conftest import toy_config

    net = build_model(toy_config("ff"), toy)
    x = toy.train.x[:20]
    before = probes.features(net, x)
    assert [f.shape for f in before] == [(20, 32), (20, 24)]
    torch.testing.assert_close(before[0].square().mean(1), torch.ones(20), rtol=0, atol=0.01)
    net.label_weights.data.normal_(generator=generator(0, "test"))
    assert not torch.allclose(before[0], probes.features(net, x)[0])  # a neutral label is shown
    net.unlabelled()
    alone = probes.features(net, x)
    net.label_weights.data.zero_()
    torch.testing.assert_close(alone, probes.features(net, x))
