"""Dendritic Forward-Forward: what arrives at a unit's apical dendrite gates what its basal dendrite drives."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ffcore import goodness as formulas
from ffcore import labels
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


@MODELS.register("dendritic")
class Dendritic(ForwardForward):
    """h = ReLU(basal) · 2σ(apical), and goodness also counts units that are active beside active neighbours.

    The apical dendrite sees the label, the activity of the layer above (of a first pass upwards, without gates), or both;
    the top layer, with nothing above it, sees the label. `compartments`: basal weights learn by the objective with the gate
    held fixed; apical weights learn on their own, by co-activity with neighbouring apical dendrites on real data and
    whatever the unit itself does (Wright, Hedrick & Komiyama, Science 388:322-328 (2025), doi 10.1126/science.ads4706, who
    found just these two rules; how they are written here is ours).
    """

    title = "Dendritic"
    source = "after the reference study ff-negative-samples, 2026; Wright, Hedrick & Komiyama 2025, doi 10.1126/science.ads4706"
    equation = (
        r"h_l=\mathrm{ReLU}\big(W_l\,\mathrm{norm}(h_{l-1})+b_l\big)\odot 2\sigma\big(A_l\,c_l+a_l\big),\qquad "
        r"g_l=\tfrac1n\textstyle\sum_i\big[h_i^2+\kappa\,h_i\cdot\tfrac1{2R}\sum_{0<|o|\le R}h_{i+o}\big]"
    )
    traces = {"gate": "mean of the apical gates (1: no effect)", "gate_spread": "their standard deviation"}  # noqa: RUF012
    wiring = (("label", "layer", "apical gate"), ("layer above", "layer", "apical gate"))

    class Settings(ForwardForward.Settings):
        apical: Literal["label", "above", "both"] = Field("label", description="what the apical dendrites see")
        coactivity: float = Field(0.3, ge=0, le=10, description="κ, weight of co-activity with neighbours in goodness")
        reach: int = Field(5, ge=1, le=100, description="R, how many units to each side are neighbours (in a ring)")
        rule: Literal["goodness", "compartments"] = Field(
            "goodness", description="apical weights follow the objective, or co-activity among apical dendrites alone"
        )

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        widths, seen = settings.widths, settings.apical
        self.apical_label = nn.ParameterDict(
            {
                str(i): self.uniform(f"apical label {i}", classes, n, fan_in=classes)
                for i, n in enumerate(widths)
                if seen != "above" or i == len(widths) - 1
            }
        )
        self.apical_above = nn.ParameterDict(
            {
                str(i): self.uniform(f"apical above {i}", n, widths[i + 1], fan_in=widths[i + 1])
                for i, n in enumerate(widths[:-1])
                if seen != "label"
            }
        )
        self.apical_bias = nn.ParameterList(torch.zeros(n) for n in widths)

    def groups(self):
        groups = super().groups()
        for i, bias in enumerate(self.apical_bias):
            groups[i].append(bias)
            groups[i] += [table[str(i)] for table in (self.apical_label, self.apical_above) if str(i) in table]
        return groups

    def context(self, z: Tensor, *samples: Sample):
        above = None
        if self.apical_above:
            with torch.no_grad():
                above = [formulas.normalise(h, "rms") for h in self.plain(z)[1:]]
        return labels.joined(samples, self.classes), above

    def apical(self, layer: int, context) -> Tensor:
        """Drive of a layer's apical dendrites, (B, n), or (n,) where they see nothing."""
        label, above = context
        told, key = self.apical_bias[layer], str(layer)
        if key in self.apical_label and label is not None:
            told = told + labels.drive(label, self.apical_label[key], 1.0)
        if key in self.apical_above:
            told = told + F.linear(above[layer], self.apical_above[key]).float()
        return told

    def activity(self, layer, z, context):
        apical = self.apical(layer, context).expand_as(z)
        gate = 2 * torch.sigmoid(apical)
        self.seen = apical, gate.detach()
        return self.activate(z) * (gate.detach() if self.settings.rule == "compartments" else gate)

    def beside(self, h: Tensor) -> Tensor:
        """Mean activity of each unit's neighbours, (B, n) → (B, n); memory B · n, whatever their number."""
        reach = min(self.settings.reach, (h.shape[1] - 1) // 2)
        if reach == 0:
            return torch.zeros_like(h)
        ring = F.pad(h[:, None], (reach, reach), mode="circular")
        return ((2 * reach + 1) * F.avg_pool1d(ring, 2 * reach + 1, 1)[:, 0] - h) / (2 * reach)

    def goodness(self, layer, h):
        return super().goodness(layer, h) + self.settings.coactivity * (h * self.beside(h)).mean(1)

    def extra(self, layer, z, h):
        told = super().extra(layer, z, h)
        if self.settings.rule == "goodness":
            return told
        gate = torch.sigmoid(self.seen[0].chunk(2)[0])  # of the positives
        beside = self.beside(gate.detach())
        return told - (gate * (beside - beside.mean(1, keepdim=True))).mean()

    def traced(self, layer):
        return {"gate": self.seen[1].mean(), "gate_spread": self.seen[1].std(correction=0)}
