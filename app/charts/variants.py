"""Runs of two models side by side, and the quantities that only one of them has."""

import html
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from charts.live import Rows
from charts.parts import (
    CURVE,
    DASHES,
    LEAST_ERROR,
    MARKS,
    POINTS,
    _by_errors,
    _few,
    _figure,
    _is_number,
    _legend_below,
    _list,
    _of_layer,
    _pack,
    _tell,
    _titled,
    thin,
)

COMPARED = ("#009E73", "#CC79A7", "#E69F00")  # runs side by side, the one in question first


def special(layers: dict[int, Rows], key: str, limit: int = POINTS, told: Mapping[int, int] = MappingProxyType({})) -> dict:
    """One of a model's own quantities over training, a line per layer; what is no number is left out."""
    traces, shown, of = [], 0, 0
    for i, rows in layers.items():
        values = [(epoch, row["traces"].get(key)) for epoch, row in rows if isinstance(row.get("traces"), dict)]
        x, y = np.array([(e, v) for e, v in values if _is_number(v)], float).reshape(-1, 2).T
        if not len(x):
            continue
        keep = thin(y[None], limit)
        shown, of = max(shown, len(keep)), max(of, len(x), told.get(i, 0))
        traces.append({"x": _pack(x[keep]), "y": _pack(y[keep]), "name": f"layer {i}", "mode": "lines", **_of_layer(i)})
    return _tell(_titled(_figure(traces, CURVE, x="epoch", y="", legend=True), html.escape(key.replace("_", " "))), shown, of)


def accuracies(runs: Mapping[str, Mapping[float, float]], over: str = "epoch") -> dict:
    """Validation accuracy of runs over training, {name: {x: share}}, by the share of errors as in `accuracy`."""
    traces, lowest = [], 0.5
    for i, (name, values) in enumerate(runs.items()):
        if not values:
            continue
        x, (y,) = _few([dict(values)])
        errors = [max(1 - v, LEAST_ERROR) for v in y]
        lowest = min([lowest, *errors])
        traces.append(
            {
                "x": x, "y": _list(errors), "text": [f"{v:.2%}" for v in y], "name": html.escape(name), "meta": {"y": _list(y)},
                "mode": "lines+markers" if len(x) <= 40 else "lines", **_of_run(i), "hovertemplate": "%{text}",
            }
        )  # fmt: skip
    figure = _titled(_figure(traces, 260, x=over, y="validation accuracy", legend=True), "Accuracy on validation images")
    return _legend_below(_by_errors(figure, lowest, 0.95), over)


def dead_beside(runs: Mapping[str, Mapping[int, Mapping[float, float]]], over: str = "epoch") -> dict:
    """Share of dead units of runs over training, {name: {layer: {x: share}}}: a colour per run, a dash per layer."""
    traces, top = [], 0.0
    for i, (name, layers) in enumerate(runs.items()):
        for layer, values in sorted(layers.items()):
            x, (y,) = _few([dict(values)])
            top, style = max([top, *y]), _of_run(i, layer)
            mode = "lines+markers" if len(x) <= 40 else "lines"
            told = {"name": f"{html.escape(name)}, layer {layer}", "mode": mode, **style, "hovertemplate": "%{y:.1%}"}
            traces.append({"x": x, "y": _list(y), **told})
    figure = _titled(_figure(traces, 260, x=over, y="dead units", legend=True), "Dead units")
    figure["layout"]["yaxis"] |= {"tickformat": ".0%", "range": [0, max(0.1, 1.15 * top)]}
    return _legend_below(figure, over)


def _of_run(i: int, layer: int = 1) -> dict:
    dash, mark = DASHES[(layer - 1) % len(DASHES)], MARKS[i % len(MARKS)]
    return {"line": {"color": COMPARED[i % 3], "dash": dash, "width": 2.2}, "marker": {"symbol": mark, "size": 6}}
