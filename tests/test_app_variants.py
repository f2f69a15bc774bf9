"""The page Variants, without a browser: every model's picture and equation, knobs, traces beside Forward-Forward, failures."""

import base64
import itertools
import json

import numpy as np
import pytest

import ffcore
from ffcore import catalogue, runs, training

pytest.importorskip("streamlit")
import diagrams
import streamlit as st
from conftest import TINY
from test_app_pages import click, html, labels, page, seen, words

pytestmark = pytest.mark.usefixtures("no_bundle")
ITEMS = {item["name"]: item for item in catalogue.models()}
HONEST = {name: item for name, item in ITEMS.items() if item["faithful"]}
FAILURES = {preset["name"]: preset for preset in catalogue.presets() if not preset["good"]}


@pytest.fixture
def drawn(monkeypatch):
    """What components are given, as AppTest does not show it: {key of a diagram or of charts: what is in it}."""
    import components

    seen = {}
    monkeypatch.setattr(diagrams, "show", lambda picture, key: seen.update({key: picture}))
    monkeypatch.setattr(components, "live_charts", lambda charts, *, key, **_: seen.update({key: [f for f, _ in charts]}))
    return seen


@pytest.fixture
def asked(monkeypatch):
    """The arguments of runs that the page would start; none is."""
    got = []

    def submit(**request):
        ffcore.configure(**request)
        got.append(request)
        return runs.list_runs()[0] if runs.list_runs() else ffcore.Run(runs.runs_root())

    monkeypatch.setattr(ffcore, "submit", submit)
    return got


@pytest.fixture
def variant(store, monkeypatch):
    """A run of layer collaboration that has told of every step."""
    monkeypatch.setattr(training, "TICK", 0)
    return ffcore.Run(ffcore.train(root=str(runs.runs_root()), model="layer_collab", **TINY).dir)


def heads(figures: list[dict]) -> list[str]:
    return [figure["layout"]["title"]["text"] for figure in figures]


def names(figure: dict) -> list[str]:
    return [trace["name"] for trace in figure["data"]]


def said(at) -> str:
    return "\n".join(element.value for element in [*at.error, *at.warning, *at.info])


def press(at, key: str):
    at.button(key=key).click().run()
    assert not at.exception, at.exception[0].message
    return at


# What a model is


@pytest.mark.parametrize("name", HONEST)
def test_every_model_has_a_page_with_its_picture_equation_and_source(own_runs, drawn, name):
    at = page("variants", model=name)
    item = HONEST[name]
    assert not at.error
    assert f"**{item['title']}**" in words(at)
    assert at.latex[0].value.strip("$\n ") == item["equation"]
    assert item["source"].partition(",")[0] in words(at).replace("\\", "")
    picture = drawn[f"diagram.{name}"]
    assert "layer 2" in picture
    assert ("no error crosses layers" in picture) == item["is_local"]
    told = picture.partition("aria-label=")[2].partition(" viewBox")[0]
    for _, _, what in item["wiring"]:
        assert diagrams.html.escape(what, quote=True) in told, what
        assert what.split()[0] in picture.rpartition("</figure>")[0].partition("viewBox")[2]


def test_the_page_lists_honest_models_only(own_runs, drawn):
    assert set(page("variants").button_group[0].options) == {item["title"] for item in HONEST.values()}
    flawed = next((name for name in ITEMS if name not in HONEST), None)
    if flawed:
        at = page("variants", model=flawed)
        assert "asks for model" in said(at)


def test_badges_are_coloured_where_plain_forward_forward_is_another(own_runs):
    told = words(page("variants", model="mono_forward"))
    assert ":blue-badge[no negatives]" in told
    assert ":gray-badge[local: no error crosses layers]" in told
    assert ":blue-badge[not local: an error crosses layers]" in words(page("variants", model="backprop"))


def test_a_docstrings_column_of_names_becomes_a_list(own_runs):
    told = words(page("variants", model="three_factor"))
    assert "- **novelty**: \\|g_l⁺" in told
    assert "`floor` of it" in told


# The diagram


