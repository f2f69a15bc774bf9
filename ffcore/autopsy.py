"""Why a unit is dead: what would wake it, asked of the net itself by changing one thing at a time.

Nothing here is told by a rule of thumb: each cause is a counterfactual that was tried on probe images (the bias taken
away, a little activity given), or a fact of the unit's history; where none holds, the cause is "undetermined".
"""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ffcore.labels import Sample
from ffcore.models.base import ACTIVATIONS, Model
from ffcore.models.ff import ForwardForward
from ffcore.neurons import fixed_wrong, per_unit, seen

CAUSES = {  # in the order in which they are asked for: the first that holds is the unit's cause
    "born dead": "It was never above 0, not even before the first step: its initial weights made it so.",
    "inhibition": "Its drive is above 0 for some images, and inhibition by other units holds its activity at 0.",
    "lost to the winners": "Its drive is above 0 for some images, but it is never among the k most active units.",
    "vanished input": "Next to nothing reaches it: its incoming weights are close to 0, or those below it are silent.",
    "goodness falls with activity": "A little activity of it on positives lowers what its layer's objective rewards, and "
    "learning feels it: the objective itself switches the unit off.",
    "negative bias": "With its bias back at 0, or where it was when the unit was last alive, it fires.",
    "too large a step": "It was alive, and by the next snapshot its incoming weights had moved by more than they measured, "
    "and by more than those of most units that live on; no image drives it since.",
    "weights turned away": "Its weights point away from all images: even without its bias no image drives it above 0.",
    "undetermined": "None of the other causes could be shown.",
}
NEXT_TO_NOTHING = 0.01  # of what reaches the layer's median unit
IMAGES, ROWS, BEST = 500, 16, 8  # probe images; rows on which a little activity is given; best images tried of each unit
CELLS = 8_000_000  # activities computed at once


class Past(NamedTuple):
    """One layer's history: `epochs` of the snapshots, and per snapshot and unit, (E, n), rate, bias and weight_norm.

    `weights`: {epoch: incoming weights (n, …)} of the epochs that kept them.
    """

    epochs: Sequence[int]
    rate: Tensor
    bias: Tensor
    weight_norm: Tensor
    weights: Mapping[int, Tensor] = {}


@torch.no_grad()
def examine(model: Model, x: Tensor, y: Tensor, dead: Sequence[Tensor], past: Sequence[Past] | None = None) -> list[list[dict]]:
    """Per layer, what is known of each dead unit: {unit, cause, and the numbers that show it}.

    x, y: probe images (B, C, H, W) in [0, 1] and labels; the first 500 are used, under the label and a wrong one. dead: the
    units of every layer, (k,), that are dead on them. The model is not changed.

    Numbers: born (never alive in a snapshot), last_alive and died (epochs), bias, bias_before and weight_norm, norm_before
    (before: at the snapshot when last alive), drive_max (most that drives it now), unbiased_max (most without its bias),
    unbiased_share (of images that would drive it), fires_unbiased, fires_as_before (bias at 0 or as before: tried), reach
    (most that inputs move its drive, of the layer's median unit), gain (change of the rewarded goodness for an activity of
    `given`), pull (its slope there, as learning feels it: not through what is held fixed), moved and moved_from, moved_to
    (length of the weights' move between these epochs, of their length), moved_others (the median of units alive at both).
    """
    if not any(len(units) for units in dead):
        return [[] for _ in dead]
    model = twin(model).eval().requires_grad_(False)
    x, y = x[:IMAGES], y[:IMAGES]
    samples = seen(model, x, y, fixed_wrong(y, model.classes))
    found = (_by_hooks if isinstance(model, ForwardForward) else _by_features)(model, samples, dead, past)
    told = []
    for layer, (units, facts) in enumerate(zip(dead, found, strict=True)):
        weight, bias = model.incoming()[layer]
        facts |= {"bias": bias[units], "weight_norm": weight.flatten(1).norm(dim=1)[units]}
        if past:
            facts |= _history(past[layer], units)
        rows = [{"unit": int(u), **{k: _plain(v[i]) for k, v in facts.items()}} for i, u in enumerate(units)]
        told.append([{"unit": row.pop("unit"), "cause": cause(row), **row} for row in rows])
    return told


def twin(model: Model) -> Model:
    """The same net once more, without what its last step left behind."""
    standardise = {name: tuple(getattr(model, name).flatten().tolist()) for name in ("mean", "std")}
    other = type(model)(model.settings, model.shape, model.classes, model.seed, **standardise)
    if not model.labelled:
        other.unlabelled()
    other.load_state_dict({key: value.cpu() for key, value in model.state_dict().items()})
    return other


