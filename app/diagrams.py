"""A model's facts → its picture: a stack of layers and what its paper wires in, as an SVG in the page's own colours.

Nothing is drawn by hand for any one model, so that a plug-in gets its picture, too. Built from the bottom up, as signals
flow; wide enough for its words, and narrow enough for a phone.
"""

import html
import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

RELATIVE = {"layer": 0, "layer above": 1, "layer below": -1}
SHARED = ("image", "read-out", "label", "class")
WIDE, HIGH, PITCH = 118, 42, 84  # of a box, and from one box's middle to the next
GAP = 100  # between the stack and what stands beside it: room for a caption
LETTER, LINE = 6.1, 13  # a caption's, in pixels
Wire = tuple[str, str, str]  # from, to, what flows


@dataclass
class Box:
    """A box by its middle."""

    x: float
    y: float
    text: str
    under: str = ""
    kind: str = ""
    wide: float = WIDE


def wires(wiring: Sequence[Wire], layers: int) -> list[Wire]:
    """The arrows of a stack of so many layers: `layer`, `layer above`, `top layer` … become `layer 1`, `layer 2`, …

    A name that only layers touch stands once beside each of them, as `name @1`; any other, and what the class is, once.
    """
    wiring = [(*(f"layer {layers}" if end == "top layer" else end for end in wire[:2]), wire[2]) for wire in wiring]
    stack = {*SHARED, *(f"layer {i}" for i in range(1, layers + 1))}
    own = {name for a, b, _ in wiring for name in (a, b)} - RELATIVE.keys() - stack
    local = {name for name in own if all({a, b} - {name} <= RELATIVE.keys() for a, b, _ in wiring if name in (a, b))}
    out: list[Wire] = []
    for start, end, what in wiring:
        beside = [name for name in (start, end) if name in local]
        if beside or (start in RELATIVE and end in RELATIVE):
            shift = [RELATIVE.get(name, 0) for name in (start, end)]
            pairs = [(i + shift[0], i + shift[1], i) for i in range(1, layers + 1)]
            inner = set(range(1, layers + 1))
            inside = [(a, b, i) for a, b, i in pairs if {a, b} <= inner]
            for a, b, i in dict.fromkeys(inside):
                names = (start if start in local else f"layer {a}", end if end in local else f"layer {b}")
                out.append((*(f"{name} @{i}" if name in local else name for name in names), what))
        else:
            ends = [_where(name, layers) for name in (start, end)]
            out += [(a, b, what) for a in ends[0] for b in ends[1]]
    return list(dict.fromkeys(out))


def _where(name: str, layers: int) -> list[str]:
    """The boxes that one end of an arrow means, where the other end is no layer."""
    every = [f"layer {i}" for i in range(1, layers + 1)]
    return {"layer": every, "layer above": every[-1:], "layer below": every[:1]}.get(name, [name])


def model(
    layers: int, wiring: Sequence[Wire], local: bool, under: str = "", reads: str = "", label: bool = False, name: str = ""
) -> str:
    """The picture as HTML. `under` stands in every layer's box, `reads` in the read-out's; `label`: shown with images."""
    stack = ["image", *(f"layer {i}" for i in range(1, layers + 1)), "read-out"]
    boxes = {at: Box(0, -PITCH * i, at, under, "layer") for i, at in enumerate(stack)}
    boxes["image"] = Box(0, 0, "image + label" if label else "image", "", "image")
    boxes["read-out"].under, boxes["read-out"].kind = reads, "image"
    arrows = _joined(wires(wiring, layers))
    _stand_beside(boxes, arrows)
    drawing = _Drawing(boxes)
    for below, above in itertools.pairwise(stack):
        a, b = boxes[below], boxes[above]
        drawing.line([(a.x, a.y - HIGH / 2), (b.x, b.y + HIGH / 2)], "forward", (False, True))
        if local and below != "image":
            drawing.barred(a.x - 30, b.y + HIGH / 2 + 6, a.y - HIGH / 2 - 4)
    drawing.wire(arrows, stack)
    told = ", ".join(f"{_plain(a)} {'↔' if both else '→'} {_plain(b)}: {what}" for (a, b), (what, both) in arrows.items())
    alt = f"{name}: {' → '.join(boxes[at].text for at in stack)}" + (f"; {told}" if told else "")
    return f"<figure class='diagram'>{drawing.svg(alt)}<figcaption>{_legend(local, bool(arrows))}</figcaption></figure>"


