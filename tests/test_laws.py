"""Laws that every strategy and every model obeys. A new file in negatives/ or models/ falls under all of them."""

import copy

import pytest
import torch
from conftest import make_toy, toy_config

from ffcore.errors import Refused
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.negatives import STRATEGIES
from ffcore.readout import accuracy, evaluate
from ffcore.registry import build
from ffcore.training import Trainer, build_model

FLOORS = {"ff": 0.95, "backprop": 0.95, "untrained": 0.9}  # of the toy problem; chance is 0.25


@pytest.fixture(scope="module")
def net(digits):
    return build_model(toy_config("ff", set={"model.widths": [64, 64]}), digits)


@pytest.fixture(scope="module")
def batch(digits):
    return digits.train.x[:512].float() / 255, digits.train.y[:512]


@pytest.fixture(params=list(STRATEGIES))
def strategy(request):
    return STRATEGIES[request.param]()


def draw(strategy, net, x, y, seed=0):
    with torch.no_grad():
        return strategy(x, y, net.view(), torch.Generator().manual_seed(seed))


# Strategies.


def test_pairs_have_the_shape_and_range_of_the_batch(strategy, net, batch):
    x, y = batch
    for sample in draw(strategy, net, x, y):
        assert sample.image.shape == x.shape
        assert sample.image.dtype == x.dtype
        assert sample.image.min() >= 0
        assert sample.image.max() <= 1
        if sample.label is not None:
            assert sample.label.shape == y.shape
            assert sample.label.dtype == y.dtype
            assert sample.label.min() >= 0
            assert sample.label.max() < net.classes


