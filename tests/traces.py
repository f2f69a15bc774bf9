"""A digit's image → the pen strokes that trace it: its centre lines, thinned (Zhang & Suen 1984) and walked."""

import numpy as np
from PIL import Image

ZOOM = 8


def centre_lines(image: np.ndarray) -> np.ndarray:
    """The thinned ink of a digit (28, 28) uint8, (224, 224) bool."""
    fine = np.array(Image.fromarray(image).resize((28 * ZOOM, 28 * ZOOM), Image.Resampling.BICUBIC))
    ink = np.pad(fine > 110, 1)
    while True:
        before = ink.sum()
        for first in (True, False):
            north, south, west, east = ink[:-2, 1:-1], ink[2:, 1:-1], ink[1:-1, :-2], ink[1:-1, 2:]
            ring = [north, ink[:-2, 2:], east, ink[2:, 2:], south, ink[2:, :-2], west, ink[:-2, :-2]]
            count = sum(part.astype(int) for part in ring)
            turns = sum((~a & b).astype(int) for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))
            corner = (north & east & south) | (east & south & west) if first else (north & east & west) | (north & south & west)
            ink[1:-1, 1:-1] &= ~((count >= 2) & (count <= 6) & (turns == 1) & ~corner)
        if ink.sum() == before:
            return ink[1:-1, 1:-1]


def traced(image: np.ndarray) -> list[np.ndarray]:
    """Strokes along the centre lines of a digit (28, 28) uint8, (n, 2) points x, y each, in its pixels; the longest first."""
    left = {(int(y), int(x)) for y, x in np.argwhere(centre_lines(image))}
    around = [(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    every, strokes = set(left), []

    def near(at, of):
        return [(at[0] + a, at[1] + b) for a, b in around if (at[0] + a, at[1] + b) in of]

    while left:
        at = min(left, key=lambda p: (len(near(p, left)), p))  # from an end, if there is one
        path = [next(iter(near(at, every - left)), at), at]  # joined to what is there already
        left.discard(at)
        while onward := near(at, left):
            at = onward[0]
            left.discard(at)
            path.append(at)
        path.append(next(iter(near(at, every - left - set(path[-4:]))), at))
        strokes.append(np.array(path, float)[:, ::-1] / ZOOM)
    strokes.sort(key=len, reverse=True)
    return [path[np.unique(np.r_[0 : len(path) : 4, len(path) - 1])] for path in strokes if len(path) > 8] or strokes[:1]
