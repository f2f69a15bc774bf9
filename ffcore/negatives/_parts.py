"""Parts that strategies share: random draws from a given generator, partners, masks, mixtures and small distortions."""

import functools
from typing import Literal

import torch
import torch.nn.functional as F
from numpy.polynomial.polynomial import polypow
from pydantic import Field
from torch import Tensor

from ffcore.labels import Sample, wrong
from ffcore.negatives.base import Pair, Strategy, View


def uniform(size: tuple[int, ...], low: float, high: float, rng: torch.Generator) -> Tensor:
    """U(low, high), of `size`."""
    return torch.empty(size, device=rng.device).uniform_(low, high, generator=rng)


def normal(size: tuple[int, ...] | torch.Size, rng: torch.Generator) -> Tensor:
    """N(0, 1), of `size`."""
    return torch.empty(size, device=rng.device).normal_(generator=rng)


def others(x: Tensor, rng: torch.Generator) -> Tensor:
    """Another image of the batch for each, (B, …) → (B, …): a random rotation of a random order, so nobody meets itself.

    A batch of one has no other: its own picture turned by 180° takes the place.
    """
    n = len(x)
    if n == 1:
        return x.flip((2, 3))
    order = torch.randperm(n, generator=rng, device=rng.device)
    return x[torch.empty_like(order).scatter_(0, order, order.roll(1))]


def choose(allowed: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random allowed column for every row, (B, K) bool → (B,) indices, (B,) bool: was there one?"""
    draw = uniform(tuple(allowed.shape), 0, 1, rng).masked_fill_(~allowed, -1)
    best, index = draw.max(1)
    return index, best >= 0


POOL = 2_048  # candidates at most: a batch of 50,000 would else ask for a table of 50,000 × 50,000


def other(y: Tensor, rng: torch.Generator, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A random image of another class for each, or of the class `target` (B,), → (B,) indices, (B,) bool: was there one?"""
    pool = torch.arange(len(y), device=y.device)
    if len(y) > POOL:
        pool = torch.randperm(len(y), generator=rng, device=rng.device)[:POOL]
    allowed = y[pool] != y[:, None]
    if target is not None:
        allowed &= y[pool] == target[:, None]
    index, found = choose(allowed, rng)
    return pool[index], found


def under_its_label(x: Tensor, y: Tensor, index: Tensor, found: Tensor, classes: int, rng: torch.Generator) -> Pair:
    """Positives: images with their labels. Negatives: the image `index` (B,) of another class, under this one's label.

    Where there is none (`found` False: the batch holds one class only) the image stays and its label is wrong instead.
    """
    image = torch.where(found[:, None, None, None], x[index], x)
    return Pair(Sample(x, y), Sample(image, torch.where(found, y, wrong(y, classes, rng))))


def blobs(n: int, height: int, width: int, blurs: int, rng: torch.Generator) -> Tensor:
    """Hinton's masks (2022, §3.2), (n, 1, H, W) bool: random bits, blurred `blurs` times by ¼ ½ ¼ both ways, cut at ½."""
    row, column = (_band(blurs, side, rng.device) for side in (height, width))
    bits = uniform((n, height, width), -1, 1, rng).sign()
    with torch.autocast(rng.device.type, enabled=False):
        return (row @ bits @ column.T > 0)[:, None]


@functools.cache
def _band(blurs: int, size: int, device: torch.device) -> Tensor:
    """The matrix (size, size) that blurs a line so many times, its ends reflected; a recorded step finds it where it lies."""
    taps = torch.tensor(polypow([0.25, 0.5, 0.25], blurs), dtype=torch.float32, device=device)
    reach = len(taps) // 2
    at = torch.arange(size, device=taps.device)[:, None] + torch.arange(-reach, reach + 1, device=taps.device)
    at = at.remainder(2 * size)
    at = torch.where(at >= size, 2 * size - 1 - at, at)
    return torch.zeros(size, size, device=taps.device).scatter_add_(1, at, taps.expand(size, -1).contiguous())


def boxes(n: int, height: int, width: int, area: Tensor, rng: torch.Generator) -> Tensor:
    """Random rectangles of the image's own proportions, (n, 1, H, W) bool, that cover the share `area` (n,) of it."""
    side = area.sqrt()
    inside = []
    for size in (height, width):
        long = (side * size).round().clamp(1, size)
        start = (uniform((n,), 0, 1, rng) * (size - long + 1)).floor()
        at = torch.arange(size, device=rng.device)
        inside.append((at >= start[:, None]) & (at < (start + long)[:, None]))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def distort(x: Tensor, rng: torch.Generator, degrees: float = 0, shift: float = 0, scale: float = 0) -> Tensor:
    """Every image turned by up to ±degrees, moved by up to ±shift pixels, scaled by 1 ± scale, (B, C, H, W) → the same.

    By torch's own bilinear sampling, one draw per image; torchvision's transforms draw one per batch.
    """
    n, _, height, width = x.shape
    angle = uniform((n,), -degrees, degrees, rng) * (torch.pi / 180) if degrees else torch.zeros(n, device=x.device)
    size = 1 / (1 + uniform((n,), -scale, scale, rng)) if scale else torch.ones(n, device=x.device)
    move = uniform((n, 2), -shift, shift, rng) if shift else torch.zeros(n, 2, device=x.device)
    cos, sin = angle.cos() * size, angle.sin() * size
    rows = [
        torch.stack([cos, -sin * height / width, move[:, 0] * 2 / width], 1),
        torch.stack([sin * width / height, cos, move[:, 1] * 2 / height], 1),
    ]
    with torch.autocast(x.device.type, enabled=False):  # places in bfloat16 would be off by a tenth of a pixel
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False).clamp_(0, 1)


