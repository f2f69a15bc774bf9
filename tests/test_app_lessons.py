"""Lessons, teachers' page, glossary, About, notebook, citation: what they show is what the files say."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import ffcore
from ffcore import goodness, rundir, runs
from ffcore.serve import app_folder

pytest.importorskip("streamlit")
import glossary
from charts import lessons as drawn
from lessons import LESSONS, PAGES, PARTS, STEPS, base, pcl, shuffled, threshold_gap
from lessons import goodness as first
from streamlit.testing.v1 import AppTest

BUNDLED = rundir.bundled_root()
HERE = app_folder()
ROOT = HERE.parent


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A copy of what comes with the package, to be changed at will; no data and no runs besides."""
    place = tmp_path / "bundle"
    shutil.copytree(BUNDLED, place, ignore=shutil.ignore_patterns("weights-*", "analyses"))
    for module in (runs, rundir):
        monkeypatch.setattr(module, "bundled_root", lambda: place)
    monkeypatch.setenv("FFCORE_DATA", str(tmp_path / "no data"))
    return place


def page(name: str = "lessons", /, **query: str) -> AppTest:
    at = AppTest.from_file(str(HERE / "main.py"), default_timeout=90)
    if name != "start":
        at.switch_page(f"views/{name}.py")
    for key, value in query.items():
        at.query_params[key] = value
    at.run()
    assert not at.exception, at.exception[0].message
    return at


def words(at: AppTest) -> str:
    return "\n".join(element.value for element in [*at.title, *at.header, *at.markdown, *at.caption, *at.info, *at.warning])


def change(place: Path, name: str, edit) -> None:
    """Edit a stored study."""
    for file in (place / "studies").glob(f"{name}-*.json"):
        told = json.loads(file.read_bytes())
        edit({row["row"]: row for row in told["rows"]})
        file.write_text(json.dumps(told))


# Lessons


def test_the_index_shows_every_lesson_with_its_question_and_minutes(bundle):
    at = page()
    assert len(LESSONS) == 8
    for lesson in LESSONS.values():
        assert lesson.title in words(at)
        assert lesson.teaser in words(at)
    at.button(key="begin.shuffled").click().run()
    assert at.header[0].value == LESSONS["shuffled"].title
    assert at.query_params["lesson"] in ("shuffled", ["shuffled"])


@pytest.mark.parametrize("name", LESSONS)
def test_all_steps_of_a_lesson_stand_without_data_and_without_network(bundle, name):
    lesson = LESSONS[name]
    for step in STEPS:
        at = page(lesson=name, step=step)
        assert not at.error, at.error[0].value
        assert at.header[0].value == lesson.title
        match step:
            case "predict":
                assert lesson.predict in words(at)
                assert list(at.radio[0].options) == list(lesson.options.values())
            case "reveal":
                assert lesson.source in words(at) or lesson.missing in words(at)
            case "question":
                assert lesson.ask in words(at)
                assert lesson.sample in words(at)


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_stands_in_an_installation_without_nets_and_studies(no_bundle, name):
    for step in ("run", "reveal"):
        at = page(lesson=name, step=step)
        assert not at.error, at.error[0].value
    if LESSONS[name].facts() is None:
        assert LESSONS[name].missing in words(at)


@pytest.mark.parametrize("name", LESSONS)
def test_a_reveal_is_short_and_names_an_option_that_was_offered(bundle, name):
    lesson = LESSONS[name]
    assert len(lesson.options) in (3, 4)
    found = lesson.facts()
    if found is not None:
        assert len(lesson.why(found).split()) <= 120
        assert lesson.held(found) in (None, *lesson.options)


def test_the_address_keeps_lesson_step_and_prediction(bundle):
    at = page(lesson="shuffled", step="predict")
    at.radio[0].set_value("half").run()
    assert at.query_params["answer"] in ("half", ["half"])
    at.button(key="on").click().run()
    assert at.query_params["step"] in ("run", ["run"])
    sent = page(lesson="shuffled", step="reveal", answer="half")
    assert "You expected: About half" in words(sent)
    assert "as you expected" in words(page(lesson="shuffled", step="reveal", answer="tenth"))


@pytest.mark.parametrize(
    "query", [{"lesson": "`<b>"}, {"lesson": "goodness", "step": "9"}, {"lesson": "goodness", "answer": "zz"}]
)
def test_garbage_in_the_address_is_told(bundle, query):
    assert page(**query).warning


def test_the_lessons_figures_are_those_of_the_stored_study(bundle):
    before = words(page(lesson="shuffled", step="reveal"))
    assert "94.6 ± 0.2%" in before

    def edit(rows):
        rows["shuffled_label"]["readouts"]["goodness"] |= {"mean": 0.1234, "sd": 0.03, "paired_difference": -0.8276}

    change(bundle, "negatives", edit)
    after = words(page(lesson="shuffled", step="reveal"))
    assert "12.3 ± 3.0%" in after
    assert "−82.8 points" in after


