"""Lesson: why shuffled labels hurt. Counted on real digits, and measured."""

import charts
import numpy as np
import streamlit as st
import widgets
from charts import lessons as drawn
from components import live_chart

import ffcore
from lessons.base import Lesson, points, spread, study

ROWS = {"hard_label": "Hard wrong labels", "wrong_label": "Wrong labels, drawn at random", "shuffled_label": "Shuffled labels"}
SHARES = {"none": 0.0, "hundredth": 0.01, "tenth": 0.1, "half": 0.5}


@st.cache_data(show_spinner=False)
def digits() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images and labels of the embedded digits, and their classes."""
    loaded = ffcore.data.load(ffcore.data.DataSettings(name="mnist-5k"))
    return loaded.train.x.numpy(), loaded.train.y.numpy(), loaded.classes


def shuffled(y: np.ndarray, seed: int) -> np.ndarray:
    """The same labels in another order, (n,) → (n,)."""
    return np.random.default_rng(seed).permutation(y)


def run() -> None:
    st.markdown("**Make negatives by shuffling.** Each image keeps its pixels and gets the label of another one.")
    tosses = st.session_state.setdefault("shuffled.tosses", 0)
    st.button("Shuffle the labels", icon=":material/shuffle:", type="primary", key="shuffled.go", on_click=_toss)
    with widgets.told_if_broken("The embedded digits"), st.spinner("Reading the digits …"):
        widgets.settle_torch()
        images, labels, classes = digits()
    if not tosses:
        st.caption(f"{len(labels):,} real digits wait; they come with the package.")
        return
    counts = [int((shuffled(labels, seed) == labels).sum()) for seed in range(1, tosses + 1)]
    dealt = shuffled(labels, tosses)
    st.markdown(
        f"**{counts[-1]:,} of {len(labels):,} “negatives” carry the right label: {counts[-1] / len(labels):.1%}.** "
        + (f"Over {tosses} shuffles: {np.mean(counts) / len(labels):.1%}." if tosses > 1 else "Shuffle again: is that chance?")
    )
    bad = np.flatnonzero(dealt == labels)[:12]
    st.html(charts.strip([(f"“{classes[labels[i]]}”", images[i] / 255) for i in bad]))
    st.caption("Twelve of them: called negative, and nothing is wrong with them.")


def _toss() -> None:
    st.session_state["shuffled.tosses"] = min(50, st.session_state["shuffled.tosses"] + 1)


def facts() -> dict | None:
    found = study("negatives", *ROWS)
    if not found or any("goodness" not in found[name].get("readouts", {}) for name in ROWS):
        return None
    y = digits()[1]
    return {**found, "share": float((np.bincount(y) / len(y)) ** 2 @ np.ones(len(np.bincount(y))))}


def draw(found: dict) -> None:
    rows = [
        (title, found[name]["readouts"]["goodness"]["mean"], found[name]["readouts"]["goodness"]["sd"])
        for name, title in ROWS.items()
    ]
    live_chart(drawn.bars(rows, "accuracy by goodness, validation images", share=True), key="shuffled.bars",
               alt="accuracy by goodness of nets trained with hard, wrong and shuffled labels")  # fmt: skip
    of = found["of"]
    st.caption(
        f"Stored study: {of['data']['name']}, {of['train']['epochs']} epochs, objective {of['model']['objective']}, "
        f"{of['seeds']} random seeds, mean ± s.d. `ffcore study negatives` repeats it."
    )


def why(found: dict) -> str:
    cost = found["shuffled_label"]["readouts"]["goodness"]
    better = found["hard_label"]["readouts"]["goodness"]
    return (
        f"Shuffling deals {found['share']:.1%} of the images their own class: nobody looks whether the label is wrong. Under "
        f"the "
        "gap objective such a pair is its own negative: both pulls are the same and cancel, so a step is wasted. Measured: "
        f"{spread(cost)} against {spread(found['wrong_label']['readouts']['goodness'])} with labels that are always wrong "
        f"({points(cost['paired_difference'])}, same seeds). Small, and yet a ranking of strategies that differ by a point "
        f"would "
        f"measure just this. *Which* wrong label matters more: labels that the net finds likely reach {spread(better)} "
        f"({points(better['paired_difference'])})."
    )


LESSON = Lesson(
    title="Why shuffled labels hurt",
    teaser="How wrong are negatives made by shuffling?",
    minutes=8,
    predict="Popular code makes negatives by shuffling the labels of a batch of digits. How many of these “wrong” labels are "
    "right?",
    options={
        "none": "None: the labels are moved",
        "hundredth": "About one in a hundred",
        "tenth": "About one in ten",
        "half": "About half",
    },
    run=run,
    facts=facts,
    held=lambda found: min(SHARES, key=lambda name: abs(SHARES[name] - found["share"])),
    draw=draw,
    why=why,
    source="The shuffle is that of the code mpezeshki/pytorch_forward_forward (2022), from which many others copied it.",
    missing="The study of negatives is not stored here; `ffcore study negatives --data mnist` makes it (half an hour).",
    ask="Under the threshold objective a “negative” with the right label does not cancel. What happens to that image's "
    "goodness?",
    sample="As a positive it is pushed above θ, as a negative below: both pulls act on the same number. They balance at a "
    "value "
    "that depends on how often each happens, so every positive is held a little lower than it should be.",
    onward=("Train with shuffled labels", "views/train.py", {"preset": "ref-shuffled"}),
)