def uphill(view: View, sample: Sample) -> Tensor:
    """The direction in which the goodness of `sample` rises fastest with its image, (B, C, H, W), 0 where there is none."""
    with torch.enable_grad():
        image = sample.image.detach().requires_grad_()
        (slope,) = torch.autograd.grad(view.goodness(sample._replace(image=image)).sum(), image)
    return slope.nan_to_num(0, 0, 0)  # a black image has no direction


def unit(change: Tensor) -> Tensor:
    """(B, C, H, W) → the same direction with root mean square 1 over an image's pixels; 0 stays 0."""
    return change / rms(change)


def rms(change: Tensor) -> Tensor:
    """Root mean square over an image's pixels, (B, C, H, W) → (B, 1, 1, 1), never 0."""
    return change.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)


class Mixing(Strategy):
    """Two images in one: what `image_mixing` and `class_aware_mixing` share."""

    embeds_label = False

    how: Literal["hybrid", "interpolate"] = Field(
        "interpolate",
        description="hybrid: parts of both, split by a blurred random mask (Hinton); interpolate: a weighted mean",
    )
    low: float = Field(0.3, ge=0, le=1, description="interpolate: least share of the first image")
    high: float = Field(0.7, ge=0, le=1, description="interpolate: largest share of the first image")
    blurs: int = Field(6, ge=0, le=50, description="hybrid: how often the mask is blurred; more = larger blobs")
    matched: bool = Field(
        False, description="positives are mixed, too: each with a slightly distorted copy of itself, so that seams tell nothing"
    )

    def mixed(self, x: Tensor, partner: Tensor, rng: torch.Generator) -> Pair:
        """x against x mixed with `partner`, both (B, C, H, W)."""
        n, _, height, width = x.shape
        if self.how == "interpolate":
            low, high = sorted((self.low, self.high))
            share = uniform((n, 1, 1, 1), low, high, rng)
        else:
            share = blobs(n, height, width, self.blurs, rng).to(x.dtype)
        pos = torch.lerp(distort(x, rng, 10, 2, 0.1), x, share) if self.matched else x
        return Pair(Sample(pos), Sample(torch.lerp(partner, x, share)))