def test_relative_ends_become_layers():
    assert diagrams.wires([("layer above", "layer", "g")], 3) == [("layer 2", "layer 1", "g"), ("layer 3", "layer 2", "g")]
    assert diagrams.wires([("read-out", "layer above", "e")], 2) == [("read-out", "layer 2", "e")]
    assert diagrams.wires([("read-out", "layer", "e")], 2) == [("read-out", "layer 1", "e"), ("read-out", "layer 2", "e")]
    assert diagrams.wires([("label", "top layer", "d")], 3) == [("label", "layer 3", "d")]
    assert diagrams.wires([("layer", "layer", "i")], 2) == [("layer 1", "layer 1", "i"), ("layer 2", "layer 2", "i")]


def test_what_only_layers_touch_stands_beside_each_and_what_the_read_out_touches_stands_once():
    own = diagrams.wires([("layer", "M", "a"), ("M", "layer", "b")], 2)
    assert {end for wire in own for end in wire[:2]} == {"layer 1", "layer 2", "M @1", "M @2"}
    shared = diagrams.wires([("read-out", "M", "a"), ("M", "layer", "b")], 2)
    assert [wire[0] for wire in shared] == ["read-out", "M", "M"]


def test_an_arrow_there_and_back_is_one_with_two_heads():
    both = diagrams.model(2, [("layer", "layer above", "g"), ("layer above", "layer", "g")], True)
    one = diagrams.model(2, [("layer", "layer above", "g")], True)
    assert both.count("<path class='added'") == one.count("<path class='added'") == 1
    assert both.count("<polygon class='added'") == 2 * one.count("<polygon class='added'") == 2


@pytest.mark.parametrize("name", HONEST)
def test_boxes_of_a_diagram_do_not_cover_each_other(name):
    boxes = {f"layer {i}": diagrams.Box(0, -diagrams.PITCH * i, "") for i in (1, 2)}
    boxes |= {"image": diagrams.Box(0, 0, ""), "read-out": diagrams.Box(0, -3 * diagrams.PITCH, "")}
    diagrams._stand_beside(boxes, diagrams._joined(diagrams.wires(HONEST[name]["wiring"], 2)))
    for a, b in itertools.combinations(boxes.values(), 2):
        assert abs(a.y - b.y) >= diagrams.HIGH or abs(a.x - b.x) >= (a.wide + b.wide) / 2


def test_a_plug_ins_words_are_no_markup():
    picture = diagrams.model(2, [("<script>", "layer", "' onload='x")], True, name="<b>'")
    assert "<script>" not in picture
    assert "<b>" not in picture
    assert "onload='x" not in picture


PLUGIN = '''"""A model."""
from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


@MODELS.register("bare")
class Bare(ForwardForward):
    """No more than [this](http://example.org) and $x$."""

    title = "Bare"
    source = "this test"
    equation, traces, wiring = FACTS
'''


