"""Closed forms: what the formulas must give, computed by hand."""

import math

import pytest
import torch

from ffcore import goodness, labels


def test_goodness_is_the_mean_of_squares():
    assert goodness.mean_square(torch.tensor([[3.0, 4.0], [0.0, 2.0]])).tolist() == [12.5, 2.0]


def test_the_gradient_of_goodness_is_two_h_over_n():
    h = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(goodness.mean_square, h)
    goodness.mean_square(h).sum().backward()
    torch.testing.assert_close(h.grad, 2 * h.detach() / 8)


def test_rms_norm_gives_mean_square_one_and_forgets_length():
    h = torch.tensor([[3.0, 4.0, 0.0, 5.0]])
    assert goodness.mean_square(goodness.normalise(h, "rms")).item() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(goodness.normalise(h, "rms"), goodness.normalise(100 * h, "rms"), rtol=1e-3, atol=1e-3)


def test_unit_norm_gives_length_one():
    assert goodness.normalise(torch.tensor([[3.0, 4.0]]), "unit").norm().item() == pytest.approx(1, abs=1e-4)


def test_a_silent_layer_stays_silent_and_finite():
    for norm in ("rms", "unit", "none"):
        assert goodness.normalise(torch.zeros(2, 5), norm).abs().sum() == 0


def test_gap_objective_by_hand():
    loss = goodness.gap(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]), alpha=4.0)
    expected = [math.log(1 + math.exp(-4)), math.log(1 + math.exp(4))]
    assert loss.tolist() == pytest.approx(expected)


def test_threshold_objective_by_hand_and_never_infinite():
    loss = goodness.threshold(torch.tensor([3.0]), torch.tensor([1.0]), alpha=1.0, theta=2.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert torch.isfinite(goodness.threshold(torch.tensor([0.0]), torch.tensor([1e6]), 1.0, 2.0)).all()


def test_objectives_fall_when_positives_rise_and_rise_when_negatives_rise():
    for loss in (lambda p, n: goodness.gap(p, n, 4.0), lambda p, n: goodness.threshold(p, n, 1.0, 1.0)):
        pos, neg = torch.tensor([1.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
        loss(pos, neg).sum().backward()
        assert pos.grad.item() < 0 < neg.grad.item()


def test_separation_of_known_normals():
    rng = torch.Generator().manual_seed(0)
    neg = torch.randn(20_000, generator=rng)
    gap, dprime, overlap = goodness.separation(neg + 2, neg)
    assert gap.item() == pytest.approx(2, abs=1e-4)
    assert dprime.item() == pytest.approx(2, abs=0.05)
    assert overlap.item() == pytest.approx(0.317, abs=0.03)  # 2·Φ(-1)
    assert goodness.separation(neg, neg)[2].item() == pytest.approx(1)


def test_wrong_labels_are_wrong_and_uniform():
    y = torch.arange(9_000) % 10
    wrong = labels.wrong(y, 10, torch.Generator().manual_seed(0))
    assert (wrong != y).all()
    shifts = ((wrong - y) % 10).bincount(minlength=10)[1:]
    assert shifts.min() > 900
    assert shifts.max() < 1_100


def test_one_hot_and_soft_labels_agree_and_the_neutral_one_is_shorter():
    table, y = torch.randn(4, 6), torch.tensor([2, 0])
    one_hot = torch.eye(4)[y]
    torch.testing.assert_close(labels.drive(y, table, 2.5), labels.drive(one_hot, table, 2.5))
    assert labels.squared_norm(y, 2.5) == pytest.approx(labels.squared_norm(one_hot, 2.5)[0].item())
    assert labels.squared_norm(labels.neutral(1, 4), 1.0).item() == pytest.approx(1 / 4)


def test_overlay_blanks_the_first_pixels_without_touching_the_input():
    x = torch.ones(2, 8)
    assert labels.room(x, 3, "overlay").sum().item() == 10
    assert x.sum().item() == 16


def test_the_drive_under_several_labels_has_the_gradient_that_autograd_finds():
    def made(*size):
        return torch.randn(*size, dtype=torch.float64, requires_grad=True)

    base, s, table = made(6, 5), made(6, 1), made(4, 5)
    y = torch.randint(4, (3, 6))
    wanted = torch.cat([base + s * table[label] for label in y])
    told = labels.under(base, s, table, *y)
    torch.testing.assert_close(told, wanted)
    weight = torch.randn(18, 5, dtype=torch.float64)
    for a, b in zip(*(torch.autograd.grad((v * weight).sum(), (base, s, table)) for v in (told, wanted)), strict=True):
        torch.testing.assert_close(a, b)
