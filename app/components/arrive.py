"""Brings the reader to a place on the page after a click elsewhere on it; Streamlit itself cannot."""

import streamlit as st

_arrive = st.components.v2.component(
    "arrive",
    html="<span tabindex='-1'></span>",
    js="""export default function ({ data, parentElement }) {
  const here = parentElement.querySelector("span");
  if (here.arrived === data || !data) return; // again only for another click
  here.arrived = data;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  here.getRootNode().host?.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  here.focus({ preventScroll: true });
}
""",
    css="span {outline: none; scroll-margin-top: 4rem}\n:host {scroll-margin-top: 4rem}",
)


def arrive(times: int, *, key: str) -> None:
    """The page scrolls here, and the keyboard's focus with it, each time that `times` has grown; 0 stays where it is."""
    _arrive(key=key, data=times, height=1)
