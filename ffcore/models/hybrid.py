"""Hybrids of Forward-Forward and backpropagation: one below the other, one after the other, in turns, or mixed."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from ffcore import goodness as formulas
from ffcore.models import MODELS
from ffcore.models.base import Term
from ffcore.models.ff import ForwardForward, NetSettings


@MODELS.register("hybrid")
class Hybrid(ForwardForward):
    """Loss (1 - r)·Σ FF_l + r·CE, where backpropagation has r; the read-out sees the top layer, under the neutral label.

    split: the layers below learn by Forward-Forward, those above by backpropagation from the read-out, which stops at the
    border. two_stage: r = 0 for the first share of the run, then 1. alternating: r is 0 and 1 in turns. mixed: r is fixed.
    But for `split`, one optimiser moves all weights, once a step (the reference study moved some twice).
    """

    title = "Hybrid with backpropagation"
    source = "after the reference study ff-negative-samples, 2026; Hinton 2022, arXiv 2212.13345"
    is_local = False
    steady = False  # r changes with the run
    readouts = ("softmax", "goodness")
    equation = (
        r"\mathcal L=(1-r)\sum_l\mathrm{softplus}\big(-\alpha(g_l^+-g_l^-)\big)+"
        r"r\,\mathrm{CE}\big(\mathrm{softmax}(Vh_L),y\big)"
    )
    traces = {"ratio": "r, share of backpropagation in the loss"}  # noqa: RUF012
    wiring = (("read-out", "layer above", "error"), ("layer above", "layer", "error, where backpropagation reaches"))
    recommended = {"negatives.name": "hard_label", "train.lr": 0.01}  # noqa: RUF012

    class Settings(ForwardForward.Settings):
        mode: Literal["split", "two_stage", "alternating", "mixed"] = Field("mixed", description="how the two are combined")
        below: int = Field(1, ge=1, le=63, description="layers that learn by Forward-Forward (split only)")
        ratio: float = Field(0.5, gt=0, lt=1, description="r, share of backpropagation: of the loss (mixed) or of the run")
        turns: int = Field(5, ge=1, le=1_000, description="how often Forward-Forward's turn comes (alternating only)")
        widths: NetSettings.model_fields["widths"].annotation = Field(
            (500, 500, 500), min_length=1, max_length=64, description="units of each layer"
        )

        @model_validator(mode="after")
        def _border(self):
            if self.mode == "split" and self.below >= len(self.widths):
                raise ValueError(f"below={self.below} leaves no layer of {len(self.widths)} to backpropagation; lower below")
            if self.mode == "split" and any(vote > self.below for vote in self.votes):
                raise ValueError(f"votes={list(self.votes)}: only the first {self.below} learn by goodness; leave votes out")
            return self

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        split = settings.mode == "split"
        self.border = settings.below if split else 0  # the first layer that errors reach
        self.votes = [v - 1 for v in settings.votes] or list(range(settings.below if split else len(settings.widths)))
        self.head = nn.Linear(settings.widths[-1], classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def groups(self):
        *layers, head = super().groups()
        if self.settings.mode != "split":
            return [[p for group in (*layers, head) for p in group]]
        return [*layers[: self.border], [p for group in (*layers[self.border :], head) for p in group]]

    def layer_groups(self):
        return list(range(len(self.groups())))

    @property
    def ratio(self) -> float:
        """r now."""
        s = self.settings
        if s.mode == "mixed":
            return s.ratio
        at = self.progress if s.mode == "two_stage" else self.progress * s.turns % 1
        return float(at >= 1 - s.ratio)

    def read(self, activities):
        return formulas.normalise(activities[-1], "rms")

    def terms(self, x, y, pair, active, view=None):
        view, r, active = view or self.view(), self.ratio, set(active)
        if self.settings.mode == "split":
            for layer, z, h in self.climb(pair, view, min(self.border, max(active, default=-1) + 1), active):
                if layer in active:
                    yield self.term(layer, z, h)
            if self.border in active:
                yield Term(self.border, self.from_above(x, y, view), {"ratio": torch.ones(())})
        elif 0 in active:
            loss, stats = 0.0, {}
            if r < 1:
                layers = range(len(self.weights))
                own = [self.term(layer, z, h) for layer, z, h in self.climb(pair, view, len(layers), set(layers))]
                loss = (1 - r) * sum(term.loss for term in own)
                stats = {side: torch.stack([term.stats[side] for term in own], 1) for side in ("pos", "neg")}
            if r > 0:
                loss = loss + r * self.from_above(x, y, view)
            yield Term(0, loss, {**stats, "ratio": torch.tensor(r)})

    def from_above(self, x: Tensor, y: Tensor, view) -> Tensor:
        """Cross-entropy of the read-out, whose error reaches down to the border, and what keeps the units there alive."""
        kept, h = 0.0, x
        for layer in range(len(self.weights)):
            with torch.set_grad_enabled(layer >= self.border):
                z = self.drive(layer, h) if layer else self.sample_drive(self.shown(x), view)
                h = self.activate(z)
                if self.settings.mode == "split" and layer >= self.border:
                    kept = kept + self.penalty(layer, z, h)
        return F.cross_entropy(self.head(self.read([h])).float(), y) + kept
