"""Neuron health: which units fall silent, when, and what of; one unit's card; what would help."""

from typing import Any

import findings
import numpy as np
import own
import pandas as pd
import shelf
import streamlit as st
import widgets
from charts import health as drawn
from components import live_chart, live_charts, plotly_loader

import ffcore
from ffcore import Run, catalogue

DEFINITIONS = {"dead": "dead", "dormant": "τ-dormant", "masked": "masked (reference study)"}
HEADLINE = {**DEFINITIONS, "masked": "dead by the masked metric"}
MEANING = {
    "dead": "**Dead**: never above 0 on the probe images, under the right label or a wrong one, before any mask.",
    "dormant": "**τ-dormant**: its mean activity is at most 2.5% of its layer's mean (Sokar et al. 2023).",
    "masked": "**Masked**: it never passes on more than 0.01, after the mask if the model has one. That is how the reference "
    "study counted; a healthy unit behind a strong mask counts as well.",
}


@st.cache_data(show_spinner=False, max_entries=8)
def history(directory: str, snapshots: tuple[int, ...], stamp: int) -> dict[str, Any]:
    """The run's `unit_history`, read again only when a snapshot has come."""
    return ffcore.unit_history(Run(directory))


def life_of(run: Run) -> dict[str, Any]:
    epochs = tuple(run.snapshots())
    last = run.dir / "snapshots" / f"epoch-{epochs[-1]:04d}.npz" if epochs else run.dir
    return history(str(run.dir), epochs, last.stat().st_mtime_ns)


def headline(life: dict[str, Any], definition: str, word: str) -> str:
    """What the snapshots say, in a sentence or two."""
    layers, epochs = life["layers"], life["epochs"]
    gone = [layer["out"][definition][-1] for layer in layers]
    units = sum(map(len, gone))
    if not any(map(np.any, gone)):
        return f"**No unit is {word}**: all {units:,} units of {len(layers)} layer{'s' * (len(layers) > 1)} are alive."
    worst = int(np.argmax([out.mean() for out in gone]))
    died = layers[worst]["died"][definition]
    first = epochs[int(died.min())]
    count, of = int(gone[worst].sum()), len(gone[worst])
    share = widgets.percent(count / of, 1 if count < of / 100 or of / 100 > of - count > 0 else 0)
    when = "before the first step" if first == 0 else f"in epoch {first}"
    went = "was so" if first == 0 else "died" if definition == "dead" else "went so"
    half = np.sort(died)[int(np.ceil(of / 2)) - 1] if count >= of / 2 else None
    more = f", half had by epoch {epochs[int(half)]}" if half is not None and epochs[int(half)] != first else ""
    others = sum(int(out.sum()) for out in gone) - count
    where = f"layer {2 - worst}" if len(layers) == 2 else "the other layers"
    rest = f" In {where} {others:,} more {'are' if others > 1 else 'is'} {word}." if others else ""
    if count == 1:
        return f"**In layer {worst + 1}, 1 of {of:,} units is {word}**; it {went} {when}.{rest}"
    return f"**In layer {worst + 1}, {share} of {of:,} units are {word}**; the first {went} {when}{more}.{rest}"


def show_map(run: Run, life: dict[str, Any], definition: str, layer: int, unit: int | None) -> None:
    told, epochs = life["layers"][layer - 1], life["epochs"]
    out, died = told["out"][definition], told["died"][definition]
    left, right = st.columns([1.5, 1], gap="medium")
    with left.container(border=True):
        st.markdown(f"**The {len(died):,} units of layer {layer}, epoch by epoch**")
        figure = drawn.lives(told["rate"], out, died, epochs, definition, unit)
        gone = int(out[-1].sum())
        rows = drawn.rows_of(told["rate"], died)
        live_chart(
            figure, key="lives", alt=f"units of layer {layer} by epochs: {gone} of {len(died)} are {definition} at the end",
            click=f"{run.id}.{layer}.{definition}.{len(epochs)}",
            on_click=lambda trace, row, column: _go_unit(int(rows[row])) if row < len(rows) else None,
        )  # fmt: skip
    with right.container(border=True):
        st.markdown("**How many live on**")
        figure = drawn.survival([one["out"][definition] for one in life["layers"]], epochs, definition)
        live_chart(figure, key="survival", alt=f"share of each layer's units that are not {definition}, over epochs")
    st.caption(
        f"{MEANING[definition]} From the snapshot of every epoch, on up to 1,000 fixed validation images; rows are "
        "sorted by when a unit was lost for good, then by how often it is on. Click a row to see its unit below."
        + (f" {life['lost']} snapshots cannot be read and are left out." if life["lost"] else "")
    )


