"""A run as it learns, from its ticks and epochs, and what it has come to."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from charts.parts import (
    _SIDES,
    CURVE,
    DASHES,
    INK,
    LEAST_ERROR,
    MARKS,
    NEGATIVE,
    POINTS,
    POSITIVE,
    _by_epoch,
    _by_errors,
    _clear,
    _few,
    _figure,
    _level,
    _list,
    _of_layer,
    _pack,
    _tell,
    _titled,
    thin,
)

Rows = list[tuple[float, dict]]  # (epoch, what a tick says of one layer)


def by_layer(ticks: Sequence[dict], has: str = "gap") -> dict[int, Rows]:
    """What ticks tell of `has`, layer by layer, counted from 1: under the greedy and alternate schedules a tick tells only of
    the layers that learn, and a layer without negatives has no gap."""
    layers: dict[int, Rows] = {}
    for tick in ticks:
        for row in tick["layers"]:
            if has in row:
                layers.setdefault(row["layer"], []).append((tick["epoch"], row))
    return dict(sorted(layers.items()))


def goodness(rows: Rows, threshold: float | None = None, limit: int = POINTS, told: int = 0) -> dict:
    """One layer's goodness over training: mean of positives and of negatives, each in a band of its 10–90% quantiles.

    `threshold` draws θ. `told`: points there have been, if more than `rows` holds.
    """
    x = np.array([epoch for epoch, _ in rows], float)
    streams = {side: _stream(rows, side) for side in ("pos", "neg")}
    streams = {side: values for side, values in streams.items() if len(values) == len(x)}
    keep = thin(np.stack([values[:, 0] for values in streams.values()]), limit) if len(x) else np.arange(0)
    traces = []
    for side, values in streams.items():
        name, colour, dash = _SIDES[side]
        traces += _banded(x[keep], values[keep], name, colour, dash)
    figure = _titled(_figure(traces, CURVE, x="epoch", y="goodness", legend=True), "Goodness")
    figure["layout"]["yaxis"]["rangemode"] = "tozero"
    if threshold is not None:
        _level(figure, threshold, f"θ = {threshold:g}")
    return _tell(figure, len(keep), max(told, len(x)))


def difference(rows: Rows, layer: int, limit: int = POINTS, told: int = 0) -> dict:
    """One layer's g⁺ − g⁻ over training, pair by pair: the mean in a band of its 10–90% quantiles, and 0, the tie."""
    x, values = np.array([epoch for epoch, _ in rows], float), _stream(rows, "pair")
    keep = thin(values[:, 0][None], limit)
    traces = _banded(x[keep], values[keep], "g⁺ − g⁻", _of_layer(layer)["line"]["color"], "solid")
    figure = _titled(_figure(traces, CURVE, x="epoch", y="g⁺ − g⁻"), "Lead of the positive")
    return _tell(_level(figure, 0, "tie"), len(keep), max(told, len(x)))


def is_paired(rows: Rows) -> bool:
    """Does every positive have a negative of its own to be compared with?"""
    return bool(rows) and "pair" in rows[-1][1]


def _stream(rows: Rows, key: str) -> np.ndarray:
    """Mean and quantiles of one quantity, (n, 4); rows that lack it are left out."""
    return np.array([row[key] for _, row in rows if row.get(key)], float).reshape(-1, 4)


def _banded(x: np.ndarray, values: np.ndarray, name: str, colour: str, dash: str) -> list[dict]:
    """A line of means (n, 4)[:, 0] in a band between the outer quantiles; the band takes its x from the line."""
    mean, low, _, high = values.T
    edge = {"mode": "lines", "line": {"width": 0}, "legendgroup": name, "showlegend": False, "hoverinfo": "skip"}
    return [
        {
            "x": _pack(x), "y": _pack(mean), "name": name, "legendgroup": name, "mode": "lines",
            "line": {"color": colour, "width": 2.2, "dash": dash}, "hovertemplate": "%{y:.3g}",
        },
        {**edge, "y": _pack(high)},
        {**edge, "y": _pack(low), "fill": "tonexty", "fillcolor": _clear(colour, 0.13)},
    ]  # fmt: skip


def loss(ticks: Sequence[dict], limit: int = POINTS, told: int = 0, title: str = "") -> dict:
    """The loss over training of all layers together; with a `title` as high as a layer's charts."""
    x, y = (np.array([t[key] for t in ticks], float) for key in ("epoch", "loss"))
    keep = thin(y[None], limit)
    line = {"color": POSITIVE, "width": 2.2}
    traces = [{"x": _pack(x[keep]), "y": _pack(y[keep]), "mode": "lines", "line": line, "hovertemplate": "%{y:.3g}"}]
    figure = _figure(traces, CURVE if title else 300, x="epoch", y="loss")
    return _tell(_titled(figure, title) if title else figure, len(keep), max(told, len(x)))


