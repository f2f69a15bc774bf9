"""The page Embeddings: PCA at once, jobs for the rest, circled points as images; its figures and what a lasso sends."""

import csv
import io
import json

import numpy as np
import pytest

import ffcore
from ffcore import analyses

pytest.importorskip("streamlit")
import charts.embedding as plane
import charts.similarity
from browser import READY, wait
from components.chart import selected
from test_app_pages import html, page, words

pytestmark = pytest.mark.usefixtures("no_bundle")


@pytest.fixture
def drawn(monkeypatch):
    """What charts are given, {key: figure}; `circle` is what a reader has circled."""
    import components

    seen = {"circle": {}}

    def live_chart(figure, *, key, alt, select="", **_):
        seen[key] = figure
        return seen["circle"] if select else {}

    monkeypatch.setattr(components, "live_chart", live_chart)
    return seen


@pytest.fixture
def submitted(monkeypatch):
    """Findings that the page would have computed beside the server; none is."""
    got = []
    monkeypatch.setattr(ffcore, "submit_analysis", got.append)
    return got


def said(at) -> str:
    return "\n".join(element.value for element in [*at.error, *at.warning, *at.info])


def test_the_first_look_shows_every_class_and_the_errors_without_a_click(store, drawn):
    at = page("embeddings", run=store["ff"].id)
    (finding,) = ffcore.stored_analyses(store["ff"], "embed")
    told, arrays = finding.result(), finding.arrays()
    traces = drawn["embedding"]["data"]
    assert [trace["name"] for trace in traces] == told["classes"]
    assert "180 validation and" in words(at)
    assert f"Trustworthiness {told['trustworthiness'][0]:.3f}" in words(at)
    wrong = int(arrays["error"].sum())
    assert f"{wrong:,} of {told['rows']:,} are read wrongly" in words(at)
    assert html(at).count("<figure") == min(wrong, 96)
    assert "Nothing is chosen" in words(at)
    assert at.code[0].value.startswith(f"ffcore embed {store['ff'].id} --layer all --method pca")


def test_circled_points_become_images_a_histogram_and_a_file(store, drawn, monkeypatch):
    import streamlit as st

    files = {}
    monkeypatch.setattr(st, "download_button", lambda label, data, *_, **__: files.update({label: data()}))
    drawn["circle"] = {3: [0, 2, 10**6], 7: [1]}
    at = page("embeddings", run=store["ff"].id)
    arrays = ffcore.stored_analyses(store["ff"], "embed")[0].arrays()
    threes, sevens = (np.flatnonzero(arrays["label"] == c) for c in (3, 7))
    assert html(at).count("<figure") == 3
    assert drawn["embed.labels"]["data"][0]["y"] == [0, 0, 0, 2, 0, 0, 0, 1, 0, 0]
    rows = list(csv.DictReader(io.StringIO(files["Download these (CSV)"])))
    some = sorted([threes[0], threes[2], sevens[1]])
    assert [int(row["index"]) for row in rows] == some
    assert [float(row["x"]) for row in rows] == pytest.approx(arrays["xy"][0, some, 0].tolist())
    assert len(files["Download all (CSV)"].splitlines()) == len(arrays["label"]) + 1


def test_by_keyboard_a_class_or_all_errors(store, drawn):
    at = page("embeddings", run=store["ff"].id, show="class4")
    labels = ffcore.stored_analyses(store["ff"], "embed")[0].arrays()["label"]
    assert drawn["embed.labels"]["data"][0]["y"] == [int((labels == 4).sum()) if c == 4 else 0 for c in range(10)]
    at.selectbox(key="embed.show").set_value("errors").run()
    assert at.query_params["show"] == ["errors"] or at.query_params["show"] == "errors"
    assert "surest answers first" in words(at)


def test_colours_by_answer_goodness_and_error(store, drawn):
    for colour, names in (("prediction", None), ("goodness", ["images"]), ("error", ["right", "wrong"])):
        page("embeddings", run=store["ff"].id, colour=colour)
        traces = drawn["embedding"]["data"]
        assert names is None or [trace["name"] for trace in traces] == names
        assert sum(len(unpacked(trace["x"])) for trace in traces) > 500
    assert not any(
        "goodness" in w for w in page("embeddings", run=store["backprop"].id).segmented_control(key="embed.colour").options
    )


