"""How alike two layers' activities are, whatever the basis: CKA, Procrustes distance; and what their spread is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CONSTANT = 1e-12  # a layer whose variance is no more than this share of its mean square says the same of every image
FEWEST = 4  # images for the debiased estimate


class Centred(NamedTuple):
    """A layer's activities as similarity sees them: mean 0, double precision, at most as many columns as images."""

    x: Tensor  # (N, min(N, n))
    length: Tensor  # (N,) squared length of every row
    square: Tensor  # ‖XᵀX‖²


def centred(features: Tensor) -> Centred | None:
    """Activities (N, …) ready to be compared, or None where all images have the same: a dead layer is no data.

    More columns than images are rotated into N of them, which changes no similarity: nothing larger than the smaller of
    N × N and n × n is ever made.
    """
    x = features.flatten(1).double()
    size = x.square().sum()
    x = x - x.mean(0)
    if not bool(x.square().sum() > CONSTANT * size):
        return None
    if x.shape[1] > len(x):
        x = torch.linalg.qr(x.T, mode="r").R.T  # XᵀX changes, XXᵀ does not
    return Centred(x, x.square().sum(1), (x.T @ x).square().sum())


def hsic(a: Centred, b: Centred, debiased: bool = True) -> float:
    """Hilbert–Schmidt independence criterion of linear kernels, up to a factor that depends on N alone.

    biased: tr(K H L H) = ‖XᵀY‖² (Gretton et al. 2005). debiased: the unbiased estimate, times N(N - 3), of Song, Smola,
    Gretton, Bedo & Borgwardt (JMLR 2012, eq. 5), which leaves out the diagonals of K and L: with centred X and Y,
    ‖XᵀY‖² - N/(N - 2) Σ kᵢlᵢ + Σkᵢ Σlᵢ / ((N - 1)(N - 2)), k and l the squared lengths of their rows. O(N n m).
    """
    both = a.square if a is b else (a.x.T @ b.x).square().sum()
    if debiased:
        n = len(a.x)
        both = both - n / (n - 2) * (a.length @ b.length) + a.length.sum() * b.length.sum() / ((n - 1) * (n - 2))
    return both.item()


def cka(a: Centred | None, b: Centred | None, debiased: bool = True) -> float | None:
    """Linear centred kernel alignment of two layers on the same images (Kornblith, Norouzi, Lee & Hinton, ICML 2019).

    1: the same up to a rotation and a scale. biased: from 0 to 1, and far above 0 for unrelated layers as wide as there
    are images. debiased (Nguyen, Raghu & Kornblith, ICLR 2021): about 0 for unrelated layers, so it may fall a little below.
    None: a layer is dead, too few images, or, debiased, one image alone makes the difference.
    """
    if a is None or b is None or (debiased and len(a.x) < FEWEST):
        return None
    own = [hsic(layer, layer, debiased) for layer in (a, b)]
    if any(value <= 1e-9 * layer.square.item() for value, layer in zip(own, (a, b), strict=True)):
        return None
    return hsic(a, b, debiased) / (own[0] * own[1]) ** 0.5


def procrustes(a: Centred | None, b: Centred | None) -> float | None:
    """What is left between two layers, each of size 1, after the best rotation: √(2 - 2‖XᵀY‖⁎), from 0 to √2.

    Orthogonal Procrustes problem (Schönemann 1966); as a metric of layers: Williams, Kunz, Kornblith & Linderman (NeurIPS
    2021). CKA follows the few strongest directions, this one all (Davari et al., ICLR 2023, on why to look at both).
    None: a layer is dead.
    """
    if a is None or b is None:
        return None
    common = torch.linalg.svdvals(a.x.T @ b.x).sum() / (a.length.sum() * b.length.sum()).sqrt()
    return (2 - 2 * common.item()) ** 0.5 if common < 1 else 0.0


def separation(features: Tensor, y: Tensor) -> float | None:
    """Fisher's ratio tr(S_b) / tr(S_w) of activities (N, …) with classes y (N,).

    S_b = Σ_c N_c (μ_c - μ)(μ_c - μ)ᵀ lies between class means, S_w = Σ_i (x_i - μ_{y_i})(x_i - μ_{y_i})ᵀ within classes.
    0: the class means coincide. None: a dead layer, or nothing varies within classes.
    """
    x = features.flatten(1).double()
    size = x.square().sum()
    x = x - x.mean(0)
    if not bool(x.square().sum() > CONSTANT * size):
        return None
    between = torch.zeros((), dtype=torch.double)
    for c in y.unique():
        some = x[y == c]
        between = between + len(some) * some.mean(0).square().sum()
    within = x.square().sum() - between
    return (between / within).item() if within > CONSTANT * size else None


class LabelDependence:
    """The share of a layer's variance that comes from the label it is shown: within an image over the C labels / in total.

    0: the label changes nothing. 1: the image changes nothing. The reference study calls more than 0.1 high.
    """

    def __init__(self):
        self.rows, self.squares, self.within, self.sum = 0, 0.0, 0.0, 0.0

    def add(self, h: Tensor) -> None:
        """Take in activities of images under every label, (B, C, …)."""
        h = h.flatten(2).double()
        self.rows += h.shape[0] * h.shape[1]
        self.squares += h.square().sum().item()
        self.within += (h - h.mean(1, keepdim=True)).square().sum().item()
        self.sum = self.sum + h.sum((0, 1))

    def value(self) -> float | None:
        """The share so far; None of a dead layer."""
        if not self.rows:
            return None
        total = self.squares - (self.sum.square().sum() / self.rows).item()
        return min(1.0, self.within / total) if total > CONSTANT * self.squares else None


def table(rows: Sequence[Centred | None], columns: Sequence[Centred | None], of) -> list[list[float | None]]:
    """`of(row, column)` for all pairs of layers; a set against itself is computed once per pair, so it is symmetric."""
    out: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            out[i][j] = out[j][i] if rows is columns and j < i else of(row, column)
    return out
