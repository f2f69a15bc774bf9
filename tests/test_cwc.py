"""Channel-wise competition: goodness and losses by hand, batch normalisation that waits for no mode, staggered windows."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from conftest import make_toy, toy_config

from ffcore.errors import Refused
from ffcore.labels import Sample
from ffcore.readout import evaluate
from ffcore.training import Trainer, build_model


def cwc(toy, **settings):
    """A trainer of a small net on the toy problem."""
    return Trainer(toy_config("cwc", set={key.replace("__", "."): value for key, value in settings.items()}), toy)


def batch_of(data, n=64):
    return data.train.x[:n].float() / 255, data.train.y[:n]


def run(trainer):
    for _ in trainer.events():
        pass
    return trainer.model


@pytest.fixture(scope="module")
def learnt(toy):
    """A net that has learnt, so that its gains, shifts and running statistics are its own."""
    return run(cwc(toy, train__epochs=3))


def by_hand(net, image, batch_statistics=False):
    """[(pooled activity, normalised output)] of every layer, by PyTorch's own operations, written out from the paper."""
    h, out = image, []
    for i in range(len(net.weights)):
        grouped = i % 2 == 1
        z = F.conv2d(h, net.weights[i], net.biases[i], padding=1, groups=net.classes if grouped else 1)
        x = torch.relu(z)
        if grouped and min(x.shape[2:]) > 1:
            x = F.max_pool2d(x, 2)
        running = (None, None) if batch_statistics else (getattr(net, f"mean_{i}"), getattr(net, f"variance_{i}"))
        h = F.batch_norm(x, *running, net.gains[i], net.shifts[i], training=batch_statistics)
        out.append((x, h))
    return out


def goodness_by_hand(h, classes):
    """(B, n, H, W) → (B, C), a loop over the groups of channels."""
    size = h.shape[1] // classes
    return torch.stack([h[:, c * size : (c + 1) * size].square().mean((1, 2, 3)) for c in range(classes)], 1)


def test_goodness_is_the_mean_square_of_a_class_group_after_batch_normalisation(learnt, toy):
    x, _ = batch_of(toy)
    with torch.no_grad():
        expected = torch.stack([goodness_by_hand(h, 4) for _, h in by_hand(learnt, x)], 2)
        torch.testing.assert_close(learnt.label_goodness(x), expected, rtol=1e-4, atol=1e-5)
        for told, (activity, _) in zip(learnt.features(Sample(x)), by_hand(learnt, x), strict=True):
            places = [min(side, 4) for side in activity.shape[2:]]
            torch.testing.assert_close(told, F.adaptive_avg_pool2d(activity, places), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "pvn"])
def test_losses_and_their_gradients_by_hand(toy, loss):
    net = cwc(toy, model__loss=loss, model__theta=1.5, model__alpha=3.0).model
    x, y = batch_of(toy)
    for term, (_, h) in zip(net.terms(x, y, None, [0, 1]), by_hand(net, x, True), strict=True):
        g = goodness_by_hand(h, 4)
        own, others = g[torch.arange(64), y], g[F.one_hot(y) == 0].view(64, 3).mean(1)
        pvn = (F.softplus(3 * (1.5 - own)) + F.softplus(3 * (others - 1.5))).mean()
        expected = pvn if loss == "pvn" else -(3 * g).log_softmax(1)[torch.arange(64), y].mean()
        torch.testing.assert_close(term.loss, expected, rtol=1e-4, atol=1e-5)
        assert term.stats["own"].item() == pytest.approx(own.mean().item(), rel=1e-4)
        assert term.stats["others"].item() == pytest.approx(others.mean().item(), rel=1e-4)
        layer = net.groups()[term.group]
        got = torch.autograd.grad(term.loss, layer)
        for one, other in zip(got, torch.autograd.grad(expected, layer, retain_graph=True), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 7, 12])
