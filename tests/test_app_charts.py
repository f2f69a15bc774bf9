"""The dashboard's figures: what is drawn is what was measured, spikes survive, and thinning is told."""

import base64
import csv
import json

import charts
import numpy as np
import pytest
from charts import compare, health

from ffcore.serve import app_folder


def tick(step: int, pos: float, neg: float | None, paired: bool = True) -> dict:
    def around(value):
        return None if value is None else [value, value - 1, value, value + 1]

    lead = pos - (neg or 0)
    layer = {"layer": 1, "pos": around(pos), "neg": around(neg), "gap": lead, "dprime": 1.0}
    if paired and neg is not None:
        layer |= {"pair": around(lead), "paired_dprime": 2.0, "won": 0.9}
    return {"event": "tick", "step": step, "epoch": step / 100, "loss": 1.0, "layers": [layer]}


def goodness(ticks: list[dict], **options) -> dict:
    return charts.goodness(charts.by_layer(ticks)[1], **options)


def numbers(line: dict) -> list[float]:
    return np.frombuffer(base64.b64decode(line["bdata"]), "<f4").tolist()


def named(figure: dict, part: str) -> dict:
    return next(t for t in figure["data"] if part in t.get("name", ""))


def test_thinning_keeps_both_ends_every_spike_and_the_limit():
    lines = np.zeros((2, 10_000))
    lines[0, 4321], lines[1, 77] = 5, -3
    keep = charts.thin(lines, 500)
    assert len(keep) <= 500
    assert {0, 77, 4321, 9999} <= set(keep.tolist())
    assert (np.diff(keep) > 0).all()


def test_short_lines_are_drawn_whole_and_say_nothing_of_thinning():
    figure = goodness([tick(i, i, 0.0) for i in range(30)])
    assert numbers(named(figure, "positives")["y"]) == list(range(30))
    assert "showing" not in figure["layout"]["xaxis"]["title"]["text"]


def test_a_thinned_chart_says_how_many_points_it_shows():
    figure = goodness([tick(i, np.sin(i), 0.0) for i in range(5_000)], limit=100)
    shown = len(numbers(named(figure, "positives")["x"]))
    assert shown <= 100
    assert f"showing {shown} of 5,000" in figure["layout"]["xaxis"]["title"]["text"]


def test_positives_and_negatives_differ_in_more_than_colour():
    figure = goodness([tick(0, 2.0, 1.0), tick(1, 3.0, 1.0)])
    pos, neg = named(figure, "positives"), named(figure, "negatives")
    assert pos["line"]["color"] != neg["line"]["color"]
    assert pos["line"]["dash"] != neg["line"]["dash"]


def test_theta_is_drawn_only_where_there_is_one():
    ticks = [tick(0, 2.0, 1.0), tick(1, 3.0, 1.0)]
    assert "shapes" not in goodness(ticks)["layout"]
    layout = goodness(ticks, threshold=1.5)["layout"]
    assert layout["shapes"][0]["y0"] == 1.5
    assert layout["annotations"][0]["text"] == "θ = 1.5"


def test_a_net_without_negatives_gets_one_curve():
    figure = goodness([tick(i, 2.0, None) for i in range(3)])
    assert [t["name"] for t in figure["data"] if "name" in t] == ["positives x⁺"]


def test_layers_that_learn_by_turns_keep_their_own_numbers():
    ticks = [tick(i, float(i), 0.0) for i in range(4)]
    for t in ticks[1::2]:
        t["layers"][0]["layer"] = 2
    lines = charts.separation(charts.by_layer(ticks), "gap")["data"]
    assert [(t["name"], numbers(t["y"])) for t in lines] == [("layer 1", [0, 2]), ("layer 2", [1, 3])]


