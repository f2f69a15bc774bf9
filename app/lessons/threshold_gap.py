"""Lesson: threshold against gap. Two ways to say that positives should have more goodness."""

import charts
import feed
import numpy as np
import streamlit as st
from charts import lessons as drawn
from components import live_chart, live_charts

from ffcore import catalogue
from lessons.base import Lesson, bundled, points, spread, study

NETS = {"gap": "ff-mnist", "threshold": "ff-threshold-mnist"}
ROWS = {"gap": "ff, gap", "threshold": "ff, threshold"}
NEAR = 0.005  # accuracies that differ by less are called alike


def objectives(pos: float, neg: float, alpha: float, theta: float) -> dict[str, tuple[float, float, float]]:
    """{objective: (loss, its pull up on g⁺, its pull down on g⁻)} of one pair; the formulas are `ffcore.goodness`'s."""

    def logistic(x: float) -> float:
        return float(1 / (1 + np.exp(-x)))

    low, high = alpha * (theta - pos), alpha * (neg - theta)
    apart = -alpha * (pos - neg)
    return {
        "threshold": (float(np.logaddexp(0, [low, high]).mean()), alpha / 2 * logistic(low), alpha / 2 * logistic(high)),
        "gap": (float(np.logaddexp(0, apart)), alpha * logistic(apart), alpha * logistic(apart)),
    }  # fmt: skip


def run() -> None:
    settings = catalogue.models("ff")[0]["settings"]
    alpha, theta = (float(settings[name]["default"]) for name in ("alpha", "theta"))
    st.markdown("**One pair, two objectives.** Move the two goodnesses and see who is pushed, and how hard.")
    one, two = st.columns(2)
    pos = one.slider("g⁺, of the positive", 0.0, 3.0, 2.5, 0.05, key="gap.pos")
    neg = two.slider("g⁻, of the negative", 0.0, 3.0, 2.0, 0.05, key="gap.neg")
    told = objectives(pos, neg, alpha, theta)
    st.latex(r"\text{threshold}: \tfrac12[\,\mathrm{sp}(\alpha(\theta-g^+))+\mathrm{sp}(\alpha(g^--\theta))\,]\qquad "
             r"\text{gap}: \mathrm{sp}(-\alpha(g^+-g^-))")  # fmt: skip
    lines = "\n".join(f"| {name} | {loss:.2f} | {up:.2f} | {down:.2f} |" for name, (loss, up, down) in told.items())
    st.markdown(f"| objective | loss | pull up on g⁺ | pull down on g⁻ |\n|---|---|---|---|\n{lines}")
    st.caption(
        f"sp is the softplus, log(1 + eˣ); α = {alpha:g}, θ = {theta:g}, the defaults. Try g⁺ = 2.5, g⁻ = 2.0: the right "
        f"order, "
        "and both above θ. Which objective is content?"
    )
    live_chart(drawn.pulls(pos, neg, theta, told), key="gap.pulls", alt="the pulls of both objectives on g⁺ and g⁻")


def facts() -> dict | None:
    found = study("transfer", *ROWS.values())
    if not found or any(not found[row].get("source") for row in ROWS.values()):
        return None
    nets = {name: run for name, of in NETS.items() if (run := bundled(of)) and run.snapshots()}
    return {**{name: found[row]["source"] for name, row in ROWS.items()}, "of": found["of"], "nets": nets}


def held(found: dict) -> str:
    ahead = found["gap"]["mean"] - found["threshold"]["mean"]
    return "gap" if ahead > NEAR else "threshold" if ahead < -NEAR else "alike"


def draw(found: dict) -> None:
    rows = [(f"{name} objective", found[name]["mean"], found[name].get("interval")) for name in NETS]
    live_chart(drawn.bars(rows, "accuracy by goodness, validation images", share=True), key="gap.bars",
               alt="accuracy of the same net under the gap and the threshold objective")  # fmt: skip
    of = found["of"]
    st.caption(
        f"Stored study: {of['data']['name']}, {of['train']['epochs']} epochs, {of['seeds']} random seeds, mean ± half of a 95% "
        "interval; all other settings are the defaults, which were chosen for the gap objective."
    )
    figures = []
    for name, run in found["nets"].items():
        last = feed.snapshot(run, run.snapshots()[-1])
        if last and "pos" in last:
            for layer in range(len(last["pos"])):
                figure = charts.histogram(
                    last["edges"][layer], last["pos"][layer], last["neg"][layer], f"{name}, layer {layer + 1}"
                )
                figures.append((figure, f"goodness of positives and negatives, {name} objective, layer {layer + 1}"))
    if figures:
        live_charts(figures, columns=2, key="gap.histograms")
        st.caption("Validation images under the right label (x⁺) and a fixed wrong one (x⁻), bundled nets after training.")
    for name in NETS:
        if name not in found["nets"]:
            st.caption(f"No data: the bundled net {NETS[name]} is not in this installation.")


def why(found: dict) -> str:
    ahead = found["gap"]["mean"] - found["threshold"]["mean"]
    return (
        f"Gap {spread(found['gap'])}, threshold {spread(found['threshold'])}: {points(ahead)} for the gap, at the same steps. "
        f"The "
        "threshold judges each image by itself against a fixed level θ, so it must also make easy and hard images, thick and "
        "thin "
        "strokes, equally exciting. The gap asks only that an image with its right label beats the same image with a wrong "
        "one, "
        "which is all that reading needs: what the image itself adds is on both sides and cancels. Seen over all images the "
        "histograms may overlap and yet nearly every pair be in order. The price: there is no level that says “this is no "
        "digit”."
    )


LESSON = Lesson(
    title="Threshold against gap",
    teaser="Must every positive pass the same mark, or only beat its own negative?",
    minutes=10,
    predict="The same net is trained twice. Once every positive must rise above θ and every negative fall below it; once a "
    "positive must only beat its own negative. Which one reads more digits right after the same number of steps?",
    options={
        "threshold": "The threshold: a clear mark is a clear lesson",
        "gap": "The gap: order within a pair is all that reading needs",
        "alike": "No difference worth half a point",
    },
    run=run,
    facts=facts,
    held=held,
    draw=draw,
    why=why,
    source="Threshold: Hinton 2022, arXiv 2212.13345, §2. Gap: SymBa, Lee & Song 2023, arXiv 2303.08418.",
    missing="The study of transfer, which trains both, is not stored here; `ffcore study transfer --data mnist` makes it.",
    ask="A camera should say “that is no digit at all”. Which objective would you train with, and what would you measure?",
    sample="The threshold gives a level to compare with: goodness under the best label below θ means unlike anything positive. "
    "The gap has no such level, but one can be measured afterwards: the goodness that 99% of validation digits reach.",
    onward=("Watch both kinds of histogram move", "views/replay.py", {}),
)
