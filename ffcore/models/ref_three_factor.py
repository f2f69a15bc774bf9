"""The reference study's "three-factor" rule, kept because its modulator leaks the answer (flawed on purpose)."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


@MODELS.register("ref_three_factor")
class ReferenceThreeFactor(ForwardForward):
    """g̃ = g·(1 + s·tanh M) with a learnable gain s per layer, and the loss on g̃: no third factor, a rescaled goodness.

    reward_prediction: M = r - r̄ where r is 1 for positives and 0 for negatives: the very thing to be told apart. The gain
    grows, the loss falls to nothing, and the units learn nothing. layer_agreement: Pearson correlation of unit j with unit j
    of the next layer, whose numbering means nothing.
    """

    title = "Reference study: three-factor"
    source = "The reference study ff-negative-samples (2026)"
    faithful = False
    equation = r"\tilde g_l=g_l\,\big(1+s_l\tanh M\big),\qquad \frac{\partial\mathcal L}{\partial s_l}\ne0"
    traces = {  # noqa: RUF012
        "gain": "the learnt gain s",
        "factor_pos": "mean factor 1 + s·tanh M of positives",
        "factor_neg": "mean factor of negatives",
    }

    class Settings(ForwardForward.Settings):
        modulator: Literal["reward_prediction", "layer_agreement"] = Field(
            "reward_prediction", description="M, what the factor on goodness is made of"
        )
        gain: float = Field(0.5, ge=-10, le=10, description="s at the start")

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        layers = len(settings.widths)
        self.gains = nn.ParameterList(torch.tensor(float(settings.gain)) for _ in range(layers))
        self.register_buffer("expected", torch.full((layers,), 0.5))

    def groups(self):
        groups = super().groups()
        for group, gain in zip(groups, self.gains, strict=False):
            group.append(gain)
        return groups

    def context(self, z: Tensor, *samples: Sample):
        if self.settings.modulator == "layer_agreement":
            with torch.no_grad():
                return self.plain(z)
        return None

    def activity(self, layer, z, context):
        self.layers = context
        return super().activity(layer, z, context)

    def logits(self, layer, g):
        factor = 1 + self.gains[layer] * torch.tanh(self.modulator(layer, g))
        self.factor = factor.detach()
        return g * factor

    @torch.no_grad()
    def modulator(self, layer: int, g: Tensor) -> Tensor:
        """M of positives, then negatives, (2B,)."""
        if self.settings.modulator == "reward_prediction":
            reward = torch.ones_like(g)
            reward[len(g) // 2 :] = 0
            told = reward - self.expected[layer]
            for side in (1.0, 0.0):
                self.expected[layer] = 0.99 * self.expected[layer] + 0.01 * side
            return told
        other = layer + 1 if layer + 1 < len(self.layers) else max(0, layer - 1)
        width = min(self.layers[layer].shape[1], self.layers[other].shape[1])
        a, b = (h[:, :width] - h[:, :width].mean(1, keepdim=True) for h in (self.layers[layer], self.layers[other]))
        return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-8)

    def traced(self, layer):
        pos, neg = self.factor.chunk(2)
        return {"gain": self.gains[layer].detach().clone(), "factor_pos": pos.mean(), "factor_neg": neg.mean()}
