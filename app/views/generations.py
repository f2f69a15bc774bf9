"""Generations."""

import streamlit as st

st.title("Generations")
