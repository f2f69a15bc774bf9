"""The life of every unit, as a run's snapshots tell it: when it fell silent, what it weighed then. Read without torch."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ffcore.errors import Refused
from ffcore.runs import Run

DORMANT, MASKED = 0.025, 0.01  # as in `neurons`, which loads torch
DEFINITIONS = {
    "dead": "never above 0 on the probe images, before any mask",
    "dormant": "mean |activity| at most 2.5% of its layer's mean (τ = 0.025; Sokar et al. 2023)",
    "masked": "never passes on more than 0.01, after the mask if there is one: the reference study's measure",
}
NEEDED = ("mean", "rate", "max", "bias", "weight_norm", "gradient_norm")
MORE = ("size", "passed", "share", "woke")  # not in the snapshots of older versions


def unit_history(run: Run) -> dict[str, Any]:
    """{epochs: [E], lost, layers: [{mean, rate, max, bias, weight_norm, gradient_norm, passed?, share?, woke?, size?: (E, n),
    out: {definition: (E, n) booleans}, died: {definition: (n,)}}]}.

    `out` and `died` are by `DEFINITIONS`; died is the snapshot from which on a unit is out for good, or E. Of every snapshot
    that can be read; `lost` counts the others. Raises Refused where there is none, or where they do not tell of one and the
    same net.
    """
    found, lost = [], 0
    for epoch in run.snapshots():
        try:
            arrays = run.snapshot(epoch)
            found.append((epoch, {k: v for k, v in arrays.items() if k.rpartition("_")[0] in (*NEEDED, *MORE)}))
        except Refused:
            lost += 1
    if not found:
        raise Refused(f"run {run.id} has no snapshots that can be read; train one with train.telemetry on")
    layers: list[dict[str, np.ndarray]] = []
    while f"rate_{len(layers) + 1}" in found[0][1]:
        i, told = len(layers) + 1, {}
        for name in (*NEEDED, *MORE):
            column = [arrays.get(f"{name}_{i}") for _, arrays in found]
            if all(isinstance(values, np.ndarray) and values.ndim == 1 for values in column):
                if len({len(values) for values in column}) > 1:
                    raise Refused(f"run {run.id}: its snapshots tell of different nets; train it again")
                told[name] = np.stack(column).astype(np.int32 if name == "woke" else np.float32)
        if missing := [name for name in NEEDED if name not in told]:
            raise Refused(f"run {run.id}: its snapshots lack {missing[0]} of layer {i}; train it again")
        if len({values.shape for values in told.values()}) > 1:
            raise Refused(f"run {run.id}: its snapshots tell of different nets; train it again")
        out = {name: who for name in DEFINITIONS if (who := silent(told, name)) is not None}
        layers.append({**told, "out": out, "died": {name: deaths(who) for name, who in out.items()}})
    if not layers:
        raise Refused(f"run {run.id}: its snapshots tell nothing of units; train it again")
    return {"epochs": [epoch for epoch, _ in found], "layers": layers, "lost": lost}


def silent(layer: dict[str, np.ndarray], definition: str = "dead") -> np.ndarray | None:
    """Who is out of it at every snapshot, (E, n) booleans, by one of `DEFINITIONS`; None where snapshots do not tell."""
    if definition == "dead":
        return layer["rate"] <= 0
    if definition == "masked":
        return layer["passed"] < MASKED if "passed" in layer else None
    size = layer.get("size", np.abs(layer["mean"]))
    return size <= DORMANT * size.mean(1, keepdims=True)


def deaths(out: np.ndarray) -> np.ndarray:
    """The snapshot from which each unit is out of it for good, (E, n) → (n,); E for one that is not at the end."""
    return len(out) - np.cumprod(out[::-1], 0).sum(0)


def objective_in_words(told: dict[str, Any]) -> list[str]:
    """What `autopsy.objective` found, for people; nothing where a little activity is worth having."""
    if not told or told["pull"] >= 0:
        return []
    lines = ["its objective falls when a dead unit takes on a little activity on positives, so learning keeps it off"]
    if told["rises_above"]:
        lines.append(f"only above a drive of {told['rises_above']:g} would more of it be rewarded")
    if told["alone"] and told["enough"]:
        ways = " or ".join(" with ".join(keys) for keys in told["enough"])
        one = min(map(len, told["enough"])) == 1
        lines.append(("" if one else "no single setting mends that; ") + f"a little activity would be rewarded by {ways}")
    elif told["alone"]:
        lines.append("no setting of its own, nor three of them together, would mend that")
    return lines


def evidence_in_words(unit: dict[str, Any]) -> list[str]:
    """The numbers of `autopsy.examine` that bear on a dead unit's cause, as sentences, the deciding one first."""

    def has(*names: str) -> bool:
        return all(isinstance(unit.get(name), int | float) for name in names)

    told: dict[str, str] = {}
    if has("gain", "pull"):
        way = "lowers" if unit["gain"] < 0 else "raises" if unit["gain"] > 0 else "does not change"
        told["goodness falls with activity"] = (
            f"A drive of {unit['given']:.3g}, given to it alone, {way} what the objective rewards on positives by "
            f"{abs(unit['gain']):.2g}; the gradient there pulls its activity {'down' if unit['pull'] < 0 else 'up'}."
        )
    if has("bias", "unbiased_share"):
        fires = "it fires" if unit.get("fires_unbiased") else "it still does not fire"
        told["negative bias"] = f"Its bias is {unit['bias']:.3g}. With the bias at 0 {fires}" + (
            f"; its drive is then above 0 for {unit['unbiased_share']:.1%} of the images."
            if unit.get("unbiased_share")
            else "."
        )
    if has("bias_before"):
        told["bias_before"] = f"When it was last alive its bias was {unit['bias_before']:.3g}" + (
            f" and its incoming weights had length {unit['norm_before']:.3g}, now {unit['weight_norm']:.3g}."
            if has("norm_before", "weight_norm")
            else "."
        )
    if has("moved", "moved_from", "moved_to"):
        others = f"; those of the units that lived on by {unit['moved_others']:.2g}, the median" * has("moved_others")
        told["too large a step"] = (
            f"Between epochs {unit['moved_from']:g} and {unit['moved_to']:g} its incoming weights moved by "
            f"{unit['moved']:.2g} of their length{others}."
        )
    if has("unbiased_max", "drive_max"):
        told["weights turned away"] = (
            f"The most that any image drives it is {unit['drive_max']:.3g}, and {unit['unbiased_max']:.3g} without its bias."
        )
    if has("reach"):
        told["vanished input"] = f"Inputs move its drive by {unit['reach']:.2g} of what they do to its layer's median unit."
    if unit.get("held"):
        told["inhibition"] = "Without inhibition it would be above 0 for at least one image."
    if unit.get("beaten"):
        told["lost to the winners"] = "If all units could be active it would be above 0 for at least one image."
    if unit.get("born"):
        told["born dead"] = "No snapshot saw it alive, and the first was taken before the first step."
    return [text for _, text in sorted(told.items(), key=lambda pair: pair[0] != unit.get("cause"))]


