"""Every planted death is found with the cause that was planted, and no cause is named where nothing died."""

import copy
import json

import pytest
import torch
from click.testing import CliRunner
from conftest import toy_config

import ffcore
from ffcore import autopsy, neurons
from ffcore.autopsy import Past, examine
from ffcore.cli import cli
from ffcore.config import configure
from ffcore.labels import Sample
from ffcore.models.ff import ForwardForward
from ffcore.training import Trainer, build_model, build_strategy


def net_of(toy, model="ff", train=True, **settings):
    """A small net, trained a little, in which everybody is alive."""
    flawed = {"preset": "ref-pcl"} if model == "ref_pcl" else {}
    config = toy_config(model, set={f"model.{k}": v for k, v in {"widths": [20, 16], **settings}.items()}, **flawed)
    trainer = Trainer(config, toy)
    for _ in range(12 if train else 0):
        trainer.learn(*probe(toy, 64))
    return trainer.model.eval()


def probe(toy, n=100):
    return toy.validation.x[:n].float() / 255, toy.validation.y[:n]


def dead_of(net, toy):
    return [neurons.dead(h) for h, _ in neurons.observe(net, *probe(toy))]


def causes(net, toy, past=None, layer=0):
    """{unit: cause} of a layer's dead units."""
    told = examine(net, *probe(toy), dead_of(net, toy), past)
    return {unit["unit"]: unit["cause"] for unit in told[layer]}


def lived(net, layer, units=(), epochs=(0, 1, 2), alive=None, before=None, weights=None):
    """A history in which all of a layer's units were alive, or as `alive` (E, n) says."""
    weight, bias = net.incoming()[layer]
    n, rows = len(bias), len(epochs)
    rate = torch.full((rows, n), 0.5) if alive is None else alive
    biases = bias.detach().repeat(rows, 1) if before is None else before
    norms = weight.detach().flatten(1).norm(dim=1).repeat(rows, 1)
    return Past(list(epochs), rate, biases, norms, weights or {})


@torch.no_grad()
def plant(net, kind, unit, layer=0):
    """Kill one unit by hand in the way that `kind` names."""
    weight, bias = net.incoming()[layer]
    told = None  # what labels add to it
    if layer == 0 and hasattr(net, "label_weights"):
        told = net.label_weights[:, unit] if net.label_weights.dim() == 2 else net.label_weights[unit]
    if kind == "negative bias":
        bias[unit] = -50.0
    elif kind == "vanished input":
        weight[unit] = 0.0
        bias[unit] = -0.01
        if told is not None:
            told.zero_()
    elif kind == "weights turned away":
        if told is not None:
            told.fill_(-0.1)
        weight[unit] = -weight[unit].abs() - 0.05
        bias[unit] = 0.0
    elif kind == "inhibition":
        weight[unit] = weight[unit].abs() + 0.01
        bias[unit] = 0.0
        net.inhibitory[layer][unit] = 1e3
    else:
        raise ValueError(kind)


PLANTED = ["negative bias", "vanished input", "weights turned away"]


@pytest.mark.parametrize("model", ["ff", "layer_collab", "three_factor", "dendritic", "prospective"])
@pytest.mark.parametrize("layer", [0, 1])
def test_what_was_planted_is_what_is_found(toy, model, layer):
    net = net_of(toy, model)
    before = causes(net, toy, layer=layer)
    chosen = [u for u in range(16) if u not in before][:3]
    for unit, kind in zip(chosen, PLANTED, strict=True):
        plant(net, kind, unit, layer)
    found = causes(net, toy, layer=layer)
    assert {unit: found[unit] for unit in chosen} == dict(zip(chosen, PLANTED, strict=True))


@pytest.mark.parametrize("inhibition", ["lateral", "top_down"])
def test_what_was_planted_in_pcl_is_found_inhibition_too(toy, inhibition):
    net = net_of(toy, "pcl", inhibition=inhibition, sparsity=0)
    gone = causes(net, toy)
    chosen = [u for u in range(20) if u not in gone][:4]
    kinds = [*PLANTED, "inhibition"]
    for unit, kind in zip(chosen, kinds, strict=True):
        plant(net, kind, unit)
    found = causes(net, toy)
    assert {unit: found[unit] for unit in chosen} == dict(zip(chosen, kinds, strict=True))