# The autopsy


def show_autopsy(run: Run, finding: Any, told: dict[str, Any] | None) -> None:
    st.header("What dead units died of")
    if finding is None:
        return
    if told is None:
        told = findings.answer(
            finding,
            "Find the causes",
            "For every dead unit one thing at a time is changed, and the net is asked whether it would fire. About 15 s.",
            "health",
        )
    if told is None:
        return
    rows = told["layers"]
    total = sum(sum(row["causes"].values()) for row in rows)
    if not total:
        st.success(f"No unit of this net is dead on {told['images']:,} validation images.", icon=":material/check_circle:")
    else:
        names = sorted({name for row in rows for name in row["causes"]}, key=list(told["about"]).index)
        head = ["cause", *(f"layer {row['layer']}" for row in rows)]
        lines = [[f"**{name}**", *(f"{row['causes'].get(name, 0):,}" for row in rows)] for name in names]
        st.markdown("\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines]))
        st.markdown("\n".join(f"- *{name.capitalize()}*: {widgets.plain(told['about'][name])}" for name in names))
        alike: dict[str, list[str]] = {}
        for row in rows:
            if said := ffcore.objective_in_words(row["objective"]):
                lines = "\n".join(f"- {widgets.plain(line[0].upper() + line[1:])}." for line in said)
                alike.setdefault(lines, []).append(str(row["layer"]))
        for lines, layers in alike.items():
            st.markdown(f"**Layer{'s' * (len(layers) > 1)} {' and '.join(layers)}**\n{lines}")
        show_what_if(run, told)
    show_table(run, told)


def show_what_if(run: Run, told: dict[str, Any]) -> None:
    ideas = ffcore.what_if(run.config, told["layers"])
    if not ideas:
        return
    st.markdown("**What if …** :small[:gray[opens Train with the same run, changed in this]]")
    with st.container(horizontal=True):
        for i, idea in enumerate(ideas[:6]):
            sets = [f"{key}={str(value).lower()}" for key, value in idea["settings"].items()]
            hint = f"{idea['what']}: {', '.join(sets)} (because of: {idea['cause']})"
            if st.button(f"{' and '.join(sets)}", key=f"what_if.{i}", icon=":material/science:", help=hint):
                st.switch_page("views/train.py", query_params=changed(run, sets))
    st.caption("Each changes what the causes point at. Whether it helps is for the run to say.")


def changed(run: Run, sets: list[str]) -> dict[str, Any]:
    """The address of Train for a run like this one with other settings."""
    query = shelf.train_query(run, run.config.get("seed", 0))
    query["set"] = list({text.partition("=")[0]: text for text in [*query.get("set", []), *sets]}.values())
    if not at_hand(run):
        query.pop("data", None)
    return query


def at_hand(run: Run) -> bool:
    """Can an address ask for its images: no file of one's own, and nothing that would have to be downloaded first?"""
    name = run.config["data"]["name"]
    return name in ffcore.data.DATASETS and ffcore.data.present(name, run.config.get("data_root"))


def show_verdict(run: Run, told: dict[str, Any] | None) -> None:
    """Why its units died, in a line, and the way out: the honest default of a failure, or the whole story of the fix."""
    causes = findings.causes(told) if told else {}
    if causes:
        most, *less = causes
        others = ", ".join(f"{widgets.plain(name)} {causes[name]:,}" for name in less)
        rest = f" Others: {others}." if others else ""
        st.markdown(
            f"**What they died of: {widgets.plain(most)}**, {causes[most]:,} of {sum(causes.values()):,} dead units. "
            f"{widgets.plain(told['about'][most])}{rest}"
        )
    kept = next((p for p in catalogue.presets() if p["name"] == run.config.get("preset") and not p["good"]), None)
    with st.container(horizontal=True, vertical_alignment="center"):
        if kept and kept["instead"] and st.button("Fix it", type="primary", icon=":material/healing:", help=kept["fix"]):
            st.switch_page("views/train.py", query_params=mended(run, kept["instead"]))
        widgets.ways(run, "replay", "run", *(["draw"] if own.has_weights(run) else []))


def mended(run: Run, instead: dict[str, Any]) -> dict[str, Any]:
    """The address of Train for the honest default that a failure should have been, on the same images where they are here."""
    query = {key: instead[key] for key in ("preset", "model", "negatives", "data") if key in instead}
    if at_hand(run):
        query.setdefault("data", run.config["data"]["name"])
    sets = ffcore.set_words(instead.get("set", {}))
    return {**query, **({"set": sets} if sets else {})}


def show_table(run: Run, told: dict[str, Any]) -> None:
    keys = {  # column → (heading, form, what it is)
        "layer": ("layer", "%.0f", None), "units": ("units", "%.0f", None),
        "dead": ("dead", "percent", "never above 0"), "dormant": ("τ-dormant", "percent", "hardly on beside their layer"),
        "reference_metric": ("masked", "percent", "never pass on more than 0.01: the reference study's measure"),
        "mean_rate": ("on for", "percent", "share of images, mean over units"),
        "lifetime_sparseness": ("lifetime sp.", "percent", "lifetime sparseness, of a unit over images"),
        "population_sparseness": ("population sp.", "percent", "population sparseness, of an image over units"),
        "effective_rank": ("eff. rank", "%.1f", "how many directions its activity fills, as a number of equal ones"),
        "weight_norm": ("‖w‖", "%.2f", "length of a unit's incoming weights, mean"), "bias": ("bias", "%.3f", "mean"),
    }  # fmt: skip
    table = pd.DataFrame([{key: row.get(key) for key in keys} for row in told["layers"]])
    shown = {key: st.column_config.NumberColumn(name, format=form, help=about) for key, (name, form, about) in keys.items()}
    st.markdown("**Every layer in numbers**")
    st.dataframe(table, hide_index=True, column_config=shown, alt="health of every layer", height="content")
    st.caption(
        f"On {told['images']:,} validation images, each under its label and a wrong one, after epoch {told['epoch']}. "
        "Sparseness (Treves & Rolls): 0 if all alike, 1 if one alone; lifetime: of a unit over images, population: of an image "
        "over units."
    )
    units = pd.DataFrame([{"layer": i, **unit} for i, units in enumerate(told["units"], 1) for unit in units])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Layers as CSV", table.to_csv(index=False), f"health-{run.id}.csv", "text/csv", icon=":material/download:"
        )
        if len(units):
            st.download_button(
                "Dead units as CSV",
                units.to_csv(index=False),
                f"dead-units-{run.id}.csv",
                "text/csv",
                icon=":material/download:",
            )


