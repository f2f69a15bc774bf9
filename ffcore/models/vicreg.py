"""VICReg (Bardes, Ponce & LeCun, ICLR 2022), layer by layer: two views of an image look alike, and no two units do."""

import torch
from pydantic import Field
from torch import Tensor

from ffcore import goodness as formulas
from ffcore.models import MODELS
from ffcore.models.base import LabelFree, Term, UnitSettings


def invariance(h: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of two views' activities, (B, n) each → a number."""
    return (h - other).square().mean()


def variance(h: Tensor) -> Tensor:
    """Mean over units of max(0, 1 - s.d. over the batch), (B, n) → a number: every unit has to vary."""
    return (1 - (h.var(0, correction=min(1, len(h) - 1)) + 1e-4).sqrt()).clamp(min=0).mean()


def covariance(h: Tensor) -> Tensor:
    """Sum of squared covariances of different units over n, (B, n) → a number: no two units say the same."""
    h = h - h.mean(0)
    c = h.T @ h / max(1, len(h) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / h.shape[1]


@MODELS.register("vicreg")
class VICReg(LabelFree):
    """Every layer takes VICReg's three terms on its own activity; the layer above sees that activity, never its error.

    The paper has one such loss at the top of a deep net, behind an expander; here it is local and acts on the layer itself,
    with the weights of the paper and the scales of the code published with it.
    """

    title = "VICReg, layer by layer"
    source = "Bardes, Ponce & LeCun, ICLR 2022, arXiv 2105.04906"
    recommended = {"train.lr": 0.01, "train.drop_pixels": 0.0}  # noqa: RUF012
    equation = (
        r"\mathcal L_l=\lambda\,\tfrac1n\lVert h-h'\rVert^2+\mu\,\tfrac1n\textstyle\sum_i\big[\max(0,1-\sigma(h_i))+"
        r"\max(0,1-\sigma(h'_i))\big]/2+\nu\,\tfrac1n\sum_{i\ne j}\big[C_{ij}(h)^2+C_{ij}(h')^2\big]"
    )
    traces = {  # noqa: RUF012
        "invariance": "mean squared difference of the two views",
        "variance": "how far the units' standard deviations fall short of 1, on average",
        "covariance": "squared covariances between units, summed over a unit's partners",
    }
    wiring = (("image", "second view", "other blanks, noise and shift"), ("second view", "layer", "activity to agree with"))

    class Settings(UnitSettings):
        invariance: float = Field(25.0, ge=0, le=1_000, description="λ, weight of the views' difference")
        variance: float = Field(25.0, ge=0, le=1_000, description="μ, weight of what units lack in standard deviation")
        covariance: float = Field(1.0, ge=0, le=1_000, description="ν, weight of covariances between units")
        blank: float = Field(0.3, ge=0, le=0.95, description="share of the pixels blanked in each view")
        noise: float = Field(0.1, ge=0, le=1, description="standard deviation of the noise in each view")
        shift: int = Field(0, ge=0, le=16, description="pixels that each view is shifted by at most, both ways")

    def seen(self, image: Tensor) -> Tensor:
        """One random view of every image, (B, C, H, W): shifted, then with noise, then blanked in part."""
        s, drawn, there = self.settings, {"generator": self.rng, "device": self.rng.device}, image.device
        b, _, h, w = image.shape
        if s.shift:
            dy, dx = torch.randint(-s.shift, s.shift + 1, (2, b, 1), **drawn).to(there)
            rows, columns = torch.arange(h, device=there) + dy, torch.arange(w, device=there) + dx  # (B, H), (B, W)
            inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None]
            place = rows.clamp(0, h - 1)[:, :, None] * w + columns.clamp(0, w - 1)[:, None]  # (B, H, W)
            image = image.flatten(2).gather(2, place.flatten(1)[:, None].expand(-1, image.shape[1], -1)).view_as(image)
            image = image * inside[:, None]
        if s.noise:
            image = image + s.noise * torch.randn(image.shape, **drawn).to(there)
        if s.blank:
            image = image * (torch.rand(image.shape, **drawn) >= s.blank).to(there)
        return image

    def layer_terms(self, x, active):
        views = torch.cat([self.seen(x), self.seen(x)])
        h = self.pixels(views)
        for i in range(max(active, default=-1) + 1):
            with torch.set_grad_enabled(i in active):
                # detach: no error crosses a layer
                z, h = self.layer(i, formulas.normalise(h.detach(), "rms"))
            if i in active:
                yield self.term(i, z, h)

    def term(self, i: int, z: Tensor, h: Tensor) -> Term:
        """One layer's loss from drive and activity of both views, stacked, (2B, n)."""
        one, two = h.float().chunk(2)
        told = {
            "invariance": invariance(one, two),
            "variance": (variance(one) + variance(two)) / 2,
            "covariance": covariance(one) + covariance(two),
        }
        loss = sum(getattr(self.settings, name) * value for name, value in told.items())
        return Term(i, loss + self.penalty(i, z, h), {name: value.detach() for name, value in told.items()})
