"""Runs side by side: what counts as the same but for its seed, what is measured of it, and what a probe says of transfer."""

import json
import math
import random
import statistics
import sys

import numpy as np
import pytest
from conftest import TINY

import ffcore
from ffcore import analyses, comparison, files, replays, runs

pytestmark = pytest.mark.usefixtures("no_bundle")


def again(run: ffcore.Run, number: int, seed: int = 0, result: dict | None = None, **config) -> ffcore.Run:
    """A copy of a finished run under another seed, with other settings or results."""
    import shutil

    name = f"20310101-00000{number}-ff-000{number}"
    copy = ffcore.Run(shutil.copytree(run.dir, run.dir.parent / name))
    parts = {key: {**copy.config[key], **value} if isinstance(value, dict) else value for key, value in config.items()}
    copy.write_config(id=name, created=f"2031-01-01T00:00:0{number}+00:00", seed=seed, **parts)
    if result is not None:
        copy.write_status(result={**copy.status()["result"], **result})
    return copy


def row(net: str, layer, accuracy: float, normalised=None, **more) -> dict:
    where = "raw pixels" if net == "pixels" else f"{net}, {layer}{', normalised' if normalised else ''}"
    return {"features": where, "net": net, "layer": layer, "normalised": normalised, "accuracy": accuracy, **more}


def told(*rows: dict, images: int = 10_000, **more) -> dict:
    base = {"target": "glyphs", "protocol": "converged", "shots": None, "test_images": images, "rows": list(rows)}
    return {**base, **more}


def plant(run: ffcore.Run, result: dict, name: str = "0") -> None:
    """Store a probe's result as if somebody had asked for it."""
    place = run.dir / "analyses" / f"probe-{name}"
    place.mkdir(parents=True)
    request = {"kind": "probe", "version": 1, "settings": {}, "weights": [analyses.fingerprint(run)], "runs": [str(run.dir)]}
    (place / "request.json").write_bytes(files.to_json(request))
    (place / "result.json").write_bytes(files.to_json({**result, "runs": [run.id], "made": float(name)}))


# What a group is


def test_runs_that_differ_in_their_seed_only_are_one_group(store):
    again(store["ff"], 1, seed=1)
    again(store["ff"], 2, seed=2)
    found = next(g for g in ffcore.groups() if g["model"] == "ff")
    assert found["seeds"] == [0, 1, 2]
    assert [r.config["seed"] for r in found["runs"]] == [0, 1, 2]
    assert found["machines"] == [f"{store['ff'].config['facts']['device_name']}, {threads(store['ff'])}"]


def threads(run) -> str:
    n = run.config["facts"]["threads"]
    return f"{n} thread{'s' * (n > 1)}"


@pytest.mark.parametrize(
    "change", [{"model": {"alpha": 5.0}}, {"train": {"lr": 0.5}}, {"data": {"validation": 7}}, {"negatives": {"layers": 2}}]
)
def test_any_other_setting_makes_another_group(store, change):
    again(store["ff"], 1, seed=1, **change)
    mine = [g for g in ffcore.groups() if g["model"] == "ff"]
    assert [len(g["runs"]) for g in mine] == [1, 1]
    [(section, (key, value))] = [(s, *v.items()) for s, v in change.items()]
    assert ffcore.differing(mine) == [f"{section}.{key}"]
    assert f"{key} {value}" in mine[0]["label"]
    assert mine[0]["label"] != mine[1]["label"]


def test_a_run_of_an_older_version_is_the_same_as_one_that_says_every_default(store):
    old = again(store["ff"], 1, seed=1)
    train = {key: value for key, value in old.config["train"].items() if key not in ("shift", "flip", "init_from")}
    old.write_config(train={**train, "compile": False, "telemetry": False, "keep_weights": False})
    [mine] = [g for g in ffcore.groups() if g["model"] == "ff"]
    assert mine["seeds"] == [0, 1]
    assert {"train.shift", "train.init_from"} <= set(mine["settings"])
    assert "train.compile" not in mine["settings"]


def test_settings_that_this_version_does_not_know_or_would_refuse_still_set_a_group_apart(store):
    again(store["ff"], 1, train={"lr": -1.0})
    again(store["ff"], 2, train={"unheard_of": 3})
    mine = [g for g in ffcore.groups() if g["model"] == "ff"]
    assert len(mine) == 3
    assert {g["settings"]["train.lr"] for g in mine} == {-1.0, store["ff"].config["train"]["lr"]}
    assert "train.unheard_of" in ffcore.differing(mine)


def test_the_same_seed_twice_counts_once_and_the_newest_counts(store):
    new = again(store["ff"], 1, result={"test_accuracy": 0.125})
    found = next(g for g in ffcore.groups() if g["model"] == "ff")
    assert found["runs"] == [new]
    assert ffcore.headline([found])[0]["facts"]["test_accuracy"]["values"] == {0: 0.125}


