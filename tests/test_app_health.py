"""The page Neuron health, run as a script on real runs."""

import base64
import json
from collections import Counter

import numpy as np
import pytest
from charts import health as drawn
from streamlit.testing.v1 import AppTest
from test_app_pages import click
from test_app_pages import page as open_page

import ffcore


def page(**query) -> AppTest:
    return open_page("health", **query)


def text_of(at: AppTest) -> str:
    blocks = [*at.markdown, *at.caption, *at.warning, *at.error, *at.info, *at.success, *at.header]
    return "\n".join(block.value for block in blocks)


@pytest.fixture
def killed(store, no_bundle):
    """The real run with unit 5 of layer 1 dead since epoch 2: in its snapshot and in its weights."""
    from safetensors.torch import load_file, save_file

    run = store["ff"]
    weights = load_file(run.dir / "weights.safetensors")
    weights["biases.0"][5] = -50.0
    save_file(weights, run.dir / "weights.safetensors")
    for epoch in run.snapshots():
        arrays = run.snapshot(epoch)
        for key, alive, dead in (("rate_1", 0.5, 0), ("mean_1", 0.5, 0), ("max_1", 1, 0), ("woke_1", 2, -1)):
            arrays[key] = arrays[key].copy()
            arrays[key][arrays[key] <= 0] = alive  # nobody else is dead
            arrays[key][5] = dead if epoch == 2 else alive
        arrays["rate_2"] = arrays["rate_2"].clip(0.1)
        run.write_snapshot(epoch, arrays)
    return run


def test_without_a_run_the_page_leads_to_train(own_runs, no_bundle):
    at = page()
    assert not at.exception
    assert "No run has kept a snapshot" in text_of(at)


def test_the_headline_comes_from_the_snapshots_and_needs_no_analysis(killed):
    at = page(run=killed.id)
    assert not at.exception
    assert "**In layer 1, 1 of 32 units is dead**; it died in epoch 2." in text_of(at)
    assert [b.label for b in at.button if b.label == "Find the causes"]
    assert "Unit 5 of layer 1" in text_of(at)  # the first to go is shown
    assert "dead since epoch 2" in text_of(at)


def test_the_autopsy_names_the_cause_and_shows_the_evidence(killed):
    ffcore.analyse("health", killed)
    at = page(run=killed.id, layer="1", unit="5")
    assert not at.exception
    said = text_of(at)
    assert "**Cause: negative bias.**" in said
    assert "Its bias is -50" in said
    assert "| **negative bias** | 1" in said
    assert not [b for b in at.button if b.label == "Find the causes"]


def test_the_cause_of_most_deaths_stands_at_the_top_and_a_known_failure_can_be_mended(killed):
    killed.write_config(preset="ref-pcl")
    causes = Counter()
    for row in ffcore.health(killed)["layers"]:
        causes.update(row["causes"])
    (most, count), *_ = causes.most_common()
    at = page(run=killed.id)
    assert not at.error
    assert f"**What they died of: {most}**, {count} of {causes.total()} dead units." in text_of(at)
    at = click(at, "Fix it")
    assert at.title[0].value == "Train a net"
    assert {key: at.query_params[key] for key in ("model", "data")} == {"model": "pcl", "data": "digits"}


def test_a_healthy_recipe_offers_no_mending(killed):
    assert not [b for b in page(run=killed.id).button if b.label == "Fix it"]


