"""Each strategy does what its source says; plug-ins are found; the reference study's mistakes can be watched."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import toy_config
from scipy.stats import chisquare

import ffcore
from ffcore import catalogue
from ffcore.errors import Refused
from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import POOL, blobs, boxes, distort, other, others
from ffcore.negatives.base import Pair
from ffcore.registry import build
from ffcore.training import Trainer, build_model

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def net(digits):
    trainer = Trainer(toy_config("ff", set={"model.widths": [64, 64], "train.epochs": 2}), digits)
    for _ in trainer.events():
        pass
    return trainer.model


@pytest.fixture(scope="module")
def batch(digits):
    return digits.train.x[:256].float() / 255, digits.train.y[:256]


def draw(name, net, x, y, seed=0, **settings):
    strategy = build(STRATEGIES[name], settings, "negatives")
    with torch.no_grad():
        return strategy(x, y, net.view(), torch.Generator().manual_seed(seed))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_wrong_labels_are_never_right_and_uniform_over_the_others(net, digits):
    x, y = digits.train.x[:1].float().expand(10_000, -1, -1, -1) / 255, torch.arange(10).repeat(1_000)
    label = draw("wrong_label", net, x, y).neg.label
    assert not (label == y).any()
    counts = torch.bincount((label - y) % 10, minlength=10)[1:]
    assert chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("name", [n for n in STRATEGIES if STRATEGIES[n].embeds_label and STRATEGIES[n].faithful])
def test_ten_thousand_draws_never_show_the_class_of_the_image(name, net, digits):
    """Every image of the batch is looked up, so that a negative made of another image is judged by that image's class."""
    x, y = (part[:2_000] for part in (digits.train.x.float() / 255, digits.train.y))
    for seed in range(5):
        neg = draw(name, net, x, y, seed).neg
        nearest = torch.cdist(neg.image.flatten(1), x.flatten(1)).argmin(1)
        known = (x[nearest] == neg.image).flatten(1).all(1)
        assert not (neg.label[known] == y[nearest][known]).any()
        assert known.all() or name == "generated"


def test_a_full_batch_asks_for_no_table_of_all_pairs():
    """The reference study's steps take all images at once: partners are then looked for among some of them."""
    y = torch.arange(30_000) % 10
    index, found = other(y, rng())
    assert found.all()
    assert (y[index] != y).all()
    assert len(index.unique()) <= POOL
    index, found = other(y, rng(), (y + 3) % 10)
    assert torch.equal(y[index], (y + 3) % 10)


def test_hard_labels_are_drawn_by_belief(net, batch):
    """p ∝ exp(goodness / temperature): the labels drawn again and again for the same image follow it."""
    x, y = (part[:1].expand(4_000, *part.shape[1:]) for part in batch)
    label = draw("hard_label", net, x, y, temperature=1).neg.label
    with torch.no_grad():
        belief = net.label_goodness(x[:1])[0, :, 0].index_fill(0, y[:1], -torch.inf)
    expected = 4_000 * belief.double().softmax(0)
    shown = expected > 5
    counts = torch.bincount(label, minlength=10)[shown].double()
    assert chisquare(counts.numpy(), (expected[shown] * (counts.sum() / expected[shown].sum())).numpy()).pvalue > 1e-3


def test_class_confusion_pairs_another_image_with_this_label(net, batch):
    x, y = batch
    for by in ("random", "adjacent", "confused"):
        pair = draw("class_confusion", net, x, y, by=by)
        assert torch.equal(pair.neg.label, y)
        source = torch.cdist(pair.neg.image.flatten(1), x.flatten(1)).argmin(1)
        assert (y[source] != y).all()
        if by == "adjacent":
            assert torch.equal(y[source], (y + 1) % 10)


def test_class_confusion_prefers_what_the_net_confuses(net, batch):
    x, y = batch
    source = torch.cdist(draw("class_confusion", net, x, y, by="confused", temperature=1e-4).neg.image.flatten(1), x.flatten(1))
    chosen = y[source.argmin(1)]
    with torch.no_grad():
        g = net.label_goodness(x).mean(2)
    for c in range(10):
        mean = torch.stack([g[y == other, c].mean() if other != c else torch.tensor(-torch.inf) for other in range(10)])
        assert (chosen[y == c] == mean.argmax()).all()