WHAT_IF: dict[str, tuple[dict[str, Any], str]] = {  # cause → settings to try, and what they do
    "born dead": ({"train.recycle": 50}, "give dormant units fresh weights every 50 steps"),
    "inhibition": ({"model.speed": 0.2}, "let inhibition grow at a fifth of the speed"),
    "lost to the winners": ({"model.winners": 1.0}, "let all units be active, not the k winners alone"),
    "vanished input": ({"train.recycle": 50}, "give dormant units fresh weights every 50 steps"),
    "negative bias": ({"train.homeostasis": 0.2}, "let every bias move until its unit is on for 20% of the images"),
    "too large a step": ({"train.lr": 0.3}, "take steps a third as large"),
    "weights turned away": ({"model.peer": 1.0}, "pull every unit's mean activity to its layer's"),
}


def what_if(config: dict[str, Any], layers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """[{cause, settings, what}]: for the causes of death in a run's layers, the most frequent first, what to train instead.

    Where the objective itself is to blame, the smallest sets of settings without which it would not be.
    """
    counts: dict[str, int] = {}
    for layer in layers:
        for cause, n in (layer.get("causes") or {}).items():
            counts[cause] = counts.get(cause, 0) + n
    told: list[dict[str, Any]] = []
    for cause in sorted(counts, key=counts.get, reverse=True):
        if cause == "goodness falls with activity":
            ways = [keys for layer in layers for keys in (layer.get("objective") or {}).get("enough", [])]
            for keys in {tuple(keys): None for keys in ways}:
                settings = {f"model.{k}": json.loads(v) for k, _, v in (key.partition("=") for key in keys)}
                told.append({"cause": cause, "settings": settings, "what": "an objective that rewards a little activity"})
        elif cause in WHAT_IF:
            settings, what = WHAT_IF[cause]
            (key, value), *_ = settings.items()
            section, _, name = key.partition(".")
            if name not in config.get(section, {}) or config[section][name] == value:
                continue
            if name == "lr":
                value = float(f"{value * config['train']['lr']:.2g}")
            if all(other["settings"] != {key: value} for other in told):
                told.append({"cause": cause, "settings": {key: value}, "what": what})
    return told