SEPARATION = {  # what a tick says of a layer → (heading, axis)
    "won": ("Pairs in which the positive wins", "share of pairs"),
    "paired_dprime": ("d′ of pairs: the lead in standard deviations", "d′ of pairs"),
    "gap": ("Gap between positives and negatives", "gap g⁺ − g⁻"),
    "dprime": ("d′: the gap in standard deviations", "d′"),
}


def separation(layers: dict[int, Rows], key: str, limit: int = POINTS, told: Mapping[int, int] = MappingProxyType({})) -> dict:
    """Every layer's `won`, `paired_dprime`, `dprime` or `gap` over training, as ticks tell it."""
    traces, shown, of = [], 0, 0
    for i, rows in layers.items():
        x, y = np.array([(epoch, row[key]) for epoch, row in rows], float).reshape(-1, 2).T
        keep = thin(y[None], limit)
        shown, of = max(shown, len(keep)), max(of, len(x), told.get(i, 0))
        traces.append({"x": _pack(x[keep]), "y": _pack(y[keep]), "name": f"layer {i}", "mode": "lines", **_of_layer(i)})
    heading, axis = SEPARATION[key]
    figure = _titled(_figure(traces, 260, x="epoch", y=axis, legend=True), heading)
    if key == "won":
        figure["layout"]["yaxis"] |= {"tickformat": ".0%"}
        return _tell(_level(figure, 0.5, "coin toss"), shown, of)
    return _tell(_level(figure, 0), shown, of)


def histogram(edges: np.ndarray, pos: np.ndarray, neg: np.ndarray, title: str = "") -> dict:
    """Goodness of positives over that of negatives, as shares: edges (B + 1,), counts (B,) each."""
    traces = []
    for side, counts in (("neg", neg), ("pos", pos)):
        name, colour, dash = _SIDES[side]
        traces.append(_steps(edges, counts / max(1, counts.sum()), name, colour, dash))
    return _titled(_shares(traces, edges, pos + neg, "goodness"), title)


def pair_histogram(edges: np.ndarray, pair: np.ndarray, title: str = "") -> dict:
    """g⁺ − g⁻ of every image as shares, edges (B + 1,), counts (B,): blue where the positive wins, vermilion elsewhere."""
    share = pair / max(1, pair.sum())
    right = edges[:-1] >= 0  # 0 is not always an edge: the bin that holds it counts as lost
    traces = [
        _steps(edges, np.where(side, share, 0), name, colour, "solid")
        for side, name, colour in ((~right, "the negative wins", NEGATIVE), (right, "the positive wins", POSITIVE))
    ]
    figure = _shares(traces, edges, pair, "g⁺ − g⁻")
    line = {"color": INK, "width": 1.2, "dash": "dash"}
    figure["layout"]["shapes"] = [{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 0, "x1": 0, "line": line}]
    return _titled(figure, title)


def _steps(edges: np.ndarray, share: np.ndarray, name: str, colour: str, dash: str) -> dict:
    return {
        "x": _pack(edges), "y": _pack([*share, share[-1]]), "name": name, "mode": "lines",
        "line": {"color": colour, "width": 1.6, "dash": dash, "shape": "hv"}, "fill": "tozeroy",
        "fillcolor": _clear(colour, 0.28), "hovertemplate": "%{y:.1%}",
    }  # fmt: skip


def _shares(traces: list[dict], edges: np.ndarray, counts: np.ndarray, x: str) -> dict:
    used = np.flatnonzero(counts)
    figure = _figure(traces if len(used) else [], CURVE, x=x, y="share of images")
    if len(used):
        figure["layout"]["xaxis"]["range"] = [float(edges[used[0]]), float(edges[used[-1] + 1])]
    else:
        figure["layout"]["yaxis"]["range"] = [0, 0.1]
    figure["layout"]["yaxis"] |= {"tickformat": ".0%", "nticks": 4}
    return figure