def test_tsne_is_asked_for_with_a_button(store, drawn, submitted):
    at = page("embeddings", run=store["ff"].id, method="tsne", features="2")
    assert "embedding" not in drawn
    assert "t-SNE of" in words(at)
    at.button(key="embed.ask").click().run()
    (finding,) = submitted
    assert finding.request["settings"]["method"] == "tsne"
    assert finding.request["settings"]["layer"] == "2"


def test_frames_through_training_turn_by_a_slider(store, drawn):
    ffcore.analyse("embed", store["ff"], frames="kept")
    at = page("embeddings", run=store["ff"].id, net="kept")
    last = drawn["embedding"]
    at.select_slider(key="embed.epoch").set_value("0").run()
    assert not at.exception
    assert drawn["embedding"]["data"] != last["data"]
    assert drawn["embedding"]["layout"]["xaxis"]["range"] == last["layout"]["xaxis"]["range"]
    assert "epoch 0" in words(at)
    at = page("embeddings", run=store["ff"].id, net="kept", epoch="77")
    assert "epoch `77`" in said(at)


def test_garbage_in_the_address_costs_a_line(store, drawn):
    at = page("embeddings", run="../../etc", method="magic", features="99", show="x", colour="puce", images="/etc/passwd")
    for word in ("magic", "99", "puce", "passwd", "etc"):
        assert word in said(at)


def test_damaged_results_cost_a_line(store, drawn):
    finding = ffcore.analyse("embed", store["ff"])
    (finding.dir / "arrays.npz").write_bytes(b"no zip")
    at = page("embeddings", run=store["ff"].id)
    assert "arrays.npz" in said(at)
    np.savez(finding.dir / "arrays.npz", xy=np.zeros((1, 3, 2)), label=np.array([0, 1, 99]))
    (finding.dir / "result.json").write_text((finding.dir / "result.json").read_text() + " ")
    at = page("embeddings", run=store["ff"].id)
    assert "damaged" in said(at)


def test_without_runs_or_images_there_is_one_thing_to_do(own_runs, drawn):
    assert "Train one" in [b.label for b in page("embeddings").button]


def test_a_run_whose_images_are_not_here_downloads_nothing(store, drawn):
    store["ff"].write_config(data={**store["ff"].config["data"], "name": "kmnist"}, data_root="/nowhere")
    at = page("embeddings", run=store["ff"].id)
    assert "not on this machine" in said(at)


# Figures


def unpacked(packed):
    import base64

    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])


def test_five_thousand_points_weigh_little_and_lie_where_they_should():
    rng = np.random.default_rng(0)
    xy, y, goodness = rng.normal(size=(5_000, 2)).astype(np.float32), rng.integers(0, 10, 5_000), rng.random(5_000)
    names, span = list("ABCDEFGHIJ"), np.stack([xy.min(0), xy.max(0)])
    for parts, more in ((plane.parts_by(y, names), {"names": names}), ([("images", np.arange(5_000))], {"goodness": goodness})):
        figure = plane.scatter(xy, parts, span, **more)
        assert len(json.dumps(figure)) < 150_000
        for (_, some), trace in zip(parts, figure["data"], strict=True):
            assert np.array_equal(unpacked(trace["x"]), xy[some, 0])
            assert np.array_equal(unpacked(trace["y"]), xy[some, 1])
    assert np.allclose(unpacked(figure["data"][0]["marker"]["color"]), goodness)


def test_ten_classes_have_ten_looks_and_a_class_keeps_its_own():
    y = np.array([0, 2, 9])
    figure = plane.scatter(np.zeros((3, 2)), plane.parts_by(y, list("0123456789")), np.zeros((2, 2)), list("0123456789"))
    assert [trace["name"] for trace in figure["data"]] == ["0", "2", "9"]
    assert figure["data"][1]["marker"]["color"] == plane.COLOURS[2]
    assert len(set(plane.COLOURS)) == 10


