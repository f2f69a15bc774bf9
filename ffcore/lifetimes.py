"""The life of every unit, as a run's snapshots tell it: when it fell silent, what it weighed then. Read without torch."""

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
