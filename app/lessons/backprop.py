"""Lesson: Forward-Forward against backpropagation: accuracy, time, and what travels backwards."""

from typing import Any

import charts
import feed
import streamlit as st
import widgets
from charts import lessons as drawn
from components import live_chart

from ffcore import Run, catalogue
from lessons.base import Lesson, bundled, curves, experiments, own

NETS = {"ff": "ff-mnist", "backprop": "backprop-mnist"}
TITLES = {"ff": "Forward-Forward", "backprop": "backpropagation"}
NEAR = 0.005


def run() -> None:
    images = catalogue.datasets("mnist-5k")[0]["sizes"]["train"]
    st.markdown(
        f"**A race on {images:,} digits.** The same widths, the same images, the same number of passes; a few seconds each."
    )
    with widgets.told_if_broken("This race"):
        race_of = {f"race {m}": (TITLES[m], {"model": m, "data": "mnist-5k", "epochs": 6}) for m in NETS}
        curves(experiments(race_of), race, "race.live", "validation accuracy over epochs")
    widgets.warm_torch()


def race(stories: dict[str, feed.Story]) -> dict:
    return charts.accuracies({name: feed.accuracies(story, ["goodness", "softmax"]) for name, story in stories.items()})


def over_time(run: Run) -> dict[float, float]:
    """{seconds of training: validation accuracy} by the default read-out."""
    told, story = feed.accuracies(feed.story(run), list(result(run).get("readouts") or [])), feed.story(run)
    return {event["seconds"]: told[event["epoch"]] for event in story.epochs if event["epoch"] in told and "seconds" in event}


def facts() -> dict | None:
    for measured, find in (("test", lambda m: bundled(NETS[m])), ("validation", lambda m: own(f"race {m}", "done"))):
        nets = {
            model: net for model in NETS if (net := find(model)) and result(net).get(f"{measured}_accuracy") and over_time(net)
        }
        if len(nets) == len(NETS):
            found = {m: {"accuracy": result(net)[f"{measured}_accuracy"], "curve": over_time(net)} for m, net in nets.items()}
            local = {m["name"]: m["is_local"] for m in catalogue.models() if m["name"] in NETS}
            return {**found, "local": local, "measured": measured, "n": nets["ff"].config["facts"]["sizes"][measured]}
    return None


def result(run: Run) -> dict[str, Any]:
    return run.status()["result"] or {}


def held(found: dict) -> str:
    ahead = found["ff"]["accuracy"] - found["backprop"]["accuracy"]
    return "ff" if ahead > NEAR else "backprop" if ahead < -NEAR else "alike"


def draw(found: dict) -> None:
    figure = drawn.curves(
        {TITLES[m]: tuple(zip(*found[m]["curve"].items(), strict=True)) for m in NETS},
        "seconds of training",
        "validation accuracy",
        share=True,
    )
    live_chart(figure, key="backprop.curve", alt="validation accuracy over seconds of training, both nets")
    rows = "\n".join(
        f"| {TITLES[m]} | {found[m]['accuracy']:.2%} | "
        f"{'nothing crosses a layer' if found['local'][m] else 'the error, through every layer'} |"
        for m in NETS
    )
    st.markdown(f"| net | {found['measured']} accuracy | what a step sends backwards |\n|---|---|---|\n{rows}")
    st.caption(
        f"{'Two bundled runs' if found['measured'] == 'test' else 'Your own race'}, one random seed each; the seconds are "
        f"those of the machine and hour that trained them."
    )


def why(found: dict) -> str:
    ff, back = found["ff"], found["backprop"]
    seconds = {m: max(found[m]["curve"]) for m in NETS}
    return (
        f"Forward-Forward {ff['accuracy']:.2%} after {seconds['ff']:.1f} s, backpropagation {back['accuracy']:.2%} after "
        f"{seconds['backprop']:.1f} s, on {found['n']:,} {found['measured']} images. What differs is how each gets there. "
        f"Backpropagation sends an error "
        "from the top through every layer, so all layers wait and all activities are kept until it has passed. In "
        "Forward-Forward each layer has its own question and its own answer: no error crosses a layer, a layer can learn as "
        "soon "
        "as its input is there. The price is two passes, negatives to invent, and a read-out that tries every label."
    )


LESSON = Lesson(
    title="Forward-Forward against backpropagation",
    teaser="What do we lose if no error travels back?",
    minutes=10,
    predict="Two nets with the same layers learn MNIST, one by Forward-Forward, one by backpropagation. Which reads more test "
    "images right?",
    options={
        "ff": "Forward-Forward, by half a point or more",
        "backprop": "Backpropagation, by half a point or more",
        "alike": "They are within half a point",
    },
    run=run,
    facts=facts,
    held=held,
    draw=draw,
    why=why,
    source="Hinton 2022, arXiv 2212.13345, §1 and §3.1; backpropagation: Rumelhart, Hinton & Williams, Nature 323, 1986.",
    missing="This installation has not both bundled nets (ff-mnist and backprop-mnist); run the race of step 2 to the end, and "
    "it is told here.",
    ask="A brain and a chip that learns while it works have no way to stop and send errors back. Which other part of "
    "Forward-Forward would still be hard for them?",
    sample="Two things: somebody must make negatives and say which pass is which (Hinton suggests wake and sleep), and the "
    "weights "
    "must move up in one pass and down in the other. That the error need not travel is only the first step.",
    onward=("Train your own pair", "views/train.py", {}),
)
