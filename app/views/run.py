"""Run: one training with all that it left: figures, confusions, worst errors, settings; repeat it, tag it, take it along."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import charts
import feed
import numpy as np
import own
import shelf
import streamlit as st
import widgets
from charts import run as drawn
from components import live_chart, plotly_loader

import ffcore
from ffcore import Run, catalogue

T = TypeVar("T")
WORST = "worst"
SHOWN = 60  # mistakes of a cell at most


# What to do with it


def actions(run: Run, state: str) -> None:
    """Go to its other pages; repeat, tag, export, delete it."""
    kept, net = bool(run.snapshots()), own.has_weights(run)
    fits = {"live": state not in ("done", "stopped", "failed"), "replay": kept, "draw": net, "health": kept, "embeddings": net}
    with st.container(horizontal=True):
        widgets.ways(run, *(view for view, fit in fits.items() if fit))
        if group := next((g["key"] for g in ffcore.groups() if run in g["runs"]), None):
            here = {"groups": group}
            st.page_link("views/compare.py", label="Compare", icon=":material/compare_arrows:", query_params=here)
    with st.container(horizontal=True):
        repeat(run)
        shelf.export_button(run)
        if not run.bundled:
            describe(run)
            widgets.act("Delete", icon=":material/delete:", on_click=delete, args=(run,))


def delete(run: Run) -> None:
    shelf.discard([run])
    st.session_state.deleted = True


def repeat(run: Run) -> None:
    """Run this again: at once under another seed, or with settings changed on Train."""
    with st.popover("Run this again", icon=":material/replay:"):
        asked = ffcore.asked(run.config)
        seed = st.number_input("Random seed", 0, value=asked["seed"] + 1, key=f"again.{run.id}")
        st.caption(
            "The same seed repeats it bit for bit on the same machine; another one tells how much of a result is chance."
        )
        if widgets.act("Queue it now", type="primary", icon=":material/play_arrow:"):
            try:
                with st.spinner("Starting …"):
                    made = ffcore.submit(**{**asked, "seed": seed})
            except (ffcore.Refused, ffcore.Failed) as error:
                widgets.refusal(error)
            else:
                st.switch_page("views/live.py", query_params={"run": made.id})
        public = asked["data"] in ffcore.data.DATASETS
        if st.button("Change settings on Train", icon=":material/tune:", disabled=not public):
            st.switch_page("views/train.py", query_params=shelf.train_query(run, seed))
        if kept := run.kept():
            with st.container(horizontal=True, vertical_alignment="bottom"):
                epoch = st.selectbox("Weights after epoch", kept[::-1], key=f"branch.{run.id}", width=170)
                if st.button("Branch from there", icon=":material/call_split:", disabled=not public):
                    st.switch_page("views/train.py", query_params=shelf.train_query(run, seed, epoch))
        if not public:
            st.caption("Its images are a file of your own, which no address may name: queue it here.")


def describe(run: Run) -> None:
    """Tags and a note, kept in the run's directory."""
    told = run.notes()
    with st.popover("Tags and note", icon=":material/sell:"):
        known = sorted({tag for other in widgets.all_runs() for tag in other.notes()["tags"]} | set(told["tags"]))
        tags = st.multiselect("Tags", known, told["tags"], accept_new_options=True, key=f"tags.{run.id}")
        note = st.text_area("Note", told["note"], key=f"note.{run.id}", placeholder="what you tried, what you saw")
        if widgets.act("Keep", type="primary"):
            try:
                ffcore.annotate(run, tags, note)
            except (ffcore.Refused, ffcore.Failed) as error:
                widgets.refusal(error)
            else:
                st.rerun()


# What it reached


