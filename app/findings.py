"""Analyses on a page: asked for with a button, computed beside the server, watched while they run."""

from collections import Counter
from typing import Any

import streamlit as st
import widgets
from widgets import LIVE

import ffcore
from ffcore import Finding, Run


def find(kind: str, *runs: Run, **settings: Any) -> Finding | None:
    """The finding of a question, or None where it makes no sense, which is then said in a line."""
    try:
        return ffcore.find_analysis(kind, *runs, **settings)
    except ffcore.Refused as error:
        widgets.refusal(error)
        return None


def answer(finding: Finding | None, label: str, about: str, key: str) -> dict[str, Any] | None:
    """The numbers of a finding; where there are none yet, a button that has them computed, or how far that is.

    `label` is what the button says, `about` in a line what it does and how long that takes.
    """
    if finding is None:
        return None
    status = finding.status()
    if status["state"] == "done":
        if told := finding.result():
            return told
        st.error(f"The stored result in {finding.dir} is damaged; delete it and ask again.", icon=":material/broken_image:")
        return None
    if status["state"] in LIVE:
        _watch(finding, key)
        return None
    with st.container(border=True):
        if status["state"] in ("failed", "lost"):
            st.error(widgets.plain(status["reason"] or "It failed and did not say why."), icon=":material/error:")
        elif status["state"] == "cancelled":
            st.info("Cancelled.", icon=":material/cancel:")
        with st.container(horizontal=True, vertical_alignment="center"):
            pressed = widgets.act(label, key=f"{key}.ask", type="primary", icon=":material/play_arrow:")
            st.caption(about)
        widgets.warm_torch()  # what starts it needs torch: not to be waited for after the click
        if pressed:
            with st.spinner("Starting …"):
                _ask(finding, key)
            st.rerun()
        if said := st.session_state.pop(f"{key}.refused", None):
            widgets.refusal(said)
    return None


def causes(told: dict[str, Any]) -> dict[str, int]:
    """{cause: dead units} of an autopsy, the most frequent first."""
    counts: Counter[str] = Counter()
    for row in told["layers"]:
        counts.update(row["causes"])
    return dict(counts.most_common())


def _ask(finding: Finding, key: str) -> None:
    try:
        ffcore.submit_analysis(finding)
    except (ffcore.Refused, ffcore.Failed) as error:
        st.session_state[f"{key}.refused"] = str(error)


def _watch(finding: Finding, key: str) -> None:
    """How far it is, looked at every second, and a way to end it."""

    @st.fragment(run_every=widgets.pace(1))
    def looking() -> None:
        status = finding.status()
        if status["state"] not in LIVE:
            st.rerun()
        with st.container(border=True):
            st.progress(status["done"], f"{widgets.plain(status['doing'] or 'starting')} …")
            if widgets.act("Cancel", key=f"{key}.cancel", icon=":material/stop:"):
                finding.cancel()
                st.rerun()

    looking()
