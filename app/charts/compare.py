"""Compare's figures: groups of runs beside each other, a colour, dash and mark for each that stay with it."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charts import DASHES, INK, LAYERS, LEAST_ERROR, MARKS, _by_errors, _clear, _few, _figure, _legend_below, _list, _titled

GREY = "#7F8A95"
COLOURS = (*LAYERS[:5], INK, LAYERS[5], GREY)  # Okabe and Ito's; LAYERS[5] is LAYERS[3] of a dark page, so far from it
MOST = len(COLOURS)
_DASHES = (*DASHES, "5px,2px,1px,2px", "12px,3px")
_MARKS = (*MARKS, "star", "pentagon")


@dataclass
class Axis:
    """A spoke of the radar: name with unit, the values at its centre and its rim, and how a value is written."""

    name: str
    centre: float
    rim: float
    text: str = "{:.3g}"
    log: bool = False

    def place(self, value: float | None) -> float | None:
        """0 at the centre, 1 at the rim."""
        if value is None:
            return None
        a, b, v = (math.log10(max(x, 1e-12)) if self.log else x for x in (self.centre, self.rim, value))
        return min(1.0, max(0.0, (v - a) / (b - a)))

    def label(self) -> str:
        return f"{self.name.replace(', ', '<br>')}<br>{self.text.format(self.centre)} → {self.text.format(self.rim)}"


def around(
    name: str, values: Sequence[float], text: str, better: int = 1, floor: float | None = None, log: bool = False
) -> Axis:
    """An axis with round ends that hold all values with some room; `better` -1: the rim is the small end."""
    values = [v for v in values if v is not None and math.isfinite(v)] or [1.0, 2.0]
    low, high = min(values), max(values)
    if log:
        low, high = 10 ** math.floor(math.log10(max(low, 1e-9)) - 1e-9), 10 ** math.ceil(math.log10(max(high, 1e-9)) + 1e-9)
    else:
        step = 10 ** math.floor(math.log10(max((high - low) * 1.2, abs(high) * 0.02, 1e-6)))
        low, high = step * math.floor(low / step - 0.25), step * math.ceil(high / step + 0.25)
        low = low if floor is None else max(low, floor)
    high = high if high > low else low + 1
    return Axis(name, *((low, high) if better > 0 else (high, low)), text, log)


def radar(groups: Mapping[str, tuple[int, Sequence[float | None]]], axes: Sequence[Axis]) -> dict:
    """One closed line per group, {name: (colour's number, a value per axis)}; a corner that nobody measured is left out.

    Every axis has its own range, written at its end: better is outside.
    """
    around_it = [axis.label() for axis in axes]
    traces = []
    for name, (slot, values) in groups.items():
        spots = [(label, axis, value) for label, axis, value in zip(around_it, axes, values, strict=True) if value is not None]
        if len(spots) < 2:
            continue
        spots.append(spots[0])
        colour = COLOURS[slot % MOST]
        traces.append(
            {
                "type": "scatterpolar", "theta": [label for label, *_ in spots], "name": html.escape(name),
                "mode": "lines+markers",
                "r": _list([axis.place(value) for _, axis, value in spots]), "hovertemplate": "%{text}<extra></extra>",
                "meta": {"x": [axis.name for _, axis, _ in spots], "y": [value for *_, value in spots]},
                "text": [f"{html.escape(name)}: {axis.name} {axis.text.format(value)}" for _, axis, value in spots],
                "line": {"color": colour, "width": 2.2, "dash": _DASHES[slot % MOST]},
                "marker": {"symbol": _MARKS[slot % MOST], "size": 8, "color": colour},
            }
        )  # fmt: skip
    figure = _figure(traces, 470, x="", y="", legend=True)
    layout = figure["layout"]
    del layout["xaxis"], layout["yaxis"]
    lines = _clear(GREY, 0.35)
    layout |= {
        "hovermode": "closest",
        "polar": {
            "bgcolor": "rgba(0,0,0,0)",
            "radialaxis": {"range": [0, 1], "showticklabels": False, "gridcolor": lines, "linecolor": lines},
            "angularaxis": {"type": "category", "categoryarray": around_it, "gridcolor": lines, "linecolor": lines,
                            "rotation": 90, "direction": "clockwise", "tickfont": {"size": 11}},
        },
    }  # fmt: skip
    layout["margin"] |= {"l": 70, "r": 70, "t": 48, "b": 90}
    layout["legend"] |= {"y": -0.14, "yanchor": "top"}
    return figure


@dataclass
class Panel:
    """One measure: heading, axis, and per group its mean and the numbers of its random seeds; `log` on a logarithmic axis."""

    title: str
    unit: str
    values: dict[str, tuple[int, Sequence[float]]]  # name → (colour's number, a number per seed)
    log: bool = False


def dots(panel: Panel) -> dict:
    """Every random seed as a mark, the mean as a line across; a word where nobody has measured it."""
    names = [html.escape(name) for name in panel.values]
    traces, missing = [], []
    for name, (slot, values) in zip(names, panel.values.values(), strict=True):
        if not values:
            missing.append(name)
            continue
        mean = sum(values) / len(values)
        colour = COLOURS[slot % MOST]
        traces.append(
            {
                "type": "scatter", "mode": "markers", "y": [name] * len(values), "x": _list(values), "showlegend": False,
                "marker": {"symbol": _MARKS[slot % MOST], "size": 9, "color": _clear(colour, 0.55),
                           "line": {"color": colour, "width": 1.2}},
                "hovertemplate": "%{x:.4g}<extra></extra>",
            }
        )  # fmt: skip
        traces.append(
            {
                "type": "scatter", "mode": "markers", "y": [name], "x": _list([mean]), "showlegend": False,
                "marker": {"symbol": "line-ns", "size": 18, "line": {"color": colour, "width": 3}},
                "hovertemplate": "mean %{x:.4g}<extra></extra>",
            }
        )  # fmt: skip
    figure = _titled(_figure(traces, 96 + 30 * len(names), x=panel.unit, y=""), panel.title)
    layout = figure["layout"]
    layout |= {"hovermode": "closest"}
    layout["yaxis"] |= {"type": "category", "categoryarray": names, "categoryorder": "array", "autorange": "reversed",
                        "automargin": True}  # fmt: skip
    layout["yaxis"] |= {"range": [len(names) - 0.5, -0.5], "autorange": False}
    layout["xaxis"] |= {"type": "log", "dtick": 1} if panel.log and traces else {}
    layout["margin"] |= {"l": 8}
    layout["annotations"] = [
        {"xref": "paper", "x": 0.02, "y": name, "xanchor": "left", "text": "no data", "showarrow": False, "font": {"size": 11}}
        for name in missing
    ]
    return figure


OVER = {"epoch": "epoch", "seconds": "seconds of training", "share": "share of its training"}
COURSES = {  # what a run tells after every epoch → (heading, axis, how a number is written)
    "accuracy": ("Accuracy on validation images", "validation accuracy", "{:.2%}"),
    "dprime": ("d′: positives from negatives, in standard deviations", "d′", "{:.3g}"),
    "gap": ("Gap between positives and negatives", "gap g⁺ − g⁻", "{:.3g}"),
    "dead": ("Dead units", "share of units", "{:.1%}"),
}
Course = Mapping[float, tuple[float, float]]  # epoch → (where on the x axis, value)


def curves(groups: Mapping[str, tuple[int, Sequence[Course]]], over: str = "epoch", measure: str = "accuracy") -> dict:
    """A measure over training, {name: (colour's number, a course per seed)}: the mean, in a band from the lowest to the highest
    seed; accuracy by the share of errors, as on Live."""
    heading, axis, form = COURSES[measure]
    by_errors, traces, lowest = measure == "accuracy", [], 0.5
    for name, (slot, seeds) in groups.items():
        seeds = [dict(s) for s in seeds if s]
        if not seeds:
            continue
        common = sorted(set.intersection(*(set(s) for s in seeds))) or sorted(seeds[0])
        table = np.array([[s.get(epoch, (math.nan,) * 2) for epoch in common] for s in seeds], float)  # (seeds, epochs, 2)
        where = table[..., 0].mean(0)
        lines = [table[..., 1].mean(0), table[..., 1].min(0), table[..., 1].max(0)]
        kept, (mean, low, high) = _few([dict(enumerate(line)) for line in lines])
        x, colour, shown = _list(where[kept]), COLOURS[slot % MOST], html.escape(name)
        told, real = ["–" if v is None else form.format(v) for v in mean], [_list(line) for line in (mean, low, high)]
        if by_errors:
            mean, low, high = ([None if v is None else max(1 - v, LEAST_ERROR) for v in line] for line in (mean, low, high))
            lowest = min([lowest, *(v for line in (mean, low, high) for v in line if v is not None)])
        traces.append(
            {
                "x": x, "y": _list(mean), "meta": {"y": real[0]}, "text": told, "name": shown, "legendgroup": shown,
                "hovertemplate": "%{text}",
                "mode": "lines+markers" if len(x) <= 40 else "lines",
                "line": {"color": colour, "width": 2.2, "dash": _DASHES[slot % MOST]},
                "marker": {"symbol": _MARKS[slot % MOST], "size": 6, "color": colour},
            }
        )  # fmt: skip
        if len(seeds) > 1:
            edge = {
                "x": x,
                "mode": "lines",
                "line": {"width": 0},
                "legendgroup": shown,
                "showlegend": False,
                "hoverinfo": "skip",
            }
            traces.append({**edge, "name": f"{shown}, lowest seed", "y": _list(low), "meta": {"y": real[1]}})
            top = {"name": f"{shown}, highest seed", "y": _list(high), "meta": {"y": real[2]}}
            traces.append({**edge, **top, "fill": "tonexty", "fillcolor": _clear(colour, 0.15)})
    figure = _titled(_figure(traces, 260, x=OVER[over], y=axis, legend=by_errors), heading)
    if by_errors:
        figure = _by_errors(figure, lowest, 0.95)
    if measure == "dead":
        figure["layout"]["yaxis"] |= {"tickformat": ".1~%", "rangemode": "tozero"}
    if over == "share":
        figure["layout"]["xaxis"] |= {"tickformat": ".0%"}
    if by_errors:
        figure = _legend_below(figure, "epoch")
        figure["layout"]["margin"]["b"] = 60 + 22 * len(groups)
        figure["layout"]["height"] = 330 + 22 * len(groups)
    return figure if traces else _said(figure, "no data")


def sides(layer: int, edges: np.ndarray, groups: Mapping[str, tuple[int, np.ndarray, np.ndarray]]) -> dict:
    """One layer's goodness, positives above the line and negatives below it, {name: (colour's number, shares, shares)} on the
    same bins, even in the root of goodness; each group is as high as the others, as a narrow hill would else dwarf the rest."""
    root = np.sign(edges) * np.abs(edges) ** 0.5
    traces = []
    for name, (slot, pos, neg) in groups.items():
        colour, shown, most = COLOURS[slot % MOST], html.escape(name), max(1e-9, float(pos.max()), float(neg.max()))
        for side, share, sign in (("positives", pos, 1), ("negatives", neg, -1)):
            traces.append(
                {
                    "x": _list(root), "y": _list(sign * np.append(share, share[-1]) / most),
                    "meta": {"x": _list(edges), "y": _list(np.append(share, share[-1]))}, "name": f"{shown}, {side}",
                    "legendgroup": shown, "mode": "lines", "fill": "tozeroy", "fillcolor": _clear(colour, 0.12),
                    "line": {"color": colour, "width": 1.8, "dash": _DASHES[slot % MOST] if sign > 0 else "dot", "shape": "hv"},
                    "text": [f"{v:.1%}" for v in (*share, share[-1])], "hovertemplate": "%{text}",
                }
            )  # fmt: skip
    figure = _titled(_figure(traces, 300, x="goodness", y="images, by each group's most"), f"Layer {layer}: goodness")
    layout = figure["layout"]
    layout |= {"showlegend": False}
    layout["yaxis"] |= {"tickvals": [-1, 0, 1], "ticktext": ["most", "0", "most"], "range": [-1.25, 1.25]}
    used = [i for i in range(len(edges) - 1) if any(s[i] > 0 for _, *both in groups.values() for s in both)]
    ends = (root[used[0]], root[used[-1] + 1]) if used else (root[0], root[-1])
    marks = np.linspace(*ends, 6)
    layout["xaxis"] |= {"range": [float(e) for e in ends], "tickvals": _list(marks),
                        "ticktext": [f"{np.sign(m) * m * m:.2g}" for m in marks]}  # fmt: skip
    layout["annotations"] = [
        {"xref": "paper", "yref": "paper", "x": 0.99, "y": y, "xanchor": "right", "text": text, "showarrow": False,
         "font": {"size": 11}}
        for y, text in ((0.97, "▲ positives x⁺"), (0.03, "▼ negatives x⁻"))
    ]  # fmt: skip
    return figure


def _said(figure: dict, text: str) -> dict:
    """An empty chart that says why."""
    figure["layout"]["annotations"] = [
        {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "text": text, "showarrow": False, "font": {"size": 12}}
    ]
    return figure


MEASURES = {  # fact → (name, what it is)
    "test_accuracy": ("Test accuracy", "by the default read-out, once, at the end"),
    "validation_accuracy": ("Validation, last", "after the last epoch"),
    "best_accuracy": ("Validation, best", "after its best epoch, chosen in hindsight"),
    "best_epoch": ("Epoch of best", "on validation images"),
    "transfer_gain": ("Transfer", "lead over the untrained twin"),
    "transfer": ("Transfer, accuracy", "converged probe, all layers"),
    "images_per_second": ("Speed", "images a second, all included"),
    "train_seconds": ("Training time", "all included"),
    "peak_memory": ("Peak memory", "process on a CPU, tensors on a GPU"),
    "dead": ("Dead units", "never on, mean over layers"),
}
_SHARES = ("test_accuracy", "validation_accuracy", "best_accuracy", "transfer", "dead")


def number(fact: str, value: float, signed: bool = False) -> str:
    """A measure's number with its unit; `signed` as a difference."""
    sign = "+" if signed else ""
    if fact == "transfer_gain" or (signed and fact in _SHARES):
        text = f"{100 * value:+.2f} points"
    elif fact in _SHARES:
        text = f"{100 * value:.2f} %"
    elif fact == "best_epoch":
        text = f"{value:{sign}.3g} epochs" if signed else f"{value:.3g} "
    elif fact == "images_per_second":
        text = f"{value:{sign},.0f} /s"
    elif fact == "train_seconds":
        text = f"{value:{sign},.1f} s" if abs(value) < 100 else f"{value:{sign},.0f} s"
    else:
        text = f"{value / 1e9:{sign}.2f} GB"
    return text.replace("-", "−")


def spread(fact: str, sd: float) -> str:
    """A standard deviation as it stands behind ±, without its unit."""
    return number(fact, abs(sd)).lstrip("+").partition(" ")[0]


def cell(fact: str, told: Mapping[str, Any]) -> str:
    """`97.92 ± 0.10 % · n 3`"""
    if told["mean"] is None:
        return "no data"
    value, _, unit = number(fact, told["mean"]).partition(" ")
    around = "" if told["sd"] is None else f" ± {spread(fact, told['sd'])}"
    return " ".join(f"{value}{around} {unit} · n {told['n']}".split())


def gap(fact: str, told: Mapping[str, Any] | None) -> str:
    """The difference to the baseline, paired by seed where both have one."""
    if told is None or told["mean"] is None:
        return ""
    value, _, unit = number(fact, told["mean"], signed=True).partition(" ")
    value = value if value[0] in "+−" else f"+{value}"
    pairs = f"{told['n']} pair{'s' * (told['n'] > 1)}" if told["n"] else "of means"
    around = "" if told["sd"] is None else f" ± {spread(fact, told['sd'])}"
    return f"{value}{around} {unit}, {pairs}"


def overview(told: Sequence[Mapping[str, Any]], colours: Mapping[str, int]) -> tuple[dict | None, list[str]]:
    """The radar of groups, as `ffcore.headline` tells them, over what at least one has, and the names of what none has."""
    wanted = {
        "test_accuracy": ("accuracy, %", "{:.4g}", 1, 100, None),
        "transfer_gain": ("transfer, points", "{:+.3g}", 1, 100, None),
        "images_per_second": ("speed, images/s", "{:,.0f}", 1, 1, None), "peak_memory": ("memory, GB", "{:.3g}", -1, 1e-9, 0.0),
        "dead": ("dead units, %", "{:.3g}", -1, 100, 0.0),
    }  # fmt: skip
    if not any(g["facts"]["test_accuracy"]["n"] for g in told):
        wanted = {"validation_accuracy": wanted.pop("test_accuracy"), **wanted}
    axes, columns, absent = [], [], []
    for fact, (name, text, better, scale, floor) in wanted.items():
        values = [None if (mean := g["facts"][fact]["mean"]) is None else scale * mean for g in told]
        if any(v is not None for v in values):
            axes.append(around(name, values, text, better, floor, log=fact == "images_per_second"))
            columns.append(values)
        else:
            absent.append(name.partition(",")[0])
    if len(axes) < 3:
        return None, absent
    lines = {g["label"]: (colours[g["key"]], [column[i] for column in columns]) for i, g in enumerate(told)}
    return radar(lines, axes), absent


def of_seeds(told: Sequence[Mapping[str, Any]], colours: Mapping[str, int]) -> list[tuple[dict, str]]:
    """Every measure with every random seed as a mark: figures and what they show."""
    axes = {"test_accuracy": ("%", 100), "transfer_gain": ("points", 100), "images_per_second": ("images a second", 1),
            "peak_memory": ("GB", 1e-9), "dead": ("%", 100), "validation_accuracy": ("%", 100)}  # fmt: skip
    figures = []
    for fact, (unit, scale) in axes.items():
        values = {g["label"]: (colours[g["key"]], [scale * v for v in g["facts"][fact]["values"].values()]) for g in told}
        name = MEASURES[fact][0]
        figures.append((dots(Panel(name, unit, values, fact == "images_per_second")), f"{name} of every seed"))
    return figures


def swatch(slot: int) -> str:
    """A group's line and mark in small, as HTML."""
    colour = COLOURS[slot % MOST]
    style = "solid" if slot % MOST == 0 else "dashed" if slot % 2 else "dotted"
    ink = {INK: "currentColor", LAYERS[3]: "#2A9FE0"}.get(colour, colour)  # readable on light and dark
    return f"<span class=swatch style='border-color:{ink};border-top-style:{style}'></span>"


def legend(groups: Sequence[tuple[str, int]]) -> str:
    """Which line is whose, as HTML: (name, colour's number) each."""
    return f"{_STYLE}<div class=whose>{''.join(f'<span>{swatch(i)}{html.escape(name)}</span>' for name, i in groups)}</div>"


def measures(
    groups: Sequence[tuple[str, int]], rows: Mapping[str, tuple[str, Sequence[tuple[str, str]]]], baseline: str = ""
) -> str:
    """Measures × groups as an HTML table: groups (name, colour's number), {measure: (what it is, (value, difference) each)}."""
    head = "".join(
        f"<th scope=col>{swatch(slot)}{html.escape(name)}{'<small>baseline</small>' * (name == baseline)}</th>"
        for name, slot in groups
    )
    body = ""
    for name, (about, cells) in rows.items():
        told = "".join(f"<td>{html.escape(value)}<small>{html.escape(gap)}</small></td>" for value, gap in cells)
        body += f"<tr><th scope=row>{html.escape(name)}<small>{html.escape(about)}</small></th>{told}</tr>"
    return f"{_STYLE}<div class='checklist numbers'><table><tr><th></th>{head}</tr>{body}</table></div>"


def checklist(properties: Mapping[str, str], groups: Mapping[str, Mapping[str, tuple[str, str]]]) -> str:
    """Properties × groups as an HTML table, {property: what it asks}, {group: {property: (mark, reason)}}: words, no score."""
    marks = {"yes": "✓ yes", "no": "✗ no", "in part": "◐ in part", "idle": "–", "open": "?"}
    head = "".join(f"<th scope=col>{html.escape(name)}</th>" for name in groups)
    body = ""
    for name, about in properties.items():
        cells = ""
        for told in groups.values():
            mark, reason = told[name]
            cells += f"<td class='{mark.replace(' ', '-')}'><b>{marks[mark]}</b><br>{html.escape(reason)}</td>"
        body += f"<tr><th scope=row>{html.escape(name)}<small>{html.escape(about)}</small></th>{cells}</tr>"
    return f"{_STYLE}<div class=checklist><table><tr><th></th>{head}</tr>{body}</table></div>"


_STYLE = """<style>
.checklist {overflow-x: auto}
.checklist table {border-collapse: collapse; font-size: .84rem; width: 100%}
.checklist th, .checklist td {border: 0; border-bottom: 1px solid rgba(127, 127, 127, .25); padding: .45rem .6rem;
  text-align: left; vertical-align: top; font-weight: 400; min-width: 9.5rem; line-height: 1.35}
.checklist th[scope=col] {font-weight: 700}
.checklist th[scope=row] {padding-left: 0; font-weight: 700; min-width: 8rem}
.checklist th small {display: block; font-weight: 400; opacity: .75}
.checklist.numbers td {white-space: nowrap; font-variant-numeric: tabular-nums; min-width: 7.5rem}
.checklist td small, .checklist th[scope=col] small {display: block; opacity: .75; font-weight: 400}
.swatch {display: block; width: 2.2rem; border-top: 4px solid; margin-bottom: .35rem}
.whose {display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; font-size: .84rem}
.checklist .yes b {color: #009E73}
.checklist .no b {color: #D55E00}
</style>"""
