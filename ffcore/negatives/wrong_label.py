"""The same image under a wrong label, drawn uniformly (Hinton 2022, §3.3)."""

from ffcore.labels import Sample, wrong
from ffcore.negatives import STRATEGIES
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("wrong_label")
class WrongLabel(Strategy):
    """The same image under a wrong label, uniform over the other classes, drawn anew for every batch."""

    title = "Wrong label"
    source = "Hinton 2022, arXiv 2212.13345, §3.3"

    @property
    def below(self):
        return type(self) is WrongLabel

    def pair(self, x, y, view, rng):
        return Pair(Sample(x, y), Sample(x, wrong(y, view.classes, rng)))
