"""Lesson: what goodness is. The mean of squares, by hand and in a trained layer."""

import charts
import feed
import numpy as np
import own
import streamlit as st
import widgets
from charts import lessons as drawn
from components import live_chart

from lessons.base import Lesson, digit, reader

LAYERS = {"one": ([3.0] + [0.0] * 9, "one unit at 3"), "ten": ([0.5] * 10, "ten units at 0.5")}


def goodness(h: np.ndarray) -> float:
    """Mean of squares, (n,) → number."""
    return float(np.square(h).mean())


def run() -> None:
    st.markdown("**Ten units of a layer.** Set how many are on, and how strongly.")
    one, two = st.columns(2)
    on = one.slider("Units that are on", 0, 10, 1, key="goodness.on")
    size = two.slider("Activity of each", 0.0, 3.0, 3.0, 0.1, key="goodness.size")
    h = np.array([size] * on + [0.0] * (10 - on))
    live_chart(drawn.units(h), key="goodness.units", alt=f"ten activities: {on} at {size:.1f}, the others at 0")
    st.markdown(
        f"Sum of activities: {h.sum():.1f} · **goodness: ({on} × {size:.1f}²) / 10 = {goodness(h):.2f}**. "
        "Keep the sum, and share it among more units: what does goodness do?"
    )
    st.markdown("**A layer that has learnt.** The same image under its own label, and under another.")
    net = reader()
    if net is None:
        st.info("No trained net is here; train one on the Train page (a minute), and it will be shown.")
        return
    i, samples = digit(net, "goodness.digit")
    if st.button("Show its first layer", icon=":material/visibility:", key="goodness.show") or st.session_state.get(
        "goodness.seen"
    ):
        st.session_state["goodness.seen"] = True
        with widgets.told_if_broken("This layer"), st.spinner("Asking the net …"):
            widgets.settle_torch()
            true, classes = int(samples["labels"][i]), net.config["facts"]["classes"]
            other = (true + 1) % len(classes)
            sides = {}
            for name, label in ((f"label {classes[true]}, right", true), (f"label {classes[other]}, wrong", other)):
                sides[name] = own.net(net).features(samples["images"][i][None], [label])[0][0].numpy()
            st.html(charts.picture(samples["images"][i], f"class {classes[true]}", 120))
            figure = drawn.curves(
                {name: (range(1, len(h) + 1), np.sort(h)[::-1]) for name, h in sides.items()},
                "units, the most active first",
                "activity",
            )
            live_chart(figure, key="goodness.layer", alt="activities of layer 1, sorted, under the right and a wrong label")
            st.markdown(
                " · ".join(
                    f"{name}: {int((h > 0).sum())} of {len(h)} on, **goodness {goodness(h):.2f}**" for name, h in sides.items()
                )
            )


def facts() -> dict:
    found = {name: goodness(np.array(h)) for name, (h, _) in LAYERS.items()}
    found |= {f"sum {name}": sum(h) for name, (h, _) in LAYERS.items()}
    if (net := reader()) and "goodness" in (last := feed.snapshot(net, net.snapshots()[-1])):
        table, labels = last["goodness"].astype(float), feed.samples(net)["labels"]  # (n, C, L)
        right = table[np.arange(len(table)), labels]
        wrong = (table.sum(1) - right) / (table.shape[1] - 1)
        found |= {"net": widgets.title(net), "n": len(table), "right": right.mean(0), "wrong": wrong.mean(0)}
    return found


def draw(found: dict) -> None:
    if "net" in found:
        layers = [f"layer {i}" for i in range(1, len(found["right"]) + 1)]
        rows = [(f"{layer}, {side} label", found[side][i]) for i, layer in enumerate(layers) for side in ("right", "wrong")]
        live_chart(drawn.bars([(name, value, None) for name, value in rows], "goodness"), key="goodness.bars",
                   alt="mean goodness per layer under right and wrong labels")  # fmt: skip
        st.caption(f"{found['net']}: mean over {found['n']} fixed test images; wrong: mean over the other labels.")


def why(found: dict) -> str:
    text = (
        f"One unit at 3 has goodness {found['one']:.2f}, ten at 0.5 have {found['ten']:.2f}, although their activities add up "
        f"to more ({found['sum ten']:g} against {found['sum one']:g}). Goodness is the *mean of squares*: strong activity "
        f"counts "
        "more than spread activity. Its slope, 2h/n, pushes most where there is activity already, and not at all at 0."
    )
    if "net" in found:
        text += (
            f" Training has made layer 1 excited by right labels ({found['right'][0]:.2f}) and calmer under wrong ones "
            f"({found['wrong'][0]:.2f}); that difference is all the net reads."
        )
    return text


LESSON = Lesson(
    title="What goodness is",
    teaser="Which layer is more excited: one loud unit or ten quiet ones?",
    minutes=8,
    predict="Ten units make a layer. In layer A one unit has activity 3, the others 0. In layer B all ten have 0.5. "
    "Which layer has more goodness?",
    options={
        "one": "A: one unit at 3",
        "ten": "B: ten units at 0.5, since they add up to more",
        "same": "Both the same",
    },
    run=run,
    facts=facts,
    held=lambda found: max(LAYERS, key=found.get) if found["one"] != found["ten"] else "same",
    draw=draw,
    why=why,
    source="Hinton 2022, arXiv 2212.13345, §2, has the sum of squares; here the mean, so that a number means the same at "
    "every width.",
    ask="Before a layer hands its activities to the next one, it divides them by their length. What would the next layer "
    "learn if it did not?",
    sample="It could read the goodness of the layer below off the length of its input: long means positive. It would copy that "
    "and learn no feature of its own. After the division only the pattern of activities is left to learn from (Hinton 2022, "
    "§2).",
    onward=("Watch goodness on all digits", "views/start.py", {}),
)
