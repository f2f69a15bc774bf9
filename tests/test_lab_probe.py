"""Probes of runs: every row that a claim about transfer needs, the twins that it is measured against, and fine-tuning."""

import json
import shutil

import pytest
import torch
from conftest import TINY

import ffcore
from ffcore import cli, probes, runs
from ffcore.errors import Refused
from ffcore.lab import ANALYSES
from ffcore.lab.finetune import MODES, phases

NETS = {"run", "pixels", "untrained", "backprop_source", "backprop_target"}


def ask(ref, **settings):
    return ffcore.probe(ref, target="digits", **settings)


def accuracies(told, net):
    return {(row["layer"], row["normalised"]): row["accuracy"] for row in told["rows"] if row["net"] == net}


@pytest.fixture(scope="module")
def asked(trained, tmp_path_factory):
    """(a runs folder, the answer): the plain question about the trained run, put once, with all that it leaves behind."""
    root = tmp_path_factory.mktemp("probed")
    run = ffcore.Run(shutil.copytree(trained["ff"], root / trained["ff"].name))
    return root, ffcore.probe(run, root=str(root), target="digits")


@pytest.fixture
def baselines(asked, own_runs):
    """One's own runs folder has the baselines already, as after that question."""
    for part in ("analyses", "baselines"):
        shutil.copytree(asked[0] / part, runs.runs_root() / part)


def test_every_row_that_a_claim_needs_is_there(asked):
    _, told = asked
    assert {row["net"] for row in told["rows"]} == NETS
    own = {row["features"]: row["width"] for row in told["rows"]}
    assert own == {
        "layer 1": 32, "layer 1, normalised": 32, "layer 2": 32, "layer 2, normalised": 32, "all layers": 64,
        "raw pixels": 64, "untrained, layer 1": 32, "untrained, layer 2": 32, "untrained, all layers": 64,
        "backprop on the source, layer 2": 32, "backprop on the source, all layers": 64,
        "backprop on the target, layer 2": 32, "backprop on the target, all layers": 64,
    }  # fmt: skip
    for row in told["rows"]:
        assert row["images"] == 1_438
        assert row["converged"]
        assert sum(map(sum, row["confusion"])) == told["test_images"] == 359
        right = sum(row["confusion"][c][c] for c in range(10)) / 359
        assert row["accuracy"] == pytest.approx(right, abs=0.01)  # ties count in part
        assert row["per_class"][3] == pytest.approx(row["confusion"][3][3] / sum(row["confusion"][3]))
        assert 0.1 < row["knn"] <= 1
    assert accuracies(told, "backprop_target")[("all", True)] > 0.8


def test_the_untrained_twin_is_the_net_that_the_run_began_with(baselines):
    run = ffcore.train(**{**TINY, "epochs": 0})
    told = ask(run)
    twin = accuracies(told, "untrained")
    assert len(twin) == 3
    assert twin.items() <= accuracies(told, "run").items()


def test_a_trained_layer_is_no_twin(asked):
    _, told = asked
    own, twin = accuracies(told, "run"), accuracies(told, "untrained")
    assert any(own[key] != twin[key] for key in twin)


def test_baselines_are_trained_once_for_all_runs(asked, baselines, monkeypatch):
    root, first = asked
    assert len(ffcore.list_runs(root, bundled=False)) == 1  # baselines are nobody's own runs
    assert len(ffcore.list_runs(root / "baselines", bundled=False)) == 1  # source and target are the same here
    other = ffcore.train(**{**TINY, "seed": 7})
    monkeypatch.setattr(ffcore.jobs, "train", lambda *_, **__: pytest.fail("trained again"))
    second = ask(other)
    for net in ("pixels", "backprop_source", "backprop_target"):
        kept = [[row for row in told["rows"] if row["net"] == net] for told in (first, second)]
        assert kept[0] == kept[1]
    assert accuracies(first, "untrained") != accuracies(second, "untrained")  # another seed, another twin


