"""Numbers → pictures: Plotly figures as plain dicts, and small HTML where a chart library would be slow to paint.

Positives are blue, solid and round; negatives are vermilion, dotted and square (Okabe and Ito's colours, told apart
without colour too). Backgrounds are transparent, and text takes the page's colour.
"""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from PIL import Image

POSITIVE, NEGATIVE, INK = "#0072B2", "#D55E00", "#000000"
CURVE = 230  # pixels: every chart of a layer's card is as high as the others
LAYERS = ("#009E73", "#CC79A7", "#E69F00", "#0072B2", "#D55E00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
POINTS = 500  # at most this many per line


def thin(lines: np.ndarray, limit: int = POINTS) -> np.ndarray:
    """Indices that keep every spike, (k, n) lines → (≤ limit,): the first, the last, and each line's lowest and highest
    point within equal bins."""
    k, n = lines.shape
    if n <= limit:
        return np.arange(n)
    bins = np.array_split(np.arange(n), max(1, (limit - 2) // (2 * k)))
    keep = {0, n - 1}
    for index in bins:
        part = np.nan_to_num(lines[:, index])
        keep.update(index[part.argmin(1)].tolist(), index[part.argmax(1)].tolist())
    return np.array(sorted(keep))


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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


COMPARED = ("#009E73", "#CC79A7", "#E69F00")  # runs side by side, the one in question first


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
                "x": x, "y": _list(errors), "text": [f"{v:.2%}" for v in y], "name": html.escape(name),
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


def _legend_below(figure: dict, over: str) -> dict:
    """The legend below the chart, as names of runs are long; an x axis that does not count epochs in percent."""
    if over != "epoch":
        figure["layout"]["xaxis"] |= {"tickformat": ".0%"}
    figure["layout"]["legend"] |= {"x": 0, "xanchor": "left", "y": -0.24, "yanchor": "top"}
    figure["layout"]["margin"] |= {"t": 30, "b": 84}
    figure["layout"]["height"] = 310
    return figure


def _of_layer(layer: int, width: float = 2) -> dict:
    """Colour, dash and mark of a layer, the same in every chart."""
    i = (layer - 1) % len(LAYERS)
    line = {"color": LAYERS[i], "dash": DASHES[i], "width": width}
    return {"line": line, "marker": {"symbol": MARKS[i], "size": 6}, "hovertemplate": "%{y:.3g}"}


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
                "mode": "lines+markers", **style, "hovertemplate": "%{text}",
            }
        )  # fmt: skip
    figure = _titled(_figure(traces, 260, x="epoch", y="validation accuracy", legend=True), "Accuracy on validation images")
    figure["layout"]["margin"]["t"] = 42 if len(traces) < 4 else 58  # on a phone the legend takes two lines
    return _by_epoch(_by_errors(figure, lowest, 0.95), x, len(epochs))


def _by_errors(figure: dict, lowest: float, highest: float) -> dict:
    """A y axis of accuracy, told by the share of errors, between these shares, on a logarithmic scale."""
    ticks = [0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005]
    span = [math.log10(highest), math.log10(lowest / 1.25)]
    figure["layout"]["yaxis"] |= {
        "type": "log", "range": span, "tickvals": ticks, "ticktext": [f"{100 * (1 - t):g}%" for t in ticks],
    }  # fmt: skip
    return figure


LEAST_ERROR = 5e-4  # where "none at all" is drawn


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
    return _by_epoch(figure, x, len(epochs))


def _few(lines: list[dict[int, float | None]], limit: int = 120) -> tuple[list[int], list[list[float | None]]]:
    """(epochs, values of every line at them), thinned to what a live chart can bear."""
    x = sorted({epoch for values in lines for epoch in values})
    table = np.array([[math.nan if (v := values.get(epoch)) is None else v for epoch in x] for values in lines], float)
    keep = thin(table, limit) if lines else []
    return [x[i] for i in keep], [_list(row[keep]) for row in table]


def _by_epoch(figure: dict, shown: list[int], of: int) -> dict:
    """Whole epochs on the x axis; lines bare where marks would touch."""
    if len(shown) <= 12:
        figure["layout"]["xaxis"]["dtick"] = 1
    if len(shown) > 40:
        for trace in figure["data"]:
            trace["mode"] = "lines"
    return _tell(figure, len(shown), of)


def confusion(counts: np.ndarray, classes: Sequence[str]) -> dict:
    """Confusion matrix, (C, C) counts [true, predicted]; only mistakes are coloured: the diagonal would drown them."""
    wrong = counts.astype(float)
    np.fill_diagonal(wrong, np.nan)
    names = [f"{c} " for c in classes]  # a text axis: digits must not become numbers
    traces = [
        {
            "type": "heatmap",
            "z": [_list(row) for row in wrong],
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


def goodness_table(
    goodness: np.ndarray,
    classes: Sequence[str],
    true: int | None,
    rows: Sequence[str],
    votes: Sequence[int] | None = None,
) -> str:
    """Candidate labels × layers as an HTML heat map, goodness (C, L): winners starred, the true class underlined.

    `votes` adds a row with the sum over those layers, by which the goodness read-out decides. Colour compares within a
    row. A table, not a chart: it paints at once, and a screen reader can read it.
    """
    lines = [(name, goodness[:, i]) for i, name in enumerate(rows)]
    if votes is not None:
        lines.append(
            (
                f"<b>Sum</b>{'' if len(votes) == len(rows) else ' of ' + ', '.join(rows[i] for i in votes)}",
                goodness[:, list(votes)].sum(1),
            )
        )
    head = "".join(
        f"<th scope='col'{' class=true' if c == true else ''}>{html.escape(str(name))}</th>" for c, name in enumerate(classes)
    )
    body = ""
    for name, values in lines:
        values = np.asarray(values, float)
        spread = np.ptp(values) or 1.0
        cells = ""
        for c, value in enumerate(values):
            depth = 100 * (value - values.min()) / spread
            win = c == values.argmax()
            cells += (
                f"<td style='--depth:{depth:.0f}%'{' class=win' if win else ''}>"
                f"<span>{'★' if win else ''}{value:.2f}</span><span class=short aria-hidden=true>{_short(value)}</span></td>"
            )
        body += f"<tr><th scope='row'>{name}</th>{cells}</tr>"
    return (
        f"{_TABLE_STYLE}<div class='goodness'><table style='--classes:{len(classes)}'>"
        f"<tr><th></th>{head}</tr>{body}</table></div>"
    )


def _short(value: float) -> str:
    """Two digits, for a narrow screen: `59`, `5.9`, `.59`"""
    return (
        f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}" if abs(value) >= 0.995 else f"{value:.2f}".replace("0.", ".")
    )


def contact_sheet(
    images: np.ndarray, labels: np.ndarray, guesses: np.ndarray, classes: Sequence[str], chosen: int = -1, truth: bool = False
) -> str:
    """Sample images (n, C, H, W) with the net's guess beneath; wrong ones framed and crossed.

    `truth`: a sheet of errors only, each with its class and what it was taken for.
    """
    tiles = ""
    for i, image in enumerate(images):
        right = labels[i] == guesses[i]
        kind = ("right" if right or truth else "wrong") + (" chosen" if i == chosen else "")
        said, is_a = (html.escape(str(classes[int(of[i])])) for of in (guesses, labels))
        alt = f"{is_a} read as {said}"
        caption = f"{is_a} → <b>{said}</b>" if truth else f"{'' if right else '✗ '}{said}"
        picture = f"<img src='{png(image)}' alt='{alt}' title='{alt}'>"
        tiles += f"<figure class='{kind}'>{picture}<figcaption>{caption}</figcaption></figure>"
    return f"{_SHEET_STYLE}<div class='sheets'><div class='sheet{' errors' if truth else ''}'>{tiles}</div></div>"


def pairs(
    pos: np.ndarray, neg: np.ndarray, pos_label: np.ndarray | None, neg_label: np.ndarray | None, classes: Sequence[str]
) -> str:
    """Positives above negatives, (n, C, H, W) in [0, 1], each with the label that the net is shown beside it."""
    lines = ""
    for side, images, labels in (("pos", pos, pos_label), ("neg", neg, neg_label)):
        tiles = ""
        for i, image in enumerate(images):
            shown = "" if labels is None else f"“{html.escape(str(classes[int(labels[i])]))}”"
            tiles += f"<figure><img src='{png(255 * image)}' alt=''><figcaption>{shown}</figcaption></figure>"
        lines += f"<div class='side {side}'><b>{'x⁺' if side == 'pos' else 'x⁻'}</b>{tiles}</div>"
    return f"{_SHEET_STYLE}<div class='pairs'>{lines}</div>"


def picture(image: np.ndarray, alt: str, width: int = 240) -> str:
    """One image (C, H, W), large and with its pixels sharp."""
    return (
        f"<img src='{png(image)}' alt='{html.escape(alt)}' style='width:100%;max-width:{width}px;aspect-ratio:1;"
        "image-rendering:pixelated;border-radius:.6rem;display:block;margin:auto'>"
    )


def fields(weights: np.ndarray) -> str:
    """Receptive fields (n, H, W): blue pushes the unit up, vermilion down; each scaled by its own maximum."""
    tiles = ""
    for i, field in enumerate(np.nan_to_num(weights.astype(float))):
        seen = png(_signed(field / (np.abs(field).max() or 1.0)))
        tiles += f"<figure><img src='{seen}' alt='incoming weights of unit {i + 1}'></figure>"
    return f"{_SHEET_STYLE}<div class='sheet fields'>{tiles}</div>"


def _signed(depth: np.ndarray) -> np.ndarray:
    """(H, W) within [-1, 1] → (4, H, W): blue above 0, vermilion below, the clearer the nearer to 0."""
    up, down = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in ("#2A9FE0", NEGATIVE))  # on light and dark
    colour = np.where(depth[..., None] > 0, up, down)
    return np.concatenate([colour, 255 * np.abs(depth)[..., None]], 2).transpose(2, 0, 1)


def contrast(
    pos: np.ndarray, neg: np.ndarray, pos_label: int | None, neg_label: int | None, classes: Sequence[str], width: int = 96
) -> str:
    """One pair, (C, H, W) in [0, 1], with the labels that the net is shown beside it, and where the images differ.

    The difference is x⁺ - x⁻, the mean over colours: blue where x⁺ is brighter, vermilion where x⁻ is.
    """
    gap = np.clip((np.asarray(pos, float) - np.asarray(neg, float)).mean(0), -1, 1)
    told = ["no label" if label is None else f"label {html.escape(str(classes[label]))}" for label in (pos_label, neg_label)]
    same = not (np.abs(gap) > 1 / 512).any()
    brighter = [f"{(sign * gap > 1 / 512).mean():.0%}" for sign in (1, -1)]
    said = "the same image" if same else f"x⁺ is brighter in {brighter[0]} of the pixels, x⁻ in {brighter[1]}"
    pictures = [
        ("pos", "x⁺", png(255 * pos), f"positive, {told[0]}", told[0]),
        ("neg", "x⁻", png(255 * neg), f"negative, {told[1]}", told[1]),
        ("gap same" if same else "gap", "x⁺ − x⁻", png(_signed(gap)), said, "same image" if same else "difference"),
    ]
    tiles = "".join(
        f"<figure class='{kind}'><b>{head}</b><img src='{seen}' alt='{alt}' title='{alt}'>"
        f"<figcaption>{foot}</figcaption></figure>"
        for kind, head, seen, alt, foot in pictures
    )
    return f"{_CONTRAST_STYLE}<div class='contrast' style='--width:{width}px'>{tiles}</div>"


def verdicts(difference: Sequence[float], won: Sequence[float]) -> str:
    """What each layer makes of a strategy, as a table: g⁺ - g⁻ of one image, and the share of all pairs it gets right.

    A bar shows the share, its tick the coin toss; a lost pair is marked ✗.
    """
    rows = ""
    for i, (gap, share) in enumerate(zip(difference, won, strict=True), 1):
        known = gap is not None and math.isfinite(gap)
        number = f"{'✓' if gap > 0 else '✗'} {gap:+.3g}".replace("-", "−") if known else "–"
        rows += (
            f"<tr><th scope=row>Layer {i}</th><td>{number}</td>"
            f"<td><span class=bar style='--share:{100 * share:.0f}%'></span><span class=share>{share:.0%}</span></td></tr>"
        )
    head = "<tr><th></th><th scope=col>gap g⁺ − g⁻</th><th scope=col>pairs right</th></tr>"
    return f"{_CONTRAST_STYLE}<table class='verdicts'>{head}{rows}</table>"


@dataclass
class Point:
    """One strategy of a study: hardness, the share of pairs that the trained net still loses; accuracies, in [0, 1]."""

    name: str
    hardness: float
    probe: float
    goodness: float | None = None


def hardness(points: Sequence[Point], levels: Mapping[str, float]) -> dict:
    """Hardness against accuracy, one named point per strategy; `levels` {name: accuracy} are lines right across.

    Accuracy is drawn by the share of errors on a logarithmic scale, as in `accuracy`.
    """
    kinds = {"by a linear probe": (POSITIVE, "circle", "probe"), "by trying on labels": (NEGATIVE, "square-open", "goodness")}
    found = [value for p in points for value in (p.probe, p.goodness) if value is not None]
    errors = [max(1 - value, LEAST_ERROR) for value in [*found, *levels.values()]]
    traces, lowest, highest = [], min([0.5, *errors]), min(1.0, 1.1 * max([0.2, *errors]))
    for kind, (colour, mark, key) in kinds.items():
        shown = [(p, value) for p in points if (value := getattr(p, key)) is not None]
        traces.append(
            {
                "x": _list([math.sqrt(p.hardness) for p, _ in shown]), "y": _list([max(1 - v, LEAST_ERROR) for _, v in shown]),
                "name": kind, "mode": "markers", "marker": {"color": colour, "symbol": mark, "size": 9},
                "text": [f"{html.escape(p.name)}: {v:.2%}, {p.hardness:.1%} of pairs lost" for p, v in shown],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    figure = _by_errors(_figure(traces, 460, x="", y="validation accuracy", legend=True), lowest, highest)
    layout = figure["layout"]
    layout |= {"hovermode": "closest"}
    layout["margin"]["r"] = 16
    span = math.sqrt(max([0.1, *(p.hardness for p in points)]))  # by the square root: most are easy, and 0 has a place
    shares = [0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1]
    layout["xaxis"] |= {
        "tickvals": [math.sqrt(share) for share in shares], "ticktext": [f"{share:.0%}" for share in shares],
        "range": [-0.05 * span, 1.08 * span], "zeroline": False,
    }  # fmt: skip
    layout["xaxis"]["title"]["text"] = "hardness: pairs the trained net still loses"
    for name, value in levels.items():
        _level(figure, max(1 - value, LEAST_ERROR), html.escape(name))
    notes, low, high = layout.setdefault("annotations", []), *layout["yaxis"]["range"]
    for note in notes:
        note["y"] = math.log10(note["y"])  # annotations, unlike shapes, count in powers of ten
    tops = [math.log10(max(1 - p.probe, LEAST_ERROR)) for p in points]
    across = [math.sqrt(p.hardness) for p in points]
    spots = [((x / span + 0.05) / 1.13, (top - low) / (high - low)) for x, top in zip(across, tops, strict=True)]
    lines = [(math.log10(max(1 - value, LEAST_ERROR)) - low) / (high - low) for value in levels.values()]
    for p, x, top, place in zip(points, across, tops, _beside(spots, [len(p.name) for p in points], lines), strict=True):
        away = abs(place[1]) > 14  # else it is plain whose name it is
        notes.append(
            {
                "x": x, "y": top, "ax": place[0], "ay": -place[1], "text": html.escape(p.name), "font": {"size": 11},
                "arrowhead": 0, "arrowwidth": 0.7, "arrowcolor": "#7F8A95" if away else "rgba(0,0,0,0)",
            }
        )  # fmt: skip
    return figure


def _beside(spots: Sequence[tuple[float, float]], letters: Sequence[int], lines: Sequence[float]) -> list[tuple[float, float]]:
    """Where names go beside their points so that few touch, in pixels from each: spots within [0, 1], drawn 700 × 360.

    Greedy, from left to right: the nearest of a few places that lies within the frame and free of points, of what is
    placed, and of `lines` right across.
    """
    taken = [(700 * x - 5, 360 * y - 5, 700 * x + 5, 360 * y + 5) for x, y in spots]
    taken += [(0, 360 * y - 1, 700, 360 * y + 1) for y in lines]
    places = {}
    for i in sorted(range(len(spots)), key=lambda i: spots[i]):
        half, (x, y) = 3 * letters[i] + 2, (700 * spots[i][0], 360 * spots[i][1])
        choices = [(0, 14), (0, -14), (half + 9, 0), (-half - 9, 0)]
        choices += [
            (side * (half * near + 12), up)
            for up in (24, -24, 40, -40, 56, -56, 72, -72)
            for near in (0, 1)
            for side in (1, -1)
        ]

        def cost(place, half=half, x=x, y=y):
            box = (x + place[0] - half, y + place[1] - 7, x + place[0] + half, y + place[1] + 7)
            hits = sum(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken)
            outside = box[0] < 0 or box[2] > 700 or box[1] < 0 or box[3] > 360
            return hits + 2 * outside, math.hypot(*place)

        places[i] = best = min(choices, key=cost)
        taken.append((x + best[0] - half, y + best[1] - 7, x + best[0] + half, y + best[1] + 7))
    return [places[i] for i in range(len(spots))]


def png(image: np.ndarray) -> str:
    """(C, H, W) or (H, W), 0…255, as a data URI; a fourth channel is opacity."""
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels[..., None]
    pixels = pixels[..., 0] if pixels.shape[2] in (1, 2) else pixels[..., :4]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


_SIDES = {"pos": ("positives x⁺", POSITIVE, "solid"), "neg": ("negatives x⁻", NEGATIVE, "dot")}
_TABLE_STYLE = """<style>
.goodness {overflow-x: auto; container-type: inline-size}
.goodness table {border-collapse: separate; border-spacing: 3px; width: 100%; border: 0; table-layout: fixed;
  min-width: calc(5.5rem + var(--classes) * 2.7rem); font-variant-numeric: tabular-nums}
.goodness th, .goodness td {border: 0; padding: .45rem .1rem; text-align: center; border-radius: .35rem}
.goodness th:first-child {width: 5.5rem}
.goodness th[scope=row] {text-align: left; white-space: nowrap; font-weight: 400; padding-right: .6rem}
.goodness th[scope=col] {font-size: 1.1rem}
.goodness td .short {display: none}
.goodness th.true {text-decoration: underline; text-underline-offset: .25rem; text-decoration-thickness: 3px}
.goodness td {font-size: .85rem; background: color-mix(in srgb, #0072B2 calc(var(--depth) * .7), transparent)}
.goodness td.win {font-weight: 700; outline: 2px solid currentColor; outline-offset: -2px}
@container (max-width: 32rem) { /* a phone: fewer digits, all labels at once */
  .goodness table {min-width: calc(3.4rem + var(--classes) * 1.65rem); border-spacing: 2px}
  .goodness th:first-child {width: 3.4rem}
  .goodness th[scope=row] {font-size: .8rem; padding-right: 0}
  .goodness td {font-size: .75rem}
  .goodness td span {display: none}
  .goodness td .short {display: inline}
}
</style>"""
_SHEET_STYLE = """<style>
.sheet {display: grid; grid-template-columns: repeat(16, minmax(0, 1fr)); gap: .35rem}
@container (max-width: 44rem) {.sheet {grid-template-columns: repeat(8, minmax(0, 1fr))}}
.sheets {container-type: inline-size}
.sheet figure {margin: 0; text-align: center}
.sheet img {width: 100%; aspect-ratio: 1; image-rendering: pixelated; border-radius: .3rem; display: block}
.sheet figcaption {font-size: .78rem; line-height: 1.4}
.sheet .wrong img {outline: 3px solid #D55E00}
.sheet .wrong figcaption {font-weight: 700}
.sheet .chosen img {outline: 3px solid #0072B2; outline-offset: 1px}
.pairs .side {display: grid; grid-template-columns: 1.6rem repeat(4, 1fr); gap: .4rem; align-items: start;
  padding: .25rem}
.pairs figure {margin: 0; text-align: center}
.pairs img {width: 100%; max-width: 4.5rem; image-rendering: pixelated; border-radius: .3rem}
.pairs figcaption {font-weight: 700}
.pairs .pos {border-left: 4px solid #0072B2; padding-left: .5rem}
.pairs .neg {border-left: 4px dotted #D55E00; padding-left: .5rem; margin-top: .4rem}
.sheet.errors {grid-template-columns: repeat(auto-fill, minmax(3.2rem, 1fr))}
.sheet.fields {grid-template-columns: repeat(4, minmax(0, 6.2rem)); justify-content: center; gap: .6rem}
.sheet.fields img {box-shadow: 0 0 0 1px rgba(127, 127, 127, .35)}
</style>"""
_CONTRAST_STYLE = """<style>
.contrast {display: grid; grid-template-columns: repeat(3, minmax(0, var(--width))); gap: .6rem; justify-content: space-between}
.contrast figure {margin: 0; text-align: center; font-size: .8rem; line-height: 1.5}
.contrast img {width: 100%; aspect-ratio: 1; image-rendering: pixelated; border-radius: .3rem; display: block;
  box-sizing: border-box}
.contrast .pos img {border: 2px solid #0072B2}
.contrast .neg img {border: 2px dotted #D55E00}
.contrast .gap img {border: 1px solid rgba(127, 127, 127, .45)}
.contrast .same img {background: repeating-linear-gradient(45deg, transparent 0 6px, rgba(127, 127, 127, .18) 6px 8px)}
.contrast figcaption {overflow-wrap: anywhere}
.verdicts {width: 100%; border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; margin: 0}
.verdicts th, .verdicts td {border: 0; padding: .1rem .2rem; text-align: right; font-weight: 400; white-space: nowrap}
.verdicts th:first-child {text-align: left; padding-left: 0}
.verdicts .share {display: inline-block; width: 2.8rem}
.verdicts [scope=col] {opacity: .75}
.verdicts .bar {display: inline-block; width: 2.6rem; height: .5rem; border-radius: .2rem; vertical-align: middle;
  border: 1px solid #7F8A95; background: linear-gradient(#7F8A95, #7F8A95) 50% 0 / 1px 100% no-repeat,
    linear-gradient(90deg, #2A9FE0 var(--share), transparent var(--share))}
</style>"""


def _figure(traces: list[dict], height: int, x: str, y: str, legend: bool = False) -> dict:
    layout = {
        "height": height,
        "margin": {"l": 56, "r": 10, "t": 30 if legend else 8, "b": 40},
        "xaxis": {"title": {"text": x, "standoff": 6}},
        "yaxis": {"title": {"text": y, "standoff": 6}},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "x unified",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "uirevision": "the reader's",  # constant: zoom and legend are the reader's, and survive new data
    }
    return {"data": traces, "layout": layout}


def _titled(figure: dict, title: str) -> dict:
    """A small heading inside the figure, in line with the legend: charts side by side keep level."""
    layout = figure["layout"]
    place = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"t": 6}}
    layout["title"] = {"text": title, **place, "font": {"size": 13}}
    layout["margin"]["t"] = 42
    layout["legend"] |= {"x": 1, "xanchor": "right", "y": 1, "font": {"size": 11}}
    return figure


def _level(figure: dict, y: float, text: str = "") -> dict:
    """A horizontal line across the whole chart."""
    line = {"color": INK, "width": 1.2, "dash": "dash"}
    figure["layout"].setdefault("shapes", []).append(
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line, "layer": "below"}
    )
    if text:
        figure["layout"].setdefault("annotations", []).append(
            {"xref": "paper", "x": 1, "y": y, "xanchor": "right", "yanchor": "bottom", "text": text, "showarrow": False}
        )
    return figure


def _tell(figure: dict, shown: int, of: int) -> dict:
    """Says how many points are drawn when they are not all."""
    if shown < of:
        figure["layout"]["xaxis"]["title"]["text"] += f" (showing {shown:,} of {of:,} points)"
    return figure


def _clear(colour: str, opacity: float) -> str:
    return f"rgba({int(colour[1:3], 16)},{int(colour[3:5], 16)},{int(colour[5:7], 16)},{opacity})"


def _pack(values) -> dict:
    """A line as Plotly's own binary array of float32: half of what JSON numbers weigh, every second anew."""
    return {"dtype": "f4", "bdata": base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()}


def _list(values) -> list[float | None]:
    """Four digits are enough for a screen, and JSON has no NaN."""
    return [None if v is None or not np.isfinite(v) else float(f"{v:.4g}") for v in values]


def strip(pictures: list[tuple[str, np.ndarray]]) -> str:
    """Named images (C, H, W) in [0, 1] in a row that wraps."""
    tiles = "".join(
        f"<figure><img src='{png((255 * image).round().astype(np.uint8))}' alt='{html.escape(name)}'>"
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, image in pictures
    )
    return f"{_SHEET_STYLE}<div class='sheet'>{tiles}</div>"
