"""Plotly charts that keep their nodes, zoom and legend while their data change.

`st.plotly_chart` remounts on every change of data. Here a component calls `Plotly.react` instead. Inline `js` travels
inside every changed message, so the chart component is a few lines, and the library (4.8 MB, from the plotly wheel) and
the drawing sit in a second component that never changes: mount `plotly_loader` once per page, outside any fragment, and
charts wait for it. Mounting a component costs the server some milliseconds, so charts side by side share one.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import streamlit as st

_HERE = Path(__file__).parent
_loader = st.components.v2.component(
    "plotly_loader",
    js=(files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8") + (_HERE / "loader.js").read_text("utf-8"),
)
_charts = st.components.v2.component(
    "live_charts",
    html='<div class="live-room"><div class="live-charts"></div></div>',
    css=(_HERE / "chart.css").read_text("utf-8"),
    js=(_HERE / "chart.js").read_text("utf-8"),
    isolate_styles=False,  # Plotly puts its style sheet into the document, which a shadow root would not see
)


def plotly_loader() -> None:
    """Brings Plotly into the browser; once per page, outside fragments."""
    _loader(key="plotly_loader", height=1)


def live_chart(
    figure: dict,
    *,
    key: str,
    alt: str,
    select: str = "",
    click: str = "",
    on_click: Callable[[int, int, int], None] | None = None,
) -> dict[int, list[int]]:
    """Draws a Plotly figure, a dict of data and layout, as high as `layout.height` says.

    `key` is the chart's identity across reruns. `alt` says in a sentence what it shows. With `select`, a word that changes
    when its points become others, the reader may circle points or click one; returned is which, {trace: indices}, else
    nothing. With `click`, a word like it, a click on a cell of a heat map, or on a point, calls
    `on_click(trace, row, column)` before the script runs again; a point is a row.
    """
    chart = {"figure": figure, "config": {}, "alt": alt}
    data = {"charts": [chart], "columns": 1, "framed": False}
    if click and on_click:
        chart["click"] = click

        def heard() -> None:
            at = clicked(st.session_state[key].clicked, figure["data"], click)
            if at:
                on_click(*at)

        _charts(key=key, data=data, on_clicked_change=heard)
        return {}
    if not select:
        _charts(key=key, data=data)
        return {}
    chart["figure"] = {**figure, "layout": {**figure["layout"], "clickmode": "event+select"}}
    chart |= {"select": select, "config": {"modeBarButtonsToRemove": ["autoScale2d"]}}
    told = _charts(key=key, data=data, on_selected_change=lambda: None)
    return selected(told.selected, figure["data"], select)


def selected(told: object, traces: Sequence[dict], of: str) -> dict[int, list[int]]:
    """{trace: indices} of what a browser says is circled; nothing where that is of other points, or nonsense."""
    if not isinstance(told, Mapping) or told.get("of") != of or not isinstance(told.get("parts"), Mapping):
        return {}
    names = {str(i) for i in range(len(traces))}
    return {
        int(trace): sorted({i for i in points if type(i) is int and i >= 0})
        for trace, points in told["parts"].items()
        if trace in names and isinstance(points, list)
    }


def clicked(told: object, traces: Sequence[dict], of: str) -> tuple[int, int, int] | None:
    """(trace, row, column) of what a browser says is clicked; None where that is of other data, or nonsense."""
    if not isinstance(told, Mapping) or told.get("of") != of:
        return None
    trace, row, column = (told.get(name) for name in ("trace", "row", "column"))
    whole = all(type(i) is int and i >= 0 for i in (trace, row, column))
    return (trace, row, column) if whole and trace < len(traces) else None


def live_charts(charts: Sequence[tuple[dict, str]], *, columns: int, key: str, framed: bool = False) -> None:
    """Figures with their `alt` texts, side by side in 2 or 4 columns, fewer on a narrow page; `framed` like cards."""
    told = [{"figure": figure, "config": {}, "alt": alt} for figure, alt in charts]
    _charts(key=key, data={"charts": told, "columns": columns, "framed": framed})
