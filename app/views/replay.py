"""Replay: a training over again, moment by moment, alone or in a race with another."""

from typing import Any

import charts
import numpy as np
import streamlit as st
import widgets
from charts import replay as drawn
from components import replay

import ffcore
from ffcore import Run

AXES = {"epoch": "epochs", "second": "seconds"}


@st.cache_data(show_spinner=False, max_entries=8)
def moments(directory: str, epochs: tuple[int, ...], stamp: int) -> dict[str, Any]:
    """The run's `frames`, with its title and classes, read again only when a snapshot has come."""
    run = Run(directory)
    more = {"title": run.title(), "classes": run.config["facts"].get("classes", []), "stamp": (directory, epochs, stamp)}
    return ffcore.frames(run) | more


def told_of(run: Run) -> dict[str, Any]:
    epochs = tuple(run.snapshots())
    files = [run.dir / "events.jsonl", *(run.dir / "snapshots" / f"epoch-{epoch:04d}.npz" for epoch in epochs[-1:])]
    return moments(str(run.dir), epochs, sum(file.stat().st_mtime_ns for file in files if file.exists()))


@st.cache_data(show_spinner=False, max_entries=8)
def pack(_runs: list[dict[str, Any]], stamps: list[tuple], axes: dict[str, str], start: dict[str, Any]) -> bytes:
    return drawn.pack(_runs, axes, start)


def headline(told: dict[str, Any]) -> str:
    """How far a net came, and how soon most of it was there."""
    known = np.flatnonzero(np.isfinite(told["accuracy"]))
    if not len(known):
        return "This run has no validation accuracy; goodness, weights and units tell how it learnt."
    first, last = known[0], known[-1]
    when = {k: "before training" if not (e := told["epochs"][k]) else f"after epoch {e}" for k in (first, last)}
    text = f"From {told['accuracy'][first]:.1%} right {when[first]} to **{told['accuracy'][last]:.1%} {when[last]}**"
    mark = next((m for m in told["bookmarks"] if m["name"] == "90% of the final accuracy"), None)
    return f"{text}; nine tenths of that it had {when_of(told, mark['index'])}." if mark else f"{text}."


def when_of(told: dict[str, Any], index: int) -> str:
    seconds = told["seconds"][index]
    clock = f", {widgets.duration(float(seconds))} on the clock" if np.isfinite(seconds) else ""
    return f"after epoch {told['epochs'][index]}{clock}"


def contest(both: list[dict[str, Any]]) -> str:
    """Who came first to 95% of what the lesser of the two reaches."""
    finals = [values[np.isfinite(values)] for values in (told["accuracy"] for told in both)]
    if not all(map(len, finals)):
        return "One of them has no validation accuracy, so there is no winner to name."
    level = 0.95 * min(values[-1] for values in finals)
    reached = [int(np.argmax(np.nan_to_num(told["accuracy"]) >= level)) for told in both]
    parts = [f"**{widgets.plain(told['title'])}** {when_of(told, at)}" for told, at in zip(both, reached, strict=True)]
    return f"To {level:.1%} right on validation images: {parts[0]}; {parts[1]}."


def apart(one: Run, other: Run) -> bool:
    """Were the two surely not trained on one machine in one way? Then their seconds do not compare."""
    facts = [
        (r.bundled, r.config["device"], *(r.config["facts"].get(k) for k in ("device_name", "threads"))) for r in (one, other)
    ]
    return facts[0] != facts[1]


