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


@pytest.mark.parametrize("n", [500, 30_000])
def test_it_finds_the_optimum_that_it_says_it_has(n):
    """At the end the gradient of the penalised loss is zero, computed here from the definition; many go in batches first."""
    x, y = clouds(n)
    x = x @ torch.randn(12, 12, generator=torch.Generator().manual_seed(3))  # correlated
    model = probes.Logistic(x, y, 4)
    for l2 in (0.1, 0.003):
        assert model.fit(l2)
        w, offset = (part.double().requires_grad_() for part in (model.weight, model.offset))
        loss = torch.nn.functional.cross_entropy(x.double() @ w.T + offset, y) + l2 / 2 * w.square().sum()
        loss.backward()
        assert max(w.grad.abs().max(), offset.grad.abs().max()) < 1.1 * probes.FLAT


def test_it_agrees_with_scikit_learn():
    """Same penalty, same standardised features: scikit-learn's LogisticRegression answers alike."""
    from sklearn.linear_model import LogisticRegression

    train, out = clouds(3_000, apart=0.5), clouds(2_000, apart=0.5, seed=1)
    told = probes.linear(train, out)
    (x, x_out) = probes.standardised(train[0], out[0])
    theirs = LogisticRegression(C=1 / (told.l2 * len(x)), max_iter=1_000).fit(x.numpy(), train[1].numpy())
    assert told.accuracy == pytest.approx(theirs.score(x_out.numpy(), out[1].numpy()), abs=0.003)
    assert 0.5 < told.accuracy < 0.95
    assert told.images == 3_000


def test_features_are_standardised_by_the_training_part_alone():
    x, x_out = clouds(500)[0] * 7 + 3, clouds(200, seed=1)[0]
    told, other = probes.standardised(x, x_out)
    torch.testing.assert_close(told.mean(0), torch.zeros(12), rtol=0, atol=1e-5)
    torch.testing.assert_close(told.std(0, correction=0), torch.ones(12), rtol=0, atol=1e-4)
    torch.testing.assert_close(other, (x_out - x.mean(0)) / x.std(0, correction=0))


def test_the_reference_protocol_measures_scale():
    """What the reference study found "worse than random": 100 steps on tiny features do not get far, converged ones do."""
    train, out = clouds(2_000, apart=0.6), clouds(1_000, apart=0.6, seed=1)
    plain, tiny = (probes.unconverged(*((x * s, y) for x, y in (train, out))).accuracy for s in (1, 1e-3))
    whole, small = (probes.linear(*((x * s, y) for x, y in (train, out))).accuracy for s in (1, 1e-3))
    assert plain > tiny + 0.1
    assert small == pytest.approx(whole, abs=0.005)
    assert not probes.unconverged(train, out).converged


def test_a_confusion_counts_every_held_out_image_under_its_true_class():
    train, (x, y) = clouds(600, apart=0.7), clouds(400, apart=0.7, seed=1)
    for told in (probes.linear(train, (x, y)), probes.unconverged(train, (x, y))):
        counts = torch.tensor(told.confusion)
        assert counts.sum(1).tolist() == y.bincount().tolist()
        assert counts.diagonal().sum() / 400 == pytest.approx(told.accuracy)


def test_nearest_neighbours_equal_those_found_one_by_one():
    train, out = clouds(300, apart=0.8), clouds(60, apart=0.8, seed=1)
    x, x_out = probes.standardised(train[0], out[0])
    right = 0
    for image, label in zip(x_out, out[1], strict=True):
        near = torch.cosine_similarity(image[None], x).topk(5)
        votes = [
            sum(1 + 1e-3 * v for v, i in zip(near.values, near.indices, strict=True) if train[1][i] == c) for c in range(4)
        ]
        right += int(torch.tensor([float(v) for v in votes]).argmax() == label)
    assert probes.neighbours(train, out, 4, k=5) == right / 60
    assert 0.3 < right / 60 < 1


def test_few_shots_hold_as_many_of_every_class():
    y = torch.arange(40) % 4
    chosen = probes.few(y, 3, 4, torch.Generator().manual_seed(0))
    assert y[chosen].bincount().tolist() == [3, 3, 3, 3]
    assert len(set(chosen.tolist())) == 12
    assert sorted(probes.few(y, 99, 4, torch.Generator().manual_seed(0)).tolist()) == list(range(40))


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
    before = [probes.normalised(h) for h in probes.activities(net, x)]
    assert [f.shape for f in before] == [(20, 32), (20, 24)]
    torch.testing.assert_close(before[0].square().mean(1), torch.ones(20), rtol=0, atol=0.01)
    net.label_weights.data.normal_(generator=generator(0, "test"))
    assert not torch.allclose(before[0], probes.normalised(probes.activities(net, x)[0]))  # a neutral label is shown
    net.unlabelled()
    alone = probes.activities(net, x)
    net.label_weights.data.zero_()
    torch.testing.assert_close(alone, probes.activities(net, x))
