"""Backpropagation on the same widths and the same data path: the honest reference (Rumelhart, Hinton & Williams 1986)."""

import torch.nn.functional as F
from torch import nn

from ffcore import goodness as formulas
from ffcore.models import MODELS
from ffcore.models.base import Stack, Term


@MODELS.register("backprop")
class Backprop(Stack):
    """A multilayer perceptron trained end to end by cross-entropy: one loss moves all layers."""

    title = "Backpropagation"
    source = "Rumelhart, Hinton & Williams 1986, doi 10.1038/323533a0"
    is_local = False
    uses_negatives = False
    has_goodness = False
    readouts = ("softmax",)
    recommended = {"train.lr": 0.003}  # noqa: RUF012
    compiles = "layer"
    equation = (
        r"\mathcal L=\mathrm{CE}\big(\mathrm{softmax}(V h_L),\,y\big),\quad "
        r"\Delta W_l\propto-\frac{\partial\mathcal L}{\partial h_L}\frac{\partial h_L}{\partial h_{L-1}}\cdots"
        r"\frac{\partial h_l}{\partial W_l}"
    )
    wiring = (("read-out", "layer above", "error"), ("layer above", "layer", "error"), ("layer", "layer below", "error"))

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        self.head = nn.Linear(settings.widths[-1], classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def groups(self):
        return [list(self.parameters())]

    def terms(self, x, y, pair, active, view=None):
        if 0 in active:
            h, kept = formulas.normalise(self.pixels(x), "rms"), 0.0
            for i in range(len(self.weights)):
                z, h = self.layer(i, h)
                kept = kept + self.penalty(i, z, h)
            yield Term(0, F.cross_entropy(self.head(h).float(), y) + kept)

    def scores(self, image, goodness=None):
        return {"softmax": self.head(self.activities(image)[-1]).float()}
