"""The Run page's pictures: worst errors with what was read and by how much."""

import html
import math
from collections.abc import Sequence

import numpy as np

from charts import _SHEET_STYLE, png


def gallery(
    images: np.ndarray | None,
    labels: Sequence[int],
    guesses: Sequence[int],
    classes: Sequence[str],
    lead: Sequence[float | None],
) -> str:
    """Errors as a sheet: images (n, C, H, W) or None, the class and what was read, and by how much the wrong one led."""
    tiles = ""
    for i, (is_a, said, by) in enumerate(zip(labels, guesses, lead, strict=True)):
        names = [html.escape(str(classes[c])) for c in (is_a, said)]
        alt = f"a {names[0]} read as {names[1]}"
        seen = "" if images is None else f"<img src='{png(images[i])}' alt='{alt}' title='{alt}'>"
        far = "" if by is None or not math.isfinite(by) else f"<small>by {by:.2g}</small>"
        tiles += f"<figure>{seen}<figcaption>{names[0]} → <b>{names[1]}</b>{far}</figcaption></figure>"
    return f"{_SHEET_STYLE}{_STYLE}<div class='sheets'><div class='sheet errors by'>{tiles}</div></div>"


def largest(confusion: np.ndarray, most: int = 100) -> list[tuple[int, int, int]]:
    """The mistakes of a confusion matrix (C, C), [true, read, how many], the most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    cells = [divmod(int(i), len(wrong)) for i in order]
    return [(row, column, int(wrong[row, column])) for row, column in cells if wrong[row, column]]


_STYLE = """<style>
.sheet.by {grid-template-columns: repeat(auto-fill, minmax(4rem, 1fr)); gap: .6rem .5rem}
.sheet.by small {display: block; opacity: .75}
</style>"""
