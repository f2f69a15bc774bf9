"""The hardest image of another class under this one's label, searched per sample in a pool of candidates."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import choose, under_its_label
from ffcore.negatives.base import Strategy


@STRATEGIES.register("hard_mining")
class HardMining(Strategy):
    """Of a pool of this batch's images, the hardest of another class for this label: by goodness, pixels, features or class."""

    title = "Hard mining"
    source = "Schroff et al., CVPR 2015, arXiv 1503.03832 (the idea); the reference study ff-negative-samples, 2026"
    needs_view = True

    by: Literal["goodness", "distance", "feature", "class"] = Field(
        "class",
        description="hardest: the image best liked under this label, which the net then learns to like nothing; nearest in "
        "pixels; most alike in the net's activities; any of the class that the net takes this image for if it errs",
    )
    pool: int = Field(64, ge=1, le=4096, description="candidates drawn from the batch")

    def pair(self, x, y, view, rng):
        pool = torch.randperm(len(x), generator=rng, device=rng.device)[: self.pool]
        other = y[pool][None, :] != y[:, None]  # (B, K)
        if self.by == "class":
            guess = view.label_goodness(x).float().sum(2).scatter(1, y[:, None], -torch.inf).argmax(1)
            index, found = choose(y[pool][None, :] == guess[:, None], rng)
            spare, any_other = choose(other, rng)  # the pool may hold none of that class
            index, found = torch.where(found, index, spare), found | any_other
        else:
            best, index = self._hardness(x, y, pool, view).masked_fill(~other, -torch.inf).max(1)
            found = best > -torch.inf
        return under_its_label(x, y, pool[index], found, view.classes, rng)

    def _hardness(self, x, y, pool, view):
        """(B, K): how hard candidate k is as a negative of sample b."""
        if self.by == "goodness":
            return view.label_goodness(x[pool]).float().sum(2).T[y]
        if self.by == "distance":
            return -torch.cdist(x.flatten(1), x[pool].flatten(1))
        h = F.normalize(torch.cat([F.normalize(h.float(), dim=1) for h in view.features(Sample(x))], 1), dim=1)
        return h @ h[pool].T
