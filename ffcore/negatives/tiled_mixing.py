"""The reference study's hard mining: the 64 best-liked mix-ups of the whole batch, repeated until it is full."""

import torch
from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import uniform
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("tiled_mixing")
class TiledMixing(Strategy):
    """A few mix-ups that the net likes best serve as negatives for all. Kept to show the cost: many are nearly positives."""

    title = "64 tiled mix-ups (flawed on purpose)"
    source = "the reference study ff-negative-samples (2026), hard_mining by goodness"
    uses_labels = False
    embeds_label = False
    needs_view = True
    faithful = False

    pool: int = Field(128, ge=1, le=4096, description="mix-ups a·x + (1-a)·x′, a ~ U(0, 1), of which the best liked are kept")
    keep: int = Field(64, ge=1, le=4096, description="how many are kept, and repeated for the whole batch")

    def pair(self, x, y, view, rng):
        first, second = (torch.randint(len(x), (self.pool,), generator=rng, device=rng.device) for _ in range(2))
        mixed = torch.lerp(x[second], x[first], uniform((self.pool, 1, 1, 1), 0, 1, rng))
        with torch.no_grad():
            best = view.goodness(Sample(mixed)).sum(1).argsort(descending=True)[: self.keep]
        return Pair(Sample(x), Sample(mixed[best].repeat(-(-len(x) // len(best)), 1, 1, 1)[: len(x)]))