def test_mixtures_lie_between_their_images(net, batch):
    x, y = batch
    partner = others(x, rng())
    assert not (partner == x).flatten(1).all(1).any()
    pair = draw("image_mixing", net, x, y, how="interpolate", low=0.5, high=0.5)
    torch.testing.assert_close(pair.neg.image, (x + partner) / 2)
    neg = draw("image_mixing", net, x, y, how="hybrid").neg.image
    assert ((neg == x) | (neg == partner)).all()
    assert 0.3 < (neg == x).float().mean() < 0.95


def test_class_aware_mixing_takes_its_partner_from_another_class(net, batch):
    x, y = batch
    neg = draw("class_aware_mixing", net, x, y, how="interpolate", low=0, high=0).neg.image
    source = torch.cdist(neg.flatten(1), x.flatten(1)).argmin(1)
    assert (y[source] != y).all()


def test_hinton_masks_are_half_and_half_and_blobs_grow_with_blurring():
    edges = []
    for blurs in (0, 3, 12):
        mask = blobs(400, 28, 20, blurs, rng())
        assert mask.shape == (400, 1, 28, 20)
        assert mask.float().mean().item() == pytest.approx(0.5, abs=0.03)
        edges.append((mask[:, :, 1:] != mask[:, :, :-1]).float().mean().item())
    assert edges[0] == pytest.approx(0.5, abs=0.02)
    assert edges[0] > 2 * edges[1] > 2.5 * edges[2]


def test_boxes_cover_the_share_they_are_asked_for():
    for share in (0.1, 0.5, 0.9):
        covered = boxes(300, 40, 30, torch.full((300,), share), rng()).float().mean((1, 2, 3))
        assert covered.mean().item() == pytest.approx(share, abs=0.03)
    assert boxes(50, 40, 30, torch.full((50,), 0.25), rng())[:, 0].any(0).float().mean() > 0.8  # everywhere


def test_cutmix_pastes_one_rectangle(net, batch):
    x, y = batch
    pair = draw("cutmix", net, x, y, low=0.3, high=0.3)
    assert ((pair.neg.image == x) | (pair.neg.image == others(x, _after_boxes(x)))).all()
    for changed in (pair.neg.image != x)[:20, 0]:
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        assert len(rows) <= 16
        assert len(columns) <= 16


def _after_boxes(x):
    used = rng()
    boxes(len(x), *x.shape[2:], torch.empty(len(x)).uniform_(0.3, 0.3, generator=used), used)
    return used


def test_a_turn_by_a_right_angle_is_exact():
    x = torch.rand(3, 1, 8, 8)
    angles = iter([torch.full((3,), 90.0)])
    turned = distort_by(x, angles)
    assert torch.allclose(turned, torch.rot90(x, 1, (2, 3)), atol=1e-5) or torch.allclose(
        turned, torch.rot90(x, -1, (2, 3)), atol=1e-5
    )


def distort_by(x, angles):
    """`distort` with a chosen draw in place of a random one."""
    from unittest import mock

    with mock.patch("ffcore.negatives._parts.uniform", side_effect=angles):
        return distort(x, rng(), degrees=180)


def test_noise_has_the_statistics_it_promises(net, digits):
    x, y = digits.train.x[:4_000].float() / 255, digits.train.y[:4_000]
    noise = draw("random_noise", net, x, y, kind="gaussian", mean=0.5, std=0.1).neg.image
    assert noise.mean().item() == pytest.approx(0.5, abs=0.005)
    assert noise.std().item() == pytest.approx(0.1, abs=0.005)
    flat = draw("random_noise", net, x, y, kind="uniform").neg.image
    assert flat.std().item() == pytest.approx(12**-0.5, abs=0.005)
    like = draw("random_noise", net, x, y).neg.image
    assert torch.corrcoef(torch.stack([like.mean(0).flatten(), x.mean(0).flatten()]))[0, 1] > 0.97
    assert (like.mean(0)[x.amax(0) == 0] == 0).all()


