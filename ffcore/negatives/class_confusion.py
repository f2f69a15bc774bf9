"""Another image under this one's label: the pixels are wrong, not the label (the reference study's class confusion)."""

from typing import Literal

import torch
from pydantic import Field

from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import other, under_its_label
from ffcore.negatives.base import Strategy


@STRATEGIES.register("class_confusion")
class ClassConfusion(Strategy):
    """An image of another class under this one's label; the class is random, the next one, or one the net confuses it with.

    With a random class these are the negatives of `wrong_label`, each compared with the positive that shares its label
    instead of the one that shares its image.
    """

    title = "Class confusion"
    source = "the reference study ff-negative-samples (2026), whose version let one negative in ten keep its true label"
    needs_view = True

    by: Literal["random", "adjacent", "confused"] = Field(
        "random", description="the other class: random, the next (y+1), or drawn by how good the net finds it under this label"
    )
    temperature: float = Field(
        1 / 3, gt=0, le=100, description="confused: p ∝ exp(goodness / temperature); low = only the most confused class"
    )

    def pair(self, x, y, view, rng):
        target = None
        if self.by != "random":
            target = (y + 1) % view.classes if self.by == "adjacent" else self._confused(x, y, view, rng)
        index, found = other(y, rng, target)
        return under_its_label(x, y, index, found, view.classes, rng)

    def _confused(self, x, y, view, rng):
        """A class for each image, drawn by the mean goodness of that class's images under this image's label."""
        member = torch.nn.functional.one_hot(y, view.classes).float()
        goodness = view.label_goodness(x).float().mean(2)  # (B, C)
        mean = member.T @ goodness / member.sum(0)[:, None].clamp(min=1)  # [class of the image, label shown]
        logits = mean.T[y].masked_fill(member.sum(0) == 0, -torch.inf).scatter(1, y[:, None], -torch.inf) / self.temperature
        gumbel = -torch.empty_like(logits).exponential_(generator=rng).log()
        return (logits + gumbel).argmax(1)
