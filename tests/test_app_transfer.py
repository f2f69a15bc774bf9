"""The page Transfer, without a browser: the verdict is the data's, and the four baselines are always there."""

import csv
import io
import itertools
import json
import shutil
from pathlib import Path

import pytest

import ffcore
from ffcore import comparison

pytest.importorskip("streamlit")
from charts import transfer as charts
from test_app_pages import html, labels, page, words

pytestmark = pytest.mark.usefixtures("no_bundle")
CLASSES = [str(c) for c in range(10)]
NETS = ("run", "untrained", "backprop_source", "backprop_target")


def row(net: str, layer, accuracy: float, normalised=None, **more) -> dict:
    title = {"run": "", "untrained": "untrained, ", "backprop_source": "backprop on the source, "}.get(
        net, "backprop on the target, "
    )
    where = "all layers" if layer == "all" else f"layer {layer}{', normalised' if normalised else ''}"
    told = {"features": "raw pixels" if net == "pixels" else title + where, "net": net, "layer": layer}
    confusion = [[90 if i == j else 1 for j in range(10)] for i in range(10)]
    per_class = [round(accuracy - 0.01 * c, 3) for c in range(10)]
    told |= {"normalised": normalised, "accuracy": accuracy, "sd": None, "l2": 0.01, "width": 32, "converged": True}
    return {**told, "seconds": 1.0, "knn": None, "per_class": per_class, "confusion": confusion, **more}


def rows(own: float = 0.6, twin: float = 0.7) -> list[dict]:
    """This net by `own`, its twin by `twin`, a little less on single layers."""
    out = [row("pixels", None, 0.84)]
    for net, base in zip(NETS, (own, twin, 0.75, 0.88), strict=True):
        out += [row(net, layer, base - 0.1 / layer, side) for layer in (1, 2) for side in (False, True)]
        out.append(row(net, "all", base, True))
    return out


@pytest.fixture
def answers(store, monkeypatch):
    """What probes have been asked and have answered, by run, target, protocol and shots; others are still to be asked."""
    planted: dict[tuple, dict] = {}
    made = {}

    class Planted(ffcore.Finding):
        def status(self):
            told = self.result()
            state = "done" if told else "absent"
            return {"state": state, "done": 1.0, "doing": "", "reason": None, "seconds": None}

        def result(self):
            return made.get(str(self.dir))

    def find(kind, *of, root=None, **settings):
        asked = {"target": "digits", "protocol": "converged", "shots": None, "epochs": None, **settings}
        key = kind, of[0].id, asked["target"], asked["protocol"], asked["shots"]
        finding = Planted(of[0].dir / "analyses" / "-".join(map(str, key)), {"kind": kind, "settings": asked})
        made[str(finding.dir)] = planted.get(key)
        return finding

    def stored(run, kind, root=None):
        mine = [key for key in planted if key[:2] == (kind, run.id)]
        return [find(kind, run, target=t, protocol=p, shots=s) for _, _, t, p, s in mine]

    monkeypatch.setattr(ffcore, "find_analysis", find)
    monkeypatch.setattr(ffcore, "stored_analyses", stored)
    monkeypatch.setattr(comparison, "stored_analyses", stored)

    def plant(run, told, target="digits", protocol="converged", shots=None, kind="probe"):
        base = {"target": target, "target_title": "Target", "source_title": "Source", "protocol": protocol, "shots": shots}
        base |= {"images": 1000, "test_images": 10_000, "classes": CLASSES, "seed": run.config["seed"]}
        planted[kind, run.id, target, protocol, shots] = {**base, **told} if isinstance(told, dict) else {**base, "rows": told}

    return plant


@pytest.fixture
def drawn(monkeypatch):
    """What charts are given: {key: figure or figures}."""
    import components

    seen = {}
    monkeypatch.setattr(components, "live_charts", lambda charts, *, key, **_: seen.update({key: [f for f, _ in charts]}))
    monkeypatch.setattr(components, "live_chart", lambda figure, *, key, **_: seen.update({key: figure}))
    return seen


def told(at) -> str:
    return words(at) + "\n".join(e.value for e in [*at.error, *at.warning, *at.info, *at.success])


def shown(figure: dict, trace: str) -> dict[str, float]:
    [one] = [t for t in figure["data"] if trace in t["name"]]
    return dict(zip(one["y"], one["x"], strict=True))


def show(run, **query):
    return page("transfer", run=run.id, target="digits", **query)


def test_without_any_net_the_page_leads_to_train(own_runs):
    assert "Train one" in labels(page("transfer"))


