"""The reference study's "predictive coding light", kept because all its units die (flawed on purpose)."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ffcore import goodness as formulas
from ffcore import labels
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


class Trace:
    """What reaches a layer besides its drive: its own input, which its predictor is to find again."""

    def __init__(self, below: Tensor):
        self.below = below


@MODELS.register("ref_pcl")
class ReferencePCL(ForwardForward):
    """Goodness mean h² - a·e - λ·mean |h|, where e is the error of a predictor and h is masked by σ(10e - 5).

    With inputs of unit length e is about 0.002 whatever the image, so the mask is the constant 0.0068, no signal; and below
    an activity of λ/(2·0.0068) goodness falls when activity rises, so positives switch units off, and so does the
    predictor's error, which nothing keeps from the encoder.
    """

    title = "Reference study: PCL"
    source = "The reference study ff-negative-samples (2026); not what N'dri et al. describe"
    faithful = False
    equation = (
        r"g_l=\tfrac1n\textstyle\sum h^2-a\,e-\lambda\,\tfrac1n\sum|h|,\qquad h=\big(1-k(1-\sigma(10e-5))\big)\,"
        r"\mathrm{ReLU}(Wx+b),\quad e=\mathrm{mean}\,(Ph-x)^2"
    )
    traces = {  # noqa: RUF012
        "mask": "mean of the mask that multiplies every activity",
        "error": "mean squared error of the predictor",
        "silent": "share of units that are at 0 for the whole batch, before the mask",
    }

    class Settings(ForwardForward.Settings):
        mask: float = Field(1.0, ge=0, le=1, description="k, how much the mask takes away from what is predicted well; 0: none")
        penalty_error: float = Field(0.5, ge=0, le=10, description="a, weight of the predictor's error in goodness")
        penalty_size: float = Field(0.1, ge=0, le=10, description="λ, weight of mean |h| in goodness")
        coupled: bool = Field(True, description="the predictor's error also moves the encoder")

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        sizes = [self.inputs, *settings.widths]
        self.predictors = nn.ParameterList(
            self.uniform(f"predictor {i}", sizes[i], n, fan_in=n) for i, n in enumerate(settings.widths)
        )
        self.offsets = nn.ParameterList(self.uniform(f"offset {i}", sizes[i], fan_in=n) for i, n in enumerate(settings.widths))

    def groups(self):
        groups = super().groups()
        for group, *own in zip(groups, self.predictors, self.offsets, strict=False):
            group += own
        return groups

    def context(self, z: Tensor, *samples: Sample):
        seen, settings = [], self.settings
        for image, label in samples:
            x = labels.room(self.pixels(image), self.classes, settings.label)
            if settings.label == "appended":
                x = F.pad(x, (0, self.classes))
            if label is not None:
                shown = F.one_hot(label, self.classes) if not label.is_floating_point() else label
                place = slice(x.shape[1] - self.classes, None) if settings.label == "appended" else slice(self.classes)
                x = x.clone()
                x[:, place] = settings.label_value * shown.to(x.dtype)
            seen.append(formulas.normalise(x, settings.norm))
        return Trace(torch.cat(seen))

    def activity(self, layer, z, context):
        raw = self.activate(z)
        heard = raw if self.settings.coupled else raw.detach()
        error = (F.linear(heard, self.predictors[layer], self.offsets[layer]).float() - context.below).square().mean(1)
        gained = error if self.settings.coupled else error.detach()
        mask = 1 - self.settings.mask * (1 - torch.sigmoid(10 * gained - 5))
        h = mask[:, None] * raw
        context.below = formulas.normalise(h.detach(), self.settings.norm)
        self.seen = raw.detach(), error, gained, mask.detach(), h
        return h

    def logits(self, layer, g):
        _, _, gained, _, h = self.seen
        return g - self.settings.penalty_error * gained - self.settings.penalty_size * h.abs().mean(1)

    def extra(self, layer, z, h):
        return super().extra(layer, z, h) + self.settings.penalty_error * self.seen[1].mean()

    def traced(self, layer):
        raw, error, _, mask, _ = self.seen
        return {"mask": mask.mean(), "error": error.detach().mean(), "silent": (raw.amax(0) <= 0).float().mean()}

    def features(self, sample):
        told = self.rise(self.sample_drive(sample, self), sample)
        return [self.seen[0] for _ in told]

    def transmitted(self, sample):
        return self.activities(sample)
