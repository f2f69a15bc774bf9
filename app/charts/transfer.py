"""Transfer's figures: what a frozen net's features are worth on other images, always beside the same four baselines."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from charts import DASHES, INK, MARKS, NEGATIVE, POSITIVE, _clear, _figure, _titled, confusion

GREY = "#7F8A95"
NETS = {  # whose features → colour, the same in every chart
    "run": POSITIVE,
    "untrained": GREY,
    "pixels": INK,
    "backprop_source": NEGATIVE,
    "backprop_target": "#E69F00",
}
CLAIM = "claimed by the reference study"


@dataclass
class Bar:
    """One row of features: (mean, s.d. or None) by either protocol, None where it is not measured; what a study claimed."""

    name: str
    net: str
    converged: tuple[float, float | None] | None = None
    reference: tuple[float, float | None] | None = None
    claim: float | None = None


def percent(told: tuple[float, float | None] | None) -> str:
    """`84.90 ± 0.12 %`"""
    if told is None:
        return "no data"
    return f"{100 * told[0]:.1f}" + (f" ± {100 * told[1]:.1f}" if told[1] is not None else "") + " %"


def bars(rows: Sequence[Bar]) -> dict:
    """Accuracy of every row, the converged protocol filled, the reference study's hatched; a word where there is no data."""
    names = [html.escape(row.name) for row in rows]
    traces = []
    for key, label, hatch in (("converged", "converged protocol", ""), ("reference", "reference study's protocol", "/")):
        shown = [(name, row, told) for name, row in zip(names, rows, strict=True) if (told := getattr(row, key))]
        colours = [NETS.get(row.net, GREY) for _, row, _ in shown]
        fill = [_clear(c, 0.16) if hatch else c for c in colours]
        traces.append(
            {
                "type": "bar", "orientation": "h", "name": label, "y": [name for name, *_ in shown],
                "x": [round(100 * told[0], 2) for *_, told in shown],
                "text": [f"  {percent(told)}" for *_, told in shown], "textposition": "outside", "cliponaxis": False,
                "marker": {"color": fill, "line": {"color": colours, "width": 1.2},
                           "pattern": {"shape": hatch, "fgcolor": colours, "fgopacity": 0.7, "size": 6}},
                "hovertemplate": "%{y}: %{text}<extra>" + label + "</extra>",
            }
        )  # fmt: skip
    claims = [(name, row.claim) for name, row in zip(names, rows, strict=True) if row.claim is not None]
    if claims:
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": CLAIM, "y": [name for name, _ in claims],
                "x": [100 * claim for _, claim in claims], "hovertemplate": "claimed: %{x:.2f} %<extra></extra>",
                "marker": {"symbol": "x-thin", "size": 12, "line": {"width": 3, "color": "#CC79A7"}},
            }
        )  # fmt: skip
    figure = _figure(traces, 110 + 62 * len(rows), x="accuracy on the target's test images, %", y="", legend=True)
    layout = figure["layout"]
    layout |= {"barmode": "group", "bargap": 0.42, "bargroupgap": 0.04, "hovermode": "closest"}
    layout["margin"] |= {"l": 8, "r": 12, "t": 64}
    layout["legend"] |= {"font": {"size": 11}}
    layout["xaxis"] |= {"range": [0, 122], "tickvals": [0, 20, 40, 60, 80, 100]}
    layout["yaxis"] |= {"type": "category", "categoryorder": "array", "categoryarray": names, "showticklabels": False,
                        "range": [len(names) - 0.5, -0.75], "showgrid": False}  # fmt: skip
    missing = [name for name, row in zip(names, rows, strict=True) if row.converged is None and row.reference is None]
    note = {"x": 0, "showarrow": False, "xanchor": "left", "xshift": -4}
    layout["annotations"] = [  # names stand above their bars: on a phone there is no room beside them
        *({**note, "y": name, "yshift": 27, "text": name, "font": {"size": 12}} for name in names),
        *({**note, "y": name, "text": "no data", "font": {"size": 11}} for name in missing),
    ]
    return figure