def test_the_batch_is_not_written_to(strategy, net, batch):
    x, y = batch
    before = x.clone(), y.clone()
    draw(strategy, net, x, y)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def test_the_same_generator_gives_the_same_pair_and_another_seed_another(strategy, net, batch):
    first, again, other = (draw(strategy, net, *batch, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.neg.image, again.neg.image)
    assert torch.equal(first.neg.label, again.neg.label)
    assert not (torch.equal(first.neg.image, other.neg.image) and torch.equal(first.neg.label, other.neg.label))


def test_no_negative_shows_the_right_label(strategy, net, batch):
    """Shuffling labels, as the popular code does, leaves one negative in ten correct; the ranking then measures that."""
    x, y = batch
    right = (draw(strategy, net, x, y).neg.label == y).float().mean().item()
    if strategy.embeds_label:
        assert right == 0
    elif not strategy.faithful:
        assert 0.05 < right < 0.2


def test_a_strategy_without_labels_ignores_their_order(strategy, net, batch):
    x, y = batch
    if strategy.uses_labels:
        assert "y" in type(strategy).__call__.__code__.co_varnames
        return
    assert torch.equal(draw(strategy, net, x, y).neg.image, draw(strategy, net, x, y.flip(0)).neg.image)


def test_hardly_any_negative_equals_its_positive(strategy, net, batch):
    x, y = batch
    pair = draw(strategy, net, x, y)
    same = (pair.neg.image == pair.pos.image).flatten(1).all(1) & (pair.neg.label == pair.pos.label)
    if strategy.faithful:
        assert same.float().mean().item() <= 0.001


def test_settings_survive_json(strategy):
    cls = type(strategy)
    assert cls.model_validate_json(strategy.model_dump_json()) == strategy


def test_a_strategy_states_what_it_is(strategy):
    assert strategy.title
    assert strategy.source
    assert type(strategy).__doc__


def test_hard_labels_prefer_what_the_net_finds_likely(net, batch):
    x, y = batch
    with torch.no_grad():
        belief = net.label_goodness(x)[:, :, 0].scatter(1, y[:, None], -torch.inf)
    cold, hot = (draw(STRATEGIES["hard_label"](temperature=t), net, x, y).neg.label for t in (1e-5, 100))
    top = belief.argmax(1)
    assert (cold == top).float().mean() > 0.95
    assert 0.05 < (hot == top).float().mean() < 0.3


def test_hard_labels_by_softmax_follow_the_head(digits, batch):
    net = build_model(toy_config("ff"), digits)
    with torch.no_grad():
        net.head.bias[3] = 20.0
    x, y = batch
    chosen = draw(STRATEGIES["hard_label"](by="softmax", temperature=1), net, x, y).neg.label
    assert (chosen[y != 3] == 3).all()
    assert (chosen[y == 3] != 3).all()


# Models.


@pytest.fixture(params=list(MODELS))
def model_name(request):
    return request.param


def losses(trainer, x, y, active=None):
    """Every term of one step, without moving anything."""
    model = trainer.model
    view = model.view()
    pair = trainer.strategy(x, y, view, trainer.rng["negatives"]) if trainer.strategy else None
    yield from model.terms(x, y, pair, range(len(trainer.groups)) if active is None else active, view)


def batch_of(data, n=64):
    return data.train.x[:n].float() / 255, data.train.y[:n]


def test_gradient_of_a_loss_stays_in_its_group_exactly_when_local(model_name, toy):
    trainer = Trainer(toy_config(model_name), toy)
    owners = {id(p): g for g, group in enumerate(trainer.groups) for p in group}
    outside = 0
    for term in losses(trainer, *batch_of(toy)):
        trainer.model.zero_grad(set_to_none=True)
        term.loss.backward()
        touched = {owners.get(id(p), -1) for p in trainer.model.parameters() if p.grad is not None and p.grad.any()}
        outside += bool(touched - {term.group})
        assert term.group in touched
    if trainer.model.is_local:
        assert outside == 0
    else:
        # one loss moves the first and the last weights at once
        first, last = trainer.model.incoming()[0][0], trainer.model.head.weight
        trainer.model.head.weight.data.normal_()
        next(iter(losses(trainer, *batch_of(toy)))).loss.backward()
        assert first.grad.any()
        assert last.grad.any()


def test_every_parameter_belongs_to_exactly_one_group(model_name, toy):
    trainer = Trainer(toy_config(model_name), toy)
    owned = [id(p) for group in trainer.groups for p in group]
    assert len(owned) == len(set(owned))
    if model_name != "untrained":
        assert set(owned) == {id(p) for p in trainer.model.parameters()}


def test_the_loss_falls_on_a_fixed_batch(model_name, toy):
    trainer = Trainer(toy_config(model_name, set={"train.lr_schedule": "constant", "train.head_every": 1}), toy)
    x, y = batch_of(toy)
    state = trainer.rng["negatives"].get_state()
    told = []
    for _ in range(30):
        trainer.rng["negatives"].set_state(state)
        told.append(sum(term.loss.item() for term in trainer.learn(x, y)))
    assert told[-1] < 0.7 * told[0]


def test_each_model_learns_the_toy_problem(model_name, toy):
    trainer = Trainer(toy_config(model_name), toy)
    before = evaluate(trainer.model, *toy.test).accuracy[trainer.model.readouts[0]]
    for _ in trainer.events():
        pass
    after = evaluate(trainer.model, *toy.test).accuracy[trainer.model.readouts[0]]
    assert before < 0.5
    assert after > FLOORS.get(model_name, 0.9)


def test_frozen_layers_are_bit_identical_under_the_greedy_schedule(model_name, toy):
    config = toy_config(model_name, set={"train.schedule": "greedy", "train.epochs": 1})
    trainer = Trainer(config, toy)
    if len(trainer.in_turn) < 2:
        assert model_name in ("backprop", "untrained")
        return
    first = [p.clone() for p in trainer.groups[0]]
    second = [p.clone() for p in trainer.groups[1]]
    for event in trainer.events():
        if event["event"] == "epoch" and event["epoch"] == 1:
            assert not all(torch.equal(a, b) for a, b in zip(first, trainer.groups[0], strict=True))
            assert all(torch.equal(a, b) for a, b in zip(second, trainer.groups[1], strict=True))
            first = [p.clone() for p in trainer.groups[0]]
    assert all(torch.equal(a, b) for a, b in zip(first, trainer.groups[0], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(second, trainer.groups[1], strict=True))


def test_alternating_moves_one_layer_per_step(toy):
    trainer = Trainer(toy_config("ff", set={"train.schedule": "alternate"}), toy)
    x, y = batch_of(toy)
    for turn in range(4):
        before = copy.deepcopy(trainer.model.state_dict())
        trainer.learn(x, y)
        moved = {k for k, v in trainer.model.state_dict().items() if k.startswith("weights") and not v.equal(before[k])}
        assert moved == {f"weights.{turn % 2}"}


def test_weights_survive_a_file(model_name, toy, tmp_path):
    from safetensors.torch import load_file, save_file

    trainer = Trainer(toy_config(model_name, set={"train.epochs": 1}), toy)
    for _ in trainer.events():
        pass
    save_file(trainer.model.state_dict(), tmp_path / "w.safetensors")
    other = build_model({**trainer.config, "seed": 5}, toy)
    other.load_state_dict(load_file(tmp_path / "w.safetensors"))
    x, _ = batch_of(toy)
    for name, scores in trainer.model.scores(x).items():
        assert torch.equal(scores, other.scores(x)[name])


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_same_run_twice_gives_the_same_weights(model_name, toy, precision):
    def weights(seed):
        trainer = Trainer(toy_config(model_name, seed=seed, set={"train.epochs": 2, "train.precision": precision}), toy)
        for _ in trainer.events():
            pass
        return trainer.model.state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize("shape", [(1, 6, 7), (3, 8, 8)])
@pytest.mark.parametrize("classes", [3, 12])
def test_other_shapes_class_counts_and_odd_batches_work(model_name, shape, classes):
    data = make_toy(classes, shape, n=130)  # batches of 64, 64 and 2
    trainer = Trainer(toy_config(model_name, set={"train.epochs": 2}), data)
    for _ in trainer.events():
        pass
    assert trainer.step == 6
    x, _ = batch_of(data, 1)
    for scores in trainer.model.scores(x).values():
        assert scores.shape == (1, classes)
        assert torch.isfinite(scores).all()
    whole = batch_of(data, 9)[0]
    name = trainer.model.readouts[0]
    one_by_one = torch.cat([trainer.model.scores(x[None])[name] for x in whole])
    torch.testing.assert_close(trainer.model.scores(whole)[name], one_by_one, rtol=1e-4, atol=1e-5)


def test_training_and_read_out_use_the_same_goodness(model_name, toy):
    trainer = Trainer(toy_config(model_name), toy)
    if not (trainer.model.has_goodness and trainer.model.uses_negatives):
        assert model_name in ("backprop", "untrained")
        return
    x, y = batch_of(toy)
    told = trainer.model.label_goodness(x)[torch.arange(len(y)), y]
    for term in losses(trainer, x, y):
        if "pos" in term.stats:
            torch.testing.assert_close(term.stats["pos"], told[:, term.group], rtol=1e-4, atol=1e-5)


def test_standardised_images_reach_the_net_standardised(model_name, toy):
    config = toy_config(model_name, set={"data.standardise": True})
    net, plain = build_model(config, toy), build_model(toy_config(model_name), toy)
    x, _ = batch_of(toy)
    torch.testing.assert_close(net.pixels(x), plain.pixels((x - 0.5) / 0.3))


def test_every_option_of_every_model_does_something(model_name, toy):
    """An option that is accepted and ignored is a lie: changing any setting must change what the net becomes."""
    changed = {"widths": [16], "objective": "threshold", "alpha": 1.0, "theta": 3.0, "norm": "unit", "peer": 0.5,
               "activation": "gelu", "label": "overlay", "label_value": 3.0, "votes": [2]}  # fmt: skip

    def outcome(settings):
        trainer = Trainer(toy_config(model_name, set={"train.epochs": 1, **settings}), toy)
        for _ in trainer.events():
            pass
        return torch.cat([v.flatten() for v in trainer.model.scores(batch_of(toy)[0]).values()])

    fields = MODELS[model_name].Settings.model_fields
    for key in fields:
        base = {"model.objective": "threshold"} if key == "theta" else {}
        assert key in changed, f"say here how to change the new setting '{key}'"
        assert not torch.equal(outcome(base), outcome({**base, f"model.{key}": changed[key]})), key


def test_accuracy_of_a_constant_answer_is_chance():
    assert accuracy(torch.zeros(50, 10), torch.arange(50) % 10) == pytest.approx(0.1)
    assert accuracy(torch.eye(10), torch.arange(10)) == 1


def test_an_unfaithful_strategy_is_reached_through_a_preset_only():
    with pytest.raises(Refused, match="flawed on purpose"):
        toy_config("ff", negatives="shuffled_label")
    from ffcore.config import configure

    assert configure(preset="ref-ff", data="mnist-5k")["negatives"]["name"] == "shuffled_label"


def test_features_are_nonnegative_activities_one_per_unit(toy):
    net = build_model(toy_config("ff"), toy)
    x, y = batch_of(toy, 5)
    assert [tuple(h.shape) for h in net.features(Sample(x, y))] == [(5, 32), (5, 24)]
    assert all(h.min() >= 0 for h in net.features(Sample(x)))


def test_settings_are_refused_with_bounds_and_remedy():
    with pytest.raises(Refused, match=r"model.theta=-1.*≥ 0"):
        build(MODELS["ff"].Settings, {"theta": -1}, "model")
    with pytest.raises(Refused, match="did you mean 'theta'"):
        build(MODELS["ff"].Settings, {"thta": 1}, "model")
