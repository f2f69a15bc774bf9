"""The dashboard's door: page config and navigation, nothing else."""

from pathlib import Path

import lessons
import streamlit as st

st.set_page_config(page_title="Forward-Forward Explorer", page_icon="🔦", layout="wide")
st.html(Path(__file__).parent / "style.css")  # wherever the server was started
page = st.navigation(
    {
        "Explore": [
            st.Page("views/start.py", title="Start", icon=":material/lightbulb:", default=True),
            st.Page("views/draw.py", title="Draw", icon=":material/draw:"),
            st.Page("views/replay.py", title="Replay", icon=":material/history:"),
            st.Page("views/negatives.py", title="Negatives", icon=":material/contrast:"),
            st.Page("views/variants.py", title="Variants", icon=":material/account_tree:"),
            st.Page("views/generations.py", title="Generations", icon=":material/brush:"),
        ],
        "Train": [
            st.Page("views/train.py", title="Train", icon=":material/model_training:"),
            st.Page("views/live.py", title="Live", icon=":material/monitoring:"),
            st.Page("views/runs.py", title="Runs", icon=":material/table_rows:"),
            st.Page("views/run.py", title="Run", icon=":material/fact_check:"),
        ],
        "Analyse": [
            st.Page("views/health.py", title="Neuron health", icon=":material/cardiology:"),
            st.Page("views/transfer.py", title="Transfer", icon=":material/swap_horiz:"),
            st.Page("views/embeddings.py", title="Embeddings", icon=":material/scatter_plot:"),
            st.Page("views/compare.py", title="Compare", icon=":material/compare_arrows:"),
        ],
        "Learn": [
            st.Page("views/lessons.py", title="Lessons", icon=":material/school:"),
            st.Page("views/teach.py", title="For teachers", icon=":material/co_present:"),
            st.Page("views/glossary.py", title="Glossary", icon=":material/menu_book:"),
            st.Page("views/about.py", title="About", icon=":material/info:"),
        ],
    },
    position="top",
)
lessons.bar(page.url_path)
page.run()