def test_which_negatives_taught_most_is_read_off_the_study(bundle):
    assert LESSONS["negatives"].held(LESSONS["negatives"].facts()) == "hard_label"
    change(bundle, "negatives", lambda rows: rows["image_mixing"].update(mean=0.999))
    assert LESSONS["negatives"].held(LESSONS["negatives"].facts()) == "image_mixing"
    assert "What was measured: **Two images mixed**" in words(page(lesson="negatives", step="reveal"))


@pytest.mark.parametrize(("gain", "held"), [(0.0, "nothing"), (0.2, "reversed"), (-0.05, "some"), (-0.3, "all")])
def test_the_transfer_lesson_says_what_the_study_says(bundle, gain, held):
    change(
        bundle,
        "transfer",
        lambda rows: "ff, gap" in rows and rows["ff, gap"]["cells"]["gain all"].update(mean=gain, interval=0.01),
    )
    found = LESSONS["transfer"].facts()
    assert LESSONS["transfer"].held(found) == held
    assert base.points(gain) in LESSONS["transfer"].why(found)


def test_threshold_against_gap_is_decided_by_the_study(bundle):
    assert threshold_gap.held(threshold_gap.facts()) == "gap"
    change(bundle, "transfer", lambda rows: "ff, threshold" in rows and rows["ff, threshold"]["source"].update(mean=0.99))
    assert threshold_gap.held(threshold_gap.facts()) == "threshold"


@pytest.mark.parametrize(
    ("dead", "held"),
    [
        ({"penalty": 0.99, "predictor": 0.99, "both": 0.01}, "both"),
        ({"penalty": 0.1, "predictor": 0.99, "both": 0.01}, "penalty"),
        ({"penalty": 0.99, "predictor": 0.2}, "predictor"),
        ({"study": 0.99}, None),
    ],
)
def test_the_smallest_change_that_saves_the_units_is_told(dead, held):
    assert pcl.held({"tried": dead}) == held


def test_a_damaged_study_costs_a_line(bundle):
    change(bundle, "negatives", lambda rows: rows["hard_label"].pop("sd"))
    at = page(lesson="negatives", step="reveal")
    assert len(at.error) == 1
    assert "cannot be shown" in at.error[0].value


@pytest.mark.parametrize(("pos", "neg"), [(2.5, 2.0), (0.2, 1.9), (1.0, 1.0), (0.0, 3.0)])
def test_the_lessons_objectives_and_pulls_are_the_librarys(pos, neg):
    alpha, theta = 4.0, 1.0
    told = threshold_gap.objectives(pos, neg, alpha, theta)
    for name, loss in (("gap", goodness.gap), ("threshold", goodness.threshold)):
        g = torch.tensor([pos], requires_grad=True), torch.tensor([neg], requires_grad=True)
        value = loss(*g, alpha, *([theta] if name == "threshold" else []))
        value.sum().backward()
        assert told[name] == pytest.approx((value.item(), -g[0].grad.item(), g[1].grad.item()), rel=1e-4)


def test_goodness_on_the_slider_is_the_librarys():
    h = np.array([3.0] + [0.0] * 9)
    assert first.goodness(h) == pytest.approx(goodness.mean_square(torch.tensor(h)[None]).item()) == 0.9
    at = page(lesson="goodness", step="run")
    at.slider(key="goodness.on").set_value(10).run()
    at.slider(key="goodness.size").set_value(0.5).run()
    assert "goodness: (10 × 0.5²) / 10 = 0.25" in words(at)


def test_shuffling_is_counted_on_real_digits(bundle):
    at = page(lesson="shuffled", step="run")
    at.button(key="shuffled.go").click().run()
    y = shuffled.digits()[1]
    count = int((shuffled.shuffled(y, 1) == y).sum())
    assert 0.08 < count / len(y) < 0.12
    assert f"**{count:,} of {len(y):,} “negatives” carry the right label" in words(at)


def test_an_experiment_is_trained_once_and_found_again(store, no_bundle, monkeypatch):
    asked = []

    def submit(**wanted):
        asked.append(wanted)
        store["ff"].write_config(tag=wanted["tag"])
        return store["ff"]

    monkeypatch.setattr(ffcore, "submit", submit)
    at = page(lesson="backprop", step="run")
    at.button(key="race ff").click().run()
    assert not at.exception
    assert asked[0]["model"] == "ff"
    assert asked[0]["test"] is False
    assert [b.label for b in at.button if b.label.startswith("Train: ")] == ["Train: backpropagation"]
    store["backprop"].write_config(tag=base.tag("race backprop"))
    found = LESSONS["backprop"].facts()
    assert found["ff"]["accuracy"] == store["ff"].status()["result"]["validation_accuracy"]
    assert f"{found['backprop']['accuracy']:.2%}" in words(page(lesson="backprop", step="reveal"))


def test_the_last_step_leads_to_a_page_that_leads_back(bundle):
    at = page("start", lesson="goodness")
    assert any("Lesson: **What goodness is**" in m.value for m in at.markdown)
    assert at.button(key="lesson_back")
    assert not [b for b in page("start", lesson="nonsense").button if b.key == "lesson_back"]


