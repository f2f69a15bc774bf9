"""A rectangle of another image, pasted in (CutMix, Yun et al. 2019, used as a negative)."""

import torch
from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import boxes, distort, others, uniform
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("cutmix")
class CutMix(Strategy):
    """The image with a rectangle of another one pasted in."""

    title = "CutMix"
    source = "Yun et al., ICCV 2019, arXiv 1905.04899 (as augmentation); as negatives in ff-negative-samples, 2026"
    uses_labels = False
    embeds_label = False

    low: float = Field(0.2, gt=0, le=1, description="least share of the image that is replaced")
    high: float = Field(0.5, gt=0, le=1, description="largest share of the image that is replaced")
    matched: bool = Field(
        False, description="positives get a rectangle, too, from a slightly distorted copy of themselves: edges tell nothing"
    )

    def pair(self, x, y, view, rng):
        low, high = sorted((self.low, self.high))
        box = boxes(len(x), *x.shape[2:], uniform((len(x),), low, high, rng), rng)
        pos = torch.where(box, distort(x, rng, 10, 2, 0.1), x) if self.matched else x
        return Pair(Sample(pos), Sample(torch.where(box, others(x, rng), x)))
