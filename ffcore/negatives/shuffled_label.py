"""The reference study's negatives: the batch's own labels, shuffled once. One in C of them is right."""

import torch

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("shuffled_label")
class ShuffledLabel(Strategy):
    """The same image under another's label: one fixed shuffle that leaves one in C right.

    Kept to show the cost: little under the gap objective, where such a pair is its own negative and merely wasted; under the
    threshold objective it pulls the same goodness up and down.
    """

    title = "Shuffled labels (flawed on purpose)"
    source = "mpezeshki/pytorch_forward_forward (2022) and the reference study ff-negative-samples (2026)"
    faithful = False

    def pair(self, x, y, view, rng):
        once = torch.Generator(rng.device).manual_seed(rng.initial_seed())  # the same draw at every step
        return Pair(Sample(x, y), Sample(x, y[torch.randperm(len(y), generator=once, device=y.device)]))