def heat(
    layers: Sequence[str], targets: Sequence[str], accuracy: Sequence[Sequence], gain: Sequence[Sequence]
) -> dict:  # fmt: skip
    """Source layer × target: the colour is the lead over the untrained twin in points, blue ahead, vermilion behind.

    Shares (layers, targets), None where nobody has asked. The text has both numbers.
    """
    points = [[None if g is None else round(100 * g, 2) for g in row] for row in gain]
    most = max([1.0, *(abs(p) for row in points for p in row if p is not None)])
    columns = [html.escape(t) for t in targets]
    traces = [
        {
            "type": "heatmap", "x": columns, "y": list(layers), "z": points, "zmin": -most, "zmax": most,
            "colorscale": [[0, _clear(NEGATIVE, 0.85)], [0.5, _clear(GREY, 0.08)], [1, _clear("#2A9FE0", 0.85)]],
            "xgap": 3, "ygap": 3, "hoverongaps": False, "hovertemplate": "%{y} on %{x}: %{z:+.2f} points<extra></extra>",
            "colorbar": {"title": {"text": "points", "side": "right"}, "thickness": 10, "outlinewidth": 0},
        }
    ]  # fmt: skip
    figure = _figure(traces, 110 + 46 * len(layers), x="", y="")
    layout = figure["layout"]
    layout |= {"hovermode": "closest"}
    layout["margin"] |= {"l": 8}
    layout["xaxis"] |= {"type": "category", "showgrid": False, "automargin": True}
    layout["yaxis"] |= {"type": "category", "showgrid": False, "autorange": "reversed", "automargin": True}
    layout["annotations"] = [
        {"x": target, "y": layer, "text": _cell(accuracy[i][j], gain[i][j]), "showarrow": False, "font": {"size": 12}}
        for i, layer in enumerate(layers)
        for j, target in enumerate(columns)
    ]
    return figure


def _cell(accuracy: float | None, gain: float | None) -> str:
    if accuracy is None:
        return "no data"
    return f"<b>{100 * accuracy:.1f} %</b>" + ("" if gain is None else f"<br>{_signed(100 * gain)}")


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def few(curves: Mapping[str, tuple[str, Mapping[float, tuple[float, float | None]]]], everything: float) -> dict:
    """Accuracy by labelled images per class, {name: (net, {images per class: (mean, s.d. over draws)})}, 0 and up, log.

    `everything` is how many there are per class when all are used.
    """
    traces = []
    for i, (name, (net, points)) in enumerate(curves.items()):
        x = sorted(points)
        mean, sd = [100 * points[n][0] for n in x], [100 * (points[n][1] or 0) for n in x]
        colour = NETS.get(net, GREY)
        traces.append(
            {
                "x": x, "y": [round(v, 2) for v in mean], "mode": "lines+markers", "name": html.escape(name),
                "line": {"color": colour, "dash": DASHES[i % 6], "width": 2.2},
                "marker": {"symbol": MARKS[i % 6], "size": 8, "color": colour},
                "error_y": {"type": "data", "array": sd, "visible": any(sd), "thickness": 1.2, "width": 4},
                "hovertemplate": "%{y:.1f} %",
            }
        )  # fmt: skip
    figure = _figure(traces, 360, x="labelled target images per class", y="accuracy, %", legend=True)
    counts = sorted({n for _, points in curves.values() for n in points})
    layout = figure["layout"]
    layout["xaxis"] |= {
        "type": "log", "tickvals": counts, "range": _span(counts),
        "ticktext": [f"all ({n:,.0f})" if math.isclose(n, everything) else f"{n:,.0f}" for n in counts],
    }  # fmt: skip
    layout["legend"] |= {"y": -0.22, "yanchor": "top"}
    layout["margin"] |= {"t": 12, "b": 96}
    return figure


def _span(counts: Sequence[float]) -> list[float]:
    low, high = math.log10(min(counts, default=1)), math.log10(max(counts, default=10))
    return [low - 0.12, max(high, low + 0.5) + 0.12]


