"""Nets that pages ask, kept in memory, and images of the reader's own for them."""

from typing import TYPE_CHECKING

import feed
import numpy as np
import streamlit as st
import widgets

import ffcore
from ffcore import Run

if TYPE_CHECKING:  # torch is loaded when there is something to read
    from ffcore import Trained


def has_weights(run: Run) -> bool:
    """Is there a net to ask?"""
    return any((run.dir / name).exists() for name in ("weights.safetensors", "state.safetensors"))


def drawn(paths: list[np.ndarray]) -> np.ndarray:
    """The strokes of a pad as a drawing, (28, 28) uint8: what a link to it holds."""
    from ffcore.data import strokes  # not before there is something to draw

    return strokes.rounded(strokes.placed(strokes.drawn(paths), (strokes.SIDE, strokes.SIDE)))


def stands_by_mass(samples: dict | None) -> bool:
    """Do a run's images stand as MNIST's do? Where it has stored none, they are taken to."""
    from ffcore.data import strokes

    return samples is None or strokes.are_centred(samples["images"])


def upload(run: Run, by_mass: bool | None = None) -> tuple[np.ndarray, bool] | None:
    """(a file of the reader's as a run's net takes it, (C, H, W) uint8, and whether light and dark were swapped for that);
    None before there is one, or a bad one is told.

    `by_mass`: it is a drawing, and placed as in `strokes.suited`; None: it is only resized.
    """
    file = st.file_uploader(
        "A picture of one digit or object",
        type=["png", "jpg", "jpeg", "bmp", "gif", "webp"],
        help="It is made what the net takes; nothing of it is kept.",
        key="own_file",
    )
    if not file:
        return None
    try:
        with st.spinner("Reading …"):
            widgets.settle_torch()
            shape = tuple(run.config["facts"]["shape"])
            image = ffcore.data.read_image(file.getvalue(), shape, by_mass)[0].numpy()
    except ffcore.Refused as error:
        widgets.refusal(f"{file.name}: {error}")
        return None
    if by_mass is not None:
        return image, False
    usual = feed.samples(run)
    odd = usual is not None and _is_light(image) != _is_light(usual["images"])
    help = "so that ink and paper are as in the training images"
    swapped = st.toggle("Swap light and dark", odd, key=f"invert_{file.file_id}", help=help)
    return 255 - image if swapped else image, swapped


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