def cause(facts: Mapping[str, Any]) -> str:
    """The first of `CAUSES` that the numbers of a dead unit show."""

    def known(name: str, default: float = 0.0) -> Any:
        return default if facts.get(name) is None else facts[name]

    if known("born"):
        return "born dead"
    if known("held"):
        return "inhibition"
    if known("beaten"):
        return "lost to the winners"
    if known("reach", 1.0) <= NEXT_TO_NOTHING:
        return "vanished input"
    if known("gain") < 0 and known("pull") < 0:
        return "goodness falls with activity"
    if known("fires_unbiased") or known("fires_as_before"):
        return "negative bias"
    if known("moved") > max(1, known("moved_others")):
        return "too large a step"
    if facts.get("fires_unbiased") is not None and known("unbiased_max") <= 0:
        return "weights turned away"
    return "undetermined"


def _plain(value: Tensor) -> Any:
    value = value.item()
    if isinstance(value, float):
        return float(f"{value:.4g}") if value == value else None
    return value


def _history(past: Past, units: Tensor) -> dict[str, Tensor]:
    """What the snapshots know of units: (k,) each, nan where they know nothing."""
    alive = (past.rate > 0)[:, units]
    steps = torch.arange(len(alive))[:, None]
    last = torch.where(alive, steps, -1).amax(0)  # -1: never
    epochs = torch.tensor(past.epochs, dtype=torch.float32)
    at = last.clamp(min=0)
    nowhere = torch.full((len(units),), torch.nan)
    after = (last + 1).clamp(max=len(epochs) - 1)
    facts = {
        "born": (last < 0) & bool(past.epochs[0] == 0),
        "last_alive": torch.where(last >= 0, epochs[at], nowhere),
        # a unit that was alive at the last snapshot, and is not on these images, has no time of death
        "died": torch.where(last + 1 < len(epochs), epochs[after], nowhere),
        "bias_before": torch.where(last >= 0, past.bias[at, units], nowhere),
        "norm_before": torch.where(last >= 0, past.weight_norm[at, units], nowhere),
    }
    moved = {name: nowhere.clone() for name in ("moved", "moved_from", "moved_to", "moved_others")}
    for step in set(last.tolist()) - {-1, len(epochs) - 1}:
        start, end = past.epochs[step], past.epochs[step + 1]
        if start in past.weights and end in past.weights:
            move = (past.weights[end] - past.weights[start]).flatten(1).norm(dim=1)
        else:  # no less than their lengths differ by
            move = (past.weight_norm[step + 1] - past.weight_norm[step]).abs()
        move = move / past.weight_norm[step].clamp(min=1e-12)
        others = move[(past.rate[step] > 0) & (past.rate[step + 1] > 0)]
        then = last == step
        moved["moved"][then], moved["moved_from"][then], moved["moved_to"][then] = move[units][then], start, end
        moved["moved_others"][then] = others.median() if len(others) else torch.nan
    return {**facts, **moved}


# Forward-Forward and its variants: by their hooks, layer by layer on the way up.


def _by_hooks(model: ForwardForward, samples: list[Sample], dead, past) -> list[dict[str, Tensor]]:
    image = torch.cat([sample.image for sample in samples])
    labels = None if samples[0].label is None else torch.cat([sample.label for sample in samples])
    sample, positives = Sample(image, labels), len(samples[0].image)
    z = model.sample_drive(sample, model)
    given = model.context(z, sample)
    found = []
    for layer, units in enumerate(dead):
        before = copy_rows(given, None)
        h = model.activity(layer, z, given)
        found.append(_tried(model, layer, units, z, h, before, positives, past) if len(units) else {})
        if layer + 1 < len(dead):
            z = model.drive(layer + 1, h)
    return found


def copy_rows(given: Any, rows: Tensor | None) -> Any:
    """What a model's `context` returned, for these rows of the batch (None: all), independent of the original."""
    if isinstance(given, Tensor):
        return given if rows is None else given[rows]
    if isinstance(given, list | tuple):
        return type(given)(copy_rows(one, rows) for one in given)
    if isinstance(given, dict):
        return {key: copy_rows(one, rows) for key, one in given.items()}
    if hasattr(given, "__dict__"):
        twin = copy.copy(given)
        vars(twin).update(copy_rows(vars(given), rows))
        return twin
    return given


