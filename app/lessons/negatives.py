"""Lesson: positives and negatives. What a layer must stay calm about decides what it learns."""

from typing import Any

import charts
import streamlit as st
import widgets
from charts import lessons as drawn
from components import live_chart

import ffcore
from ffcore import catalogue
from lessons.base import Lesson, spread, study

ASKED = {
    "random_noise": "The image drowned in noise",
    "image_mixing": "Two images mixed",
    "wrong_label": "The image with a wrong label, drawn at random",
    "hard_label": "The image with the wrong label that the net itself finds likely",
}


@st.cache_data(show_spinner=False, max_entries=16)
def pairs(strategy: str, seed: int) -> dict[str, Any]:
    """Positives and negatives of a strategy, from the embedded digits."""
    config = ffcore.configure(data="mnist-5k", negatives=strategy, seed=seed)
    return catalogue.examples(config, [config["negatives"]], n=6)[0]


def run() -> None:
    st.markdown("**Make negatives.** Each layer learns to be excited by x⁺ and calm under x⁻. What tells the two apart?")
    name = widgets.choose(st.segmented_control, "Negatives", "strategy", ASKED, "wrong_label", "lesson.strategy", required=True)
    draws = st.session_state.setdefault("negatives.draws", 0)
    st.button("Draw again", icon=":material/casino:", key="negatives.again", on_click=_again)
    with widgets.told_if_broken("This strategy"), st.spinner("Drawing …"):
        widgets.settle_torch()
        one = pairs(name, draws)
        st.html(charts.pairs(one["pos"], one["neg"], one["pos_label"], one["neg_label"], one["classes"]))
    st.caption(
        "Images of the 5,000 digits that come with the package. A word in quotes is the label that the net is shown beside the "
        "image; where there is none, the net sees the image alone. Hard labels are drawn here by a net that has learnt nothing."
    )


def _again() -> None:
    st.session_state["negatives.draws"] += 1


def facts() -> dict | None:
    return study("negatives", *ASKED, "untrained")


def held(found: dict) -> str:
    return max(ASKED, key=lambda name: found[name]["mean"])


def draw(found: dict) -> None:
    rows = sorted(((ASKED[name], found[name]["mean"], found[name]["sd"]) for name in ASKED), key=lambda row: -row[1])
    rows.append(("Untrained layers", found["untrained"]["mean"], found["untrained"]["sd"]))
    live_chart(drawn.bars(rows, "probe accuracy, validation images", share=True), key="negatives.bars",
               alt="what a probe reads off nets trained with each kind of negatives")  # fmt: skip
    of = found["of"]
    st.caption(
        f"Stored study: {of['data']['name']}, {of['train']['epochs']} epochs, {of['seeds']} random seeds, mean ± s.d.; a "
        f"linear "
        f"probe on all layers, learnt from {of['images']:,} images. `ffcore study negatives` repeats it."
    )


def why(found: dict) -> str:
    best, worst = held(found), min(ASKED, key=lambda name: found[name]["mean"])
    return (
        f"Best here: *{ASKED[best].lower()}* with {spread(found[best])}; last of the four: *{ASKED[worst].lower()}* with "
        f"{spread(found[worst])}; layers that learnt nothing give {spread(found['untrained'])}. A layer learns whatever tells "
        "x⁺ from x⁻, and nothing more. If noise gives the negative away, it learns to see noise. A wrong label that fits the "
        "image can only be found out by looking at the digit, and the label that the net itself believes in is the one mistake "
        "it still has to unlearn."
    )


LESSON = Lesson(
    title="Positives and negatives",
    teaser="Which kind of wrong example teaches the most?",
    minutes=10,
    predict="Four nets are trained alike; only their negatives differ. From which one's layers can a linear probe read the "
    "digits best?",
    options=ASKED,
    run=run,
    facts=facts,
    held=held,
    draw=draw,
    why=why,
    source="Hinton 2022, arXiv 2212.13345, §3: negatives with a wrong label, and hard ones sampled from the net's own belief.",
    missing="The study of negatives is not stored here; `ffcore study negatives --data mnist` makes it (half an hour).",
    ask="Invent a negative that would be easy to tell apart and yet force the net to look at the shape of the digit. "
    "Why is that hard?",
    sample="What is easy to tell apart is told apart by its easiest mark, and the net stops there. A mixture with large "
    "blurred "
    "masks comes near: up close each patch is a real digit, only the shape as a whole is wrong (Hinton 2022, §3).",
    onward=("Send one image through every strategy", "views/negatives.py", {}),
)