def test_the_lead_is_drawn_pair_by_pair_where_there_are_pairs():
    rows = charts.by_layer([tick(0, 2.0, 1.0), tick(1, 3.0, 0.5)])[1]
    figure = charts.difference(rows, 1)
    assert charts.is_paired(rows)
    assert numbers(named(figure, "g⁺ − g⁻")["y"]) == [1.0, 2.5]
    assert figure["layout"]["shapes"][0]["y0"] == 0
    assert not charts.is_paired(charts.by_layer([tick(0, 2.0, 1.0, paired=False)])[1])
    assert not charts.is_paired([])


def test_the_lead_histogram_splits_at_the_tie():
    figure = charts.pair_histogram(np.array([-2.0, -1.0, 0.0, 1.0]), np.array([1, 2, 7]))
    assert numbers(named(figure, "negative wins")["y"])[:3] == pytest.approx([0.1, 0.2, 0])
    assert numbers(named(figure, "positive wins")["y"])[:3] == pytest.approx([0, 0, 0.7])


def test_accuracy_leaves_room_for_the_last_tenths():
    epochs = [{"epoch": i, "validation": {"goodness": v}, "layers": []} for i, v in enumerate([0.1, 0.97, 0.98, 0.99, 1.0])]
    figure = charts.accuracy(epochs)
    errors, axis = figure["data"][0]["y"], figure["layout"]["yaxis"]
    places = (np.log10(errors) - axis["range"][0]) / (axis["range"][1] - axis["range"][0])
    assert (np.diff(places) > 0.04).all()
    assert 0 <= places[0] <= places[-1] <= 1
    assert figure["data"][0]["text"] == ["10.00%", "97.00%", "98.00%", "99.00%", "100.00%"]


def test_thousands_of_epochs_stay_light_and_are_told():
    layers = [{"layer": i, "validation_accuracy": 0.9, "dead": 0.1} for i in (1, 2)]
    epochs = [{"epoch": i, "validation": {"goodness": 0.9 + (i == 777) / 20}, "layers": layers} for i in range(3_000)]
    for figure in (charts.accuracy(epochs), charts.dead_units(epochs)):
        assert len(json.dumps(figure)) < 20_000
        assert "of 3,000" in figure["layout"]["xaxis"]["title"]["text"]
    assert 777 in charts.accuracy(epochs)["data"][0]["x"]


def test_histograms_are_shares_over_the_same_edges():
    edges = np.linspace(0, 4, 5)
    figure = charts.histogram(edges, np.array([0, 1, 3, 0]), np.array([8, 0, 0, 0]))
    assert numbers(named(figure, "positives")["y"])[:4] == [0, 0.25, 0.75, 0]
    assert numbers(named(figure, "negatives")["y"])[:4] == [1, 0, 0, 0]
    assert figure["layout"]["xaxis"]["range"] == [0, 3]


def saved(tab, figure: dict) -> list[list[str]]:
    """The lines of a chart's CSV, as the page's own script writes it."""
    text = tab.evaluate("traces => chartCsv(traces)", figure["data"])
    return list(csv.reader(text.splitlines()))[1:]


