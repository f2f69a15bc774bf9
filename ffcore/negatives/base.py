"""What a negative strategy is: a frozen, typed value that turns a batch into a positive and a negative one."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ffcore.errors import Refused
from ffcore.labels import Sample
from ffcore.registry import Settings


class Pair(NamedTuple):
    """Positives and negatives, sample by sample."""

    pos: Sample
    neg: Sample  # if neg.image is pos.image, layer 1's product and its weight gradient are shared
    corrupt: Callable[[int, Tensor], Tensor] | None = None  # (layer ≥ 2, the positives' input of it) → the negatives'


class View(Protocol):
    """All that a strategy may ask of the net, bound to one training step."""

    classes: int

    def goodness(self, sample: Sample) -> Tensor:
        """Goodness of samples as they are, → (B, L); differentiable in sample.image."""

    def label_goodness(self, image: Tensor, layers: int = 0) -> Tensor:
        """Goodness under every label, (B, …) → (B, C, L), of the first `layers` layers (0: all), without gradient."""

    def label_probs(self, image: Tensor) -> Tensor:
        """One-pass softmax on the neutral label, (B, …) → (B, C), without gradient."""

    def features(self, sample: Sample) -> list[Tensor]:
        """Activity of every layer, [(B, n₁), …], without gradient."""


class Strategy(Settings):
    """A negative strategy; call it with a batch.

    Facts: `uses_labels` it reads y · `embeds_label` its samples carry labels, and a negative's is never the class of its
    image · `needs_view` it asks the net · `faithful` False for a known-bad one that only a preset may name, and that is
    exempt from the law about labels.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    uses_labels: ClassVar[bool] = True
    embeds_label: ClassVar[bool] = True
    needs_view: ClassVar[bool] = False
    faithful: ClassVar[bool] = True

    @property
    def below(self) -> bool:
        """Do its pairs share their image, does it ask layer 1 at most, and is nothing left to draw once a pair is returned?
        Then upper layers may still be learning from the batch before."""
        return False

    def __call__(self, x: Tensor, y: Tensor | None, view: View, rng: torch.Generator) -> Pair:
        """x (B, C, H, W) in [0, 1], y (B,) → Pair; x is not written to.

        Raises Refused where labels are needed and there are none, or only one class.
        """
        if self.uses_labels and y is None:
            raise Refused(f"negatives '{self.name}' need labels and these images have none; take a strategy without labels")
        if self.uses_labels and view.classes < 2:
            raise Refused(f"negatives '{self.name}' need two classes and there is {view.classes}; add images of another")
        return self.pair(x, y, view, rng)

    def pair(self, x: Tensor, y: Tensor, view: View, rng: torch.Generator) -> Pair:
        """What a subclass writes."""
        raise NotImplementedError
