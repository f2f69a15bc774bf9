"""The analysis of a run's units: what it stores is what the net does."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import ffcore
from ffcore import neurons
from ffcore.errors import Refused
from ffcore.lab import health
from ffcore.labels import Sample


@pytest.fixture(scope="module")
def found(trained):
    """(run, numbers, arrays) of the real run, on 100 images."""
    finding = ffcore.analyse("health", ffcore.Run(trained["ff"]), n=100)
    return ffcore.Trained(trained["ff"]), finding.result(), finding.arrays()


def test_layers_are_those_that_are_measured(found):
    run, told, _ = found
    x, y = run.held_out(100)
    assert told["images"] == len(y) == 100
    for row, measured in zip(told["layers"], neurons.measure(run.model, x.float() / 255, y), strict=True):
        assert {key: row[key] for key in measured} == pytest.approx(measured, rel=1e-4)
    for row, units in zip(told["layers"], told["units"], strict=True):
        assert len(units) == round(row["dead"] * row["units"]) == sum(row["causes"].values())
        assert all(unit["cause"] in told["about"] for unit in units)


def test_every_units_numbers_are_those_of_its_activities(found):
    run, _, arrays = found
    x, y = run.held_out(100)
    wrong = neurons.fixed_wrong(y, 10)
    sides = [run.model.features(Sample(x.float() / 255, label))[1].detach() for label in (y, wrong)]
    h = torch.cat(sides)
    assert arrays["rate_2"] == pytest.approx((h > 0).float().mean(0).numpy(), abs=1e-6)
    assert arrays["passed_2"] == pytest.approx(h.amax(0).numpy(), rel=1e-5)
    assert arrays["share_2"].sum() == pytest.approx(1, abs=1e-5)
    assert arrays["weight_norm_2"] == pytest.approx(run.model.weights[1].norm(dim=1).detach().numpy(), rel=1e-5)
    peak = torch.stack(sides).amax(0)  # (images, n)
    for unit in np.flatnonzero(arrays["rate_2"])[:8]:
        best = arrays["top_2"][unit]
        assert peak[best[0], unit] == peak[:, unit].max()
        assert (np.diff(peak[best[best >= 0], unit].numpy()) <= 0).all()
    dead = np.flatnonzero(arrays["rate_2"] == 0)
    assert (arrays["top_2"][dead] == -1).all()


def test_images_and_fields_are_those_that_are_named(found):
    run, _, arrays = found
    x, y = run.held_out()
    assert np.array_equal(arrays["images"], x[arrays["index"]].numpy())
    assert np.array_equal(arrays["labels"], y[arrays["index"]].numpy())
    named = {int(i) for layer in (1, 2) for i in np.unique(arrays[f"top_{layer}"]) if i >= 0}
    named |= {int(w) // 2 for layer in (1, 2) for w in arrays[f"woke_{layer}"] if w >= 0}
    assert named == set(arrays["index"].tolist())
    weight = run.model.weights[0][3].detach().view(8, 8).numpy()
    assert arrays["fields"][3] / 127 == pytest.approx(weight / np.abs(weight).max(), abs=0.005)


def test_the_image_that_woke_a_unit_last_is_that_of_the_last_snapshot_in_which_it_lived(found):
    run, _, arrays = found
    history = ffcore.unit_history(run)["layers"][0]
    for unit in range(32):
        lived = [woke for woke in history["woke"][:, unit] if woke >= 0]
        assert arrays["woke_1"][unit] == (lived[-1] if lived else -1)


def test_a_run_of_another_model_is_told_of_as_well(trained):
    told = ffcore.analyse("health", ffcore.Run(trained["backprop"]), n=100).result()
    assert [row["units"] for row in told["layers"]] == [32, 32]
    assert all(row["objective"] == {} for row in told["layers"])


def test_of_a_large_dead_net_some_units_are_told_and_all_are_counted(store, monkeypatch):
    monkeypatch.setattr(health, "TOLD", 10)
    run = store["ff"]
    weights = load_file(run.dir / "weights.safetensors")
    weights["biases.0"][:] = weights["biases.1"][:] = -50.0
    save_file(weights, run.dir / "weights.safetensors")
    told = ffcore.analyse("health", run).result()
    assert [len(units) for units in told["units"]] == [5, 5]
    assert [sum(row["causes"].values()) for row in told["layers"]] == [32, 32]


def test_an_earlier_epoch_is_another_question(store):
    first, last = (ffcore.analyse("health", store["ff"], n=50, **more) for more in ({"epoch": 0}, {}))
    assert first.dir != last.dir
    assert (first.result()["epoch"], last.result()["epoch"]) == (0, 2)
    assert first.result()["layers"] != last.result()["layers"]


def test_what_cannot_be_asked_is_refused_before_anything_is_computed(store, monkeypatch):
    with pytest.raises(Refused, match="no weights yet"):
        ffcore.find_analysis("health", store["queued"])
    with pytest.raises(Refused, match=r"health\.n"):
        ffcore.find_analysis("health", store["ff"], n=3)
    run = store["ff"]
    sizes = {**run.config["facts"]["sizes"], "validation": 0}
    run.write_config(facts={**run.config["facts"], "sizes": sizes})
    with pytest.raises(Refused, match="kept 0 validation images"):
        ffcore.find_analysis("health", run)
