"""Three-factor learning (Frémaux & Gerstner 2016): the local update is an eligibility, and a modulator scales it."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


@MODELS.register("three_factor")
class ThreeFactor(ForwardForward):
    """ΔW = η · M · (what Forward-Forward would do), pair by pair; M says how much this image matters just now.

    G_c is the goodness under label c over the layers that vote, p = softmax over c of α·G_c, y the true class, l a layer:

    reward_prediction  |r - r̄|, r = 1 if the net's own decision is right, r̄ its running mean: the size of the reward
                       prediction error (dopamine; Schultz, Dayan & Montague 1997, doi 10.1126/science.275.5306.1593)
    top_down           1 - p_y: what the whole net does not yet believe, sent down to every layer (Roelfsema & Holtmaat 2018,
                       doi 10.1038/nrn.2018.6)
    layer_agreement    share of the other layers whose own favourite label is layer l's (consensus among areas; the
                       reference study ff-negative-samples, 2026, which compared units of unrelated index)
    novelty            |g_l⁺ - its running mean|, in running standard deviations: unexpected uncertainty (noradrenaline; Yu &
                       Dayan 2005, doi 10.1016/j.neuron.2005.04.026)
    attention          entropy of p: expected uncertainty (acetylcholine; the same)
    none               1

    A net that is shown no labels has no beliefs about them: but for novelty, its M is 1.
    M is never a path for a gradient and has mean 1 over a batch, else it would only be a learning rate; `floor` of it is shared
    by all pairs.
    """

    title = "Three-factor"
    source = "Frémaux & Gerstner, Front. Neural Circuits 9:85 (2016), doi 10.3389/fncir.2015.00085"

    equation = (
        r"\Delta W_l=-\eta\;\big\langle M\;\nabla_{W_l}\,\mathrm{softplus}(-\alpha(g_l^+-g_l^-))\big\rangle,"
        r"\qquad \langle M\rangle=1"
    )
    traces = {  # noqa: RUF012
        "modulator": "spread of the modulator M over the batch (its mean is 1)",
        "expected_reward": "running mean of the net's own success",
    }
    wiring = (("read-out", "modulator M", "its own success"), ("modulator M", "layer", "how much to learn"))

    class Settings(ForwardForward.Settings):
        modulator: Literal["reward_prediction", "top_down", "layer_agreement", "novelty", "attention", "none"] = Field(
            "reward_prediction", description="the third factor M"
        )
        floor: float = Field(0.2, ge=0, lt=1, description="share of M that every pair gets alike")
        memory: float = Field(0.99, ge=0, lt=1, description="how much of the running means is kept from one batch to the next")

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        self.register_buffer("expected_reward", torch.tensor(1 / classes))
        self.register_buffer("usual", torch.zeros(len(settings.widths)))  # goodness of positives, per layer
        self.register_buffer("spread", torch.ones(len(settings.widths)))  # its variance

    def terms(self, x, y, pair, active, view=None):
        view = view or self.view()
        if self.kind not in ("novelty", "none"):
            self.beliefs = view.label_goodness(x).float()  # (B, C, L)
            self.whole, self.true = self.voted(self.beliefs), y
        if self.kind == "reward_prediction":
            self.reward = (self.whole.argmax(1) == y).float()
            self.surprise = (self.reward - self.expected_reward).abs()
            self.expected_reward.lerp_(self.reward.mean(), 1 - self.settings.memory)
        yield from super().terms(x, y, pair, active, view)

    @property
    def kind(self) -> str:
        """The modulator, or none where it would ask for beliefs about labels and the net is shown none."""
        asks = self.settings.modulator not in ("novelty", "none")
        return "none" if asks and not self.labelled else self.settings.modulator

    def weight(self, layer, pos, neg):
        factor = self.modulator(layer, pos)
        mean = factor.mean()
        factor = torch.where(mean > 1e-6, factor / mean.clamp(min=1e-6), 1.0)  # all alike, if M is 0 for the whole batch
        self.factor = self.settings.floor + (1 - self.settings.floor) * factor
        return self.factor

    def traced(self, layer):
        return {"modulator": self.factor.std(correction=0), "expected_reward": self.expected_reward.clone()}

    @torch.no_grad()
    def modulator(self, layer: int, pos: Tensor) -> Tensor:
        """M of every pair before it is brought to mean 1, (B,), never negative; `pos`: goodness of the positives (B,)."""
        kind = self.kind
        if kind == "none":
            return torch.ones_like(pos)
        if kind == "reward_prediction":
            return self.surprise
        if kind == "novelty":
            far = (pos - self.usual[layer]).abs() / self.spread[layer].sqrt()
            keep = 1 - self.settings.memory
            self.spread[layer].lerp_((pos - self.usual[layer]).square().mean(), keep)
            self.usual[layer].lerp_(pos.mean(), keep)
            return far
        if kind == "layer_agreement":
            votes = self.beliefs.argmax(1)  # (B, L)
            return ((votes == votes[:, layer, None]).sum(1) - 1).float() / max(1, votes.shape[1] - 1)
        p = (self.settings.alpha * self.whole).softmax(1)
        if kind == "top_down":
            return 1 - p.gather(1, self.true[:, None]).squeeze(1)
        return -(p * p.clamp(min=1e-12).log()).sum(1)
