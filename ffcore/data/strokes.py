"""Drawings: pen strokes as an image like MNIST's, what turns, shifts or hides it, and its place in a link."""

import base64
import binascii
import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ffcore.errors import Refused

SIDE, BOX = 28, 20  # MNIST's images, and the box that each digit was scaled to fit
PEN = 2.3  # width of a stroke in such an image, in pixels: digits traced with it hold as much ink as MNIST's own
FINE = 10  # a drawing has so many dots to such a pixel
_TINY = 6  # a drawing less wide and high than so many of the pad's pixels is a dot
_LONGEST = 600  # characters of a drawing in a link


def drawn(paths: Sequence[np.ndarray]) -> np.ndarray:
    """What pen strokes draw, (280, 280) uint8, white on black; each is (n, 2) points x, y in any unit, y downwards.

    The drawing fills the middle 200 dots whatever its size was, and its strokes are as wide as MNIST's: so it makes no
    difference how large or where one draws. Raises Refused when there is no stroke.
    """
    paths = [np.asarray(path, float).reshape(-1, 2) for path in paths if len(path)]
    if not paths:
        raise Refused("nothing is drawn; draw a stroke first")
    every = np.concatenate(paths)
    low, high = every.min(0), every.max(0)
    pen = PEN * FINE
    scale = (BOX * FINE - pen) / max((high - low).max(), _TINY)
    sheet = Image.new("L", (SIDE * FINE, SIDE * FINE))
    ink = ImageDraw.Draw(sheet)
    for path in paths:
        points = (path - (low + high) / 2) * scale + SIDE * FINE / 2
        ink.line([tuple(p) for p in points], fill=255, width=round(pen), joint="curve")
        for x, y in points:  # round ends and joints; a dot is nothing else
            ink.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    return np.array(sheet)


def placed(drawing: np.ndarray, field: tuple[int, int], share: float = BOX / SIDE, by_mass: bool = True) -> np.ndarray:
    """A drawing (H, W), white ink on black, of any size and brightness, as MNIST's digits are placed → `field` uint8.

    The ink's box is scaled, its proportions kept and its edges smoothed, to fit `share` of the image: 20 of every 28 pixels.
    Then it is moved until its centre of mass is the middle, or it touches the rim (LeCun, Cortes & Burges,
    http://yann.lecun.com/exdb/mnist/). Not `by_mass`: the box itself stands in the middle. Raises Refused without ink.
    """
    ink = np.asarray(drawing, np.float64)
    if ink.ndim != 2 or not np.isfinite(ink).all():
        raise Refused(f"a drawing of shape {ink.shape}: it is a grey image (H, W) of finite numbers; convert it")
    if not ink.size or ink.max() <= 0:
        raise Refused("nothing is drawn; draw a stroke first")
    ink = np.clip(ink / ink.max(), 0, 1)
    (top, bottom), (left, right) = (np.flatnonzero((ink > 0.1).any(axis))[[0, -1]] for axis in (1, 0))
    ink = ink[top : bottom + 1, left : right + 1]
    scale = min(share * whole / part for whole, part in zip(field, ink.shape, strict=True))
    height, width = (max(1, round(scale * part)) for part in ink.shape)
    ink = np.array(Image.fromarray((255 * ink).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR))
    out = np.zeros(field, np.uint8)
    start = []
    for axis, whole in enumerate(field):
        weights = ink.sum(1 - axis, dtype=np.float64) if by_mass else np.ones(ink.shape[axis])
        middle = weights @ np.arange(len(weights)) / max(weights.sum(), 1)
        start.append(min(max(0, round(whole / 2 - middle)), whole - len(weights)))
    out[start[0] : start[0] + height, start[1] : start[1] + width] = ink
    return out


def are_centred(images: np.ndarray) -> bool:
    """Do images (n, C, H, W) uint8 stand as MNIST's do: each box fits 20 of 28 pixels, its centre of mass in the middle?

    Nine in ten must: a few of MNIST's own, augmented or cut, break no rule.
    """
    ink = images.mean(1, dtype=np.float64)
    size = np.array(ink.shape[1:])
    mass = ink.sum((1, 2))
    if not len(ink) or not (mass > 0).all():
        return False
    good = np.ones(len(ink), bool)
    for axis, whole in enumerate(size):
        weights = ink.sum(2 - axis)
        good &= np.abs(weights @ np.arange(whole) / mass - whole / 2) <= 1
        used = weights > 0
        extent = whole - used.argmax(1) - used[:, ::-1].argmax(1)
        good &= extent <= math.ceil(BOX / SIDE * whole) + 1
    return bool(good.mean() >= 0.9)


def suited(drawing: np.ndarray, shape: tuple[int, int, int], by_mass: bool) -> np.ndarray:
    """A drawing (H, W) uint8, white ink on black, as a net takes it, (C, H, W): by its centre of mass, as MNIST's digits
    stand, or else as large as fits. One that stands so already is left as it is."""
    channels, *field = shape
    if not (by_mass and drawing.shape == tuple(field) and are_centred(drawing[None, None])):
        drawing = placed(drawing, tuple(field), BOX / SIDE if by_mass else 1.0, by_mass)
    return np.repeat(drawing[None], channels, 0)