def test_what_is_to_be_repeated_gives_the_numbers_on_the_page(killed, capsys):
    exec(next(c.value for c in page(run=killed.id).code if c.value.startswith("import")), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first == "[0.03125, 0.0]"  # 1 of 32
    assert second == str([row["causes"] for row in ffcore.health(killed)["layers"]])


def test_a_what_if_opens_train_with_the_setting_in_its_address(killed):
    ffcore.analyse("health", killed)
    at = page(run=killed.id)
    labels = [b.label for b in at.button if b.key and b.key.startswith("what_if")]
    assert "train.homeostasis=0.2" in labels
    train = open_page("train", set=["train.homeostasis=0.2", "model.widths=[64]"])
    command = next(block.value for block in train.code)
    assert "train.homeostasis=0.2" in command
    assert "model.widths=[64]" in command


@pytest.mark.parametrize("bad", ["model.nope=1", "train.lr=-4", "nonsense"])
def test_train_leaves_out_settings_in_the_address_that_do_not_fit(store, bad):
    train = open_page("train", set=[bad])
    assert any("do not fit" in block.value for block in train.warning)
    assert bad not in next(block.value for block in train.code)


def test_a_link_opens_one_unit_and_bad_links_get_a_friendly_word(killed):
    at = page(run=killed.id, layer="2", unit="17")
    assert "Unit 17 of layer 2" in text_of(at)
    for query in ({"unit": "99"}, {"unit": "../etc"}, {"layer": "9"}, {"definition": "undead"}, {"run": "../../etc"}):
        at = page(**{"run": killed.id, **query})
        assert not at.exception
        assert at.warning


def test_the_jumps_move_the_unit_in_the_address(killed):
    at = page(run=killed.id, layer="1", unit="3")
    next(b for b in at.button if b.label == "First to go").click().run()
    assert at.query_params["unit"] in (["5"], "5")
    assert "Unit 5 of layer 1" in text_of(at)


def test_other_definitions_count_others(killed):
    at = page(run=killed.id, definition="masked")
    assert not at.exception
    assert "dead by the masked metric" in text_of(at)
    at = page(run=killed.id, definition="dormant")
    assert "τ-dormant" in text_of(at)


def test_an_older_run_is_shown_without_what_it_did_not_store(killed):
    for epoch in killed.snapshots():
        arrays = killed.snapshot(epoch)
        killed.write_snapshot(epoch, {k: v for k, v in arrays.items() if not k.startswith(("passed", "share", "woke"))})
    at = page(run=killed.id)
    assert not at.exception
    assert "no masked metric" in text_of(at)


@pytest.mark.parametrize("spoil", ["shape", "nothing", "torn"])
def test_a_foreign_run_costs_a_line(killed, spoil):
    for epoch in killed.snapshots():
        arrays = killed.snapshot(epoch)
        if spoil == "shape":
            killed.write_snapshot(epoch, {**arrays, "rate_1": arrays["rate_1"][: 5 + epoch]})
        elif spoil == "nothing":
            killed.write_snapshot(epoch, {"edges": np.zeros(2)})
        else:
            (killed.dir / "snapshots" / f"epoch-{epoch:04d}.npz").write_bytes(b"PK torn")
    at = page(run=killed.id)
    assert not at.exception
    assert len(at.error) == 1
    assert "What brings dead units back" in text_of(at)


def test_remedies_are_shown_from_a_stored_study_or_the_command_is(killed):
    assert any("ffcore study remedies" in block.value for block in page(run=killed.id).code)
    folder = ffcore.runs_root() / "studies"
    folder.mkdir()
    rows = [
        {"row": name, "settings": {}, "mean": 0.1, "dead": dead, "reference_metric": 1.0, "mean_rate": 0.1, "n": 1}
        for name, dead in (("none", 0.99), ("all of it", 0.02))
    ]
    (folder / "remedies-0.json").write_text(json.dumps({"protocol": {"data": {"name": "mnist"}}, "rows": rows}))
    said = text_of(page(run=killed.id))
    assert "Without a remedy **99%** of the units are dead" in said
    assert "**2%**" in said
    (folder / "remedies-0.json").write_text(json.dumps({"protocol": 3, "rows": [{"row": 5}]}))
    at = page(run=killed.id)
    assert not at.exception
    assert any("ffcore study remedies" in block.value for block in at.code)


# Figures


def test_the_map_of_2000_units_and_60_epochs_weighs_less_than_200_kb():
    rng = np.random.default_rng(0)
    rate = rng.random((60, 2_000)).astype(np.float32)
    out = rng.random((60, 2_000)) < 0.3
    figure = drawn.lives(rate, out, np.full(2_000, 60), list(range(60)), "dead", 7)
    assert len(json.dumps(figure)) < 200_000


def test_the_map_has_the_first_to_die_on_top_and_marks_who_is_out():
    rate = np.array([[0.5, 0.5, 0.5], [0.5, 0.0, 0.2], [0.0, 0.0, 0.9]])
    out = rate <= 0
    figure = drawn.lives(rate, out, np.array([2, 1, 3]), [0, 4, 8], "dead", 2)
    trace = figure["data"][0]
    assert trace["y"] == ["unit 1", "unit 0", "unit 2"]
    level = np.frombuffer(base64.b64decode(trace["z"]["bdata"]), np.uint8).reshape(3, 3)
    assert (level == 0).tolist() == [[False, True, True], [False, False, True], [False, False, False]]
    assert level[2].argmax() == 2
    assert figure["layout"]["annotations"][0]["y"] == 2


def test_many_epochs_and_units_are_thinned_and_said():
    rate = np.ones((500, 3_000), np.float32)
    figure = drawn.lives(rate, rate < 0, np.full(3_000, 500), list(range(500)), "dead", None)
    assert figure["data"][0]["z"]["shape"] == f"{drawn.UNITS}, {drawn.EPOCHS}"
    assert "2,000 of 3,000" in figure["layout"]["xaxis"]["title"]["text"]
    assert figure["data"][0]["x"][-1] == 499


def test_survival_is_the_share_that_is_not_out():
    out = np.array([[False, False], [True, False], [True, True]])
    figure = drawn.survival([out, ~out], [0, 1, 2], "dead")
    assert figure["data"][0]["y"] == [1, 0.5, 0]
    assert figure["data"][1]["y"] == [0, 0.5, 1]


def test_a_click_on_a_row_of_the_map_shows_its_unit(killed, monkeypatch):
    import components

    clicks = []

    def live_chart(figure, *, key, on_click=None, **_):
        if clicks and on_click:  # as the browser would tell it, before the next run
            on_click(*clicks.pop())

    monkeypatch.setattr(components, "live_chart", live_chart)
    at = page(run=killed.id, layer="1")
    life = ffcore.unit_history(killed)["layers"][0]
    rows = drawn.rows_of(life["rate"], life["died"]["dead"])
    assert rows[0] == 5
    clicks.append((0, 7, 1))
    at.run().run()
    assert at.query_params["unit"] in (str(rows[7]), [str(rows[7])])
    assert f"Unit {rows[7]} of layer 1" in text_of(at)
    clicks.append((0, 10_000, 0))  # a row that is not there
    at.run().run()
    assert not at.exception
    assert f"Unit {rows[7]} of layer 1" in text_of(at)


def test_what_a_browser_says_is_clicked_is_checked():
    from components.chart import clicked

    traces = [{"type": "heatmap"}]
    good = {"of": "a", "trace": 0, "row": 3, "column": 1}
    assert clicked(good, traces, "a") == (0, 3, 1)
    for bad in (None, [], {**good, "of": "b"}, {**good, "row": -1}, {**good, "row": True}, {**good, "column": "1"}, {"of": "a"},
                {**good, "trace": 1}, {**good, "row": 1.5}):  # fmt: skip
        assert clicked(bad, traces, "a") is None


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"state": "failed", "reason": "out of memory; ask for fewer images"}, "out of memory; ask for fewer images"),
        ({"state": "cancelled"}, "Cancelled."),
        ({"state": "running", "done": 0.5, "doing": "born dead?"}, "its process ended without a word"),
    ],
)
def test_an_analysis_that_ended_badly_says_why_and_can_be_asked_again(killed, status, said):
    finding = ffcore.find_analysis("health", killed)
    finding.dir.mkdir(parents=True)
    (finding.dir / "status.json").write_text(json.dumps(status))
    at = page(run=killed.id)
    assert said in text_of(at)
    assert [b for b in at.button if b.label == "Find the causes"]


def test_an_analysis_at_work_says_how_far_it_is_and_can_be_cancelled(killed):
    from filelock import FileLock

    finding = ffcore.find_analysis("health", killed)
    finding.dir.mkdir(parents=True)
    (finding.dir / "status.json").write_text(json.dumps({"state": "running", "done": 0.5, "doing": "giving a little activity"}))
    with FileLock(finding.dir / ".lock"):
        at = page(run=killed.id, live="0")
        [bar] = at.get("progress")
        assert bar.proto.value == 50
        assert "giving a little activity" in bar.proto.text
        next(b for b in at.button if b.label == "Cancel").click().run()
        assert (finding.dir / "cancel").exists()
    assert not at.exception
    assert not [b for b in at.button if b.label == "Find the causes"]
