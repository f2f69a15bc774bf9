"""Pictures of units' lives: who falls silent when, how many live on, one unit's activity, weights, bias and gradient."""

import base64
import html

import numpy as np

from charts import CURVE, INK, NEGATIVE, POSITIVE, _clear, _figure, _list, _of_layer, _signed, _tell, _titled, png, thin

UNITS, EPOCHS = 2_000, 100  # at most so many rows and columns of the map: 200 kB
WORDS = {"dead": "dead", "dormant": "dormant", "masked": "below 0.01 after the mask"}


def rows_of(rate: np.ndarray, died: np.ndarray) -> np.ndarray:
    """The units of the map's rows, the first to die on top, then by how often they are on; at most UNITS of them."""
    order = np.lexsort((-rate[-1], died))
    return order[np.linspace(0, len(order) - 1, min(UNITS, len(order))).round().astype(int)]


def lives(rate: np.ndarray, out: np.ndarray, died: np.ndarray, epochs: list[int], definition: str, chosen: int | None) -> dict:
    """Units × epochs: colour tells how often a unit is on, vermilion that it is out of it; the first to die on top.

    rate, out: (E, n); died: (n,), E for units that live. Sent as bytes. `chosen`: a unit that is pointed at.
    """
    rows = rows_of(rate, died)
    columns = np.linspace(0, len(epochs) - 1, min(EPOCHS, len(epochs))).round().astype(int)
    share = np.clip(np.nan_to_num(rate[columns][:, rows]), 0, 1)
    level = np.where(out[columns][:, rows], 0, 55 + np.round(200 * np.sqrt(share))).astype(np.uint8).T
    packed = {"dtype": "u1", "bdata": base64.b64encode(level.tobytes()).decode(), "shape": f"{len(rows)}, {len(columns)}"}
    ticks = [0, *(55 + 200 * np.sqrt(s) for s in (0.0, 0.1, 0.5, 1.0))]
    scale = [[0, NEGATIVE], [0.2, NEGATIVE], [0.2, _clear(POSITIVE, 0.06)], [1, POSITIVE]]
    bar = {"tickvals": ticks, "ticktext": [WORDS[definition].split()[0], "0%", "10%", "50%", "100%"], "thickness": 12,
           "title": {"text": "on for", "side": "top"}, "outlinewidth": 0}  # fmt: skip
    trace = {
        "type": "heatmap", "z": packed, "x": [epochs[c] for c in columns], "y": [f"unit {u}" for u in rows], "zmin": 0,
        "zmax": 255, "colorscale": scale, "colorbar": bar, "hovertemplate": "%{y}, epoch %{x}; click to see it<extra></extra>",
        "meta": {"roots": {"from": 55, "below": WORDS[definition]}}, "name": "on for",
    }  # fmt: skip
    figure = _figure([trace], 420, x="epoch", y="units, the first to go on top")
    layout = figure["layout"]
    layout |= {"hovermode": "closest"}
    layout["margin"] |= {"l": 34, "r": 4}
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "showticklabels": False, "ticks": "", "showgrid": False}
    layout["xaxis"] |= {"type": "category", "nticks": 12, "showgrid": False}
    if chosen is not None and chosen in rows:
        at = int(np.flatnonzero(rows == chosen)[0])
        layout["annotations"] = [
            {"x": 0, "xref": "paper", "xanchor": "right", "y": at, "text": "▶", "showarrow": False, "font": {"size": 14}}
        ]
    return _tell(figure, len(rows), len(died)) if len(rows) < len(died) else figure


def survival(layers: list[np.ndarray], epochs: list[int], definition: str) -> dict:
    """Share of each layer's units that are not out of it after every epoch, from (E, n) per layer."""
    keep = thin(np.stack([1 - out.mean(1) for out in layers]), 200)
    traces = [
        {
            "x": [epochs[k] for k in keep], "y": _list((1 - out.mean(1))[keep]), "name": f"layer {i}", **_of_layer(i),
            "mode": "lines+markers" if len(keep) <= 40 else "lines", "hovertemplate": "%{y:.1%}",
        }
        for i, out in enumerate(layers, 1)
    ]  # fmt: skip
    figure = _titled(_figure(traces, 420, x="epoch", y="share of units", legend=True), f"Not {WORDS[definition]}")
    figure["layout"]["yaxis"] |= {"tickformat": ".0%", "range": [-0.03, 1.05]}
    return _tell(figure, len(keep), len(epochs))


CARD = {
    "rate": ("On for", "share of images", ".0%"),
    "weight_norm": ("Length of its incoming weights", "‖w‖", None),
    "bias": ("Its bias", "bias", None),
    "gradient_norm": ("Gradient that reaches it, last step", "‖∂L/∂w‖", None),
}


def tiles(pictures: list[tuple[str, np.ndarray]], width: int = 84) -> str:
    """Named images (C, H, W), 0…255, side by side, each `width` pixels wide."""
    each = "".join(
        f"<figure style='margin:0;width:{width}px;font-size:.78rem;text-align:center'>"
        f"<img src='{png(image)}' alt='{html.escape(name)}' style='width:100%;image-rendering:pixelated;border-radius:.3rem;"
        f"box-shadow:0 0 0 1px rgba(127,127,127,.35)'><figcaption>{html.escape(name)}</figcaption></figure>"
        for name, image in pictures
    )
    return f"<div style='display:flex;flex-wrap:wrap;gap:.6rem'>{each}</div>"


def field(weights: np.ndarray) -> np.ndarray:
    """Incoming weights (H, W) as a picture: blue pushes the unit up, vermilion down."""
    return _signed(np.nan_to_num(weights.astype(float)) / (np.abs(weights.astype(float)).max() or 1.0))


def card(layer: dict[str, np.ndarray], unit: int, number: int, epochs: list[int], died: int) -> list[tuple[dict, str]]:
    """A unit's numbers over epochs, (figure, what it shows) each; a dashed line where it died."""
    told = []
    for key, (title, axis, form) in CARD.items():
        if key not in layer:
            continue
        values = layer[key][:, unit]
        keep = thin(np.nan_to_num(values)[None], 200)
        line = {**_of_layer(number), "hovertemplate": "%{y:.3g}" if form is None else f"%{{y:{form}}}"}
        mode = "lines+markers" if len(keep) <= 40 else "lines"
        trace = {"x": [epochs[k] for k in keep], "y": _list(values[keep]), "mode": mode, **line}
        figure = _titled(_figure([trace], CURVE - 40, x="epoch", y=axis), title)
        if form:
            figure["layout"]["yaxis"]["tickformat"] = form
        if died < len(epochs):
            dash = {"color": INK, "width": 1.2, "dash": "dash"}
            at = {"x0": epochs[died], "x1": epochs[died], "y0": 0, "y1": 1, "yref": "paper"}
            figure["layout"]["shapes"] = [{"type": "line", **at, "line": dash}]
        told.append((figure, f"unit {unit} of layer {number}, {title.lower()} over epochs: {_list(values[keep][-1:])[0]} now"))
    return told