def test_masks_cover_their_ratio_and_fill_as_told(net, batch):
    x, y = (part.clone() for part in batch)
    x.clamp_(min=0.01)  # so that 0 means masked
    for kind in ("pixel", "block", "patch"):
        masked = draw("masking", net, x, y, kind=kind, ratio=0.3).neg.image == 0
        assert masked.float().mean().item() == pytest.approx(0.3, abs=0.03), kind
    patches = draw("masking", net, x, y, kind="patch", ratio=0.3, cell=7).neg.image.unfold(2, 7, 7).unfold(3, 7, 7) == 0
    assert (patches.all((4, 5)) == patches.any((4, 5))).all()
    mean = draw("masking", net, x, y, fill="mean", ratio=0.999).neg.image
    torch.testing.assert_close(mean.mean((1, 2, 3)), x.mean((1, 2, 3)), rtol=0, atol=0.01)
    shuffled = draw("masking", net, x, y, fill="shuffle", ratio=0.999).neg.image
    torch.testing.assert_close(shuffled.mean((1, 2, 3)), x.mean((1, 2, 3)), rtol=0, atol=0.02)


def test_shuffling_keeps_every_pixel(net, batch):
    x, y = batch
    neg = draw("pixel_shuffle", net, x, y).neg.image
    assert torch.equal(neg.flatten(1).sort(1).values, x.flatten(1).sort(1).values)
    moved = torch.linspace(0, 1, 784).view(1, 1, 28, 28)
    assert (draw("pixel_shuffle", net, moved, y[:1], share=0.25).neg.image != moved).float().mean() == pytest.approx(0.25)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 10])
def test_an_adversary_reaches_epsilon_and_raises_goodness(net, norm, steps):
    x = torch.full((16, 1, 28, 28), 0.5) + 0.2 * torch.randn(16, 1, 28, 28, generator=rng())
    x = x.clamp(0.25, 0.75)  # no change is cut off at 0 or 1
    pair = draw("adversarial", net, x, None, norm=norm, steps=steps, epsilon=0.05)
    change = pair.neg.image - x
    size = change.abs().amax((1, 2, 3)) if norm == "linf" else change.square().mean((1, 2, 3)).sqrt()
    assert (size <= 0.05 + 1e-5).all()
    assert size.mean() > 0.045
    assert (change.abs() > 0.045).float().mean() > 0.6 or norm == "l2"
    rise = [net.sample_goodness(Sample(image)).sum(1) for image in (x, pair.neg.image)]
    assert (rise[1] > rise[0]).all()


def test_more_steps_climb_higher(net, batch):
    x, _ = batch
    one, many = (draw("adversarial", net, x, None, steps=steps, epsilon=0.1).neg.image for steps in (1, 20))
    assert net.sample_goodness(Sample(many)).sum() > net.sample_goodness(Sample(one)).sum()


def test_scff_without_its_noise_is_half_and_half_mixing(net, batch):
    x, y = batch
    mine, mixed = (
        draw("self_contrastive", net, x, y, noise=0),
        draw("image_mixing", net, x, y, how="interpolate", low=0.5, high=0.5),
    )
    assert torch.equal(mine.pos.image, x)
    torch.testing.assert_close(mine.neg.image, mixed.neg.image)
    noisy = draw("self_contrastive", net, x, y, noise=0.2)
    assert 0 < (noisy.pos.image - x).abs().mean() < 0.1


def test_two_halves_with_shared_weights_see_their_mean_image():
    net = build_model(toy_config("ff"), facts={"shape": (1, 6, 7), "classes": "abcd", "mean": (0,), "std": (1,)})
    a, b = torch.rand(2, 5, 1, 6, 7, generator=rng())
    summed = net.product(a)[0] + net.product(b)[0]
    torch.testing.assert_close(net.product((a + b) / 2)[0], summed / 2)


def test_hard_mining_finds_the_hardest(net, batch):
    x, y = batch
    allowed = y[None, :] != y[:, None]
    with torch.no_grad():
        by_goodness = net.label_goodness(x).sum(2).T[y]
    scores = {"goodness": by_goodness, "distance": -torch.cdist(x.flatten(1), x.flatten(1))}
    for by, score in scores.items():
        best = score.masked_fill(~allowed, -torch.inf).argmax(1)
        assert torch.equal(draw("hard_mining", net, x, y, by=by, pool=4096).neg.image, x[best]), by
    guess = net.label_goodness(x).sum(2).scatter(1, y[:, None], -torch.inf).argmax(1)
    source = torch.cdist(draw("hard_mining", net, x, y, by="class", pool=4096).neg.image.flatten(1), x.flatten(1)).argmin(1)
    assert torch.equal(y[source], guess)


