"""The rule itself: the layer-1 shortcut against brute force, nothing flows back, and the loop's promises."""

import json
from functools import wraps

import pytest
import torch
from conftest import make_toy, toy_config

from ffcore import goodness, labels
from ffcore.config import TrainSettings, configure, parse_grid, resolve
from ffcore.errors import Failed, Refused
from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward
from ffcore.negatives import STRATEGIES
from ffcore.training import Trainer, build_model, keep, moved


def brute_force(net, image, label):
    """Layer 1's drive by one matrix product over the written-out input [image, label], as Hinton would."""
    settings = net.settings
    x = net.pixels(image)
    if settings.label == "overlay":
        x = x.clone()
        x[:, : net.classes] = label * settings.label_value
        weight = net.weights[0].clone()
        weight[:, : net.classes] = net.label_weights.T
    else:
        x = torch.cat([x, label * settings.label_value], 1)
        weight = torch.cat([net.weights[0], net.label_weights.T], 1)
    return goodness.normalise(x, settings.norm) @ weight.T + net.biases[0]


@pytest.mark.parametrize("norm", ["rms", "unit", "none"])
@pytest.mark.parametrize("how", ["appended", "overlay"])
@pytest.mark.parametrize("value", [1.0, 2.82])
def test_layer_1_shortcut_equals_brute_force_for_every_label(toy, norm, how, value):
    settings = {"model.norm": norm, "model.label": how, "model.label_value": value}
    net = build_model(toy_config("ff", set=settings), toy)
    image = toy.train.x[:20].float() / 255
    told = net.label_goodness(image)
    for c in range(net.classes):
        one_hot = torch.nn.functional.one_hot(torch.full((20,), c), net.classes).float()
        h = torch.relu(brute_force(net, image, one_hot))
        torch.testing.assert_close(told[:, c, 0], goodness.mean_square(h), rtol=1e-4, atol=1e-6)
        h = torch.relu(goodness.normalise(h, norm) @ net.weights[1].T + net.biases[1])
        torch.testing.assert_close(told[:, c, 1], goodness.mean_square(h), rtol=1e-4, atol=1e-6)
    with torch.no_grad():  # as a miner asks
        torch.testing.assert_close(net.label_goodness(image, 1), told[:, :, :1], rtol=1e-4, atol=1e-6)
    soft = labels.neutral(20, net.classes)
    first = net.activities(labels.Sample(image, soft))[0]
    torch.testing.assert_close(first, torch.relu(brute_force(net, image, soft)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in MODELS if issubclass(MODELS[name], ForwardForward)])
def test_how_many_labels_are_tried_at_once_changes_no_goodness(toy, monkeypatch, name):
    """On a GPU many labels share a batch; a stand-in for it says how many, a last group of fewer among them."""
    net = MODELS[name](MODELS[name].Settings(), toy.shape, 5, seed=3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0))
    image = toy.train.x[:7].float() / 255
    one_by_one = net.label_goodness(image)
    assert not torch.allclose(one_by_one[:, 0], one_by_one[:, 1])
    for together in (2, 3, 5):
        monkeypatch.setattr(net, "labels_at_once", lambda *_, n=together: n)
        torch.testing.assert_close(net.label_goodness(image), one_by_one)


def test_a_gpu_tries_as_many_labels_at_once_as_fit_a_batch_and_a_processor_one(toy):
    net = build_model(toy_config("ff"), toy)
    net.classes = 200
    assert [net.labels_at_once(n, gpu=True) for n in (1, 512, 8_192, 100_000)] == [200, 32, 2, 1]
    assert net.labels_at_once(512, gpu=False) == 1


def test_layer_1_is_bit_equal_with_and_without_a_layer_above(toy):
    """Nothing flows back."""

    def first_layer(widths):
        config = toy_config("ff", negatives="wrong_label", set={"model.widths": widths, "train.epochs": 2})
        trainer = Trainer(config, toy)
        for _ in trainer.events():
            pass
        return [p.clone() for p in trainer.groups[0]]

    for one, two in zip(first_layer([32]), first_layer([32, 24]), strict=True):
        assert torch.equal(one, two)


def test_miner_and_training_share_one_image_product(toy):
    trainer = Trainer(toy_config("ff", negatives="hard_label", set={"train.head_every": 1}), toy)
    calls, product = [], trainer.model.product
    trainer.model.product = wraps(product)(lambda *args: calls.append(1) or product(*args))
    trainer.learn(toy.train.x[:64].float() / 255, toy.train.y[:64])
    assert len(calls) == 1


