"""Generations: what a net makes itself. PFF's samples beside their nearest training images; what layers of others like best."""

import csv
import io
import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import findings
import numpy as np
import own
import streamlit as st
import widgets
from charts import generations as figures
from charts.generations import Tile
from components import live_chart, plotly_loader

import ffcore
from ffcore import Finding, Run, data

VIEWS = {
    "samples": "Samples",
    "steps": "Reconstructions",
    "interpolation": "Between two images",
    "epochs": "Over the epochs",
    "ascent": "What a layer likes",
}
N = 1_000  # samples that are judged and measured
ACROSS = 6  # samples of a class that are shown
PER_CLASS = 12  # that are followed over the epochs
MOST = 999_999


def generates(run: Run) -> bool:
    """Does its model draw images from latents?"""
    return "latent" in run.config["model"]


def choose_run(runs: list[Run]) -> Run:
    """A run with a net: those that generate first."""
    able = sorted((r for r in runs if own.has_weights(r)), key=lambda r: not generates(r))
    whole = [r for r in able if r.state in ("done", "stopped")] or able
    return widgets.pick_run(able, whole[0])


def judges(run: Run) -> dict[str, Run]:
    """Other nets that were trained on such images, the best on its validation images first; of a bundled net, that come with
    ffcore as it does: they are answered for."""

    def right(other: Run) -> float:
        told = (other.status()["result"] or {}).get("validation_accuracy")
        return told if isinstance(told, float) else -1.0

    facts = run.config["facts"]
    fit = [r for r in widgets.all_runs() if r != run and own.has_weights(r) and right(r) >= 0]
    fit = [r for r in fit if all(r.config["facts"].get(key) == facts.get(key) for key in ("shape", "classes", "data_title"))]
    return {r.id: r for r in sorted(fit, key=lambda r: (run.bundled and not r.bundled, -right(r)))}


def choose_judge(run: Run) -> Run | None:
    fit = judges(run)
    if not fit:
        return None
    shown = {r.id: f"{r.title()} · {widgets.percent(r.status()['result']['test_accuracy'])}" for r in fit.values()}
    about = "An independent net that says what it reads in the samples. The percentage is its accuracy on test images."
    return fit[widgets.choose(st.selectbox, "Read by", "judge", shown, next(iter(fit)), help=about)]


def settings_line(*kinds: str, classes: Sequence[str]) -> dict[str, Any]:
    """Widgets for settings that live in the address; returns {name: value}."""
    told: dict[str, Any] = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if "label" in kinds:
            shown = {
                "each": "each class",
                **{str(c): name for c, name in enumerate(classes)},
                "any": "as frequent as in training",
            }
            picked = widgets.choose(st.selectbox, "Class", "label", shown, "each", width=180)
            told["label"] = None if picked == "each" else picked if picked == "any" else int(picked)
        if "components" in kinds:
            hint = "Gaussians that make up the mixture of a class's latents. By itself: what suits validation latents best"
            shown = {"auto": "by itself", **{str(k): str(k) for k in (1, 2, 3, 5, 8, 12, 20)}}
            picked = widgets.choose(st.selectbox, "Components", "components", shown, "auto", width=150, help=hint)
            told["components"] = None if picked == "auto" else int(picked)
        if "seed" in kinds:
            told["seed"] = number("Random seed", "seed", 0, MOST, 0, "the same seed draws the same images")
    return told


def number(label: str, key: str, low: int, high: int, default: int, hint: str | None = None) -> int:
    """A number input that lives in the address."""
    st.session_state.setdefault(key, widgets.asked_number(key, low, high, default))
    value = st.number_input(label, low, high, key=key, width=max(130, 8 * len(label)), help=hint)
    widgets.put(key, value, default)
    return value