def _tried(model, layer: int, units: Tensor, z: Tensor, h: Tensor, given, positives: int, past) -> dict[str, Tensor]:
    """Counterfactuals of a layer's dead units from its drive and activity (B, n·places) and what reaches it besides."""
    bias = model.incoming()[layer][1]
    places = z.shape[1] // len(bias)

    def column(values: Tensor) -> Tensor:
        """(B, n·places) → (B, n): the place where a unit is driven most."""
        return values.unflatten(1, (len(bias), places)).amax(2)

    drive = column(z)
    free = drive - bias  # exact: whatever a model does, a bias is added last
    swing = column((z - bias.repeat_interleave(places)).abs()).amax(0)
    median = swing.median()
    facts = {
        "drive_max": drive.amax(0)[units],
        "unbiased_max": free.amax(0)[units],
        "unbiased_share": (free > 0).float().mean(0)[units],
        "reach": torch.where(swing > 1e-6, swing / median.clamp(min=1e-12), 0.0)[units],
    }
    driven = column(ACTIVATIONS[model.settings.activation](z))[:, units].amax(0) > 0
    winning = column(model.activate(z))[:, units].amax(0) > 0
    facts |= {"held": winning, "beaten": driven & ~winning}
    best = free[:, units].topk(min(BEST, len(z)), dim=0).indices  # (k, units)

    def fires(change: Tensor) -> Tensor:
        """Would each unit, by itself, be above 0 on one of its best images if its drive rose by `change`, (units,)?"""

        def ask(rows, mine):
            rises = change[mine].repeat_interleave(best.shape[0])
            told = z[rows].unflatten(1, (len(bias), places)).clone()
            told[torch.arange(len(rows)), units[mine].repeat_interleave(best.shape[0])] += rises[:, None]
            now = model.activity(layer, told.flatten(1), copy_rows(given, rows)).unflatten(1, (len(bias), places))
            own = now[torch.arange(len(rows)), units[mine].repeat_interleave(best.shape[0])]
            return (own.flatten(1).amax(1) > 0).view(len(mine), -1).any(1)

        return _in_parts(ask, units, z.shape[1], lambda mine: best[:, mine].T.flatten(), best.shape[0])

    facts["fires_unbiased"] = fires(-bias[units])
    if past:
        was = _history(past[layer], units)["bias_before"]
        facts["fires_as_before"] = fires((was - bias[units]).nan_to_num(0.0))
    given_size = 0.1 * z.abs().median().clamp(min=1e-2)
    facts["gain"], facts["pull"] = _gain(model, layer, units, z, given, positives, places, given_size)
    facts["given"] = given_size.expand(len(units))
    return facts


def _gain(model, layer: int, units: Tensor, z: Tensor, given, positives: int, places: int, size: Tensor):
    """(gain, pull) for the drive `size` given to one unit alone, on positives, (units,) each.

    gain: change of what the objective rewards, a finite difference through the model's own `activity`, `goodness` and
    `logits`. pull: its slope there by the gradient that learning follows, which does not pass through what a model holds
    fixed. gain is 0 where it is lost in rounding.
    """
    few = torch.linspace(0, positives - 1, min(ROWS, positives)).long()
    base = reward(model, layer, model.activity(layer, z[few], copy_rows(given, few)))
    noise = 2e-7 * base.abs().mean()

    def ask(rows, mine):
        at = torch.arange(len(rows)), units[mine].repeat_interleave(len(few))
        told = z[rows].unflatten(1, (-1, places)).clone()
        told[at] = size
        told = told.flatten(1)
        with torch.enable_grad():
            told.requires_grad_()
            rewarded = reward(model, layer, model.activity(layer, told, copy_rows(given, rows)))
            slope = torch.autograd.grad(rewarded.sum(), told)[0].unflatten(1, (-1, places))[at].sum(1)
        gain, slope = ((v.view(len(mine), -1)).mean(1) for v in (rewarded.detach() - base.repeat(len(mine)), slope))
        return torch.stack([torch.where(gain.abs() > noise, gain, 0.0), slope * size], 1)

    return _in_parts(ask, units, z.shape[1], lambda mine: few.repeat(len(mine)), len(few)).unbind(1)


def reward(model: ForwardForward, layer: int, h: Tensor) -> Tensor:
    """What the objective wants high for positives, (B, n) → (B,): the logit, or goodness where a logit needs a whole step."""
    g = model.goodness(layer, h)
    try:
        return model.logits(layer, g).float()
    except (AttributeError, RuntimeError):  # the other layers' goodness in layer collaboration: held fixed, so no difference
        return g.float()


