"""What units do on a set of images: dead, dormant, how often on, how selective; and what brings silent ones back to life."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ffcore import labels
from ffcore.labels import Sample
from ffcore.models.base import Model

DORMANT = 0.025  # τ: activity, as a share of the layer's mean, up to which a unit is dormant
MASKED = 0.01  # the reference study's: a unit that never passes on more than this
ROWS = 4_000  # at most so many rows tell the effective rank


def per_unit(h: Tensor) -> Tensor:
    """Activities as (rows, n): of a convolution, (B, n, H, W), every place is a row."""
    return h if h.dim() == 2 else h.movedim(1, -1).flatten(0, -2)


def seen(model: Model, x: Tensor, y: Tensor, wrong: Tensor) -> list[Sample]:
    """Images (B, C, H, W) as units are judged on: under the true label y and a wrong one, (B,); or alone, without labels."""
    return [Sample(x, y), Sample(x, wrong)] if model.labelled else [Sample(x)]


def fixed_wrong(y: Tensor, classes: int) -> Tensor:
    """One wrong label for each image, (B,) → (B,), the same every time."""
    return labels.wrong(y.cpu(), classes, torch.Generator().manual_seed(0)).to(y.device)


@torch.no_grad()
def measure(model: Model, x: Tensor, y: Tensor, batch: int = 500) -> list[dict[str, Any]]:
    """Every layer's health on images x (B, C, H, W) in [0, 1], each under its label y (B,) and under one wrong one.

    layer, units, dead (share never above 0, before any mask), dormant (share whose mean |activity| is at most τ = 0.025 of
    the layer's; Sokar, Agarwal, Castro & Evci, ICML 2023, arXiv 2302.12902), reference_metric (the reference study's "dead":
    what is passed on, after a mask if there is one, stays below 0.01), mean_rate (share of (image, unit) above 0),
    lifetime_sparseness (mean over units that are not silent; Treves & Rolls 1991; 0: all images alike, 1: one image alone),
    effective_rank (exp of the entropy of the singular values' shares; Roy & Vetterli 2007), population_sparseness (the same
    of an image over units, mean over images that wake any; 0: all units alike, 1: one unit alone), weight_norm and bias
    (means over units).
    """
    return measured(model, observe(model, x, y, batch))


def dead(h: Tensor) -> Tensor:
    """Units that are above 0 in no row, (rows, n) → (k,)."""
    return (h.amax(0) <= 0).nonzero().squeeze(1)


@torch.no_grad()
def measured(model: Model, observed: Sequence[tuple[Tensor, Tensor]]) -> list[dict[str, Any]]:
    """What `measure` says, from what `observe` saw."""
    told = []
    for i, ((h, most), (weight, bias)) in enumerate(zip(observed, model.incoming(), strict=True), 1):
        own = {"weight_norm": weight.flatten(1).norm(dim=1).mean().item(), "bias": bias.mean().item()}
        told.append({"layer": i, **_layer(h, most), **own})
    return told


@torch.no_grad()
def observe(model: Model, x: Tensor, y: Tensor, batch: int = 500) -> list[tuple[Tensor, Tensor]]:
    """Per layer: activities (rows, n) on images x (B, C, H, W), and the most that each unit passes on (n,).

    Rows: all images under their labels y (B,), then all under a wrong one (`seen`); of a convolution, each one's places.
    """
    wrong, masks = fixed_wrong(y, model.classes), type(model).transmitted is not Model.transmitted
    sides: list[list[list[Tensor]]] = []
    most: list[list[Tensor]] = []
    for images, own, other in zip(x.split(batch), y.split(batch), wrong.split(batch), strict=True):
        raw = [[per_unit(h.float()) for h in model.features(sample)] for sample in seen(model, images, own, other)]
        sides.append(raw)
        passed = raw
        if masks:
            passed = [[per_unit(h.float()) for h in model.transmitted(sample)] for sample in seen(model, images, own, other)]
        most += [[h.abs().amax(0) for h in layers] for layers in passed]
    columns = zip(*(layers for side in zip(*sides, strict=True) for layers in side), strict=True)
    peaks = zip(*most, strict=True)
    return [(torch.cat(parts), torch.stack(peak).amax(0)) for parts, peak in zip(columns, peaks, strict=True)]


def sparseness(h: Tensor, dim: int) -> Tensor:
    """Treves & Rolls 1991: (1 - (Σ|h|/N)² / (Σh²/N)) / (1 - 1/N) along `dim`, of what is not silent; (k,), may be empty."""
    count, size = h.shape[dim], h.abs().mean(dim)
    alive = size > 0
    return (1 - size[alive].square() / h.square().mean(dim)[alive]) / (1 - 1 / count) if count > 1 else size[:0]


def _layer(h: Tensor, most: Tensor) -> dict[str, Any]:
    """What `measure` says of one layer's activities (rows, n) and the most that each unit passes on (n,)."""
    size = h.abs().mean(0)
    mean = size.mean()
    dormant = size <= DORMANT * mean if mean > 0 else torch.ones_like(size, dtype=torch.bool)
    lifetime, population = sparseness(h, 0), sparseness(h, 1)
    some = h[torch.linspace(0, len(h) - 1, min(ROWS, len(h))).long()]
    values = torch.linalg.svdvals(some)
    p = values / values.sum().clamp(min=1e-12)
    return {
        "units": h.shape[1],
        "dead": (h.amax(0) <= 0).float().mean().item(),
        "dormant": dormant.float().mean().item(),
        "reference_metric": (most < MASKED).float().mean().item(),
        "mean_rate": (h > 0).float().mean().item(),
        "lifetime_sparseness": lifetime.mean().item() if len(lifetime) else None,
        "population_sparseness": population.mean().item() if len(population) else None,
        "effective_rank": torch.exp(-torch.xlogy(p, p).sum()).item() if values.sum() > 0 else 0.0,
    }


