"""Figures of the lessons: ten units, bars with their spread, a few curves, and who is pulled how hard."""

import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from charts.parts import DASHES, INK, LAYERS, MARKS, NEGATIVE, POSITIVE, _figure, _list


def units(activities: np.ndarray) -> dict:
    """Activities (n,) of a layer's units, as bars on an axis that does not move."""
    x = list(range(1, len(activities) + 1))
    bars = {"x": x, "y": _list(activities), "type": "bar", "marker": {"color": LAYERS[3]}, "hovertemplate": "%{y:.1f}"}
    figure = _figure([bars], 200, x="unit", y="activity")
    figure["layout"]["yaxis"]["range"], figure["layout"]["xaxis"]["dtick"] = [0, 3.1], 1
    return figure


def bars(rows: Sequence[tuple[str, float, float | None]], x: str, share: bool = False) -> dict:
    """(name, value, spread or None) as horizontal bars, the first on top, each with its value beside it.

    `share`: values within [0, 1], told in percent on an axis that begins at 0, as bars must.
    """
    form = "{:.1%}" if share else "{:.2f}"
    names, values = [_broken(html.escape(name)) for name, _, _ in rows], [float(value) for _, value, _ in rows]
    spreads = [float(wide or 0) for _, _, wide in rows]
    trace = {
        "x": _list(values), "y": names, "type": "bar", "orientation": "h", "marker": {"color": LAYERS[3]},
        "error_x": {"type": "data", "array": _list(spreads), "color": LAYERS[4], "thickness": 1.6, "visible": any(spreads)},
        "hovertemplate": "%{customdata}<extra></extra>", "customdata": [form.format(value) for value in values],
    }  # fmt: skip
    figure = _figure([trace], 70 + 38 * len(rows), x=x, y="")
    figure["layout"]["yaxis"] |= {"autorange": "reversed", "automargin": True, "tickfont": {"size": 12}}
    top = max([v + s for v, s in zip(values, spreads, strict=True)], default=1) or 1
    figure["layout"]["xaxis"] |= {
        "range": [0, 1.35 * top],
        **({"tickformat": ".0%", "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1]} if share else {}),
    }
    figure["layout"]["hovermode"] = "closest"
    figure["layout"]["annotations"] = [
        {"x": value + wide, "y": name, "text": form.format(value), "xanchor": "left", "showarrow": False, "xshift": 4}
        for name, value, wide in zip(names, values, spreads, strict=True)
    ]
    return figure


def _broken(name: str, most: int = 26) -> str:
    """A long name in two or three lines, for a phone."""
    lines = [""]
    for word in name.split():
        if len(lines[-1]) + len(word) > most and lines[-1]:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "<br>".join(lines)


def curves(lines: Mapping[str, tuple[Iterable[float], Iterable[float]]], x: str, y: str, share: bool = False) -> dict:
    """{name: (x, y)} as lines that differ in colour, dash and mark."""
    traces = []
    for i, (name, (xs, ys)) in enumerate(lines.items()):
        xs, ys = list(xs), list(ys)
        few = len(xs) <= 40
        traces.append(
            {
                "x": _list(xs), "y": _list(ys), "name": html.escape(name), "mode": "lines+markers" if few else "lines",
                "line": {"color": LAYERS[(3, 4, 0, 1)[i % 4]], "dash": DASHES[i % len(DASHES)], "width": 2},
                "marker": {"symbol": MARKS[i % len(MARKS)], "size": 6}, "hovertemplate": "%{y:.1%}" if share else "%{y:.2f}",
            }
        )  # fmt: skip
    figure = _figure(traces, 280, x=x, y=y, legend=True)
    figure["layout"]["yaxis"] |= {"tickformat": ".0%"} if share else {}
    return figure


def pulls(pos: float, neg: float, theta: float, told: Mapping[str, tuple[float, float, float]]) -> dict:
    """Where g⁺, g⁻ and θ lie, and for each objective the pull on both as an arrow, {objective: (loss, up, down)}."""
    names = list(told)
    traces = [
        {"x": [value] * len(names), "y": names, "name": name, "mode": "markers",
         "marker": {"color": colour, "symbol": mark, "size": 12}, "hovertemplate": "%{x:.2f}"}
        for value, name, colour, mark in ((pos, "g⁺", POSITIVE, "circle"), (neg, "g⁻", NEGATIVE, "square"))
    ]  # fmt: skip
    figure = _figure(traces, 210, x="goodness", y="", legend=True)
    longest = max([1e-6, *(pull for _, *both in told.values() for pull in both)])
    arrows = []
    for name, (_, up, down) in told.items():
        for start, pull, colour, sign in ((pos, up, POSITIVE, 1), (neg, down, NEGATIVE, -1)):
            if pull > 0.02 * longest:
                end = start + sign * 0.6 * pull / max(longest, 2.0)
                arrows.append(
                    {"x": end, "y": name, "ax": start, "ay": name, "xref": "x", "yref": "y", "axref": "x", "ayref": "y",
                     "showarrow": True, "arrowhead": 2, "arrowwidth": 2.5, "arrowcolor": colour, "text": ""}
                )  # fmt: skip
    line = {"color": INK, "width": 1.2, "dash": "dash"}
    shape = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": theta, "x1": theta, "line": line}
    word = {
        "x": theta,
        "y": 1,
        "yref": "paper",
        "text": "θ",
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "top",
        "xshift": 3,
    }
    figure["layout"] |= {"annotations": [*arrows, word], "shapes": [shape], "hovermode": "closest"}
    figure["layout"]["xaxis"]["range"], figure["layout"]["yaxis"]["automargin"] = [-0.6, 3.7], True
    return figure
