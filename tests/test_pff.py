"""Predictive Forward-Forward: one step by hand, who inhibits whom, when noise falls, what the generative circuit may touch."""

import pytest
import torch
from conftest import toy_config

import ffcore
from ffcore.errors import Refused
from ffcore.goodness import normalise
from ffcore.labels import Sample
from ffcore.training import Trainer, build_model


def trainer_of(toy, **settings):
    return Trainer(toy_config("pff", set={f"model.{key}": value for key, value in settings.items()}), toy)


def batch_of(data, n=64):
    return data.train.x[:n].float() / 255, data.train.y[:n]


def terms(trainer, x, y, active=None):
    view = trainer.model.view()
    pair = trainer.strategy(x, y, view, trainer.rng["negatives"])
    return list(trainer.model.terms(x, y, pair, range(len(trainer.groups)) if active is None else active, view))


@pytest.fixture(scope="module")
def learnt(toy):
    """A net that has learnt the toy problem, and what its first and its last epoch said of reconstruction."""
    trainer, errors = trainer_of(toy), []
    x, y = batch_of(toy)
    for event in trainer.events():
        if event["event"] == "epoch":
            state = trainer.rng["negatives"].get_state()
            errors.append(next(t.stats["reconstruction"].item() for t in terms(trainer, x, y) if "reconstruction" in t.stats))
            trainer.rng["negatives"].set_state(state)
    return trainer, errors


def with_random_weights(model):
    """Weights that let every path be seen: the lateral ones, label and biases are not small."""
    rng = torch.Generator().manual_seed(3)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=rng) / p.shape[-1] ** 0.5
    return model


def test_one_inference_step_follows_the_formula(toy):
    """z_l ← (1-λ)·ReLU(W·norm(below) + V·norm(above) - L·z + b) + λ·z, all from the states before the step."""
    net = with_random_weights(
        build_model(
            toy_config("pff", set={"model.steps": 1, "model.leak": 0.25, "model.group": 8, "model.label_value": 2}), toy
        )
    )
    x, y = batch_of(toy, 9)
    w, v, b = net.weights, net.feedback, net.biases
    image = normalise(x.flatten(1), "rms")
    z1 = torch.relu(image @ w[0].T + b[0])
    z2 = torch.relu(normalise(z1, "rms") @ w[1].T + b[1] + 2 * net.label_weights[y])
    lateral = []
    for layer, n in enumerate((32, 24)):
        whole = torch.block_diag(*net.lateral[layer].clamp(0, 1)) / 8
        lateral.append(whole * (1 - 2 * torch.eye(n)))
    drive = [
        image @ w[0].T + b[0] + normalise(z2, "rms") @ v[0].T - z1 @ lateral[0].T,
        normalise(z1, "rms") @ w[1].T + b[1] + 2 * net.label_weights[y] - z2 @ lateral[1].T,
    ]
    wanted = [0.75 * torch.relu(d) + 0.25 * z for d, z in zip(drive, (z1, z2), strict=True)]
    for told, by_hand in zip(net.features(Sample(x, y)), wanted, strict=True):
        torch.testing.assert_close(told, by_hand, rtol=1e-4, atol=1e-5)


def test_the_read_out_takes_every_label_through_the_same_steps(toy):
    """The image product that all labels share changes nothing."""
    net = with_random_weights(build_model(toy_config("pff"), toy))
    x, _ = batch_of(toy, 5)
    told = net.label_goodness(x)
    for c in range(net.classes):
        states = net.features(Sample(x, torch.full((5,), c)))
        torch.testing.assert_close(told[:, c], torch.stack([z.square().mean(1) for z in states], 1), rtol=1e-4, atol=1e-5)


def test_units_inhibit_their_group_and_excite_themselves(toy):
    net = build_model(toy_config("pff", set={"model.group": 10}), toy)
    for layer, n in enumerate((32, 24)):  # the last group is smaller
        told = net.inhibition(layer)
        mine = torch.arange(n)[:, None] // 10 == torch.arange(n) // 10
        assert told.shape == (n, n)
        assert (told[~mine] == 0).all()
        assert (told.diagonal() >= 0).all()
        assert (told - told.diag().diag() <= 0).all()
        assert (told[mine] != 0).float().mean() > 0.9
    net.lateral[0].data.neg_()
    assert (net.inhibition(0) == 0).all()  # whatever is learnt, L is never negative


