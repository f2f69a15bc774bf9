"""An image of the reader's own, read by a trained net: goodness per label and layer, or scores where there is none."""

from typing import TYPE_CHECKING

import charts
import feed
import numpy as np
import streamlit as st
import widgets

import ffcore
from ffcore import Run

if TYPE_CHECKING:  # torch is loaded when there is something to read
    from torch import Tensor

    from ffcore import Trained


def has_weights(run: Run) -> bool:
    """Is there a net to ask?"""
    return any((run.dir / name).exists() for name in ("weights.safetensors", "state.safetensors"))


def box(run: Run) -> None:
    """The folded part of a page that takes an image. Torch and the net are loaded when there is one."""
    folded = st.expander("Try your own image", icon=":material/image:", on_change="rerun", key="own_image")
    if not folded.open:
        return
    with folded:
        if not has_weights(run):
            st.info("This run has no weights yet; wait for its first epoch.")
            return
        try:
            image = upload(run)
            if image is not None:
                show(run, image)
        except (ffcore.Refused, ffcore.Failed) as error:
            st.error(str(error), icon=":material/block:")


def upload(run: Run, by_mass: bool | None = None) -> "Tensor | None":
    """A file of the reader's as a run's net takes it, (1, C, H, W) uint8; None before there is one, or a bad one is told.

    `by_mass`: it is a drawing, and placed as in `strokes.suited`; None: it is only resized.
    """
    file = st.file_uploader(
        "A picture of one digit or object, like those above",
        type=["png", "jpg", "jpeg", "bmp", "gif", "webp"],
        help="It is resized to what the net takes. MNIST's digits are white on black and fill the middle.",
        key="own_file",
    )
    if not file:
        return None
    try:
        with st.spinner("Reading …"):
            widgets.settle_torch()
            shape = tuple(run.config["facts"]["shape"])
            image = ffcore.data.read_image(file.getvalue(), shape, by_mass)
    except ffcore.Refused as error:
        st.error(f"{file.name}: {error}", icon=":material/block:")
        return None
    if by_mass is not None:
        return image
    usual = feed.samples(run)
    odd = usual is not None and _is_light(image.numpy()) != _is_light(usual["images"])
    help = "so that ink and paper are as in the training images"
    return 255 - image if st.toggle("Swap light and dark", odd, key=f"invert_{file.file_id}", help=help) else image


def show(run: Run, image: "Tensor") -> None:
    """The image as the net sees it, and what it makes of it."""
    loaded, classes = net(run), run.config["facts"]["classes"]
    scores = {name: values[0].numpy() for name, values in loaded.scores(image).items()}
    left, main = st.columns([1, 2.6], gap="medium")
    with left:
        st.html(charts.picture(image[0].numpy(), "what the net sees"))
        st.caption("What the net sees", text_alignment="center")
    with main:
        if loaded.model.tries_labels:
            table = loaded.goodness(image)[0].numpy()
            rows = [f"Layer {layer}" for layer in range(1, table.shape[1] + 1)]
            st.html(charts.goodness_table(table, classes, None, rows, widgets.voters(run, len(rows))))
        else:
            table = scores[loaded.model.readouts[0]][:, None]
            st.html(charts.goodness_table(table, classes, None, ["Score"]))
        answers = {name: classes[int(values.argmax())] for name, values in scores.items()}
        first = answers.pop(loaded.model.readouts[0])
        others = "".join(f" The {name} read-out says **{answer}**." for name, answer in answers.items())
        st.markdown(f"The net says **{first}**.{others} It has no way to say “none of these”.")


def _is_light(images: np.ndarray) -> bool:
    """Is the rim of images (n, C, H, W) light, as of dark ink on paper?"""
    rims = (images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1])
    return float(np.mean([rim.mean() for rim in rims])) > 127


def net(run: Run) -> "Trained":
    """A run with its net in memory. Raises Refused when there is none, or it is damaged."""
    return _net(str(run.dir), stamp(run))


@st.cache_resource(max_entries=4, show_spinner=False)
def _net(directory: str, stamp: float) -> "Trained":
    return ffcore.Trained(directory)


def stamp(run: Run) -> float:
    """When its weights were last written: a running net is read anew."""
    files = (run.dir / name for name in ("weights.safetensors", "state.safetensors"))
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
