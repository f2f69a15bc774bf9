"""Embeddings: what a layer finds alike lies close; circle points and see the images."""

import csv
import io
from typing import Any

import charts
import charts.embedding as plane
import findings
import numpy as np
import own
import streamlit as st
import widgets
from components import live_chart, plotly_loader

import ffcore
from ffcore import Finding, Run, catalogue

N = 5_000  # points: what a browser draws and moves with ease
SHEET = 96  # pictures at most on the contact sheet
METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
ABOUT = {
    "pca": "PCA lays {n} images out at every epoch that is kept, which takes some seconds each.",
    "tsne": "t-SNE of {n} images takes about a minute on two cores{each}; it waits its turn behind trainings.",
    "umap": "UMAP of {n} images takes about half a minute{each}; it waits its turn behind trainings.",
}
COLOURS = {"class": "Class", "prediction": "Answer", "goodness": "Goodness", "error": "Right or wrong"}


# What is asked


def have(run: Run) -> bool:
    """Are its images on this machine, or some that come with ffcore? A page downloads nothing."""
    return ffcore.held_out_here(run) > 0


def layers_of(run: Run) -> dict[str, str]:
    told = next((v for key in ("widths", "channels") if isinstance(v := run.config["model"].get(key), list)), [])
    result = run.status()["result"]
    rows = result.get("layers") if isinstance(result, dict) and isinstance(result.get("layers"), list) else []
    depth = min(len(told) or len(rows), 64)
    return {"all": "All layers", **{str(i): f"Layer {i}" for i in range(1, depth + 1)}, "pixels": "Raw pixels"}


def sets_for(run: Run) -> dict[str, str]:
    """The run's own images, and sets of the same shape that are on this machine."""
    mine, shape = run.config["data"]["name"], run.config["facts"].get("shape")
    own_title = f"Its own: {run.config['facts'].get('data_title', mine)}"
    fits = [d for d in catalogue.datasets() if d["present"] and list(d["shape"]) == shape and d["name"] != mine]
    return {"own": own_title, **{d["name"]: d["title"] for d in fits}}


def choose(run: Run) -> dict[str, Any]:
    """The settings of the question, each in the address."""
    grid = st.columns([1, 1.3, 1.3, 1.2], gap="small")
    with grid[0]:
        layer = widgets.choose(st.selectbox, "Features of", "features", layers_of(run), "all", "embed.layer")
    with grid[1]:
        method = widgets.choose(
            st.segmented_control, "Laid out by", "method", METHODS, "pca", "embed.method", required=True, width="stretch"
        )
    with grid[2]:
        data = widgets.choose(st.selectbox, "Images", "images", sets_for(run), "own", "embed.data")
    with grid[3]:
        times = {"one": "as it is now", "kept": "through training"}
        frames = widgets.choose(st.selectbox, "The net", "net", times, "one", "embed.frames")
    few = data == "own" and not ffcore.data.present(run.config["data"]["name"], run.config.get("data_root"))
    n = min(N, ffcore.held_out_here(run)) if few else N  # those that come with ffcore
    return {"layer": layer, "method": method, "data": None if data == "own" else data, "frames": frames, "n": n}


# The answer