def figures(result: dict[str, Any], touches: int) -> None:
    """Accuracy by every read-out and by every layer alone."""
    small = {"border": True, "delta_color": "off", "delta_arrow": "off"}
    with st.grid(4, min_column_width=150, gap="small"):
        for name, row in result["readouts"].items():
            if row["test"] is None:
                st.metric(f"Validation, {widgets.plain(name)}", widgets.percent(row["validation"]), delta="not tested", **small)
            else:
                held = f"validation {widgets.percent(row['validation'])}"
                st.metric(f"Test accuracy, {widgets.plain(name)}", widgets.percent(row["test"]), delta=held, **small)
        for row in result["layers"]:
            if row["validation_accuracy"] is not None:
                name = f"Layer {row['layer']} alone"
                st.metric(name, widgets.percent(row["validation_accuracy"]), delta="validation", **small)
    st.caption(
        f"The {widgets.plain(result['readout'])} read-out is the one that counts. Accuracy on the test images has been "
        f"measured **{touches}×**; 64 fixed test samples are shown throughout."
    )


def confusions(run: Run, evaluation: dict[str, np.ndarray]) -> None:
    """The confusion matrix, and the errors of a cell or the worst of all."""
    classes = run.config["facts"]["classes"]
    most = drawn.largest(evaluation["confusion"])
    names = {WORST: "the worst of all"} | {f"{i}-{j}": f"{classes[i]} read as {classes[j]} ({n})" for i, j, n in most}
    left, right = st.columns([1, 1], gap="medium")
    with left.container(border=True):
        st.markdown("**Which classes it confuses** :small[test images; click a mistake to see it]")
        live_chart(
            charts.confusion(evaluation["confusion"], classes), key="confusion",
            alt=f"confusion matrix of {int(evaluation['confusion'].sum()):,} test images", click=run.id,
            on_click=lambda trace, row, column: go_cell(f"{row}-{column}", names),
        )  # fmt: skip
    with right.container(border=True):
        cell = widgets.choose(st.selectbox, "Errors", "cell", names, WORST)
        if cell == WORST:
            worst(run, evaluation, None)
        else:
            row, column = map(int, cell.split("-"))
            of_cell(run, evaluation, row, column)


def go_cell(cell: str, known: dict[str, str]) -> None:
    if cell in known:
        st.query_params["cell"] = cell
        st.session_state.cell = cell


def worst(run: Run, evaluation: dict[str, np.ndarray], cell: tuple[int, int] | None) -> None:
    """The stored errors with the largest lead of the wrong class, of one cell or of all."""
    labels, said, scores = (evaluation[f"worst_{key}"] for key in ("label", "prediction", "goodness"))
    some = [i for i in range(len(labels)) if cell in (None, (int(labels[i]), int(said[i])))]
    if not some:
        st.caption("It made no error." if cell is None else "None of its 25 worst errors is among these.")
        return
    lead = [float(scores[i, said[i]] - scores[i, labels[i]]) for i in some]
    images = evaluation.get("worst_images")
    if images is None:  # an older run remembers their places only
        images = found(run, test_images, tuple(evaluation["worst_index"].tolist()), run.config["facts"]["data_hash"])
        if isinstance(images, str):
            st.caption(images)
            images = None
    shown = None if images is None else images[some]
    st.html(drawn.gallery(shown, labels[some], said[some], run.config["facts"]["classes"], lead))
    st.caption(
        f"Class → **what it read**, and by how much the wrong one's score led: the {len(some)} test images that it was most "
        "wrong about" + (" among these." if cell else ".")
    )


def of_cell(run: Run, evaluation: dict[str, np.ndarray], row: int, column: int) -> None:
    """All errors of one kind, found by reading the test images once more; where they are not here, the stored ones."""
    told = found(run, mistakes, own.stamp(run), row, column)
    if isinstance(told, str):
        worst(run, evaluation, (row, column))
        st.caption(told)
        return
    images, lead = told
    classes = run.config["facts"]["classes"]
    st.html(drawn.gallery(images, [row] * len(images), [column] * len(images), classes, lead))
    n = int(evaluation["confusion"][row, column])
    st.caption(
        f"{len(images)} of {n} errors of this kind, the worst first, found by reading the test images once more. A run that "
        "computed in bf16 may differ by one or two."
    )


def found(run: Run, read: Callable[..., T], *asked: Any) -> T | str:
    """What `read` takes from a run's own images, or why they cannot be shown: kept only once they are there."""
    try:
        return missing(run) or read(str(run.dir), *asked)
    except (ffcore.Refused, ffcore.Failed) as error:
        return widgets.plain(f"The images cannot be shown: {error}")