def test_a_miner_that_looks_without_gradient_does_not_starve_layer_1(toy):
    trainer = Trainer(toy_config("ff", negatives="hard_label"), toy)
    before = trainer.model.weights[0].clone()
    trainer.learn(toy.train.x[:64].float() / 255, toy.train.y[:64])
    assert not torch.equal(before, trainer.model.weights[0])


def test_the_short_way_through_rectified_units_has_the_gradient_of_the_long_one(toy):
    z = torch.randn(20, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    told = goodness.rectified(z, z.detach().relu())
    assert torch.equal(told[1], z.relu().mean(0))
    for wanted, got in zip((goodness.mean_square(z.relu()), z.mean(0)), told, strict=True):
        slope = torch.arange(1.0, 1 + len(got)).double()
        a, b = (torch.autograd.grad((value * slope).sum(), z, retain_graph=True)[0] for value in (wanted, got))
        torch.testing.assert_close(a, b)

    def gradients(short):
        trainer = Trainer(toy_config("ff", set={"model.peer": 0.5}), toy)
        assert trainer.model.short
        trainer.model.short = short
        x, y = next(iter(trainer.batches(0, 0)))
        pair = trainer.strategy(x, y, trainer.model.view(), trainer.rng["negatives"])
        terms = list(trainer.model.terms(x, y, pair, {0, 1}))
        sum(term.loss for term in terms).backward()
        return [p.grad for group in trainer.groups[:2] for p in group]

    for a, b in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_model_with_a_term_of_its_own_finds_a_gradient_in_activities(toy):
    class Own(ForwardForward):
        def term(self, layer, z, h):
            raise NotImplementedError

    net = Own(build_model(toy_config("ff"), toy).settings, toy.shape, len(toy.classes))
    assert not net.short
    x, y = toy.train.x[:20].float() / 255, toy.train.y[:20]
    pair = STRATEGIES["wrong_label"]()(x, y, net.view(), torch.Generator().manual_seed(0))
    for layer, z, h in net.climb(pair, net.view(), 2, {0, 1}):
        (slope,) = torch.autograd.grad(h.sum(), net.biases[layer])
        torch.testing.assert_close(slope, (z > 0).sum(0).float())


@pytest.mark.parametrize("model", ["ff", "backprop", "mono_forward", "vicreg", "reconstruction"])
def test_peer_normalisation_takes_activities_in_bfloat16(toy, model):
    trainer = Trainer(toy_config(model, set={"model.peer": 0.5, "train.precision": "bf16"}), toy)
    before = trainer.model.mean_activity_0.clone()
    trainer.learn(toy.train.x[:64].float() / 255, toy.train.y[:64])
    assert not torch.equal(trainer.model.mean_activity_0, before)
    assert trainer.model.mean_activity_0.dtype == torch.float32


def test_peer_normalisation_wakes_a_unit_that_never_fires(toy):
    def rates(peer):
        config = toy_config("ff", set={"model.peer": peer, "train.epochs": 20, "model.widths": [32]})
        trainer = Trainer(config, toy)
        trainer.model.biases[0].data[:8] = -3.0  # dead at birth
        for _ in trainer.events():
            pass
        x, y = toy.train.x.float() / 255, toy.train.y
        return (trainer.model.features(labels.Sample(x, y))[0][:, :8] > 0).float().mean().item()

    assert rates(0.0) == 0
    assert rates(3.0) > 0.01


def test_bf16_agrees_with_float32(toy):
    from ffcore.readout import autocast

    net = build_model(toy_config("ff"), toy)
    x = toy.train.x[:50].float() / 255
    with torch.no_grad(), autocast("bf16", "cpu"):
        rough = net.label_goodness(x)
    torch.testing.assert_close(rough, net.label_goodness(x), rtol=0.05, atol=0.02)
    assert not torch.equal(rough, net.label_goodness(x))


def test_compiled_losses_train_the_same_net(toy):
    def final(compiled):
        trainer = Trainer(toy_config("ff", set={"train.compile": compiled, "train.epochs": 1, "model.widths": [32]}), toy)
        for _ in trainer.events():
            pass
        return trainer.model.weights[0]

    torch.testing.assert_close(final(True), final(False), rtol=1e-3, atol=1e-4)


# The loop.


def test_events_come_in_order_and_snapshots_at_every_epoch(toy):
    events = list(Trainer(toy_config("ff", set={"train.epochs": 3}), toy).events())
    kinds = [e["event"] for e in events if e["event"] not in ("tick", "alarm")]
    assert kinds == ["start", "epoch", "epoch", "epoch", "epoch"]
    epochs = [e for e in events if e["event"] == "epoch"]
    assert [e["epoch"] for e in epochs] == [0, 1, 2, 3]
    assert all(e["arrays"]["goodness"].shape == (64, 4, 2) for e in epochs)
    assert [row["layer"] for row in epochs[-1]["layers"]] == [1, 2]
    arrays = epochs[-1]["arrays"]
    assert arrays["pos"].sum(1).tolist() == arrays["neg"].sum(1).tolist() == arrays["pair"].sum(1).tolist() == [128, 128]
    middle = (arrays["pair_edges"][:, 1:] + arrays["pair_edges"][:, :-1]) / 2
    assert ((middle * arrays["pair"]).sum(1) > 0).all()  # after training, positives are better
    json.dumps([{k: v for k, v in e.items() if k != "arrays"} for e in events])


def test_ticks_tell_both_sides_of_every_layer(toy, monkeypatch):
    monkeypatch.setattr("ffcore.training.TICK", 0.0)
    ticks = [e for e in Trainer(toy_config("ff", set={"train.epochs": 6}), toy).events() if e["event"] == "tick"]
    assert len(ticks) == 6 * 8
    last = ticks[-1]["layers"]
    assert [row["layer"] for row in last] == [1, 2]
    for row in last:
        assert row["gap"] == pytest.approx(row["pos"][0] - row["neg"][0], rel=1e-4)
        assert row["gap"] == pytest.approx(row["pair"][0], rel=1e-3)
        assert row["pos"][1] <= row["pos"][2] <= row["pos"][3]
        assert row["won"] > 0.9
        assert row["paired_dprime"] > row["dprime"] > 0
    assert ticks[0]["eta"] > ticks[-1]["eta"] >= 0
    assert ticks[-1]["loss"] < ticks[0]["loss"]


def test_telemetry_off_changes_no_weight(toy):
    def final(telemetry):
        trainer = Trainer(toy_config("ff", set={"train.telemetry": telemetry, "train.epochs": 2}), toy)
        told = [e for e in trainer.events() if e.get("arrays")]
        return trainer.model.weights[1], len(told)

    (with_, n), (without, none) = final(True), final(False)
    assert torch.equal(with_, without)
    assert (n, none) == (3, 0)


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("lr_schedule", ["one_cycle", "linear", "constant"])
def test_resume_from_any_step_is_bit_identical(toy, optimiser, lr_schedule):
    settings = {"train.optimiser": optimiser, "train.lr_schedule": lr_schedule, "train.epochs": 2, "model.peer": 0.1,
                "train.drop_pixels": 0.2}  # fmt: skip
    config = toy_config("ff", negatives="hard_label", set=settings)
    whole = Trainer(config, toy)
    for _ in whole.events():
        pass
    half = Trainer(config, toy)
    epoch_1 = list(half.batches(0, 0))
    for x, y in epoch_1[:5]:
        half.learn(x, y)
    tensors, metadata = half.state(note="beside")
    other = Trainer({**config}, toy)
    assert other.restore({k: v.clone() for k, v in tensors.items()}, metadata)["note"] == "beside"
    for _ in other.events():
        pass
    assert other.step == whole.step
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[key]), key