@pytest.mark.parametrize("facts", ['"", {}, ()', "None, [1], 3", '3, None, (("a", "layer"), None, ("a", 3, "b"))'])
def test_a_plug_in_without_facts_or_with_nonsense_has_a_page_too(own_runs, drawn, tmp_path, monkeypatch, facts):
    monkeypatch.setenv("FFCORE_PLUGINS", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bare.py").write_text(PLUGIN.replace("FACTS", facts))
    at = page("variants", model="bare")
    assert not at.error
    assert not at.latex
    assert "class='added'" not in drawn["diagram.bare"]
    assert r"\[this\](" in words(at)
    assert r"and \$x\$" in words(at)
    json.dumps(catalogue.models("bare"))


# Its knobs


def test_knobs_are_what_plain_forward_forward_does_not_have_and_reach_the_run_and_the_command(store, drawn, asked):
    at = page("variants", model="layer_collab", data="digits")
    assert [s.label for s in at.slider] == ["gamma"]
    at.slider[0].set_value(0.8).run()
    next(n for n in at.number_input if n.label == "Epochs").set_value(3).run()
    command = at.code[0].value
    assert "--data digits" in command
    assert command.endswith("--set model.gamma=0.8 --set train.epochs=3")
    press(at, "train")
    press(at, "train_plain")
    like = {"data": "digits", "epochs": 3, "seed": 0}
    assert asked == [{"model": "layer_collab", **like, "set": {"model.gamma": 0.8}}, {"model": "ff", **like, "set": {}}]


@pytest.mark.parametrize("name", HONEST)
def test_every_models_knobs_start_at_its_defaults_and_its_command_can_be_run(own_runs, name):
    at = page("variants", model=name)
    words_of = at.code[0].value.split()
    settings = [word for word in words_of if "=" in word]
    assert settings == ["train.epochs=10"]
    assert words_of[words_of.index("--model") + 1] == name


def test_forward_forward_beside_it_has_the_same_widths(own_runs, asked):
    for name, item in HONEST.items():
        widths = item["settings"].get("widths", {}).get("default")
        if name != "ff" and isinstance(widths, list):
            press(page("variants", model=name), "train_plain")
            assert ffcore.configure(**asked[-1])["model"]["widths"] == widths


def test_what_the_library_refuses_is_told_beside_the_button(store, monkeypatch):
    def full(**_):
        raise ffcore.Failed("disk full; free some space")

    monkeypatch.setattr(ffcore, "submit", full)
    at = press(page("variants"), "train")
    assert [e.value for e in at.error] == ["disk full; free some space"]
    assert not at.run().error


# Its runs


def test_without_a_run_there_is_one_thing_to_do(own_runs, drawn, asked):
    at = page("variants", model="three_factor")
    assert "No run of Three-factor yet" in words(at)
    assert "traces" not in drawn
    at = press(at, "train_first")
    assert asked == [{"model": "three_factor", "data": "mnist-5k", "epochs": 10, "seed": 0, "set": {}}]


def test_traces_of_a_run_stand_beside_plain_forward_forward(store, variant, drawn):
    at = page("variants", model="layer_collab", run=variant.id)
    assert not said(at)
    charts = dict(zip(heads(drawn["traces"]), drawn["traces"], strict=True))
    assert list(charts) == ["Accuracy on validation images", "Dead units", "others", "Loss of all layers together"]
    assert names(charts["others"]) == ["layer 1", "layer 2"]
    ticks = [e for e in variant.events()[0] if e["event"] == "tick"]
    points = np.frombuffer(base64.b64decode(charts["others"]["data"][0]["y"]["bdata"]), "<f4")
    assert len(points) <= 500
    assert points[-1] == pytest.approx(ticks[-1]["layers"][0]["traces"]["others"])
    assert names(charts["Accuracy on validation images"]) == ["Layer collaboration", "Forward-Forward"]
    assert names(charts["Dead units"]) == [
        f"{name}, layer {i}" for name in ("Layer collaboration", "Forward-Forward") for i in (1, 2)
    ]
    last = [e for e in variant.events()[0] if e["event"] == "epoch"][-1]
    assert charts["Accuracy on validation images"]["data"][0]["text"][-1] == f"{last['validation']['goodness']:.2%}"
    assert "**others**: share of the pairs" in words(at)


def test_a_run_that_was_over_before_it_told_anything_says_so(store, drawn):
    ffcore.train(root=str(runs.runs_root()), model="layer_collab", **{**TINY, "epochs": 0})
    at = page("variants", model="layer_collab")
    assert "it was over too soon" in words(at)
    assert "others" not in heads(drawn["traces"])


def test_without_plain_forward_forward_the_page_says_what_to_do(own_runs, drawn):
    ffcore.train(root=str(runs.runs_root()), model="layer_collab", **TINY)
    at = page("variants", model="layer_collab")
    assert "train one beside it" in words(at)
    assert names(drawn["traces"][0]) == ["Layer collaboration"]


@pytest.mark.parametrize("name", ["paused", "failed", "lost", "stopped", "queued"])
def test_runs_in_every_state_are_shown(store, drawn, name):
    at = page("variants", model="ff", run=store[name].id, live="0")
    assert not at.error
    assert store[name].state in words(at)


@pytest.mark.parametrize(("query", "period"), [({}, 1.0), ({"live": "0"}, None)])
def test_only_what_moves_is_looked_at_again_and_not_where_live_is_off(store, monkeypatch, query, period):
    periods, fragment = [], st.fragment

    def spy(function, run_every=None):
        periods.append(run_every)
        return fragment(function)

    monkeypatch.setattr(st, "fragment", spy)
    page("variants", model="ff", run=store["queued"].id, **query)
    assert periods[0] == period
    periods.clear()
    page("variants", model="backprop", run=store["backprop"].id)
    assert set(periods) == {None}


def test_a_model_without_negatives_that_traces_can_be_watched_in_live(store, monkeypatch):
    monkeypatch.setattr(training, "TICK", 0)
    run = ffcore.train(root=str(runs.runs_root()), model="mono_forward", **TINY)
    drawn = [element.proto.json for element in page("live", run=run.id).main.get("bidi_component")]
    assert any("Loss of all layers together" in told for told in drawn)


# The same digit


def test_a_digit_goes_through_both_nets(store, variant):
    at = page("variants", model="layer_collab", run=variant.id)
    image = variant.samples()["images"][0][None]
    for name, run in (("Layer collaboration", variant), ("Forward-Forward", store["ff"])):
        assert f"**{name}**  says **{ffcore.Trained(run.dir).predict(image).item()}** by its goodness read-out" in words(at)
    assert html(at).count("class='goodness'") == 2
    at = click(at, "Next")
    assert at.query_params["digit"] in ("2", ["2"])
    assert "Test image 2 of 64" in words(at)
    assert "Test image 1 of 64" in words(click(at, "Previous"))


def test_a_model_without_goodness_shows_its_scores(store):
    at = page("variants", model="backprop", run=store["backprop"].id)
    assert "by its softmax read-out" in words(at)
    assert html(at).count(">Score<") == 1
    assert html(at).count(">Layer 1<") == 1  # plain Forward-Forward's


def test_plain_forward_forward_stands_alone(store):
    at = page("variants", model="ff", run=store["ff"].id)
    assert html(at).count("class='goodness'") == 1
    assert "train_plain" not in [b.key for b in at.button]


# The address


def test_the_address_carries_the_whole_view(store, variant, drawn):
    at = page("variants", run=variant.id, digit="5")
    assert "**Layer collaboration**" in words(at)
    assert "Test image 5 of 64" in words(at)
    at.button_group[0].set_value("backprop").run()
    assert not at.exception
    query = {key: value if isinstance(value, str) else value[0] for key, value in at.query_params.items()}
    assert query == {"model": "backprop", "run": store["backprop"].id, "digit": "5"}
    again = page("variants", **query)
    assert words(again) == words(at)


def test_a_run_of_another_model_is_told_of_and_passed_over(store, variant):
    at = page("variants", model="layer_collab", run=store["backprop"].id)
    assert "is a run of another model" in said(at)
    assert at.session_state["run"] == variant.id


@pytest.mark.parametrize(("key", "value"), [("model", "<b>"), ("run", "../../etc"), ("digit", "0"), ("digit", "²"),
                                            ("data", "/etc/passwd")])  # fmt: skip
def test_garbage_in_the_address_is_told_and_replaced(store, variant, key, value):
    at = page("variants", **{key: value})
    assert f"asks for {key}" in said(at)
    assert len(at.warning) == 1
    assert "Test image 1 of 64" in words(at)


# Failures


@pytest.mark.parametrize("key", FAILURES)
def test_a_failures_card_tells_its_story_and_starts_it_and_its_fix(own_runs, asked, key):
    preset = FAILURES[key]
    home = preset["variant"] if preset["variant"] in HONEST else "ff"
    at = page("variants", model=home, data="mnist")
    told = seen(words(at))
    for part in ("title", "see", "why", "fix"):
        assert preset[part] in told, part
    press(at, f"fail.{key}")
    assert asked[0]["preset"] == key
    images = ffcore.configure(**asked[0])["data"]["name"]
    if not preset["instead"]:
        assert f"fix.{key}" not in [b.key for b in at.button]
        return
    press(at, f"fix.{key}")
    assert asked[1] == {"data": images, **preset["instead"], "seed": 0, "tag": f"fix of {key}"}
    assert ffcore.configure(**asked[1])["model"]["name"] in HONEST


def test_every_failure_stands_on_one_page(own_runs):
    shown = [label for name in HONEST for label in labels(page("variants", model=name)) if label == "Run the failure"]
    assert len(shown) == len(FAILURES)


def test_a_failure_and_its_fix_are_drawn_side_by_side(store, drawn):
    key = "ref-shuffled"
    ffcore.train(root=str(runs.runs_root()), preset=key, **TINY)
    page("variants", model="ff", data="digits")
    assert names(drawn[f"curves.{key}"][0]) == ["the failure"]
    colour = drawn[f"curves.{key}"][0]["data"][0]["line"]["color"]
    ffcore.train(root=str(runs.runs_root()), tag=f"fix of {key}", **{**TINY, "epochs": 8})
    at = page("variants", model="ff", data="digits")
    accuracy, dead = drawn[f"curves.{key}"]
    assert names(accuracy) == ["the fix", "the failure"]
    assert accuracy["data"][1]["line"]["color"] == colour
    assert "share of its training" in accuracy["layout"]["xaxis"]["title"]["text"]  # 2 epochs beside 8
    assert max(accuracy["data"][1]["x"]) == max(accuracy["data"][0]["x"]) == 1
    assert len(dead["data"]) == 4
    assert "**The failure**" in words(at)


def test_a_failure_is_not_the_run_that_a_model_is_shown_by(store, drawn):
    failed = ffcore.train(root=str(runs.runs_root()), preset="ref-shuffled", **TINY)
    at = page("variants", model="ff")
    assert at.session_state["run"] != failed.id
    assert page("variants", model="ff", run=failed.id).session_state["run"] == failed.id


# Damaged and hostile runs


@pytest.mark.parametrize("name", ["samples.npz", "weights.safetensors"])
def test_a_damaged_file_is_told_in_one_line_and_the_rest_is_shown(store, variant, drawn, name):
    (variant.dir / name).write_bytes(b"")
    at = page("variants", run=variant.id)
    assert "damaged" in said(at)
    assert "\n" not in at.error[0].value
    assert "others" in heads(drawn["traces"])


LAYER = {"layer": 1, "loss": 1.0, "traces": {"others": 0.5}}
TICK = {"event": "tick", "step": 1, "epoch": 0.1, "seconds": 1.0, "loss": 1.0, "layers": [LAYER]}
EPOCH = {"event": "epoch", "step": 9, "epoch": 1, "seconds": 1.0, "validation": {"goodness": 0.5}, "layers": [LAYER]}
HOSTILE = {
    "no layers": [{**TICK, "layers": None}, {**EPOCH, "layers": 7}],
    "layers of nothing": [{**TICK, "layers": [None]}, {**EPOCH, "layers": [{}]}],
    "traces of nothing": [{**TICK, "layers": [{**LAYER, "traces": value}]} for value in (None, 3, [], {"others": "much"})],
    "not finite": [{**TICK, "layers": [{**LAYER, "traces": {"others": float("nan")}}]}, {**TICK, "loss": float("inf")}],
    "a loss of text": [{**TICK, "loss": "<b>"}],
    "validation of anything": [{**EPOCH, "validation": value} for value in (None, 3, [1], {}, {"goodness": "x"}, {"a": 7})],
    "dead of anything": [{**EPOCH, "layers": [{"layer": 1, "dead": value}]} for value in (None, "x", -1, float("nan"))],
    "no numbers": [{"event": "tick"}, {"event": "epoch", "step": "1"}, {"event": 3}, {"step": 1}],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_events_of_anything_break_nothing(store, variant, drawn, kind):
    lines = [json.dumps(event) for event in HOSTILE[kind]]
    (variant.dir / "events.jsonl").write_text("\n".join([*lines, json.dumps(TICK), json.dumps(EPOCH), "{", "[]"]) + "\n")
    at = page("variants", run=variant.id)
    assert not at.error
    assert "others" in heads(drawn["traces"])
    json.dumps(drawn["traces"], allow_nan=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"name": "layer_collab", "widths": "wide", "votes": "all"}},
        {"train": {"epochs": ["many"], "lr": {}}},
        {"facts": {}},
        {"seed": 3, "tag": "<b>![x](http://example.org/x.png)"},
        {"preset": "ref-nothing", "given": {"a": "b"}},
        {"data": {"name": "../../etc"}},
    ],
)
def test_a_config_of_anything_breaks_nothing(store, variant, changes):
    variant.write_config(**changes)
    at = page("variants", model="layer_collab", run=variant.id)
    assert all("\n" not in error.value for error in at.error)
    assert "Layer collaboration" in words(at)


def test_a_strangers_words_are_shown_as_they_are(store, variant):
    facts = {**variant.config["facts"], "data_title": "![x](http://example.org/x.png)", "classes": ["![x](http://e.org)"] * 10}
    variant.write_config(facts=facts)
    store["backprop"].write_config(facts=facts)
    for query in ({"model": "layer_collab"}, {"model": "layer_collab", "run": store["backprop"].id}):
        at = page("variants", **query)
        assert "![x](" not in words(at) + said(at)


def test_a_model_that_is_no_longer_here_leaves_the_page_whole(store, variant):
    variant.write_config(model={"name": "gone"})
    at = page("variants", run=variant.id)
    assert "No run of Layer collaboration yet" in words(at)
