"""No image at all: noise, plain or with the batch's own statistics."""

from typing import Literal

from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import normal, uniform
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("random_noise")
class RandomNoise(Strategy):
    """Noise in place of an image, pixel by pixel independent: gaussian, uniform, or with each pixel's mean and spread."""

    title = "Random noise"
    source = "the reference study ff-negative-samples (2026)"
    uses_labels = False
    embeds_label = False

    kind: Literal["statistics", "gaussian", "uniform"] = Field(
        "statistics", description="statistics: each pixel's mean and s.d. in this batch; gaussian; uniform on [0, 1]"
    )
    mean: float = Field(0.5, ge=0, le=1, description="gaussian: mean of a pixel, before it is cut to [0, 1]")
    std: float = Field(0.5, gt=0, le=10, description="gaussian: standard deviation of a pixel")
    matched: bool = Field(
        False, description="both sides are half noise: an image under noise against noise under the same noise"
    )

    def pair(self, x, y, view, rng):
        noise = self._noise(x, rng)
        if not self.matched:
            return Pair(Sample(x), Sample(noise))
        shared = self._noise(x, rng)
        return Pair(Sample((x + shared) / 2), Sample((noise + shared) / 2))

    def _noise(self, x, rng):
        if self.kind == "uniform":
            return uniform(tuple(x.shape), 0, 1, rng)
        if self.kind == "gaussian":
            mean, std = self.mean, self.std
        else:  # an image alone has statistics over its pixels only
            mean, std = (x.mean(0), x.std(0, correction=0)) if len(x) > 1 else (x.mean(), x.std(correction=0))
        return normal(x.shape, rng).mul_(std).add_(mean).clamp_(0, 1)
