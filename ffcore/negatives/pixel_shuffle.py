"""The image's own pixels in another order: the same ink, no shape."""

import torch
from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("pixel_shuffle")
class PixelShuffle(Strategy):
    """A share of the pixels change places, by one order per batch, drawn anew: statistics of ink stay, the shape goes."""

    title = "Pixel shuffle"
    source = "the reference study ff-negative-samples (2026)"
    uses_labels = False
    embeds_label = False

    share: float = Field(1.0, gt=0, le=1, description="share of the pixels that change places")
    matched: bool = Field(False, description="positives are shuffled, too, by a quarter of the share")

    def pair(self, x, y, view, rng):
        pos = self._shuffled(x, self.share / 4, rng) if self.matched else x
        return Pair(Sample(pos), Sample(self._shuffled(x, self.share, rng)))

    def _shuffled(self, x, share, rng):
        pixels = x[0, 0].numel()
        chosen = torch.randperm(pixels, generator=rng, device=rng.device)[: max(2, round(share * pixels))]
        order = torch.arange(pixels, device=rng.device).scatter_(0, chosen, chosen.roll(1))
        return x.flatten(2)[:, :, order].view_as(x)