@pytest.mark.parametrize("model", ["backprop", "mono_forward"])
@pytest.mark.parametrize("layer", [0, 1])
def test_models_without_hooks_are_asked_by_changing_them(toy, model, layer):
    net = net_of(toy, model)
    before = causes(net, toy, layer=layer)
    chosen = [u for u in range(16) if u not in before][:3]
    for unit, kind in zip(chosen, PLANTED, strict=True):
        plant(net, kind, unit, layer)
    weights = copy.deepcopy(net.state_dict())
    found = causes(net, toy, layer=layer)
    assert {unit: found[unit] for unit in chosen} == dict(zip(chosen, PLANTED, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), net.state_dict().values(), strict=True))


def test_channels_of_a_convolution_are_units(toy):
    net = build_model(toy_config("conv_ff", set={"model.widths": [6, 6], "model.stride": 1}), toy).eval()
    before = causes(net, toy)
    chosen = [u for u in range(6) if u not in before][:2]
    for unit, kind in zip(chosen, PLANTED[:2], strict=True):
        plant(net, kind, unit)
    found = causes(net, toy)
    assert {unit: found[unit] for unit in chosen} == dict(zip(chosen, PLANTED[:2], strict=True))


def test_a_net_without_dead_units_has_no_causes(toy):
    net = net_of(toy)
    with torch.no_grad():
        for bias in net.biases:
            bias += 5.0
    assert [len(units) for units in dead_of(net, toy)] == [0, 0]
    assert examine(net, *probe(toy), dead_of(net, toy)) == [[], []]
    assert autopsy.objective(net, *probe(toy), 0, dead_of(net, toy)[0]) == {}


def test_units_above_a_silent_layer_have_no_input(toy):
    net = net_of(toy)
    with torch.no_grad():
        net.biases[0].fill_(-100.0)
        net.biases[1].fill_(-0.1)
    assert set(causes(net, toy, layer=1).values()) == {"vanished input"}
    assert set(causes(net, toy, layer=0).values()) <= {"negative bias", "weights turned away"}


def test_who_never_wins_is_told_from_who_is_not_driven(toy):
    net = net_of(toy, winners=0.1)
    plant(net, "negative bias", 0)
    found = causes(net, toy)
    free = build_model(toy_config("ff", set={"model.widths": [20, 16]}), toy).eval()
    free.load_state_dict(net.state_dict())
    alone = neurons.observe(free, *probe(toy))[0][0].amax(0)
    assert found[0] == "negative bias"
    losers = {unit for unit, cause in found.items() if cause == "lost to the winners"}
    assert losers
    assert losers == {unit for unit in found if alone[unit] > 0}


def test_history_tells_who_was_born_dead(toy):
    net = net_of(toy)
    plant(net, "negative bias", 2)
    plant(net, "negative bias", 3)
    alive = torch.full((3, 20), 0.5)
    alive[:, 2] = 0
    alive[1:, 3] = 0
    past = [lived(net, 0, alive=alive), lived(net, 1)]
    told = {unit["unit"]: unit for unit in examine(net, *probe(toy), dead_of(net, toy), past)[0]}
    assert (told[2]["cause"], told[3]["cause"]) == ("born dead", "negative bias")
    assert (told[3]["last_alive"], told[3]["died"]) == (0, 1)
    assert told[2]["died"] is None or told[2]["last_alive"] is None
    late = [past[0]._replace(epochs=[4, 5, 6]), past[1]._replace(epochs=[4, 5, 6])]  # nobody looked before the first step
    assert causes(net, toy, late)[2] == "negative bias"


@pytest.mark.parametrize("kept", [True, False])
def test_a_step_longer_than_the_weights_is_told_from_a_slow_turn(toy, kept):
    net = net_of(toy)
    old = net.weights[0].detach().clone()
    for unit in (4, 5):
        plant(net, "weights turned away", unit)
    with torch.no_grad():
        net.weights[0][4] *= 20  # its last step; unit 5 turned in steps that were short beside its length
    alive = torch.full((3, 20), 0.5)
    alive[2, [4, 5]] = 0
    new = net.weights[0].detach()
    past = lived(net, 0, alive=alive)
    norms = past.weight_norm.clone()
    norms[:2, 4] = old[4].norm()
    norms[:2, 5] = new[5].norm() * 0.9
    old[5] = new[5] * 0.9
    past = past._replace(weight_norm=norms, weights={1: old, 2: new} if kept else {})
    found = causes(net, toy, [past, lived(net, 1)])
    assert (found[4], found[5]) == ("too large a step", "weights turned away")