def test_whether_steps_can_be_recorded_is_of_the_device_and_not_of_the_state(toy):
    trainer = Trainer(toy_config("ff"), toy)
    tensors, metadata = trainer.state()
    other = Trainer(toy_config("ff"), toy)
    other.restore(tensors, {"state": metadata["state"].replace('"capturable": false', '"capturable": true')})
    assert '"capturable": false' in metadata["state"]
    assert [o.param_groups[0]["capturable"] for o in other.optimisers] == [False] * 3


def test_learning_rate_schedules_reach_every_group(toy):
    for schedule, steps in (("together", 16), ("greedy", 32), ("alternate", 16)):
        config = toy_config("ff", set={"train.schedule": schedule, "train.epochs": 2, "train.lr_schedule": "linear"})
        trainer = Trainer(config, toy)
        taken = [0, 0, 0]
        for step in range(trainer.steps):
            for group in trainer.active(step):
                taken[group] += 1
        assert trainer.steps == steps
        assert taken == {"together": [16, 16, 4], "greedy": [16, 16, 8], "alternate": [8, 8, 4]}[schedule]
        for _ in trainer.events():
            pass
        assert [trainer.rate(group) for group in range(3)] == pytest.approx([0, 0, 0], abs=1e-9)


def test_a_diverging_run_says_at_which_step_and_what_to_do(toy):
    trainer = Trainer(toy_config("ff", set={"train.optimiser": "sgd", "train.lr": 10.0, "train.lr_schedule": "constant",
                                            "model.objective": "threshold", "model.norm": "none"}), toy)  # fmt: skip
    trainer.model.weights[0].data.fill_(1e30)
    with pytest.raises(Failed, match=r"diverged at step \d+.*lower train.lr"):
        list(trainer.events())