def answer(finding: Finding | None, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The numbers: PCA of the net as it is at once, everything else in a process of its own when it is asked for."""
    if finding is None:
        return None
    quick = asked["method"] == "pca" and asked["frames"] == "one"
    if quick and finding.state != "done" and not ffcore.read_only():
        bar = st.progress(0.0, "PCA: reading images …")
        try:
            widgets.settle_torch()
            run, settings = finding.request["runs"][0], finding.request["settings"]
            ffcore.analyse("embed", ffcore.Run(run), progress=lambda done, doing: bar.progress(done, f"{doing} …"), **settings)
        finally:
            bar.empty()
    n = f"{finding.request['settings']['n']:,}"
    each = "" if asked["frames"] == "one" else " for every epoch that is kept"
    about = ABOUT[asked["method"]].format(n=n, each=each)
    return findings.answer(finding, f"Lay out by {METHODS[asked['method']]}", about, "embed")


@st.cache_resource(max_entries=4, show_spinner=False)
def _arrays(directory: str, stamp: float, _finding: Finding) -> dict[str, np.ndarray]:
    return _finding.arrays()


def checked(told: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays, if they are whole; raises Failed for what another version, or a hand, has left there."""
    try:
        frames, n, two = arrays["xy"].shape
        whole = two == 2 and frames == len(told["epochs"]) == len(told["trustworthiness"]) and n == told["rows"] > 0
        whole = whole and len(arrays["label"]) == len(arrays["images"]) == n and arrays["prediction"].shape == (frames, n)
        whole = whole and all(arrays[key].shape == (frames, n) for key in ("goodness", "error") if key in arrays)
        whole = whole and np.isfinite(arrays["xy"]).all()
        whole = whole and 0 <= arrays["label"].min() <= arrays["label"].max() < len(told["classes"])
        whole = whole and 0 <= arrays["prediction"].min() <= arrays["prediction"].max() < len(told["answers"])
    except (KeyError, TypeError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise ffcore.Failed("the stored layout is damaged; delete it in the run's folder analyses and ask again")
    return arrays


def show(run: Run, finding: Finding, told: dict[str, Any]) -> None:
    """The picture, and beneath it the images that are circled or asked for."""
    with widgets.told_if_broken("The layout"):
        stamp = (finding.dir / "result.json").stat().st_mtime
        arrays = checked(told, _arrays(str(finding.dir), stamp, finding))
        colours = {k: v for k, v in COLOURS.items() if k in ("class", "prediction") or k in arrays}
        left, right = st.columns([1.3, 1], gap="medium", vertical_alignment="bottom")
        with left:
            colour = widgets.choose(
                st.segmented_control, "Coloured by", "colour", colours, "class", "embed.colour", required=True
            )
        with right:
            frame = choose_frame(told["epochs"])
        parts, names = parts_of(colour, told, arrays, frame)
        token = f"{finding.dir.name}.{colour}" + (f".{frame}" if colour in ("prediction", "error") else "")
        xy = arrays["xy"]
        figure = plane.scatter(
            xy[frame],
            parts,
            np.stack([xy.min((0, 1)), xy.max((0, 1))]),
            names,
            arrays["goodness"][frame] if colour == "goodness" else None,
            token,
        )
        alt = f"{told['rows']} images as points, {METHODS[told['method']]} of {words(told)}, coloured by {colour}"
        with st.container(border=True):
            picked = live_chart(figure, key="embedding", alt=alt, select=token)
        st.caption(provenance(told, arrays, frame))
        show_images(run, told, arrays, frame, plane.chosen(picked, parts))


def choose_frame(epochs: list[int]) -> int:
    """Which of the epochs, as an index; one is no choice."""
    if len(epochs) < 2:
        return 0
    names = {str(e): str(e) for e in epochs}
    epoch = widgets.choose(st.select_slider, "After epoch", "epoch", names, list(names)[-1], "embed.epoch")
    return list(names).index(epoch)


def parts_of(colour: str, told: dict, arrays: dict, frame: int) -> tuple[list[plane.Part], list[str]]:
    """The points in groups, and the names that have a colour of their own."""
    if colour == "class":
        return plane.parts_by(arrays["label"], told["classes"]), told["classes"]
    if colour == "prediction":
        return plane.parts_by(arrays["prediction"][frame], told["answers"]), told["answers"]
    if colour == "error":
        return plane.parts_by_error(arrays["error"][frame].astype(bool)), []
    return [("images", np.arange(told["rows"]))], []


def words(told: dict) -> str:
    """`layer 2`"""
    return {"all": "all layers side by side", "pixels": "the raw pixels"}.get(told["layer"], f"layer {told['layer']}")


def provenance(told: dict, arrays: dict, frame: int) -> str:
    """How the picture came about, and how far it can be trusted."""
    held, trust = told["validation"], told["trustworthiness"][frame]
    which = (
        f"{held:,} validation images"
        if held == told["rows"]
        else f"{held:,} validation and {told['rows'] - held:,} training images"
    )
    of = f"{which} of {widgets.plain(str(told.get('title', told['data'])))}"
    text = f"{of} · {words(told)}, {told['features']:,} numbers each, neutral label · "
    text += (
        f"epoch {told['epochs'][frame]} · seed {told['settings']['seed']} · computed in {widgets.duration(told['seconds'])}. "
    )
    if "error" in arrays:
        text += f"{int(arrays['error'][frame].sum()):,} of {told['rows']:,} are read wrongly. "
    else:
        text += "Its classes are others than the net's, so no answer is right or wrong. "
    if trust is None:
        return text + "In this epoch all images look the same to it: nothing is laid out."
    verdict = "high" if trust >= 0.95 else "fair" if trust >= 0.85 else "low: close does not mean alike"
    meaning = "1 if the 15 nearest in the picture are the nearest in truth, about 0.5 by chance"
    return text + f"**Trustworthiness {trust:.3f}** ({verdict}): {meaning}."


def show_images(run: Run, told: dict, arrays: dict, frame: int, circled: np.ndarray) -> None:
    """The contact sheet: what is circled, or, by keyboard, a class or the errors."""
    options = {"circled": "what I choose in the picture"}
    options |= {"errors": "all that it reads wrongly"} if "error" in arrays else {}
    options |= {f"class{i}": f"all of class {widgets.plain(str(name))}" for i, name in enumerate(told["classes"])}
    st.header("Images")
    pick = widgets.choose(st.selectbox, "Show", "show", options, "circled", "embed.show", width=320)
    errors = np.flatnonzero(arrays["error"][frame]) if "error" in arrays else np.array([], int)
    if pick == "circled" and not len(circled):
        st.caption(
            "Nothing is chosen: draw around some points, or click one. " + ("Until then, its errors:" if len(errors) else "")
        )
        some = errors
    else:
        some = (
            circled if pick == "circled" else errors if pick == "errors" else np.flatnonzero(arrays["label"] == int(pick[5:]))
        )
    if not len(some):
        st.info("No image is like that.", icon=":material/image_search:")
        return
    surest = some is errors  # how sure it was of a mistake; elsewhere, where it wavers
    if "margin" in arrays:
        some = some[np.argsort(arrays["margin"][frame][some] * (-1 if surest else 1), kind="stable")]
    shown = some[:SHEET]
    guesses = arrays["prediction"][frame] if "error" in arrays else arrays["label"]
    st.html(
        charts.contact_sheet(
            arrays["images"][shown],
            arrays["label"][shown],
            guesses[shown],
            told["classes"],
            truth=surest,
        )
    )
    st.caption(
        f"{len(shown):,} of {len(some):,}"
        + (f", the {'surest' if surest else 'least sure'} answers first" if "margin" in arrays else "")
    )
    alt = f"classes of {len(some)} images"
    live_chart(plane.label_histogram(arrays["label"][some], arrays["label"], told["classes"]), key="embed.labels", alt=alt)
    everything = np.arange(told["rows"])
    with st.container(horizontal=True):
        for label, of, name in (
            ("Download these (CSV)", np.sort(some), "selection"),
            ("Download all (CSV)", everything, "points"),
        ):
            file = f"{run.id}-{told['layer']}-{told['method']}-{name}.csv"
            st.download_button(
                label, lambda of=of: table(told, arrays, frame, of), file, "text/csv", icon=":material/download:"
            )


def table(told: dict, arrays: dict, frame: int, some: np.ndarray) -> str:
    """The points as `ffcore embed` writes them."""
    xy = arrays["xy"][frame]
    columns = {"x": xy[:, 0], "y": xy[:, 1], "label": arrays["label"]}
    columns |= {key: arrays[key][frame] for key in ("prediction", "goodness", "error") if key in arrays}
    columns["index"] = arrays["index"]
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(columns)
    rows.writerows(zip(*(column[some].tolist() for column in columns.values()), strict=True))
    return file.getvalue()


def command(run: Run, asked: dict[str, Any]) -> str:
    """The line that writes the same table."""
    words = ["ffcore embed", run.id, f"--layer {asked['layer']}", f"--method {asked['method']}"]
    words += [f"--data {asked['data']}"] if asked["data"] else []
    words += [f"--n {asked['n']}"] if asked["n"] != N else []
    if asked["frames"] == "kept" and (epoch := st.query_params.get("epoch", "")).isdigit():
        words += [f"--epoch {epoch}"]
    return " ".join([*words, "--out points.csv"])


def repeat(run: Run, asked: dict[str, Any]) -> str:
    """The lines of Python that give the points."""
    given = {key: value for key, value in asked.items() if value not in (None, "one")}
    words = "".join(f", {key}={value!r}" for key, value in given.items())
    return (
        f"import ffcore\n\nlaid = ffcore.analyse('embed', {run.id!r}{words})\n"
        "print(laid.result()['trustworthiness'], laid.arrays()['xy'].shape)  # (epochs, images, 2)"
    )


st.title("Embeddings")
st.markdown(
    "Every image is a point. Two images lie close when a layer of the net answers them alike. As the net learns, classes "
    "should part; points amid another class are what it confuses. **Circle some points, or click one, and see the images.**"
)
runs = [run for run in widgets.all_runs() if own.has_weights(run) and run.config["facts"]]
if not runs:
    widgets.empty("There is no trained net yet. It takes a minute.", "Train one", "views/train.py")
plotly_loader()
run = widgets.pick_run(runs, widgets.latest([r for r in runs if have(r)]) or runs[0])
if have(run):
    with widgets.told_if_broken("The layout"):
        asked = choose(run)
        finding = findings.find("embed", run, **asked)
        if told := answer(finding, asked):
            widgets.part("The layout", show, run, finding, told)
        widgets.ways(run, "draw", "replay", "run")
        widgets.share(command(run, asked), repeat(run, asked), "the points that you circled")
else:
    title = run.config["facts"].get("data_title", run.config["data"]["name"])
    st.info(
        f"The images of this run, {widgets.plain(str(title))}, are not on this machine, so there is nothing to lay out. "
        "Choose another run, or say where they lie: `ffcore app --data-root DIR`.",
        icon=":material/image_not_supported:",
    )

widgets.explain(
    """
**From hundreds of numbers to two.** A layer describes an image by the activity of all its units: hundreds of numbers. No
picture has so many directions, so each method gives something up.

- **PCA** turns the cloud of points so that its two widest directions fill the page. It is exact and quick, and distances mean
  something; but what differs in a third direction falls on top of each other.
- **t-SNE** keeps neighbours together. Islands are real more often than not; how large they are, how far apart, and which lies
  beside which says little.
- **UMAP** does much the same by other means. It, too, can tear one class into two islands, so look at both.

**Trustworthiness** asks of each point: are its 15 nearest in the picture among its 15 nearest in the layer's own numbers? 1 is
perfect, about 0.5 is chance. It is measured on 2,000 points drawn at random. A low value means: do not read much into who lies
beside whom.

**No cheating.** The net is shown the neutral label, 1/C in every slot, so no layer can read the class off its input. Each
image's activity is scaled to the same length, as the next layer sees it. The class colours are the truth, which the layout
never saw. Compare with *raw pixels*: what is apart there already, the net did not have to learn.

**Goodness** is the mean over the layers, under the label that the net answers. **Through training**, each epoch's layout begins
where the one before ended and is turned onto it, so that points move only because the net has changed.

**By keyboard:** the box below the picture shows a class, or all errors, without any circling. On the legend, one click hides a
group, two clicks show it alone.
"""
)
