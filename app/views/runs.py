"""Runs: every run on this machine in one table; open, delete, export and import."""

import tempfile
from pathlib import Path

import streamlit as st
import widgets

import ffcore

STATES = ["running", "queued", "paused", "done", "stopped", "failed", "lost", "damaged"]
MEASURED = "measured once, at the end; 64 fixed test samples are shown throughout"
COLOURS = ["blue", "orange", "orange", "green", "gray", "red", "red", "red"]

st.title("Runs")
for message in st.session_state.pop("told", []):
    st.success(message)
runs = ffcore.list_runs()


def row(run: ffcore.Run) -> dict:
    config, status = run.config, run.status()
    result = status["result"] or {}
    return {
        "state": [status["state"]],
        "run": run.title(),
        "test": result.get("test_accuracy"),
        "validation": result.get("validation_accuracy"),
        "epochs": f"{status['epoch']:g} / {status['epochs']}",
        "time": widgets.duration(status["train_seconds"]),
        "made": widgets.when(run),
        "preset": config.get("preset") or "quick",
        "MB": run.size_bytes() / 1e6,
        "id": run.id + (" (bundled)" if run.bundled else ""),
    }


def keep() -> None:
    st.session_state.pop("deleting", None)


@st.dialog("Delete this run?", on_dismiss=keep)
def confirm(run: ffcore.Run) -> None:
    st.markdown(f"**{run.title()}**  \n`{run.id}`, {run.size_bytes() / 1e6:.1f} MB. This cannot be undone.")
    with st.container(horizontal=True):
        if st.button("Delete for good", type="primary", icon=":material/delete:"):
            try:
                ffcore.delete(run)
            except ffcore.Refused as error:
                st.error(str(error), icon=":material/block:")
                return
            st.session_state.told = [f"Deleted {run.id}."]
            st.query_params.pop("run", None)
            keep()
            st.rerun()
        if st.button("Keep it"):
            keep()
            st.rerun()


def pick(ids: list[str]) -> None:
    """The row that was clicked, among those on screen at that moment."""
    if rows := st.session_state.table.selection.rows:
        st.query_params["run"] = ids[rows[0]]


def zipped(run: ffcore.Run) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{run.id}.zip"
        ffcore.export(run, file)
        return file.read_bytes()


def import_box() -> None:
    """Takes a zipped run."""
    with st.expander("Import a run", icon=":material/upload:"):
        file = st.file_uploader("A zip that “Export as zip” or `ffcore runs export` made", type="zip")
        if file and st.button("Import", type="primary"):
            try:
                run = ffcore.import_zip(file)
            except (ffcore.Refused, ffcore.Failed) as error:
                st.error(str(error), icon=":material/block:")
            else:
                st.session_state.told = [f"Imported {run.title()} as {run.id}."]
                st.query_params["run"] = run.id
                st.rerun()


if not runs:
    import_box()
    widgets.empty("No run has been started yet.", "Start one", "views/train.py")
with st.container(horizontal=True, vertical_alignment="bottom"):
    text = st.text_input("Filter", type="search", placeholder="model, negatives, data, id …", key="filter", bind="query-params")
    states = st.pills("State", STATES, selection_mode="multi", key="states", bind="query-params")

rows = [(run, row(run)) for run in runs]
shown = [
    (run, r)
    for run, r in rows
    if (not states or r["state"][0] in states)
    and all(word in f"{r['run']} {r['preset']} {r['id']}".lower() for word in text.lower().split())
]
if not shown:
    st.info(f"None of the {len(rows)} runs fits this filter.")
    st.stop()

st.dataframe(
    [r for _, r in shown],
    hide_index=True,
    key="table",
    on_select=lambda: pick([run.id for run, _ in shown]),
    selection_mode="single-row",
    alt="all runs with state, accuracy, time and size",
    column_config={
        "state": st.column_config.MultiselectColumn("state", options=STATES, color=COLOURS),
        "run": st.column_config.TextColumn("run", width="large"),
        "test": st.column_config.NumberColumn("test accuracy", format="percent", help=MEASURED),
        "validation": st.column_config.NumberColumn("validation", format="percent"),
        "MB": st.column_config.NumberColumn("MB", format="%.1f"),
    },
)
st.caption(f"{len(shown)} of {len(rows)} runs · click a row to choose it")

visible = [run for run, _ in shown]
chosen = widgets.pick_run(visible, visible[0])
with st.container(horizontal=True):
    if st.button("Open in Live", type="primary", icon=":material/monitoring:", disabled=bool(chosen.problem)):
        st.switch_page("views/live.py", query_params={"run": chosen.id})
    if st.button("Show on Start", icon=":material/lightbulb:", disabled=bool(chosen.problem)):
        st.switch_page("views/start.py", query_params={"run": chosen.id})
    st.download_button(
        "Export as zip",
        lambda: zipped(chosen),
        f"{chosen.id}.zip",
        "application/zip",
        on_click="ignore",
        icon=":material/download:",
        disabled=bool(chosen.problem),
    )
    if st.button("Delete", icon=":material/delete:", disabled=chosen.bundled):
        st.session_state.deleting = chosen.id
if st.session_state.get("deleting") == chosen.id:
    confirm(chosen)
if chosen.problem:
    st.error(f"This directory is damaged: {chosen.problem}.")

import_box()

widgets.explain(
    """
Every line is a directory with all that a run has told: its settings, its events, a snapshot per epoch and its weights.
**running** and **queued** runs have a process behind them; **paused** and **lost** ones go on where they stopped (a
lost run's process died, for instance when the computer was switched off); **failed** runs say why.

Compare accuracies with care: two seeds of the same settings differ by a few tenths of a percent, and a test accuracy of
98% over 10,000 images is itself uncertain by about 0.14 points.
"""
)