def test_full_batches_come_in_one_order_and_minibatches_in_a_new_one_each_epoch(toy):
    full = Trainer(toy_config("ff", set={"train.batch_size": 512}), toy)
    (x0, y0), (x1, y1) = next(full.batches(0, 0)), next(full.batches(1, 0))
    assert torch.equal(x0, x1)
    assert torch.equal(y0, y1)
    mini = Trainer(toy_config("ff"), toy)
    first, second, again = (next(mini.batches(e, 0))[0] for e in (0, 1, 0))
    assert not torch.equal(first, second)
    assert torch.equal(first, again)
    seen = torch.cat([x.flatten(1) for x, _ in mini.batches(0, 0)])
    assert len(seen.unique(dim=0)) == len((toy.train.x.float() / 255).flatten(1).unique(dim=0))


def test_the_reference_recipe_takes_the_same_steps_as_the_study(toy):
    """Written out here from its definition: unit-length inputs, overlay, θ 2, Adam 0.03, one fixed shuffle, greedy."""
    config = configure(
        preset="ref-ff", data="mnist-5k", set={"data.validation": 0, "model.widths": [20, 16], "train.epochs": 3}
    )
    config["train"] = resolve(TrainSettings(**config["train"]), 512).model_dump(mode="json")
    trainer = Trainer(config, toy)
    net, (images, y) = trainer.model, toy.train
    x = (images.float() / 255 - 0.5) / 0.3

    def overlay(label):
        z = x.flatten(1).clone()
        z[:, :4] = 0
        z[torch.arange(len(z)), label] = 2.82
        return z

    once = torch.Generator().manual_seed(trainer.rng["negatives"].initial_seed())
    h = [overlay(y), overlay(y[torch.randperm(len(y), generator=once)])]
    expected = []
    for layer in range(2):
        weight = net.weights[layer].detach().clone()
        if layer == 0:
            weight[:, :4] = net.label_weights.detach().T
        weight, bias = weight.requires_grad_(), net.biases[layer].detach().clone().requires_grad_()
        adam = torch.optim.Adam([weight, bias], lr=0.03)
        for _ in range(3):
            g = [torch.relu(v / (v.norm(dim=1, keepdim=True) + 1e-4) @ weight.T + bias).pow(2).mean(1) for v in h]
            loss = torch.nn.functional.softplus(torch.cat([2 - g[0], g[1] - 2])).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        with torch.no_grad():
            h = [torch.relu(v / (v.norm(dim=1, keepdim=True) + 1e-4) @ weight.T + bias) for v in h]
        expected.append((weight.detach(), bias.detach()))
    for _ in trainer.events():
        pass
    assert trainer.steps == 6
    got = net.weights[0].detach().clone()
    got[:, :4] = net.label_weights.detach().T
    torch.testing.assert_close(got, expected[0][0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(net.weights[1].detach(), expected[1][0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(net.biases[1].detach(), expected[1][1], rtol=1e-3, atol=1e-4)


# Configuration.


def test_precedence_is_model_then_preset_then_settings_then_flags():
    assert configure(data="digits")["train"]["lr"] == 0.02  # the model's own
    assert configure(data="digits", preset="hinton")["train"]["lr"] == 0.001
    assert configure(data="digits", preset="hinton", set={"train.lr": 0.5})["train"]["lr"] == 0.5
    assert configure(data="digits", set={"train.epochs": 3}, epochs=7)["train"]["epochs"] == 7


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "pcn"}, "no model named 'pcn'; did you mean 'pcl'\\? known: backprop, conv_ff, "),
        ({"negatives": "wrng_label"}, "did you mean 'wrong_label'"),
        ({"preset": "papr"}, "did you mean 'paper'"),
        ({"data": "mnits"}, "no dataset named 'mnits'"),
        ({"model": "backprop", "negatives": "wrong_label"}, "uses no negatives"),
        ({"model": "backprop", "preset": "hinton"}, "made for model 'ff'"),
        ({"seed": -1}, "seed=-1"),
        ({"device": "tpu"}, "no device named 'tpu'"),
        ({"set": {"model.votes": [3]}}, "there is no layer 3"),
        ({"set": {"model.widths": "big"}}, "model.widths"),
        ({"set": {"train.lr": 0}}, r"train.lr=0.*> 0"),
        ({"set": {"train.lr": "nan"}}, "train.lr"),
        ({"set": {"lr": 1}}, "a setting begins with"),
        ({"set": {"train.momentun": 1}}, "did you mean 'momentum'"),
        ({"epochs": -1}, "train.epochs=-1"),
    ],
)
def test_wrong_requests_are_refused_in_one_line(asked, said):
    from ffcore.jobs import prepare

    with pytest.raises(Refused, match=said) as refused:
        prepare(**{"data": "digits", **asked})
    assert "\n" not in str(refused.value)