def test_a_pool_of_features_prefers_what_looks_alike_to_the_net(net, batch):
    x, y = batch
    alike, random = (draw(name, net, x, y, **how).neg.image for name, how in
                     (("hard_mining", {"by": "feature", "pool": 4096}), ("class_confusion", {})))  # fmt: skip

    def likeness(image):
        h, k = (torch.nn.functional.normalize(net.features(Sample(part))[1], dim=1) for part in (x, image))
        return (h * k).sum(1).mean()

    assert likeness(alike) > likeness(random)


def test_layer_wise_corrupts_the_input_of_each_layer_more_and_more(toy):
    trainer = Trainer(
        {**toy_config("ff"), "negatives": {"name": "layer_wise", "kind": "drop", "first": 0.2, "growth": 0.3}}, toy
    )
    x = toy.train.x[:64].float() / 255
    pair = trainer.strategy(x, None, trainer.model.view(), rng())
    assert (pair.neg.image == 0).float().mean().item() == pytest.approx(0.2 + (x == 0).float().mean().item(), abs=0.05)
    h = torch.ones(200, 300)
    for layer, share in ((2, 0.5), (3, 0.8), (4, 1.0)):
        assert (pair.corrupt(layer, h) == 0).float().mean().item() == pytest.approx(share, abs=0.01)
    seen = {}
    pair = pair._replace(corrupt=lambda layer, h: seen.setdefault(layer, h) * 0)
    list(trainer.model.terms(x, toy.train.y[:64], pair, {0, 1}))
    torch.testing.assert_close(seen[2], trainer.model.features(Sample(x))[0])
    assert list(seen) == [2]


def test_dreams_climb_towards_their_label(net, batch):
    x, y = batch
    for start in ("other", "noise"):
        few, many = (draw("generated", net, x, y, start=start, steps=steps).neg for steps in (1, 8))
        assert torch.equal(few.label, y)
        higher = net.sample_goodness(many).sum(1) > net.sample_goodness(few).sum(1)
        assert higher.float().mean() > 0.95


@pytest.mark.parametrize("name", [n for n in STRATEGIES if "matched" in STRATEGIES[n].model_fields])
def test_matched_corrupts_the_positives_and_by_less(name, net, batch):
    x, y = batch
    plain, matched = draw(name, net, x, y), draw(name, net, x, y, matched=True)
    assert torch.equal(plain.pos.image, x)
    changed = [(sample.image - x).abs().mean() for sample in matched[:2]]
    assert changed[0] > 0
    assert changed[0] < changed[1] or name == "adversarial"  # there it is the direction that differs


def test_tiled_negatives_are_few(net, batch):
    neg = draw("tiled_mixing", net, *batch).neg.image
    assert len(neg.flatten(1).unique(dim=0)) <= 64


@pytest.mark.parametrize(
    ("preset", "honest", "readout"), [("ref-tiled", "image_mixing", "softmax"), ("ref-leak", "wrong_label", "goodness")]
)
def test_a_mistake_of_the_reference_study_costs_a_lot(preset, honest, readout, digits):
    """Each preset differs from the default recipe in its negatives alone."""

    def accuracy(**asked):
        config = ffcore.configure(data="mnist-5k", epochs=3, set={"model.widths": [100, 100], "train.batch_size": 128}, **asked)
        config["train"]["precision"] = "float32"
        return [event for event in Trainer(config, digits).events() if event["event"] == "epoch"][-1]["validation"]

    assert accuracy(preset=preset)[readout] < accuracy(negatives=honest)[readout] - 0.2


def test_a_right_label_among_the_negatives_cancels_under_the_gap_and_pulls_both_ways_under_the_threshold(toy):
    """Why shuffled labels cost nothing here, and what they cost in the reference study's recipe."""
    for objective, moves in (("gap", False), ("threshold", True)):
        trainer = Trainer(toy_config("ff", set={"model.objective": objective, "model.peer": 0}), toy)
        x, y = toy.train.x[:64].float() / 255, toy.train.y[:64]
        for term in trainer.model.terms(x, y, Pair(Sample(x, y), Sample(x, y)), {0, 1}):
            term.loss.backward()
        largest = max(w.grad.abs().max().item() for w in trainer.model.weights)
        assert (largest > 1e-4) == moves


@pytest.mark.parametrize(
    "setting", ["masking ratio 0", "masking ratio 1", "adversarial epsilon 0", "hard_label temperature 0", "cutmix high 1.5"]
)
def test_values_out_of_bounds_are_refused_by_name(setting):
    name, key, value = setting.split()
    with pytest.raises(Refused, match=rf"negatives\.{key}={value}.*it takes"):
        ffcore.configure(negatives=name, data="mnist-5k", set={f"negatives.{key}": float(value)})