def test_every_step_ends_with_an_update_of_every_layer(toy):
    trainer = trainer_of(toy, steps=5)
    groups = [term.group for term in terms(trainer, *batch_of(toy))]
    assert groups == [0, 1] * 5 + [2] + [3, 4, 5]
    before = [p.clone() for p in trainer.model.weights]
    moved = []
    view = trainer.model.view()
    x, y = batch_of(toy)
    pair = trainer.strategy(x, y, view, trainer.rng["negatives"])
    for term in trainer.model.terms(x, y, pair, {0}, view):
        trainer.optimisers[0].zero_grad()
        term.loss.backward()
        trainer.optimisers[0].step()
        moved.append((trainer.model.weights[0] - before[0]).norm().item())
    assert len(moved) == 5
    assert moved == sorted(moved)
    assert moved[0] > 0
    assert torch.equal(trainer.model.weights[1], before[1])


def test_the_learning_rate_falls_by_steps_not_by_updates(toy):
    trainer = trainer_of(toy, steps=5)
    for _ in trainer.events():
        pass
    assert set(trainer.taken[:2]) == {trainer.steps}


def test_noise_falls_in_training_only(toy):
    x, y = batch_of(toy)
    quiet, loud = trainer_of(toy, noise=0.0), trainer_of(toy, noise=1.0)
    assert torch.equal(quiet.model.label_goodness(x), loud.model.label_goodness(x))
    assert all(
        torch.equal(*pair) for pair in zip(quiet.model.features(Sample(x, y)), loud.model.features(Sample(x, y)), strict=True)
    )
    state = loud.rng["model"].get_state()
    one, two = terms(loud, x, y), terms(loud, x, y)
    assert not torch.equal(loud.rng["model"].get_state(), state)  # it comes from the saved generator
    assert not torch.equal(one[0].loss, two[0].loss)
    silent = [term.loss for term in terms(quiet, x, y)]
    assert not torch.equal(one[0].loss, silent[0])
    told = loud.model.label_goodness(x)[torch.arange(len(y)), y]
    reported = next(term.stats["pos"] for term in one if "pos" in term.stats)
    torch.testing.assert_close(reported, told[:, 0])  # what is told of a step is free of it


def test_both_sides_of_a_pair_hear_the_same_noise(toy):
    noise = trainer_of(toy, noise=1.0).model.noise(torch.zeros(20, 1_000))
    assert torch.equal(*noise.chunk(2))
    assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_the_generative_circuit_is_no_part_of_the_representation(toy):
    """Its losses move it alone, and with it idle the layers learn the same, bit for bit."""
    trainer = trainer_of(toy)
    x, y = batch_of(toy)
    for term in terms(trainer, x, y):
        trainer.model.zero_grad(set_to_none=True)
        term.loss.backward()
        touched = {name.split(".")[0] for name, p in trainer.model.named_parameters() if p.grad is not None and p.grad.any()}
        if term.group >= 3:
            assert touched <= {"generative", "offsets"}
        else:
            assert not touched & {"generative", "offsets"}
    one, two = trainer_of(toy, latent=3), trainer_of(toy, latent=30)
    for each in (one, two):
        each.learn(x, y)
    for mine, theirs in zip(one.model.weights, two.model.weights, strict=True):
        assert torch.equal(mine, theirs)


def test_every_generative_layer_predicts_the_state_below_from_what_the_one_above_predicted(toy):
    """z_g → ẑ₂ → ẑ₁ → image, each against what has settled there: the way that images are generated."""
    trainer = trainer_of(toy, noise=0.0)
    model, (x, y) = trainer.model, batch_of(toy)
    told = terms(trainer, x, y, active={3, 4, 5})
    z1, z2 = model.features(Sample(x, y))
    second = model.latents(z2) @ model.generative[0].T + model.offsets[0]
    first = normalise(torch.relu(second), "rms") @ model.generative[1].T + model.offsets[1]
    image = torch.sigmoid(normalise(torch.relu(first), "rms") @ model.generative[2].T + model.offsets[2])
    aims = [normalise(z2, "rms"), normalise(z1, "rms"), x.flatten(1)]
    for term, drawn, aim in zip(told, (second, first, image), aims, strict=True):
        torch.testing.assert_close(term.loss, (drawn - aim).square().mean())
    torch.testing.assert_close(model.reconstruct(x, y), image.view_as(x))


def test_inference_of_the_latent_lowers_its_error_at_every_step(learnt):
    model = learnt[0].model
    top = torch.rand(30, 24, generator=torch.Generator().manual_seed(0))

    def energy(z):
        error = z @ model.generative[0].T + model.offsets[0] - normalise(top, "rms")
        return error.square().sum(1) + z.square().sum(1)

    told = torch.stack([energy(model.latents(top, steps)) for steps in range(8)])
    assert (told.diff(dim=0) <= 1e-4).all()
    assert (told[-1] < told[0]).all()
    best = energy(torch.linalg.solve(
        model.generative[0].T @ model.generative[0] + torch.eye(20),
        ((normalise(top, "rms") - model.offsets[0]) @ model.generative[0]).T,
    ).T)  # fmt: skip
    assert (energy(model.latents(top)) < best + 0.1 * (told[0] - best)).all()


