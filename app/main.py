"""The dashboard's door: page config and navigation, nothing else."""

import streamlit as st

st.set_page_config(page_title="Forward-Forward Explorer", page_icon="🔦", layout="wide")
st.navigation(
    {
        "Explore": [
            st.Page("views/start.py", title="Start", icon=":material/lightbulb:", default=True),
            st.Page("views/negatives.py", title="Negatives", icon=":material/contrast:"),
            st.Page("views/variants.py", title="Variants", icon=":material/account_tree:"),
            st.Page("views/generations.py", title="Generations", icon=":material/brush:"),
        ],
        "Train": [
            st.Page("views/train.py", title="Train", icon=":material/model_training:"),
            st.Page("views/live.py", title="Live", icon=":material/monitoring:"),
            st.Page("views/runs.py", title="Runs", icon=":material/table_rows:"),
        ],
        "Analyse": [
            st.Page("views/health.py", title="Neuron health", icon=":material/cardiology:"),
            st.Page("views/transfer.py", title="Transfer", icon=":material/swap_horiz:"),
            st.Page("views/embeddings.py", title="Embeddings", icon=":material/scatter_plot:"),
            st.Page("views/compare.py", title="Compare", icon=":material/compare_arrows:"),
        ],
    },
    position="top",
).run()
