"""Compare: groups of finished runs side by side, random seeds together, with a pinned baseline; nets' representations too."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import feed
import findings
import own
import streamlit as st
import widgets
from charts import compare as charts
from charts import similarity
from components import live_charts, plotly_loader

import ffcore
from ffcore import Run, catalogue

MOST, FEW = charts.MOST, 5
Group = dict[str, Any]
MEASURES = {  # fact → (name, what it is)
    "test_accuracy": ("Test accuracy", "by the default read-out"),
    "validation_accuracy": ("Validation accuracy", "by the default read-out"),
    "transfer_gain": ("Transfer", "lead over the untrained twin"),
    "transfer": ("Transfer, accuracy", "converged probe, all layers"),
    "images_per_second": ("Speed", "images a second, all included"),
    "train_seconds": ("Training time", "all included"),
    "peak_memory": ("Peak memory", "process on a CPU, tensors on a GPU"),
    "dead": ("Dead units", "never on, mean over layers"),
}
CLAIMS = [  # of the reference study's two radars: (model, MNIST %, transfer %), speed, memory and plausibility were typed
    ("CwC-FF", "98.75", "89.05", "70", "60", "85"),
    ("FF", "93.15", "61.06", "50", "80", "90"),
    ("Layer collaboration", "91.56", "75", "45", "75", "95"),
    ("Backpropagation", "99.2", "77.06", "100", "50", "10"),
]


# Which groups


def asked_groups(groups: Mapping[str, Group]) -> dict[str, int]:
    """{key: colour's number} out of `?groups=KEY.COLOUR,…`; what is not there is told."""
    text = st.query_params.get("groups")
    if text is None:
        return {}
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
    return out


def story(groups: Sequence[Group]) -> list[str]:
    """Groups that tell something without a click: one per model, baselines first, on the data that most of them share."""
    data = [g["data"] for g in groups]
    most = max(data, key=lambda name: (data.count(name), -data.index(name)))
    best: dict[str, Group] = {}
    for g in groups:
        if g["data"] == most and (g["model"] not in best or len(g["seeds"]) > len(best[g["model"]]["seeds"])):
            best[g["model"]] = g
    order = ["ff", "backprop", "untrained"]
    names = sorted(best, key=lambda m: order.index(m) if m in order else len(order))
    return [best[name]["key"] for name in names[:FEW]]


def choose_groups(groups: dict[str, Group]) -> dict[str, int]:
    """The chosen groups and their colours, which stay with them while others come and go."""
    if "compared" not in st.session_state:
        asked = asked_groups(groups) or {key: i for i, key in enumerate(story(list(groups.values())))}
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


def number(fact: str, value: float, signed: bool = False) -> str:
    """A measure's number with its unit; `signed` as a difference."""
    sign = "+" if signed else ""
    if fact == "transfer_gain" or (signed and fact in ("test_accuracy", "validation_accuracy", "transfer", "dead")):
        text = f"{100 * value:+.2f} points"
    elif fact in ("test_accuracy", "validation_accuracy", "transfer", "dead"):
        text = f"{100 * value:.2f} %"
    elif fact == "images_per_second":
        text = f"{value:{sign},.0f} /s"
    elif fact == "train_seconds":
        text = f"{value:{sign},.1f} s" if abs(value) < 100 else f"{value:{sign},.0f} s"
    else:
        text = f"{value / 1e9:{sign}.2f} GB"
    return text.replace("-", "−")


def spread(fact: str, sd: float) -> str:
    """A standard deviation as it stands behind ±, without its unit."""
    return number(fact, abs(sd)).lstrip("+").partition(" ")[0]


def cell(fact: str, told: Mapping[str, Any]) -> str:
    """`97.92 ± 0.10 % · n 3`"""
    if told["mean"] is None:
        return "no data"
    value, _, unit = number(fact, told["mean"]).partition(" ")
    around = "" if told["sd"] is None else f" ± {spread(fact, told['sd'])}"
    return f"{value}{around} {unit} · n {told['n']}"


def gap(fact: str, told: Mapping[str, Any] | None) -> str:
    """The difference to the baseline, paired by seed where both have one."""
    if told is None or told["mean"] is None:
        return ""
    value, _, unit = number(fact, told["mean"], signed=True).partition(" ")
    value = value if value[0] in "+−" else f"+{value}"
    pairs = f"{told['n']} pair{'s' * (told['n'] > 1)}" if told["n"] else "of means"
    around = "" if told["sd"] is None else f" ± {spread(fact, told['sd'])}"
    return f"{value}{around} {unit}, {pairs}"


def show_numbers(told: Sequence[Group], colours: Mapping[str, int], base: str, target: str | None) -> None:
    """The headline: measures × groups, each with n and spread over seeds."""
    rows = {}
    for fact, (name, about) in MEASURES.items():
        if fact == "validation_accuracy" and all(g["facts"]["test_accuracy"]["n"] for g in told):
            continue  # the other one was measured once, at the end
        cells = [(cell(fact, g["facts"][fact]), gap(fact, g["differences"][fact]) if g["key"] != base else "") for g in told]
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
    if not target:
        st.caption(
            "Transfer: no data. It stands here once a run is measured on the page [Transfer](transfer), by the converged "
            "protocol and with all images."
        )


def show_radar(told: Sequence[Group], colours: Mapping[str, int]) -> tuple[dict | None, list[str]]:
    """The radar over what at least one group has, and the names of what none has."""
    wanted = {
        "test_accuracy": ("accuracy, %", "{:.4g}", 1, 100, None),
        "transfer_gain": ("transfer, points", "{:+.3g}", 1, 100, None),
        "images_per_second": ("speed, images/s", "{:,.0f}", 1, 1, None), "peak_memory": ("memory, GB", "{:.3g}", -1, 1e-9, 0.0),
        "dead": ("dead units, %", "{:.3g}", -1, 100, 0.0),
    }  # fmt: skip
    if not any(g["facts"]["test_accuracy"]["n"] for g in told):
        wanted = {"validation_accuracy": wanted.pop("test_accuracy"), **wanted}
    axes, columns, absent = [], [], []
    for fact, (name, text, better, scale, floor) in wanted.items():
        values = [None if (mean := g["facts"][fact]["mean"]) is None else scale * mean for g in told]
        if any(v is not None for v in values):
            axes.append(charts.around(name, values, text, better, floor, log=fact == "images_per_second"))
            columns.append(values)
        else:
            absent.append(name.partition(",")[0])
    if len(axes) < 3:
        return None, absent
    lines = {g["label"]: (colours[g["key"]], [column[i] for column in columns]) for i, g in enumerate(told)}
    return charts.radar(lines, axes), absent


def show_seeds(told: Sequence[Group], colours: Mapping[str, int]) -> None:
    """Every random seed as a mark."""
    axes = {"test_accuracy": ("%", 100), "transfer_gain": ("points", 100), "images_per_second": ("images a second", 1),
            "peak_memory": ("GB", 1e-9), "dead": ("%", 100), "validation_accuracy": ("%", 100)}  # fmt: skip
    figures = []
    for fact, (unit, scale) in axes.items():
        values = {g["label"]: (colours[g["key"]], [scale * v for v in g["facts"][fact]["values"].values()]) for g in told}
        name = MEASURES[fact][0]
        figures.append((charts.dots(charts.Panel(name, unit, values, fact == "images_per_second")), f"{name} of every seed"))
    live_charts(figures, columns=2, key="seeds", framed=True)


def show_curves(told: Sequence[Group], colours: Mapping[str, int]) -> tuple[dict, str]:
    """Validation accuracy over training, of every group's seeds."""
    lines = {}
    for g in told:
        results = [run.status()["result"] for run in g["runs"]]
        heads = [[r["readout"]] if isinstance(r, dict) and isinstance(r.get("readout"), str) else [] for r in results]
        seeds = [feed.accuracies(feed.story(run), head) for run, head in zip(g["runs"], heads, strict=True)]
        lines[g["label"]] = (colours[g["key"]], [values for values in seeds if values])
    over, spans = "epoch", [max(values) for _, seeds in lines.values() for values in seeds]
    if spans and max(spans) > 3 * max(1, min(spans)):  # by epochs, the shorter runs would be blots
        over = "share of its training"
        for name, (slot, seeds) in lines.items():
            lines[name] = (slot, [{x / (max(values) or 1): y for x, y in values.items()} for values in seeds])
    return charts.curves(lines, over), f"validation accuracy of {len(told)} groups over training"


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


PROPERTIES = {
    "Learning is local": "no loss reaches beyond its own layer",
    "No weight transport": "nothing comes back through the weights of the way up",
    "One phase": "an image is taken in once per step",
    "No negatives": "nothing has to be made up that is not in the world",
    "No label at the input": "the net sees the image alone",
    "No class labels for the layers": "they learn without being told what they see",
    "Read in one pass": "no trying on of every label",
}


def properties(item: Mapping[str, Any], run: Run, strategies: Mapping[str, dict]) -> dict[str, tuple[str, str]]:
    """{property: (yes, no, in part, idle or open; why)} from a model's facts and a run's settings. No score is made of it."""
    wires, local, negatives = [tuple(wire) for wire in item["wiring"]], item["is_local"], item["uses_negatives"]
    labelled = bool(run.config.get("labelled"))
    if local and not negatives and not item["traces"]:  # nothing to learn with
        return dict.fromkeys(PROPERTIES, ("idle", "its layers do not learn")) | {"Read in one pass": one_pass(run)}
    strategy = strategies.get((run.config.get("negatives") or {}).get("name", ""), {})
    relaxes = any("relax" in what for *_, what in wires)
    inside = sorted({start for start, end, what in wires if end == "layer" and "error" in what})
    heard = sorted({what for start, end, what in wires if end.endswith("layer") and start in ABOVE} - {"relaxes"})
    if not local:
        transport = ("no", "the error comes down through the very weights that the signal went up by")
    elif relaxes:
        transport = ("no", "activities relax down one energy, whose slope takes the forward weights backwards")
    elif inside:
        transport = ("in part", f"none between layers; within one, an error comes back from {', '.join(inside)}")
    else:
        transport = ("yes", "no error travels between layers")
    if negatives:
        phases = ("no", "every image comes twice, as a positive and as a negative" + relaxes * ", and activities relax first")
    elif any("second view" in wire for wire in wires):
        phases = ("no", "two views of every image")
    else:
        phases = ("yes", "each image is seen once a step")
    made = f"“{strategy.get('title', 'its strategy')}”, " + (
        "which takes the true label" if strategy.get("uses_labels") else "made from images alone"
    )
    entry = sorted({end for start, end, _ in wires if start == "label"})
    told = not local or (strategy.get("uses_labels", True) if negatives else item["has_goodness"])
    return {
        "Learning is local": (
            "yes",
            f"each layer's loss moves that layer alone{'; from above it hears ' * bool(heard)}{', '.join(heard)}",
        )
        if local
        else ("no", "an error from the read-out reaches the layers below"),
        "No weight transport": transport,
        "One phase": phases,
        "No negatives": ("no", made) if negatives else ("yes", "it uses none"),
        "No label at the input": ("no", f"a label is shown {'at the ' + ', '.join(entry) if entry else 'beside the image'}")
        if labelled
        else ("yes", "it is shown images alone"),
        "No class labels for the layers": ("no", "the class takes part in what they learn")
        if told
        else ("yes", "only the read-out, trained beside them, is told the classes"),
        "Read in one pass": one_pass(run),
    }


ABOVE = ("layer above", "read-out", "modulator M")


def one_pass(run: Run) -> tuple[str, str]:
    result = run.status()["result"]
    readout = result.get("readout") if isinstance(result, dict) else None
    if readout == "goodness" and run.config.get("labelled"):
        return "no", f"every one of the {len(run.config['facts'].get('classes', []))} labels is tried on"
    return ("yes", f"read out by {readout}") if isinstance(readout, str) else ("open", "the run does not say how it is read")


def show_checklist(told: Sequence[Group]) -> None:
    models = {m["name"]: m for m in catalogue.models()}
    strategies = {s["name"]: s for s in catalogue.negatives()}
    lists: dict[str, dict[str, tuple[str, str]]] = {}
    for g in told:
        if g["model"] not in models:
            continue
        mine = properties(models[g["model"]], g["runs"][0], strategies)
        alike = next(
            (name for name, other in lists.items() if other == mine and name.startswith(models[g["model"]]["title"])), None
        )
        if alike is None:
            title = models[g["model"]]["title"]
            lists[title if title not in lists else g["label"]] = mine
    st.html(charts.checklist(PROPERTIES, lists))
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


# Representations


def show_representations(told: Sequence[Group], runs: Sequence[Run]) -> None:
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
    st.code(shlex.join(["ffcore", "similarity", a, *([] if a == b else [b])]), language="bash", wrap_lines=True)


def show_similarity(told: Mapping[str, Any]) -> None:
    rows, columns = list(told["rows"]), list(told["columns"])
    figures = [
        (similarity.cka_map(told), "CKA of every layer with every other"),
        (similarity.cka_map(told, "procrustes"), "Procrustes distance of every layer to every other"),
        (similarity.diagonal(told), "CKA of layers of the same depth"),
    ]
    live_charts(figures, columns=2, key="cka", framed=True)
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


# Taking it along


def export(told: Sequence[Group], target: str | None, base: str) -> None:
    st.header("Take it along")
    out = io.StringIO()
    sheet = csv.writer(out)
    sheet.writerow(["group", "label", "seed", "run", *MEASURES])
    for g in told:
        for seed, run in zip(g["seeds"], g["runs"], strict=True):
            sheet.writerow([g["key"], g["label"], seed, run.id, *(g["facts"][f]["values"].get(seed, "") for f in MEASURES)])
    st.download_button("Numbers as CSV", out.getvalue(), "compare.csv", "text/csv", icon=":material/download:")
    line = ["ffcore", "compare", *(g["runs"][0].id for g in told)]
    line += ["--target", target] if target else []
    line += ["--baseline", next(g["runs"][0].id for g in told if g["key"] == base)]
    st.code(shlex.join(line), language="bash", wrap_lines=True)


def show(groups: dict[str, Group], runs: list[Run]) -> None:
    """The page below its title."""
    colours = choose_groups(groups)
    chosen = [groups[key] for key in colours]
    if not chosen:
        st.info("Choose two or more groups above.", icon=":material/arrow_upward:")
        return
    if len(groups) == 1:
        st.info(
            "There is one group only; train another model or other settings, and it can be compared.", icon=":material/info:"
        )
    left, right = st.columns(2)
    with left:
        base = choose_baseline(chosen)
    with right:
        target = choose_target(chosen)
    told = ffcore.headline(chosen, target=target, baseline=base)
    with widgets.told_if_broken("The numbers"):
        show_numbers(told, colours, base, target)
    with widgets.told_if_broken("The charts"):
        figure, absent = show_radar(told, colours)
        both = [show_curves(told, colours)]
        if figure:
            both.insert(0, (figure, "radar of the measures above, each axis with its own range, better outside"))
        live_charts(both, columns=2, key="headline", framed=True)
        said = "Every axis of the radar has its own range, written at its end; better is outside. Its area means nothing. "
        st.caption(
            (said if figure else "Too few measures for a radar. ") + (f"No data: {', '.join(absent)}." if absent else "")
            + " Bands of the curves: from the least to the most accurate seed."
        )  # fmt: skip
        with st.expander("Every random seed", icon=":material/casino:"):
            show_seeds(told, colours)
    with widgets.told_if_broken("The settings"):
        show_settings(told)
    st.header("What is like a brain, and what is not")
    later = st.container()
    show_claims()
    with widgets.told_if_broken("The representations"):
        show_representations(told, runs)
    with widgets.told_if_broken("The export"):
        export(told, target, base)
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

**CKA** asks whether two layers place the same images in the same relations, whatever their units: 1 is the same, 0 nothing in
common.
"""
)
