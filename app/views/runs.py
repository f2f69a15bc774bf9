"""Runs: every run on this machine in one table; filter, compare, tag, delete with a way back, export and import."""

import html
import zlib
from typing import Any

import shelf
import streamlit as st
import widgets
from charts.compare import MOST
from widgets import LIVE

import ffcore
from ffcore import Run

STATES = ["running", "queued", "paused", "done", "stopped", "failed", "lost", "damaged"]
COLOURS = ["blue", "orange", "orange", "green", "gray", "red", "red", "red"]
MEASURED = "measured once, at the end; 64 fixed test samples are shown throughout"
COLUMNS = {  # what a reader may add to state, run, test and validation
    "tags": "tags", "note": "note", "epochs": "epochs", "time": "training time", "made": "made", "preset": "preset", "MB": "MB",
    "seed": "seed", "device": "device", "id": "id",
}  # fmt: skip
SHOWN = ["tags", "epochs", "time", "made", "MB", "id"]


def row(run: Run) -> dict[str, Any]:
    config, status, notes = run.config, run.status(), run.notes()
    result = status["result"] or {}
    return {
        "state": [status["state"]], "run": run.title(), "test": result.get("test_accuracy"),
        "validation": result.get("validation_accuracy"), "tags": notes["tags"], "note": notes["note"],
        "epochs": f"{status['epoch']:g} / {status['epochs']}", "time": widgets.duration(status["train_seconds"]),
        "made": widgets.when(run), "preset": config.get("preset") or "quick", "MB": run.size_bytes() / 1e6,
        "seed": config.get("seed"), "device": config.get("device"), "id": run.id + (" (bundled)" if run.bundled else ""),
    }  # fmt: skip


# Deleted, and back


def bring_back(names: list[str]) -> None:
    for name in names:
        try:
            run = ffcore.restore(name)
        except ffcore.Refused as error:
            st.session_state.setdefault("refusals", []).append(str(error))
        else:
            st.session_state.setdefault("told", []).append(f"{widgets.title(run)} is back.")
    st.session_state.pop("discarded", None)


def empty_trash() -> None:
    try:
        n = ffcore.purge()
    except ffcore.Refused as error:
        st.session_state.refusals = [str(error)]
    else:
        st.session_state.told = [f"{n} run{'s' * (n != 1)} removed for good."]
    st.session_state.pop("discarded", None)


def messages() -> None:
    """What the last click did."""
    for message in st.session_state.pop("told", []):
        st.success(message, icon=":material/check:")
    for message in st.session_state.pop("refusals", []):
        widgets.refusal(message)
    there = {run.dir.name: run for run in ffcore.discarded()}
    if gone := [name for name in st.session_state.get("discarded", []) if name in there]:
        what = f"“{widgets.plain(there[gone[0]].title())}” is" if len(gone) == 1 else f"{len(gone)} runs are"
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(f"{what} in the trash, for a week.", icon=":material/delete:", width="stretch")
            widgets.act("Undo", type="primary", icon=":material/undo:", on_click=bring_back, args=(gone,))


def trash() -> None:
    """What was deleted lately."""
    gone = ffcore.discarded()
    if not gone:
        return
    size = sum(run.size_bytes() for run in gone) / 1e6
    with st.expander(f"Trash: {len(gone)} run{'s' * (len(gone) > 1)}, {size:.1f} MB", icon=":material/delete:"):
        st.caption("Runs stay here for a week, and then go with the next one that is deleted.")
        for run in gone:
            with st.container(horizontal=True, vertical_alignment="center"):
                widgets.act("Restore", key=f"restore.{run.dir.name}", on_click=bring_back, args=([run.dir.name],))
                st.markdown(f"{widgets.plain(run.title())} :gray[{run.dir.name}]")
        widgets.act("Empty the trash", icon=":material/delete_forever:", on_click=empty_trash, help="removes them for good")


