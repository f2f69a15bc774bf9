"""The page Generations, without a browser: of runs that generate, of others, of none, and with nonsense in the address."""

import shlex

import numpy as np
import pytest

import ffcore
from ffcore import runs

pytest.importorskip("streamlit")
import streamlit as st
from charts import generations as figures
from conftest import TINY
from test_app_pages import click, html, labels, page, words

pytestmark = pytest.mark.usefixtures("no_bundle")
PFF = {**TINY, "model": "pff", "set": {"model.widths": [48, 48]}}


@pytest.fixture(scope="module")
def pff_dir(tmp_path_factory):
    return ffcore.train(root=str(tmp_path_factory.mktemp("pff")), **PFF).dir


@pytest.fixture
def pff(store, pff_dir):
    """The runs folder with a run of pff in it, and every analysis computed as soon as it is asked for."""
    import shutil

    return ffcore.Run(shutil.copytree(pff_dir, runs.runs_root() / pff_dir.name))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """What is submitted is computed here and now; a list of what was."""
    asked = []

    def submit(finding):
        asked.append(finding)
        ffcore.analyse(finding.kind, *(ffcore.Run(d) for d in finding.request["runs"]), **finding.request["settings"])

    monkeypatch.setattr(ffcore, "submit_analysis", submit)
    return asked


@pytest.fixture
def drawn(monkeypatch):
    """What charts are given."""
    import components

    seen = {}
    monkeypatch.setattr(components, "live_chart", lambda figure, *, key, **_: seen.update({key: figure}))
    return seen


def said(at) -> str:
    return "\n".join(element.value for element in [*at.error, *at.warning, *at.info])


def answer_of(run, *judge, **settings):
    return ffcore.find_analysis("generate", run, *judge, **settings)


# Samples


def test_a_run_of_pff_shows_its_samples_at_once_read_by_another_net(pff, drawn, at_once):
    at = page("generations")
    assert not at.error
    assert at.query_params["run"] == pff.id
    assert [f.request["settings"]["what"] for f in at_once] == ["samples"]
    judge = ffcore.Run(at_once[0].request["runs"][1])
    told, a = at_once[0].result(), at_once[0].arrays()
    assert f"**{told['judged']:.1%}** of 1,000 samples are read as intended by an independent net" in words(at)
    assert judge.status()["result"]["test_accuracy"] == max(
        r.status()["result"]["test_accuracy"]
        for r in runs.list_runs()
        if r != pff and (r.status()["result"] or {}).get("test_accuracy")
    )
    assert html(at).count("<figure") == 60
    shown = np.concatenate([np.flatnonzero(a["y"] == c)[:6] for c in range(10)])
    assert html(at).count("class=odd") == (a["read"] != a["y"])[shown].sum()
    assert f"The median sample lies **{told['copies']['sample']:.2f}** from its nearest" in words(at)
    assert [t["name"] for t in drawn["distances"]["data"]] == list(figures.KINDS)


def test_it_is_asked_once_and_then_found(pff, drawn, at_once):
    page("generations")
    page("generations")
    assert len(at_once) == 1


def test_a_class_a_number_of_components_and_a_seed_live_in_the_address_and_in_the_command(pff, drawn, at_once):
    at = page("generations", label="3", seed="7", components="2")
    settings = at_once[0].request["settings"]
    assert (settings["label"], settings["seed"], settings["components"]) == (3, 7, 2)
    line = shlex.split(next(c.value for c in at.code if c.value.startswith("ffcore generate")))
    assert line[2] == pff.id
    told = dict(zip(line[3::2], line[4::2], strict=True))
    assert told["--label"] == "3"
    assert told["--seed"] == "7"
    assert told["--components"] == "2"
    at.selectbox(key="label").set_value("4").run()
    assert at.query_params["label"] == "4"
    assert at_once[-1].request["settings"]["label"] == 4


def test_what_is_not_in_the_data_folder_is_asked_for_by_a_button(pff, drawn, at_once, monkeypatch):
    monkeypatch.setattr(ffcore.data, "present", lambda *_: False)
    at = page("generations")
    assert not at_once
    assert "Make them" in labels(at)
    at = click(at, "Make them")
    assert len(at_once) == 1
    assert "read as intended" in words(at)


def test_garbage_in_the_address_is_told_and_replaced(pff, drawn):
    at = page("generations", show="<b>", label="99", seed="-1", judge="../..", components="0", run="nope")
    assert not at.error
    assert len(at.warning) == 6
    assert "read as intended" in words(at)