def recalls(classes: Sequence[str], rows: Mapping[str, tuple[str, Sequence[float]]]) -> dict:
    """Share of each class's test images that are read right, {name: (net, recalls (C,))}, one mark each, joined per class."""
    names = [f"{html.escape(str(c))} " for c in classes]  # a text axis: digits must not become numbers
    traces = []
    for i, name in enumerate(names):
        values = [100 * r[i] for _, r in rows.values()]
        ends = {"x": [min(values), max(values)], "y": [name, name], "mode": "lines", "showlegend": False, "hoverinfo": "skip"}
        traces += [{**ends, "line": {"color": GREY, "width": 1.6}}] if len(values) > 1 else []
    for i, (label, (net, values)) in enumerate(rows.items()):
        mark = {"symbol": MARKS[i % 6], "size": 10, "color": NETS.get(net, GREY)}
        traces.append(
            {
                "x": [round(100 * v, 2) for v in values], "y": names, "mode": "markers", "name": html.escape(label),
                "marker": mark, "hovertemplate": "%{y}: %{x:.1f} %",
            }
        )  # fmt: skip
    figure = _figure(traces, 110 + 29 * len(classes), x="images of the class read right, %", y="", legend=True)
    layout = figure["layout"]
    layout |= {"hovermode": "closest"}
    layout["margin"] |= {"l": 8, "t": 48}
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "automargin": True}
    return figure


def confused(counts: np.ndarray, classes: Sequence[str]) -> dict:
    """The confusion matrix (C, C), with room for classes whose names are words."""
    figure = confusion(counts, classes)
    for axis in ("xaxis", "yaxis"):
        figure["layout"][axis] |= {
            "automargin": True,
            "title": {"text": figure["layout"][axis]["title"]["text"], "standoff": 14},
        }
    figure["layout"]["xaxis"] |= {"tickangle": -45} if max(map(len, classes)) > 3 else {}
    return figure


def tuning(curves: Mapping[str, Sequence[float]], everything: Mapping[str, float]) -> dict:
    """Validation accuracy on the target per epoch of every way to go on training, {mode: shares}; test accuracy in the name."""
    colours = [POSITIVE, "#009E73", "#CC79A7", "#E69F00", NEGATIVE, GREY]
    traces = []
    for i, (mode, values) in enumerate(curves.items()):
        test = f", test {100 * everything[mode]:.1f} %" if mode in everything else ""
        traces.append(
            {
                "x": list(range(1, len(values) + 1)), "y": [round(100 * v, 2) for v in values], "mode": "lines+markers",
                "name": html.escape(mode) + test, "line": {"color": colours[i % 6], "dash": DASHES[i % 6], "width": 2.2},
                "marker": {"symbol": MARKS[i % 6], "size": 6}, "hovertemplate": "%{y:.1f} %",
            }
        )  # fmt: skip
    figure = _titled(
        _figure(traces, 380, x="epoch on the target", y="validation accuracy, %", legend=True), "Going on training"
    )
    figure["layout"]["legend"] |= {"x": 0, "xanchor": "left", "y": -0.2, "yanchor": "top"}
    figure["layout"]["margin"] |= {"t": 30, "b": 110}
    return figure


def table(rows: Sequence[Bar]) -> str:
    """The same features by both protocols beside a study's claim, as an HTML table; the difference to the first row last."""
    head = "".join(
        f"<th scope=col>{text}</th>" for text in ("", "converged", "reference protocol", "the reference study <i>claims</i>")
    )
    body = ""
    for row in rows:
        claim = "–" if row.claim is None else f"{100 * row.claim:.2f} %"
        cells = [percent(row.converged), percent(row.reference), claim]
        body += f"<tr><th scope=row>{html.escape(row.name)}</th>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"
    own, twin = (next((row for row in rows if row.net == net), None) for net in ("run", "untrained"))
    if own and twin:
        gaps = [
            "–" if a is None or b is None else f"<b>{_signed(100 * (a - b))}</b> points"
            for a, b in (
                (own.converged and own.converged[0], twin.converged and twin.converged[0]),
                (own.reference and own.reference[0], twin.reference and twin.reference[0]),
                (own.claim, twin.claim),
            )
        ]
        body += f"<tr class=sum><th scope=row>trained less untrained</th>{''.join(f'<td>{g}</td>' for g in gaps)}</tr>"
    return f"{_STYLE}<div class=protocols><table><tr>{head}</tr>{body}</table></div>"


_STYLE = """<style>
.protocols {overflow-x: auto}
.protocols table {border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem}
.protocols th, .protocols td {border: 0; border-bottom: 1px solid rgba(127, 127, 127, .25); padding: .35rem .5rem;
  text-align: right; font-weight: 400}
.protocols th:first-child {text-align: left; padding-left: 0}
.protocols th[scope=col] {opacity: .8; font-size: .82rem}
.protocols .sum th, .protocols .sum td {border-bottom: 0; border-top: 2px solid currentColor}
</style>"""