def begin(name: str, both: list[dict[str, Any]], axes: dict[str, str], axis: str) -> dict[str, Any]:
    """What the reader sees first, by the address; the same again until another run or another link comes."""
    asked = {key: st.query_params.get(key) for key in (*AXES, "play")}
    before = st.session_state.get("replay_start")
    if before and before["run"] == name and asked == before["put"]:
        return before["start"]
    if before and before["run"] != name and asked == before["put"]:  # left by the run that was here before
        for key in (*AXES, "layer"):
            st.query_params.pop(key, None)
    at = None
    if "second" in st.query_params and "second" in axes:
        axis, last = "second", int(np.ceil(max(np.nanmax(told["seconds"]) for told in both)))
        at = widgets.asked_number("second", 0, last, last)
    elif "epoch" in st.query_params:
        first, last = min(told["epochs"][0] for told in both), max(told["epochs"][-1] for told in both)
        axis, at = "epoch", widgets.asked_number("epoch", first, last, last)
    play = st.query_params.pop("play", None) == "1"
    count = before["count"] + 1 if before else 0
    depth = max(len(told["layers"]) for told in both)
    layer = widgets.asked_number("layer", 1, depth, depth) - 1 if depth else 0
    start = {"name": f"{name} {count}", "axis": axis, "at": at, "play": play, "layer": layer}
    put = {key: st.query_params.get(key) for key in (*AXES, "play")}
    st.session_state.replay_start = {"run": name, "put": put, "start": start, "count": count}
    return start


def stopped(axis: str, at: int, layer: int) -> None:
    """The reader stays here: so the address says."""
    for key in AXES:
        st.query_params.pop(key, None)
    st.query_params.update({axis: str(at), "layer": str(layer)})
    st.session_state.replay_start["put"] = {key: st.query_params.get(key) for key in (*AXES, "play")}


def watch(runs: list[Run], live: list[bool]) -> None:
    """The replay, told anew while one of the runs still learns."""
    with widgets.told_if_broken("This replay"):
        show(runs)
    if [widgets.is_live(run) for run in runs] != live:
        st.rerun()


def show(runs: list[Run]) -> None:
    both = [told_of(run) for run in runs]
    timed = all(np.isfinite(told["seconds"]).all() for told in both)
    axes = AXES if timed else {"epoch": AXES["epoch"]}
    strangers = len(runs) > 1 and apart(*runs)
    start = begin(" ".join(r.id for r in runs), both, axes, "second" if len(runs) > 1 and timed and not strangers else "epoch")
    st.markdown(contest(both) if len(runs) > 1 else headline(both[0]))
    if strangers and timed:
        st.info(
            "Their seconds were not taken on one machine in one way, so they do not compare: epochs do.",
            icon=":material/timer_off:",
        )
    replay(pack(both, [told["stamp"] for told in both], axes, start), key="replay", on_stop=stopped)
    for run, told in zip(runs, both, strict=True):
        st.caption(widgets.plain((f"{run.title()}: " if len(runs) > 1 else "") + " ".join(notes(run, told))))
    with st.container(horizontal=True):
        for run, told in zip(runs, both, strict=True):
            name = "Numbers as CSV" + f", {widgets.plain(run.config['model']['name'])}" * (len(runs) > 1)
            text = charts.csv_text(*drawn.table(told))
            st.download_button(name, text, f"replay-{run.id}.csv", "text/csv", icon=":material/download:", key=f"csv.{run.id}")
        widgets.share(
            runs[0].command(),
            f'import ffcore\n\ntold = ffcore.frames(ffcore.find("{runs[0].id}"))\n'
            'for mark in told["bookmarks"]:\n    print(mark["epoch"], mark["name"], "-", mark["why"])\n'
            'told["layers"][0]["won"]  # share of pairs won by layer 1, epoch by epoch',
            saves="Every chart saves itself as PNG: ⤓ at its upper right.",
        )


def notes(run: Run, told: dict[str, Any]) -> list[str]:
    """How its numbers came about, and what it lacks."""
    facts, lines = run.config["facts"], []
    sizes = facts.get("sizes", {})
    if told["of"] > len(told["epochs"]) + told["lost"]:
        lines.append(f"Showing {len(told['epochs'])} of {told['of']:,} snapshots, evenly spread.")
    if told["lost"]:
        lines.append(f"Left out, as they cannot be read: {told['lost']} snapshot{'s' * (told['lost'] > 1)}.")
    lines.append(
        f"A snapshot after every epoch; {sizes.get('validation', 0):,} validation images, seed {run.config['seed']}, "
        f"{facts.get('device_name', 'an unknown machine')}. The clock also counts the checks between epochs."
    )
    if not any("pos" in layer for layer in told["layers"]):
        lines.append("This net has no positives and negatives, so there are no heaps of goodness.")
    elif told["estimated"]:
        lines.append("Made by an older version: its d′ and overlap are taken from the histograms.")
    if "map_labels" not in told:
        lines.append("Its snapshots hold no map of images: they are of an older version.")
    return lines


