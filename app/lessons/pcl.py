"""Lesson: death of PCL. A net whose units all fall silent, and the one change that keeps them alive."""

import feed
import findings
import streamlit as st
import widgets
from charts import lessons as drawn
from components import live_chart

import ffcore
from ffcore import Run, catalogue
from lessons.base import Lesson, bundled, curves, experiments, own, study

SMALL = {"data.train": 500, "data.validation": 500, "train.batch_size": 500}
ARMS = {  # what differs → (title, settings)
    "study": ("as in the study", {}),
    "penalty": ("no penalty", {"model.penalty_size": 0}),
    "predictor": ("predictor cut off", {"model.coupled": False}),
    "both": ("both changed", {"model.coupled": False, "model.penalty_size": 0}),
}
STEPS = 12
REMEDIES = {  # rows of the study of remedies
    "study": "none",
    "penalty": "no sparsity penalty",
    "predictor": "detached predictor",
    "both": "detached predictor, no penalty",
}
ALIVE = 0.75  # with fewer of a layer's units dead, a change has helped
STUDY, MODEL = "the study's", "model pcl"  # bundled nets


def run() -> None:
    st.markdown(
        "**Kill a net, then try to save it.** Each button trains the same net on 500 digits for a dozen steps, in some ten "
        "seconds once its turn has come; one thing differs."
    )
    with widgets.told_if_broken("This experiment"):
        base = {"preset": "ref-pcl", "data": "mnist-5k", "epochs": STEPS}
        found = experiments({f"pcl {k}": (title, {**base, "set": {**SMALL, **more}}) for k, (title, more) in ARMS.items()})
        curves(found, dead, "pcl.live", "share of dead units, step by step")
    widgets.warm_torch()


def dead(stories: dict[str, feed.Story]) -> dict:
    """The curve of layer 1, which tells the changes apart."""
    told = {name: feed.dead(story).get(1, {}) for name, story in stories.items()}
    lines = {name: (list(by_epoch), list(by_epoch.values())) for name, by_epoch in told.items()}
    return drawn.curves(lines, "epoch", "dead units of layer 1", share=True)


def last_dead(run: Run) -> list[float]:
    """Share of dead units per layer at the end."""
    return [by_epoch[max(by_epoch)] for _, by_epoch in sorted(feed.dead(feed.story(run)).items())]


def facts() -> dict | None:
    nets = {title: net for title, name in ((STUDY, "ref-pcl-mnist"), (MODEL, "pcl-mnist")) if (net := bundled(name))}
    mine = {name: net for name in ARMS if (net := own(f"pcl {name}", "done"))}
    nets, mine = ({name: net for name, net in some.items() if feed.dead(feed.story(net))} for some in (nets, mine))
    tried = {name: last_dead(net)[0] for name, net in mine.items()}  # share of layer 1 that is dead
    if rows := study("remedies", *REMEDIES.values()):
        tried = {name: rows[row]["dead"] for name, row in REMEDIES.items()} | tried
    return {"nets": nets, "own": mine, "tried": tried} if nets or mine or tried else None


def held(found: dict) -> str | None:
    """The smallest change that keeps layer 1 alive, of those that were tried."""
    return next((name for name in ("penalty", "predictor", "both") if found["tried"].get(name, 1) < ALIVE), None)


def shown(found: dict) -> dict[str, Run]:
    return found["nets"] or {ARMS[name][0]: net for name, net in found["own"].items()}


def draw(found: dict) -> None:
    live_chart(
        dead({name: feed.story(net) for name, net in shown(found).items()}), key="pcl.dead", alt="dead units over training"
    )
    whose = "two bundled nets" if found["nets"] else "your own runs; the bundled nets of this lesson are not installed"
    st.caption(f"Dead: never above 0 on validation images, under the right label or a wrong one, before any mask; {whose}.")
    if net := found["nets"].get(STUDY):
        _causes(net)


def _causes(net: Run) -> None:
    """How many units died of what, where an autopsy is stored."""
    with widgets.told_if_broken("The causes"):
        stored = [one for one in ffcore.stored_analyses(net, "health") if one.status()["state"] == "done"]
        told = stored and stored[0].result()
        if told:
            lines = "\n".join(f"| {widgets.plain(cause)} | {n:,} |" for cause, n in findings.causes(told).items())
            st.markdown(f"| cause of death | units |\n|---|---|\n{lines}")


def share(values: list[float]) -> str:
    return " and ".join(f"{value:.0%}" for value in values)


def why(found: dict) -> str:
    nets, tried, text = found["nets"], found["tried"], ""
    if STUDY in nets:
        text = f"In the study's net {share(last_dead(nets[STUDY]))} of the units of its layers end up dead"
        text += f"; in `pcl`, which does what its paper says, {share(last_dead(nets[MODEL]))}. " if MODEL in nets else ". "
    told = [f"{ARMS[name][0]}, {tried[name]:.0%}" for name in ARMS if name in tried]
    text += f"Dead in layer 1: {'; '.join(told)}. " if told else "Step 2 measures which change helps. "
    return text + (
        "The penalty is what gets the blame. But the predictor's error reaches the encoder as well, and a silent encoder is "
        "easy "
        "to predict. Two forces push units off, so taking away one leaves the other. Besides, the study's measure counts after "
        "a mask that is nearly 0, so "
        "even an untrained net is called dead."
    )


LESSON = Lesson(
    title="Death of PCL",
    teaser="Who killed all the units?",
    minutes=12,
    predict="A net with a predictor on top of each layer loses all its units within a few steps. Its objective: goodness, "
    "minus a "
    "penalty on activity, minus the predictor's error. Which of these has to go before the units live?",
    options={
        "penalty": "The penalty on activity",
        "predictor": "The predictor's error",
        "both": "Both at once",
        "measure": "Neither: they only seem dead by the way they are counted",
    },
    run=run,
    facts=facts,
    held=held,
    draw=draw,
    why=why,
    source=f"Failure: {catalogue.presets('ref-pcl')[0]['source']}. The idea itself: N'dri, Barbier, Teulière & Triesch, "
    "“Predictive Coding Light”, Nature Communications 16, 2025.",
    missing="The bundled nets of this lesson are not in this installation, and none of the experiments of step 2 has been done "
    "yet.",
    ask="Two measures of death: “never above 0” and “never above 0.01 after the mask”. When do they disagree, and which would "
    "you report?",
    sample="They disagree when a mask or a scale makes healthy activity small: an untrained net can be 100% dead by the second "
    "and alive by the first. Report the first, before any mask, on stated images; add the second only with the scale.",
    onward=("Do the autopsy yourself", *widgets.broken()),
)
