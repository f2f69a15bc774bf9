"""Every layer gets a corruption of its own input, more of it the deeper it lies."""

from typing import Literal

import torch
from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import normal, uniform
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("layer_wise")
class LayerWise(Strategy):
    """Each layer's negative is its own positive input, corrupted on the spot, by more in deeper layers; no labels."""

    title = "Layer-wise"
    source = "the reference study ff-negative-samples (2026), which corrupted the image only"
    uses_labels = False
    embeds_label = False

    kind: Literal["swap", "drop", "noise"] = Field(
        "swap", description="inputs are taken from another image of the batch, set to 0, or drowned in noise"
    )
    first: float = Field(0.3, gt=0, le=1, description="layer 1: share of the inputs (noise: its size over the input's)")
    growth: float = Field(0.1, ge=0, le=1, description="how much is added in every further layer, up to 1")

    def pair(self, x, y, view, rng):
        def corrupt(layer: int, h):
            return self._corrupted(h, min(1.0, self.first + self.growth * (layer - 1)), rng)

        return Pair(Sample(x), Sample(corrupt(1, x.flatten(1)).clamp(0, 1).view_as(x)), corrupt)

    def _corrupted(self, h, strength, rng):
        if self.kind == "noise":
            size = h.square().mean(1, keepdim=True).sqrt()
            return h + strength * size * normal(h.shape, rng).to(h.dtype)
        hit = uniform(tuple(h.shape), 0, 1, rng) < strength
        return torch.where(hit, h.roll(1, 0) if self.kind == "swap" and len(h) > 1 else torch.zeros_like(h), h)
