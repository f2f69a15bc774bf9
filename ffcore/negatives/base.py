"""What a negative strategy is: a frozen, typed value that turns a batch into a positive and a negative one."""

from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ffcore.labels import Sample
from ffcore.registry import Settings


class Pair(NamedTuple):
    """Positives and negatives, sample by sample."""

    pos: Sample
    neg: Sample  # if neg.image is pos.image, layer 1's product and its weight gradient are shared


class View(Protocol):
    """All that a strategy may ask of the net, bound to one training step. Goodness comes without a gradient."""

    classes: int

    def label_goodness(self, image: Tensor, layers: int = 0) -> Tensor:
        """Goodness under every label, (B, …) → (B, C, L), of the first `layers` layers (0: all)."""

    def label_probs(self, image: Tensor) -> Tensor:
        """One-pass softmax on the neutral label, (B, …) → (B, C)."""


class Strategy(Settings):
    """A negative strategy; call it with a batch.

    Facts: `uses_labels` it reads y · `embeds_label` every negative carries a label, never the right one · `faithful`
    False for a known-bad one that only a preset may name.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    uses_labels: ClassVar[bool] = True
    embeds_label: ClassVar[bool] = True
    faithful: ClassVar[bool] = True

    def __call__(self, x: Tensor, y: Tensor, view: View, rng: torch.Generator) -> Pair:
        """x (B, C, H, W) in [0, 1], y (B,) → Pair; x is not written to."""
        raise NotImplementedError
