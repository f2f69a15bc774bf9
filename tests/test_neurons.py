"""What units do: each measure by hand, and each remedy on a unit that was silenced on purpose."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import toy_config

import ffcore
from ffcore import lifetimes, neurons
from ffcore.cli import cli
from ffcore.errors import Refused
from ffcore.labels import Sample
from ffcore.studies import REMEDIES
from ffcore.training import Trainer, build_model


def batch_of(data, n=64):
    return data.train.x[:n].float() / 255, data.train.y[:n]


def silence(net, layer, *units):
    with torch.no_grad():
        net.biases[layer][list(units)] = -1e3


def test_measures_by_hand():
    h = torch.tensor([[0.0, 1.0, 4.0, 0.001], [0.0, 1.0, 0.0, 0.001], [0.0, 1.0, 0.0, -0.002], [0.0, 1.0, 0.0, 0.001]])
    told = neurons._layer(h, torch.tensor([0.0, 1.0, 4.0, 0.002]))
    assert told["units"] == 4
    assert told["dead"] == 0.25
    assert told["dormant"] == 0.5  # means 0, 1, 1, 0.00125 against 0.025 of their mean
    assert told["reference_metric"] == 0.5
    assert told["mean_rate"] == pytest.approx(8 / 16)
    same, one = 0.0, 1.0  # a unit that is alike for all images, and one that one image alone wakes
    weak = (1 - 0.00125**2 / (7e-6 / 4)) / 0.75
    assert told["lifetime_sparseness"] == pytest.approx((same + one + weak) / 3, rel=1e-3)


def test_effective_rank_counts_equal_directions_and_a_dead_layer_has_none():
    assert neurons._layer(torch.eye(6), torch.ones(6))["effective_rank"] == pytest.approx(6, rel=1e-4)
    assert neurons._layer(torch.ones(50, 6), torch.ones(6))["effective_rank"] == pytest.approx(1, rel=1e-3)
    dead = neurons._layer(torch.zeros(50, 6), torch.zeros(6))
    assert (dead["effective_rank"], dead["dead"], dead["dormant"], dead["lifetime_sparseness"]) == (0, 1, 1, None)


def test_every_place_of_a_convolution_is_a_look_at_its_unit():
    h = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    rows = neurons.per_unit(h)
    assert rows.shape == (8, 3)
    assert rows[:, 1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]


def test_units_silenced_by_hand_are_found(toy):
    net = build_model(toy_config("ff"), toy)
    x, y = batch_of(toy, 300)
    before = neurons.measure(net, x, y)
    silence(net, 0, 3, 7)
    after = neurons.measure(net, x, y)
    assert after[0]["dead"] - before[0]["dead"] == pytest.approx(2 / 32)
    assert [row["layer"] for row in after] == [1, 2]


def test_homeostasis_wakes_a_silent_unit_and_calms_a_loud_one(toy):
    def rates(target):
        trainer = Trainer(
            toy_config(
                "ff", set={"train.homeostasis": target, "model.peer": 0, "train.lr": 1e-9, "train.lr_schedule": "constant"}
            ),
            toy,
        )
        with torch.no_grad():
            trainer.model.biases[0][0] = -3.0
            trainer.model.biases[0][1] = 3.0
        x, y = batch_of(toy)
        for _ in range(300):
            trainer.learn(x, y)
        h = trainer.model.features(Sample(x, y))[0]
        return (h > 0).float().mean(0)[:2].tolist()

    assert rates(0.0) == [0.0, 1.0]
    silent, loud = rates(0.4)
    assert 0.2 < silent < 0.6
    assert 0.2 < loud < 0.6


def test_recycling_begins_dormant_units_anew_and_nothing_else(toy):
    trainer = Trainer(toy_config("ff", set={"train.lr_schedule": "constant", "model.peer": 0}), toy)
    net, (x, y) = trainer.model, batch_of(toy)
    for _ in range(3):
        trainer.learn(x, y)
    silence(net, 0, 5)
    before = [p.clone() for p in (net.weights[0], net.biases[0], net.weights[1])]
    h = [a.detach() for a in net.features(Sample(x, y))]
    others = (h[0].mean(0) > 0.025 * h[0].mean()).nonzero().squeeze(1)
    asleep = sorted(set(range(32)) - set(others.tolist()))
    assert 5 in asleep
    count = neurons.recycle(net.incoming(), h, trainer.optimisers, torch.Generator().manual_seed(0), [0, 1])
    assert count >= len(asleep)
    assert torch.equal(net.weights[0][others], before[0][others])
    assert torch.equal(net.biases[0][others], before[1][others])
    awake = (h[1].mean(0) > 0.025 * h[1].mean()).nonzero()
    assert torch.equal(net.weights[1][awake, others], before[2][awake, others])
    assert not net.weights[1][awake, torch.tensor(asleep)].any()
    assert net.biases[0][5] == 0
    assert not torch.equal(net.weights[0][5], before[0][5])
    assert net.weights[0][5].abs().max() <= net.weights[0].shape[1] ** -0.5
    moments = trainer.optimisers[0].state[net.weights[0]]
    assert not moments["exp_avg"][asleep].any()
    assert moments["exp_avg"][others].any()


def test_a_recycled_run_has_fewer_dormant_units(toy):
    def dormant(every):
        trainer = Trainer(toy_config("ff", set={"train.recycle": every, "model.peer": 0}), toy)
        silence(trainer.model, 0, *range(20))
        for _ in trainer.events():
            pass
        return neurons.measure(trainer.model, *batch_of(toy))[0]["dormant"]

    assert dormant(0) > 0.6
    assert dormant(5) < 0.3


@pytest.mark.parametrize("setting", [{"train.homeostasis": 0.3}, {"train.recycle": 3}])
def test_remedies_leave_a_frozen_layer_alone_and_resume_exactly(setting, toy):
    config = toy_config("ff", set={**setting, "train.schedule": "greedy", "train.epochs": 2})
    trainer = Trainer(config, toy)
    second = [p.clone() for p in trainer.groups[1]]
    x, y = batch_of(toy)
    for _ in range(6):
        trainer.learn(x, y)
    assert all(torch.equal(a, b) for a, b in zip(second, trainer.groups[1], strict=True))
    other = Trainer(config, toy)
    other.restore(*trainer.state())
    for one in (trainer, other):
        for _ in range(6):
            one.learn(x, y)
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), other.model.parameters(), strict=True))


@pytest.mark.parametrize("schedule", ["together", "greedy", "alternate", "staggered"])
@pytest.mark.parametrize("model", ["backprop", "mono_forward", "cwc", "pff", "conv_ff", "reconstruction", "hybrid"])
def test_remedies_between_steps_move_the_layers_that_learn_and_no_other(model, schedule, toy):
    """Learning rates of nearly nothing: what moves, the remedy moved."""
    settings = {"train.homeostasis": 0.3, "train.schedule": schedule, "train.epochs": 1, "train.lr": 1e-9}
    trainer = Trainer(toy_config(model, set=settings), toy)
    before = [bias.clone() for _, bias in trainer.model.incoming()]
    trainer.learn(*batch_of(toy))
    learning = {id(p) for group in trainer.active(0) for p in trainer.groups[group]}
    for (_, bias), was in zip(trainer.model.incoming(), before, strict=True):
        assert ((bias - was).abs().max() > 1e-3) == (id(bias) in learning)


def test_an_untrained_net_stays_as_drawn_whatever_the_remedy(toy):
    trainer = Trainer(toy_config("untrained", set={"train.homeostasis": 0.3, "train.recycle": 1}), toy)
    before = [p.clone() for pair in trainer.model.incoming() for p in pair]
    for _ in range(3):
        trainer.learn(*batch_of(toy))
    after = [p for pair in trainer.model.incoming() for p in pair]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_k_winners_keeps_the_most_active(toy):
    net = build_model(toy_config("ff", set={"model.winners": 0.25}), toy)
    z = torch.randn(9, 32, generator=torch.Generator().manual_seed(0)) + 2
    h = net.activate(z)
    assert (h > 0).sum(1).tolist() == [8] * 9
    assert torch.equal(h.sort(1).values[:, -8:], torch.relu(z).sort(1).values[:, -8:])


def test_adaptive_sparsity_finds_the_weight_that_it_needs(toy):
    def rate_and_weights(target):
        config = toy_config("ff", set={"model.sparsity": target, "train.epochs": 40, "train.lr": 0.02})
        trainer = Trainer(config, toy)
        weights = [trainer.model.sparsity_weight[0].item() for _ in trainer.events()]
        x, y = batch_of(toy, 256)
        return neurons.measure(trainer.model, x, y)[0]["mean_rate"], weights

    rate, weights = rate_and_weights(0.15)
    assert rate == pytest.approx(0.15, abs=0.08)
    assert sum(w > 0 for w in weights) > len(weights) / 2  # it swings about what is needed, and may be 0 at a given moment
    assert not any(rate_and_weights(0.95)[1])  # sparser than asked for: no penalty


def test_health_of_a_run(store):
    told = ffcore.health(store["ff"])
    assert told["images"] == 180
    assert [row["units"] for row in told["layers"]] == [32, 32]
    done = CliRunner().invoke(cli, ["health", store["ff"].id, "--json"])
    assert json.loads(done.output)["layers"] == told["layers"]
    table = CliRunner().invoke(cli, ["health", store["ff"].id]).output
    assert "effective_rank" in table
    assert f"{told['layers'][0]['mean_rate']:.1%}" in table


def test_health_of_a_run_without_a_net_is_refused(store):
    with pytest.raises(Refused, match="no weights yet"):
        ffcore.health(store["queued"])


def test_the_study_of_remedies(own_runs):
    small = {"set": {"model.widths": [20], "data.train": 200, "data.validation": 100, "train.batch_size": 200}}
    told = ffcore.study_remedies(1, data="digits", epochs=2, **small)
    assert [row["row"] for row in told["rows"]] == list(REMEDIES)
    for row in told["rows"]:
        assert row["n"] == 1
        assert 0 <= row["dead"] <= 1
        assert 0 <= row["reference_metric"] <= 1
    again = ffcore.study_remedies(1, data="digits", epochs=2, **small)
    assert [row["runs"] for row in again["rows"]] == [row["runs"] for row in told["rows"]]
    assert len(ffcore.list_runs(bundled=False)) == len(REMEDIES)
    with pytest.raises(Refused, match="chooses model itself"):
        ffcore.study_remedies(1, model="ff")


def test_the_study_of_remedies_by_command(own_runs):
    refused = CliRunner().invoke(cli, ["study", "remedies", "--vary", "model.mask=0,1"], catch_exceptions=True)
    assert isinstance(refused.exception, Refused)
    assert "leave out --vary" in str(refused.exception)


# Sparseness, and what snapshots tell of every unit


def test_sparseness_by_hand():
    h = torch.tensor([[1.0, 1.0, 1.0, 1.0], [4.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]])
    over_units = neurons.sparseness(h, 1)
    assert over_units.tolist() == pytest.approx([0.0, 1.0, 2 / 3])  # all alike; one alone; (silent: left out); a half
    assert neurons._layer(h, h.amax(0))["population_sparseness"] == pytest.approx(5 / 9)
    assert neurons.sparseness(h, 0).tolist() == pytest.approx(
        [(1 - (7 / 4) ** 2 / (21 / 4)) / 0.75, (1 - (3 / 4) ** 2 / (5 / 4)) / 0.75, 1.0, 1.0]
    )
    assert neurons._layer(torch.zeros(4, 3), torch.zeros(3))["population_sparseness"] is None


def test_a_layers_norm_and_bias_are_means_over_units(toy):
    net = build_model(toy_config("ff"), toy)
    told = neurons.measure(net, *batch_of(toy))
    for row, (weight, bias) in zip(told, net.incoming(), strict=True):
        assert row["weight_norm"] == pytest.approx(weight.norm(dim=1).mean().item())
        assert row["bias"] == pytest.approx(bias.mean().item(), abs=1e-6)


def snap(trainer):
    return trainer.epoch()["arrays"]


def test_snapshots_tell_who_woke_a_unit_what_it_passes_on_and_its_share(toy):
    trainer = Trainer(toy_config("ff", set={"model.peer": 0}), toy)
    silence(trainer.model, 0, 4)
    told = snap(trainer)
    x, y = toy.validation.x.float() / 255, toy.validation.y
    wrong = neurons.fixed_wrong(y, 4)
    sides = [trainer.model.features(Sample(x, label))[0].detach() for label in (y, wrong)]
    h = torch.cat(sides)
    assert told["woke_1"][4] == -1
    for unit in (0, 9, 30):
        image, side = divmod(int(told["woke_1"][unit]), 2)
        assert sides[side][image, unit] == h[:, unit].max()
    assert told["passed_1"].astype(float) == pytest.approx(h.amax(0).numpy(), rel=1e-3)
    squares = h.square().mean(0)
    assert told["share_1"].astype(float) == pytest.approx((squares / squares.sum()).numpy(), rel=2e-3, abs=1e-6)
    assert told["share_1"].astype(float).sum() == pytest.approx(1, abs=2e-3)
    assert told["woke_1"].dtype.itemsize == told["passed_1"].dtype.itemsize == 2
    assert "size_1" not in told


def test_snapshots_of_a_masked_net_tell_what_passes_the_mask(toy):
    trainer = Trainer(toy_config("ref_pcl", preset="ref-pcl", set={"train.epochs": 2}), toy)
    told = snap(trainer)
    assert (told["passed_1"] < 0.1 * told["max_1"].astype(float) + 1e-3).all()
    assert (told["max_1"] > 0).mean() > 0.5


def test_snapshots_of_units_that_go_below_zero_tell_their_size(toy):
    told = snap(Trainer(toy_config("ff", set={"model.activation": "gelu"}), toy))
    assert (told["size_1"] >= abs(told["mean_1"]) - 1e-3).all()
    assert (told["size_1"] > told["mean_1"]).any()


def test_the_gradient_in_a_snapshot_is_the_last_steps_and_survives_where_it_is_tiny(toy):
    trainer = Trainer(toy_config("ff", set={"model.peer": 0}), toy)
    assert not snap(trainer)["gradient_norm_1"].any()  # before the first step there is none
    silence(trainer.model, 0, 3)
    trainer.learn(*batch_of(toy))
    trainer.checked_step = -1
    told = snap(trainer)["gradient_norm_1"]
    assert told == pytest.approx(trainer.model.weights[0].grad.norm(dim=1).numpy())
    assert told[3] == 0
    assert (told > 0).mean() > 0.5
    trainer.model.weights[0].grad.mul_(1e-9)  # half precision would make it nothing
    assert (snap(trainer)["gradient_norm_1"] > 0).mean() > 0.5


# Lives


def test_the_time_of_death_is_when_a_unit_falls_silent_for_good():
    out = np.array([[0, 1, 0, 1], [1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 1]], bool)
    assert lifetimes.deaths(out).tolist() == [3, 0, 4, 2]


def test_definitions_by_hand():
    layer = {
        "rate": np.array([[0.0, 0.5, 0.5]]), "mean": np.array([[0.0, 0.01, 1.0]]), "passed": np.array([[0.0, 0.009, 5.0]])
    }  # fmt: skip
    assert lifetimes.silent(layer, "dead").tolist() == [[True, False, False]]
    assert lifetimes.silent(layer, "masked").tolist() == [[True, True, False]]
    assert lifetimes.silent({**layer, "mean": np.array([[0.0, 0.008, 1.0]])}, "dormant").tolist() == [[True, True, False]]
    assert lifetimes.silent({**layer, "mean": np.array([[0.0, 0.009, 1.0]])}, "dormant").tolist() == [[True, False, False]]
    assert lifetimes.silent({"rate": layer["rate"]}, "masked") is None
    assert (lifetimes.DORMANT, lifetimes.MASKED) == (neurons.DORMANT, neurons.MASKED)


def test_the_history_of_a_run_agrees_with_its_events(store):
    run = store["ff"]
    told = ffcore.unit_history(run)
    assert told["epochs"] == [0, 1, 2]
    epochs = [event for event in run.events()[0] if event["event"] == "epoch"]
    for i, layer in enumerate(told["layers"]):
        for at, event in enumerate(epochs):
            assert layer["out"]["dead"][at].mean() == pytest.approx(event["layers"][i]["dead"], abs=1e-6)
    (run.dir / "snapshots" / "epoch-0001.npz").write_bytes(b"PK torn")
    again = ffcore.unit_history(run)
    assert (again["epochs"], again["lost"]) == ([0, 2], 1)


def test_the_history_of_a_run_of_an_older_version_lacks_what_it_did_not_store(store):
    run = store["ff"]
    for epoch in run.snapshots():
        arrays = {k: v for k, v in run.snapshot(epoch).items() if not k.startswith(("passed", "share", "woke"))}
        run.write_snapshot(epoch, arrays)
    layer = ffcore.unit_history(run)["layers"][0]
    assert "masked" not in layer["out"]
    assert "dead" in layer["out"]


def test_a_history_that_does_not_hang_together_is_refused(store):
    run = store["ff"]
    arrays = run.snapshot(2)
    run.write_snapshot(2, {**arrays, "rate_1": arrays["rate_1"][:5]})
    with pytest.raises(Refused, match="different nets"):
        ffcore.unit_history(run)
    for epoch in run.snapshots():
        run.write_snapshot(epoch, {"edges": np.zeros(3)})
    with pytest.raises(Refused, match="nothing of units"):
        ffcore.unit_history(run)
    with pytest.raises(Refused, match="no snapshots"):
        ffcore.unit_history(store["queued"])


def test_what_if_names_what_the_causes_point_at_once_and_only_what_the_model_has():
    config = {"model": {"speed": 1.0, "peer": 0.0}, "train": {"lr": 0.03, "recycle": 0}}
    layers = [
        {"causes": {"too large a step": 5, "born dead": 1}, "objective": {}},
        {"causes": {"vanished input": 9, "lost to the winners": 1, "undetermined": 3}, "objective": {}},
    ]
    told = ffcore.what_if(config, layers)
    assert [(one["cause"], one["settings"]) for one in told] == [
        ("vanished input", {"train.recycle": 50}),
        ("too large a step", {"train.lr": 0.009}),
    ]
    blamed = [{"causes": {"goodness falls with activity": 9}, "objective": {"enough": [["coupled=false", "penalty_size=0.0"]]}}]
    assert ffcore.what_if(config, blamed)[0]["settings"] == {"model.coupled": False, "model.penalty_size": 0.0}


def test_evidence_begins_with_what_decides():
    unit = {"cause": "negative bias", "bias": -5.0, "fires_unbiased": True, "unbiased_share": 0.4, "gain": 0.1, "pull": 0.1,
            "given": 0.2, "drive_max": -4.0, "unbiased_max": 1.0, "moved": None}  # fmt: skip
    first, *others = ffcore.evidence_in_words(unit)
    assert first == "Its bias is -5. With the bias at 0 it fires; its drive is then above 0 for 40.0% of the images."
    assert others
    assert ffcore.evidence_in_words({"cause": "undetermined"}) == []


def test_tables_of_remedies_are_found_by_name(own_runs):
    folder = ffcore.runs_root() / "studies"
    folder.mkdir(parents=True)
    (folder / "remedies-1.json").write_text('{"protocol": {}, "rows": [{"row": "none"}]}')
    assert [one["rows"][0]["row"] for one in ffcore.stored_studies(name="remedies")] == ["none"]
    assert all(one["file"] != str(folder / "remedies-1.json") for one in ffcore.stored_studies())
