"""Predictive Coding Light (N'dri et al. 2025): inhibition learns what is predictable and keeps units from saying it."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ffcore import goodness as formulas
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


@MODELS.register("pcl")
class PredictiveCodingLight(ForwardForward):
    """h = ReLU(drive - V·pre), V ≥ 0: what other units foretell is suppressed, and the rest is passed on.

    No prediction error is transmitted. `pre` is the layer's own activity before inhibition (lateral, no unit inhibits
    itself) or the activity of the layer above (top_down; the top layer has none above and keeps lateral inhibition).
    V grows where pre and post are active together more often than the target rate, and shrinks else: ΔV ∝ pre · (post - ρ),
    the rule of inhibitory plasticity (Vogels et al., Science 334:1569-1573 (2011), doi 10.1126/science.1211095), which
    is also what holds every unit at its rate. The objective of Forward-Forward sees inhibition as given, and V sees nothing
    of the objective. So that weights do not outgrow it, adaptive sparsity presses on them too. A rate model of a spiking
    network; the form is ours.
    """

    title = "Predictive coding light"
    source = "N'dri, Barbier, Teulière & Triesch, Nat. Commun. 16 (2025), doi 10.1038/s41467-025-64234-z"
    equation = (
        r"h_l=\mathrm{ReLU}\big(W_l\,\mathrm{norm}(h_{l-1})+b_l-V_l\,p_l\big),\quad V_l\ge0,\qquad "
        r"\Delta V_{ij}\propto p_j\,\big([h_i>0]-\rho\big)"
    )
    traces = {  # noqa: RUF012
        "inhibition": "mean inhibition V·pre",
        "rate": "share of units that are on (ρ is the target)",
        "saved": "share of the activity before inhibition that is not passed on",
    }
    wiring = (("layer", "inhibition V", "what is active"), ("inhibition V", "layer", "− what that foretells"))

    class Settings(ForwardForward.Settings):
        inhibition: Literal["lateral", "top_down"] = Field("lateral", description="where inhibition comes from")
        rate: float = Field(0.12, gt=0, lt=1, description="ρ, target share of images for which a unit is on")
        sparsity: float = Field(
            0.12, ge=0, lt=1, description="share of units on that a penalty of just enough weight aims at as well; 0: off"
        )
        speed: float = Field(1.0, gt=0, le=100, description="how fast inhibition grows beside the weights that it inhibits")

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        widths = settings.widths
        self.lateral = [settings.inhibition == "lateral" or i == len(widths) - 1 for i in range(len(widths))]
        self.inhibitory = nn.ParameterList(
            torch.zeros(n, n if self.lateral[i] else widths[i + 1]) for i, n in enumerate(widths)
        )

    def groups(self):
        groups = super().groups()
        for group, v in zip(groups, self.inhibitory, strict=False):
            group.append(v)
        return groups

    def terms(self, x, y, pair, active, view=None):
        with torch.no_grad():
            for layer in set(active) - {len(self.weights)}:
                v = self.inhibitory[layer].clamp_(min=0)  # the optimiser may have stepped below
                if self.lateral[layer]:
                    v.fill_diagonal_(0)
        yield from super().terms(x, y, pair, active, view)

    def context(self, z: Tensor, *samples: Sample):
        if all(self.lateral):
            return None
        with torch.no_grad():
            return self.plain(z)[1:]

    def suppression(self, layer: int, pre: Tensor) -> Tensor:
        """V·pre, never negative, from the activities that inhibit, (B, m) → (B, n)."""
        v = self.inhibitory[layer]
        v = v + (v.clamp(min=0) - v).detach()  # a clamp would stop the gradient at 0, where all of V begins
        if self.lateral[layer]:
            v = v - torch.diag(v.diagonal())
        return F.linear(formulas.normalise(pre, "rms"), self.settings.speed * v / v.shape[1] ** 0.5).float()

    def activity(self, layer, z, context):
        free = self.activate(z.detach())
        inhibition = self.suppression(layer, free if self.lateral[layer] else context[layer])
        h = self.activate(z - inhibition.detach())
        self.seen = free, inhibition, h.detach()
        return h

    def extra(self, layer, z, h):
        _, inhibition, h_seen = self.seen
        rule = (inhibition * ((h_seen > 0).float() - self.settings.rate)).sum(1).mean()
        return super().extra(layer, z, h) - rule / inhibition.shape[1]

    def traced(self, layer):
        free, inhibition, h = self.seen
        saved = 1 - h.sum() / free.sum().clamp(min=1e-12)
        return {"inhibition": inhibition.detach().mean(), "rate": (h > 0).float().mean(), "saved": saved}
