"""Two nets' layers on the same images, as a page shows them: choose two runs, have them compared, see how alike they are."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import components
import findings
import own
import streamlit as st
import widgets
from charts import similarity

from ffcore import Run


def show_representations(told: Sequence[Mapping[str, Any]], runs: Sequence[Run]) -> None:
    """Two nets' layers on the same images."""
    st.header("Representations")
    nets = [r for r in runs if own.has_weights(r) and r.config.get("facts", {}).get("shape")]
    first = [r for g in told for r in g["runs"] if r in nets]
    nets = [*first, *(r for r in nets if r not in first)]
    if not nets:
        st.caption("No run has weights to compare.")
        return
    names = {r.id: f"{r.title()} · {widgets.when(r)}" for r in nets}
    left, right = st.columns(2)
    with left:
        a = widgets.choose(st.selectbox, "One net", "a", names, nets[0].id)
    with right:
        shape = next(r for r in nets if r.id == a).config["facts"]["shape"]
        fits = {r.id: names[r.id] for r in nets if r.config["facts"]["shape"] == shape}
        second = next((r.id for r in nets if r.id in fits and r.config["model"]["name"] == "backprop" and r.id != a), None)
        b = widgets.choose(st.selectbox, "Beside", "b", fits, second or next((i for i in fits if i != a), a))
    one, two = (next(r for r in nets if r.id == i) for i in (a, b))
    finding = findings.find("similarity", *([one] if one == two else [one, two]))
    about = "asks both nets for their layers on the first one's validation images; a quarter of a minute or so"
    answer = findings.answer(finding, "Compare their layers", about, "similarity")
    if answer:
        with widgets.told_if_broken("The comparison"):
            show_similarity(answer)
    st.caption(f"The same from the command line: `{shlex.join(['ffcore', 'similarity', a, *([] if a == b else [b])])}`")


def show_similarity(told: Mapping[str, Any]) -> None:
    rows, columns = list(told["rows"]), list(told["columns"])
    figures = [
        (similarity.cka_map(told), "CKA of every layer with every other"),
        (similarity.cka_map(told, "procrustes"), "Procrustes distance of every layer to every other"),
        (similarity.diagonal(told), "CKA of layers of the same depth"),
    ]
    components.live_charts(figures, columns=2, key="cka", framed=True)
    layers = list(dict.fromkeys([*rows, *columns]))
    table = [
        {"layer": name, "class separation": number_or_none(told, "class_separation", name),
         "label dependence": number_or_none(told, "label_dependence", name)}
        for name in layers
    ]  # fmt: skip
    form = {
        "class separation": st.column_config.NumberColumn(
            format="%.3f", help="spread between classes over that within (Fisher)"
        ),
        "label dependence": st.column_config.NumberColumn(
            format="%.3f", help="share of a layer's variance that the shown label makes; none: it is shown none"
        ),
    }
    st.dataframe(table, hide_index=True, height="content", column_config=form, alt="class separation and label dependence")
    n = f"{told['images']:,}" if isinstance(told.get("images"), int) else "?"
    st.caption(
        f"Linear CKA, debiased, on the same {n} images, each net under the neutral label. "
        "CKA moves with few outliers (Davari et al., ICLR 2023), so Procrustes distance (0: the same, 1.41: nothing in common) "
        "stands beside it. Alike is not good: two useless nets may agree."
    )


def number_or_none(told: Mapping[str, Any], key: str, name: str) -> float | None:
    value = (told.get(key) or {}).get(name)
    return float(value) if isinstance(value, int | float) else None