def test_a_step_that_all_take_is_nobodys_cause(toy):
    net = net_of(toy)
    plant(net, "weights turned away", 4)
    alive = torch.full((2, 20), 0.5)
    alive[1, 4] = 0
    past = lived(net, 0, alive=alive, epochs=(0, 1))
    norms = past.weight_norm.clone()
    norms[0] /= 4
    assert causes(net, toy, [past._replace(weight_norm=norms), lived(net, 1, epochs=(0, 1))])[4] == "weights turned away"


def test_a_bias_that_fell_from_above_zero_is_put_back_to_where_it_was(toy):
    """At 0 the unit would not fire; at what it had when alive it would."""
    net = net_of(toy)
    plant(net, "weights turned away", 6)
    with torch.no_grad():
        net.biases[0][6] = -1.0
    assert causes(net, toy)[6] == "weights turned away"
    alive = torch.full((3, 20), 0.5)
    alive[2, 6] = 0
    before = net.biases[0].detach().repeat(3, 1)
    before[:2, 6] = 30.0
    assert causes(net, toy, [lived(net, 0, alive=alive, before=before), lived(net, 1)])[6] == "negative bias"


# The objective


@pytest.mark.parametrize("mask", [1.0, 0.0])
def test_the_reference_objective_falls_below_the_activity_that_theory_names(toy, mask):
    """dg/dh = s²·2h - s·λ < 0 below h = λ/(2s), with a mask s that is the same for all (in the reference study 7.3)."""
    net = net_of(toy, "ref_pcl", train=False, mask=mask, penalty_error=0, coupled=False, norm="unit")
    with torch.no_grad():
        for parameter in (*net.predictors, *net.offsets):
            parameter.zero_()  # its error is then the images' own size: constant
    sample = Sample(*probe(toy))
    next(net.rise(net.sample_drive(sample, net), sample))
    s = net.seen[3].mean().item()
    told = autopsy.objective(net, *probe(toy), 0, torch.tensor([1]))
    assert told["pull"] < 0
    assert told["rises_above"] == pytest.approx(0.1 / (2 * s), rel=0.03)


@pytest.fixture(scope="module")
def silenced(digits):
    """The reference study's net on digits, 100 units a layer: most of them fall silent within 20 steps."""
    few = {"model.widths": [100, 100], "train.precision": "float32", "train.epochs": 20}
    trainer = Trainer(configure(preset="ref-pcl", data="mnist-5k", device="cpu", set=few), digits)
    x, y = digits.train.x[:500].float() / 255, digits.train.y[:500]
    for _ in range(20):
        trainer.learn(x, y)
    return trainer.model.eval()


def test_the_reference_studys_units_die_of_their_objective(silenced, digits):
    dead = dead_of(silenced, digits)
    assert len(dead[0]) > 80
    told = causes(silenced, digits)
    assert list(told.values()).count("goodness falls with activity") > 0.5 * len(dead[0])


def test_no_single_setting_mends_the_reference_objective_and_the_known_two_do(silenced, digits):
    """As the study's review found by training: without the penalty, or the mask, or the coupling alone 98 to 100% die;
    with the predictor detached and no penalty 0 to 1% do."""
    told = autopsy.objective(silenced, *probe(digits), 0, dead_of(silenced, digits)[0])
    assert set(told["alone"]) == {"coupled=false", "mask=0.0", "penalty_error=0.0", "penalty_size=0.0"}
    assert all(value < 0 for value in told["alone"].values())
    assert ["coupled=false", "penalty_size=0.0"] in told["enough"]
    assert ["mask=0.0", "penalty_size=0.0"] not in told["enough"]
    assert min(map(len, told["enough"])) == 2


def test_gain_is_the_finite_difference_by_hand(silenced, digits):
    x, y = probe(digits, 16)
    unit = dead_of(silenced, digits)[0][0]
    (told,) = examine(silenced, x, y, [unit[None], torch.tensor([], dtype=torch.long)])[0]
    z = silenced.sample_drive(Sample(x, y), silenced).detach()

    def reward(drive):
        h = silenced.activity(0, drive, silenced.context(z, Sample(x, y)))
        return silenced.logits(0, silenced.goodness(0, h)).mean()

    more = z.clone()
    more[:, unit] = told["given"]
    assert told["gain"] == pytest.approx((reward(more) - reward(z)).item(), rel=0.02)


