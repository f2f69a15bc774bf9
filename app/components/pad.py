"""A square to draw on, by mouse, finger, pen or arrow keys."""

import base64
import io
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

SIDE = 280  # pixels
_HERE = Path(__file__).parent
_START = "data:image/png;base64,"
_MOST = 200_000  # characters of a drawing; a full one takes some ten thousand
_LABEL = "drawing pad: draw with the pointer or the arrow keys; with Shift they move the pen without drawing; Delete clears"
_pad = st.components.v2.component(
    "drawing_pad",
    html=f"""<div class="pad">
      <canvas width="{SIDE}" height="{SIDE}" tabindex="0" role="application" aria-label="{_LABEL}"></canvas>
      <div class="pen"></div>
      <button type="button">Clear</button>
    </div>""",
    css=(_HERE / "pad.css").read_text("utf-8"),
    js=(_HERE / "pad.js").read_text("utf-8"),
)


def pad(*, key: str) -> np.ndarray | None:
    """What is drawn on it, (SIDE, SIDE) uint8, white ink on black, told anew when a stroke ends; None: nothing yet."""
    return decoded(_pad(key=key, on_png_change=lambda: None).png)


def decoded(url: object) -> np.ndarray | None:
    """The grey pixels of a pad's data URL; None for anything else: a browser can send what it likes."""
    if not isinstance(url, str) or not url.startswith(_START) or len(url) > _MOST:
        return None
    try:
        with Image.open(io.BytesIO(base64.b64decode(url.removeprefix(_START), validate=True)), formats=["PNG"]) as image:
            return np.array(image.convert("L")) if image.size == (SIDE, SIDE) else None
    except (ValueError, OSError, SyntaxError):  # Pillow's words for what is no PNG
        return None
