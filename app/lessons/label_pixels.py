"""Lesson: why the label is in the pixels. Without a label to judge there is nothing to compare."""

import charts
import feed
import numpy as np
import own
import streamlit as st
import widgets
from charts import lessons as drawn
from components import live_chart

from lessons.base import Lesson, digit, reader

SHOWN = {"tried": "each label in turn", "none": "no label"}


def run() -> None:
    net = reader()
    if net is None:
        st.info("No trained net is here; train one on the Train page (a minute), and it will be shown.")
        return
    i, samples = digit(net, "label.digit")
    classes, true = net.config["facts"]["classes"], int(samples["labels"][i])
    shown = widgets.choose(
        st.segmented_control, "The net sees the image and", "shown", SHOWN, "tried", "lesson.shown", required=True
    )
    left, main = st.columns([1, 2.6], gap="medium")
    left.html(charts.picture(samples["images"][i], f"class {classes[true]}", 180))
    left.caption(f"Test image {i + 1}, class **{widgets.plain(classes[true])}**", text_alignment="center")
    with main:
        if shown == "tried":
            table = feed.snapshot(net, net.snapshots()[-1])["goodness"][i].astype(float)
            rows = [f"Layer {k + 1}" for k in range(table.shape[1])]
            st.html(charts.goodness_table(table, classes, true, rows, widgets.voters(net, len(rows))))
            st.markdown(
                "The same image, ten times. Only the label input differs, and with it the goodness: the star is the answer."
            )
            return
        with widgets.told_if_broken("This net"), st.spinner("Asking the net …"):
            widgets.settle_torch()
            alone = [float(h.square().mean()) for h in own.net(net).features(samples["images"][i][None])]
            st.markdown(
                "\n".join(f"- layer {k}: goodness **{g:.2f}**" for k, g in enumerate(alone, 1))
                + "\n\nOne number for each layer, whatever the digit is. Which answer does it give?"
            )


def facts() -> dict | None:
    net = reader()
    last = net and feed.snapshot(net, net.snapshots()[-1])
    if not last or "goodness" not in last:
        return None
    table, labels = last["goodness"].astype(float), feed.samples(net)["labels"]
    sums = table[:, :, widgets.voters(net, table.shape[2])].sum(2)  # (n, C)
    rows = np.arange(len(labels))
    right = sums[rows, labels]
    ranks = np.sort(sums, 1)
    return {
        "net": widgets.title(net), "n": len(labels), "correct": int((sums.argmax(1) == labels).sum()),
        "within": float((right - (sums.sum(1) - right) / (sums.shape[1] - 1)).mean()),  # what the right label adds
        "between": float(right.max() - right.min()),  # how unlike images are under their right label
        "lead": float((ranks[:, -1] - ranks[:, -2]).mean()), "right": right,
        "best_wrong": ranks[rows, -1 - (sums.argmax(1) == labels)],
    }  # fmt: skip


def draw(found: dict) -> None:
    order = np.argsort(found["right"])
    x = range(1, len(order) + 1)
    figure = drawn.curves(
        {"right label": (x, found["right"][order]), "best wrong label": (x, found["best_wrong"][order])},
        "test images, sorted", "sum of goodness",
    )  # fmt: skip
    live_chart(figure, key="label.curve", alt="goodness of each test image under its right label and under the best wrong one")
    st.caption(f"{found['net']}, {found['n']} fixed test images.")


def why(found: dict) -> str:
    return (
        f"Goodness answers one question: do this image and *this label* fit? With ten labels tried, {found['correct']} of "
        f"{found['n']} images are read right: the best label leads the next by {found['lead']:.2f} on average. With none there "
        f"is a single number, and it cannot be held against other images' either: under their right labels they differ by up "
        f"to "
        f"{found['between']:.2f}, while a right label adds only {found['within']:.2f} to a wrong one's. So the label goes into "
        "the input, beside the pixels, where each layer can learn whether the two belong together."
    )


LESSON = Lesson(
    title="Why the label is in the pixels",
    teaser="What does the net say when nobody suggests an answer?",
    minutes=8,
    predict="The net has learnt with the label as ten extra inputs. Now you show it a digit and leave these ten at zero. "
    "What can it tell you?",
    options={
        "knows": "The digit, only less surely",
        "nothing": "Nothing: a goodness for each layer, and no other to compare it with",
        "random": "A random digit each time",
    },
    run=run,
    facts=facts,
    held=lambda found: "nothing",
    draw=draw,
    why=why,
    source="Hinton 2022, arXiv 2212.13345, §3.3: the label takes the place of the first ten pixels. Here ten inputs are "
    "appended, which is the same on MNIST, where those pixels are empty, and loses nothing elsewhere.",
    missing="No net that answers by goodness is here; train one on the Train page (a minute).",
    ask="Reading one image takes ten passes, one for each label. How could a net answer in a single pass, and what would it "
    "cost?",
    sample="Put a softmax read-out on the activities under a neutral label. It is fast, but it is a classifier of its own: it "
    "is trained beside the layers and tells what they happen to hold, not what excites them. Run shows both.",
    onward=("Try every label on every image", "views/start.py", {}),
)
