"""What a net reads in an image: a bar per label, and what becomes of the answer while the image is changed."""

import html
from collections.abc import Sequence

import numpy as np

from charts import DASHES, INK, LAYERS, MARKS, _figure, _list, png

BARS = 12  # labels that are shown at most; of more, the best
LINES = 6


def bars(values: np.ndarray, classes: Sequence[str], votes: int = 1, theta: float | None = None) -> str:
    """The total of every label, (C,), as horizontal bars from the lowest one on, the winner starred and the next one striped.

    `theta` draws a line where each of `votes` layers has it. A table, not a chart: it paints at once, and a screen reader
    can read it. Of many classes the best are shown.
    """
    order = np.argsort(-values, kind="stable")
    shown = sorted(order[:BARS].tolist())
    line = None if theta is None else votes * theta
    low, high = (
        of([float(values.min() if of is min else values.max()), *([] if line is None else [line])]) for of in (min, max)
    )
    span = (high - low) or 1.0
    rows = ""
    for c in shown:
        kind = "win" if c == order[0] else "next" if len(order) > 1 and c == order[1] else ""
        mark = "★" if kind == "win" else ""
        rows += (
            f"<tr class='{kind}'><th scope=row>{html.escape(str(classes[c]))}</th>"
            f"<td class=track><span class=fill style='--share:{100 * (values[c] - low) / span:.1f}%'></span></td>"
            f"<td class=value>{mark}{values[c]:.2f}</td></tr>"
        )
    place = "" if line is None else f"--theta:{(line - low) / span:.4f}"
    return f"{_STYLE}<table class='votes{'' if line is None else ' theta'}' style='{place}'>{rows}</table>"


def thumbnail(image: np.ndarray, alt: str) -> str:
    """One small drawing (H, W)."""
    return (
        f"<img src='{png(image)}' alt='{html.escape(alt)}' style='width:3rem;height:3rem;image-rendering:pixelated;"
        "border-radius:.3rem;display:block;margin:auto'>"
    )


def along(values: Sequence[int], totals: np.ndarray, classes: Sequence[str], now: int, axis: str) -> dict:
    """Totals of labels (n, C) above their mean while an image is changed by `values`, marked where they win.

    Drawn are those that win somewhere, the nearest to `now` first; where one wins everywhere, it and its best rival.
    """
    winners, above = totals.argmax(1), totals - totals.mean(1, keepdims=True)
    far = np.abs(np.arange(len(values)) - list(values).index(now))
    nearest = [far[winners == c].min(initial=len(values)) for c in range(totals.shape[1])]
    shown = np.lexsort((-above.mean(0), nearest))[: min(LINES, max(2, len(set(winners.tolist()))))].tolist()
    traces = []
    for i, c in enumerate(shown):
        mark = np.where(winners == c, 6, 0)
        traces.append(
            {
                "x": list(values), "y": _list(above[:, c]), "name": html.escape(str(classes[c])), "mode": "lines+markers",
                "line": {"color": LAYERS[i], "dash": DASHES[i], "width": 2.2},
                "marker": {"symbol": MARKS[i], "size": mark.tolist(), "opacity": 1}, "hovertemplate": "%{y:.3g}",
            }
        )  # fmt: skip
    figure = _figure(traces, 280, x=axis, y="total above the mean", legend=True)
    figure["layout"]["xaxis"]["range"] = [values[0], values[-1]]
    line = {"color": INK, "width": 1.2, "dash": "dash"}
    figure["layout"]["shapes"] = [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": now, "x1": now, "line": line, "layer": "below"}
    ]
    return figure


_STYLE = """<style>
.votes {width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0; position: relative}
.votes th, .votes td {border: 0; padding: .1rem .3rem; text-align: left; line-height: 1.15}
.votes th {width: 1%; white-space: nowrap; font-weight: 400; font-size: 1.05rem; max-width: 7rem; overflow: hidden;
  text-overflow: ellipsis}
.votes .value {width: 1%; white-space: nowrap; text-align: right; font-size: .85rem; min-width: 4.2rem}
.votes .fill {display: block; height: 1rem; min-width: 2px; width: var(--share); border-radius: .2rem; background: #7F8A95}
.votes .win .fill {background: #0072B2; outline: 2px solid currentColor; outline-offset: -2px}
.votes .next .fill {background: repeating-linear-gradient(45deg, #7F8A95 0 5px, transparent 5px 8px);
  outline: 1px solid #7F8A95; outline-offset: -1px}
.votes .win th, .votes .win td {font-weight: 700}
.votes.theta .track {background: linear-gradient(currentColor, currentColor) calc(.3rem + var(--theta) * (100% - .6rem)) 0 /
  2px 100% no-repeat}
</style>"""