@pytest.mark.browser
def test_a_charts_csv_holds_the_numbers_and_not_what_is_drawn_of_them(chromium):
    tab = chromium.new_page()
    script = (app_folder() / "components" / "loader.js").read_text("utf-8")
    tab.evaluate(script.replace("export default function () {}", ""))
    epochs = [{"epoch": e, "validation": {"goodness": value}, "layers": []} for e, value in ((0, 0.1), (1, None), (2, 1.0))]
    assert saved(tab, charts.accuracy(epochs)) == [
        ["net, goodness", "0", "0.1", ""], ["net, goodness", "1", "", ""], ["net, goodness", "2", "1", ""],
    ]  # fmt: skip
    assert saved(tab, charts.accuracies({"a": {0: 0.25}})) == [["a", "0", "0.25", ""]]
    assert saved(tab, charts.hardness([charts.Point("x", 0.04, 0.9, 0.8)], {}))[0][1:3] == ["0.04", "0.9"]
    rate, died = np.array([[0.25, 0.0], [1.0, 0.0]]), np.array([2, 1])
    lives = health.lives(rate, np.array([[False, False], [False, True]]), died, [0, 5], "dead", None)
    (packed,) = lives["data"]
    packed["z"] = np.frombuffer(base64.b64decode(packed["z"]["bdata"]), np.uint8).reshape(2, 2).tolist()  # as Plotly unpacks it
    table = [(unit, epoch, value) for _, epoch, unit, value in saved(tab, lives)]
    assert table[:2] == [("unit 1", "0", "0.0"), ("unit 1", "5", "dead")]
    assert [float(value) for *_, value in table[2:]] == pytest.approx([0.25, 1], abs=0.01)
    table = saved(tab, charts.confusion(np.array([[7, 2], [0, 9]]), ["cat", "dog"]))
    assert [row[1:] for row in table] == [
        ["cat ", "cat ", "7"], ["dog ", "cat ", "2"], ["cat ", "dog ", "0"], ["dog ", "dog ", "9"],
    ]  # fmt: skip
    axes = [compare.Axis("accuracy, %", 90, 100), compare.Axis("dead units, %", 9, 0)]
    radar = saved(tab, compare.radar({"g": (0, [98.0, 3.0])}, axes))
    assert [row[:3] for row in radar][:2] == [["g", "accuracy, %", "98"], ["g", "dead units, %", "3"]]
    hills = saved(tab, compare.sides(1, np.array([0.0, 4.0, 9.0]), {"g": (0, np.array([0.2, 0.8]), np.array([1.0, 0.0]))}))
    assert [row[:3] for row in hills[:2]] == [["g, positives", "0", "0.2"], ["g, positives", "4", "0.8"]]
    band = saved(tab, compare.curves({"g": (0, [{0: (0, 0.5)}, {0: (0, 0.75)}])}))
    assert [(row[0], row[2]) for row in band] == [("g", "0.625"), ("g, lowest seed", "0.5"), ("g, highest seed", "0.75")]
    tab.close()


def test_confusions_colour_mistakes_only_and_count_everything():
    figure = charts.confusion(np.array([[7, 2], [0, 9]]), ["cat", "dog"])
    assert figure["data"][0]["z"] == [[None, 2], [0, None]]
    assert [a["text"] for a in figure["layout"]["annotations"]] == ["<b>7</b>", "2", "<b>9</b>"]


def test_the_goodness_table_stars_each_rows_winner_and_the_sum_of_the_voters():
    goodness = np.array([[3.0, 0.0, 0.5], [1.0, 2.0, 9.0], [0.0, 1.9, 0.0]])  # (C, L)
    table = charts.goodness_table(goodness, ["0", "1", "2"], 1, ["Layer 1", "Layer 2", "Layer 3"], votes=[0, 1])
    rows = table.split("<tr>")[2:]
    stars = [[("★" in cell) for cell in row.split("<td")[1:]].index(True) for row in rows]
    assert stars == [0, 1, 1, 0]  # layers 1, 2, 3, and layers 1 + 2: 3.0 against 3.0 and 1.9
    assert "Layer 1, Layer 2" in rows[3]


def test_class_names_cannot_smuggle_markup():
    nasty = "<script>alert(1)</script>"
    table = charts.goodness_table(np.eye(2), [nasty, "b"], 0, ["Layer 1", "Layer 2"])
    sheet = charts.contact_sheet(np.zeros((1, 1, 4, 4)), np.array([0]), np.array([0]), [nasty])
    assert "<script" not in table + sheet


def test_contact_sheet_marks_what_was_read_wrong():
    sheet = charts.contact_sheet(np.zeros((2, 1, 4, 4)), np.array([0, 1]), np.array([0, 0]), ["a", "b"])
    assert sheet.count("class='right'") == 1
    assert sheet.count("✗ a") == 1