def _legend(local: bool, wired: bool) -> str:
    said = ["<i class='no'>✕</i> no error crosses layers"] if local else []
    said += ["<i>→</i> what this model adds" if local else "<i>→</i> what goes back"] if wired else []
    return "".join(f"<span>{part}</span>" for part in said)


def _plain(name: str) -> str:
    return name.partition(" @")[0]


def _joined(arrows: list[Wire]) -> dict[tuple[str, str], tuple[str, bool]]:
    """{(from, to): (what flows, does the same flow back?)}, one arrow for each pair of boxes and direction."""
    flows: dict[tuple[str, str], list[str]] = {}
    for start, end, what in arrows:
        flows.setdefault((start, end), []).append(what)
    out: dict[tuple[str, str], tuple[str, bool]] = {}
    for (start, end), what in flows.items():
        if start != end and flows.get((end, start)) == what:
            if (end, start) not in out:
                out[start, end] = (", ".join(what), True)
        else:
            out[start, end] = (", ".join(what), False)
    return out


def _stand_beside(boxes: dict[str, Box], arrows: dict[tuple[str, str], tuple[str, bool]]) -> None:
    """Give every name that is not in the stack a box to its right, level with what it touches, none over another."""
    ends = [name for pair in arrows for name in pair]
    beside = [name for name in dict.fromkeys(ends) if name not in boxes]
    wish = {}
    for name in beside:
        near = [boxes[b if a == name else a].y for a, b in arrows if name in (a, b) and (b if a == name else a) in boxes]
        wish[name] = sum(near) / len(near) if near else -PITCH * (len(boxes) - 1) / 2
    longest = max((len(word) for name in beside for word in textwrap.wrap(_plain(name), 17)), default=0)
    wide, lowest = min(WIDE, max(64, 7 * longest + 22)), float("inf")
    for name in sorted(wish, key=lambda n: -wish[n]):
        y = min(wish[name], lowest)
        lowest = y - PITCH * 0.85
        boxes[name] = Box((WIDE + wide) / 2 + GAP, y, _plain(name), "", "own", wide)


