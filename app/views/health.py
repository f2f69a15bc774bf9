"""Neuron health."""

import streamlit as st

st.title("Neuron health")