def test_bars_begin_at_zero_and_tell_their_values():
    figure = drawn.bars([("one", 0.95, 0.01), ("two", 0.5, None)], "accuracy", share=True)
    assert figure["layout"]["xaxis"]["range"][0] == 0
    assert [a["text"] for a in figure["layout"]["annotations"]] == ["95.0%", "50.0%"]


# What a link may hide


@pytest.mark.parametrize("name", PARTS)
def test_every_part_that_a_link_can_hide_is_a_part_of_its_page(name):
    source = (HERE / "views" / f"{name}.py").read_text()
    assert name in PAGES
    assert set(re.findall(r'hidden\("(\w+)"\)', source)) == set(PARTS[name])


def test_a_hidden_part_can_be_shown_again(bundle):
    assert "Draw your own" in [b.label for b in page("start").button]
    at = page("start", hide="ways,pages")
    assert "Draw your own" not in [b.label for b in at.button]
    assert "Where to go from here" not in words(at)
    at.button(key="show_all").click().run()
    assert "Draw your own" in [b.label for b in at.button]
    assert "Where to go from here" in words(at)


# Teachers


def test_the_link_of_a_teacher_opens_what_it_says(bundle):
    at = page("teach", to="lesson", name="transfer", at="reveal")
    assert at.code[0].value.endswith("/lessons?lesson=transfer&step=reveal")
    for lesson in LESSONS.values():
        assert lesson.title in words(at)
    at = page("teach", to="page", page="health", back="pcl")
    at.multiselect(key="several.parts").set_value(["remedies"]).run()
    assert at.code[0].value.endswith("/health?hide=remedies&lesson=pcl")


# Glossary


def test_the_glossary_of_the_docs_is_that_of_the_page():
    assert (ROOT / "docs" / "glossary.md").read_text("utf-8") == glossary.markdown(), "run `python app/glossary.py`"


def test_every_term_is_sound():
    anchors = [term.anchor for term in glossary.TERMS]
    assert len(set(anchors)) == len(anchors) >= 35
    for term in glossary.TERMS:
        assert term.page in glossary.PAGES
        assert (HERE / "views" / f"{term.page}.py").exists()
        assert 1 <= len(re.findall(r"[.:] |\.$", term.text)) <= 4, term.word
    order = [re.sub("[^a-z ]", "", term.word.lower()).strip() for term in glossary.TERMS]
    assert order == sorted(order)


def test_a_link_to_a_term_puts_it_on_top_and_a_search_finds():
    at = page("glossary", term="d-prime")
    assert at.markdown[0].value.startswith("**d′.**")
    for word, term in (("dormant", "**Dormant unit.**"), ("homeostasis", "**Homeostasis.**")):
        at.text_input[0].set_value(word).run()
        assert at.markdown[0].value.startswith("**d′.**")
        assert at.markdown[1].value.startswith(term)
    assert page("glossary", term="nonsense").warning
    at = page("glossary", find="dormant")
    assert "**Dormant unit.**" in words(at)
    assert "**Backpropagation.**" not in words(at)


# About, citation, notebook


def test_about_tells_versions_data_limits_and_how_to_cite(bundle):
    at = page("about")
    assert ffcore.__version__ in words(at)
    table = at.dataframe[0].value
    assert set(table["name"]) == set(ffcore.data.DATASETS)
    assert not table.set_index("name").loc["mnist", "here"]  # FFCORE_DATA points nowhere
    assert table.set_index("name").loc["mnist-5k", "here"]
    assert (table["licence"].str.len() > 2).all()
    assert "arxiv.org/abs/2212.13345" in at.code[0].value


def cff() -> dict[str, str]:
    """Top-level keys of CITATION.cff with their values, and what is below the lists as text (no YAML library is needed)."""
    told, key = {}, ""
    for line in (ROOT / "CITATION.cff").read_text("utf-8").splitlines():
        assert "\t" not in line
        if m := re.match(r"([a-z-]+):\s*(.*)$", line):
            key, told[m[1]] = m[1], m[2].strip('"')
        else:
            assert re.match(r" +(- )?[a-z-]+:( \S|$)|  - \S", line), line
            told[key] += "\n" + line
    return told


def test_the_citation_is_whole_and_of_this_version():
    told = cff()
    assert {"cff-version", "message", "title", "authors"} <= set(told)  # what schema 1.2.0 asks for
    assert told["cff-version"] == "1.2.0"
    assert told["version"] == ffcore.__version__
    assert told["license"] == "MIT"
    for source in ("2212.13345", "2303.08418", "1805.08974", "2302.12902"):
        assert source in told["references"]


def test_the_notebook_runs_from_top_to_bottom(bundle, capsys):
    notebook = json.loads((ROOT / "docs" / "api.ipynb").read_text("utf-8"))
    assert notebook["nbformat"] == 4
    names, lines = {}, 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            lines += len(cell["source"])
            exec(compile("".join(cell["source"]), "api.ipynb", "exec"), names)
    assert lines <= 20
    assert not names["run"].problem
    assert f"{names['result']['validation_accuracy']:.1%}" in capsys.readouterr().out
    assert importlib.util.find_spec("ffcore")