# What brings units back, between two steps of training.


@torch.no_grad()
def hold_rate(biases: Iterable[Tensor], activities: Iterable[Tensor], target: float, speed: float = 0.5) -> None:
    """Homeostatic bias: every unit's bias (n,) moves towards the drive at which it is on for a share `target` of the images.

    activities: (B, n) per layer. A slow intrinsic plasticity as in Desai, Rutherford & Turrigiano 1999, doi 10.1038/9165.
    """
    for bias, h in zip(biases, activities, strict=True):
        bias += speed * (target - (h > 0).float().mean(0))


@torch.no_grad()
def recycle(
    incoming: Sequence[tuple[Tensor, Tensor]],
    activities: Sequence[Tensor],
    optimisers: Iterable[torch.optim.Optimizer],
    rng: torch.Generator,
    which: Iterable[int],
) -> int:
    """ReDo (Sokar et al., ICML 2023): dormant units begin anew; returns how many.

    Fresh incoming weights U(±1/√fan-in), bias 0, nothing passed on to the next layer yet, and their moments in the optimisers
    forgotten. What a model has besides (label inputs, read-outs, inhibition) stays.
    incoming: (weights (n, …), biases (n,)) per layer; activities: (B, n) per layer; which: the layers looked at.
    """
    which = set(which)
    moments = {p: state for optimiser in optimisers for p, state in optimiser.state.items()}
    count = 0
    for i in which:
        weight, bias = incoming[i]
        size = activities[i].abs().mean(0)
        asleep = (size <= DORMANT * size.mean()).nonzero().squeeze(1)
        if not len(asleep):
            continue
        fan_in = weight[0].numel()
        fresh = torch.empty(len(asleep), *weight.shape[1:], device=weight.device)
        weight[asleep] = fresh.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=rng)
        bias[asleep] = 0
        for parameter in (weight, bias):
            for value in moments.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value[asleep] = 0
        if i + 1 in which and incoming[i + 1][0].shape[1] == len(weight):
            above = incoming[i + 1][0]
            above[:, asleep] = 0
            for value in moments.get(above, {}).values():
                if isinstance(value, Tensor) and value.shape == above.shape:
                    value[:, asleep] = 0
        count += len(asleep)
    return count
