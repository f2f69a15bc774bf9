"""Figures of the page Generations: rows of images, how far samples are from training images, the error over steps."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import charts

# samples, what they are compared with: colour and dash
KINDS = {
    "samples": (charts.POSITIVE, "solid"),
    "held-out images": (charts.NEGATIVE, "dot"),
    "their reconstructions": (charts.LAYERS[0], "dash"),
}
BINS = 40


@dataclass
class Tile:
    """Images (H, W) or (C, H, W) uint8 side by side, what is written beneath, what a screen reader says; `odd`: framed.

    Without images: an empty place.
    """

    images: Sequence[np.ndarray] = ()
    caption: str = ""
    alt: str = ""
    odd: bool = False


def rows(named: Mapping[str, Sequence[Tile]], wide: int = 92, heads: Sequence[str] = ()) -> str:
    """Named rows of tiles, as many columns as the longest has, below their `heads`; a tile is at most `wide` pixels wide."""
    across = max((len(tiles) for tiles in named.values()), default=1)
    tops = "".join(f"<b>{html.escape(head)}</b>" for head in heads)
    body = f"<span></span><div class='tiles heads'>{tops}</div>" if heads else ""
    for name, tiles in named.items():
        cells = "".join(_tile(tile) for tile in tiles)
        body += f"<b class=name>{html.escape(name)}</b><div class=tiles>{cells}</div>"
    return f"{_STYLE}<div class='generated' style='--across:{across};--wide:{wide}px'>{body}</div>"


def _tile(tile: Tile) -> str:
    if not len(tile.images):
        return "<figure></figure>"
    image = np.concatenate([_framed(image, i < len(tile.images) - 1) for i, image in enumerate(tile.images)], -1)
    alt = html.escape(tile.alt, quote=True)
    caption = f"<figcaption>{html.escape(tile.caption)}</figcaption>" if tile.caption else ""
    kind = " class=odd" if tile.odd else ""
    return f"<figure{kind}><img src='{charts.png(image)}' alt='{alt}' title='{alt}'>{caption}</figure>"


def _framed(image: np.ndarray, more: bool) -> np.ndarray:
    """An image with a grey line behind it where another follows."""
    line = np.full((*image.shape[:-1], 1), 128, np.uint8)
    return np.concatenate([image, line], -1) if more else image


def distances(told: Mapping[str, np.ndarray]) -> dict:
    """Distances to the nearest training image, {one of KINDS: (n,)}, as shares over the same bins."""
    told = {name: np.asarray(values, float) for name, values in told.items() if len(values)}
    high = max((values.max() for values in told.values()), default=1.0)
    edges = np.linspace(0, float(high) * 1.02 or 1.0, BINS + 1)
    traces = []
    for name, values in told.items():
        share = np.histogram(values, edges)[0] / len(values)
        traces.append(charts._steps(edges, share, name, *KINDS[name]))
        traces[-1]["fillcolor"] = charts._clear(KINDS[name][0], 0.14)
    figure = charts._figure(traces, 280, x="distance to the nearest training image", y="share of images", legend=True)
    figure["layout"]["yaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    figure["layout"]["xaxis"]["rangemode"] = "tozero"
    return figure


def errors(error: Sequence[float], level: float, at: int) -> dict:
    """Mean squared error per pixel over inference steps from 0, the step that is shown, and the mean image's error."""
    line = {"color": charts.POSITIVE, "width": 2.2}
    steps = list(range(len(error)))
    marks = {"size": [13 if step == at else 6 for step in steps], "color": charts.POSITIVE}
    told = {"x": steps, "y": charts._list(error), "mode": "lines+markers", "line": line, "marker": marks, "name": "error"}
    figure = charts._figure([{**told, "hovertemplate": "%{y:.4f}"}], 240, x="inference step", y="squared error per pixel")
    figure["layout"]["yaxis"]["range"] = [0, 1.15 * max([level, *error])]
    figure["layout"]["xaxis"] |= {"dtick": 1 if len(error) <= 20 else 5, "range": [-0.3, len(error) - 0.7]}
    return charts._level(figure, level, "the mean image for all")


_STYLE = """<style>
.generated {display: grid; gap: .35rem .6rem; grid-template-columns: max-content minmax(0, 1fr); align-items: center}
.generated .name {font-size: .9rem; text-align: right; overflow-wrap: anywhere; max-width: 9rem}
.generated .heads {text-align: center}
.generated .tiles {display: grid; gap: .35rem; grid-template-columns: repeat(var(--across), minmax(0, var(--wide)))}
.generated figure {margin: 0; text-align: center; min-width: 0}
.generated img {width: 100%; image-rendering: pixelated; border-radius: .25rem; display: block; box-sizing: border-box}
.generated figcaption {font-size: .75rem; line-height: 1.4; overflow-wrap: anywhere}
.generated .odd img {outline: 2px solid #D55E00}
.generated .odd figcaption {font-weight: 700}
@media (max-width: 40rem) {
  .generated {column-gap: .3rem}
  .generated .name {max-width: 3.4rem; font-size: .75rem}
  .generated .tiles {gap: .15rem}
  .generated figcaption {font-size: .62rem}
}
</style>"""