def test_what_learning_does_not_feel_is_no_fault_of_the_objective(toy):
    """A unit of pcl that inhibits others lowers goodness by its activity; but inhibition is held fixed for the objective."""
    net = net_of(toy, "pcl", sparsity=0)
    with torch.no_grad():
        net.inhibitory[0][:, 7] = 50.0
        net.inhibitory[0][7] = 0.0
    plant(net, "negative bias", 7)
    (told,) = (unit for unit in examine(net, *probe(toy), dead_of(net, toy))[0] if unit["unit"] == 7)
    assert told["gain"] < 0 < told["pull"]
    assert told["cause"] == "negative bias"


def test_plain_forward_forward_rewards_activity(toy):
    net = net_of(toy)
    assert isinstance(net, ForwardForward)
    plant(net, "negative bias", 0)
    told = examine(net, *probe(toy), dead_of(net, toy))[0]
    assert all(unit["gain"] >= 0 and unit["pull"] > 0 for unit in told)


def test_the_gradient_of_a_dead_unit_is_zero_and_of_others_that_of_training(toy):
    config = toy_config("ff", set={"model.peer": 0})
    trainer = Trainer(config, toy)
    plant(trainer.model, "negative bias", 0)
    x, y = probe(toy, 64)
    told = autopsy.gradients(trainer.model, build_strategy(config), x, y)
    assert told[0][0] == 0
    assert (told[0] > 0).float().mean() > 0.5
    assert all(p.grad is None for p in trainer.model.parameters())


def test_an_untouched_model_after_an_autopsy(toy):
    net = net_of(toy, "ref_pcl", norm="unit")
    before = copy.deepcopy(net.state_dict())
    plant_free = dead_of(net, toy)
    examine(net, *probe(toy), [torch.arange(20), torch.arange(16)])
    autopsy.objective(net, *probe(toy), 0, torch.arange(20))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    assert net.settings.mask == 1
    assert [len(units) for units in plant_free] == [len(units) for units in dead_of(net, toy)]


def test_a_cause_is_never_guessed():
    assert autopsy.cause({}) == "undetermined"
    assert autopsy.cause({"fires_unbiased": False, "unbiased_max": 0.3}) == "undetermined"
    assert autopsy.cause({"moved": 1.5, "moved_others": 2.0}) == "undetermined"
    assert autopsy.cause({"gain": -0.1, "pull": 0.1}) == "undetermined"
    for name in autopsy.CAUSES:
        assert autopsy.CAUSES[name].endswith(".")


# A run


def kill_in(run, unit):
    """Give a unit of a finished run a bias of -50 in the stored weights."""
    from safetensors.torch import load_file, save_file

    path = run.dir / "weights.safetensors"
    weights = load_file(path)
    weights["biases.0"][unit] = -50.0
    save_file(weights, path)


def test_health_names_the_cause_in_a_run_on_the_command_line(store):
    run = store["ff"]
    before = ffcore.health(run)["layers"]
    kill_in(run, 5)
    after = ffcore.health(run)["layers"]
    gained = {k: n - before[0]["causes"].get(k, 0) for k, n in after[0]["causes"].items()}
    assert gained["negative bias"] == 1
    assert sum(after[0]["causes"].values()) == round(after[0]["dead"] * 32)
    assert after[1]["causes"] == {} or sum(after[1]["causes"].values()) == round(after[1]["dead"] * 32)
    said = CliRunner().invoke(cli, ["health", run.id]).output
    assert "layer 1, why units are dead:" in said
    assert "negative bias" in said
    told = json.loads(CliRunner().invoke(cli, ["health", run.id, "--json"]).output)
    keys = {"layer", "units", "dead", "dormant", "reference_metric", "mean_rate", "lifetime_sparseness", "effective_rank"}
    assert keys | {"population_sparseness", "weight_norm", "bias", "causes"} <= set(told["layers"][0])


def test_health_of_an_earlier_epoch(store):
    run = store["ff"]
    first = ffcore.health(run, epoch=0)
    assert first["epoch"] == 0
    assert first["layers"] != ffcore.health(run)["layers"]
    refused = CliRunner().invoke(cli, ["health", run.id, "--epoch", "77"], catch_exceptions=True)
    assert isinstance(refused.exception, ffcore.Refused)
    assert "kept no weights of epoch 77" in str(refused.exception)


def test_a_run_without_snapshots_is_examined_without_a_history(store):
    run = store["ff"]
    for file in (run.dir / "snapshots").glob("*"):
        file.unlink()
    kill_in(run, 5)
    assert ffcore.health(run)["layers"][0]["causes"]["negative bias"] >= 1
