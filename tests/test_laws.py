"""Laws that every strategy and every model obeys. A new file in negatives/ or models/ falls under all of them."""

import copy
import itertools

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

HONEST = [name for name in MODELS if MODELS[name].faithful]  # a flawed one is kept because it fails
FLOORS = {"ff": 0.95, "backprop": 0.95, "untrained": 0.9}  # of the toy problem; chance is 0.25


@pytest.fixture(scope="module")
def net(digits):
    """A net that knows the digits a little: its beliefs differ from label to label."""
    trainer = Trainer(toy_config("ff", set={"model.widths": [64, 64], "train.epochs": 1}), digits)
    for _ in trainer.events():
        pass
    return trainer.model


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


def same(one, other):
    """Are two samples equal, images and labels?"""
    labels = one.label is other.label or (None not in (one.label, other.label) and torch.equal(one.label, other.label))
    return labels and torch.equal(one.image, other.image)


def test_pairs_have_the_shape_and_range_of_the_batch(strategy, net, batch):
    x, y = batch
    for sample in draw(strategy, net, x, y)[:2]:
        assert sample.image.shape == x.shape
        assert sample.image.dtype == x.dtype
        assert sample.image.min() >= 0
        assert sample.image.max() <= 1
        assert not sample.image.requires_grad
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
    first, again = (draw(strategy, net, *batch, seed=1) for _ in range(2))
    assert same(first.pos, again.pos)
    assert same(first.neg, again.neg)
    rng = torch.Generator().manual_seed(2)
    fresh = rng.get_state()
    with torch.no_grad():
        other = strategy(*batch, net.view(), rng)
    if not torch.equal(rng.get_state(), fresh):  # else nothing was drawn
        assert not same(first.neg, other.neg)


def classes_of(images, x, y):
    """The class of each image that stands in the batch as it is, else -1."""
    distance = torch.cdist(images.flatten(1), x.flatten(1))
    nearest = distance.argmin(1)
    found = (images == x[nearest]).flatten(1).all(1)
    return torch.where(found, y[nearest], -1)


def test_no_negative_shows_the_right_label_of_its_image(strategy, net, batch):
    """Shuffling labels, as the popular code does, leaves one negative in ten correct; the ranking then measures that."""
    x, y = batch
    pair = draw(strategy, net, x, y)
    if not strategy.embeds_label:
        assert pair.pos.label is None
        assert pair.neg.label is None
    elif strategy.faithful:
        assert torch.equal(pair.pos.label, y)
        assert not (pair.neg.label == classes_of(pair.neg.image, x, y)).any()
        unchanged = (pair.neg.image == x).flatten(1).all(1)
        assert not (unchanged & (pair.neg.label == y)).any()


def test_shuffled_labels_are_right_for_one_in_ten(net, batch):
    x, y = batch
    right = (draw(STRATEGIES["shuffled_label"](), net, x, y).neg.label == y).float().mean()
    assert 0.05 < right < 0.2


def test_a_leak_shows_labels_in_the_positives_only(net, batch):
    pair = draw(STRATEGIES["label_leak"](), net, *batch)
    assert torch.equal(pair.pos.label, batch[1])
    assert pair.neg.label is None


def test_a_strategy_without_labels_ignores_them_and_one_with_labels_says_that_it_needs_them(strategy, net, batch):
    x, y = batch
    if strategy.uses_labels:
        with pytest.raises(Refused, match="need labels and these images have none"):
            draw(strategy, net, x, None)
        other = draw(strategy, net, x, y.flip(0))
        assert not (same(draw(strategy, net, x, y).pos, other.pos) and same(draw(strategy, net, x, y).neg, other.neg))
    else:
        told, other, without = (draw(strategy, net, x, labels) for labels in (y, y.flip(0), None))
        assert same(told.neg, other.neg)
        assert same(told.neg, without.neg)


class Blind:
    """A view of nothing: a strategy that asks it anything fails."""

    classes = 10


