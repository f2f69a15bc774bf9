"""The page Compare, without a browser: groups and seeds, the pinned baseline, no data where there is none, no scores."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest

import ffcore
from ffcore import catalogue, runs

pytest.importorskip("streamlit")
from charts import compare as charts
from test_app_pages import html, labels, page, words

pytestmark = pytest.mark.usefixtures("no_bundle")


@pytest.fixture
def drawn(monkeypatch):
    """What charts are given: {key: figures}."""
    import components

    seen = {}
    monkeypatch.setattr(components, "live_charts", lambda charts, *, key, **_: seen.update({key: [f for f, _ in charts]}))
    return seen


def again(run: ffcore.Run, number: int, seed: int = 0, result: dict | None = None, **config) -> ffcore.Run:
    """A copy of a finished run under another seed, with other settings or results."""
    name = f"20310101-00000{number}-{run.config['model']['name']}-000{number}"
    copy = ffcore.Run(shutil.copytree(run.dir, run.dir.parent / name))
    parts = {key: {**copy.config[key], **value} if isinstance(value, dict) else value for key, value in config.items()}
    copy.write_config(id=name, created=f"2031-01-01T00:00:0{number}+00:00", seed=seed, **parts)
    copy.write_status(result={**copy.status()["result"], **(result or {})})
    return copy


def table(at) -> dict[str, list[str]]:
    """The headline: {measure: cells as text}."""
    body = next(element.proto.body for element in at.get("html") if "numbers" in element.proto.body.partition("</style>")[2])
    lines = re.findall(r"<tr><th scope=row>(.*?)<small>.*?</th>(.*?)</tr>", body)
    return {
        name: [re.sub("<[^>]+>", " ", cell).strip() for cell in re.findall(r"<td>(.*?)</td>", cells)] for name, cells in lines
    }


def told(at) -> str:
    return words(at) + "\n".join(e.value for e in [*at.error, *at.warning, *at.info])


def key(model: str) -> str:
    return next(g["key"] for g in ffcore.groups() if g["model"] == model)


def test_without_a_finished_run_the_page_leads_to_train(own_runs):
    assert "Train one" in labels(page("compare"))


def test_the_first_look_compares_models_without_a_click(store, drawn):
    at = page("compare")
    assert len(at.multiselect[0].value) == 2
    assert len(table(at)["Test accuracy"]) == 2
    radar, curves = drawn["headline"]
    assert {t["type"] for t in radar["data"]} == {"scatterpolar"}
    assert len(curves["data"]) == 2
    assert not at.error


def test_cells_are_mean_and_spread_over_seeds_with_n_and_the_difference_is_paired(store, drawn):
    for number, (seed, mine, base) in enumerate([(5, 0.6, 0.5), (6, 0.7, 0.4)]):
        again(store["ff"], number, seed, {"test_accuracy": mine})
        again(store["backprop"], number + 5, seed, {"test_accuracy": base})
    for run in (store["ff"], store["backprop"]):
        runs.delete(run)
    at = page("compare", groups=f"{key('ff')},{key('backprop')}", baseline=key("backprop"))
    one, other = table(at)["Test accuracy"]
    assert one.split("  ")[0].startswith("65.00 ± 7.07 % · n 2")
    assert "+20.00 ± 14.14 points, 2 pairs" in one
    assert other.startswith("45.00 ± 7.07 % · n 2")
    assert "points" not in other


def test_what_nobody_measured_is_no_data_and_no_zero(store, drawn):
    for run in (store["ff"], store["backprop"]):
        run.write_status(result={k: v for k, v in run.status()["result"].items() if k != "peak_memory"})
    at = page("compare")
    assert set(table(at)["Transfer"]) == {"no data"}
    assert set(table(at)["Peak memory"]) == {"no data"}
    assert "No data: transfer, memory." in told(at)
    names = " ".join(drawn["headline"][0]["layout"]["polar"]["angularaxis"]["categoryarray"])
    assert "memory" not in names
    assert "transfer" not in names
    memory = next(f for f in drawn["seeds"] if f["layout"]["title"]["text"] == "Peak memory")
    assert memory["data"] == []
    assert [n["text"] for n in memory["layout"]["annotations"]] == ["no data"] * 2


def test_transfer_comes_from_stored_probes_and_is_the_lead_over_the_twin(store, drawn):
    from test_comparison import plant, row
    from test_comparison import told as result

    plant(store["ff"], result(row("untrained", "all", 0.5), row("run", "all", 0.75)))
    at = page("compare")
    names = at.multiselect[0].value
    mine = table(at)["Transfer"][names.index(key("ff"))]
    assert mine.startswith("+25.00 points · n 1")
    assert table(at)["Transfer"][names.index(key("backprop"))] == "no data"
    assert [s.value for s in at.selectbox if s.label == "Transfer to"] == ["glyphs"]


def test_a_colour_stays_with_its_group_while_others_go_and_come(store, drawn):
    again(store["ff"], 1, train={"lr": 0.5})
    keys = [g["key"] for g in ffcore.groups()]
    at = page("compare", groups=",".join(f"{k}.{i}" for i, k in enumerate(keys)))

    def colours() -> dict[str, str]:
        lines = drawn["headline"][-1]["data"]
        return {t["name"]: t["line"]["color"] for t in lines if t.get("name")}

    before = colours()
    at.multiselect[0].set_value(keys[1:]).run()
    assert at.query_params["groups"] == ",".join(f"{k}.{i}" for i, k in enumerate(keys) if i)
    kept = colours()
    assert len(kept) == 2
    assert all(before[name] == colour for name, colour in kept.items())
    at.multiselect[0].set_value([*keys[1:], keys[0]]).run()
    assert colours() == before


def test_a_sent_link_shows_the_same_groups_in_the_same_colours(store, drawn):
    a, b = key("ff"), key("backprop")
    page("compare", groups=f"{b}.5,{a}.2")
    lines = [t for t in drawn["headline"][-1]["data"] if t.get("name")]
    assert [t["line"]["color"] for t in lines] == [charts.COLOURS[5], charts.COLOURS[2]]


@pytest.mark.parametrize(
    "query",
    [{"groups": "nonsense"}, {"groups": "../../etc/passwd.7"}, {"baseline": "x"}, {"a": "x"}, {"b": "../x"}],
)
def test_garbage_in_the_address_gets_a_friendly_word(store, drawn, query):
    assert "The address asks for" in told(page("compare", **query))


def test_a_colour_that_is_none_becomes_a_free_one(store, drawn):
    at = page("compare", groups=f"{key('ff')}.99,{key('backprop')}.٣")
    assert at.query_params["groups"] == f"{key('ff')}.0,{key('backprop')}.1"


def test_only_what_differs_of_the_settings_is_listed(store, drawn):
    again(store["ff"], 1, train={"lr": 0.5})
    mine = [g["key"] for g in ffcore.groups() if g["model"] == "ff"]
    at = page("compare", groups=",".join(mine))
    assert at.dataframe[0].value["setting"].tolist() == ["train.lr"]


def test_curves_of_several_seeds_have_a_band(store, drawn):
    again(store["ff"], 1, seed=1)
    page("compare", groups=key("ff"))
    lines = drawn["headline"][-1]["data"]
    assert [t.get("fill") for t in lines] == [None, None, "tonexty"]


def test_one_group_alone_is_no_comparison_and_the_page_says_what_to_do(store, drawn):
    at = page("compare", groups=key("ff"))
    assert "add a second one above, 8 at most" in told(at)
    at.multiselect[0].set_value([]).run()
    assert "Choose 2 to 8 groups" in told(at)


def test_best_and_last_are_told_apart(store, drawn):
    events = [{"event": "epoch", "step": i, "epoch": i, "seconds": i, "validation": {"goodness": share}, "layers": []}
              for i, share in enumerate((0.1, 0.9, 0.6))]  # fmt: skip
    (store["ff"].dir / "events.jsonl").write_text("".join(f"{json.dumps(e)}\n" for e in events))
    store["ff"].write_status(result={**store["ff"].status()["result"], "validation_accuracy": 0.6, "readout": "goodness"})
    at = page("compare")
    mine = at.multiselect[0].value.index(key("ff"))
    cells = table(at)
    assert cells["Validation, last"][mine].startswith("60.00 % · n 1")
    assert cells["Validation, best"][mine].startswith("90.00 % · n 1")
    assert cells["Epoch of best"][mine].startswith("1 · n 1")


def test_histograms_of_positives_and_negatives_lie_on_common_bins(store, drawn):
    again(store["ff"], 1, train={"lr": 0.5})
    mine = [g["key"] for g in ffcore.groups() if g["model"] == "ff"]
    at = page("compare", groups=",".join([*mine, key("backprop")]), layer="2")
    hist, *curves = drawn["layers"]
    assert len({tuple(t["x"]) for t in hist["data"]}) == 1
    assert len(hist["data"]) == 4
    for trace in hist["data"]:
        up = [y >= 0 if trace["name"].endswith("positives") else y <= 0 for y in trace["y"]]
        assert all(up)
        shares = [float(text.rstrip("%")) for text in trace["text"][:-1]]
        assert sum(shares) == pytest.approx(100, abs=2)
    assert [f["layout"]["title"]["text"].partition(":")[0] for f in curves] == ["d′", "Gap between positives and negatives",
                                                                               "Dead units"]  # fmt: skip
    assert [sum(bool(t.get("name")) for t in f["data"]) for f in curves] == [2, 2, 3]
    assert "No positives and negatives in layer 2: backprop" in told(at).replace("\\", "")


def test_curves_go_over_seconds_on_a_switch(store, drawn):
    page("compare", over="seconds")
    epochs = [e["seconds"] for e in store["ff"].events()[0] if e["event"] == "epoch"]
    lines = {t["name"].partition(" ")[0]: t for t in drawn["headline"][-1]["data"]}
    assert lines["ff"]["x"] == pytest.approx(epochs, rel=1e-3)
    assert drawn["headline"][-1]["layout"]["xaxis"]["title"]["text"] == "seconds of training"


def test_a_run_older_than_gap_and_d_prime_is_told(store, drawn):
    for epoch in store["ff"].snapshots():
        arrays = store["ff"].snapshot(epoch)
        store["ff"].write_snapshot(epoch, {k: v for k, v in arrays.items() if k != "apart"})
    at = page("compare")
    assert "Too old to have kept gap and d′: ff" in told(at).replace("\\", "")
    assert drawn["layers"][1]["data"] == []


# The list of properties


def test_properties_follow_from_the_models_facts(store):
    strategies = {s["name"]: s for s in catalogue.negatives()}
    for item in catalogue.models():
        config = ffcore.configure(model=item["name"], data="digits") if item["faithful"] else None
        if config is None:
            continue

        class Planned:
            def __init__(self, config):
                self.config = config

            def status(self):
                return {"result": None}

        found = ffcore.properties(Planned(config), item, strategies)
        assert set(found) == set(ffcore.PROPERTIES)
        assert all(reason for _, reason in found.values())
        if item["name"] == "untrained":
            assert {mark for mark, _ in found.values()} == {"idle", "open"}
            continue
        assert (found["Learning is local"][0] == "yes") == item["is_local"]
        assert (found["No negatives"][0] == "no") == item["uses_negatives"]
        assert (found["No label at the input"][0] == "no") == config["labelled"]
        if not item["is_local"]:
            assert found["No weight transport"][0] == "no"
    assert ffcore.properties(
        Planned(ffcore.configure(model="vicreg", data="digits")), catalogue.models("vicreg")[0], strategies
    )["No class labels for the layers"][0] == "yes"  # fmt: skip


def test_it_is_a_list_with_reasons_and_no_score(store, drawn):
    at = page("compare")
    assert "an error from the read-out reaches the layers below" in html(at)
    assert "every image comes twice" in html(at)
    assert "not a score" in told(at)


def test_what_the_study_drew_is_called_a_claim(store, drawn):
    at = page("compare")
    assert "Claims, not measurements of ours" in told(at)
    assert any("bio-plausibility" in frame.value for frame in at.dataframe)


# Representations


def test_two_nets_layers_are_compared_on_a_click_or_from_what_is_stored(store, drawn):
    at = page("compare", a=store["ff"].id, b=store["backprop"].id)
    assert "Compare their layers" in labels(at)
    ffcore.analyse("similarity", store["ff"], store["backprop"], n=100)
    ffcore.analyse("similarity", store["ff"], store["backprop"])
    at = page("compare", a=store["ff"].id, b=store["backprop"].id)
    assert "Compare their layers" not in labels(at)
    assert len(drawn["cka"]) == 3
    assert "class separation" in at.dataframe[-1].value or any("class separation" in f.value for f in at.dataframe)
    assert f"ffcore similarity {store['ff'].id} {store['backprop'].id}" in words(at)


# Damage


@pytest.mark.parametrize("wrong", [{}, {"test_accuracy": "high", "readout": 3, "peak_memory": "much"}])
def test_a_damaged_result_is_no_data(store, drawn, wrong):
    store["ff"].write_status(result=wrong)
    (store["ff"].dir / "events.jsonl").write_text('{"event": "epoch", "step": "x"}\nnonsense\n')
    at = page("compare")
    cells = table(at)
    mine = at.multiselect[0].value.index(key("ff"))
    assert {cells[name][mine] for name in ("Test accuracy", "Peak memory", "Dead units", "Epoch of best")} == {"no data"}


@pytest.mark.parametrize("wrong", ["x", 7, [1]])
def test_a_damaged_run_leaves_the_others(store, drawn, wrong):
    store["ff"].write_status(result=wrong, epochs=[])
    at = page("compare")
    assert len(at.multiselect[0].value) == 1
    assert "one group only" in told(at)


def test_the_csv_has_a_line_per_seed(store, drawn, monkeypatch):
    import streamlit as st

    again(store["ff"], 1, seed=1)
    saved = []
    monkeypatch.setattr(st, "download_button", lambda label, data, *_, **__: saved.append(data))
    at = page("compare", groups=f"{key('ff')},{key('backprop')}")
    lines = list(csv.DictReader(io.StringIO(saved[-1])))
    assert [(line["label"].partition(" ")[0], line["seed"]) for line in lines] == [("ff", "0"), ("ff", "1"), ("backprop", "0")]
    assert any(c.value.startswith("ffcore compare 2030") for c in at.code)


def test_the_command_tells_the_same_numbers(store):
    mine = ffcore.compare(store["ff"], baseline=store["backprop"])
    json.dumps(mine)
    assert [g["model"] for g in mine["groups"]] == ["ff", "backprop"]
    assert mine["groups"][0]["facts"]["test_accuracy"]["mean"] == store["ff"].status()["result"]["test_accuracy"]
    with pytest.raises(ffcore.Refused, match="only finished runs"):
        ffcore.compare(store["paused"])


# The figures themselves


def test_a_radars_axis_holds_its_values_and_better_is_outside():
    up, down = charts.around("a", [0.9, 0.95], "{}"), charts.around("b", [10.0, 30.0], "{}", better=-1, floor=0.0)
    assert 0 <= up.place(0.9) < up.place(0.95) <= 1
    assert 0 <= down.place(30.0) < down.place(10.0) <= 1
    assert down.rim >= 0
    assert charts.around("c", [0.0], "{}", -1, 0.0).place(0.0) == 1
    speed = charts.around("d", [120.0, 9000.0], "{}", log=True)
    assert (speed.centre, speed.rim) == (100, 10_000)
    assert speed.place(1000) == pytest.approx(0.5)


def test_a_radar_leaves_out_the_corner_that_nobody_measured_and_names_its_ranges():
    axes = [charts.around(name, [1.0, 2.0], "{:.1f}") for name in ("a, %", "b, s", "c, GB")]
    figure = charts.radar({"g": (0, [1.0, None, 2.0])}, axes)
    [trace] = figure["data"]
    assert [t.split("<br>")[:2] for t in trace["theta"]] == [["a", "%"], ["c", "GB"], ["a", "%"]]
    assert all("→" in label for label in figure["layout"]["polar"]["angularaxis"]["categoryarray"])
    json.dumps(figure, allow_nan=False)


def test_a_band_reaches_from_the_least_to_the_most_accurate_seed():
    figure = charts.curves({"g": (0, [{0: (0, 0.5), 1: (1, 0.9)}, {0: (0, 0.7), 1: (3, 0.8)}])}, "seconds")
    assert figure["data"][0]["x"] == [0, 2]  # where the seeds were on average
    mean, low, high = (t["y"] for t in figure["data"])
    assert mean == pytest.approx([0.4, 0.15])
    assert low == pytest.approx([0.5, 0.2])
    assert high == pytest.approx([0.3, 0.1])


def test_names_are_no_markup():
    evil = "<img src=x onerror=alert(1)>"
    axes = [charts.around(name, [1.0, 2.0], "{}") for name in "abc"]
    for figure in (charts.radar({evil: (0, [1, 2, 1])}, axes), charts.curves({evil: (0, [{0: (0, 0.5)}])}),
                   charts.sides(1, np.arange(3.0), {evil: (0, np.ones(2), np.ones(2))}),
                   charts.dots(charts.Panel("a", "b", {evil: (0, [1.0])}))):  # fmt: skip
        assert evil not in json.dumps(figure)
    assert evil not in charts.legend([(evil, 0)])
    assert evil not in charts.measures([(evil, 0)], {evil: (evil, [(evil, evil)])}, evil)
    assert evil not in charts.checklist({evil: evil}, {evil: {evil: ("yes", evil)}})
