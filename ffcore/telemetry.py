"""What a run tells while it trains: goodness per layer now, and a small snapshot of the net after every epoch."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ffcore.goodness import separation
from ffcore.models.base import Model, Term
from ffcore.negatives.base import Strategy
from ffcore.neurons import fixed_wrong, per_unit, seen
from ffcore.readout import Evaluation, autocast

PROBE = 1_000  # images on which unit statistics are taken
FIELDS = 16  # units whose incoming weights are kept
MAPPED = 300  # validation images whose place among each other is kept
BINS = 40
QUANTILES = (0.1, 0.5, 0.9)
MANY = 0.25  # share of dead units that is worth an alarm


def layers_now(terms: Iterable[Term]) -> list[dict[str, Any]]:
    """Per layer of the last step: loss, and mean and quantiles of the goodness of positives, negatives and their difference.

    `dprime` and `overlap` compare the two sets, `paired_dprime` (mean/s.d. of the difference) and `won` (share of pairs
    whose positive is better) compare pair by pair: images differ far more than the two sides of a pair do. `traces` holds
    what is special to the model. A layer without negatives has no sides.
    """
    out: dict[int, dict[str, Any]] = {}
    for term in terms:
        own = {key: value.item() for key, value in term.stats.items() if key not in ("pos", "neg")}
        if own or "pos" in term.stats:
            out.setdefault(term.group + 1, {"layer": term.group + 1, "loss": term.loss.item(), "traces": own})
        if "pos" in term.stats:
            some = (term.stats[key].float()[:100_000] for key in ("pos", "neg"))
            sides = [g.view(len(g), -1).unbind(1) for g in some]
            for layer, (pos, neg) in enumerate(zip(*sides, strict=True), term.group + 1):
                row = out.setdefault(layer, {"layer": layer, "loss": term.loss.item(), "traces": {}})
                row |= _sides(pos, neg)
    return [out[layer] for layer in sorted(out)]


def _sides(pos: Tensor, neg: Tensor) -> dict[str, Any]:
    """What `layers_now` says of one layer's goodness, (B,) each."""
    pair = pos - neg
    quantiles = torch.tensor(QUANTILES, device=pos.device)
    told = [torch.cat([g.mean()[None], g.quantile(quantiles)]).tolist() for g in (pos, neg, pair)]
    gap, dprime, overlap = (value.item() for value in separation(pos, neg))
    return {
        **dict(zip(("pos", "neg", "pair"), told, strict=True)),
        "gap": gap,
        "dprime": dprime,
        "overlap": overlap,
        "paired_dprime": (pair.mean() / pair.std(correction=0).clamp(min=1e-12)).item(),
        "won": (pair > 0).float().mean().item(),
    }


