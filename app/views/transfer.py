"""Transfer."""

import streamlit as st

st.title("Transfer")