def test_a_pair_shows_its_labels_and_where_its_images_differ():
    pos, neg = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    pos[0, 0, 0], neg[0, 1, :2] = 1, 0.5
    shown = charts.contrast(pos, neg, 1, None, ["0", "<b>1</b>"])
    assert "label &lt;b&gt;1&lt;/b&gt;" in shown
    assert "no label" in shown
    assert "x⁺ is brighter in 6% of the pixels, x⁻ in 12%" in shown
    assert shown.count("<img") == 3
    assert "the same image" in charts.contrast(pos, pos, 0, 1, ["0", "1"])
    assert charts.contrast(np.ones((3, 4, 4)), np.zeros((3, 4, 4)), None, None, []).count("<img") == 3


def test_differences_are_blue_for_the_positive_and_vermilion_for_the_negative():
    red, _, blue, opacity = charts._signed(np.array([[1.0, -0.5, 0.0]]))
    assert blue[0, 0] > red[0, 0]
    assert red[0, 1] > blue[0, 1]
    assert opacity[0].tolist() == [255, 127.5, 0]


def test_verdicts_mark_lost_pairs_in_more_than_colour():
    shown = charts.verdicts([3.25, -0.5, float("nan")], [1.0, 0.25, 0.5])
    rows = shown.split("<tr>")[2:]
    assert "✓ +3.25" in rows[0]
    assert "✗ −0.5" in rows[1]
    assert "25%" in rows[1]
    assert "<td>–</td>" in rows[2]


def test_the_scatter_names_every_strategy_and_draws_what_needs_no_training():
    points = [charts.Point("<i>easy</i>", 0.0, 0.97), charts.Point("hard", 0.25, 0.95, 0.9), charts.Point("awful", 1.0, 0.1)]
    figure = charts.hardness(points, {"raw pixels": 0.92})
    assert [len(trace["x"]) for trace in figure["data"]] == [3, 1]
    assert figure["data"][0]["marker"]["symbol"] != figure["data"][1]["marker"]["symbol"]
    assert figure["data"][0]["x"] == [0, 0.5, 1]  # by the square root
    assert figure["layout"]["shapes"][0]["y0"] == pytest.approx(0.08)
    assert {note["text"] for note in figure["layout"]["annotations"]} == {
        "raw pixels",
        "&lt;i&gt;easy&lt;/i&gt;",
        "hard",
        "awful",
    }
    low, high = figure["layout"]["yaxis"]["range"]
    assert all(high <= note["y"] <= low for note in figure["layout"]["annotations"])
    json.dumps(charts.hardness([], {}), allow_nan=False)


def test_names_in_the_scatter_do_not_cover_each_other():
    spots = [(0.1 + 0.002 * i, 0.5) for i in range(8)]
    places = charts._beside(spots, [10] * 8, [])
    centres = [(700 * x + dx, 360 * y + dy) for (x, y), (dx, dy) in zip(spots, places, strict=True)]
    for i, (x, y) in enumerate(centres):
        assert all(abs(x - u) >= 60 or abs(y - v) >= 14 for u, v in centres[:i])


def test_long_histories_are_halved_in_memory_and_still_counted():
    import feed

    story = feed.Story()
    for i in range(20_000):
        story.take(tick(i, 99.0 if i == 123 else 2.0, 1.0))
    assert len(story.ticks) <= 1_000
    assert story.told == {0: 20_000, 1: 20_000}
    steps = [t["step"] for t in story.ticks]
    assert steps == sorted(steps)
    assert {0, 123, 19_999} <= set(steps)
    assert np.diff(steps).max() < 1_000  # the beginning is kept as finely as the end