def answer(run: Run, *judge: Run, about: str, **settings: Any) -> tuple[Finding, dict, dict] | None:
    """(finding, numbers, arrays) of a question, asked at once where that needs no download; or how far it is."""
    try:
        finding = ffcore.find_analysis("generate", run, *judge, **settings)
    except ffcore.Refused as error:
        st.info(widgets.plain(error), icon=":material/info:")
        return None
    held_out = settings["what"] in ("steps", "interpolation") and ffcore.held_out_here(run)
    here = settings["what"] == "ascent" or held_out or data.present(run.config["data"]["name"], run.config["data_root"])
    asked = st.session_state.setdefault("generations_asked", set())
    if here and not ffcore.read_only() and finding.state == "absent" and finding.dir not in asked:
        asked.add(finding.dir)
        try:
            ffcore.submit_analysis(finding)
        except (ffcore.Refused, ffcore.Failed) as error:
            widgets.refusal(error)
            return None
    told = findings.answer(finding, "Make them", about, f"generate.{settings['what']}")
    if told is None:
        repeat(run, judge[0] if judge else None, settings)
        return None
    return finding, told, finding.arrays()


def given_of(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if v is not None}


def repeat(run: Run, judge: Run | None, settings: dict[str, Any]) -> None:
    """The command and the lines of Python that make the same images."""
    given, what = given_of(settings), settings["what"]
    named = {"what", "label", "n", "seed", "components", "layer", "epoch"}
    words = ["ffcore", "generate", run.id]
    for key, value in given.items():
        words += [f"--{key}", str(value)] if key in named else ["--set", f"{key}={value}"]
    words += ["--judge", judge.id] if judge else []
    asked = {**given, **({"judge": judge.id} if judge else {})}
    keywords = "".join(f", {key}={value!r}" for key, value in asked.items())
    widgets.share(
        shlex.join([*words, "--out", f"{what}.png"]),
        f"import ffcore\n\ntold = ffcore.generate({run.id!r}, '{what}.npz'{keywords})  # x, the images, and y\nprint(told)",
    )


