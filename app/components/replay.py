"""A scrubber over a training: all its moments come at once, so the browser shows any of them without asking."""

from collections.abc import Callable, Mapping
from pathlib import Path

import streamlit as st

_HERE = Path(__file__).parent
_replay = st.components.v2.component(
    "replay",
    html="""<div class="replay">
      <div class="bar">
        <button type="button" class="play"></button>
        <button type="button" class="step" data-step="-1" aria-label="one step back" title="one step back">◀</button>
        <button type="button" class="step" data-step="1" aria-label="one step on" title="one step on">▶</button>
        <div class="track"><input type="range" class="time" min="0"><div class="ticks" aria-hidden="true"></div></div>
        <label>speed <select class="speed"><option value="0.5">½ ×</option><option value="1" selected>1 ×</option>
          <option value="2">2 ×</option><option value="4">4 ×</option></select></label>
        <label class="over">time <select class="axis"></select></label>
      </div>
      <p class="now" aria-live="polite"></p>
      <div class="jumps" role="group" aria-label="bookmarks"></div>
      <div class="room"><div class="views"></div></div>
    </div>""",
    css=(_HERE / "replay.css").read_text("utf-8"),
    js=(_HERE / "replay.js").read_text("utf-8"),
)


def replay(packed: bytes, *, key: str, on_stop: Callable[[str, int, int], None]) -> None:
    """Shows what `charts.replay.pack` made. `on_stop(axis, at, layer)` is told where on which axis of time the reader has
    stopped, and the layer whose map is shown."""

    def heard() -> None:
        at = stopped(st.session_state[key].at)
        if at:
            on_stop(*at)

    _replay(key=key, data=packed, on_at_change=heard)


def stopped(told: object) -> tuple[str, int, int] | None:
    """(axis, place on it, layer) as a browser says; None for nonsense."""
    if not isinstance(told, Mapping) or told.get("axis") not in ("epoch", "second"):
        return None
    at, layer = told.get("at"), told.get("layer")
    return (told["axis"], at, layer) if all(type(n) is int and 0 <= n < 10**9 for n in (at, layer)) else None
