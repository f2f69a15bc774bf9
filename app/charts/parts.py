"""What every picture is made of: colours, a bare figure, axes by errors or epochs, images and numbers as text."""

import base64
import csv
import io
import math

import numpy as np
from PIL import Image

POSITIVE, NEGATIVE, INK = "#0072B2", "#D55E00", "#000000"
CURVE = 230  # pixels: every chart of a layer's card is as high as the others
LAYERS = ("#009E73", "#CC79A7", "#E69F00", "#0072B2", "#D55E00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
POINTS = 500  # at most this many per line
LEAST_ERROR = 5e-4  # where "none at all" is drawn
_SIDES = {"pos": ("positives x⁺", POSITIVE, "solid"), "neg": ("negatives x⁻", NEGATIVE, "dot")}


def thin(lines: np.ndarray, limit: int = POINTS, x: np.ndarray | None = None) -> np.ndarray:
    """Indices that keep every spike, (k, n) lines → (≤ limit,): the first, the last, and each line's lowest and highest
    point within bins of equally many points, or equally wide in the rising `x`, (n,)."""
    k, n = lines.shape
    if n <= limit:
        return np.arange(n)
    bins = max(1, (limit - 2) // (2 * k))
    cuts = bins if x is None else np.searchsorted(x, np.linspace(x[0], x[-1], bins + 1)[1:-1])
    keep = {0, n - 1}
    for index in np.array_split(np.arange(n), cuts):
        if len(index):
            part = np.nan_to_num(lines[:, index])
            keep.update(index[part.argmin(1)].tolist(), index[part.argmax(1)].tolist())
    return np.array(sorted(keep))


def _few(lines: list[dict[int, float | None]], limit: int = 120) -> tuple[list[int], list[list[float | None]]]:
    """(epochs, values of every line at them), thinned to what a live chart can bear."""
    x = sorted({epoch for values in lines for epoch in values})
    table = np.array([[math.nan if (v := values.get(epoch)) is None else v for epoch in x] for values in lines], float)
    keep = thin(table, limit) if lines else []
    return [x[i] for i in keep], [_list(row[keep]) for row in table]


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


def _legend_below(figure: dict, over: str) -> dict:
    """The legend below the chart, as names of runs are long; an x axis that does not count epochs in percent."""
    if over != "epoch":
        figure["layout"]["xaxis"] |= {"tickformat": ".0%"}
    figure["layout"]["legend"] |= {"x": 0, "xanchor": "left", "y": -0.24, "yanchor": "top"}
    figure["layout"]["margin"] |= {"t": 30, "b": 84}
    figure["layout"]["height"] = 310
    return figure


def _by_errors(figure: dict, lowest: float, highest: float) -> dict:
    """A y axis of accuracy, told by the share of errors, between these shares, on a logarithmic scale."""
    ticks = [0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005]
    span = [math.log10(highest), math.log10(lowest / 1.25)]
    figure["layout"]["yaxis"] |= {
        "type": "log", "range": span, "tickvals": ticks, "ticktext": [f"{100 * (1 - t):g}%" for t in ticks],
    }  # fmt: skip
    return figure


def _by_epoch(figure: dict, shown: list[int], of: int) -> dict:
    """Whole epochs on the x axis; lines bare where marks would touch."""
    if len(shown) <= 12:
        figure["layout"]["xaxis"]["dtick"] = 1
    if len(shown) > 40:
        for trace in figure["data"]:
            trace["mode"] = "lines"
    return _tell(figure, len(shown), of)


def _of_layer(layer: int, width: float = 2) -> dict:
    """Colour, dash and mark of a layer, the same in every chart."""
    i = (layer - 1) % len(LAYERS)
    line = {"color": LAYERS[i], "dash": DASHES[i], "width": width}
    return {"line": line, "marker": {"symbol": MARKS[i], "size": 6}, "hovertemplate": "%{y:.3g}"}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _clear(colour: str, opacity: float) -> str:
    return f"rgba({int(colour[1:3], 16)},{int(colour[3:5], 16)},{int(colour[5:7], 16)},{opacity})"


def _pack(values) -> dict:
    """A line as Plotly's own binary array of float32: half of what JSON numbers weigh, every second anew."""
    return {"dtype": "f4", "bdata": base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()}


def _list(values) -> list[float | None]:
    """Four digits are enough for a screen, and JSON has no NaN."""
    return [None if v is None or not np.isfinite(v) else float(f"{v:.4g}") for v in values]


def csv_text(head: list[str], rows: list[list]) -> str:
    """A table as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([head, *rows])
    return file.getvalue()


def png(image: np.ndarray) -> str:
    """(C, H, W) or (H, W), 0…255, as a data URI; a fourth channel is opacity."""
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels[..., None]
    pixels = pixels[..., 0] if pixels.shape[2] in (1, 2) else pixels[..., :4]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _signed(depth: np.ndarray) -> np.ndarray:
    """(H, W) within [-1, 1] → (4, H, W): blue above 0, vermilion below, the clearer the nearer to 0."""
    up, down = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in ("#2A9FE0", NEGATIVE))  # on light and dark
    colour = np.where(depth[..., None] > 0, up, down)
    return np.concatenate([colour, 255 * np.abs(depth)[..., None]], 2).transpose(2, 0, 1)