# One unit


def pick_unit(life: dict[str, Any], definition: str, layer: int) -> int:
    """The unit in the address, else the first to go, else the one that is on most."""
    told = life["layers"][layer - 1]
    died, rate = told["died"][definition], told["rate"][-1]
    first = int(np.lexsort((-rate, died))[0])
    return widgets.asked_number("unit", 0, len(died) - 1, first)


def show_unit(
    run: Run, life: dict[str, Any], definition: str, layer: int, unit: int, finding: Any, answer: dict | None
) -> None:
    told, epochs = life["layers"][layer - 1], life["epochs"]
    died, rate = told["died"][definition], told["rate"]
    st.header(f"Unit {unit} of layer {layer}")
    order = np.lexsort((-rate[-1], died))
    place = int(np.flatnonzero(order == unit)[0])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.session_state["unit_number"] = unit
        st.number_input("Unit", 0, len(died) - 1, key="unit_number", width=150, on_change=_take_unit)
        jumps = {
            "First to go": order[0], "Last to go": order[max(0, int((died < len(epochs)).sum()) - 1)],
            "On most": rate[-1].argmax(), "Next in the map": order[(place + 1) % len(order)],
        }  # fmt: skip
        for name, other in jumps.items():
            st.button(name, key=f"jump.{name}", on_click=_go_unit, args=(int(other),))
    if died[unit] < len(epochs):
        when = "from the start" if died[unit] == 0 else f"since epoch {epochs[died[unit]]}"
        st.markdown(f"It has been **{DEFINITIONS[definition]} {when}**.")
    else:
        st.markdown(f"It is **alive**: on for {rate[-1][unit]:.1%} of the probe images after epoch {epochs[-1]}.")
    if answer:
        with widgets.told_if_broken("What the autopsy says of this unit"):
            show_found(answer, finding.arrays(), layer, unit)
    else:
        st.caption("Its cause of death, receptive field and images come with the causes below.")
    live_charts(drawn.card(told, unit, layer, epochs, int(died[unit])), columns=4, key="card")
    if died[unit] < len(epochs):
        st.caption("The dashed line: from here on it was out of it.")


