"""The same image under a wrong label that the net itself finds likely (Hinton 2022, §3.3, and his code)."""

from typing import Literal

import torch
from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("hard_label")
class HardLabel(Strategy):
    """The same image under a wrong label sampled from the net's own belief, drawn anew for every batch."""

    title = "Hard label"
    source = "Hinton 2022, arXiv 2212.13345, §3.3 and the code published with it"
    needs_view = True

    by: Literal["goodness", "softmax"] = Field(
        "goodness", description="belief: goodness under each label, or the one-pass softmax head as in Hinton's code"
    )
    temperature: float = Field(
        1 / 3, gt=0, le=100, description="p ∝ exp(belief / temperature): low = only the hardest, high = uniform"
    )
    layers: int = Field(1, ge=0, le=64, description="by goodness: how many layers are asked, from the first on; 0 = all")

    @property
    def below(self):
        return type(self) is HardLabel and self.by == "goodness" and self.layers == 1

    def pair(self, x, y, view, rng):
        belief = (
            view.label_goodness(x, self.layers).sum(2) if self.by == "goodness" else view.label_probs(x).clamp(min=1e-30).log()
        )
        belief = belief.float().scatter(1, y[:, None], -torch.inf) / self.temperature
        # argmax(log p + Gumbel noise) samples p; from uniform numbers, since PyTorch's exponential ones take six times as long
        noise = torch.empty_like(belief).uniform_(1e-30, 1, generator=rng).log_().neg_().log_()
        return Pair(Sample(x, y), Sample(x, (belief - noise).argmax(1)))