def test_a_strategy_asks_the_net_only_if_it_says_so(strategy, net, batch):
    def ask(strategy):
        return strategy(*batch, Blind(), torch.Generator().manual_seed(0))

    if strategy.needs_view:
        asks = 0
        for changed in variants(strategy):
            try:
                ask(changed)
            except AttributeError as error:
                asks += "Blind" in str(error)
        assert asks
    else:
        assert same(ask(strategy).neg, draw(strategy, net, *batch).neg)


def test_hardly_any_negative_equals_its_positive(strategy, net, batch):
    x, y = batch
    pair = draw(strategy, net, x, y)
    equal = (pair.neg.image == pair.pos.image).flatten(1).all(1)
    if pair.pos.label is not None and pair.neg.label is not None:
        equal &= pair.neg.label == pair.pos.label
    if strategy.faithful:
        assert equal.float().mean().item() <= 0.001


def values(field):
    """Values of a setting besides its default, within its bounds."""
    kind = field.annotation
    if kind is bool:
        return [not field.default]
    if options := getattr(kind, "__args__", None):
        return [option for option in options if option != field.default]
    limits = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)}
    low, high = (next(limits[k] for k in keys if k in limits) for keys in (("ge", "gt"), ("le", "lt")))
    nearer = [(2 * field.default + edge) / 3 for edge in (low, high)]
    return [kind(value) for value in nearer if kind(value) != field.default and (value > low or "ge" in limits)]


def variants(strategy):
    """The strategy with its choices and switches in every position, its numbers as they are."""
    fields = type(strategy).model_fields
    choices = {k: [f.default, *values(f)] for k, f in fields.items() if f.annotation not in (int, float)}
    for chosen in itertools.product(*choices.values()):
        yield strategy.model_copy(update=dict(zip(choices, chosen, strict=True)))


def test_every_setting_of_every_strategy_does_something(strategy, net, batch):
    """An option that is accepted and ignored is a lie: each must change the pair, if only together with another choice."""
    x, y = (part[:200] for part in batch)

    def corrupted(pair):
        h = torch.linspace(0, 1, 60).view(6, 10)
        return pair.corrupt(2, h) if pair.corrupt else h

    def differs(one, other):
        pairs = draw(one, net, x, y), draw(other, net, x, y)
        return not (same(pairs[0].pos, pairs[1].pos) and same(pairs[0].neg, pairs[1].neg)) or not torch.equal(
            *(corrupted(pair) for pair in pairs)
        )

    for key, field in type(strategy).model_fields.items():
        changes = [(base, base.model_copy(update={key: value})) for base in variants(strategy) for value in values(field)]
        assert any(differs(*change) for change in changes), key


def test_odd_batches_are_defined(strategy, net, batch):
    """One image alone, one class only, constant images: a strategy still gives a sound pair, for a run must not end there."""
    x, y = batch
    classes = [torch.full_like(y, c) for c in range(10)]
    constant = [torch.full_like(x[:8], value) for value in (0.0, 0.5, 1.0)]
    odd = [(x[:1], y[:1]), *((x[:8], c[:8]) for c in classes), *((image, y[:8]) for image in constant)]
    for images, labels in odd:
        for changed in variants(strategy):
            pair = draw(changed, net, images, labels)
            for sample in pair[:2]:
                assert sample.image.shape == images.shape
                assert torch.isfinite(sample.image).all()
                assert 0 <= sample.image.min() <= sample.image.max() <= 1
            if strategy.embeds_label and strategy.faithful and len(set(labels.tolist())) == 1:
                unchanged = (pair.neg.image == images).flatten(1).all(1)
                assert not (unchanged & (pair.neg.label == labels)).any()
            if pair.corrupt:
                assert torch.isfinite(pair.corrupt(2, torch.zeros(len(images), 5))).all()


def test_labels_need_two_classes(strategy, batch):
    view = Blind()
    view.classes = 1
    if strategy.uses_labels:
        with pytest.raises(Refused, match="need two classes and there is 1"):
            strategy(batch[0], torch.zeros_like(batch[1]), view, torch.Generator())


