"""Backpropagation on the same widths and the same data path: the honest reference (Rumelhart, Hinton & Williams 1986)."""

import itertools

import torch.nn.functional as F
from torch import nn

from ffcore import goodness as formulas
from ffcore.models import MODELS
from ffcore.models.base import ACTIVATIONS, LayerSettings, Model, Term


@MODELS.register("backprop")
class Backprop(Model):
    """A multilayer perceptron trained end to end by cross-entropy: one loss moves all layers."""

    title = "Backpropagation"
    source = "Rumelhart, Hinton & Williams 1986, doi 10.1038/323533a0"
    is_local = False
    uses_negatives = False
    has_goodness = False
    readouts = ("softmax",)
    recommended = {"train.lr": 0.003}  # noqa: RUF012
    compiles = "scores"

    Settings = LayerSettings

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        sizes = [self.shape[0] * self.shape[1] * self.shape[2], *settings.widths]
        pairs = list(enumerate(itertools.pairwise(sizes)))
        self.weights = nn.ParameterList(self.uniform(f"weight {i}", n, m, fan_in=m) for i, (m, n) in pairs)
        self.biases = nn.ParameterList(self.uniform(f"bias {i}", n, fan_in=m) for i, (m, n) in pairs)
        self.head = nn.Linear(sizes[-1], classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def groups(self):
        return [list(self.parameters())]

    def terms(self, x, y, pair, active, view=None):
        if 0 in active:
            yield Term(0, F.cross_entropy(self.scores(x)["softmax"], y))

    def scores(self, image, goodness=None):
        return {"softmax": self.head(self._activities(image)[-1]).float()}

    def features(self, sample):
        return self._activities(sample.image)

    def incoming(self):
        return list(zip(self.weights, self.biases, strict=True))

    def _activities(self, image):
        h = formulas.normalise(self.pixels(image), "rms")
        out = []
        for w, b in zip(self.weights, self.biases, strict=True):
            h = ACTIVATIONS[self.settings.activation](F.linear(h, w, b))
            out.append(h)
        return out