def test_a_latent_is_of_its_image_alone(learnt, toy):
    """By the mean of a batch, as the reference study did it, a latent would depend on its neighbours."""
    model = learnt[0].model
    x, y = batch_of(toy, 8)
    alone = torch.cat([model.infer(x[i : i + 1], y[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(model.infer(x, y), alone, rtol=1e-3, atol=1e-3)


def test_reconstruction_gets_better(learnt, toy):
    trainer, errors = learnt
    assert errors[-1] < 0.5 * errors[0]
    x, y = batch_of(toy)
    mean = (x - x.mean(0)).square().mean().item()
    assert (trainer.model.reconstruct(x, y) - x).square().mean().item() < mean


def test_samples_of_a_class_look_like_it(learnt, toy):
    model = learnt[0].model
    x, y = batch_of(toy, 512)
    means = torch.stack([x[y == c].mean(0) for c in range(4)]).flatten(1)
    for c in range(4):
        drawn = model.sample(50, c, torch.Generator().manual_seed(0))
        assert drawn.shape == (50, 1, 6, 7)
        assert drawn.min() >= 0
        assert drawn.max() <= 1
        assert (torch.cdist(drawn.flatten(1), means).argmin(1) == c).float().mean() > 0.9


def test_samples_follow_the_generator(learnt):
    model = learnt[0].model
    one, again, other = (model.sample(5, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_gaussians_are_those_of_the_latents(toy):
    """After one batch, whose latents are known: mean and covariance of each class."""
    model = build_model(toy_config("pff"), toy)
    rng = torch.Generator().manual_seed(0)
    z, y = torch.randn(400, 20, generator=rng), torch.arange(400) % 4
    model.remember(z, y)
    mean, covariance = model.gaussian(3)
    torch.testing.assert_close(mean, z[y == 3].mean(0))
    torch.testing.assert_close(covariance, z[y == 3].T.cov(correction=0), rtol=1e-4, atol=1e-5)
    for _ in range(400):
        model.remember(z + 1, y)
    torch.testing.assert_close(model.gaussian(3)[0], mean + 1, rtol=1e-2, atol=1e-2)


def test_a_weights_file_keeps_the_gaussians(learnt, toy, tmp_path):
    from safetensors.torch import load_file, save_file

    model = learnt[0].model
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    other = build_model({**learnt[0].config, "seed": 9}, toy)
    other.load_state_dict(load_file(tmp_path / "w.safetensors"))
    one, two = (net.sample(6, 1, torch.Generator().manual_seed(4)) for net in (model, other))
    assert torch.equal(one, two)
    assert not torch.equal(one, model.sample(6, 2, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("strategy", ["layer_wise", "label_leak", "wrong_label"])
@pytest.mark.parametrize("widths", [[16], [20, 18, 16]])
def test_any_depth_learns_from_any_pair(toy, strategy, widths):
    config = toy_config("pff", set={"model.widths": widths, "train.epochs": 1})
    config["negatives"] = {"name": strategy}
    trainer = Trainer(config, toy)
    before = [p.clone() for p in trainer.model.weights]
    for event in trainer.events():
        told = event
    assert list(told["validation"]) == (["goodness", "softmax"] if strategy != "layer_wise" else ["softmax"])
    assert not any(torch.equal(a, b) for a, b in zip(before, trainer.model.weights, strict=True))
    x, _ = batch_of(toy, 3)
    assert trainer.model.reconstruct(x).shape == x.shape


def test_a_run_draws_images_and_one_of_another_model_refuses(own_runs):
    run = ffcore.train(model="pff", data="digits", epochs=1, set={"model.widths": [20, 20]}, test=False)
    net = ffcore.load(run.id)
    every, again = net.sample(2, seed=3), net.sample(2, seed=3)
    assert every.shape == (10, 2, 1, 8, 8)
    assert 0 <= every.min() <= every.max() <= 1
    assert torch.equal(every, again)
    assert not torch.equal(every, net.sample(2, seed=4))
    assert net.sample(3, label=7).shape == (3, 1, 8, 8)
    assert net.reconstruct(every[:, 0]).shape == (10, 1, 8, 8)
    with pytest.raises(Refused, match="0 to 9"):
        net.sample(1, label=10)
    with pytest.raises(Refused, match="generates no images"):
        ffcore.load("ff-mnist").sample()