def test_before_anybody_asked_the_page_says_what_would_be_measured_and_offers_both_protocols(store, answers, drawn):
    at = show(store["ff"])
    assert "Nobody has asked this net about these images yet" in told(at)
    assert [b for b in labels(at) if "protocol" in b] == [
        "Measure by the converged protocol",
        "Measure by the reference study's protocol",
    ]
    assert "bars" not in drawn


@pytest.mark.parametrize(("own", "verdict"), [(0.9, "**Yes.**"), (0.6, "**No.**"), (0.705, "**Not measurably.**")])
def test_the_verdict_is_against_the_untrained_twin_and_not_against_pixels(store, answers, drawn, own, verdict):
    answers(store["ff"], rows(own, 0.7))
    at = show(store["ff"])
    said = told(at)
    assert verdict in said
    assert f"{100 * (own - 0.7):+.1f}".replace("-", "−") + " points" in said
    assert f"**{100 * own:.1f}%**" in said
    assert "**70.0%**" in said
    assert "raw pixels 84.0%" in said


def test_all_four_baselines_stand_there_even_where_nobody_measured_them(store, answers, drawn):
    answers(store["ff"], [r for r in rows() if r["net"] == "run"])
    show(store["ff"])
    figure = drawn["bars"]
    names = figure["layout"]["yaxis"]["categoryarray"]
    missing = [note["y"] for note in figure["layout"]["annotations"] if note["text"] == "no data"]
    assert missing == ["raw pixels", "the same net untrained", "backprop on the source", "backprop on the target"]
    assert set(missing) <= set(names)


def test_both_protocols_stand_side_by_side_and_the_table_tells_what_the_protocol_made(store, answers, drawn):
    answers(store["ff"], rows(0.6, 0.7))
    answers(store["ff"], rows(0.3, 0.7), protocol="reference")
    at = show(store["ff"])
    figure = drawn["bars"]
    assert shown(figure, "converged")["this net, all layers"] == 60
    assert shown(figure, "reference")["this net, all layers"] == 30
    assert "by the converged one **−10.0**" in told(at)
    assert "is **−40.0** points" in told(at)
    assert "accounts for 30.0 points" in told(at)
    assert "trained less untrained" in html(at)
    assert "claims</i>" in html(at)


def test_claims_are_only_shown_where_they_were_made(store, answers, drawn, monkeypatch):
    for run, target, claimed in ((store["ff"], "fashion-mnist", True), (store["ff"], "glyphs", False)):
        run.write_config(data={**run.config["data"], "name": "mnist"}, facts={**run.config["facts"], "shape": [1, 28, 28]})
        answers(run, rows(), target=target)
        at = page("transfer", run=run.id, target=target)
        assert ("54.19" in told(at)) == claimed
        marks = [t for t in drawn["bars"]["data"] if t["name"] == charts.CLAIM]
        assert bool(marks) == claimed
        if claimed:
            assert dict(zip(marks[0]["y"], marks[0]["x"], strict=True)) == {
                "this net, layer 2": pytest.approx(54.19),
                "untrained, layer 2": pytest.approx(71.89),
                "backprop on the source, layer 2": pytest.approx(75.49),
            }


def test_runs_that_differ_in_their_seed_only_are_averaged_and_counted(store, answers, drawn):
    import shutil

    other = ffcore.Run(shutil.copytree(store["ff"].dir, store["ff"].dir.parent / "20310101-000001-ff-0001"))
    other.write_config(id=other.dir.name, seed=7)
    third = ffcore.Run(shutil.copytree(store["ff"].dir, store["ff"].dir.parent / "20310101-000002-ff-0002"))
    third.write_config(id=third.dir.name, seed=8, train={**third.config["train"], "lr": 0.5})
    answers(store["ff"], rows(0.6, 0.7))
    answers(other, rows(0.8, 0.7))
    answers(third, rows(0.1, 0.7))
    at = show(store["ff"])
    assert "n = 2 random seeds (0, 7)" in told(at)
    assert shown(drawn["bars"], "converged")["this net, all layers"] == 70
    assert "Measure the other" not in " ".join(e.label for e in at.expander)


def test_the_heat_map_has_a_column_for_every_stored_target_and_colours_by_the_twin(store, answers, drawn):
    answers(store["ff"], rows(0.6, 0.7))
    answers(store["ff"], rows(0.9, 0.7), target="glyphs")
    answers(store["ff"], rows(0.5, 0.7), target="mnist", protocol="reference")
    show(store["ff"])
    [trace] = drawn["heat"]["data"]
    assert len(trace["x"]) == 2
    assert trace["y"] == ["layer 1", "layer 2", "all layers"]
    by_target = dict(zip(trace["x"], zip(*trace["z"], strict=True), strict=True))
    assert sorted(column[-1] for column in by_target.values()) == [-10, 20]
    assert trace["zmin"] == -trace["zmax"]