def test_a_selection_counts_by_parts():
    parts = plane.parts_by(np.array([1, 0, 1, 1, 0]), ["a", "b"])
    assert plane.chosen({0: [1], 1: [0, 2]}, parts).tolist() == [0, 3, 4]
    assert plane.chosen({}, parts).tolist() == []
    assert plane.chosen({5: [0], 0: [9]}, parts).tolist() == []


def test_what_a_browser_says_is_circled_is_checked():
    traces = [{}, {}]
    good = {"of": "a", "parts": {"0": [4, 1, 1], "1": []}}
    assert selected(good, traces, "a") == {0: [1, 4], 1: []}
    for told in (None, "x", {**good, "of": "b"}, {"of": "a"}, {"of": "a", "parts": [1]}):
        assert selected(told, traces, "a") == {}
    assert selected({"of": "a", "parts": {"7": [1], "x": [1], "0": [True, -1, 2.5, "3", 2], "1": 5}}, traces, "a") == {0: [2]}


def test_the_map_of_cka_shows_every_number_and_no_data():
    told = {
        "rows": ["ff layer 1", "ff layer 2"],
        "columns": ["b 1", "b 2", "b 3"],
        "cka": [[1.0, 0.5, None], [-0.02, 0.25, 0.1]],
    }
    told |= {"diagonal": [1.0, 0.25], "procrustes": told["cka"]}
    figure = charts.similarity.cka_map(told)
    (cells,) = figure["data"]
    assert (cells["zmin"], cells["zmax"], cells["x"], cells["y"]) == (0, 1, told["columns"], told["rows"])
    shown = {(note["y"], note["x"]): note["text"] for note in figure["layout"]["annotations"]}
    assert shown["ff layer 1", "b 3"] == "no data"
    assert shown["ff layer 2", "b 1"] == "-0.02"
    assert cells["z"][0][2] is None
    assert charts.similarity.cka_map(told, "procrustes")["data"][0]["zmax"] == 2**0.5
    bars = charts.similarity.diagonal({**told, "diagonal": [1.0, None]})["data"][0]
    assert bars["text"] == ["1.00", "no data"]


# In a browser


@pytest.mark.browser
def test_a_lasso_sends_indices_and_the_images_follow(chromium, server):
    """All points circled: less than 100 kB travel, and the sheet counts them all; the same chart, not a new one."""
    tab, sent = chromium.new_page(viewport={"width": 1280, "height": 1500}), []
    tab.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(len(frame))))
    tab.goto(f"{server.url}/embeddings")
    chart = tab.locator("[role=figure][aria-label*='images as points']")
    chart.locator(".nsewdrag").first.wait_for(timeout=60_000)
    tab.wait_for_selector(READY)
    n = int(chart.get_attribute("aria-label").split()[0])
    wait(lambda: chart.evaluate("node => !!node.tell"), 20, "nobody listens to the lasso")
    chart.evaluate("node => { node.mine = true }")
    box, before = chart.locator(".nsewdrag").first.bounding_box(), len(sent)
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.02)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    tab.mouse.move(*places[0])
    tab.mouse.down()
    for place in places[1:]:
        tab.mouse.move(*place, steps=6)
    tab.mouse.up()
    tab.get_by_text(f"of {n:,}, the least sure answers first").wait_for()
    assert 0 < max(sent[before:]) < 100_000
    assert chart.evaluate("node => node.mine")
    tab.close()


def test_a_submitted_layout_waits_in_a_process_of_its_own(store):
    """What the button does, for real: t-SNE of a few images beside this process."""
    finding = ffcore.find_analysis("embed", store["ff"], method="pca", n=40, layer="1")
    ffcore.submit_analysis(finding)
    wait(lambda: finding.state == "done", 60, f"{finding.status()}")
    assert finding.result()["rows"] == 40
    assert finding.arrays()["xy"].shape == (1, 40, 2)
    assert not (finding.dir / "status.json").exists()
    assert isinstance(finding, analyses.Finding)