def rivals(run: Run, runs: list[Run]) -> list[Run]:
    """Whom it may race, the natural opponent first: on the same data, backprop against Forward-Forward."""

    def order(other: Run) -> tuple[bool, bool, bool]:
        kin = (other.config["model"]["name"] == "backprop") == (run.config["model"]["name"] == "backprop")
        return other.config["facts"].get("data_hash") != run.config["facts"].get("data_hash"), kin, other.state != "done"

    return sorted((other for other in runs if other != run), key=order)


def race(other: str) -> None:
    st.session_state.beside = other
    st.query_params["beside"] = other


st.title("Replay")
st.caption("A training over again: pull the slider, or press Play, and watch every layer at that moment.")
runs = [run for run in widgets.all_runs() if run.snapshots() and run.config["facts"]]
if not runs:
    widgets.empty("No run has kept snapshots to replay yet. One takes a minute.", "Train one", "views/train.py")
with widgets.told_if_broken("This replay"):
    able = [run for run in runs if run.config["negatives"] and run.state == "done"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = widgets.pick_run(runs, (able or runs)[0])
        others = [] if widgets.hidden("race") else rivals(chosen, runs)
        if st.query_params.get("beside") == chosen.id:  # nobody races itself
            race("none")
        names = {"none": "nobody"} | {other.id: f"{other.title()} · {other.id}" for other in others}
        beside = widgets.choose(st.selectbox, "Race against", "beside", names, "none") if others else "none"
        first = others[0] if others and beside == "none" else None
        if first:
            label = f"Race {widgets.plain(first.config['model']['name'])}"
            st.button(label, icon=":material/sports_score:", on_click=race, args=(first.id,), help=widgets.title(first))
    racing = [chosen, *(other for other in others if other.id == beside)]
    live = [widgets.is_live(run) for run in racing]
    st.fragment(watch, run_every=widgets.pace(3) if any(live) else None)(racing, live)

widgets.explain(
    """
**The heaps.** Each validation image is shown twice: with its right label (*positive*, blue, solid) and with one fixed wrong
label (*negative*, vermilion, dashed). The upper chart of a layer heaps up the goodness of both. *d′* is the distance of the
two means in standard deviations, *overlap* the share of the area that they have in common. Each heap is drawn as high as its
chart, on one axis for all moments, so that it is seen to wander; 0.1% of the images may lie beyond either end, and are counted
there. A net without labels is asked about its own kind of positives and negatives.

**The lead.** Goodness differs far more from image to image than between the two labels of one image, so heaps may overlap
although the layer knows well. The lower chart therefore shows, image by image, how far the positive leads: right of the line
it wins. The answer of the net depends on that. The share of *pairs won* is a lower bound: the bin that holds 0 counts as lost.

**The map** places 300 validation images by the two main axes of what a layer says of them, with no label shown. The axes have
no sign of their own, so each moment's map is turned and mirrored to lie on the one before (orthogonal Procrustes).
Nearness within a class is learnt: at the start all classes lie mixed.

**Incoming weights** of up to 16 units of the first layer, on a scale that is kept, so that they are seen to grow.

**Bookmarks** are found in the data: *wins its pairs*, the right label gives more goodness than the wrong one for 95% of
the images; *separates*, d′ ≥ 1; *first dead unit*, one that none of the probe images switches on; *half is dead*;
*90% of the final accuracy*; *best validation*; *a sample changes its mind last*, after which the test images below are read as
at the end. Each is the first moment at which it holds. What never happens has no bookmark.

**A race** puts two trainings on one axis. On *seconds*, each shows the last moment it had reached by then. The clock runs on
while a net is checked between epochs, and knows nothing of what else the machine was doing.
"""
)
