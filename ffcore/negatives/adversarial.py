"""The smallest change that the net likes: images pushed up in goodness (Goodfellow et al. 2015; Madry et al. 2018)."""

from typing import Literal

import torch
from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import normal, rms, uniform, unit, uphill
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("adversarial")
class Adversarial(Strategy):
    """The image moved within a small ball to where the net's goodness is higher, which the net must then unlearn.

    Alone it is too hard: the adversary knows the net and always finds a higher place, so a net that learns from nothing else
    ends up liking nothing at all, at every ε tried (0.01 to 0.3). Best seen on a net that was trained otherwise.
    """

    title = "Adversarial"
    source = "Goodfellow et al. 2015, arXiv 1412.6572 (one step); Madry et al. 2018, arXiv 1706.06083 (several)"
    uses_labels = False
    embeds_label = False
    needs_view = True

    steps: int = Field(1, ge=1, le=100, description="gradient steps: 1 is FGSM, a single step of full length; more is PGD")
    norm: Literal["linf", "l2"] = Field("linf", description="the ball: each pixel within ε, or the root mean square within ε")
    epsilon: float = Field(0.1, gt=0, le=1, description="ε, radius of the ball, in units of pixel brightness")
    random_start: bool = Field(False, description="begin at a random point of the ball")
    matched: bool = Field(False, description="positives get a random change of the same size: only its direction tells")

    def pair(self, x, y, view, rng):
        length = self.epsilon if self.steps == 1 else 2.5 * self.epsilon / self.steps  # so that it reaches the rim
        change = torch.zeros_like(x)
        if self.random_start and self.norm == "linf":
            change = uniform(tuple(x.shape), -self.epsilon, self.epsilon, rng)
        elif self.random_start:
            change = self._random(x, rng) * uniform((len(x), 1, 1, 1), 0, 1, rng)
        for _ in range(self.steps):
            change = self._within(change + length * self._step(uphill(view, Sample(x + change))))
            change = (x + change).clamp(0, 1) - x
        pos = (x + self._random(x, rng)).clamp(0, 1) if self.matched else x
        return Pair(Sample(pos), Sample((x + change).clamp_(0, 1)))

    def _step(self, direction):
        return direction.sign() if self.norm == "linf" else unit(direction)

    def _random(self, x, rng):
        """A random change on the rim of the ball."""
        return self.epsilon * self._step(normal(x.shape, rng))

    def _within(self, change):
        if self.norm == "linf":
            return change.clamp(-self.epsilon, self.epsilon)
        return change * (self.epsilon / rms(change)).clamp(max=1)
