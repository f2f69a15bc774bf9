"""Images out of a net: drawn from a mixture of its latents, decoded step by step, or climbed to; and are they copies?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from ffcore.errors import Refused
from ffcore.models.base import Model

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

BATCH = 500


# From latents


@torch.no_grad()
def latents(model: Model, images: Tensor, y: Tensor | None = None, batch: int = BATCH) -> Tensor:
    """z_g of images (N, C, H, W) uint8 under their labels (N,), or the neutral one, (N, latent)."""
    shown = [None] * -(-len(images) // batch) if y is None else y.split(batch)
    return torch.cat([model.infer(x.float() / 255, told) for x, told in zip(images.split(batch), shown, strict=True)])


def fit(z: Tensor, components: int, seed: int = 0) -> "GaussianMixture":
    """A mixture of so many Gaussians, each with its full covariance, fitted to latents (N, latent) by scikit-learn's EM.

    One component is the Gaussian of these latents: their mean, their covariance. Raises Refused for too few latents.
    """
    from sklearn.mixture import GaussianMixture

    if len(z) < max(2, components):
        raise Refused(f"{components} components cannot be fitted to {len(z)} images of a class; ask for fewer components")
    return GaussianMixture(components, random_state=seed, max_iter=200).fit(z.double().numpy())


def draw(mixture: "GaussianMixture", n: int, rng: torch.Generator) -> Tensor:
    """n latents from a mixture, (n, latent)."""
    weights, means = (torch.from_numpy(part) for part in (mixture.weights_, mixture.means_))
    which = torch.multinomial(weights, n, replacement=True, generator=rng) if n else torch.zeros(0, dtype=torch.long)
    spread = torch.linalg.cholesky(torch.from_numpy(mixture.covariances_))
    noise = torch.randn(n, means.shape[1], generator=rng, dtype=means.dtype)
    return (means[which] + torch.einsum("nij,nj->ni", spread[which], noise)).float()


def portions(n: int, shares: Sequence[float]) -> list[int]:
    """How many of n fall to each class, as near to their shares as whole numbers go (largest remainder)."""
    exact = n * np.asarray(shares, float) / np.sum(shares)
    whole = np.floor(exact).astype(int)
    for c in np.argsort(whole - exact, kind="stable")[: n - whole.sum()]:
        whole[c] += 1
    return whole.tolist()


def line(a: Tensor, b: Tensor, points: int) -> Tensor:
    """Latents on the straight line from a to b, both (latent,), the ends included, (points, latent)."""
    return torch.stack([torch.lerp(a, b, float(t)) for t in torch.linspace(0, 1, points)])


def spread_over(y: Tensor, n: int, classes: int) -> Tensor:
    """Indices of n images that take the classes in turn, (n,): the first image of each, then the second of each …"""
    places = [torch.nonzero(y == c).flatten().tolist() for c in range(classes)]
    turns = [column[i] for i in range(max(map(len, places), default=0)) for column in places if i < len(column)]
    return torch.tensor(turns[:n], dtype=torch.long)


# Copies?


def nearest(x: Tensor, of: Tensor, chunk: int = 5_000) -> tuple[Tensor, Tensor]:
    """The image in `of` (M, C, H, W) uint8 that is nearest to each of x (N, C, H, W) in [0, 1]: Euclidean distance of
    pixels in [0, 1], (N,), and index, (N,).

    Matrix products find it, chunk by chunk; the distance is then computed directly, so that a copy's is 0.
    """
    flat = x.flatten(1).float()
    best, index = torch.full((len(x),), torch.inf), torch.zeros(len(x), dtype=torch.long)
    for start in range(0, len(of), chunk):
        part = of[start : start + chunk].flatten(1).float() / 255
        told = torch.addmm(part.square().sum(1), flat, part.T, alpha=-2)  # ‖x‖² is the same for all
        low, where = told.min(1)
        nearer = low < best
        best, index = torch.where(nearer, low, best), torch.where(nearer, where + start, index)
    return (flat - of[index].flatten(1).float() / 255).norm(dim=1), index


def variety(x: Tensor, y: Tensor) -> float | None:
    """Mean Euclidean distance of two images of a class, over the classes y (N,) of which there are two; None where none is."""
    flat, told = x.flatten(1), []
    for c in y.unique():
        mine = flat[y == c]
        if len(mine) > 1:
            told.append(torch.pdist(mine).mean().item())
    return sum(told) / len(told) if told else None


# Climbing


def preference(
    model: Model,
    image: Tensor,
    label: Tensor,
    of: Literal["goodness", "score"] = "goodness",
    layers: Sequence[int] = (),
    aim: Literal["contrast", "plain"] = "contrast",
) -> Tensor:
    """What the climb raises, (B, C, H, W) and labels (B,) → (B,): the goodness of `layers` (from 0) under a label, or the
    class's score.

    `contrast`: less the mean of the other labels', which keeps what all labels like out of the picture.
    """
    if of == "goodness":
        told = model.label_goodness(image)[:, :, list(layers)].sum(2)
    else:
        told = model.scores(image)
        told = told["softmax" if "softmax" in told else model.readouts[0]]
    own = told.gather(1, label[:, None]).squeeze(1)
    return own if aim == "plain" else own - (told.sum(1) - own) / max(1, model.classes - 1)


def climb(
    model: Model,
    label: Tensor,
    start: Tensor,
    rng: torch.Generator,
    *,
    of: Literal["goodness", "score"] = "goodness",
    layers: Sequence[int] = (),
    aim: Literal["contrast", "plain"] = "contrast",
    steps: int = 100,
    rate: float = 0.1,
    smooth: float = 0.5,
    jitter: int = 1,
    length: float | None = None,
) -> Tensor:
    """Images that a net takes for the best of a label, (B, C, H, W) in [0, 1]: gradient ascent from `start` (Simonyan,
    Vedaldi & Zisserman 2014, arXiv 1312.6034).

    A step moves the pixels by `rate` (root mean square) uphill, less and less until the last. Mild priors: a pull of
    strength `smooth` against total variation, all images shifted by up to `jitter` pixels while a slope is taken, and their
    `length` held where it is given: a net that normalises its input hears a label the better, the darker the image.
    Raises Refused for a net that has no slope there.
    """
    x = start if length is None else of_length(start, length)
    for step in range(steps):
        shift = torch.randint(-jitter, jitter + 1, (2,), generator=rng).tolist()
        with torch.enable_grad():
            moved = x.roll(shift, (-2, -1)).detach().requires_grad_()
            value = preference(model, moved, label, of, layers, aim).sum()
            up = torch.autograd.grad(value, moved, allow_unused=True)[0] if value.requires_grad else None
            if up is None:
                raise Refused(
                    f"model '{model.name}' hands on no slope of its {of} to the image; choose a run of ff, pff or backprop"
                )
            (rough,) = torch.autograd.grad(total_variation(moved).sum(), moved)
        move = unit(up) - smooth * unit(rough)
        x = (x + rate * (1 - step / steps) * move.roll([-s for s in shift], (-2, -1))).clamp(0, 1)
        x = x if length is None else of_length(x, length)
    return x.detach()


def of_length(image: Tensor, length: float) -> Tensor:
    """Images (B, C, H, W) scaled to this Euclidean length, and cut off at 1: a little shorter where they are bright."""
    size = image.flatten(1).norm(dim=1).clamp(min=1e-6).view(-1, 1, 1, 1)
    return (image * length / size).clamp(0, 1)


def total_variation(image: Tensor) -> Tensor:
    """Σ |step to the pixel below| + |to the right|, rounded off at 0, (B, C, H, W) → (B,)."""
    down, right = image.diff(dim=-2), image.diff(dim=-1)
    return sum((d.square() + 1e-4).sqrt().flatten(1).sum(1) for d in (down, right))


def unit(slope: Tensor) -> Tensor:
    """Each image's slope at root mean square 1; 0 where there is none."""
    size = slope.flatten(1).square().mean(1).sqrt().view(-1, 1, 1, 1)
    return torch.where(size > 0, slope / size.clamp(min=1e-30), 0.0)


@torch.no_grad()
def reading(model: Model, images: Tensor, batch: int = BATCH) -> Tensor:
    """What a net takes images (N, C, H, W) in [0, 1] for, by its first read-out, (N,)."""
    return torch.cat([model.scores(x)[model.readouts[0]].argmax(1) for x in images.split(batch)])
