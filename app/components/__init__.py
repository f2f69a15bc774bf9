"""Components-v2 of the dashboard: what Streamlit itself does not do."""

from components.chart import live_chart, live_charts, plotly_loader

__all__ = ["live_chart", "live_charts", "plotly_loader"]
