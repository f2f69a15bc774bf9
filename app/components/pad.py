"""A square to draw on, by mouse, finger, pen or arrow keys."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import streamlit as st

SIDE = 280  # points across
_PEN = 24  # as thick as it looks; what a net sees is drawn anew with a pen as thick as MNIST's
_HERE = Path(__file__).parent
_MOST = 20_000  # numbers in a drawing; a full pad takes some thousand
_LABEL = "drawing pad: draw with the pointer or the arrow keys; with Shift they move the pen without drawing; Delete clears"
_pad = st.components.v2.component(
    "drawing_pad",
    html=f"""<div class="pad">
      <canvas width="{SIDE}" height="{SIDE}" tabindex="0" role="application" aria-label="{_LABEL}"></canvas>
      <div class="pen"></div><div class="hint" aria-hidden="true" hidden>draw here</div>
      <div class="tools"><button type="button" disabled>Undo</button><button type="button" disabled>Clear</button></div>
    </div>""",
    css=(_HERE / "pad.css").read_text("utf-8"),
    js=(_HERE / "pad.js").read_text("utf-8"),
)


def pad(*, key: str, on_change: Callable[[list[np.ndarray], int], None] | None = None) -> list[np.ndarray]:
    """The strokes on it, (n, 2) points each, told anew when one ends.

    Before the script runs again, `on_change` is called with them, none when the pad was cleared, and the number of the
    sheet: another after that.
    """

    def heard() -> None:
        if on_change:
            told = st.session_state[key].drawing
            on_change(paths_of(told), sheet_of(told))

    return paths_of(_pad(key=key, data={"pen": _PEN}, on_drawing_change=heard).drawing)


def paths_of(told: object) -> list[np.ndarray]:
    """The strokes of what a pad tells; none where it is anything else: a browser can send what it likes."""
    paths = told.get("paths") if isinstance(told, Mapping) else None
    if not isinstance(paths, list) or sum(len(p) if isinstance(p, list) else _MOST + 1 for p in paths) > _MOST:
        return []
    whole = all(p and len(p) % 2 == 0 and all(type(v) is int and abs(v) <= 4 * SIDE for v in p) for p in paths)
    return [np.array(p, float).reshape(-1, 2) for p in paths] if whole else []


def sheet_of(told: object) -> int:
    """The number of the sheet that a pad tells of."""
    sheet = told.get("sheet") if isinstance(told, Mapping) else None
    return sheet if type(sheet) is int else 0