def histogram(values: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Counts (L, BINS) and edges (L, BINS + 1) of values (N, L) between low and high (L,)."""
    width = (high - low).clamp(min=1e-6) / BINS
    bins = ((values - low) / width).long().clamp(0, BINS - 1)
    edges = low[:, None] + width[:, None] * torch.arange(BINS + 1)
    return torch.stack([column.bincount(minlength=BINS) for column in bins.unbind(1)]).int(), edges


@torch.no_grad()
def snapshot(
    model: Model, strategy: Strategy | None, x: Tensor, y: Tensor, goodness: Tensor | None, shown: Tensor, precision: str
) -> tuple[dict[str, Any], list[float]]:
    """Small arrays that describe the net now, and each layer's share of dead units.

    x, y: the images that `goodness` (N, C, L) was measured on; a negative is the image under one fixed wrong label. A net
    without labels is asked about what its strategy makes of the first 1,000 of them, by one fixed draw.
    Dead: never above 0 on the first 1,000, under the true label or the wrong one. shown: the samples (64, C, H, W).

    Per unit of layer i, (n,), on these 1,000: mean_i, rate_i (share of them that it is on for), max_i, size_i (mean
    |activity|, where activities may be negative), passed_i (the most that it passes on, after a mask), share_i (of the
    layer's squared activity), woke_i (int16: 2 · the image that drives it most, + 1 if under the wrong label; -1 where
    dead); bias_i, weight_norm_i; gradient_norm_i of the last step's weight gradient (float32: it may be below what half
    precision knows; 0 before the first step).

    Per layer: map_i (300, 2), the first validation images on the two main axes of what the layer says of them, no label shown;
    apart (L, 3), `separation` of the two sides.
    """
    out: dict[str, Tensor] = {}
    few, sides = x[:PROBE].float().div(255), None
    y = y.cpu()
    wrong = fixed_wrong(y, model.classes)
    samples = seen(model, few, *(label[:PROBE].to(few.device) for label in (y, wrong)))
    if goodness is not None:
        rows = torch.arange(len(y))
        sides = goodness[rows, y], goodness[rows, wrong]
    elif strategy:
        with autocast(precision, few.device):
            pair = strategy(few, y[:PROBE].to(few.device), model.view(), torch.Generator(few.device).manual_seed(0))
            sides = (side.float().cpu() for side in model.pair_goodness(pair))
    if sides:
        pos, neg = sides  # (N, L)
        both, pair = torch.cat([pos, neg]), pos - neg
        low, high = both.amin(0).clamp(max=0), both.amax(0)
        (out["pos"], out["edges"]), (out["neg"], _) = (histogram(g, low, high) for g in (pos, neg))
        out["apart"] = torch.stack([torch.stack(separation(*layer)) for layer in zip(pos.T, neg.T, strict=True)])
        out["pair"], out["pair_edges"] = histogram(pair, pair.amin(0).clamp(max=0), pair.amax(0).clamp(min=0))
    with autocast(precision, few.device):
        if model.tries_labels:
            out["goodness"] = model.label_goodness(shown).half()
        else:
            out["scores"] = model.scores(shown)[model.readouts[0]].half()
        features = [model.features(sample) for sample in samples]
        placed = model.features(model.shown(few[:MAPPED]))
        masks = type(model).transmitted is not Model.transmitted
        passed = [model.transmitted(sample) for sample in samples] if masks else features
    dead = []
    layers = zip(model.incoming(), zip(*features, strict=True), zip(*passed, strict=True), strict=True)
    for i, ((weight, bias), activities, sent) in enumerate(layers, 1):
        activity = per_unit(torch.cat(activities)).float()
        on, squares = (activity > 0).float().mean(0), activity.square().mean(0)
        most, row = activity.max(0)
        side, image = _whose(row, len(few), len(activity) // (len(few) * len(samples)))
        dead.append((on == 0).float().mean().item())
        out |= {
            f"mean_{i}": activity.mean(0),
            f"rate_{i}": on,
            f"max_{i}": most,
            f"passed_{i}": per_unit(torch.cat(sent)).float().abs().amax(0) if masks else activity.abs().amax(0),
            f"share_{i}": squares / squares.sum().clamp(min=1e-30),
            f"woke_{i}": torch.where(on > 0, 2 * image + side, -1).short(),
            f"bias_{i}": bias,
            f"weight_norm_{i}": weight.flatten(1).norm(dim=1),
            f"gradient_norm_{i}": torch.zeros_like(bias) if weight.grad is None else weight.grad.flatten(1).norm(dim=1),
        }
        if activity.min() < 0:
            out[f"size_{i}"] = activity.abs().mean(0)
    out |= {f"map_{i}": principal(h.flatten(1).float()) for i, h in enumerate(placed, 1)}
    first = model.incoming()[0][0]
    some = torch.linspace(0, len(first) - 1, min(FIELDS, len(first))).long()
    fields = first[some.to(first.device)]
    out["fields"] = (fields if fields.dim() == 4 else fields.view(len(some), *model.shape)).mean(1).half()
    whole = ("woke", "gradient")
    arrays = {k: value.half() if k[-1].isdigit() and not k.startswith(whole) else value for k, value in out.items()}
    return {key: value.cpu().numpy() for key, value in arrays.items()}, dead


def principal(features: Tensor) -> Tensor:
    """(N, n) → (N, 2): coordinates on the two main axes (Pearson 1901), at mean square distance 1 from the middle; or zeros."""
    centred = torch.nan_to_num(features - features.mean(0), 0.0, 0.0, 0.0).cpu()
    centred = centred / centred.abs().amax().clamp(min=1e-12)  # whatever its size: squares neither vanish nor overflow
    centred = centred.double()  # in single precision LAPACK finds no axes of a layer most of whose units are silent
    gram = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    values, axes = torch.linalg.eigh(gram)
    values, axes = values[-2:].flip(0).clamp(min=0), axes[:, -2:].flip(1)
    at = axes * values.sqrt() if len(centred) <= centred.shape[1] else centred @ axes
    at = at / at.square().sum(1).mean().sqrt().clamp(min=1e-12)
    return torch.nn.functional.pad(at, (0, 2 - at.shape[1])).float()  # a layer of one unit has one axis


def _whose(row: Tensor, images: int, places: int) -> tuple[Tensor, Tensor]:
    """(side, image) of rows that `per_unit` made of stacked sides, each of so many images."""
    index = row // places
    return index // images, index % images


def alarms(checked: Evaluation, classes: int, dead: list[float]) -> Iterator[str]:
    """What a teacher would point at after an epoch."""
    for layer, right in enumerate(checked.layers, 1):
        if right < 1.5 / classes:
            yield f"layer {layer}: positives ≈ negatives; its own vote is right for {right:.0%}, chance is {1 / classes:.0%}"
    for layer, share in enumerate(dead, 1):
        if share > MANY:
            yield f"layer {layer}: {share:.0%} of its units are silent on every image"