class _Drawing:
    """SVG parts, and the room that they take."""

    def __init__(self, boxes: dict[str, Box]):
        self.boxes, self.parts, self.words, self.dots = boxes, [], [], []
        self.taken = [(b.x - b.wide / 2, b.y - HIGH / 2, b.x + b.wide / 2, b.y + HIGH / 2) for b in boxes.values()]
        self.reach = list(self.taken)

    def line(self, points: Sequence[tuple[float, float]], kind: str, heads: tuple[bool, bool]) -> None:
        """A straight line through 2 points or a curve of 4, with arrow heads at its (start, end)."""
        (x, y), *rest = points
        curve = "L" if len(points) == 2 else "C"
        path = f"M{x:.1f} {y:.1f} {curve}" + " ".join(f"{u:.1f} {v:.1f}" for u, v in rest)
        self.parts.append(f"<path class='{kind}' d='{path}' fill='none'/>")
        for shown, tip, towards in ((heads[0], points[0], points[1]), (heads[1], points[-1], points[-2])):
            if shown:
                self.parts.append(_head(tip, towards, kind))
        self.dots += _along(points)
        self.reach += [(u, v, u, v) for u, v in _along(points)]

    def barred(self, x: float, top: float, bottom: float) -> None:
        """The way back that no error takes."""
        mid = (top + bottom) / 2
        self.line([(x, top), (x, bottom)], "barred", (False, True))
        cross = f"M{x - 5} {mid - 7} l10 10 m0 -10 l-10 10"
        self.parts.append(f"<path class='cross' d='{cross}' fill='none'/>")

    def wire(self, arrows: dict[tuple[str, str], tuple[str, bool]], stack: list[str]) -> None:
        """What the paper adds: bows within the stack, lines to what stands beside it; each caption once."""
        side = -1 if self._crowded(arrows, stack) else 1
        slots = self._slots(arrows, stack, side)
        captions: dict[str, tuple] = {}
        for (start, end), (what, both) in arrows.items():
            a, b = self.boxes[start], self.boxes[end]
            ya, yb = slots[start, end, 0], slots[start, end, 1]
            bow = start in stack and end in stack
            if bow:
                x = side * WIDE / 2
                far = x + side * (34 + 18 * abs(a.y - b.y) / PITCH)
                ya, yb = (a.y + 10, a.y - 10) if start == end else (ya, yb)
                points = [(x, ya), (far, ya), (far, yb), (x, yb)]
            elif start in stack or end in stack:
                out = 1 if start in stack else -1
                xa, xb = a.x + out * a.wide / 2, b.x - out * b.wide / 2
                points = [(xa, ya), (xa + out * 34, ya), (xb - out * 34, yb), (xb, yb)]
            else:
                down = 1 if b.y > a.y else -1
                points = [(a.x, a.y + down * HIGH / 2), (b.x, b.y - down * HIGH / 2)]
            self.line(points, "added", (both, True))
            ends = [name if name not in stack else "" for name in map(_plain, (start, end))]
            captions.setdefault(f"{ends} {what}", (what, points, bow))
        for caption in captions.values():
            self._caption(*caption)

    def _crowded(self, arrows, stack: list[str]) -> bool:
        """Would bows on the right, between boxes of the stack, meet lines to what stands beside it?"""
        spans: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for pair in arrows:
            low, high = sorted(self.boxes[name].y for name in pair)
            spans[all(name in stack for name in pair)].append((low, high))
        return any(min(b, d) > max(a, c) - HIGH * (c < d) / 2 for a, b in spans[True] for c, d in spans[False])

    def _slots(self, arrows, stack: list[str], side: int) -> dict[tuple[str, str, int], float]:
        """Where on a box's edge each arrow begins (0) and ends (1): spread, and in the order of where they lead."""
        edges: dict[tuple[str, int], list[tuple[float, tuple]]] = {}
        for a, b in arrows:
            within = a in stack and b in stack
            for i, (one, other) in enumerate(((a, b), (b, a))):
                edge = side if within else 1 if one in stack else -1
                edges.setdefault((one, edge), []).append((self.boxes[other].y, (a, b, i)))
        out = {}
        for (name, _), ends in edges.items():
            step = min(18.0, (HIGH - 10) / max(1, len(ends) - 1))
            for i, (_, key) in enumerate(sorted(ends, key=lambda e: e[0])):
                out[key] = self.boxes[name].y + step * (i - (len(ends) - 1) / 2)
        return out

    def _caption(self, text: str, points: Sequence[tuple[float, float]], bow: bool) -> None:
        """Beside the line, where it covers least."""
        spots = _along(points)
        left = bow and spots[len(spots) // 2][0] < 0
        lines = textwrap.wrap(text, 10 if left else 15, break_long_words=False) or [""]
        wide, high = LETTER * max(map(len, lines)), LINE * len(lines)
        if bow:
            (x, y), side = spots[len(spots) // 2], -1 if left else 1
            places = [(x + side * (wide / 2 + 6 + dx), y + dy) for dx in (0, 26) for dy in (0, -18, 18, -high, high)]
        else:
            sides = (-high / 2 - 5, high / 2 + 6)
            places = [(spots[i][0], spots[i][1] + dy) for i in (12, 9, 15, 7, 17) for dy in sides]
            places += [(spots[i][0] + dx, spots[i][1]) for i in (12, 8, 16) for dx in (wide / 2 + 8, -wide / 2 - 8)]

        def cost(place: tuple[float, float]) -> float:
            box = (place[0] - wide / 2, place[1] - high / 2, place[0] + wide / 2, place[1] + high / 2)
            struck = sum(box[0] - 4 < x < box[2] + 4 and box[1] - 1 < y < box[3] + 1 for x, y in self.dots)
            return sum(_overlap(box, other) for other in self.taken) + 60 * struck

        x, y = min(places, key=cost)
        box = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
        self.taken.append(box)
        self.reach.append(box)
        first = y - high / 2 + LINE - 3
        spans = "".join(
            f"<tspan x='{x:.1f}' y='{first + LINE * i:.1f}'>{html.escape(line)}</tspan>" for i, line in enumerate(lines)
        )
        self.words.append(f"<text class='what'>{spans}</text>")

    def svg(self, alt: str) -> str:
        """The whole, as large as what is in it."""
        boxes = "".join(_boxed(box) for box in self.boxes.values())
        left, top = (min(r[i] for r in self.reach) - 6 for i in (0, 1))
        right, bottom = (max(r[i] for r in self.reach) + 6 for i in (2, 3))
        view = f"{left:.0f} {top:.0f} {right - left:.0f} {bottom - top:.0f}"
        return (
            f"<svg role='img' aria-label='{html.escape(alt, quote=True)}' viewBox='{view}' "
            f"style='max-width:{1.15 * (right - left):.0f}px'>{''.join(self.parts)}{boxes}{''.join(self.words)}</svg>"
        )


def _boxed(box: Box) -> str:
    words = textwrap.wrap(box.text, 17)[:2] or [""]
    lines = [*words, box.under] if box.under and len(words) == 1 else words
    first = box.y + 4.5 - 7.5 * (len(lines) - 1)
    spans = "".join(
        f"<tspan x='{box.x:.1f}' y='{first + 15 * i:.1f}'{small}>{html.escape(line)}</tspan>"
        for i, line in enumerate(lines)
        for small in (" class=under" if i and box.under else "",)
    )
    x, y = box.x - box.wide / 2, box.y - HIGH / 2
    size = f"width='{box.wide:.0f}' height='{HIGH}' rx='8'"
    return f"<rect class='{box.kind}' x='{x:.1f}' y='{y:.1f}' {size}/><text class='in'>{spans}</text>"


def _along(points: Sequence[tuple[float, float]], n: int = 25) -> list[tuple[float, float]]:
    """Points on a line, or on a Bézier curve."""
    ts = [i / (n - 1) for i in range(n)]
    if len(points) == 2:
        (x, y), (u, v) = points
        return [(x + t * (u - x), y + t * (v - y)) for t in ts]
    weights = [((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3) for t in ts]
    return [tuple(sum(w * p[axis] for w, p in zip(ws, points, strict=True)) for axis in (0, 1)) for ws in weights]


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _head(tip: tuple[float, float], towards: tuple[float, float], kind: str) -> str:
    """An arrow head at `tip`, on a line that comes from `towards`."""
    dx, dy = tip[0] - towards[0], tip[1] - towards[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    dx, dy = 8 * dx / length, 8 * dy / length
    corners = [tip, (tip[0] - dx - dy / 2, tip[1] - dy + dx / 2), (tip[0] - dx + dy / 2, tip[1] - dy - dx / 2)]
    return f"<polygon class='{kind}' points='{' '.join(f'{x:.1f},{y:.1f}' for x, y in corners)}'/>"


_STYLE = """
.diagram {margin: 0; text-align: center; color: var(--st-text-color); font-family: var(--st-font), sans-serif}
.diagram svg {width: 100%; height: auto; display: block; margin: auto; overflow: visible}
.diagram text {fill: currentColor; text-anchor: middle; font-size: 13px; font-family: inherit}
.diagram .under, .diagram .what {font-size: 11.5px}
.diagram .under {opacity: .75}
.diagram .what {font-weight: 600}
.diagram rect {fill: color-mix(in srgb, currentColor 5%, transparent); stroke: currentColor; stroke-opacity: .55}
.diagram rect.layer {fill: color-mix(in srgb, #0072B2 22%, transparent); stroke: #2A9FE0; stroke-opacity: 1; stroke-width: 1.6}
.diagram rect.own {fill: color-mix(in srgb, #D55E00 14%, transparent); stroke: #D55E00; stroke-opacity: 1; stroke-width: 1.6}
.diagram path.forward {stroke: currentColor; stroke-width: 2; opacity: .7}
.diagram polygon.forward {fill: currentColor; opacity: .7}
.diagram path.added {stroke: #D55E00; stroke-width: 2.2}
.diagram polygon.added {fill: #D55E00}
.diagram path.barred {stroke: currentColor; stroke-width: 1.4; stroke-dasharray: 3 3; opacity: .55}
.diagram polygon.barred {fill: currentColor; opacity: .55}
.diagram path.cross {stroke: currentColor; stroke-width: 2}
.diagram figcaption {font-size: .8rem; margin-top: .5rem; display: flex; flex-wrap: wrap; gap: 0 1.2rem;
  justify-content: center}
.diagram figcaption i {font-style: normal; font-weight: 700; color: #D55E00}
.diagram figcaption i.no {color: inherit}
"""
_diagram = st.components.v2.component(
    "diagram",
    html="<div class='room'></div>",
    css=_STYLE,
    js="export default ({ data, parentElement }) => { parentElement.querySelector('.room').innerHTML = data; }",
)


def show(picture: str, key: str) -> None:
    """Puts a diagram on the page: `st.html` lets no SVG through, and an image could not take the page's colours."""
    _diagram(key=key, data=picture)
