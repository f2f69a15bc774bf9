"""Pairs of positive and negative, what every layer makes of them, and hardness against accuracy."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from charts.parts import LEAST_ERROR, NEGATIVE, POSITIVE, _by_errors, _figure, _level, _list, _signed, png


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
                "meta": {"x": [p.hardness for p, _ in shown], "y": [value for _, value in shown]},
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