@pytest.mark.parametrize("shape", [(1, 6, 7), (3, 9, 5), (1, 2, 2)])
def test_channels_are_rounded_up_to_a_multiple_of_the_classes(classes, shape):
    data = make_toy(classes, shape, 30)
    net = cwc(data, model__channels=[5, 12, 13, 24, 9, 6]).model
    for asked, n, (weight, bias) in zip((5, 12, 13, 24, 9, 6), net.channels, net.incoming(), strict=True):
        assert n % classes == 0
        assert asked <= n < asked + classes
        assert len(weight) == len(bias) == n
    x, _ = batch_of(data, 3)
    assert net.label_goodness(x).shape == (3, classes, 6)
    assert min(side for h in net.features(Sample(x)) for side in h.shape[2:]) >= 1


def test_a_class_group_of_an_odd_layer_sees_only_its_own_class_below(toy):
    net = cwc(toy, model__channels=[12, 24]).model
    x, _ = batch_of(toy, 5)
    before = [h.clone() for _, _, h in net.climb(x)]
    net.weights[0].data[3:6] += 1.0  # the second class's channels
    after = [h for _, _, h in net.climb(x)]
    moved = (after[1] != before[1]).flatten(2).any(2).any(0)
    assert moved.tolist() == [6 <= k < 12 and bool(moved[k]) for k in range(24)]
    assert moved.any()


# Batch normalisation.


def statistics(net):
    return {key: value.clone() for key, value in net.state_dict().items() if key.startswith(("mean_", "variance_"))}


def test_running_statistics_follow_the_batch_while_a_layer_learns_and_rest_else(toy):
    net = cwc(toy).model
    x, y = batch_of(toy)
    for term in net.terms(x, y, None, [1]):
        assert term.group == 1
    (first, _), (second, _) = by_hand(net, x)  # layer 1 rested: its output is by its running statistics
    assert net.mean_0.eq(0).all()
    assert net.variance_0.eq(1).all()
    torch.testing.assert_close(net.mean_1, 0.1 * second.detach().mean((0, 2, 3)))
    torch.testing.assert_close(net.variance_1, 0.9 + 0.1 * second.detach().var((0, 2, 3), correction=0))
    assert first.shape[1] == 12


def test_reading_out_moves_no_statistics_and_asks_no_mode(learnt, toy):
    x, y = batch_of(toy)
    before, told = statistics(learnt), []
    for mode in (True, False):
        learnt.train(mode)
        told.append((learnt.label_goodness(x), *learnt.scores(x).values(), *learnt.features(Sample(x, y))))
    learnt.train()
    assert all(torch.equal(one, other) for one, other in zip(*told, strict=True))
    assert all(torch.equal(value, before[key]) for key, value in statistics(learnt).items())


