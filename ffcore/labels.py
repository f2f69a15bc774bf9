"""How a net is shown a label: the only place where a label becomes input (Hinton 2022, §3.3).

The C label inputs stand beside the image, so layer 1 computes `W·image + W_label[label]` and all C label hypotheses
share one image product, exactly. `appended` adds them to the image; `overlay` blanks the image's first C pixels for
them, as Hinton did. On MNIST those pixels are always empty and both are the same function.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Sample(NamedTuple):
    """What a net is shown."""

    image: Tensor  # (B, …) in [0, 1]
    label: Tensor | None = None  # (B,) int · (B, C) soft · None = no label


def is_hard(label: Tensor | None) -> bool:
    """Does it name one class for every image, (B,) int?"""
    return label is not None and not label.is_floating_point()


def neutral(batch: int, classes: int, device=None) -> Tensor:
    """(B, C), every class at 1/C: 'no idea which' (Hinton's one-pass read-out shows this)."""
    return torch.full((batch, classes), 1 / classes, device=device)


def joined(samples: Sequence[Sample], classes: int) -> Tensor | None:
    """Labels of stacked samples, (ΣB,) or, where they are not of one kind, (ΣB, C); None where none has any."""
    known = [sample.label for sample in samples]
    if all(label is None for label in known):
        return None
    if all(map(is_hard, known)):
        return torch.cat(known)

    def soft(sample: Sample) -> Tensor:
        if sample.label is None:
            return torch.zeros(len(sample.image), classes, device=sample.image.device)
        return sample.label if sample.label.is_floating_point() else F.one_hot(sample.label, classes).float()

    return torch.cat([soft(sample) for sample in samples])


def wrong(y: Tensor, classes: int, rng: torch.Generator) -> Tensor:
    """(B,) labels, uniform over the C - 1 wrong ones."""
    shift = torch.randint(1, classes, y.shape, generator=rng, device=y.device)
    return (y + shift) % classes


def room(pixels: Tensor, classes: int, how: str) -> Tensor:
    """(B, D) → (B, D): the image as it stands beside a label; `overlay` blanks the first C pixels."""
    if how == "appended":
        return pixels
    pixels = pixels.clone()
    pixels[:, :classes] = 0
    return pixels


def drive(label: Tensor | None, table: Tensor, value: float) -> Tensor | float:
    """What the label adds to layer 1, (B,) or (B, C) with table (C, n) → (B, n); `value` is the input that says yes."""
    if label is None:
        return 0.0
    if label.is_floating_point():
        return value * (label.to(table.dtype) @ table)
    # F.embedding, not table[label]: the backward of indexing adds in random order on two threads
    found = F.embedding(label, table)
    return found if value == 1 else found * value


class _Under(torch.autograd.Function):
    """base + s · table[label] for several labels of every image, with a gradient in half the passes of autograd's."""

    @staticmethod
    def forward(ctx, base: Tensor, s: Tensor, table: Tensor, label: Tensor) -> Tensor:
        ctx.save_for_backward(s, table, label)
        drive = F.embedding(label.flatten(), table)
        stacked = drive.view(*label.shape, -1)
        torch.addcmul(base, s, stacked, out=stacked)
        return drive

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor | None, ...]:
        s, table, label = ctx.saved_tensors
        slope = slope.view(*label.shape, -1)
        by_s = (slope * F.embedding(label, table)).sum((0, 2))[:, None] if ctx.needs_input_grad[1] else None
        scaled = slope * s
        if slope.device.type != "cpu":  # where index_add_ adds in any order
            by_table = torch.ops.aten.embedding_dense_backward(scaled, label, len(table), -1, False)
        else:
            by_table = torch.zeros_like(table).index_add_(0, label.flatten(), scaled.flatten(0, 1))
        return reduce(torch.add, slope), by_s, by_table, None


def under(base: Tensor, s: Tensor, table: Tensor, *label: Tensor) -> Tensor:
    """Layer 1's drive of B images under K labels each, (B,) … → (K·B, n), one label after the other.

    base (B, n) is what all labels share, s (B, 1) the scale of their columns, table (C, n) what each adds.
    """
    return _Under.apply(base, s, table, torch.stack(label))


def squared_norm(label: Tensor | None, value: float) -> Tensor | float:
    """Squared length of the label's input, a number or (B, 1): all one-hot labels have the same, a neutral one 1/C of it."""
    if label is None:
        return 0.0
    if label.is_floating_point():
        return value**2 * label.pow(2).sum(1, keepdim=True)
    return value**2