def taken(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """An image (C, H, W) uint8 as a net of another shape takes it: resized, made grey or RGB; its own is left as it is."""
    channels, *size = shape
    if image.shape[0] != channels:
        image = image.mean(0, keepdims=True).round().astype(np.uint8) if channels == 1 else image[:1].repeat(channels, 0)
    if image.shape[1:] == tuple(size):
        return image
    return np.stack([np.array(Image.fromarray(one).resize(size[::-1], Image.Resampling.BILINEAR)) for one in image])


# Links


def to_text(image: np.ndarray) -> str:
    """A drawing (28, 28) uint8 in at most 600 letters that an address can hold: 16 grey levels, as `rounded` has them."""
    levels = (image.reshape(-1) // 17).astype(np.uint8)
    return base64.urlsafe_b64encode(zlib.compress((levels[::2] << 4 | levels[1::2]).tobytes(), 9)).decode().rstrip("=")


def rounded(image: np.ndarray) -> np.ndarray:
    """The same image in the 16 grey levels that a link keeps: multiples of 17."""
    return (np.round(image / 17) * 17).astype(np.uint8)


def from_text(text: str) -> np.ndarray:
    """The drawing, (28, 28) uint8, that `to_text` has put into letters. Raises Refused for anything else."""
    refused = Refused("this is no drawing, or only a part of one; copy the whole link again")
    if not text.isascii() or not 0 < len(text) <= _LONGEST:
        raise refused
    size = SIDE * SIDE // 2
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(packed, size + 1)  # never more, whatever it claims to hold
        if len(raw) != size or not unpacker.eof or unpacker.unused_data:
            raise refused
    except (binascii.Error, zlib.error):
        raise refused from None
    pairs = np.frombuffer(raw, np.uint8)
    return (np.stack([pairs >> 4, pairs & 15], 1).reshape(SIDE, SIDE) * 17).astype(np.uint8)


# Changes


class Change(NamedTuple):
    """What is done to an image before a net sees it; all of it nothing by default."""

    x: int = 0  # pixels to the right
    y: int = 0  # pixels downwards
    turn: int = 0  # degrees, clockwise
    scale: int = 100  # per cent
    noise: int = 0  # standard deviation, per cent of white
    cover: int = 0  # side of a square that hides the middle, in pixels
    seed: int = 0  # of the noise


def limits(shape: tuple[int, int, int]) -> dict[str, tuple[int, int]]:
    """{name: (least, most)} of every part of a `Change` of images of this shape."""
    side = min(shape[1:])
    far = max(1, round(side / 3))
    spans = {"x": (-far, far), "y": (-far, far), "turn": (-180, 180), "scale": (50, 150), "noise": (0, 100)}
    return spans | {"cover": (0, side), "seed": (0, 999_999)}


def changed(image: np.ndarray, change: Change) -> np.ndarray:
    """An image (C, H, W) uint8 scaled and turned about its middle, shifted, partly hidden, then with noise, in this order.

    What comes in from outside, and what hides, has the colour of its rim. Raises Refused for a value out of bounds.
    """
    for name, (low, high) in limits(image.shape).items():
        if not low <= getattr(change, name) <= high:
            raise Refused(f"{name} is {getattr(change, name)}; choose it from {low} to {high}")
    _, height, width = image.shape
    rims = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], 1)
    paper = np.median(rims, 1).round().astype(np.uint8)
    out = image
    if change[:4] != Change()[:4]:
        angle, size = math.radians(change.turn), 100 / change.scale
        a, b = size * math.cos(angle), size * math.sin(angle)
        middle = np.array([width / 2, height / 2])
        back = np.array([[a, b], [-b, a]])  # from where a pixel of the result comes
        shift = middle - back @ np.add(middle, (change.x, change.y))
        matrix = [round(float(v), 9) for v in (*back[0], shift[0], *back[1], shift[1])]  # a quarter turn is exact
        how = {"resample": Image.Resampling.BILINEAR}
        out = np.stack(
            [
                np.array(
                    Image.fromarray(one).transform((width, height), Image.Transform.AFFINE, matrix, fillcolor=int(p), **how)
                )
                for one, p in zip(image, paper, strict=True)
            ]
        )
    if change.cover:
        out = out.copy()
        top, left = (height - change.cover) // 2, (width - change.cover) // 2
        out[:, top : top + change.cover, left : left + change.cover] = paper[:, None, None]
    if change.noise:
        noise = np.random.default_rng(change.seed).normal(0, 2.55 * change.noise, out.shape)
        out = np.clip(np.round(out + noise), 0, 255).astype(np.uint8)
    return out


def sweep(image: np.ndarray, change: Change, along: str, steps: int = 33) -> tuple[list[int], np.ndarray]:
    """The same image with one part of the change running through its bounds: (values, images (n, C, H, W))."""
    low, high = limits(image.shape)[along]
    values = sorted({*np.linspace(low, high, min(steps, high - low + 1)).round().astype(int).tolist(), getattr(change, along)})
    return values, np.stack([changed(image, change._replace(**{along: value})) for value in values])