def test_an_image_is_read_the_same_in_any_company(learnt, toy):
    x, _ = batch_of(toy, 8)
    company = torch.cat([x[:1], torch.ones_like(x) * 0.9])
    for name, scores in learnt.scores(x).items():
        torch.testing.assert_close(learnt.scores(company)[name][0], scores[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(learnt.scores(x[:1])[name][0], scores[0], rtol=1e-4, atol=1e-5)


def test_one_image_alone_can_be_learnt_from(toy):
    trainer = cwc(toy, model__channels=[4, 4, 4, 4])
    x, y = batch_of(toy, 1)
    for _ in range(3):
        trainer.learn(x, y)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


# Read-outs.


@pytest.mark.parametrize("loss", ["cross_entropy", "pvn"])
def test_both_predictors_learn_the_toy_problem(toy, loss):
    net = run(cwc(toy, model__loss=loss, train__head_every=1))
    told = evaluate(net, *toy.test).accuracy
    assert list(told) == ["softmax", "goodness"]
    assert min(told.values()) > 0.9


@pytest.mark.parametrize(("votes", "chosen"), [([], [1, 2]), ([3], [2]), ([1, 2], [0, 1])])
def test_the_layers_that_vote_are_summed(toy, votes, chosen):
    net = cwc(toy, model__channels=[8, 8, 8], model__votes=votes).model
    x, _ = batch_of(toy, 6)
    with torch.no_grad():
        g = net.label_goodness(x)
        for told in (net.scores(x), net.scores(x, g)):
            torch.testing.assert_close(told["goodness"], sum(g[:, :, layer] for layer in chosen))


def test_a_vote_of_a_layer_that_is_not_there_is_refused():
    with pytest.raises(Refused, match="there is no layer 5; it has 4"):
        toy_config("cwc", set={"model.channels": [20, 20, 20, 20], "model.votes": [5]})


def test_the_head_reads_the_last_layer_and_moves_no_layer(toy):
    trainer = cwc(toy)
    x, y = batch_of(toy)
    (term,) = trainer.model.terms(x, y, None, [2])
    term.loss.backward()
    assert term.group == 2
    owned = {id(p) for p in trainer.groups[2]}
    assert all((p.grad is not None) == (id(p) in owned) for p in trainer.model.parameters())
    assert trainer.model.head.weight.grad.any()


# The staggered schedule.


def test_every_layer_learns_from_the_start_and_the_deeper_the_longer(toy):
    trainer = cwc(toy, model__channels=[8, 8, 8], train__schedule="staggered", train__epochs=2, train__lr_schedule="linear")
    active = [trainer.active(step) for step in range(trainer.steps)]
    assert trainer.steps == 16
    assert [[step for step in range(16) if layer in active[step]] for layer in range(3)] == [
        list(range(6)),
        list(range(11)),
        list(range(16)),
    ]
    assert [step for step in range(16) if 3 in active[step]] == [0, 4, 8, 12]
    run(trainer)
    for group in range(len(trainer.groups)):  # each had as many steps as it took
        assert trainer.rate(group) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("model", ["ff", "mono_forward", "backprop"])
def test_other_models_may_be_staggered_too(toy, model):
    trainer = Trainer(toy_config(model, set={"train.schedule": "staggered", "train.epochs": 2}), toy)
    taken = [sum(group in trainer.active(step) for step in range(16)) for group in range(len(trainer.groups))]
    assert taken == {"ff": [8, 16, 4], "mono_forward": [8, 16], "backprop": [16]}[model]
    run(trainer)


def test_a_layer_out_of_its_window_is_bit_identical_after_and_costs_no_gradient(toy):
    trainer = cwc(toy, train__schedule="staggered", train__epochs=2)
    net, kept = trainer.model, {}
    for epoch in range(2):
        for x, y in trainer.batches(epoch, 0):
            net.zero_grad(set_to_none=True)
            trainer.learn(x, y)
        own = {key: value for key, value in net.state_dict().items() if key.endswith((".0", "_0"))}
        if epoch == 0:
            kept = {key: value.clone() for key, value in own.items()}
            above = net.weights[1].clone()
    assert len(kept) == 6  # weights, biases, gains, shifts, and two statistics
    assert all(torch.equal(value, kept[key]) for key, value in own.items())
    assert all(p.grad is None for p in trainer.groups[0])
    assert not torch.equal(net.weights[1], above)


@pytest.mark.parametrize("stop", [3, 8, 13])
@pytest.mark.parametrize("lr_schedule", ["one_cycle", "linear"])
def test_a_staggered_run_resumes_bit_exactly(toy, stop, lr_schedule):
    settings = {"train__schedule": "staggered", "train__epochs": 2, "train__lr_schedule": lr_schedule}
    whole = run(cwc(toy, **settings))
    half = cwc(toy, **settings)
    for x, y in itertools.islice(itertools.chain(half.batches(0, 0), half.batches(1, 0)), stop):
        half.learn(x, y)
    tensors, metadata = half.state()
    other = cwc(toy, **settings)
    other.restore({key: value.clone() for key, value in tensors.items()}, metadata)
    resumed = run(other)
    assert other.step == 16
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_an_untrained_twin_has_the_same_weights_at_birth(toy):
    nets = [build_model(toy_config("cwc"), toy) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*(net.parameters() for net in nets), strict=True))
