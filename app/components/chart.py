"""A Plotly chart that keeps its node, zoom and legend while its data change.

`st.plotly_chart` remounts on every change of data. Here a component calls `Plotly.react` instead. Inline `js` travels
inside every changed message, so the chart component is a few lines, and the library (4.8 MB, from the plotly wheel) and
the drawing sit in a second component that never changes: mount `plotly_loader` once per page, outside any fragment, and
charts wait for it.
"""

from importlib.resources import files
from pathlib import Path

import streamlit as st

_HERE = Path(__file__).parent
_loader = st.components.v2.component(
    "plotly_loader",
    js=(files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")
    + (_HERE / "loader.js").read_text("utf-8"),
)
_chart = st.components.v2.component(
    "live_chart",
    html='<div class="live-chart" role="img"></div>',
    js=(_HERE / "chart.js").read_text("utf-8"),
    isolate_styles=False,  # Plotly puts its style sheet into the document, which a shadow root would not see
)


def plotly_loader() -> None:
    """Brings Plotly into the browser; once per page, outside fragments."""
    _loader(key="plotly_loader", height=1)


def live_chart(
    figure_or_data: dict,
    *,
    width: int | str = "stretch",
    height: int | str = "content",
    key: str,
    config: dict | None = None,
    alt: str,
) -> None:
    """Draws a Plotly figure, a dict of data and layout, by the parameters of `st.plotly_chart`.

    `key` is the chart's identity across reruns. `alt` says in a sentence what it shows. "content" is the height in
    pixels that `layout.height` asks for.
    """
    figure = figure_or_data
    pixels = figure["layout"]["height"] if height == "content" else height
    figure = {**figure, "layout": {**figure["layout"], "height": pixels}}
    _chart(key=key, data={"figure": figure, "config": config or {}, "alt": alt}, width=width, height=pixels)
