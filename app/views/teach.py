"""For teachers."""

import streamlit as st

st.title("For teachers")