def accuracy(epochs: Sequence[dict]) -> dict:
    """Validation accuracy after each epoch: every layer alone, and the net's read-outs.

    Drawn by the share of errors on a logarithmic scale: 98% and 99% are as far apart as 80% and 90%, and the untrained
    net's 10% does not squeeze them together.
    """
    lines: dict[tuple, dict[int, float | None]] = {}
    for e in epochs:
        for row in e["layers"]:
            lines.setdefault(("layer", row["layer"]), {})[e["epoch"]] = row["validation_accuracy"]
        for name, value in (e["validation"] or {}).items():
            lines.setdefault(("net", name), {})[e["epoch"]] = value
    lines = {key: values for key, values in lines.items() if any(v is not None for v in values.values())}
    heads = [name for kind, name in lines if kind == "net"]
    x, columns = _few(list(lines.values()))
    traces, lowest = [], 0.5
    for (kind, name), values in zip(lines, columns, strict=True):
        if kind == "layer":
            label, style = f"layer {name} alone", _of_layer(name, 1.6)
        else:
            i = heads.index(name)
            line = {"color": INK, "dash": DASHES[i % 6], "width": 2.4}
            label, style = f"net, {name}", {"line": line, "marker": {"symbol": MARKS[i % 6], "size": 6}}
        errors = [None if v is None else max(1 - v, LEAST_ERROR) for v in values]
        lowest = min([lowest, *(e for e in errors if e is not None)])
        traces.append(
            {
                "x": x, "y": _list(errors), "text": ["–" if v is None else f"{v:.2%}" for v in values], "name": label,
                "meta": {"y": _list(values)},
                "mode": "lines+markers", **style, "hovertemplate": "%{text}",
            }
        )  # fmt: skip
    figure = _titled(_figure(traces, 260, x="epoch", y="validation accuracy", legend=True), "Accuracy on validation images")
    figure["layout"]["margin"]["t"] = 42 if len(traces) < 4 else 58  # on a phone the legend takes two lines
    return _by_epoch(_by_errors(figure, lowest, 0.95), x, _told(epochs))


def _told(epochs: Sequence[dict]) -> int:
    """How many epochs have been told, from 0 on, kept or not."""
    return int(epochs[-1]["epoch"]) + 1 if epochs else 0


def dead_units(epochs: Sequence[dict]) -> dict:
    """Share of each layer's units never switched on by the first 1,000 validation images, under the right label or a
    wrong one, after each epoch."""
    lines: dict[int, dict[int, float | None]] = {}
    for e in epochs:
        for row in e["layers"]:
            lines.setdefault(row["layer"], {})[e["epoch"]] = row["dead"]
    x, columns = _few(list(lines.values()))
    traces = [
        {"x": x, "y": y, "name": f"layer {layer}", "mode": "lines+markers", **_of_layer(layer), "hovertemplate": "%{y:.1%}"}
        for layer, y in zip(lines, columns, strict=True)
    ]
    figure = _titled(_figure(traces, 260, x="epoch", y="dead units", legend=True), "Dead units")
    top = max((v for y in columns for v in y if v is not None), default=0)
    figure["layout"]["yaxis"] |= {"tickformat": ".0%", "range": [0, max(0.1, 1.15 * top)]}
    return _by_epoch(figure, x, _told(epochs))


def confusion(counts: np.ndarray, classes: Sequence[str]) -> dict:
    """Confusion matrix, (C, C) counts [true, predicted]; only mistakes are coloured: the diagonal would drown them."""
    wrong = counts.astype(float)
    np.fill_diagonal(wrong, np.nan)
    names = [f"{c} " for c in classes]  # a text axis: digits must not become numbers
    traces = [
        {
            "type": "heatmap",
            "z": [_list(row) for row in wrong],
            "meta": {"z": counts.tolist()},
            "x": names,
            "y": names,
            "hoverongaps": False,
            "colorscale": [[0, _clear(NEGATIVE, 0)], [1, _clear(NEGATIVE, 0.85)]],
            "showscale": False,
            "xgap": 2,
            "ygap": 2,
            "hovertemplate": "a %{y}read as %{x}: %{z}<extra></extra>",
        }
    ]
    figure = _figure(traces, 430, x="read as", y="true class")
    layout = figure["layout"]
    layout |= {"hovermode": "closest"}
    layout["xaxis"] |= {"type": "category", "showgrid": False, "side": "bottom"}
    layout["yaxis"] |= {"type": "category", "showgrid": False, "autorange": "reversed"}
    if len(classes) <= 26:
        layout["annotations"] = [
            {
                "x": names[j],
                "y": names[i],
                "text": f"<b>{n}</b>" if i == j else str(n),
                "showarrow": False,
                "font": {"size": 12 if len(classes) <= 12 else 8},
            }
            for i, row in enumerate(counts)
            for j, n in enumerate(row)
            if n
        ]
    return figure
