"""Prospective configuration (Song et al. 2024): infer what the activities should be, then let weights follow."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


@MODELS.register("prospective")
class Prospective(ForwardForward):
    """Forward-Forward, and each layer also learns to reach by itself the activity that the right answer calls for.

    Inference: the net sees the image under the neutral label, its read-out is clamped to the class, and all activities
    relax for T steps of size η down the energy E = Σ_l ½‖h_l - f(W_l·norm(h_{l-1}) + b_l)‖² + β·CE(read-out(h), class), which
    is that of a predictive coding network. Only then do weights move, each layer's by its own term of E, activities held
    fixed. With T = 0 the activities are where they were, the term is 0, and this is plain Forward-Forward. A net that is
    shown no labels has no class to be clamped to, and relaxes nothing.
    """

    title = "Prospective configuration"
    source = (
        "Song, Millidge, Salvatori, Lukasiewicz, Xu & Bogacz, Nat. Neurosci. 27:348-358 (2024), doi 10.1038/s41593-023-01514-1"
    )
    equation = (
        r"h^*=\arg\min_h\ \sum_l\tfrac12\big\|h_l-f_l(h_{l-1})\big\|^2+\beta\,\mathrm{CE}(h,y),\qquad "
        r"\mathcal L_l=\mathrm{FF}_l+\lambda\,\tfrac12\big\|h^*_l-f_l(h^*_{l-1})\big\|^2"
    )
    traces = {  # noqa: RUF012
        "consolidation": "share of the loss that is consolidation",
        "energy": "energy after relaxing, as a share of that before",
        "moved": "how far activities moved, as a share of their length",
    }
    wiring = (("class", "read-out", "clamped"), ("read-out", "layer above", "relaxes"), ("layer above", "layer", "relaxes"))

    class Settings(ForwardForward.Settings):
        steps: int = Field(8, ge=0, le=200, description="T, relaxation steps; 0: plain Forward-Forward")
        step_size: float = Field(0.2, gt=0, le=1, description="η, size of a relaxation step")
        clamp: float = Field(5.0, gt=0, le=1_000, description="β, how firmly the read-out is held at the class")
        consolidation: float = Field(0.1, ge=0, le=100, description="λ, weight of the move towards the inferred activities")

    def terms(self, x, y, pair, active, view=None):
        view = view or self.view()
        self.inferred = None
        if self.settings.steps and self.labelled:
            self.view_now = view
            self.inferred = self.relax(x, y, view)
            self.image = x
        yield from super().terms(x, y, pair, active, view)

    def predicted(self, layer: int, image: Tensor, h: list[Tensor], view) -> Tensor:
        """f_l: what a layer's weights make of the activity below, (B, n)."""
        z = self.sample_drive(self.shown(image), view) if layer == 0 else self.drive(layer, h[layer - 1])
        return self.activate(z)

    def energy(self, h: list[Tensor], first: Tensor, y: Tensor) -> Tensor:
        """E of every sample, (B,): how far each layer is from what it is foretold, and the clamped read-out."""
        told = [first, *(self.activate(self.drive(i, h[i - 1])) for i in range(1, len(h)))]
        own = sum((a - b).square().sum(1) for a, b in zip(h, told, strict=True)) / 2
        return own + self.settings.clamp * F.cross_entropy(self.head(self.read(h)).float(), y, reduction="none")

    def relax(self, x: Tensor, y: Tensor, view) -> list[Tensor]:
        """Activities after T steps down the energy, [(B, n₁), …]."""
        with torch.no_grad():
            start = self.activities(self.shown(x), view)
        h = list(start)
        with torch.enable_grad():
            for step in range(self.settings.steps):
                h = [a.detach().requires_grad_() for a in h]
                energy = self.energy(h, start[0], y)
                if step == 0:
                    before = energy.detach().mean()
                slope = torch.autograd.grad(energy.sum(), h)
                h = [a - self.settings.step_size * d for a, d in zip(h, slope, strict=True)]
                if self.settings.activation == "relu":
                    h = [a.clamp(min=0) for a in h]
        h = [a.detach() for a in h]
        with torch.no_grad():
            self.fell = self.energy(h, start[0], y).mean() / before.clamp(min=1e-12)
        far = [(a - b).norm() / b.norm().clamp(min=1e-12) for a, b in zip(h, start, strict=True)]
        self.far = torch.stack(far)
        return h

    def extra(self, layer, z, h):
        told = super().extra(layer, z, h)
        self.own = None
        if self.inferred is None:
            return told
        target = self.inferred[layer]
        off = (target - self.predicted(layer, self.image, self.inferred, self.view_now)).square().mean() / 2
        self.own = self.settings.consolidation * off
        return told + self.own

    def term(self, layer, z, h):
        term = super().term(layer, z, h)
        if self.own is not None:
            share = self.own.detach() / term.loss.detach().clamp(min=1e-12)
            told = {"consolidation": share, "energy": self.fell, "moved": self.far[layer]}
            term = term._replace(stats={**term.stats, **told})
        return term
