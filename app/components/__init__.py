"""Components-v2 of the dashboard: what Streamlit itself does not do."""

from components.chart import live_chart, plotly_loader

__all__ = ["live_chart", "plotly_loader"]