def export(run: Run, judge: Run | None, what: str, rows: Callable[[], list[dict]], settings: dict[str, Any]) -> None:
    """The images as a picture and as arrays, the numbers as a table; and how to make them again."""
    settings = {"what": what, **settings}

    def file(kind: str) -> Callable[[], bytes]:
        def made() -> bytes:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{what}.{kind}"
                ffcore.generate(run, path, judge=judge, **given_of(settings))
                return path.read_bytes()

        return made

    def table() -> bytes:
        text, lines = io.StringIO(), rows()
        writer = csv.DictWriter(text, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
        return text.getvalue().encode()

    with st.expander("Export", icon=":material/download:"):
        with st.container(horizontal=True):
            kinds = (
                ("PNG", file("png"), "image/png"),
                ("NPZ", file("npz"), "application/octet-stream"),
                ("CSV", table, "text/csv"),
            )
            for kind, made, mime in kinds:
                name = f"{what}-{run.id}.{kind.lower()}"
                st.download_button(kind, made, name, mime, key=f"export.{kind}", on_click="ignore")
        st.caption("PNG: the images as a grid. NPZ: `x` in [0, 1] and `y`. CSV: the numbers.")
    repeat(run, judge, settings)


def named(classes: Sequence[str], index: Any) -> str:
    return str(classes[int(index)])


# Samples


def show_samples(run: Run, classes: list[str]) -> None:
    judge = choose_judge(run)
    settings = {"n": N, **settings_line("label", "components", "seed", classes=classes)}
    about = f"Fits the latents of each class, draws {N:,} images and looks for their nearest training images: some 20 s."
    got = answer(run, *([judge] if judge else []), what="samples", about=about, **settings)
    if got is None:
        return
    _, told, a = got
    tell_samples(told, a, judge, classes)
    tiles: dict[str, list[Tile]] = {}
    single = settings["label"] not in (None, "any")
    for c in np.unique(a["y"]):
        mine = np.flatnonzero(a["y"] == c)[: 6 * ACROSS if single else ACROSS]
        cells = [sample_tile(a, i, classes) for i in mine]
        for start in range(0, len(cells), ACROSS):
            tiles[f"{classes[c]}" if not start else " " * (start // ACROSS)] = cells[start : start + ACROSS]
    st.html(figures.rows(tiles, 150))
    st.caption(
        "Left of each pair: the sample. Right: the training image nearest to it. Orange frames: not read as intended. "
        f"Shown are the first of {len(a['y']):,} samples, not chosen ones."
    )
    st.header("Are they copies?")
    live_chart(figures.distances(distances_of(a)), key="distances", alt="histograms of distances to the nearest training image")
    tell_copies(told)
    export(run, judge, "samples", lambda: sample_rows(a, classes), settings)


def sample_tile(a: dict, i: int, classes: list[str]) -> Tile:
    is_a, read = named(classes, a["y"][i]), named(classes, a["read"][i])
    near = f"nearest training image: a {named(classes, a['neighbour_y'][i])}, {a['distances'][i]:.1f} away"
    return Tile([a["images"][i], a["neighbours"][i]], "", f"sample of {is_a}, read as {read}; {near}", is_a != read)


def distances_of(a: dict) -> dict[str, np.ndarray]:
    keys = zip(figures.KINDS, ("distances", "held_out_distances", "reconstructed_distances"), strict=True)
    return {name: a[key] for name, key in keys if key in a}


def tell_samples(told: dict, a: dict, judge: Run | None, classes: list[str]) -> None:
    """How many samples are read as intended, by whom, and where that goes worst."""
    if judge:
        right = widgets.percent(told["judge_test_accuracy"])
        who = f"an independent net, {widgets.plain(judge.title())}, which reads {right} of the real test images right"
    else:
        who = "the net itself, as no other net was trained on these images"
    found = [(share, c) for c, share in enumerate(told["judged_by_class"]) if share is not None]
    worst, c = min(found)
    st.markdown(f"**{told['judged']:.1%}** of {len(a['y']):,} samples are read as intended by {who}.")
    line = f"Least often: {widgets.plain(classes[c])}, {worst:.0%}. " if len(found) > 1 else ""
    line += f"Each class is a mixture of {told['components']} Gaussian{'s' * (told['components'] > 1)}. "
    if told["variety"]["sample"] and told["variety"]["held_out"]:
        ratio = told["variety"]["sample"] / told["variety"]["held_out"]
        line += f"Two samples of a class differ {ratio:.0%} as much as two real images of a class. "
    if told["log_likelihood"] is not None:
        tried = ", ".join(f"{k}: {value:.1f}" for k, value in told["tried"].items())
        line += f"Log-likelihood of validation latents by components, higher is better: {tried}."
    st.caption(line)


def tell_copies(told: dict) -> None:
    copies = told["copies"]
    text = f"The median sample lies **{copies['sample']:.2f}** from its nearest of {told['training_images']:,} training images"
    if copies["held_out"] is not None:
        text += f", a held-out real image {copies['held_out']:.2f}, and its reconstruction {copies['reconstructed']:.2f}"
    st.markdown(text + ".")
    if copies["held_out"] is not None:
        st.caption(
            f"Copies would pile up near 0. {copies['nearer_than_held_out']:.1%} of the samples are nearer to a training image "
            f"than the nearest 1% of {copies['images']:,} held-out images, and {copies['nearer_than_reconstructed']:.1%} "
            "nearer than the nearest 1% of their reconstructions, which are as blurred as samples are; chance gives about 1%. "
            "Euclidean distance of pixels in [0, 1]."
        )


def sample_rows(a: dict, classes: list[str]) -> list[dict]:
    return [
        {
            "sample": i, "class": named(classes, a["y"][i]), "read": named(classes, a["read"][i]),
            "distance": float(a["distances"][i]), "neighbour": int(a["neighbour_index"][i]),
            "neighbour_class": named(classes, a["neighbour_y"][i]),
        }
        for i in range(len(a["y"]))
    ]  # fmt: skip


# Reconstructions, step by step


def show_steps(run: Run, classes: list[str]) -> None:
    settings = {"n": 100, **settings_line("label", classes=classes)}
    got = answer(run, what="steps", about="Settles on 100 validation images and decodes every step: some 5 s.", **settings)
    if got is None:
        return
    _, told, a = got
    st.fragment(scrub_steps)(told, a, classes)
    export(run, None, "steps", lambda: step_rows(a, classes), settings)


def scrub_steps(told: dict, a: dict, classes: list[str]) -> None:
    """One inference step: what the latent decodes to then, above it the image it is about."""
    last, shown = len(told["error"]) - 1, min(10, len(a["y"]))
    step = scrubber("Inference step", "step", list(range(last + 1)), last)
    name = "before the first step" if step == 0 else f"after step {step} of {last}"
    originals = [Tile([a["originals"][i]], "", f"validation image, a {named(classes, a['y'][i])}") for i in range(shown)]
    again = [
        Tile(
            [a["images"][step, i]],
            f"{a['errors'][step, i]:.3f}",
            f"reconstruction {name}, error {a['errors'][step, i]:.3f}, read as {named(classes, a['read'][step, i])}",
        )
        for i in range(shown)
    ]
    st.html(figures.rows({"image": originals, "again": again}, 92))
    mean, level = told["error"][step], told["mean_image_error"]
    better = f"{1 - mean / level:.0%} less than" if mean < level else "no less than"
    st.markdown(
        f"{name.capitalize()} the mean squared error of {len(a['y'])} images is **{mean:.4f}** per pixel, {better} that of "
        f"the mean training image ({level:.4f}). Over all steps it goes from {told['error'][0]:.4f} to {told['error'][-1]:.4f}."
    )
    st.caption(
        "Beneath each image its own error. The net is not told the class. The latent moves by "
        + ", ".join(f"{moved:.2f}" for moved in told["moved"][1:])
        + f" from step to step; the net was trained with {told['trained_steps']} steps."
    )
    live_chart(figures.errors(told["error"], level, step), key="errors", alt="squared error per pixel over inference steps")


def step_rows(a: dict, classes: list[str]) -> list[dict]:
    return [
        {"image": int(a["index"][i]), "class": named(classes, a["y"][i]), "step": s, "error": float(a["errors"][s, i])}
        for i in range(len(a["y"]))
        for s in range(len(a["errors"]))
    ]


def scrubber(label: str, key: str, options: list[int], default: int) -> int:
    """A slider over whole numbers, in the address as `?key=`; one alone needs none."""
    if len(options) < 2:
        return options[0]
    names = {str(option): str(option) for option in options}
    return int(widgets.choose(st.select_slider, label, key, names, str(default), f"scrub.{key}"))


# Between two images


def show_interpolation(run: Run, classes: list[str]) -> None:
    most = max(run.config["facts"]["sizes"].get("validation", 1), 1)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = number("From validation image no.", "first", 1, most, 1)
        second = number("to validation image no.", "second", 1, most, min(2, most))
    settings = {"first": first, "second": second}
    got = answer(run, what="interpolation", about="Goes from one image's latent to the other's: some 5 s.", **settings)
    if got is None:
        return
    _, _, a = got
    n = len(a["images"])
    cells = [
        Tile(
            [a["images"][i]],
            named(classes, a["read"][i]),
            f"{i / (n - 1):.0%} of the way, read as {named(classes, a['read'][i])}",
        )
        for i in range(n)
    ]
    ends = [Tile([a["originals"][i]], named(classes, a["y"][i]), f"a {named(classes, a['y'][i])}") for i in (0, 1)]
    st.html(figures.rows({"images": [ends[0], *[Tile()] * (n - 2), ends[1]], "latents": cells}, 100))
    st.markdown(
        "**An interpolation, not class-conditional generation:** equal steps on the straight line between the latents of two "
        "real images. No class is asked for on the way; beneath each image stands what the net reads in it."
    )
    export(
        run, None, "interpolation",
        lambda: [{"share": i / (n - 1), "read": named(classes, a["read"][i])} for i in range(n)], settings,
    )  # fmt: skip


# Over the epochs


def show_epochs(run: Run, classes: list[str]) -> None:
    settings = {"n": PER_CLASS * len(classes), **settings_line("label", "seed", classes=classes)}
    got = answer(run, what="epochs", about="Draws the same from the net of every kept epoch: some 5 s.", **settings)
    if got is None:
        return
    _, told, a = got
    st.fragment(scrub_epochs)(told, a, classes)
    export(run, None, "epochs", lambda: epoch_rows(told, a, classes), settings)


def scrub_epochs(told: dict, a: dict, classes: list[str]) -> None:
    """What the same random draws become after one of the kept epochs."""
    epochs = told["epochs"]
    epoch = scrubber("Epoch", "epoch", epochs, epochs[-1])
    at = epochs.index(epoch)
    tiles = {}
    for c in np.unique(a["y"]):
        mine = np.flatnonzero(a["y"] == c)
        for start in range(0, len(mine), PER_CLASS):
            cells = [
                Tile(
                    [a["images"][at, i]],
                    "",
                    f"sample of {named(classes, c)} after epoch {epoch}, read as {named(classes, a['read'][at, i])}",
                    a["read"][at, i] != c,
                )
                for i in mine[start : start + PER_CLASS]
            ]
            tiles[classes[c] if not start else " " * (start // PER_CLASS)] = cells
    right = (a["read"] == a["y"]).mean(1)
    st.html(figures.rows(tiles, 84))
    st.markdown(
        f"After epoch {epoch} the finished net reads **{right[at]:.0%}** of these {len(a['y'])} samples as intended: "
        + ", ".join(f"{share:.0%} (epoch {e})" for e, share in zip(epochs, right, strict=True))
        + "."
    )
    st.caption(
        "The same random numbers at every epoch, through the Gaussian of each class that the net had then. Epoch 0 has seen no "
        "image and knows no latents. Early nets are kept in half precision."
    )


def epoch_rows(told: dict, a: dict, classes: list[str]) -> list[dict]:
    return [
        {"epoch": e, "sample": i, "class": named(classes, a["y"][i]), "read": named(classes, a["read"][at, i])}
        for at, e in enumerate(told["epochs"])
        for i in range(len(a["y"]))
    ]


# What a layer likes


def show_ascent(run: Run, classes: list[str]) -> None:
    by_goodness = widgets.by_goodness(run)
    of = "goodness" if by_goodness else "score"
    aims = {"contrast": "this label against the others", "plain": "this label alone"}
    starts = {"noise": "noise", "mean": "the mean image"}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        aim = widgets.choose(st.segmented_control, f"Climb in {of} of", "aim", aims, "contrast", required=True)
        start = widgets.choose(st.segmented_control, "Start from", "start", starts, "noise", required=True)
        seed = number("Random seed", "seed", 0, MOST, 0, "of the noise and of the jitter")
    settings = {"n": len(classes), "seed": seed, "of": of, "aim": aim, "start": start}
    settings |= {"layer": "each"} if by_goodness else {}
    got = answer(run, what="ascent", about="Climbs 100 steps for every class and layer: some 20 s.", **settings)
    if got is None:
        return
    _, told, a = got
    tiles = {}
    for b, block in enumerate(told["blocks"]):
        tiles[block] = [
            Tile(
                [a["images"][b, i]],
                f"{'' if a['read'][b, i] == c else '✗ '}{named(classes, a['read'][b, i])}",
                f"what {block} likes best as {named(classes, c)}; the net reads {named(classes, a['read'][b, i])}",
                a["read"][b, i] != c,
            )
            for i, c in enumerate(a["y"])
        ]
    tell_ascent(told, a, of)
    st.html(figures.rows(tiles, 92, [named(classes, c) for c in a["y"]]))
    alone = (
        "A layer alone may like what the whole reads otherwise, and to lead the other labels' mean is not to lead each of them."
    )
    st.caption(
        "A column for each class. Beneath an image: what the whole net reads in it; ✗ and an orange frame: another class. "
        + alone * (len(told["blocks"]) > 1)
    )
    blocks = {str(i): block for i, block in enumerate(told["blocks"])}
    chosen = next(iter(blocks))
    if len(blocks) > 1:
        chosen = widgets.choose(st.segmented_control, "Numbers of", "layer", blocks, str(len(blocks) - 1), required=True)
    st.dataframe(ascent_rows(told, classes, blocks[chosen]), hide_index=True, width="stretch")
    st.caption(
        f"The climb's aim, {of} under the label{' less the mean of the others' if aim == 'contrast' else ''}: of the start, of "
        f"the result, and of real images of the class (mean over the run's {told['compared']} sample images)."
    )
    export(run, None, "ascent", lambda: ascent_rows(told, classes), settings)


def tell_ascent(told: dict, a: dict, of: str) -> None:
    """What the numbers say about such images."""
    above = [row["after"] / row["real"] for row in told["rows"] if row["real"] and row["real"] > 0]
    read = (a["read"] == a["y"]).mean()
    text = f"The net reads **{read:.0%}** of these images as the class they were made for"
    if above:
        text += f". Their {of} is **{np.median(above):.1f} times** that of real images of the class (median)"
    st.markdown(f"{text}.")
    if above and np.median(above) > 1.5:
        st.caption(
            "So these are **adversarial images rather than digits**: real images have, on average, much less "
            f"{of}. They show which pixels argue for a label and which against, not what the net would draw."
        )


def ascent_rows(told: dict, classes: list[str], block: str | None = None) -> list[dict]:
    return [
        {
            **({} if block else {"climbed": row["block"]}), "class": named(classes, row["label"]),
            "start": _short(row["before"]), "result": _short(row["after"]), "real images": _short(row["real"]),
            "the net reads": named(classes, row["read"]),
        }
        for row in told["rows"]
        if block in (None, row["block"])
    ]  # fmt: skip


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def no_generator() -> None:
    """No run of PFF: one action."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.markdown("**No net that generates images has been trained here yet.**", text_alignment="center")
        if st.button("Train one: Predictive Forward-Forward", type="primary", icon=":material/arrow_forward:"):
            st.switch_page("views/train.py", query_params={"model": "pff"})
        st.caption("Three epochs on MNIST make digits that others read.", text_alignment="center")
        st.space("small")


SHOW = {
    "samples": show_samples,
    "steps": show_steps,
    "interpolation": show_interpolation,
    "epochs": show_epochs,
    "ascent": show_ascent,
}

st.title("Generations")
st.markdown(
    "What a net makes by itself. *Predictive Forward-Forward* draws images from latents of its own. Of any other net one can "
    "ask which image a layer likes best."
)
runs = widgets.all_runs()
if not any(generates(r) and own.has_weights(r) for r in runs):
    no_generator()
if any(own.has_weights(r) for r in runs):
    plotly_loader()
    run = choose_run(runs)
    classes = [str(c) for c in run.config["facts"].get("classes", ())]
    if generates(run):
        view = widgets.choose(st.segmented_control, "Show", "show", VIEWS, "samples", required=True)
    else:
        view = "ascent"
        if st.query_params.get("show") not in (None, "ascent"):
            st.info(f"{widgets.plain(run.config['model']['name'])} draws no images; here is what its layers like best.")
        st.query_params.pop("show", None)
        st.header("What a layer likes" if widgets.by_goodness(run) else "What the net likes")
    with widgets.told_if_broken("This view"):
        SHOW[view](run, classes)

widgets.explain(
    """
**Latents.** PFF has two circuits. One settles on an image in a few inference steps; the other learns to predict, layer by
layer, what has settled below, down to the pixels. It starts from a *latent*, 20 numbers that best predict the top layer.

**Samples.** The latents of the training images of a class form a cloud. A mixture of Gaussians is fitted to it; a new latent is
drawn and decoded. So the class is asked for *before* the image is made: class-conditional generation. An independent net reads
the result, since the net that made an image is no honest judge of it.

**Copies.** A net could simply remember training images. Each sample therefore stands beside the nearest one, and the distances
are compared with those of real images that the net has never learnt from. Blurred images lie closer to everything, so the
reconstructions of those images, as blurred as samples, are the fairer comparison.

**Interpolation** is something else: it shows that the space between two latents is filled, not that a class can be asked for.

**What a layer likes.** Start from noise, and change the pixels uphill in a layer's goodness under a label, less the mean under
the other labels. Without that subtraction all labels give nearly the same picture: what the layer likes in general. The image's
length is held at that of a real one, as a net that normalises its input hears the label the louder, the darker the image. Total
variation is held down a little, so that strokes and not single pixels appear.
"""
)