def import_box() -> None:
    """Takes a zipped run."""
    with st.expander("Import a run", icon=":material/upload:"):
        file = st.file_uploader(
            "A zip that “Export as zip” or `ffcore runs export` made", type="zip", disabled=ffcore.read_only()
        )
        if file and widgets.act("Import", type="primary"):
            try:
                run = ffcore.import_zip(file)
            except (ffcore.Refused, ffcore.Failed) as error:
                widgets.refusal(error)
            else:
                st.session_state.told = [f"Imported {widgets.title(run)} as {run.id}."]
                st.query_params["run"] = run.id
                st.rerun()


# The table


def filters(rows: list[tuple[Run, dict]]) -> tuple[list[tuple[Run, dict]], list[str]]:
    """What the reader wants to see: (rows, columns); all of it in the address."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input("Filter", type="search", placeholder="model, data, note, id …", key="filter", bind="query-params")
        tags = sorted({tag for _, r in rows for tag in r["tags"]})
        wanted = widgets.several(st.multiselect, "Tags", "tags", tags, []) if tags or "tags" in st.query_params else []
        with st.popover("Columns", icon=":material/view_column:"):
            columns = widgets.several(st.pills, "Columns", "columns", list(COLUMNS), SHOWN, selection_mode="multi")
    here = [s for s in STATES if any(r["state"] == [s] for _, r in rows)]
    states = widgets.several(st.pills, "State", "states", here, [], selection_mode="multi", label_visibility="collapsed")
    shown = [
        (run, r)
        for run, r in rows
        if (not states or r["state"][0] in states)
        and (not wanted or set(wanted) & set(r["tags"]))
        and all(
            word in f"{r['run']} {r['preset']} {r['id']} {r['note']} {' '.join(r['tags'])}".lower()
            for word in text.lower().split()
        )
    ]
    return shown, [name for name in COLUMNS if name in columns]


def table(shown: list[tuple[Run, dict]], columns: list[str]) -> list[Run]:
    """The rows, wide as a table and narrow as cards; returns the runs that are ticked."""
    st.html(
        "<style>.st-key-narrow {display: none}"
        "@media (max-width: 640px) {.st-key-wide {display: none} .st-key-narrow {display: block}}</style>"
    )
    ids = " ".join(run.id for run, _ in shown)
    with st.container(key="wide"):
        told = st.dataframe(
            [r for _, r in shown],
            hide_index=True,
            key=f"table.{zlib.crc32(ids.encode())}",  # ticks are numbers of rows: other rows begin with none
            on_select="rerun",
            selection_mode="multi-row",
            column_order=["state", "run", "test", "validation", *columns],
            alt="runs with state, accuracy, tags and size; tick rows to compare or delete them",
            column_config={
                "state": st.column_config.MultiselectColumn("state", options=STATES, color=COLOURS),
                "run": st.column_config.TextColumn("run", width="large"),
                "test": st.column_config.NumberColumn("test accuracy", format="percent", help=MEASURED),
                "validation": st.column_config.NumberColumn("validation", format="percent"),
                "tags": st.column_config.ListColumn("tags"),
                "MB": st.column_config.NumberColumn("MB", format="%.1f"),
            },
        )
    with st.container(key="narrow"):
        st.html(cards(shown))
    return [shown[i][0] for i in told["selection"]["rows"] if i < len(shown)]


def cards(shown: list[tuple[Run, dict]]) -> str:
    """The same for a phone: a card per run that leads to its page."""
    out = ""
    for run, r in shown:
        share = r["test"] if r["test"] is not None else r["validation"]
        figure = f"{widgets.percent(share)} {'test' if r['test'] is not None else 'validation'}" if share is not None else ""
        parts = [r["state"][0], figure, r["made"], *(f"#{tag}" for tag in r["tags"])]
        about = " · ".join(html.escape(part) for part in parts if part)
        out += f"<a href='run?run={html.escape(run.id)}' target='_self'><b>{html.escape(r['run'])}</b><span>{about}</span></a>"
    return f"{_CARDS}<div class='run-cards'>{out}</div>"


_CARDS = """<style>
.run-cards {display: grid; gap: .5rem}
.run-cards a {display: block; padding: .6rem .8rem; border: 1px solid rgba(127, 127, 127, .35); border-radius: .5rem;
  color: inherit; text-decoration: none; overflow-wrap: anywhere}