def _in_parts(ask, units: Tensor, width: int, rows_of, each: int) -> Tensor:
    """`ask(rows, mine)` for so many units at a time as fit, joined."""
    parts = torch.arange(len(units)).split(max(1, CELLS // (width * each)))
    return torch.cat([ask(rows_of(mine), mine) for mine in parts])


# Any other model: by its features, with its parameters changed and put back.


@contextmanager
def _changed(parameter: Tensor, units: Tensor, values: Tensor | float) -> Iterator[None]:
    kept = parameter[units].clone()
    parameter[units] = values
    try:
        yield
    finally:
        parameter[units] = kept


def _by_features(model: Model, samples: list[Sample], dead, past) -> list[dict[str, Tensor]]:
    def activity(layer: int) -> Tensor:
        return per_unit(torch.cat([model.features(sample)[layer] for sample in samples])).float()

    now = [per_unit(torch.cat(parts)).float() for parts in zip(*(model.features(s) for s in samples), strict=True)]
    image = model.pixels(torch.cat([sample.image for sample in samples]))
    found = []
    for layer, units in enumerate(dead):
        facts: dict[str, Tensor] = {}
        if len(units):
            weight, bias = model.incoming()[layer]
            below = now[layer - 1] if layer else image
            strength = weight.abs().flatten(1)
            if strength.shape[1] == below.shape[1]:
                swing = strength @ below.abs().amax(0)  # no input can move a drive by more
            else:
                swing = strength.norm(dim=1) * below.abs().amax()
            facts["reach"] = torch.where(swing > 1e-6, swing / swing.median().clamp(min=1e-12), 0.0)[units]
            with _changed(bias, units, 0.0):
                h = activity(layer)[:, units]
            facts |= {"fires_unbiased": h.amax(0) > 0, "unbiased_max": h.amax(0), "unbiased_share": (h > 0).float().mean(0)}
            if past:
                was = _history(past[layer], units)["bias_before"]
                with _changed(bias, units, torch.where(was.isnan(), bias[units], was)):
                    facts["fires_as_before"] = activity(layer)[:, units].amax(0) > 0
            if getattr(model.settings, "winners", 1.0) < 1:
                kept, model.settings = model.settings, model.settings.model_copy(update={"winners": 1.0})
                facts["beaten"] = activity(layer)[:, units].amax(0) > 0
                model.settings = kept
        found.append(facts)
    return found


# What the whole layer's objective does with a little activity.


@torch.no_grad()
def objective(model: Model, x: Tensor, y: Tensor, layer: int, units: Tensor) -> dict[str, Any]:
    """What a little activity of a layer's dead units is worth to its objective, and which settings make that so.

    {pull (mean over at most 16 of them), rises_above (drive from which on more of it raises the reward on positives; None:
    nowhere up to 10⁴), alone: {setting = off: pull without it}, enough: the smallest sets of settings without which it
    would be above 0, also for a tenth of that activity}, over what a variant adds to Forward-Forward's settings. {} for
    other models.
    """
    if not isinstance(model, ForwardForward) or not len(units):
        return {}
    model = twin(model).eval().requires_grad_(False)
    sample = seen(model, x[:ROWS], y[:ROWS], y[:ROWS])[0]
    some = units[torch.linspace(0, len(units) - 1, min(ROWS, len(units))).long()]

    def pull(size: float | None = None, part: float = 1.0) -> float:
        z = model.sample_drive(sample, model)
        given = model.context(z, sample)
        for below in range(layer):
            z = model.drive(below + 1, model.activity(below, z, given))
        places = z.shape[1] // len(model.incoming()[layer][1])
        small = part * 0.1 * z.abs().median().clamp(min=1e-2) if size is None else torch.tensor(size)
        return _gain(model, layer, some, z, given, len(z), places, small)[1].mean().item()

    low, high, rises = 1e-2, 1e4, None
    if pull(low) < 0 < pull(high):
        for _ in range(20):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if pull(middle) < 0 else (low, middle)
        rises = float(f"{high:.3g}")
    whole, own = model.settings, set(type(model.settings).model_fields) - set(ForwardForward.Settings.model_fields)
    off = {key: type(value)(0) for key in sorted(own) if isinstance(value := getattr(whole, key), int | float) and value}

    def without(keys: Sequence[str]) -> tuple[float, float]:
        model.settings = whole.model_copy(update={key: off[key] for key in keys})
        return pull(), pull(part=0.1)

    now, alone, enough = pull(), {}, []
    if now < 0:
        names = {key: f"{key}={str(value).lower()}" for key, value in off.items()}
        for size in range(1, min(len(off), 3) + 1):
            for keys in itertools.combinations(off, size):
                values = without(keys)
                if size == 1:
                    alone[names[keys[0]]] = float(f"{values[0]:.3g}")
                if min(values) > 0:
                    enough.append([names[key] for key in keys])
            if enough:
                break
    return {"pull": float(f"{now:.3g}"), "rises_above": rises, "alone": alone, "enough": enough}


def gradients(model: Model, strategy: Any, x: Tensor, y: Tensor) -> list[Tensor]:
    """Length of the gradient that reaches each unit's incoming weights, [(n₁,), …], from one step's losses on x and y.

    Nothing is stepped and the model is not changed. strategy: the run's, or None.
    """
    model = twin(model).train()
    view = model.view()
    pair = strategy(x, y, view, torch.Generator().manual_seed(0)) if strategy else None
    for term in model.terms(x, y, pair, set(range(len(model.groups()))), view):
        if term.loss.requires_grad:
            term.loss.backward()
    return [(torch.zeros_like(w) if w.grad is None else w.grad).flatten(1).norm(dim=1) for w, _ in model.incoming()]