def test_the_reference_protocol_is_that_of_the_study(store, baselines):
    """Its row is what `probes.unconverged` says of the activities as they are."""
    told = ask(store["ff"].id, protocol="reference")
    run = ffcore.load(store["ff"].id)
    images = run.data()
    x, y = (torch.cat(pair) for pair in zip(images.train, images.validation, strict=True))
    precision = run.config["train"]["precision"]
    parts = [(probes.activities(run.model, part, precision)[1], labels) for part, labels in ((x, y), images.test)]
    row = next(row for row in told["rows"] if row["features"] == "layer 2")
    assert row["accuracy"] == probes.unconverged(*parts, classes=10).accuracy
    assert not row["converged"]
    assert row["knn"] is None


def test_a_few_shots_are_drawn_several_times(store, baselines):
    told = ask(store["ff"].id, shots=10, layers="few")
    for row in told["rows"]:
        assert row["images"] == 100
        assert row["sd"] > 0
        assert sum(map(sum, row["confusion"])) == 5 * 359
    assert {row["layer"] for row in told["rows"] if row["net"] == "run"} == {2, "all"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"target": "mnist-5k"},
            r"mnist-5k has images of shape \(1, 28, 28\), the net of run .* takes \(1, 8, 8\); take digits",
        ),
        ({"target": "cats"}, "probe.target=cats: no such dataset; known: "),
        ({"target": "digits", "protocol": "fast"}, 'probe.protocol="fast": .*converged, reference'),
        ({"target": "digits", "shots": 0}, "probe.shots=0: .*≥ 1"),
        ({"target": "digits", "epoch": 9}, r"kept no weights of epoch 9; it has those of \[0, 1, 2\]"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_computed(store, settings, said):
    with pytest.raises(Refused, match=said):
        ffcore.probe(store["ff"].id, **settings)
    assert not list(store["ff"].dir.glob("analyses/probe-*"))


def test_without_a_target_it_is_one_that_is_here(store):
    finding = ffcore.find_analysis("probe", store["ff"])
    assert finding.request["settings"]["target"] == "digits"  # nothing else has 8 × 8 images
    wide = ffcore.train(data="mnist-5k", epochs=0, device="cpu", set={"model.widths": [8]})
    finding = ffcore.find_analysis("probe", wide)
    assert finding.request["settings"]["target"] == ("fashion-mnist" if ffcore.data.present("fashion-mnist") else "glyphs")


def test_the_command_prints_one_object(store, baselines, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ffcore", "probe", store["ff"].id, "--target", "digits", "--json"])
    cli.main()
    told = json.loads(capsys.readouterr().out)
    assert {"target", "protocol", "rows"} <= told.keys()
    assert all({"features", "accuracy", "seconds"} <= row.keys() for row in told["rows"])
    monkeypatch.setattr("sys.argv", ["ffcore", "probe", store["ff"].id, "--target", "digits"])
    cli.main()
    assert "untrained, all layers" in capsys.readouterr().out


def test_layers_thaw_one_phase_after_another():
    assert phases("frozen, linear head", 2, 3) == [set(), set(), set()]
    assert phases("fine-tuned", 2, 2) == [{0, 1}, {0, 1}]
    assert phases("unfrozen from the top", 2, 6) == [set(), set(), {1}, {1}, {0, 1}, {0, 1}]
    assert phases("unfrozen from the bottom", 2, 6) == [set(), set(), {0}, {0}, {0, 1}, {0, 1}]
    assert phases("unfrozen from the top", 3, 2)[-1] >= {2}


def test_fine_tuning_moves_what_it_may_and_no_more(store, monkeypatch):
    from ffcore.models.ff import ForwardForward

    seen = []
    old = ForwardForward.features

    def spy(self, sample):
        seen.append((self, [w.detach().clone() for w in self.weights]))
        return old(self, sample)

    monkeypatch.setattr(ForwardForward, "features", spy)
    told = ffcore.finetune(store["ff"].id, target="digits", epochs=2)
    assert [row["mode"] for row in told["rows"]] == list(MODES)
    moved = {}
    for net, weights in seen:
        first = moved.setdefault(id(net), (net, weights))[1]
        assert all(torch.equal(a, b) for a, b in zip(first, weights, strict=True)) or id(net) != id(seen[0][0])
    ends = [[not torch.equal(a, b) for a, b in zip(first, net.weights, strict=True)] for net, first in moved.values()]
    assert ends == [[False, False], [True, True], [False, True], [True, False], [True, True]]
    for row in told["rows"]:
        assert len(row["curve"]) == 2
        assert row["accuracy"] > 0.5
    assert ffcore.load(store["ff"].id).model.weights[0].equal(moved[id(seen[0][0])][1][0])  # the run itself stays as it is


def test_a_study_of_transfer_measures_every_net_against_its_twin(own_runs, capsys, monkeypatch):
    asked = {"data": "digits", "target": "digits", "epochs": 1, "device": "cpu", "nets": ["ff, gap", "ff, threshold"]}
    asked |= {"set": {"model.widths": [24, 24]}}
    told = ffcore.study_transfer(seeds=2, **asked)
    assert [row["row"] for row in told["rows"]] == ["raw pixels", "ff, gap", "ff, threshold"]
    for row in told["rows"][1:]:
        cells = row["cells"]
        for side in ("last", "all"):
            own, twin = (cells[f"{name}{side}"]["scores"] for name in ("", "untrained "))
            assert cells[f"gain {side}"]["scores"] == pytest.approx([a - b for a, b in zip(own, twin, strict=True)])
            assert cells[side]["n"] == 2
        probe = ffcore.probe(row["runs"][1], target="digits", layers="few", train=20_000)
        assert cells["all"]["scores"][1] == accuracies(probe, "run")[("all", True)]
        assert cells["last"]["scores"][1] == accuracies(probe, "run")[(2, False)]
    assert told["rows"][1]["cells"] != told["rows"][2]["cells"]
    monkeypatch.setattr(ffcore.jobs, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(ANALYSES["probe"], "measure", lambda *_, **__: pytest.fail("probed again"))
    assert ffcore.study_transfer(seeds=2, **asked)["rows"] == told["rows"]
    words = ["study", "transfer", "--data", "digits", "--target", "digits", "--epochs", "1", "--device", "cpu", "--seeds", "2"]
    words += ["--set", "model.widths=[24,24]", "--nets", "ff, gap; ff, threshold"]
    monkeypatch.setattr("sys.argv", ["ffcore", *words])
    cli.main()
    out = capsys.readouterr().out
    assert f"{100 * told['rows'][1]['cells']['all']['mean']:.2f} ±" in out
    assert runs.runs_root() / "studies" in [file.parent for file in runs.runs_root().glob("studies/transfer-*.json")]


def test_the_interval_is_that_of_student():
    """Half of a 95% interval of the mean of three: 4.303 · sd / √3 (from a table)."""
    from ffcore.studies import spread

    told = spread([0.80, 0.82, 0.84])
    assert told["mean"] == pytest.approx(0.82)
    assert told["interval"] == pytest.approx(4.303 * 0.02 / 3**0.5, rel=1e-3)
    assert spread([0.5])["interval"] is None


def test_a_study_of_transfer_refuses_what_it_chooses_itself():
    with pytest.raises(Refused, match="chooses model itself"):
        ffcore.study_transfer(model="ff")
    with pytest.raises(Refused, match=r"chooses model\.objective itself"):
        ffcore.study_transfer(set={"model.objective": "gap"})
    with pytest.raises(Refused, match="no net 'fff' in the study of transfer; known: ff, gap"):
        ffcore.study_transfer(nets=["fff"], data="digits")