def test_few_shots_are_curves_of_the_net_and_its_baselines(store, answers, drawn):
    answers(store["ff"], rows(0.6, 0.7))
    answers(store["ff"], [{**r, "sd": 0.02, "accuracy": r["accuracy"] - 0.3} for r in rows(0.6, 0.7)], shots=10)
    at = show(store["ff"])
    mine = next(t for t in drawn["few"]["data"] if t["name"].startswith("this net"))
    assert mine["x"] == [10, 100]  # of 1,000 images, 100 a class are all
    assert mine["y"] == [30, 60]
    assert mine["error_y"]["array"] == [2, 0]
    assert len(drawn["few"]["data"]) == 5
    assert "Measure with 100 per class" in labels(at)
    assert "Measure with 10 per class" not in labels(at)


def test_the_row_in_the_address_decides_whose_classes_are_shown(store, answers, drawn):
    answers(store["ff"], rows(0.6, 0.7))
    show(store["ff"], row="backprop_target.all.normalised")
    recalls, confused = drawn["classes"]
    named = [t["name"] for t in recalls["data"] if "name" in t]
    assert named == ["backprop on the target, all layers", "untrained, all layers"]
    assert recalls["data"][-2]["x"][0] == 88
    assert confused["data"][0]["z"][0][1] == 1
    at = show(store["ff"], row="nonsense")
    assert "asks for row" in told(at)


def test_fine_tuning_shows_every_way_with_its_curve(store, answers, drawn):
    answers(store["ff"], rows())
    answers(store["ff"], {"rows": [{"mode": "fine-tuned", "accuracy": 0.9, "curve": [0.5, 0.8], "seconds": 3},
                                   {"mode": "from scratch", "accuracy": 0.8, "curve": [0.1, 0.7], "seconds": 3}]},
            kind="finetune")  # fmt: skip
    at = show(store["ff"])
    assert [t["y"] for t in drawn["tuning"]["data"]] == [[50, 80], [10, 70]]
    assert at.dataframe[0].value["mode"].tolist() == ["fine-tuned", "from scratch"]


@pytest.mark.parametrize("query", [{"target": "mars"}, {"run": "../../etc"}, {"rows": "x"}, {"row": "<b>"}])
def test_garbage_in_the_address_gets_a_friendly_word(store, answers, drawn, query):
    answers(store["ff"], rows())
    at = page("transfer", **{"run": store["ff"].id, "target": "digits", **query})
    assert "The address asks for" in told(at)


@pytest.mark.parametrize(
    "bad",
    [
        {"rows": 7},
        {"rows": [{"features": "x", "net": "run", "accuracy": "high"}]},
        {"rows": [row("run", "all", 0.5, per_class="x", confusion=[[1]])], "classes": None, "test_images": "many"},
        {"rows": [row("run", None, 0.5)], "images": None},
    ],
)
def test_a_damaged_result_costs_a_line_and_no_traceback(store, answers, drawn, bad):
    answers(store["ff"], bad)
    at = show(store["ff"])
    assert [*at.error, *at.warning]  # the line


def test_a_run_of_another_shape_gets_targets_of_its_own(store, answers, drawn):
    at = page("transfer", run=store["ff"].id)
    [box] = [s for s in at.selectbox if s.label == "Target images"]
    assert [o for o in box.options if "8 × 8" in o] == box.options


def test_the_csv_has_every_row_of_every_protocol_and_seed(store, answers, drawn, monkeypatch):
    import streamlit as st

    saved = []
    monkeypatch.setattr(st, "download_button", lambda label, data, *_, **__: saved.append(data))
    answers(store["ff"], rows())
    answers(store["ff"], rows(), protocol="reference")
    at = show(store["ff"])
    sheet = list(csv.DictReader(io.StringIO(saved[-1])))
    assert len(sheet) == 2 * len(rows())
    assert {line["protocol"] for line in sheet} == {"converged", "reference"}
    assert f"ffcore probe {store['ff'].id} --target digits --protocol reference" in "\n".join(c.value for c in at.code)


