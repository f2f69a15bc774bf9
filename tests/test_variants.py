"""Each variant changes what its paper changes, and nothing else: formulas by hand, and plain Forward-Forward at the zero."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from conftest import toy_config

from ffcore import goodness as formulas
from ffcore import labels, neurons
from ffcore.errors import Refused
from ffcore.goodness import normalise
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward
from ffcore.negatives.base import Pair
from ffcore.presets import PRESETS
from ffcore.readout import evaluate
from ffcore.training import Trainer, build_model


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
        ("layer_collab", {"model.gamma": 0, "model.alpha": 4, "train.drop_pixels": 0.2}),
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
        torch.testing.assert_close(told[layer].loss, torch.nn.functional.softplus(-3 * joint).mean())
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


# Settings that a variant shares with none.


def pair_of(toy, n=64, seed=3):
    x, y = batch_of(toy, n)
    rng = torch.Generator().manual_seed(seed)
    return x, y, Pair(Sample(x, y), Sample(x, labels.wrong(y, 4, rng)))


def stepped(toy, model, steps=5, **settings):
    """A trainer after some steps on one batch, every group active."""
    config = toy_config(model, set={"train.head_every": 1, "train.lr_schedule": "constant", **settings})
    trainer = Trainer(config, toy)
    for _ in range(steps):
        told = trainer.learn(*batch_of(toy))
    return trainer, told


# Dendritic.


def test_co_activity_by_rolling_equals_the_gather_over_neighbours(toy):
    net = build_model(toy_config("dendritic", set={"model.widths": [64, 8], "model.reach": 5}), toy)
    h = torch.rand(7, 64)
    offsets = [o for o in range(-5, 6) if o]
    index = (torch.arange(64)[:, None] + torch.tensor(offsets)) % 64
    near = h[:, index]  # (B, n, 2R): what the reference study gathered for all units at once
    wanted = h.square().mean(1) + 0.3 * (h[:, :, None] * near).mean((1, 2))
    torch.testing.assert_close(net.goodness(0, h), wanted)


@pytest.mark.parametrize("seen", ["label", "above", "both"])
def test_the_apical_gate_follows_its_context(seen, toy):
    net = build_model(toy_config("dendritic", set={"model.apical": seen, "model.widths": [12, 9]}), toy)
    x, y, _ = pair_of(toy, 6)
    z = net.sample_drive(Sample(x, y), net)
    first = torch.relu(z)
    above = formulas.normalise(torch.relu(net.drive(1, first)), "rms")
    apical = net.apical_bias[0].expand(6, 12)
    if seen != "above":
        apical = apical + net.apical_label["0"][y]
    if seen != "label":
        apical = apical + above @ net.apical_above["0"].T
    first = first * 2 * torch.sigmoid(apical)
    second = torch.relu(net.drive(1, first)) * 2 * torch.sigmoid(net.apical_bias[1] + net.apical_label["1"][y])
    for told, wanted in zip(net.features(Sample(x, y)), (first, second), strict=True):
        torch.testing.assert_close(told, wanted)


def test_compartments_learn_by_rules_of_their_own(toy):
    """Apical weights get nothing from the objective, and basal ones nothing from apical co-activity."""
    x, y, pair = pair_of(toy)

    def gradients(**settings):
        net = build_model(toy_config("dendritic", set={"model.rule": "compartments", "model.peer": 0, **settings}), toy)
        for term in net.terms(x, y, pair, [0, 1]):
            term.loss.backward()
        return net.weights[0].grad.clone(), net.apical_label["0"].grad.clone()

    (basal, apical), (basal_steep, apical_steep) = gradients(), gradients(**{"model.alpha": 8.0})
    assert not torch.allclose(basal, basal_steep)
    torch.testing.assert_close(apical, apical_steep)
    assert apical.any()


# Predictive coding light.


def test_inhibition_is_not_negative_spares_the_unit_itself_and_lowers_activity(toy):
    trainer, _ = stepped(toy, "pcl", 30, **{"model.rate": 0.05})
    net = trainer.model
    x, y, _ = pair_of(toy)
    free = torch.relu(net.sample_drive(Sample(x, y), net))
    h = net.features(Sample(x, y))[0]
    inhibition = net.suppression(0, free)
    assert inhibition.min() >= 0
    assert inhibition.max() > 0
    assert (h <= free).all()
    alone = torch.zeros(1, 32)
    alone[0, 5] = 1.0
    assert net.suppression(0, alone)[0, 5] == 0
    torch.testing.assert_close(h, torch.relu(net.sample_drive(Sample(x, y), net) - inhibition))


def test_the_inhibitory_rule_is_that_of_vogels_and_sees_nothing_of_the_objective(toy):
    x, y, pair = pair_of(toy)

    def gradient(alpha):
        net = build_model(toy_config("pcl", set={"model.alpha": alpha, "model.peer": 0}), toy)
        with torch.no_grad():
            net.inhibitory[0].uniform_(0, 0.5, generator=torch.Generator().manual_seed(0)).fill_diagonal_(0)
        term = next(iter(net.terms(x, y, pair, [0])))
        term.loss.backward()
        free = torch.relu(net.pair_drive(pair, net)).detach()
        pre = formulas.normalise(free, "rms")
        on = (torch.relu(net.pair_drive(pair, net) - net.suppression(0, free)) > 0).float()
        wanted = -(on - 0.12).T @ pre / len(pre) / 32**1.5
        return net.inhibitory[0].grad, wanted.fill_diagonal_(0)

    for alpha in (1.0, 8.0):
        torch.testing.assert_close(*gradient(alpha), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("source", ["lateral", "top_down"])
def test_units_are_held_near_their_target_rate(source, toy):
    trainer, _ = stepped(
        toy, "pcl", 300, **{"model.inhibition": source, "model.rate": 0.15, "model.sparsity": 0.15, "train.lr": 0.02}
    )
    rates = [(h > 0).float().mean().item() for h in trainer.model.features(Sample(*batch_of(toy)))]
    free, _ = stepped(toy, "ff", 300, **{"train.lr": 0.02})
    plain = [(h > 0).float().mean().item() for h in free.model.features(Sample(*batch_of(toy)))]
    assert rates[0] < 0.6 * plain[0]
    assert rates[0] == pytest.approx(0.15, abs=0.1)


# Prospective configuration.


def test_without_inference_prospective_is_plain_forward_forward(toy, monkeypatch):
    # the short way adds in another order, and what may infer never takes it; that both agree is tested where it stands
    monkeypatch.setattr(ForwardForward, "has_short_way", lambda self: False)

    def weights(model, **settings):
        trainer = Trainer(toy_config(model, set={"train.epochs": 2, **settings}), toy)
        for _ in trainer.events():
            pass
        return trainer.model.state_dict()

    plain, none, some = weights("ff"), weights("prospective", **{"model.steps": 0}), weights("prospective")
    assert all(torch.equal(plain[k], none[k]) for k in plain)
    assert not torch.equal(plain["weights.0"], some["weights.0"])


def test_relaxing_lowers_the_energy_step_by_step_and_brings_the_answer_nearer(toy):
    trainer, _ = stepped(toy, "prospective", 30)
    net, (x, y) = trainer.model, batch_of(toy)
    energies, answers = [], []
    for steps in (1, 2, 4, 8, 16):
        net.settings = net.settings.model_copy(update={"steps": steps})
        h = net.relax(x, y, net.view())
        first = net.predicted(0, x, h, net.view())
        energies.append(net.energy(h, first, y).mean().item())
        answers.append(F.cross_entropy(net.head(net.read(h)), y).item())
    assert all(more > less for more, less in itertools.pairwise(energies))
    assert all(more > less for more, less in itertools.pairwise(answers))


def test_no_image_is_ever_led_uphill_however_large_the_step(toy):
    """Late in training weights are large, and a step that was right before is too long."""
    trainer = trained(toy, "prospective", 12, **{"train.lr": 0.1, "model.step_size": 1.0})
    net, (x, y) = trainer.model, batch_of(toy)
    start = net.activities(net.shown(x))
    for steps in (1, 3, 9):
        net.settings = net.settings.model_copy(update={"steps": steps})
        h = net.relax(x, y, net.view())
        assert (net.energy(h, start[0], y) <= net.energy(start, start[0], y) + 1e-4).all()
    assert any(not torch.equal(a, b) for a, b in zip(h, start, strict=True))


def test_consolidation_pulls_each_layer_towards_what_was_inferred(toy):
    trainer, _ = stepped(toy, "prospective", 30)
    net, (x, y) = trainer.model, batch_of(toy)
    view = net.view()
    h = net.relax(x, y, view)
    for layer in range(2):
        net.zero_grad()
        off = (h[layer] - net.predicted(layer, x, h, view)).square().mean() / 2
        off.backward()
        with torch.no_grad():
            net.weights[layer] -= 0.5 * net.weights[layer].grad
        again = (h[layer] - net.predicted(layer, x, h, net.view())).square().mean() / 2
        assert again < off
        assert all(p.grad is None or not p.grad.any() for p in net.weights if p is not net.weights[layer])


def test_a_net_without_labels_relaxes_nothing(toy):
    config = toy_config("prospective", negatives="masking")
    trainer = Trainer(config, toy)
    told = trainer.learn(*batch_of(toy))
    assert "consolidation" not in told[0].stats


# Hybrids.


@pytest.mark.parametrize("mode", ["split", "two_stage", "alternating", "mixed"])
def test_every_hybrid_learns(mode, toy):
    trainer = Trainer(toy_config("hybrid", set={"model.mode": mode}), toy)
    for _ in trainer.events():
        pass
    assert evaluate(trainer.model, *toy.test).accuracy["softmax"] > 0.95


def test_the_ratio_of_a_hybrid_follows_its_schedule(toy):
    def ratios(**settings):
        net = build_model(toy_config("hybrid", set={f"model.{k}": v for k, v in settings.items()}), toy)
        out = []
        for net.progress in (0.0, 0.1, 0.15, 0.3, 0.74, 0.76, 0.99):
            out.append(net.ratio)
        return out

    assert ratios(mode="mixed", ratio=0.3) == [0.3] * 7
    assert ratios(mode="two_stage", ratio=0.25) == [0, 0, 0, 0, 0, 1, 1]
    assert ratios(mode="alternating", ratio=0.5, turns=5) == [0, 1, 1, 1, 1, 1, 1]


def test_backpropagation_stops_at_the_border(toy):
    net = build_model(toy_config("hybrid", set={"model.mode": "split"}), toy)
    net.head.weight.data.normal_()
    x, y, pair = pair_of(toy)
    *_, last = net.terms(x, y, pair, [0, 1])
    last.loss.backward()
    touched = [bool(w.grad is not None and w.grad.any()) for w in net.weights]
    assert touched == [False, True, True]


def test_votes_of_layers_that_learn_no_goodness_are_refused():
    with pytest.raises(Refused, match="only the first 1 learn by goodness"):
        toy_config("hybrid", set={"model.mode": "split", "model.votes": [2]})


def test_a_border_above_all_layers_is_refused():
    with pytest.raises(Refused, match="leaves no layer"):
        toy_config("hybrid", set={"model.mode": "split", "model.below": 3})


# The reference study's failures.


def from_preset(name, toy, steps, **settings):
    from ffcore.config import TrainSettings, configure, resolve

    settings = {"model.widths": [64, 48], "train.telemetry": False, "data.standardise": False, **settings}
    config = configure(preset=name, data="mnist-5k", device="cpu", set=settings)
    config["train"] = resolve(TrainSettings(**config["train"]), 512).model_dump(mode="json")
    trainer = Trainer(config, toy)
    for _ in range(steps):
        told = trainer.learn(*(part[:512] if i else part[:512].float() / 255 for i, part in enumerate(toy.train)))
    return trainer, told


def test_a_leaked_reward_makes_the_loss_vanish_and_teaches_nothing(toy):
    _, told = from_preset("ref-reward", toy, 300)
    for term in told[:2]:
        assert term.loss < 0.05
        assert (term.stats["pos"].mean() - term.stats["neg"].mean()).abs() < 0.05 * term.stats["pos"].mean()
        assert term.stats["factor_pos"] > 1.5
        assert term.stats["factor_neg"] < 0.2


def test_the_mask_is_a_constant_and_the_masked_metric_counts_an_untrained_net_as_dead(digits):
    """With unit-length inputs of 784 pixels the error is 0.002 whatever the image: σ(10·0.002 - 5) = 0.0068."""
    from ffcore.config import configure

    config = configure(preset="ref-pcl", data="mnist-5k", device="cpu")
    net = build_model(config, digits)
    x, y = digits.validation.x[:200].float() / 255, digits.validation.y[:200]
    net.features(Sample(x, y))
    mask = net.seen[3]
    assert 0.0067 < mask.min() <= mask.max() < 0.0070
    for layer in neurons.measure(net, x, y):
        assert layer["reference_metric"] > 0.95
        assert layer["dead"] < 0.2


def test_the_predictors_error_kills_units_and_detaching_it_saves_them(digits):
    def dead(**settings):
        from ffcore.config import configure

        config = configure(preset="ref-pcl", data="mnist-5k", device="cpu", set={"model.widths": [100], **settings})
        trainer = Trainer(config, digits)
        x, y = digits.train.x[:1000].float() / 255, digits.train.y[:1000]
        for _ in range(60):
            trainer.learn(x, y)
        return neurons.measure(trainer.model, x[:300], y[:300])[0]["dead"]

    assert dead() > 0.9
    assert dead(**{"model.penalty_size": 0, "model.mask": 0}) > 0.6  # not for lack of sparsity, nor for the mask
    assert dead(**{"model.penalty_size": 0, "model.mask": 0, "model.coupled": False}) < 0.05


def test_the_study_s_prospective_pull_is_nothing_beside_the_loss(toy):
    _, told = from_preset("ref-prospective", toy, 3)
    assert all(0 < term.stats["consolidation"] < 1e-4 for term in told[:2])


def test_a_sum_under_exp_overflows_and_the_run_says_so(digits):
    from ffcore.config import configure
    from ffcore.errors import Failed

    config = configure(preset="ref-overflow", data="mnist-5k", device="cpu", epochs=2)
    config["train"]["batch_size"] = 128
    with pytest.raises(Failed, match="diverged at step"):
        for _ in Trainer(config, digits).events():
            pass


def test_a_flawed_model_is_reached_through_a_preset_only():
    with pytest.raises(Refused, match="flawed on purpose"):
        toy_config("ref_pcl")


@pytest.mark.parametrize("name", [p for p in PRESETS if not PRESETS[p].good])
def test_every_failure_says_what_happens_why_and_what_mends_it(name):
    from ffcore.config import configure

    preset = PRESETS[name]
    assert all(len(text) > 40 for text in (preset.see, preset.why, preset.fix))
    assert preset.variant in MODELS
    config = configure(data="mnist-5k", **preset.instead)
    assert MODELS[config["model"]["name"]].faithful