# The other views


def test_reconstructions_have_a_scrubber_over_the_inference_steps(pff, drawn):
    at = page("generations", show="steps")
    last = pff.config["model"]["steps"]
    told = answer_of(pff, what="steps", n=100).result()
    assert f"is **{told['error'][-1]:.4f}** per pixel" in words(at)
    final = html(at)
    at.select_slider(key="scrub.step").set_value("0").run()
    assert at.query_params["step"] == "0"
    assert f"is **{told['error'][0]:.4f}** per pixel" in words(at)
    assert html(at) != final
    assert len(drawn["errors"]["data"][0]["x"]) == last + 1
    at = page("generations", show="steps", step="77")
    assert "asks for step" in said(at)


def test_an_interpolation_is_called_one(pff, drawn):
    at = page("generations", show="interpolation", first="3", second="5")
    assert "An interpolation, not class-conditional generation" in words(at)
    a = answer_of(pff, what="interpolation", first=3, second=5).arrays()
    assert html(at).count("<img") == len(a["images"]) + 2
    assert "--set first=3" in next(c.value for c in at.code if c.value.startswith("ffcore generate"))
    at = page("generations", show="interpolation", first="0")
    assert "asks for first" in said(at)


def test_epochs_have_a_scrubber_over_the_kept_ones(pff, drawn):
    at = page("generations", show="epochs")
    assert at.select_slider(key="scrub.epoch").options == [str(e) for e in pff.kept()]
    final = html(at)
    at.select_slider(key="scrub.epoch").set_value("0").run()
    assert at.query_params["epoch"] == "0"
    assert html(at) != final
    assert "After epoch 0" in words(at)


def test_another_net_shows_what_its_layers_like(store, drawn, at_once):
    run = store["ff"]
    at = page("generations", run=run.id)
    assert at_once[0].request["settings"]["what"] == "ascent"
    told = at_once[0].result()
    assert html(at).count("<figure") == 10 * len(told["blocks"]) == 30
    table = at.dataframe[0].value
    assert list(table["class"]) == [str(c) for c in range(10)]
    row = next(r for r in told["rows"] if r["block"] == "all layers" and r["label"] == 4)
    assert table["result"][4] == pytest.approx(row["after"], rel=1e-3)
    at.segmented_control(key="layer").set_value("0").run()
    assert at.query_params["layer"] == "0"


def test_a_net_without_goodness_climbs_in_its_score(store, drawn, at_once):
    at = page("generations", run=store["backprop"].id)
    assert at_once[0].request["settings"]["of"] == "score"
    assert html(at).count("<figure") == 10
    at = page("generations", run=store["backprop"].id, show="samples")
    assert "draws no images" in said(at)


# None, damaged, failing


def test_without_a_run_of_pff_there_is_one_button_to_train_one(own_runs):
    at = page("generations")
    assert "No net that generates images" in words(at)
    assert not at.selectbox
    at = click(at, "Train one: Predictive Forward-Forward")
    assert at.title[0].value == "Train a net"
    assert "--model pff" in at.code[0].value


def test_a_damaged_net_costs_a_line(pff, drawn, monkeypatch):
    (pff.dir / "weights.safetensors").write_bytes(b"nonsense")
    monkeypatch.setattr(st, "rerun", lambda: None)
    at = page("generations", run=pff.id)
    assert "damaged" in said(at)


def test_what_the_library_refuses_is_one_line(pff, drawn, monkeypatch):
    def full(_):
        raise ffcore.Failed("disk full; free some space")

    monkeypatch.setattr(ffcore, "submit_analysis", full)
    assert [e.value for e in page("generations").error] == ["disk full; free some space"]


# Figures


def test_rows_escape_names_and_leave_empty_places():
    told = figures.rows(
        {"<i>": [figures.Tile([np.zeros((4, 4), np.uint8)], "<b>", "' onload='x"), figures.Tile()]}, heads=["<u>"]
    )
    assert told.count("<figure") == 2
    assert told.count("<img") == 1
    for markup in ("<i>", "<b>", "<u>", "' onload='x"):
        assert markup not in told.replace("<b class=name>", "").replace("<b>&lt;u&gt;</b>", "")


def test_distances_are_shares_over_the_same_bins():
    figure = figures.distances({"samples": np.array([1.0, 1, 2, 3]), "held-out images": np.array([4.0, 4])})
    x = [trace["x"]["bdata"] for trace in figure["data"]]
    assert x[0] == x[1]
