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
    relax for T steps of size η down the energy E = Σ_l ½‖h_l - f(W_l·norm(h_{l-1}) + b_l)‖²/s_l + β·CE(read-out(h), class),
    that of a predictive coding network; s_l, the layer's mean square activity, makes all layers count alike (a precision).
    A step is taken on that scale, and halved where it would lead uphill. Only then do weights move, each layer's by its own
    term of E, activities held fixed. With T = 0 the activities are where they were, the term is 0, and this is plain
    Forward-Forward. A net that is shown no labels has no class to be clamped to, and relaxes nothing.
    """

    title = "Prospective configuration"
    source = (
        "Song, Millidge, Salvatori, Lukasiewicz, Xu & Bogacz, Nat. Neurosci. 27:348-358 (2024), doi 10.1038/s41593-023-01514-1"
    )
    equation = (
        r"h^*=\arg\min_h\ \sum_l\tfrac1{2s_l}\big\|h_l-f_l(h_{l-1})\big\|^2+\beta\,\mathrm{CE}(h,y),\qquad "
        r"\mathcal L_l=\mathrm{FF}_l+\tfrac{\lambda}{2ns_l}\,\big\|h^*_l-f_l(h^*_{l-1})\big\|^2"
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
        consolidation: float = Field(30.0, ge=0, le=1_000, description="λ, weight of the move towards the inferred activities")

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
        own = sum((a - b).square().sum(1) / s for a, b, s in zip(h, told, self.scales, strict=True)) / 2
        return own + self.settings.clamp * F.cross_entropy(self.head(self.read(h)).float(), y, reduction="none")

    def slope(self, h: list[Tensor], first: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """E of every sample, (B,), and its gradient in the activities, [(B, n₁), …]."""
        with torch.enable_grad():
            h = [a.detach().requires_grad_() for a in h]
            energy = self.energy(h, first, y)
            return energy.detach(), [d.detach() for d in torch.autograd.grad(energy.sum(), h)]

    def relax(self, x: Tensor, y: Tensor, view) -> list[Tensor]:
        """Activities after T steps down the energy, [(B, n₁), …]."""
        with torch.no_grad():
            start = self.activities(self.shown(x), view)
            self.scales = [a.square().mean().clamp(min=1e-12) for a in start]
        h = list(start)
        energy, slope = self.slope(h, start[0], y)
        before, step = energy.mean(), torch.full((len(x), 1), self.settings.step_size, device=x.device)
        for _ in range(self.settings.steps):
            there = [a - step * s * d for a, d, s in zip(h, slope, self.scales, strict=True)]
            if self.settings.activation == "relu":
                there = [a.clamp(min=0) for a in there]
            lower, down = self.slope(there, start[0], y)
            falls = (lower <= energy)[:, None]  # where a step leads uphill, it is halved and not taken
            h = [torch.where(falls, a, b) for a, b in zip(there, h, strict=True)]
            slope = [torch.where(falls, a, b) for a, b in zip(down, slope, strict=True)]
            energy, step = torch.minimum(lower, energy), torch.where(falls, step, step / 2)
        self.fell = energy.mean() / before.clamp(min=1e-12)
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
        self.own = self.settings.consolidation * off / self.scales[layer]
        return told + self.own

    def term(self, layer, z, h):
        term = super().term(layer, z, h)
        if self.own is not None:
            share = self.own.detach() / term.loss.detach().clamp(min=1e-12)
            told = {"consolidation": share, "energy": self.fell, "moved": self.far[layer]}
            term = term._replace(stats={**term.stats, **told})
        return term