@pytest.mark.parametrize("shape", [(1, 6, 7), (3, 8, 9)])
def test_images_need_be_neither_square_nor_grey(strategy, shape):
    data = make_toy(4, shape)
    net = build_model(toy_config("ff"), data)
    x, y = batch_of(data, 32)
    for changed in variants(strategy):
        pair = draw(changed, net, x, y)
        assert pair.neg.image.shape == x.shape
        assert pair.pos.image.shape == x.shape


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_net_trains_on_any_strategy_and_repeats_itself(strategy, precision, toy):
    def trained():
        config = toy_config("ff", set={"train.precision": precision, "train.epochs": 1})
        trainer = Trainer({**config, "negatives": {"name": strategy.name, **strategy.model_dump()}}, toy)
        told = list(trainer.events())
        assert told[-1]["arrays"]["pos"].sum() == told[-1]["arrays"]["neg"].sum() > 0
        assert list(told[-1]["validation"]) == (["goodness", "softmax"] if strategy.embeds_label else ["softmax"])
        return trainer.model

    one, two = trained(), trained()
    before = build_model(toy_config("ff"), toy)
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert all(not torch.equal(a, b) for a, b in zip(one.weights, before.weights, strict=True))
    assert torch.equal(one.label_weights, before.label_weights) != strategy.embeds_label


def test_settings_survive_json(strategy):
    cls = type(strategy)
    assert cls.model_validate_json(strategy.model_dump_json()) == strategy


def test_a_strategy_states_what_it_is(strategy):
    assert strategy.title
    assert strategy.source
    assert type(strategy).__doc__ != STRATEGIES["wrong_label"].__mro__[1].__doc__


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


@pytest.fixture(params=HONEST)
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
        assert model_name in ("backprop", "untrained", "hybrid")
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
    if not trainer.model.uses_negatives:
        return  # its goodness is no part of a pair's loss
    x, y = batch_of(toy)
    told = trainer.model.label_goodness(x)[torch.arange(len(y)), y]
    for term in losses(trainer, x, y):
        if "pos" in term.stats:
            wanted = told if term.stats["pos"].dim() == 2 else told[:, term.group]
            torch.testing.assert_close(term.stats["pos"], wanted, rtol=1e-4, atol=1e-5)


def test_standardised_images_reach_the_net_standardised(model_name, toy):
    config = toy_config(model_name, set={"data.standardise": True})
    net, plain = build_model(config, toy), build_model(toy_config(model_name), toy)
    x, _ = batch_of(toy)
    torch.testing.assert_close(net.pixels(x), plain.pixels((x - 0.5) / 0.3))


def test_every_option_of_every_model_does_something(model_name, toy):
    """An option that is accepted and ignored is a lie: changing any setting must change what the net becomes."""
    chosen = {"widths": [16], "votes": [2], "channels": [24, 24], "winners": 0.2, "below": 2}
    needs = {  # where a setting counts only beside another
        "theta": {"model.objective": "threshold"},
        "below": {"model.mode": "split"},
        "turns": {"model.mode": "alternating"},
        "reach": {"model.coactivity": 1.0},
        "cwc.theta": {"model.loss": "pvn"},
    }

    def outcome(settings):
        trainer = Trainer(toy_config(model_name, set={"train.epochs": 1, **settings}), toy)
        for batch in trainer.batches(0, 0):
            trainer.learn(*batch)
        x, _ = batch_of(toy)
        told = list(trainer.model.scores(x).values())
        if trainer.model.can_generate:
            told.append(trainer.model.reconstruct(x))
        return torch.cat([v.flatten() for v in told])

    plain = outcome({})
    for key, field in MODELS[model_name].Settings.model_fields.items():
        other = chosen[key] if key in chosen else values(field)[-1]
        if model_name == "hybrid" and key == "widths":
            other = [16, 16, 16]
        base = needs.get(f"{model_name}.{key}", needs.get(key, {}))
        before = outcome(base) if base else plain
        assert not torch.equal(before, outcome({**base, f"model.{key}": other})), (key, other)


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