def show_found(answer: dict[str, Any], arrays: dict[str, np.ndarray], layer: int, unit: int) -> None:
    """What the autopsy found about one unit: its cause with the evidence, its field, its images."""
    of = next((one for one in answer["units"][layer - 1] if one["unit"] == unit), None)
    if of:
        with st.container(border=True):
            st.markdown(f"**Cause: {widgets.plain(of['cause'])}.** {widgets.plain(answer['about'][of['cause']])}")
            st.markdown("\n".join(f"- {widgets.plain(line)}" for line in ffcore.evidence_in_words(of)))
    place = {int(index): i for i, index in enumerate(arrays["index"])}
    classes = answer["classes"]

    def picture(index: int, note: str = "") -> tuple[str, np.ndarray]:
        i = place[index]
        return f"“{classes[int(arrays['labels'][i])]}”{note}", arrays["images"][i]

    left, middle, right = st.columns([1, 2.2, 1.2], gap="medium")
    if layer == 1 and unit < len(arrays["fields"]):
        with left:
            st.markdown("**Incoming weights**")
            st.html(drawn.tiles([("", drawn.field(arrays["fields"][unit]))], 120))
            st.caption("Blue pushes it up, vermilion down.")
    with middle:
        st.markdown("**Images that drive it most now**")
        best = [int(index) for index in arrays[f"top_{layer}"][unit] if int(index) in place]
        if best:
            st.html(drawn.tiles([picture(index) for index in best]))
        else:
            st.caption("None: it is above 0 for no image.")
    with right:
        st.markdown("**The image that last drove it most**")
        woke = int(arrays[f"woke_{layer}"][unit])
        if woke >= 0 and woke // 2 in place:
            st.html(drawn.tiles([picture(woke // 2, " under a wrong label" * (woke % 2))]))
        else:
            st.caption("Not known: its snapshots do not tell.")
    value = {name: float(arrays[f"{name}_{layer}"][unit]) for name in ("rate", "share", "passed", "gradient")}
    numbers = {
        "on for": f"{value['rate']:.1%}",
        "share of the layer's goodness": f"{value['share']:.2%}",
        "passes on at most": f"{value['passed']:.3g}",
        "gradient now": f"{value['gradient']:.2g}",
    }
    st.caption(
        " · ".join(f"{name}: {value}" for name, value in numbers.items()) + f" · on {answer['images']:,} validation images"
    )


def _take_unit() -> None:
    _go_unit(int(st.session_state["unit_number"]))


def _go_unit(unit: int) -> None:
    st.query_params["unit"] = str(unit)


def _forget_unit() -> None:
    st.query_params.pop("unit", None)


# Remedies


def show_remedies() -> None:
    st.header("What brings dead units back")
    studies = [one for one in ffcore.stored_studies(name="remedies") if all(sound(row) for row in one["rows"]) and one["rows"]]
    if not studies:
        st.caption(
            "No data: nobody has trained the reference study's net with each published remedy here yet. One at a time, on a "
            "validation split:"
        )
        st.code("ffcore study remedies --data mnist", language="bash")
        return
    one = studies[0]
    rows = [{**row, "settings": ", ".join(f"{k}={v}" for k, v in row["settings"].items())} for row in one["rows"]]
    table = pd.DataFrame(rows)[["row", "settings", "mean", "dead", "reference_metric", "mean_rate", "n"]]
    bar = {"min_value": 0.0, "max_value": 1.0, "format": "percent"}
    shown = {
        "row": st.column_config.TextColumn("remedy", width="medium"),
        "mean": st.column_config.NumberColumn("accuracy", format="percent", help="validation split, mean over random seeds"),
        "dead": st.column_config.ProgressColumn("dead", **bar),
        "reference_metric": st.column_config.ProgressColumn("masked", **bar),
        "mean_rate": st.column_config.ProgressColumn("units on", **bar),
        "n": st.column_config.NumberColumn("random seeds"),
    }
    before, best = rows[0], min(rows[1:] or rows, key=lambda row: row["dead"])
    st.markdown(
        f"Without a remedy **{before['dead']:.0%}** of the units are dead; fewest with *{widgets.plain(best['row'])}*: "
        f"**{best['dead']:.0%}**, at {best['mean']:.1%} accuracy ({before['mean']:.1%} before)."
    )
    st.dataframe(table, hide_index=True, column_config=shown, alt="remedies and what they did", height="content")
    st.caption(f"The preset ref-pcl with one change at a time, on {widgets.plain(str(one['protocol']['data'].get('name')))}.")
    st.download_button("Remedies as CSV", table.to_csv(index=False), "remedies.csv", "text/csv", icon=":material/download:")


def sound(row: Any) -> bool:
    """Is it a row as `ffcore study remedies` stores it? A file may hold anything."""
    shares = ("dead", "reference_metric", "mean_rate", "mean")
    return (
        isinstance(row, dict)
        and isinstance(row.get("row"), str)
        and isinstance(row.get("settings"), dict)
        and all(isinstance(row.get(key), int | float) and 0 <= row[key] <= 1 for key in shares)
    )


def show(run: Run) -> None:
    life = life_of(run)
    layers = life["layers"]
    known = {name: text for name, text in DEFINITIONS.items() if all(name in layer["out"] for layer in layers)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        definition = widgets.choose(
            st.segmented_control, "Who counts as lost", "definition", known, "dead", "health_definition", required=True
        )
        worst = int(np.argmax([layer["out"][definition][-1].mean() for layer in layers])) + 1
        numbers = {str(i): f"layer {i}" for i in range(1, len(layers) + 1)}
        layer = int(
            widgets.choose(
                st.pills if len(layers) <= 8 else st.selectbox, "Layer", "layer", numbers, str(worst), f"health_layer.{run.id}",
                on_change=_forget_unit, **({"required": True} if len(layers) <= 8 else {}),
            )
        )  # fmt: skip
    if "masked" not in known:
        st.caption("The snapshots of this run, made by an older version, do not tell what units pass on: no masked metric.")
    plotly_loader()
    st.header(headline(life, definition, HEADLINE[definition]))
    finding = findings.find("health", run)
    answer = finding.result() if finding and finding.state == "done" else None
    with widgets.told_if_broken("The verdict"):
        show_verdict(run, answer)
    unit = pick_unit(life, definition, layer)
    show_map(run, life, definition, layer, unit)
    with widgets.told_if_broken("This unit"):
        show_unit(run, life, definition, layer, unit, finding, answer)
    with widgets.told_if_broken("The autopsy"):
        show_autopsy(run, finding, answer)


st.title("Neuron health")
st.caption("Units that say nothing of any image learn nothing either. Who are they, since when, and why?")
runs = [run for run in widgets.all_runs() if run.snapshots()]
if not runs:
    widgets.empty("No run has kept a snapshot of its units yet. One takes a minute.", "Train one", "views/train.py")
flawed = [run for run in runs if run.config["model"]["name"] == "ref_pcl"]
chosen = widgets.pick_run(runs, flawed[0] if flawed else runs[0], "unit")
with widgets.told_if_broken("This run"):
    show(chosen)
with widgets.told_if_broken("The remedies"):
    if not widgets.hidden("remedies"):
        show_remedies()

widgets.share(
    f"ffcore health {chosen.id}",
    f"import ffcore\n\nrun = ffcore.find({chosen.id!r})\nlife = ffcore.unit_history(run)  # who is out of it, epoch by epoch\n"
    "print([float(layer['out']['dead'][-1].mean()) for layer in life['layers']])\n"
    "print([row['causes'] for row in ffcore.health(run)['layers']])",
)
widgets.explain(
    """
**A dead unit** is above 0 for no image. Where goodness is a sum of squares, the gradient at 0 is 0: what is dead stays dead,
and the layer is as good as narrower. **Sparse is not dead**: a unit that is on for 2% of the images is choosy.

**Three definitions.** *Dead* looks at activity itself, before any mask. *τ-dormant* also counts units that are on but hardly
so, beside their layer. *Masked* is the reference study's: after its mask, which shrinks every activity to 0.7%, nearly all
units of an untrained net count, though few of them are dead.

**The map** has a row per unit and a column per epoch. Vermilion: out of it. The deeper the blue, the more images the unit is
on for. The first to go is on top. A click on a row shows its unit below.

**Causes** are not guessed. For each dead unit one thing is changed, and the net is asked: its bias is put to 0, or to where it
was; inhibition or the competition is looked through; a little activity is given to it, and what its layer's objective rewards
is measured through the model's own goodness, with the gradient that learning would follow. History adds whether it was ever
alive, and how far its weights moved when it died. The first cause that holds is told, in this order: born dead,
inhibition, winners, vanished input, objective, bias, step, weights; and *undetermined* where none does.

**Why one change may not help.** In the reference study's PCL net two forces push units off: a predictor's error, and a penalty
on activity while goodness is shrunk by a mask. Taking away the one leaves the other. The lines above name the smallest sets of
settings without which a little activity would pay, tried on the net as it is now; whether a new run then lives is another
question, since steps may be too large as well.
"""
)