def test_small_sets_get_small_batches_and_enough_steps():
    for images in (500, 1_258, 3_500, 20_000, 55_000):
        train = resolve(TrainSettings(), images)
        assert train.epochs * images / train.batch_size >= 750 or train.epochs == 200
    assert resolve(TrainSettings(epochs=3, batch_size=7), 500).epochs == 3


def test_the_recipe_is_the_same_exactly_when_the_run_would_be():
    one, same = configure(data="digits", seed=1), configure(data="digits", seed=1, tag="x", test=False)
    assert one["recipe"] == same["recipe"]
    assert one["recipe"] != configure(data="digits", seed=2)["recipe"]
    assert one["recipe"] != configure(data="digits", seed=1, set={"model.alpha": 3})["recipe"]


def test_grids_keep_commas_inside_brackets():
    assert parse_grid(["model.widths=[10,10],[20]", "model.alpha=2,4"]) == {
        "model.widths": [[10, 10], [20]],
        "model.alpha": [2, 4],
    }


def test_a_colour_image_with_three_channels_shows_receptive_fields():
    data = make_toy(3, (3, 8, 8), 130)
    events = [e for e in Trainer(toy_config("ff", set={"train.epochs": 1}), data).events() if e["event"] == "epoch"]
    assert events[-1]["arrays"]["fields"].shape == (16, 8, 8)


def test_shifted_images_are_the_same_image_elsewhere_and_every_place_is_as_likely():
    image = torch.zeros(1, 2, 7, 9)
    image[:, 0, 3, 4], image[:, 1, 2, 4], image[:, 0, 0, 0] = 1, 2, 3  # one at the edge, that may leave the picture
    seen = moved(image.expand(4_000, -1, -1, -1), 2, False, torch.Generator().manual_seed(0))
    assert set(map(tuple, (seen[:, 0] == 1).nonzero()[:, 1:].tolist())) == {(y, x) for y in range(1, 6) for x in range(2, 7)}
    places = [(part == value).flatten(1).float().argmax(1) for part, value in ((seen[:, 0], 1), (seen[:, 1], 2))]
    assert torch.equal(places[0], places[1] + 9)  # all channels move alike
    assert places[0].bincount().count_nonzero() == 25
    assert places[0].bincount().max() < 220
    assert seen.sum((1, 2, 3)).unique().tolist() == [3, 6]
    assert torch.equal(moved(image, 0, False, torch.Generator()), image)


def test_half_of_the_images_are_mirrored():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    seen = moved(image.expand(400, -1, -1, -1), 0, True, torch.Generator().manual_seed(0))
    turned = (seen == image.flip(3)).flatten(1).all(1)
    assert 160 < turned.sum() < 240
    assert torch.equal(seen[~turned], image.expand_as(seen[~turned]))


def test_dropped_pixels_are_blank_in_training_and_whole_in_the_read_out(toy):
    seen = []
    trainer = Trainer(toy_config("ff", set={"train.drop_pixels": 0.25}), toy)
    terms = trainer.model.terms
    trainer.model.terms = lambda x, *rest: seen.append(x) or terms(x, *rest)
    x, y = toy.train.x[:64].float() / 255 + 0.01, toy.train.y[:64]
    trainer.learn(x, y)
    trainer.learn(x, y)
    blank = [(s == 0).float().mean().item() for s in seen]
    assert blank == pytest.approx([0.25, 0.25], abs=0.03)
    assert keep(torch.Size([3, 7]), 0.25, trainer.rng["pixels"]).shape == (3, 7)
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0][seen[0] > 0], x[seen[0] > 0])
