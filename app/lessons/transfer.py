"""Lesson: the transfer paradox, and the probe that made it."""

import numpy as np
import streamlit as st
import widgets
from charts import lessons as drawn
from components import live_chart

import ffcore
from lessons.base import Lesson, points, spread, study
from lessons.shuffled import digits

NETS = ("ff, gap", "ff, threshold", "backprop")
PROTOCOLS = {"reference": "100 steps, features as they are", "cells": "to convergence, standardised"}
PLACES = {"last": "last layer", "all": "all layers"}
SCALES = (1.0, 0.3, 0.1, 0.03, 0.01)
FEW = 1_500  # images that the demonstration learns from


@st.cache_data(show_spinner=False, max_entries=len(SCALES))
def probed(scale: float) -> dict[str, float]:
    """What both probes read off the same pixels, multiplied by a number: {protocol: accuracy}."""
    images, labels, _ = digits()
    x, y = images[: 2 * FEW].reshape(-1, images[0].size) / np.float32(255) * np.float32(scale), labels[: 2 * FEW]
    parts = (x[:FEW], y[:FEW]), (x[FEW:], y[FEW:])
    return {"reference": ffcore.unconverged(*parts).accuracy, "cells": ffcore.linear(*parts).accuracy}


def run() -> None:
    st.markdown(
        "**One probe, the same pixels, another unit.** Multiply every feature by a number: what they tell stays the same."
    )
    scale = st.select_slider("Multiply by", SCALES, 1.0, key="transfer.scale")
    seen = st.session_state.setdefault("transfer.seen", [])
    if st.button("Train both probes", icon=":material/play_arrow:", type="primary", key="transfer.go") and scale not in seen:
        seen.append(scale)
    if seen:
        with widgets.told_if_broken("This probe"), st.spinner("Training two classifiers …"):
            widgets.settle_torch()
            told = {s: probed(s) for s in sorted(seen, reverse=True)}
            lines = "\n".join(f"| × {s:g} | {one['reference']:.1%} | {one['cells']:.1%} |" for s, one in told.items())
            st.markdown(f"| pixels | {' | '.join(PROTOCOLS.values())} |\n|---|---|---|\n{lines}")
            st.caption(f"{FEW:,} of the embedded digits to learn from, {FEW:,} others to measure on.")
    found = facts()
    if found:
        st.markdown("**Now the nets.** Trained on one dataset, frozen, read on another. Choose how.")
        one, two = st.columns(2)
        with one:
            how = widgets.choose(
                st.segmented_control, "Probe", "protocol", PROTOCOLS, "reference", "lesson.protocol", required=True
            )
        with two:
            place = widgets.choose(st.segmented_control, "Read from", "place", PLACES, "last", "lesson.place", required=True)
        show(found, how, place)


def show(found: dict, how: str, place: str) -> None:
    rows = [("raw pixels", found["raw pixels"][how]["pixels"]["mean"], None)]
    for name in NETS:
        for kind, key in (("trained", place), ("the same net untrained", f"untrained {place}")):
            cell = found[name][how][key]
            rows.append((f"{name}, {kind}", cell["mean"], cell.get("interval")))
    of = found["of"]
    live_chart(drawn.bars(rows, f"accuracy on {of['target']}", share=True), key="transfer.bars",
               alt=f"probe accuracy on {of['target']} of trained and untrained nets, {PLACES[place]}")  # fmt: skip
    st.caption(
        f"Stored study: trained on {of['data']['name']}, read on {of['target']} from {of['images']:,} images; {of['seeds']} "
        f"random "
        "seeds, mean ± half of a 95% interval. `ffcore study transfer` repeats it."
    )


def facts() -> dict | None:
    found = study("transfer", "raw pixels", *NETS)
    if not found or any(row.get(k) is None for row in (found[n] for n in ("raw pixels", *NETS)) for k in PROTOCOLS):
        return None
    return found


def held(found: dict) -> str:
    gain = found["ff, gap"]["cells"]["gain all"]
    if abs(gain["mean"]) <= gain["interval"]:
        return "nothing"
    return "reversed" if gain["mean"] > 0 else "some" if gain["mean"] > -0.1 else "all"


def why(found: dict) -> str:
    gap, threshold, back = (found[name] for name in NETS)

    def gain(row: dict, how: str, place: str) -> str:
        told = row[how][f"gain {place}"]
        return f"{points(told['mean'])} ± {100 * told['interval']:.1f}"

    return (
        f"Read from all layers to convergence, Forward-Forward with the gap objective and the same net untrained differ by "
        f"{gain(gap, 'cells', 'all')}; backpropagation by {gain(back, 'cells', 'all')}. From the last layer alone it loses "
        f"({gain(gap, 'cells', 'last')}), and with the threshold objective by far ({gain(threshold, 'cells', 'all')} from all "
        "layers). So the objective and the layer matter, not Forward-Forward as such. One hundred steps at a fixed rate "
        "measure "
        f"how *large* features are before they measure how good they are. Raw pixels: "
        f"{spread(found['raw pixels']['cells']['pixels'])}."
    )


def draw(found: dict) -> None:
    show(found, "cells", "all")


LESSON = Lesson(
    title="The transfer paradox",
    teaser="Can training make features worse than none?",
    minutes=12,
    predict="A study trains nets on MNIST, freezes them, and trains a classifier on their last layer to read Fashion-MNIST: "
    "Forward-Forward 54%, an untrained net 72%. You repeat it with a classifier that is trained to the end, on standardised "
    "features of all layers, beside the same net untrained. What is left of these 18 points?",
    options={
        "all": "All of it: training hurts",
        "some": "A few points",
        "nothing": "Nothing that can be measured",
        "reversed": "The trained net is ahead",
    },
    run=run,
    facts=facts,
    held=held,
    draw=draw,
    why=why,
    source="The reference study ff-negative-samples (2026); that Forward-Forward transfers badly was found by Brenig & Timofte "
    "2023, arXiv 2309.11955; the converged probe after Kornblith, Shlens & Le 2019, arXiv 1805.08974.",
    missing="The study of transfer is not stored here; `ffcore study transfer --data mnist --target fashion-mnist` makes it.",
    ask="A paper says: “our convolutional net transfers 17 points better than a random one”. Which two questions do you ask?",
    sample="Random *what*: the same architecture untrained, or another one? And how was the classifier trained: until it no "
    "longer improved, on standardised features? The same net untrained, probed alike, is the only fair zero.",
    onward=("See every layer and every net", "views/transfer.py", {}),
)