def test_overlay_refuses_more_classes_than_pixels(tmp_path):
    import numpy as np

    file = tmp_path / "many.npz"
    np.savez(file, x=np.random.default_rng(0).integers(0, 255, (200, 4, 4), dtype=np.uint8), y=np.arange(200) % 20)
    with pytest.raises(Refused, match=r"20 labels do not fit into 16 pixels.*model\.label=appended"):
        ffcore.train(data=str(file), epochs=1, set={"model.label": "overlay", "model.widths": [8]})
    assert not list((tmp_path / "runs").glob("*"))


# Plug-ins.

PLUGIN = '''"""Upside down: the image turned by 180 degrees."""

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives.base import Pair, Strategy
from pydantic import Field


@STRATEGIES.register("upside_down")
class UpsideDown(Strategy):
    """The image upside down, plus noise."""

    title = "Upside down"
    source = "this test"
    uses_labels = False
    embeds_label = False

    noise: float = Field(0.1, ge=0, le=1, description="size of the noise")

    def pair(self, x, y, view, rng):
        noise = self.noise * x.new_empty(x.shape).uniform_(generator=rng)
        return Pair(Sample(x), Sample((x.flip((2, 3)) + noise).clamp(0, 1)))
'''


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    folder = tmp_path / "plugins" / "negatives"
    folder.mkdir(parents=True)
    monkeypatch.setenv("FFCORE_PLUGINS", str(tmp_path / "plugins"))
    yield folder
    monkeypatch.undo()
    STRATEGIES.names()  # forgets what was there


def test_a_file_in_the_plugin_folder_is_a_strategy_everywhere(plugins):
    assert "upside_down" not in STRATEGIES
    (plugins / "upside_down.py").write_text(PLUGIN)
    item = next(n for n in catalogue.negatives() if n["name"] == "upside_down")
    assert item["settings"]["noise"]["default"] == 0.1
    run = ffcore.train(data="digits", negatives="upside_down", epochs=1, set={"model.widths": [16]})
    assert run.state == "done"
    assert list(run.config["plugins"]) == ["upside_down"]
    assert any("upside_down" in check["name"] and check["ok"] for check in catalogue.doctor())


def test_a_changed_plugin_is_another_recipe_and_a_removed_one_is_gone(plugins):
    file = plugins / "upside_down.py"
    file.write_text(PLUGIN)
    before = ffcore.configure(data="digits", negatives="upside_down")["recipe"]
    assert ffcore.configure(data="digits", negatives="upside_down")["recipe"] == before
    file.write_text(PLUGIN.replace("Field(0.1", "Field(0.25"))
    assert STRATEGIES["upside_down"]().noise == 0.25
    assert ffcore.configure(data="digits", negatives="upside_down", set={"negatives.noise": 0.1})["recipe"] != before
    file.unlink()
    with pytest.raises(Refused, match="no negative strategy named 'upside_down'"):
        STRATEGIES["upside_down"]


@pytest.mark.parametrize(("name", "text", "said"), [
    ("broken", "1 / 0", "ZeroDivisionError"),
    ("unclosed", "def f(:", "SyntaxError"),
    ("empty", "", "registers nothing named 'empty'"),
    ("other", PLUGIN, "registers 'upside_down' and not 'other'"),
    ("wrong_label", PLUGIN, "has a negative strategy of that name"),
    ("leaves", "import sys; sys.exit(3)", "SystemExit"),
    ("upside_down", PLUGIN.replace('    source = "this test"\n', ""), "does not say its source"),
    ("function", "from ffcore.negatives import STRATEGIES\n@STRATEGIES.register('function')\ndef f(): pass", "is no subclass"),
])  # fmt: skip
def test_a_broken_plugin_stops_nothing_and_is_told_by_name(plugins, name, text, said):
    (plugins / f"{name}.py").write_text(text)
    assert len(catalogue.negatives()) >= 15
    assert name == "wrong_label" or name not in STRATEGIES.names()
    assert said in STRATEGIES.problems[name]
    assert any(said in check["detail"] and not check["ok"] for check in catalogue.doctor())
    assert {"wrong_label", "image_mixing"} <= set(STRATEGIES.names())
    if name == "wrong_label":
        assert STRATEGIES[name].title == "Wrong label"  # ours stays
    else:
        with pytest.raises(Refused, match=f"plug-in .*{name}.py is left out.*mend it or remove it"):
            STRATEGIES[name]


