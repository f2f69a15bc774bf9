"""Components-v2 of the dashboard: what Streamlit itself does not do."""

from components.arrive import arrive
from components.chart import live_chart, live_charts, plotly_loader
from components.link import copy_link
from components.pad import pad
from components.replay import replay

__all__ = ["arrive", "copy_link", "live_chart", "live_charts", "pad", "plotly_loader", "replay"]
