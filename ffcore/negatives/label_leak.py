"""The reference study's label-free protocol: positives carry a label, negatives none, and that is all there is to tell."""

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import others
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("label_leak")
class LabelLeak(Strategy):
    """Mix-ups without a label against images with theirs. Kept to show the cost: one lit label input solves it."""

    title = "Label in the positives only (flawed on purpose)"
    source = "the reference study ff-negative-samples (2026), correct_neg_strategy_comparison"
    faithful = False

    def pair(self, x, y, view, rng):
        return Pair(Sample(x, y), Sample((x + others(x, rng)) / 2))