@st.cache_data(max_entries=16, show_spinner="Reading the test images …")
def mistakes(directory: str, stamp: float, row: int, column: int) -> tuple[np.ndarray, list[float]]:
    """(images (n, C, H, W) uint8, the wrong class's lead in score) of one kind of error."""
    right, said, lead = readings(directory, stamp)
    some = np.flatnonzero((right == row) & (said == column))
    some = some[np.argsort(-lead[some])][:SHOWN]
    return own.net(Run(directory)).data().test.x[some].numpy(), lead[some].tolist()


@st.cache_data(max_entries=4, show_spinner=False)
def readings(directory: str, stamp: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every test image (N,): its class, what the default read-out says, and that score's lead over the class's own."""
    widgets.settle_torch()
    net = own.net(Run(directory))
    test = net.data().test
    scores = np.concatenate([net.scores(x)[net.model.readouts[0]].numpy() for x in test.x.split(1_000)])
    right = test.y.numpy()
    rows = np.arange(len(right))
    said = scores.argmax(1)
    return right, said, scores[rows, said] - scores[rows, right]


def missing(run: Run) -> str | None:
    """Why a run's own images are not to be had on this machine, in a line."""
    config, title = run.config, widgets.plain(run.config["facts"]["data_title"])
    name, public = config["data"]["name"], config["data"]["name"] in ffcore.data.DATASETS
    if not (ffcore.data.present(name, config["data_root"]) if public else Path(name).suffix == ".npz" and Path(name).is_file()):
        return f"The images are not in this machine's data folder ({title}), so they cannot be shown."
    return None


@st.cache_data(max_entries=32, ttl=600, show_spinner=False)
def test_images(directory: str, index: tuple[int, ...], data_hash: str) -> np.ndarray:
    """These test images of a run's own data, (n, C, H, W) uint8; raises Refused where the folder holds others."""
    run = Run(directory)
    widgets.settle_torch()
    data = ffcore.data.load(ffcore.data.DataSettings(**run.config["data"]), run.config["data_root"])
    if data.hash != data_hash:
        title = run.config["facts"]["data_title"]
        raise ffcore.Refused(f"the {title} in this machine's data folder is not what this run was tested on")
    return data.test.x[list(index)].numpy()


# How it was made


def settings(run: Run) -> None:
    """What was set otherwise than a bare `ffcore train` of this model sets it."""
    rows = unusual(run)
    st.subheader("Settings that differ from the defaults")
    if rows:
        st.dataframe(rows, hide_index=True, height="content", alt="settings that differ from the defaults")
        st.download_button("Settings as JSON", json.dumps(run.config, indent=1), f"{run.id}.json", icon=":material/download:")
    else:
        st.caption("None: it is the default of its model.")


def unusual(run: Run) -> list[dict[str, str]]:
    """[{setting, here, default}]; what the library works out by itself, like the batch size, counts where it was given."""
    config, asked = run.config, ffcore.asked(run.config)
    plain = {key: asked[key] for key in ("model", "negatives", "data", "data_root") if key in asked}
    try:
        base = ffcore.configure(**plain)
    except ffcore.Refused:  # a failure kept for study, which only its preset makes
        base = ffcore.configure(**plain, preset=asked.get("preset"))
    told = []
    for part in ("model", "negatives", "data", "train"):
        for key, value in (config.get(part) or {}).items():
            default = (base.get(part) or {}).get(key, value)
            automatic = default in (None, "auto") and f"{part}.{key}" not in (config.get("given") or {})
            if value != default and not automatic:
                told.append({"setting": f"{part}.{key}", "here": words(value), "default": words(default)})
    return told


def words(value: Any) -> str:
    return "automatic" if value is None else json.dumps(value) if isinstance(value, bool | list | dict) else str(value)


def heading(run: Run, status: dict[str, Any]) -> None:
    notes = run.notes()
    tags = " ".join(f":gray-badge[:material/sell: {widgets.plain(tag)}]" for tag in notes["tags"])
    place = ":gray-badge[bundled]" if run.bundled else ""
    st.markdown(f"{widgets.badge(status['state'])} {place} {tags} :gray[{run.id}]")
    if notes["note"]:
        st.markdown(f"> {widgets.plain(notes['note'])}".replace("\n", "\n> "))
    if status["reason"]:
        (st.error if status["state"] in ("failed", "lost") else st.info)(widgets.plain(status["reason"]))
    made = f"Made {widgets.when(run)}, {status['epoch']:g} of {status['epochs']} epochs in "
    st.caption(f"{made}{widgets.duration(status['train_seconds'])} of training, {run.size_bytes() / 1e6:.1f} MB on disk.")


def show(run: Run, status: dict[str, Any]) -> None:
    """The page below the buttons."""
    result, evaluation, epochs = status["result"], feed.evaluation(run), run.snapshots()
    if why := feed.damage(run):
        st.warning(f"Not all of this run can be shown: {widgets.plain(why)}", icon=":material/broken_image:")
    if result:
        with widgets.told_if_broken("The figures"):
            figures(result, status["test_touches"])
    else:
        st.info("It has no result yet: figures come when it ends.", icon=":material/hourglass_empty:")
    if evaluation:
        with widgets.told_if_broken("The confusions"):
            confusions(run, evaluation)
    elif status["state"] == "done":
        st.caption("It was not tested (`--no-test`, or an older version), so there are no confusions and no errors to show.")
    left, right = st.columns(2, gap="medium")
    fields = ((feed.snapshot(run, epochs[-1]) if epochs else None) or {}).get("fields")
    if fields is not None:
        with left.container(border=True):
            st.markdown("**What units of layer 1 look for** :small[incoming weights: blue excites, vermilion calms]")
            st.html(charts.fields(fields))
    with right:
        later = st.container()
    card = st.expander("The card of this run", icon=":material/badge:")
    shelf.log(run, 200)
    with later.skeleton(height=200):  # the catalogue comes with torch, which takes seconds: the rest stands by then
        widgets.settle_torch()
        catalogue.models()
    with later, widgets.told_if_broken("The settings"):
        settings(run)
    with card, widgets.told_if_broken("The card"):
        st.markdown(re.sub("(?m)^#", "###", ffcore.card(run)))


def python_for(run: Run) -> str:
    lines: Sequence[str] = (
        "import ffcore", f"run = ffcore.load({run.id!r})", 'print(run.status()["result"]["readouts"])',
        'print(run.evaluation()["confusion"])', f"# again: ffcore.train(**{ffcore.asked(run.config)!r})",
    )  # fmt: skip
    return "\n".join(lines)


if st.session_state.pop("deleted", False):
    st.switch_page("views/runs.py")  # which tells it, with a way back
runs = widgets.all_runs()
st.title("Run")
if not runs:
    widgets.empty("No run has been started yet.", "Start one", "views/train.py")
plotly_loader()
done = [r for r in runs if r.state == "done"]
chosen = widgets.pick_run(runs, widgets.latest(done or runs) or runs[0])
now = chosen.status()
with widgets.told_if_broken("The heading"):
    heading(chosen, now)
with widgets.told_if_broken("The actions"):
    actions(chosen, now["state"])
show(chosen, now)
widgets.share(f"ffcore runs show {chosen.id}", python_for(chosen))
widgets.explain(
    """
A **run** is one training: a directory with its settings, its events, a snapshot per epoch and its weights. This page shows what
came of it.

**Read-outs** are ways to ask the trained layers for an answer. *Goodness* tries on every label and takes the one that excites
the layers most; *softmax* is a small classifier trained beside the layers, which moves none of them. **A layer alone** answers
by its own goodness only.

**Validation and test.** Validation images are held out of training and looked at after every epoch. Test images are read once,
at the end, so that nothing was chosen to please them; the page counts how often that happened.

**The confusion matrix** has a row per true class and a column per answer. Right answers are bold, on the diagonal; colour marks
mistakes. A 4 read as 9 is a different mistake from a 9 read as 4.

**The worst errors** are those where the wrong class led the right one by most. Some are the net's fault; some digits are so
written that people disagree.
"""
)
