"""Images and what a net makes of them, as small HTML: it paints before any chart library is there."""

import html
from collections.abc import Sequence

import numpy as np

from charts.parts import _signed, png


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


def strip(pictures: list[tuple[str, np.ndarray]]) -> str:
    """Named images (C, H, W) in [0, 1] in a row that wraps."""
    tiles = "".join(
        f"<figure><img src='{png((255 * image).round().astype(np.uint8))}' alt='{html.escape(name)}'>"
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, image in pictures
    )
    return f"{_SHEET_STYLE}<div class='sheet'>{tiles}</div>"


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