def test_a_stored_study_is_a_table_and_a_damaged_one_is_passed_over(store, answers, drawn):
    folder = store["ff"].dir.parent / "studies"
    folder.mkdir()
    cells = {"last": {"mean": 0.5, "interval": 0.01, "n": 3}, "gain last": {"mean": 0.021, "interval": None, "n": 1}}
    rows = [{"row": "ff", "cells": cells, "reference": {"gain last": {"mean": -0.1, "interval": 0.05, "n": 3}}}]
    (folder / "transfer-0.json").write_text(json.dumps({"protocol": {"seeds": 3, "target": "*x*"}, "rows": rows}))
    (folder / "transfer-1.json").write_text(json.dumps({"protocol": {}, "rows": [7]}))
    (folder / "transfer-2.json").write_text(json.dumps({"protocol": {}, "rows": [{"row": "ff", "cells": cells}]}))
    at = show(store["ff"])
    [table] = [frame.value for frame in at.dataframe]
    assert table.iloc[0].tolist() == ["ff", "50.0 ± 1.0", "+2.1", "–", "–", "-10.0 ± 5.0"]
    assert any(r"\*x\*" in caption.value for caption in at.caption)
    (folder / "transfer-0.json").unlink()
    assert "No study is stored here" in "".join(caption.value for caption in show(store["ff"]).caption)


def test_the_study_that_comes_with_the_package_is_shown(store, answers, drawn, tmp_path):
    shutil.copytree(Path(ffcore.__file__).parents[1] / "checkpoints" / "studies", tmp_path / "bundled" / "studies")
    tables = [frame.value for frame in show(store["ff"]).dataframe]
    nets = [name for table in tables if "net" in table for name in table["net"]]
    assert {"raw pixels", "ff, gap", "ff, threshold", "backprop", "cwc"} <= set(nets)


# The figures themselves


def test_a_bar_without_data_says_so_and_has_no_length():
    figure = charts.bars([charts.Bar("a", "run", (0.5, 0.1)), charts.Bar("b", "pixels")])
    drawn = list(itertools.chain.from_iterable(t["y"] for t in figure["data"]))
    assert drawn == ["a"]
    assert [n["y"] for n in figure["layout"]["annotations"] if n["text"] == "no data"] == ["b"]
    json.dumps(figure, allow_nan=False)


def test_names_are_no_markup():
    evil = "<img src=x onerror=alert(1)>"
    bar = charts.Bar(evil, "run", (0.5, None), (0.5, None), 0.5)
    for figure in (charts.bars([bar]), charts.recalls([evil], {evil: ("run", [0.5])}),
                   charts.tuning({evil: [0.5]}, {evil: 0.5}), charts.few({evil: ("run", {10: (0.5, None)})}, 10),
                   charts.heat(["layer 1"], [evil], [[0.5]], [[0.1]])):  # fmt: skip
        assert evil not in json.dumps(figure)
    assert evil not in charts.table([bar])


def kept(run, told: dict, **asked) -> None:
    """A probe's answer on disk, as an earlier question left it."""
    finding = ffcore.find_analysis("probe", run, **asked)
    finding.dir.mkdir(parents=True)
    (finding.dir / "request.json").write_text(json.dumps(finding.request))
    settings = finding.request["settings"]
    base = {"target": settings["target"], "protocol": settings["protocol"], "shots": settings["shots"], "classes": CLASSES}
    base |= {"target_title": "Digits", "source_title": "Digits", "test_images": 360, "runs": [run.id], "settings": settings}
    (finding.dir / "result.json").write_text(json.dumps({**base, **told}))


def test_an_answer_is_found_however_many_images_it_learnt_from_and_says_how_many(store, drawn):
    run = store["ff"]
    kept(run, {"rows": rows(own=0.9), "images": 200}, target="digits", train=200)
    kept(run, {"rows": rows(own=0.5), "images": 100}, target="digits", train=100)
    kept(run, {"rows": rows(own=0.2), "images": 900}, target="digits", epoch=1)  # of another net
    at = show(run)
    assert "**Yes.**" in told(at)
    assert "learnt from 200 images" in told(at)
    assert shown(drawn["bars"], "converged")["this net, all layers"] == 90
    assert [b for b in labels(at) if b.startswith("Measure by")] == ["Measure by the reference study's protocol"]
    assert any("--protocol converged --train 200" in code.value for code in at.code)


def test_random_seeds_are_put_together_only_where_they_learnt_from_as_many_images(store, drawn):
    import shutil

    run = store["ff"]
    other = ffcore.Run(shutil.copytree(run.dir, run.dir.parent / "20310101-000001-ff-0001"))
    other.write_config(id=other.dir.name, seed=run.config["seed"] + 1)
    for net, own, train in ((run, 0.9, 200), (other, 0.1, 100)):
        kept(net, {"rows": rows(own=own), "images": train}, target="digits", train=train)
    at = show(run)
    assert shown(drawn["bars"], "converged")["this net, all layers"] == 90
    assert "n = 1 random seed " in told(at)