.run-cards span {display: block; font-size: .82rem; opacity: .8}
</style>"""


def compare(ticked: list[Run]) -> None:
    """From several ticked runs to Compare, by their groups."""
    groups = {run: g["key"] for g in ffcore.groups() for run in g["runs"]}
    keys = list(dict.fromkeys(groups[run] for run in ticked if run in groups))
    if len(keys) > MOST:
        st.caption(f"Compare takes {MOST} groups at most; these are {len(keys)}.")
    elif len(keys) < 2:
        unfinished = sum(run not in groups for run in ticked)
        why = (
            f"{unfinished} of these {'are' if unfinished > 1 else 'is'} not finished"
            if unfinished
            else "these differ in their random seed only: one group"
        )
        st.caption(f"Tick finished runs of two groups to compare them; {why}.")
    if st.button("Compare these", type="primary", icon=":material/compare_arrows:", disabled=not 2 <= len(keys) <= MOST):
        st.switch_page("views/compare.py", query_params={"groups": ",".join(keys)})


def actions(ticked: list[Run], visible: list[Run]) -> None:
    """What can be done with the ticked runs, or with the one that is picked by name."""
    tick = ticked[0].id if len(ticked) == 1 else None
    if tick and tick != st.session_state.get("ticked"):  # once: the box below may then choose another
        st.query_params["run"] = tick
    st.session_state.ticked = tick
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(ticked) > 1:
            st.markdown(f"**{len(ticked)} runs ticked**", width="content")
            compare(ticked)
            own = [run for run in ticked if not run.bundled]
            widgets.act("Delete", icon=":material/delete:", on_click=shelf.discard, args=(own,), disabled=not own)
            return
        chosen = widgets.pick_run(visible, visible[0])
        for view, label, icon, fits in (
            ("run", "Open", "fact_check", not chosen.problem),
            ("live", "Watch live", "monitoring", chosen.state in LIVE),
            ("replay", "Replay", "history", not chosen.problem and chosen.state not in LIVE),
        ):
            if fits and st.button(label, type="primary" if view == "run" else "secondary", icon=f":material/{icon}:"):
                st.switch_page(f"views/{view}.py", query_params={"run": chosen.id})
        shelf.export_button(chosen)
        widgets.act("Delete", icon=":material/delete:", on_click=shelf.discard, args=([chosen],), disabled=chosen.bundled)
    if chosen.problem:
        st.error(f"This directory is damaged: {widgets.plain(chosen.problem)}.")


st.title("Runs")
messages()
runs = ffcore.list_runs()
if not runs:
    import_box()
    trash()
    widgets.empty("No run has been started yet.", "Start one", "views/train.py")
every = [(run, row(run)) for run in runs]
shown, columns = filters(every)
if shown:
    ticked = table(shown, columns)
    size = sum(r["MB"] for run, r in every if not run.bundled)
    st.caption(
        f"{len(shown)} of {len(every)} runs · your own take {size:,.1f} MB on disk · tick rows to compare or delete them"
    )
    actions(ticked, [run for run, _ in shown])
else:
    st.info(f"None of the {len(every)} runs fits this filter.")
import_box()
trash()
widgets.share(
    "ffcore runs list",
    "import ffcore\nfor run in ffcore.list_runs():\n"
    '    print(run.id, run.state, (run.status()["result"] or {}).get("test_accuracy"), run.notes()["tags"])',
    lacks="the ticks",
)
widgets.explain(
    """
Every line is a **run**, a directory with all that one training has told: its settings, its events, a snapshot per epoch and its
weights. **running** and **queued** runs have a process behind them; **paused** and **lost** ones go on where they stopped (a
lost run's process died, for instance when the computer was switched off); **failed** runs say why.

Tick one row to choose it, two or more to compare them. A **deleted** run lies in the trash for a week and can come back.

Compare accuracies with care: two seeds of the same settings differ by a few tenths of a percent, and a test accuracy of
98% over 10,000 images is itself uncertain by about 0.14 points.
"""
)
