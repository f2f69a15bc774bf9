"""Goodness as a sum under log(1 + exp(·)), as the popular scripts write it: it overflows (flawed on purpose)."""

import torch
from pydantic import Field

from ffcore.models import MODELS
from ffcore.models.base import UnitSettings
from ffcore.models.ff import ForwardForward, NetSettings


@MODELS.register("ref_overflow")
class ReferenceOverflow(ForwardForward):
    """log(1 + exp(θ - g⁺)) + log(1 + exp(g⁻ - θ)) with g = Σ h²: exp leaves float32 at 88, a sum of 500 squares passes it."""

    title = "Reference study: sum and exp"
    source = "The reference study ff-negative-samples (2026), after mpezeshki/pytorch_forward_forward"
    faithful = False
    equation = (
        r"\mathcal L_l=\log\big(1+e^{\theta-g_l^+}\big)+\log\big(1+e^{g_l^--\theta}\big),"
        r"\qquad g_l=\textstyle\sum_i h_{l,i}^2"
    )

    class Settings(NetSettings, UnitSettings):
        theta: float = Field(2.0, ge=0, le=1_000, description="θ, goodness that separates real from negative")

    def goodness(self, layer, h):
        return h.square().sum(1)

    def objective(self, pos, neg):
        return torch.log(1 + torch.exp(self.settings.theta - pos)) + torch.log(1 + torch.exp(neg - self.settings.theta))
