"""Images out of nets: mixtures are of their latents, neighbours are the nearest, climbs rise, inference starts at its start."""

import pytest
import torch
from conftest import toy_config

from ffcore import generation
from ffcore.errors import Refused
from ffcore.lab.generate import NO_SLOPE
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.training import Trainer, build_model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learnt(toy, model: str, epochs: int = 4):
    trainer = Trainer(toy_config(model, set={"train.epochs": epochs}), toy)
    for _ in trainer.events():
        pass
    return trainer.model.eval()


@pytest.fixture(scope="module")
def pff(toy):
    return learnt(toy, "pff")


@pytest.fixture(scope="module")
def ff(toy):
    return learnt(toy, "ff")


# Mixtures


def test_one_component_is_the_gaussian_of_the_latents(pff, toy):
    mine = toy.train.y == 2
    z = generation.latents(pff, toy.train.x[mine], toy.train.y[mine], batch=7)
    torch.testing.assert_close(z, pff.infer(toy.train.x[mine].float() / 255, toy.train.y[mine]), rtol=1e-3, atol=1e-4)
    mixture = generation.fit(z, 1)
    torch.testing.assert_close(torch.from_numpy(mixture.means_[0]).float(), z.mean(0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.from_numpy(mixture.covariances_[0]).float(), z.T.cov(correction=0), rtol=1e-2, atol=1e-4)


def test_latents_of_a_class_are_not_those_under_the_neutral_label(pff, toy):
    x, y = toy.train.x[:5], toy.train.y[:5]
    torch.testing.assert_close(generation.latents(pff, x), pff.infer(x.float() / 255))
    assert not torch.allclose(generation.latents(pff, x, y), generation.latents(pff, x))


def test_draws_follow_a_planted_mixture():
    """Two clouds, one three times as likely as the other: draws have their shares, means and spreads."""
    rng = seeded()
    far = torch.randn(1_000, 3, generator=rng) * torch.tensor([1.0, 0.5, 0.2]) + torch.tensor([20.0, 0, 0])
    near = torch.randn(3_000, 3, generator=rng)
    drawn = generation.draw(generation.fit(torch.cat([far, near]), 2), 8_000, seeded(1))
    right = drawn[:, 0] > 10
    assert right.float().mean().item() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(drawn[right].mean(0), torch.tensor([20.0, 0, 0]), rtol=0, atol=0.15)
    torch.testing.assert_close(drawn[right].std(0), torch.tensor([1.0, 0.5, 0.2]), rtol=0.1, atol=0.02)
    torch.testing.assert_close(drawn[~right].std(0), torch.ones(3), rtol=0.1, atol=0.02)


def test_draws_follow_their_generator():
    mixture = generation.fit(torch.randn(200, 4, generator=seeded()), 2)
    one, again, other = (generation.draw(mixture, 6, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert generation.draw(mixture, 0, seeded()).shape == (0, 4)


def test_more_components_than_images_are_refused():
    with pytest.raises(Refused, match="9 components cannot be fitted to 5 images"):
        generation.fit(torch.randn(5, 2), 9)


def test_portions_add_up_and_keep_to_the_shares():
    assert generation.portions(16, [1] * 10) == [2] * 6 + [1] * 4
    assert generation.portions(10, [6, 3, 1]) == [6, 3, 1]
    assert generation.portions(7, [0, 1, 0]) == [0, 7, 0]
    for n in range(30):
        told = generation.portions(n, [5, 2, 2, 1])
        assert sum(told) == n
        assert all(abs(k - n * share / 10) < 1 for k, share in zip(told, [5, 2, 2, 1], strict=True))


def test_images_are_taken_class_by_class_in_turn():
    y = torch.tensor([0, 0, 0, 1, 2, 1])
    assert generation.spread_over(y, 5, 4).tolist() == [0, 3, 4, 1, 5]
    assert generation.spread_over(y, 100, 4).tolist() == [0, 3, 4, 1, 5, 2]


# Inference and what lies between


def test_inference_starts_at_the_pass_without_recurrence_and_ends_where_infer_does(pff, toy):
    x, y = toy.validation.x[:6].float() / 255, toy.validation.y[:6]
    for label in (None, y):
        told = list(pff.inference(x, label))
        assert len(told) == pff.settings.steps + 1
        first = pff.start([pff.shown(x) if label is None else Sample(x, y)])[-1]
        torch.testing.assert_close(told[0], pff.latents(first))
        torch.testing.assert_close(told[-1], pff.infer(x, label))
        assert not torch.allclose(told[0], told[-1])
    assert len(list(pff.inference(x, steps=9))) == 10
    torch.testing.assert_close(list(pff.inference(x, steps=9))[pff.settings.steps], told[-1] if label is None else pff.infer(x))


def test_the_line_ends_at_both_latents_and_is_straight(pff, toy):
    x = toy.validation.x[:2].float() / 255
    a, b = pff.infer(x)
    told = generation.line(a, b, 5)
    assert torch.equal(told[0], a)
    assert torch.equal(told[-1], b)
    torch.testing.assert_close(told[2], (a + b) / 2)
    torch.testing.assert_close(told.diff(dim=0), ((b - a) / 4).expand(4, -1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(pff.generate(told)[[0, -1]], pff.reconstruct(x))


# Copies


@pytest.mark.parametrize("chunk", [1, 7, 1_000])
def test_the_nearest_image_is_that_of_brute_force(toy, chunk):
    x = toy.validation.x[:30].float() / 255
    distance, index = generation.nearest(x, toy.train.x, chunk)
    table = (x.flatten(1)[:, None] - toy.train.x.flatten(1)[None].float() / 255).square().sum(2).sqrt()
    torch.testing.assert_close(distance, table.min(1).values)
    torch.testing.assert_close(table.gather(1, index[:, None])[:, 0], table.min(1).values)


def test_a_planted_copy_is_found_at_distance_0(toy):
    x = torch.rand(5, 1, 6, 7, generator=seeded())
    x[3] = toy.train.x[411].float() / 255
    distance, index = generation.nearest(x, toy.train.x, 100)
    assert (distance == 0).tolist() == [False, False, False, True, False]
    assert index[3] == 411


def test_variety_is_the_mean_distance_within_classes():
    x = torch.tensor([0.0, 3, 0, 4, 1]).view(5, 1, 1, 1)
    assert generation.variety(x, torch.tensor([0, 0, 1, 1, 2])) == pytest.approx(3.5)
    assert generation.variety(x, torch.arange(5)) is None


# Climbing


def climbed(model, toy, label, **settings):
    start = torch.rand(len(label), *toy.shape, generator=seeded())
    # bare: a toy picture of 6 × 7 random pixels is neither smooth nor the same when it is shifted
    settings = {"steps": 20, "smooth": 0.0, "jitter": 0, **settings}
    return start, generation.climb(model, label, start, seeded(), **settings)


@pytest.mark.parametrize("layers", [[0], [1], [0, 1]])
@pytest.mark.parametrize("aim", ["contrast", "plain"])
def test_a_climb_raises_the_goodness_of_its_layer_under_its_label(ff, toy, layers, aim):
    label = torch.arange(4)
    start, done = climbed(ff, toy, label, layers=layers, aim=aim)
    before, after = (ff.label_goodness(x)[:, :, layers].sum(2) for x in (start, done))
    own = torch.arange(4), label
    assert (after[own] > before[own]).all() or aim == "contrast"
    lead = [g[own] - (g.sum(1) - g[own]) / 3 for g in (before, after)]
    assert (lead[1] > lead[0]).all() or aim == "plain"
    assert 0 <= done.min() <= done.max() <= 1
    if aim == "contrast":
        assert (after.argmax(1) == label).all()


def test_preference_is_the_labels_lead_over_the_mean_of_the_others(ff, toy):
    x, y = toy.validation.x[:8].float() / 255, toy.validation.y[:8]
    g = ff.label_goodness(x)[:, :, 1]
    by_hand = torch.stack([g[i, c] - g[i, torch.arange(4) != c].mean() for i, c in enumerate(y)])
    torch.testing.assert_close(generation.preference(ff, x, y, layers=[1]), by_hand)
    torch.testing.assert_close(generation.preference(ff, x, y, layers=[1], aim="plain"), g[torch.arange(8), y])


def test_a_net_without_goodness_climbs_in_its_classes_score(toy):
    net = learnt(toy, "backprop", 2)
    label = torch.arange(4)
    start, done = climbed(net, toy, label, of="score")
    before, after = (generation.preference(net, x, label, "score") for x in (start, done))
    assert (after > before).all()
    assert (generation.reading(net, done, batch=3) == label).all()


def test_the_same_seed_climbs_to_the_same_images_and_jitter_changes_them(ff, toy):
    label = torch.arange(4)
    one, again = (climbed(ff, toy, label, layers=[1], jitter=1)[1] for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, climbed(ff, toy, label, layers=[1], jitter=0)[1])
    assert not torch.equal(one, climbed(ff, toy, label.flip(0), layers=[1], jitter=1)[1])


def test_a_pull_against_total_variation_makes_smoother_images(ff, toy):
    label = torch.arange(4)
    rough, smooth = (climbed(ff, toy, label, layers=[0], smooth=pull, jitter=0)[1] for pull in (0.0, 2.0))
    assert (generation.total_variation(smooth) < generation.total_variation(rough)).all()


def test_a_held_length_is_kept_and_a_free_one_is_not(ff, toy):
    label = torch.arange(4)
    held = climbed(ff, toy, label, layers=[0], length=3.0)[1].flatten(1).norm(dim=1)
    assert (held <= 3.0 + 1e-4).all()  # what is cut off at 1 is missing
    assert (held > 2.5).all()
    free = climbed(ff, toy, label, layers=[0])[1].flatten(1).norm(dim=1)
    assert ((free - 3).abs() > 0.2).any()


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].faithful])
def test_every_model_can_be_climbed_or_says_that_it_hands_on_no_slope(toy, name):
    model = build_model(toy_config(name), toy).eval()
    label = torch.arange(4)
    if model.tries_labels:
        what = {"of": "goodness", "layers": range(model.label_goodness(torch.zeros(1, *toy.shape)).shape[2])}
    else:
        what = {"of": "score"}
    try:
        start, done = climbed(model, toy, label, jitter=0, **what)
    except Refused as error:
        assert "hands on no slope" in str(error)  # noqa: PT017
        assert name in NO_SLOPE
        return
    assert name not in NO_SLOPE
    before, after = (generation.preference(model, x, label, **what) for x in (start, done))
    assert (after > before).all() or name == "backprop"  # whose head is 0 before it learns
