"""Compare: groups of finished runs side by side, random seeds together, with a pinned baseline; nets' representations too."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
import widgets
from charts import compare as charts
from components import live_charts, plotly_loader
from representations import show_representations

import ffcore
from ffcore import Run, catalogue

MOST, FEW = charts.MOST, 5
Group = dict[str, Any]
CLAIMS = [  # of the reference study's two radars: (model, MNIST %, transfer %), speed, memory and plausibility were typed
    ("CwC-FF", "98.75", "89.05", "70", "60", "85"),
    ("FF", "93.15", "61.06", "50", "80", "90"),
    ("Layer collaboration", "91.56", "75", "45", "75", "95"),
    ("Backpropagation", "99.2", "77.06", "100", "50", "10"),
]


# Which groups


def asked_groups(groups: Mapping[str, Group]) -> dict[str, int] | None:
    """{key: colour's number} out of `?groups=KEY.COLOUR,…`, None where it asks for none that is here, which is told."""
    text = st.query_params.get("groups")
    if not text:
        return None if text is None else {}  # emptied by its reader
    out: dict[str, int] = {}
    unknown = []
    for part in text.split(",")[: 2 * MOST]:
        key, _, slot = part.partition(".")
        if key not in groups:
            unknown.append(part)
        elif len(out) < MOST:
            free = next(i for i in range(MOST) if i not in out.values())
            wanted = int(slot) if slot.isascii() and slot.isdigit() and len(slot) < 3 else free
            out[key] = wanted if wanted < MOST and wanted not in out.values() else free
    if unknown:
        st.warning(f"The address asks for group {widgets.quote(', '.join(unknown))}, which is not here.")
    return out or None


def story(groups: Sequence[Group]) -> list[str]:
    """Groups that tell something without a click: one per model, baselines first, on the data that most of them share."""
    data = [g["data"] for g in groups]
    most = max(data, key=lambda name: (data.count(name), -data.index(name)))
    best: dict[str, Group] = {}
    for g in groups:
        if g["data"] == most and (g["model"] not in best or len(g["seeds"]) > len(best[g["model"]]["seeds"])):
            best[g["model"]] = g
    order = ["ff", "backprop", "untrained", "layer_collab", "cwc", "pff"]
    names = sorted(best, key=lambda m: (m.startswith("ref_"), order.index(m) if m in order else len(order)))  # failures last
    return [best[name]["key"] for name in names[:FEW]]


def choose_groups(groups: dict[str, Group]) -> dict[str, int]:
    """The chosen groups and their colours, which stay with them while others come and go."""
    if "compared" not in st.session_state:
        asked = asked_groups(groups)
        if asked is None:
            asked = {key: i for i, key in enumerate(story(list(groups.values())))}
        st.session_state.compared, st.session_state.colours = list(asked), asked
    st.session_state.compared = [key for key in st.session_state.compared if key in groups]
    names = {key: shown(g) for key, g in groups.items()}
    chosen = st.multiselect(
        f"Groups of runs, 2 to {MOST}: alike in all but the random seed", list(names), format_func=names.get, key="compared",
        max_selections=MOST,
    )  # fmt: skip
    colours: dict[str, int] = {}
    before = st.session_state.get("colours", {})
    for key in chosen:
        if key in before:
            colours[key] = before[key]
    for key in chosen:
        if key not in colours:
            colours[key] = next(i for i in range(MOST) if i not in colours.values())
    st.session_state.colours = colours
    st.query_params["groups"] = ",".join(f"{key}.{slot}" for key, slot in colours.items())
    return {key: colours[key] for key in chosen}


def shown(group: Group) -> str:
    n = len(group["seeds"])
    return f"{group['label']} · {n} seed{'s' * (n > 1)}"


def choose_baseline(chosen: Sequence[Group]) -> str:
    names = {g["key"]: g["label"] for g in chosen}
    default = next((g["key"] for g in chosen if g["model"] == "backprop"), chosen[0]["key"])
    return widgets.choose(st.selectbox, "Baseline, to which differences are told", "baseline", names, default)


def choose_target(chosen: Sequence[Group]) -> str | None:
    """A data set that somebody has probed one of these groups with."""
    targets = sorted({name for g in chosen for run in g["runs"] for name in ffcore.probed(run)})
    if not targets:
        return None
    titles = {d["name"]: d["title"] for d in catalogue.datasets()}
    default = "fashion-mnist" if "fashion-mnist" in targets else targets[0]
    return widgets.choose(st.selectbox, "Transfer to", "target", {t: titles.get(t, t) for t in targets}, default)


# The numbers


def show_numbers(told: Sequence[Group], colours: Mapping[str, int], base: str, target: str | None) -> None:
    """The headline: measures × groups, each with n and spread over seeds."""
    rows = {}
    for fact, (name, about) in charts.MEASURES.items():
        if fact == "transfer" and not target:
            continue
        cells = [
            (charts.cell(fact, g["facts"][fact]), charts.gap(fact, g["differences"][fact]) if g["key"] != base else "")
            for g in told
        ]
        about += f", to {target}" if target and fact == "transfer_gain" else ""
        rows[name] = (about, cells)
    pinned = next(g["label"] for g in told if g["key"] == base)
    st.html(charts.measures([(g["label"], colours[g["key"]]) for g in told], rows, pinned))
    machines = sorted({m for g in told for m in g["machines"]})
    st.caption(
        "Mean ± standard deviation over n random seeds; below, the difference to the baseline over pairs of the same seed. All "
        f"stored by the runs, nothing computed now. Speed and time on: {widgets.plain('; '.join(machines))}"
        + (". They do not compare across machines." if len(machines) > 1 else ".")
    )
    save_numbers(told)
    if not target:
        st.caption(
            "Transfer: no data. It stands here once a run is measured on the page [Transfer](transfer), by the converged "
            "protocol and with all images."
        )


@st.cache_data(show_spinner=False, max_entries=64)
def course(directory: str, stamp: float) -> list[dict[str, Any]]:
    """A run's `ffcore.course`, read again only when its events have changed."""
    return ffcore.course(Run(directory))


def courses(told: Sequence[Group]) -> dict[str, list[list[dict[str, Any]]]]:
    """{group's key: the course of each of its runs}"""
    return {
        g["key"]: [course(str(r.dir), (r.dir / "events.jsonl").stat().st_mtime) for r in g["runs"] if r.snapshots()]
        for g in told
    }


def choose_axis(found: Mapping[str, list]) -> str:
    """What curves are drawn over: epochs, unless the shorter runs would be blots."""
    spans = [max(1, one[-1]["epoch"]) for seeds in found.values() for one in seeds if one]
    default = "share" if spans and max(spans) > 3 * min(spans) else "epoch"
    names = {"epoch": "epochs", "seconds": "seconds", "share": "share of training"}
    return widgets.choose(st.segmented_control, "Curves over", "over", names, default, required=True)


def drawn(
    told: Sequence[Group], colours: Mapping[str, int], found: Mapping[str, list], over: str, measure: str, layer: int = 0
) -> tuple[dict, str]:
    """A measure's curves, of all layers together or of one."""
    lines = {}
    for g in told:
        seeds = []
        for one in found[g["key"]]:
            last = one[-1] if one else {}
            scale = {"epoch": lambda at: at["epoch"], "seconds": lambda at: at["seconds"],
                     "share": lambda at, last=last: at["epoch"] / max(1, last["epoch"])}[over]  # fmt: skip
            values = {at["epoch"]: at["layers"].get(layer, {}).get(measure) if layer else at[measure] for at in one}
            places = {at["epoch"]: scale(at) for at in one}
            seeds.append({epoch: (places[epoch], value) for epoch, value in values.items() if value is not None})
        lines[g["label"]] = (colours[g["key"]], seeds)
    of = f"{charts.COURSES[measure][1]}{f' of layer {layer}' * bool(layer)}"
    return charts.curves(lines, over, measure), f"{of} of {len(told)} groups over {charts.OVER[over]}"


def show_layers(told: Sequence[Group], colours: Mapping[str, int], found: Mapping[str, list], over: str) -> None:
    """Positives against negatives, layer by layer, of all groups on the same bins; and how they came apart."""
    st.header("Layer by layer")
    left, right = st.columns(2)
    with right:
        names = {"last": "last", "best": "best on validation"}
        when = widgets.choose(st.segmented_control, "Histograms after which epoch?", "when", names, "last", required=True)
    hists = ffcore.histograms(told, when)
    layers = sorted({n for seeds in found.values() for one in seeds for at in one[-1:] for n in at["layers"]})
    if not layers:
        st.caption("None of these runs tells of its layers.")
        return
    with left:
        numbers = {str(n): str(n) for n in layers}
        layer = int(widgets.choose(st.segmented_control, "Layer", "layer", numbers, str(layers[0]), required=True))
    hist = next((h for h in hists if h["layer"] == layer), None)
    figures = []
    if hist:
        of = {g["label"]: (colours[g["key"]], *(hist["groups"][g["key"]][side] for side in ("pos", "neg")))
              for g in told if g["key"] in hist["groups"]}  # fmt: skip
        alt = f"goodness in layer {layer} of {len(of)} groups, positives above, negatives below"
        figures.append((charts.sides(layer, hist["edges"], of), alt))
    figures += [drawn(told, colours, found, over, measure, layer) for measure in ("dprime", "gap", "dead")]
    live_charts(figures, columns=2, key="layers", framed=True)
    without = [g["label"] for g in told if not hist or g["key"] not in hist["groups"]]
    older = [g["label"] for g in told if g["label"] not in without
             and not any("gap" in at["layers"].get(layer, {}) for one in found[g["key"]] for at in one)]  # fmt: skip
    st.html(charts.legend([(g["label"], colours[g["key"]]) for g in told]))
    st.caption(
        "Validation images of each run, each under its right label and a fixed wrong one (or as its negatives make it); the "
        "goodness axis is stretched near 0, as nets differ in size by orders. Mean over seeds; bands from the lowest to the "
        f"highest. {told_n(told, hist)}"
        + (f"No positives and negatives in layer {layer}: {widgets.plain(', '.join(without))}. " if without else "")
        + (f"Too old to have kept gap and d′: {widgets.plain(', '.join(older))}." if older else "")
    )


def told_n(told: Sequence[Group], hist: Mapping[str, Any] | None) -> str:
    """Which epochs the histograms are of."""
    rows = [(g["label"], hist["groups"][g["key"]]) for g in told if hist and g["key"] in hist["groups"]]
    shown = [f"{label} {'/'.join(map(str, sorted(set(row['epochs']))))} (n {row['n']})" for label, row in rows]
    return f"Histograms after epoch: {widgets.plain('; '.join(shown))}. " if shown else ""


# What differs


def show_settings(told: Sequence[Group]) -> None:
    st.header("What differs between them")
    keys = ffcore.differing(told)
    if not keys:
        st.caption("Nothing but the machine." if len(told) > 1 else "One group alone differs from nothing.")
        return
    everywhere = [key for key in keys if all(key in g["settings"] for g in told)]
    own_ones = [key for key in keys if key not in everywhere]
    if everywhere:
        st.dataframe(table(told, everywhere), hide_index=True, height="content", alt="settings in which the groups differ")
    if own_ones:
        with st.expander(f"{len(own_ones)} settings that only some of these models have", icon=":material/tune:"):
            st.dataframe(table(told, own_ones), hide_index=True, height="content", alt="settings that only some models have")
            st.caption("A dash: this model has no such setting, or the run is older than it.")
    st.caption("Every other setting is the same in all of them.")


def table(told: Sequence[Group], keys: Sequence[str]) -> list[dict[str, str]]:
    return [{"setting": key, **{g["label"]: words(g["settings"].get(key, "–")) for g in told}} for key in keys]


def words(value: Any) -> str:
    if value is None or value == []:
        return "none"
    return "yes" if value is True else "no" if value is False else f"{value:.4g}" if isinstance(value, float) else str(value)


def show_checklist(told: Sequence[Group]) -> None:
    models = {m["name"]: m for m in catalogue.models()}
    strategies = {s["name"]: s for s in catalogue.negatives()}
    lists: dict[str, dict[str, tuple[str, str]]] = {}
    for g in told:
        if g["model"] not in models:
            continue
        mine = ffcore.properties(g["runs"][0], models[g["model"]], strategies)
        alike = next(
            (name for name, other in lists.items() if other == mine and name.startswith(models[g["model"]]["title"])), None
        )
        if alike is None:
            title = models[g["model"]]["title"]
            lists[title if title not in lists else g["label"]] = mine
    st.html(charts.checklist(ffcore.PROPERTIES, lists))
    st.caption(
        "From the models' own facts, which the test suite measures (locality by gradients, for one). It is a list of "
        "properties, not a score: nobody knows how to weigh them, and a brain may lack some, too."
    )


def show_claims() -> None:
    with st.expander("What the reference study drew", icon=":material/history_edu:"):
        rows = [
            {"model": m, "MNIST, %": a, "transfer, %": t, "speed": s, "memory": k, "bio-plausibility": b}
            for m, a, t, s, k, b in CLAIMS
        ]
        st.dataframe(rows, hide_index=True, height="content", alt="scores of the reference study's radar")
        st.caption(
            "**Claims, not measurements of ours.** Its radar drew these on one scale from 0 to 100. Speed, memory and "
            "bio-plausibility were typed into the plotting script, without a unit; its transfer figures come from probes that "
            "differ from row to row. Here every axis has a unit and a range, and what nobody measured is “no data”."
        )


# Taking it along


def save_numbers(told: Sequence[Group]) -> None:
    out = io.StringIO()
    sheet = csv.writer(out)
    sheet.writerow(["group", "label", "seed", "run", *charts.MEASURES])
    for g in told:
        for seed, run in zip(g["seeds"], g["runs"], strict=True):
            facts = [g["facts"][fact]["values"].get(seed, "") for fact in charts.MEASURES]
            sheet.writerow([g["key"], g["label"], seed, run.id, *facts])
    st.download_button("Numbers as CSV", out.getvalue(), "compare.csv", "text/csv", icon=":material/download:")


def share(told: Sequence[Group], target: str | None, base: str) -> None:
    ids, pinned = [g["runs"][0].id for g in told], next(g["runs"][0].id for g in told if g["key"] == base)
    line = ["ffcore", "compare", *ids, *(["--target", target] if target else []), "--baseline", pinned]
    asked = ", ".join([*map(repr, ids), *([f"target={target!r}"] if target else []), f"baseline={pinned!r}"])
    lines = ["import ffcore", f"told = ffcore.compare({asked})", 'for group in told["groups"]:',
             '    print(group["label"], group["facts"]["test_accuracy"])']  # fmt: skip
    widgets.share(shlex.join(line), "\n".join(lines))


def show(groups: dict[str, Group], runs: list[Run]) -> None:
    """The page below its title."""
    colours = choose_groups(groups)
    chosen = [groups[key] for key in colours]
    if not chosen:
        st.info(f"Choose 2 to {MOST} groups above.", icon=":material/arrow_upward:")
        return
    if len(groups) == 1:
        st.info(
            "There is one group only; train another model or other settings, and it can be compared.", icon=":material/info:"
        )
    elif len(chosen) == 1:
        st.info(f"One group is no comparison yet: add a second one above, {MOST} at most.", icon=":material/arrow_upward:")
    found = courses(chosen)
    with st.grid(3, min_column_width=230, gap="small") as grid:
        with grid.cell():
            base = choose_baseline(chosen)
        with grid.cell():
            target = choose_target(chosen)
        with grid.cell():
            over = choose_axis(found)
    told = ffcore.headline(chosen, target=target, baseline=base)
    with widgets.told_if_broken("The numbers"):
        show_numbers(told, colours, base, target)
    with widgets.told_if_broken("The charts"):
        figure, absent = charts.overview(told, colours)
        both = [drawn(told, colours, found, over, "accuracy")]
        if figure:
            both.insert(0, (figure, "radar of the measures above, each axis with its own range, better outside"))
        live_charts(both, columns=2, key="headline", framed=True)
        said = "Every axis of the radar has its own range, written at its end; better is outside. Its area means nothing. "
        st.caption(
            (said if figure else "Too few measures for a radar. ") + (f"No data: {', '.join(absent)}." if absent else "")
            + " Bands of the curves: from the least to the most accurate seed."
        )  # fmt: skip
        with st.expander("Every random seed", icon=":material/casino:"):
            live_charts(charts.of_seeds(told, colours), columns=2, key="seeds", framed=True)
    with widgets.told_if_broken("The layers"):
        show_layers(told, colours, found, over)
    with widgets.told_if_broken("The settings"):
        show_settings(told)
    st.header("What is like a brain, and what is not")
    later = st.container()
    show_claims()
    with widgets.told_if_broken("The representations"):
        show_representations(told, runs)
    share(told, target, base)
    with later.skeleton():  # the models come with torch, which takes seconds: the rest stands by then
        widgets.settle_torch()
        catalogue.models()
    with later, widgets.told_if_broken("The list of properties"):
        show_checklist(told)


st.title("Compare")
st.markdown(
    "Finished runs side by side. Runs that differ in nothing but their random seed are **one group**, so that a difference can "
    "be held against chance. Everything here was stored by the runs themselves."
)
every = widgets.all_runs()
found = {g["key"]: g for g in ffcore.groups(every)}
if not found:
    widgets.empty("No run has finished here yet. It takes a minute.", "Train one", "views/train.py")
plotly_loader()
with widgets.told_if_broken("The comparison"):
    show(found, every)

widgets.explain(
    """
**One run is an anecdote.** Two random seeds of the same model can differ by as much as two models do. So numbers come as mean ±
standard deviation over n seeds, and differences to the **baseline** are taken between runs of the same seed, which share
their order of images. With n = 1 there is no spread, and small differences mean nothing yet.

**Transfer** is the lead of a net over *its own untrained twin* when a linear classifier reads its layers on other
images; plain accuracy would reward a lucky architecture. It is measured on the page Transfer.

**Speed** counts everything: negatives, telemetry, validation. It holds for the machine named below the table only.
**Memory** is that of the whole process on a CPU, where PyTorch alone takes most of it, and of tensors on a GPU.

**The radar** is an overview, and shapes deceive: axes are scaled to what is on the page, and their order changes the area. The
table above it has the numbers.

**Like a brain?** Each ✓ or ✗ is a fact of the learning rule with its reason. There is no sum: adding them up would pretend that
we know what each is worth.

**Layer by layer**: each colour is a group, as everywhere on this page. Goodness of the positives points up, that of the
negatives down; the further the two hills of one colour stand apart, the better its layer tells right from wrong. They overlap
even in a good net, as images differ from each other far more than two labels of one image do. **d′** says how far they are
apart in one number, which compares between nets, while goodness itself may be large in one net and small in another.

**Best** is the epoch at which validation accuracy was highest. It was picked because it was highest, so it flatters; the test
images were read once, after the **last** epoch.

**CKA** asks whether two layers place the same images in the same relations, whatever their units: 1 is the same, 0 nothing in
common.
"""
)
