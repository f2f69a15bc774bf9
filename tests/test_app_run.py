"""The page Run, without a browser: what a run reached, its errors, its settings; run again, tag, delete."""

import re

import numpy as np
import pytest
from conftest import TINY

import ffcore

pytest.importorskip("streamlit")
from charts import run as charts
from test_app_pages import click, html, labels, metrics, page, words

pytestmark = pytest.mark.usefixtures("no_bundle")


def told(at) -> str:
    return words(at) + "\n".join(e.value for e in [*at.error, *at.warning, *at.info])


def test_without_a_run_the_page_leads_to_train(own_runs):
    assert click(page("run"), "Start one").title[0].value == "Train a net"


def test_figures_are_those_of_the_result(store):
    at, result = page("run", run=store["ff"].id), store["ff"].status()["result"]
    for name, row in result["readouts"].items():
        assert metrics(at)[f"Test accuracy, {name}"] == f"{100 * row['test']:.2f}%"
    assert metrics(at)["Layer 2 alone"] == f"{100 * result['layers'][1]['validation_accuracy']:.2f}%"
    assert "has been measured **1×**" in words(at)
    store["ff"].write_status(test_touches=4)
    assert "has been measured **4×**" in words(page("run", run=store["ff"].id))


def test_the_worst_errors_show_what_was_read_and_by_how_much(store):
    at, evaluation = page("run", run=store["ff"].id), store["ff"].evaluation()
    shown = re.findall(r"<figcaption>(.+?) → <b>(.+?)</b><small>by (.+?)</small>", html(at))
    label, said, scores = (evaluation[f"worst_{name}"] for name in ("label", "prediction", "goodness"))
    assert [(int(a), int(b)) for a, b, _ in shown] == list(zip(label, said, strict=True))
    lead = [scores[i, said[i]] - scores[i, label[i]] for i in range(len(label))]
    assert [float(by) for *_, by in shown] == pytest.approx(lead, rel=0.06)


def test_a_cell_shows_all_errors_of_its_kind(store):
    row, column, n = charts.largest(store["ff"].evaluation()["confusion"])[0]
    at = page("run", run=store["ff"].id, cell=f"{row}-{column}")
    shown = re.findall(r"<figcaption>(.+?) → <b>(.+?)</b>", html(at))
    assert shown == [(str(row), str(column))] * n
    assert f"{n} of {n} errors of this kind" in words(at)


def test_a_cell_of_a_run_whose_data_are_gone_shows_the_stored_errors(store):
    evaluation = store["ff"].evaluation()
    row, column = int(evaluation["worst_label"][0]), int(evaluation["worst_prediction"][0])
    store["ff"].write_config(data={**store["ff"].config["data"], "name": "svhn"}, data_root=str(store["ff"].dir))
    at = page("run", run=store["ff"].id, cell=f"{row}-{column}")
    alike = (evaluation["worst_label"] == row) & (evaluation["worst_prediction"] == column)
    assert len(re.findall(r"<figcaption>", html(at))) == alike.sum()
    assert "not in this machine's data folder" in words(at)


def test_an_older_run_takes_its_worst_errors_from_the_data_only_if_they_are_its_own(store):
    arrays = {key: value for key, value in store["ff"].evaluation().items() if key != "worst_images"}
    store["ff"].write_arrays("evaluation.npz", arrays)
    assert html(page("run", run=store["ff"].id)).count("read as") == len(arrays["worst_index"]) * 2  # alt and title
    store["ff"].write_config(facts={**store["ff"].config["facts"], "data_hash": "0" * 32})
    at = page("run", run=store["ff"].id)
    assert "is not what this run was tested on" in words(at)
    assert "read as" not in html(at)


@pytest.mark.parametrize("cell", ["99-1", "x", "1-1", "<b>"])
def test_a_cell_that_is_none_gets_a_friendly_word(store, cell):
    at = page("run", run=store["ff"].id, cell=cell)
    assert "The address asks for cell" in at.warning[0].value


def test_another_run_is_not_asked_for_the_cell_of_the_one_before(store):
    arrays = store["backprop"].evaluation()
    store["backprop"].write_arrays("evaluation.npz", arrays | {"confusion": np.diag(arrays["confusion"].sum(1))})
    row, column = np.argwhere(np.triu(store["ff"].evaluation()["confusion"], 1))[0]
    at = page("run", run=store["ff"].id)
    cell = f"{row}-{column}"
    at.selectbox(key="cell").set_value(cell).run()
    assert at.query_params["cell"] == cell
    at.selectbox(key="picked_run").set_value(store["backprop"].id).run()
    assert not at.warning
    assert "cell" not in at.query_params