def test_a_plugin_may_build_on_a_strategy_of_ours(plugins):
    (plugins / "thirds.py").write_text(
        "from ffcore.negatives import STRATEGIES\nfrom ffcore.negatives.image_mixing import ImageMixing\n"
        "@STRATEGIES.register('thirds')\nclass Thirds(ImageMixing):\n    'Thirds.'\n    title = 'Thirds'\n"
        "    low: float = 0.33\n"
    )
    assert STRATEGIES["thirds"]().low == 0.33
    assert STRATEGIES["image_mixing"].title == "Image mixing"
    (plugins / "thirds.py").unlink()
    assert STRATEGIES["image_mixing"].title == "Image mixing"


def test_threads_find_a_slow_plugin(plugins):
    (plugins / "upside_down.py").write_text("import time; time.sleep(0.5)\n" + PLUGIN)
    with ThreadPoolExecutor(4) as pool:
        titles = list(pool.map(lambda _: STRATEGIES["upside_down"].title, range(4)))
    assert titles == ["Upside down"] * 4


def test_a_link_that_leads_nowhere_is_no_plugin(plugins):
    (plugins / "dangling.py").symlink_to(plugins / "gone.py")
    assert "dangling" not in STRATEGIES.names()


def test_a_finished_run_needs_its_plugin_no_more_and_a_paused_one_its_own(plugins):
    (plugins / "upside_down.py").write_text(PLUGIN)
    asked = {"data": "digits", "negatives": "upside_down", "set": {"model.widths": [16]}}
    done = ffcore.train(epochs=1, **asked)

    def interrupt(run, event):
        if event["event"] == "epoch" and event["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as paused:
        ffcore.train(interrupt, epochs=2, **asked)
    (plugins / "upside_down.py").write_text(PLUGIN + "# another\n")
    with pytest.raises(Refused, match=r"plug-in 'upside_down' is not what run .* began with; put it back or train anew"):
        ffcore.resume(str(paused.value.args[0]))
    (plugins / "upside_down.py").unlink()
    told = ffcore.evaluate(done.id)
    assert list(told["readouts"]) == ["softmax"]


def test_a_head_that_is_sure_still_leaves_the_other_labels(net, batch):
    """Where every wrong label has probability 0 in float32, one of them is drawn all the same."""
    import copy

    sure = copy.deepcopy(net)
    sure.head.bias.data[0] = 500.0
    x = batch[0][:200]
    label = draw("hard_label", sure, x, torch.zeros(200).long(), by="softmax").neg.label
    assert (label != 0).all()
    assert len(label.unique()) > 5


def test_the_laws_hold_a_plugin_to_account(plugins):
    """The example of the docs is sound by the same tests as all; one whose negatives leave [0, 1] is not."""
    example = (ROOT / "docs" / "negatives.md").read_text().partition("```python\n")[2].partition("```")[0]
    file = plugins / "my_strategy.py"
    file.write_text(example)
    words = [sys.executable, "-m", "pytest", "tests/test_laws.py", "-k", "my_strategy", "-q"]
    sound = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert sound.returncode == 0, sound.stdout
    assert sound.stdout.count(".") >= 15
    file.write_text(example.replace("1 - 2 * x", "2 - 2 * x"))
    words[-2] = "my_strategy and shape_and_range"
    spoilt = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert "test_pairs_have_the_shape_and_range_of_the_batch" in spoilt.stdout
    assert spoilt.returncode == 1


def test_an_entry_point_is_a_strategy_too(plugins, tmp_path, monkeypatch):
    site = tmp_path / "site"
    (site / "mine-1.dist-info").mkdir(parents=True)
    (site / "mine.py").write_text(PLUGIN)
    (site / "mine-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (site / "mine-1.dist-info" / "entry_points.txt").write_text("[ffcore.negatives]\nupside_down = mine:UpsideDown\n")
    out = subprocess.run(
        [sys.executable, "-m", "ffcore", "negatives", "upside_down", "--json"],
        env={**__import__("os").environ, "PYTHONPATH": f"{site}:{ROOT}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(out.stdout)["items"][0]["title"] == "Upside down"
