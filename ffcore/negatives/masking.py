"""The image with parts missing."""

from typing import Literal

import torch
from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import boxes, normal, uniform
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("masking")
class Masking(Strategy):
    """The image with pixels, one block, or patches of a grid replaced by zeros, noise, its mean, or shuffled pixels."""

    title = "Masking"
    source = "the reference study ff-negative-samples (2026)"
    uses_labels = False
    embeds_label = False

    kind: Literal["pixel", "block", "patch"] = Field("pixel", description="what is masked: pixels, a rectangle, or grid cells")
    fill: Literal["zero", "noise", "shuffle", "mean"] = Field(
        "zero", description="what takes its place: 0, noise of the image's mean and spread, its own pixels shuffled, its mean"
    )
    ratio: float = Field(0.5, gt=0, lt=1, description="share of the image that is masked")
    cell: int = Field(4, ge=1, le=64, description="patch: side of a grid cell in pixels")
    matched: bool = Field(
        False, description="positives are masked, too, by a quarter of the share: only how much is missing can be told"
    )

    def pair(self, x, y, view, rng):
        pos = self._masked(x, self.ratio / 4, rng) if self.matched else x
        return Pair(Sample(pos), Sample(self._masked(x, self.ratio, rng)))

    def _masked(self, x, ratio, rng):
        return torch.where(self._mask(x, ratio, rng), self._filling(x, rng), x)

    def _mask(self, x, ratio, rng):
        n, _, height, width = x.shape
        if self.kind == "block":
            return boxes(n, height, width, torch.full((n,), ratio, device=x.device), rng)
        if self.kind == "pixel":
            return uniform((n, 1, height, width), 0, 1, rng) < ratio
        rows, columns = -(-height // self.cell), -(-width // self.cell)
        cells = rows * columns
        hit = max(1, min(cells - 1, round(ratio * cells)))  # exactly so many, or a mask might be empty
        cells = (uniform((n, cells), 0, 1, rng).argsort(1).argsort(1) < hit).view(n, 1, rows, columns)
        return cells.repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)[:, :, :height, :width]

    def _filling(self, x, rng):
        if self.fill == "zero":
            return torch.zeros_like(x)
        if self.fill == "shuffle":
            order = torch.randperm(x[0, 0].numel(), generator=rng, device=rng.device)  # one for the batch
            return x.flatten(2)[:, :, order].view_as(x)
        mean = x.mean((2, 3), keepdim=True)
        if self.fill == "mean":
            return mean.expand_as(x)
        return normal(x.shape, rng).mul_(x.std((2, 3), correction=0, keepdim=True)).add_(mean).clamp_(0, 1)