def test_a_newer_run_of_the_same_seed_that_was_not_tested_does_not_hide_the_one_that_was(store):
    again(store["ff"], 1, result={"test_accuracy": None})
    found = next(g for g in ffcore.groups() if g["model"] == "ff")
    assert found["runs"] == [store["ff"]]


def test_only_finished_runs_are_compared(store):
    states = {run.state for g in ffcore.groups() for run in g["runs"]}
    assert states == {"done"}
    assert {g["model"] for g in ffcore.groups()} == {"ff", "backprop"}


# What is measured of it


def test_the_spread_is_over_seeds_and_what_nobody_measured_is_none(store):
    again(store["ff"], 1, seed=1, result={"test_accuracy": 0.5, "peak_memory": 1000})
    again(store["ff"], 2, seed=2, result={"test_accuracy": None, "peak_memory": 3000})
    told = ffcore.headline([g for g in ffcore.groups() if g["model"] == "ff"])[0]["facts"]
    mine = store["ff"].status()["result"]["test_accuracy"]
    assert told["test_accuracy"]["n"] == 2
    assert told["test_accuracy"]["mean"] == pytest.approx((mine + 0.5) / 2)
    assert told["test_accuracy"]["sd"] == pytest.approx(statistics.stdev([mine, 0.5]))
    assert told["transfer"] == {"values": {}, "n": 0, "mean": None, "sd": None}


