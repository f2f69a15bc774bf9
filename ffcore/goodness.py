"""Goodness, normalisations and objectives of Forward-Forward: pure functions of tensors (Hinton 2022, §2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-4


def _of_squares(h: Tensor) -> Tensor:
    """Mean of squares, (B, n) → (B,), in one pass."""
    return torch.linalg.vector_norm(h, dim=1).square() / h.shape[1]


class _MeanSquare(torch.autograd.Function):
    """Mean of squares with its gradient 2h/n in one product; autograd's own takes four passes over (B, n)."""

    @staticmethod
    def forward(ctx, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        return _of_squares(h)

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        return h * (slope * (2 / h.shape[1]))[:, None]


def mean_square(h: Tensor) -> Tensor:
    """Goodness, (B, n) → (B,). The mean, so that a threshold means the same at every width."""
    return _MeanSquare.apply(h) if torch.is_grad_enabled() else _of_squares(h)


class _Rectified(torch.autograd.Function):
    """Of h = ReLU(z): the mean of squares, and the mean over the batch as if h were z, with the gradient for z in one pass.

    h is 0 where z is off, so 2h/n needs no mask; autograd would take five passes over (B, n), and that is what a step costs.
    """

    @staticmethod
    def forward(ctx, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(h)
        ctx.set_materialize_grads(False)
        return _of_squares(h), h.mean(0)

    @staticmethod
    def backward(ctx, slope: Tensor | None, pull: Tensor | None) -> tuple[Tensor | None, None]:
        (h,) = ctx.saved_tensors
        if slope is None:
            return None if pull is None else (pull / len(h)).expand_as(h), None
        slope = (slope * (2 / h.shape[1]))[:, None]
        return h * slope if pull is None else torch.addcmul(pull / len(h), h, slope), None


def rectified(z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Goodness (B,) of h = ReLU(z), and each unit's mean activity (n,), whose gradient passes units that are off as well.

    Both (B, n); of z only its place in the graph is used, so that h may have been written over it.
    """
    return _Rectified.apply(z, h)


def squares_under(base: Tensor, s: Tensor, table: Tensor) -> Tensor:
    """Mean of squares of ReLU(base + s · each row of `table`), (B, n), (B, 1), (C, n) → (C, B), one row after the other in
    memory that stays in the processor's cache. No gradient."""
    drive, out = torch.empty_like(base), base.new_empty(len(table), len(base))
    for row, length in zip(table, out, strict=True):
        torch.addcmul(base, s, row, out=drive).relu_()
        torch.linalg.vector_norm(drive, dim=1, out=length)
    return out.square_().div_(base.shape[1])


def scale(squared_length: Tensor, inputs: int, norm: str) -> Tensor:
    """Factor that normalises vectors of `inputs` entries with the given squared lengths (B, 1).

    rms: mean square 1 (a layer must not read its predecessor's goodness off the length of its input; Hinton 2022, §2).
    standard: the same, once the mean is 0. unit: length 1, which starves deep layers. none: 1.
    """
    if norm == "none":
        return torch.ones_like(squared_length)
    length = squared_length.sqrt()
    return 1 / (length + EPSILON) if norm == "unit" else 1 / (length / inputs**0.5 + EPSILON)


def centred(h: Tensor, norm: str) -> Tensor:
    """(B, n) → (B, n), with mean 0 under the norm `standard`, else as it is."""
    return h - h.mean(1, keepdim=True) if norm == "standard" else h


def normalise(h: Tensor, norm: str) -> Tensor:
    """(B, n) → (B, n) with mean square 1 (rms), and mean 0 as well (standard), length 1 (unit), or as it is (none)."""
    h = centred(h, norm)
    return h * scale(torch.linalg.vector_norm(h, dim=1, keepdim=True).square(), h.shape[1], norm)


def gap(pos: Tensor, neg: Tensor, alpha: float) -> Tensor:
    """softplus(-α(g⁺ - g⁻)), (B,) → (B,): a positive must beat its own negative (SymBa, Lee & Song 2023, arXiv 2303.08418)."""
    return F.softplus(-alpha * (pos - neg))


def threshold(pos: Tensor, neg: Tensor, alpha: float, theta: float) -> Tensor:
    """½[softplus(α(θ - g⁺)) + softplus(α(g⁻ - θ))], (B,) → (B,): logistic loss with p(real) = σ(α(g - θ)) (Hinton 2022, §2).

    With the mean as goodness, α = n and θ = 1 are Hinton's sum of squares against n units.
    """
    return (F.softplus(alpha * (theta - pos)) + F.softplus(alpha * (neg - theta))) / 2


def separation(pos: Tensor, neg: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(gap of the means, d′, overlap) of two sets of goodness, (B,) each → three numbers.

    d′ = gap / root mean variance (Green & Swets 1966). overlap = shared area of the histograms (32 bins): 0 apart, 1 alike.
    """
    difference = pos.mean() - neg.mean()
    spread = ((pos.var(correction=0) + neg.var(correction=0)) / 2).sqrt()
    low, high = torch.minimum(pos.min(), neg.min()), torch.maximum(pos.max(), neg.max())
    width = (high - low).clamp(min=1e-12) / 32
    bins = [((g - low) / width).long().clamp(0, 31).bincount(minlength=32) / len(g) for g in (pos, neg)]
    return difference, difference / spread.clamp(min=1e-12), torch.minimum(*bins).sum()
