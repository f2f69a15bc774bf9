"""Denoising autoencoders, layer by layer (Vincent et al., ICML 2008): a layer keeps what it needs to restore its own input."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ffcore import goodness as formulas
from ffcore.models import MODELS
from ffcore.models.base import LabelFree, Term, UnitSettings


@MODELS.register("reconstruction")
class Reconstruction(LabelFree):
    """Every layer has a linear decoder of its own and restores its input, at mean square 1, from a blanked copy of it."""

    title = "Reconstruction"
    source = (
        "Vincent, Larochelle, Bengio & Manzagol, ICML 2008, doi 10.1145/1390156.1390294, on the greedy layer-wise "
        "autoencoders of Bengio, Lamblin, Popovici & Larochelle, NIPS 2006"
    )
    recommended = {"train.lr": 0.02, "train.drop_pixels": 0.0}  # noqa: RUF012
    equation = (
        r"\mathcal L_l=\tfrac1m\big\lVert V_l\,h_l(\tilde u)+c_l-u\big\rVert^2,\qquad u=\mathrm{norm}(h_{l-1}),"
        r"\quad \tilde u=u\ \text{with a share}\ q\ \text{of it blanked}"
    )
    traces = {"unexplained": "mean squared error of the restored input, whose mean square is 1"}  # noqa: RUF012
    wiring = (("layer", "decoder V", "activity"), ("decoder V", "layer", "its error against the layer's own input"))

    class Settings(UnitSettings):
        corruption: float = Field(
            0.6, ge=0, le=0.95, description="q, share of a layer's input that is blanked before it is restored"
        )

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        self.decoders = nn.ParameterList(
            self.uniform(f"decoder {i}", w.shape[1], w.shape[0], fan_in=w.shape[0]) for i, w in enumerate(self.weights)
        )
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(w.shape[1])) for w in self.weights)

    def layer_parameters(self, i):
        return [*super().layer_parameters(i), self.decoders[i], self.offsets[i]]

    def restored(self, i: int, h: Tensor) -> Tensor:
        """A layer's input as its decoder guesses it from the activity, (B, n) → (B, m)."""
        return F.linear(h, self.decoders[i], self.offsets[i]).float()

    def corrupted(self, u: Tensor) -> Tensor:
        """(B, m) with each entry blanked by chance."""
        if not self.settings.corruption:
            return u
        return u * (torch.rand(u.shape, generator=self.rng, device=self.rng.device) >= self.settings.corruption).to(u.device)

    def layer_terms(self, x, active):
        u = formulas.normalise(self.pixels(x), "rms")
        for i in range(max(active, default=-1) + 1):
            if i in active:
                z, h = self.layer(i, self.corrupted(u))
                error = (self.restored(i, h) - u).square().mean()
                yield Term(i, error + self.penalty(i, z, h), {"unexplained": error.detach()})
            if i < max(active):
                # no error crosses a layer, and the next one sees what this one makes of the whole input
                with torch.no_grad():
                    u = formulas.normalise(self.layer(i, u)[1], "rms").float()