def test_speed_and_dead_units_are_those_of_status_and_events(store):
    run = store["ff"]
    events = [e for e in run.events()[0] if e["event"] == "epoch"]
    events[-1]["layers"][0]["dead"], events[-1]["layers"][1]["dead"] = 0.25, 0.75
    (run.dir / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    run.write_status(train_seconds=4.0)
    told = comparison.measure(run)
    assert told["dead"] == 0.5
    assert told["images_per_second"] == 2 * run.config["facts"]["sizes"]["train"] / 4
    assert told["train_seconds"] == 4


@pytest.mark.parametrize("wrong", ["x", -1, math.nan, [1], {"a": 1}, None, 2.0])
def test_garbage_in_a_run_is_no_number(store, wrong):
    run = store["ff"]
    run.write_status(result={"test_accuracy": wrong, "peak_memory": wrong if wrong != 2.0 else -1}, train_seconds=wrong)
    (run.dir / "events.jsonl").write_text(json.dumps({"event": "epoch", "layers": [{"dead": wrong}]}) + "\n")
    told = comparison.measure(run)
    assert (told["test_accuracy"], told["peak_memory"], told["dead"]) == (None, None, None)
    for result in ([], "x", None):
        run.write_status(result=result)
        comparison.measure(run)
    run.write_config(facts=[])
    assert comparison.measure(run)["images_per_second"] is None
    assert ffcore.groups()


def test_differences_to_the_baseline_are_seed_by_seed(store):
    for number, (seed, mine, base) in enumerate([(5, 0.6, 0.5), (6, 0.9, 0.7), (7, 0.3, 0.1)]):
        again(store["ff"], number, seed=seed, result={"test_accuracy": mine})
        again(store["backprop"], number + 3, seed=seed, result={"test_accuracy": base})
    for run in (store["ff"], store["backprop"]):
        runs.delete(run)
    both = {g["model"]: g for g in ffcore.groups()}
    one, other = ffcore.headline([both["ff"], both["backprop"]], baseline=both["backprop"]["key"])
    told = one["differences"]["test_accuracy"]
    assert told["n"] == 3
    assert told["mean"] == pytest.approx(0.5 / 3)
    assert told["sd"] == pytest.approx(statistics.stdev([0.1, 0.2, 0.2]))
    assert other["differences"]["test_accuracy"]["mean"] == 0
    assert one["differences"]["transfer"] == {"n": 0, "mean": None, "sd": None}


def test_without_a_seed_in_common_the_means_are_compared_and_n_is_0(store):
    again(store["backprop"], 1, seed=9, result={"test_accuracy": 0.25})
    runs.delete(store["backprop"])
    both = {g["model"]: g for g in ffcore.groups()}
    one = ffcore.headline([both["ff"], both["backprop"]], baseline=both["backprop"]["key"])[0]
    mine = store["ff"].status()["result"]["test_accuracy"]
    assert one["differences"]["test_accuracy"] == {"n": 0, "mean": pytest.approx(mine - 0.25), "sd": None}


# Transfer


def test_transfer_is_told_against_the_untrained_twin_on_the_same_features(store):
    rows = [row("pixels", None, 0.99), row("untrained", 2, 0.9, False), row("untrained", "all", 0.5), row("run", "all", 0.75)]
    plant(store["ff"], told(*rows))
    facts = ffcore.headline([g for g in ffcore.groups() if g["model"] == "ff"], target="glyphs")[0]
    assert facts["targets"] == ["glyphs"]
    assert facts["facts"]["transfer"]["mean"] == 0.75
    assert facts["facts"]["transfer_gain"]["mean"] == 0.25
    other = ffcore.headline([g for g in ffcore.groups() if g["model"] == "ff"], target="mnist")[0]["facts"]
    assert other["transfer"]["mean"] is None


def test_few_shots_and_the_reference_protocol_are_no_headline_and_the_newest_probe_is(store):
    rows = [row("untrained", "all", 0.5), row("run", "all", 0.75)]
    plant(store["ff"], told(*rows, shots=10), "1")
    plant(store["ff"], told(*rows, protocol="reference"), "2")
    plant(store["ff"], told(*rows, settings={"epoch": 1}), "8")
    plant(store["ff"], told(*rows, settings={"train": 500}), "9")
    assert comparison.probed(store["ff"]) == {}
    plant(store["ff"], told(*rows), "3")
    plant(store["ff"], told(row("untrained", "all", 0.5), row("run", "all", 0.8)), "4")
    assert comparison.probed(store["ff"])["glyphs"]["rows"][1]["accuracy"] == 0.8


def test_the_twin_stands_on_the_same_side_of_the_norm():
    rows = [row("untrained", 2, 0.1, False), row("untrained", 2, 0.2, True), row("run", 2, 0.7, True)]
    assert ffcore.row_of(told(*rows), "untrained", like=rows[2])["accuracy"] == 0.2
    assert ffcore.row_of(told(*rows), "untrained", layer="last")["accuracy"] == 0.1
    assert ffcore.row_of(told(*rows), "untrained", layer=1) is None
    assert ffcore.transferred([told(*rows)], layer=2)["difference"] == pytest.approx(0.5)


def test_a_verdict_needs_more_than_two_standard_errors():
    def verdict(run: float, untrained: float, images: int) -> str:
        return ffcore.transferred([told(row("run", "all", run), row("untrained", "all", untrained), images=images)])["verdict"]

    error = math.sqrt(0.25 / 2500 + 0.25 / 2500)  # near a half
    assert verdict(0.5 + 1.9 * error, 0.5, 2500) == "no different"
    assert verdict(0.5 + 2.1 * error, 0.5, 2500) == "better"
    assert verdict(0.5 - 2.1 * error, 0.5, 2500) == "worse"
    assert verdict(0.5 + 2.1 * error, 0.5, 1000) == "no different"


def test_two_equal_nets_are_seldom_called_different():
    """The margin is honest: of nets that are equally good, about one in twenty is told apart."""
    rng, wrong = random.Random(0), 0
    for _ in range(400):
        seen = [sum(rng.random() < 0.8 for _ in range(500)) / 500 for _ in range(2)]
        result = ffcore.transferred([told(row("run", "all", seen[0]), row("untrained", "all", seen[1]), images=500)])
        wrong += result["verdict"] != "no different"
    assert 0.01 < wrong / 400 < 0.09


def test_a_row_that_knows_the_images_on_which_the_nets_differ_has_the_margin_of_pairs():
    """McNemar: of 10,000 images, 300 are right by the net alone and 200 by its twin."""
    own, twin = row("run", "all", 0.81, discordant=0.05), row("untrained", "all", 0.80)
    found = ffcore.transferred([told(own, twin)])
    assert found["margin"] == pytest.approx(2 * math.sqrt((0.05 - 0.01**2) / 10_000))
    assert found["verdict"] == "better"
    assert ffcore.transferred([told({**own, "discordant": "x"}, twin)])["verdict"] == "no different"


def test_over_seeds_the_mean_of_the_pairs_counts_and_their_spread_widens_the_margin():
    def several(*gaps: float) -> dict:
        return ffcore.transferred([told(row("run", "all", 0.5 + g), row("untrained", "all", 0.5)) for g in gaps])

    calm, wild = several(0.05, 0.05, 0.05), several(0.15, -0.05, 0.05)
    assert calm["difference"] == pytest.approx(wild["difference"])
    assert (calm["n"], calm["verdict"]) == (3, "better")
    assert wild["margin"] > calm["margin"]
    assert wild["verdict"] == "no different"
    assert wild["sd"] == pytest.approx(0.1)


def test_damaged_results_cost_no_more_than_their_rows():
    bad = [None, "x", {}, {"features": "a", "net": "run", "accuracy": "0.5"}, {"features": 1, "net": "run", "accuracy": 0.5}]
    assert ffcore.sound_rows({"rows": bad}) == []
    assert ffcore.sound_rows({"rows": 7}) == []
    assert ffcore.transferred([{"rows": bad}, {}]) is None


# Memory


def test_a_runs_peak_memory_is_its_own_and_grows_with_its_net(own_runs):
    def peak(width: int) -> int:
        run = ffcore.train(**{**TINY, "set": {"model.widths": [width, width]}})
        return run.status()["result"]["peak_memory"]

    small, large, again = peak(16), peak(1600), peak(16)
    if sys.platform == "linux":
        assert large > small + 4 * 1600 * 1600
        assert again < large - 4 * 1600 * 1600


def test_the_command_prints_one_json_object_or_a_line_per_number(store):
    from click.testing import CliRunner

    from ffcore.cli import cli

    printed = json.loads(CliRunner().invoke(cli, ["compare", store["ff"].id, "--json"]).output)
    assert [g["runs"] for g in printed["groups"]] == [[store["ff"].id]]
    text = CliRunner().invoke(cli, ["compare", store["ff"].id]).output
    right = store["ff"].status()["result"]["test_accuracy"]
    assert f"test_accuracy        {right:.6g}, n 1" in text
    assert "transfer             no data" in text


# How runs went


def test_a_course_tells_what_the_snapshots_and_events_tell(store):
    told = ffcore.course(store["ff"])
    events = [e for e in store["ff"].events()[0] if e["event"] == "epoch"]
    assert [at["epoch"] for at in told] == [0, 1, 2]
    assert [at["accuracy"] for at in told] == [e["validation"]["goodness"] for e in events]
    assert [at["layers"][2]["dead"] for at in told] == [e["layers"][1]["dead"] for e in events]
    for at in told:
        apart = store["ff"].snapshot(at["epoch"])["apart"]
        assert [at["layers"][i]["gap"] for i in (1, 2)] == apart[:, 0].tolist()
        assert [at["layers"][i]["dprime"] for i in (1, 2)] == apart[:, 1].tolist()
    assert all("gap" not in row for at in ffcore.course(store["backprop"]) for row in at["layers"].values())


def test_the_best_epoch_is_the_first_of_the_highest_and_of_the_default_readout(store):
    def epoch(i, goodness, softmax):
        held = {"goodness": goodness, "softmax": softmax}
        return {"event": "epoch", "step": i, "epoch": i, "seconds": 1.0 * i, "validation": held, "layers": []}

    events = [epoch(0, 0.1, 0.99), epoch(1, 0.7, 0.2), epoch(1, 0.8, 0.2), epoch(2, 0.8, 0.3), epoch(3, 0.5, 0.4)]
    (store["ff"].dir / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    told = comparison.measure(store["ff"])
    assert (told["best_accuracy"], told["best_epoch"]) == (0.8, 1)


def test_histograms_of_the_best_epoch_are_of_that_epoch(store):
    group = ffcore.groups([store["ff"]])
    best = comparison.measure(store["ff"])["best_epoch"]
    for when, epoch in (("last", 2), ("best", best)):
        [first, _] = ffcore.histograms(group, when)
        mine, arrays = first["groups"][group[0]["key"]], store["ff"].snapshot(epoch)
        assert mine["epochs"] == [epoch]
        [counts] = replays.rebin(arrays["pos"][:1], arrays["edges"][:1], first["edges"])
        assert mine["pos"] == pytest.approx(counts / counts.sum())
        assert mine["pos"].sum() == pytest.approx(1)
    with pytest.raises(ffcore.Refused, match="last or best"):
        ffcore.histograms(group, "first")


def test_histograms_pass_over_nets_without_positives_and_damage(store):
    groups = ffcore.groups([store["ff"], store["backprop"]])
    (store["ff"].dir / "snapshots" / "epoch-0002.npz").write_bytes(b"")
    assert ffcore.histograms(groups) == []


@pytest.mark.parametrize("fault", ["bins", "inf", "falls", "counts"])
def test_a_histogram_that_does_not_hold_together_costs_no_more_than_its_layer(store, fault):
    groups = ffcore.groups([store["ff"], again(store["ff"], 1, model={"alpha": 5.0})])
    spoilt = groups[0]["runs"][0]
    arrays = spoilt.snapshot(2)
    if fault == "bins":
        arrays["edges"] = arrays["edges"][:, :-1]
    elif fault == "inf":
        arrays["edges"][0, -1] = np.inf
    elif fault == "falls":
        arrays["edges"][0] = arrays["edges"][0, ::-1]
    else:
        arrays["pos"] = arrays["pos"].astype(float)
        arrays["pos"][0, 0] = np.nan
    spoilt.write_snapshot(2, arrays)
    first, second = ffcore.histograms(groups)
    assert set(first["groups"]) == {groups[1]["key"]}
    assert set(second["groups"]) == {g["key"] for g in groups[(fault == "bins") :]}
    assert all(np.isfinite(first["edges"]))
