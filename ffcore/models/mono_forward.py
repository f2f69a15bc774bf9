"""Mono-Forward (Gong, Li & Abdulla 2025): every layer learns to read the class off its own activity; no negatives."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from ffcore import goodness as formulas
from ffcore.models import MODELS
from ffcore.models.base import Stack, Term, UnitSettings


@MODELS.register("mono_forward")
class MonoForward(Stack):
    """Each layer has a projection M of its own: its goodness for class c is M_c · h, its loss cross-entropy over classes."""

    title = "Mono-Forward"
    source = "Gong, Li & Abdulla 2025, arXiv 2501.09238"
    uses_negatives = False
    readouts = ("goodness", "last")
    recommended = {"train.lr": 0.01, "train.weight_decay": 0.3}  # noqa: RUF012
    compiles = "layer"
    equation = r"\mathcal L_l=\mathrm{CE}\big(M_l\,h_l,\;y\big),\qquad G_{l,c}=M_{l,c}\cdot h_l"
    traces = {"right": "share of the batch that the layer's own projection gets right"}  # noqa: RUF012
    wiring = (("layer", "projection M", "activity"), ("projection M", "layer", "its error"))

    class Settings(UnitSettings):
        temperature: float = Field(1.0, gt=0, le=1_000, description="goodness is divided by it before the softmax")

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        self.projections = nn.ParameterList(
            self.uniform(f"projection {i}", classes, n, fan_in=n) for i, n in enumerate(settings.widths)
        )

    def groups(self):
        return [list(group) for group in zip(self.weights, self.biases, self.projections, strict=True)]

    def terms(self, x, y, pair, active, view=None):
        active, h = set(active), formulas.normalise(self.pixels(x), "rms")
        for i in range(max(active, default=-1) + 1):
            with torch.set_grad_enabled(i in active):
                # detach: no error crosses a layer
                z, h = self.layer(i, h.detach())
            if i in active:
                told = F.linear(h, self.projections[i]).float()
                loss = F.cross_entropy(told / self.settings.temperature, y) + self.penalty(i, z, h)
                yield Term(i, loss, {"right": (told.argmax(1) == y).float().mean()})

    def label_goodness(self, image):
        told = [F.linear(h, m).float() for h, m in zip(self.activities(image), self.projections, strict=True)]
        return torch.stack(told, 2)

    def scores(self, image, goodness=None):
        goodness = self.label_goodness(image) if goodness is None else goodness
        return {"goodness": goodness.log_softmax(1).sum(2), "last": goodness[:, :, -1]}