def test_of_very_many_epochs_the_best_and_the_deadliest_stay():
    import feed

    story = feed.Story()
    for i in range(5_000):
        rows = [{"layer": 1, "validation_accuracy": None, "dead": 0.7 if i == 321 else 0.1}]
        told = {"goodness": 0.99 if i == 1_234 else 0.9 + i % 7 / 1_000, "softmax": 0.9}
        story.take({"event": "epoch", "epoch": i, "step": 10 * i, "validation": told, "layers": rows})
    assert len(story.epochs) <= 1_000
    assert max(feed.accuracies(story, ["goodness"]).items(), key=lambda item: item[1]) == (1_234, 0.99)
    assert feed.dead(story)[1][321] == 0.7
    assert {0, 4_999} <= {e["epoch"] for e in story.epochs}
    assert "of 5,000" in json.dumps(charts.accuracy(story.epochs))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_figures_are_valid_json_whatever_was_measured(value):
    epochs = [{"epoch": 1, "validation": {"goodness": value}, "layers": [{"layer": 1, "validation_accuracy": value,
               "dead": value}]}]  # fmt: skip
    ticks = [tick(0, 2.0, 1.0), tick(1, float("nan"), 1.0)]
    figures = [charts.accuracy(epochs), charts.dead_units(epochs), goodness(ticks), charts.loss(ticks),
               charts.separation(charts.by_layer(ticks), "gap"), charts.goodness([]), charts.separation({}, "gap"),
               charts.difference([], 1), charts.difference(charts.by_layer(ticks)[1], 1), charts.accuracy([]),
               charts.dead_units([]), charts.pair_histogram(np.arange(2.0), np.zeros(1))]  # fmt: skip
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_live_tick_stays_below_60_kb(depth):
    points = max(60, min(250, 320 // depth))  # as on Live
    ticks = [tick(i, np.sin(i / 7), np.cos(i / 9)) for i in range(5_000)]
    rows = charts.by_layer(ticks)[1]
    edges, counts = np.linspace(0, 1, 41), np.arange(40)
    layers = [{"layer": i, "validation_accuracy": 0.9, "dead": 0.1} for i in range(1, depth + 1)]
    epochs = [{"epoch": i, "validation": {"goodness": 0.9, "softmax": 0.9}, "layers": layers} for i in range(1_000)]
    figures = [charts.accuracy(epochs), charts.dead_units(epochs)]
    figures += [charts.separation(dict.fromkeys(range(1, depth + 1), rows), key, points) for key in ("won", "paired_dprime")]
    figures += depth * [charts.goodness(rows, limit=points), charts.difference(rows, 1, points)]
    figures += depth * [charts.histogram(edges, counts, counts), charts.pair_histogram(edges, counts)]
    size = len(json.dumps(figures, separators=(",", ":")))
    assert size < 60_000, size


def test_what_is_made_of_a_story_is_made_once_for_all_viewers_until_more_is_told():
    import feed

    story, calls = feed.Story(), []

    def make():
        calls.append(1)
        return len(calls)

    story.take({"event": "alarm", "step": 1})
    mine, yours = story.copy(), story.copy()
    assert (mine.once("chart", make=make), yours.once("chart", make=make), yours.once("chart", 2, make=make)) == (1, 1, 2)
    story.take({"event": "alarm", "step": 2})
    assert story.copy().once("chart", make=make) == 3
    assert mine.once("chart", make=make) == 1  # a viewer's own moment stays as it is


def test_viewers_are_counted_until_they_have_not_looked_for_a_while(tmp_path, monkeypatch):
    import feed

    from ffcore import Run

    now = [0.0]
    monkeypatch.setattr(feed.time, "monotonic", lambda: now[0])
    reader = feed._Reader(Run(tmp_path))
    assert [reader.viewers(who) for who in ("a", "b", "a", "c")] == [1, 2, 2, 3]
    now[0] = feed.GONE / 2
    assert reader.viewers("a") == 3
    now[0] = feed.GONE
    assert reader.viewers("a") == 1


@pytest.mark.parametrize(
    ("seconds", "viewers", "period"),
    [(None, 1, 0.7), (60, 10, 1.2), (60, 99, 10), (1_200, 1, 2), (1_200, 30, 3.6), (1e5, 1, 10)],
)
def test_a_page_looks_the_more_seldom_the_longer_a_run_lasts_and_the_more_watch_it(seconds, viewers, period):
    import feed

    assert feed.pace({"train_seconds": seconds}, viewers) == pytest.approx(period)