def test_images_that_have_come_since_are_shown(store, monkeypatch):
    arrays = {key: value for key, value in store["ff"].evaluation().items() if key != "worst_images"}
    store["ff"].write_arrays("evaluation.npz", arrays)
    with monkeypatch.context() as away:
        away.setattr(ffcore.data, "present", lambda *_: False)
        assert "not in this machine's data folder" in words(page("run", run=store["ff"].id))
    assert "not in this machine's data folder" not in words(page("run", run=store["ff"].id))


def test_settings_that_differ_from_the_defaults_are_listed_and_no_others(store):
    rows = page("run", run=store["ff"].id).dataframe[0].value
    wanted = {"model.widths": "[32, 32]", "train.epochs": "2", "train.precision": "float32"}
    assert dict(zip(rows["setting"], rows["here"], strict=True)) == wanted
    assert all(rows["default"] != rows["here"])


def test_run_again_queues_the_same_under_another_seed(store, monkeypatch):
    asked = []
    monkeypatch.setattr(ffcore, "submit", lambda **more: asked.append(more) or store["queued"])
    at = click(page("run", run=store["ff"].id), "Queue it now")
    assert ffcore.configure(**asked[0])["recipe"] == ffcore.configure(**{**TINY, "seed": 1})["recipe"]
    assert at.title[0].value == "Live"


def test_run_again_leads_to_train_with_every_setting(store):
    at = click(page("run", run=store["ff"].id), "Change settings on Train")
    assert at.title[0].value == "Train a net"
    assert at.code[0].value == store["ff"].command().replace("--seed 0", "--seed 1")


def test_tags_and_a_note_are_kept_and_shown(store):
    at = page("run", run=store["ff"].id)
    at.multiselect[0].set_value([]).run()
    at.text_area[0].set_value("see <b> the *drop*").run()
    at = click(at, "Keep")
    assert store["ff"].notes() == {"tags": [], "note": "see <b> the *drop*"}
    ffcore.annotate(store["ff"], ["good"])
    at = page("run", run=store["ff"].id)
    assert "good]" in words(at)
    assert r"see \<b\> the \*drop\*" in words(at)


def test_a_deleted_run_leads_to_runs_with_a_way_back(store):
    at = click(page("run", run=store["stopped"].id), "Delete")
    assert at.title[0].value == "Runs"
    assert not store["stopped"].dir.exists()
    click(at, "Undo")
    assert store["stopped"].dir.exists()


def test_a_run_at_work_is_not_deleted(store):
    with store["lost"].lock():
        at = click(page("run", run=store["lost"].id), "Delete")
    assert "is alive" in at.error[0].value
    assert store["lost"].dir.exists()


@pytest.mark.parametrize("name", ["paused", "failed", "lost", "queued", "stopped", "backprop"])
def test_a_run_in_any_state_has_a_page(store, name):
    at = page("run", run=store[name].id)
    assert store[name].state in words(at)
    assert not [e for e in at.error if "cannot be shown" in e.value]
    assert f"ffcore runs show {store[name].id}" in [code.value for code in at.code]


@pytest.mark.parametrize("part", ["evaluation.npz", "snapshots/epoch-0002.npz"])
def test_damage_costs_a_line(store, part):
    (store["ff"].dir / part).write_bytes(b"")
    at = page("run", run=store["ff"].id)
    assert sum("is damaged" in warning.value for warning in at.warning) == 1
    assert "Test accuracy, goodness" in metrics(at)


def test_a_damaged_result_costs_a_line(store):
    store["ff"].write_status(result={"readout": 3})
    at = page("run", run=store["ff"].id)
    assert "The figures cannot be shown" in told(at)
    assert "Which classes it confuses" in words(at)


def test_a_bundled_run_is_neither_tagged_nor_deleted(store, tmp_path):
    store["ff"].dir.rename(tmp_path / "away")
    (tmp_path / "bundled").mkdir()
    (tmp_path / "away").rename(tmp_path / "bundled" / "ff-digits")
    at = page("run", run="ff-digits")
    assert "bundled" in words(at)
    assert "Delete" not in labels(at)
    assert "Queue it now" in labels(at)


def test_the_card_stands_on_the_page(store):
    assert "Known failings" in words(page("run", run=store["ff"].id))


def test_mistakes_are_listed_by_how_often_they_are_made():
    counts = np.array([[9, 2, 0], [5, 9, 2], [0, 0, 9]])
    assert charts.largest(counts) == [(1, 0, 5), (0, 1, 2), (1, 2, 2)]
    assert counts[0, 0] == 9  # as it was


def test_classes_are_no_markup():
    evil = "<img src=x onerror=alert(1)>"
    assert evil not in charts.gallery(np.zeros((1, 1, 2, 2)), [0], [0], [evil], [1.0])
