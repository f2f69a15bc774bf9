"""How every unit of a net is: alive or dead, since when, what it does, and what a dead one died of."""

from pydantic import Field

from ffcore.errors import Refused
from ffcore.lab import ANALYSES
from ffcore.lab._images import check_images, settle_held_out
from ffcore.lab.base import Analysis
from ffcore.registry import Settings

TOP = 4  # images shown that drive a unit most
TOLD = 8_000  # dead units at most whose numbers are told: half a kilobyte each
STEP = 250  # images of the step whose gradient is told


@ANALYSES.register("health")
class Health(Analysis):
    """Every layer's health, every unit's numbers, and an autopsy of every dead unit, on validation images."""

    title = "Neuron health"
    source = "Sokar, Agarwal, Castro & Evci, ICML 2023, arXiv 2302.12902; the counterfactuals are ours"

    class Settings(Settings):
        """Which images, and the net of which epoch."""

        n: int = Field(2_000, ge=20, le=10_000, description="the run's first validation images")
        epoch: int | None = Field(None, ge=0, description="the net as it was after this epoch; null: as it is now")

    @classmethod
    def resolve(cls, settings, runs):
        return settle_held_out(settings, runs[0])

    @classmethod
    def check_here(cls, settings, runs):
        check_images(runs[0], n=settings["n"])

    @classmethod
    def measure(cls, runs, settings, tell, root):
        import torch

        from ffcore import autopsy, lifetimes, neurons, readout, telemetry, trained
        from ffcore.training import build_strategy

        (run,) = runs
        model, held = run.model, run.held_out(max(settings.n, telemetry.PROBE))
        x, y = held.x[: settings.n].float() / 255, held.y[: settings.n]
        tell(0.1, "activities")
        with readout.autocast(run.config["train"]["precision"], "cpu"):
            seen = neurons.observe(model, x, y)
        tell(0.3, "health of the layers")
        layers = neurons.measured(model, seen)
        dead = [neurons.dead(h) for h, _ in seen]
        tell(0.5, "autopsy of the dead units")
        units = trained.autopsies(run, x, y, dead)
        for i, row in enumerate(layers):
            tell(0.7 + 0.1 * i / len(layers), f"what layer {i + 1}'s objective rewards")
            counts = {cause: sum(unit["cause"] == cause for unit in units[i]) for cause in autopsy.CAUSES}
            row["causes"] = dict(sorted(((k, n) for k, n in counts.items() if n), key=lambda pair: -pair[1]))
            row["objective"] = autopsy.objective(model, x, y, i, dead[i])
        tell(0.8, "gradients")
        strategy = build_strategy(run.config)
        steps = autopsy.gradients(model, strategy, x[:STEP], y[:STEP])
        try:
            history = lifetimes.unit_history(run)["layers"]
        except Refused:
            history = []
        arrays, chosen = {}, []
        for i, ((h, most), (weight, bias), gradient) in enumerate(zip(seen, model.incoming(), steps, strict=True), 1):
            size = h.square().mean(0)
            alive = h.abs().amax(0) > 0
            lifetime = torch.full((h.shape[1],), torch.nan)
            lifetime[alive] = neurons.sparseness(h, 0)
            sides = 2 if model.labelled else 1
            peaks = h.view(sides, len(x), -1, h.shape[1]).amax((0, 2))  # (images, n)
            value, top = peaks.topk(min(TOP, len(x)), dim=0)
            arrays |= {
                f"rate_{i}": (h > 0).float().mean(0), f"mean_{i}": h.mean(0), f"max_{i}": h.amax(0), f"passed_{i}": most,
                f"share_{i}": size / size.sum().clamp(min=1e-30), f"lifetime_sparseness_{i}": lifetime,
                f"weight_norm_{i}": weight.detach().flatten(1).norm(dim=1), f"bias_{i}": bias.detach(),
                f"gradient_{i}": gradient,
            }  # fmt: skip
            arrays[f"top_{i}"] = torch.where(value > 0, top, -1).T
            arrays[f"woke_{i}"] = _last_woke(history[i - 1] if i <= len(history) else {}, h.shape[1])
            chosen += [arrays[f"top_{i}"].flatten(), arrays[f"woke_{i}"] // 2]
        used = torch.cat(chosen).unique()
        used = used[(used >= 0) & (used < len(held.y))]
        arrays = {key: value.to(torch.float32) if value.is_floating_point() else value.int() for key, value in arrays.items()}
        arrays |= {"index": used, "images": held.x[used], "labels": held.y[used], "fields": _fields(model)}
        told = {
            "model": model.name, "epoch": run.status()["epoch"] if run.epoch is None else run.epoch, "images": len(y),
            "classes": list(run.config["facts"]["classes"]), "layers": layers, "about": autopsy.CAUSES,
            "units": [told[: TOLD // len(units)] for told in units],
        }  # fmt: skip
        return told, {key: value.numpy() for key, value in arrays.items()}


def _last_woke(layer: dict, n: int):
    """2 · the image that drove each unit most when it was last alive, + 1 if under a wrong label; -1: not known. (n,)"""
    import numpy as np
    import torch

    woke = layer.get("woke")
    if woke is None or woke.shape[1] != n:
        return torch.full((n,), -1)
    last = len(woke) - 1 - np.argmax((woke >= 0)[::-1], 0)
    return torch.from_numpy(woke[last, np.arange(n)])


def _fields(model):
    """Incoming weights of layer 1 as pictures, (n, H, W) int8, each scaled to its own maximum."""
    import torch

    with torch.no_grad():
        first = model.incoming()[0][0].float()
        picture = (first if first.dim() == 4 else first.view(len(first), *model.shape)).mean(1)
        return (127 * picture / picture.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)).round().to(torch.int8)
