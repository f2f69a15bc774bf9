"""Fine-tuning: what a run's net comes to when it goes on learning on another dataset, by backprop, at once or in phases."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ffcore.data import DataSettings, load
from ffcore.errors import Refused
from ffcore.lab import ANALYSES
from ffcore.lab._target import settle_target
from ffcore.lab.base import Analysis, Found, Tell
from ffcore.registry import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from ffcore.models.base import Model
    from ffcore.rundir import Run
    from ffcore.trained import Trained

BATCH, RATE = 256, 1e-3  # AdamW with a one-cycle schedule in every phase
MODES = ("frozen, linear head", "fine-tuned", "unfrozen from the top", "unfrozen from the bottom", "from scratch")


@ANALYSES.register("finetune")
class Finetune(Analysis):
    """A linear head on all layers; below it nothing moves, everything, or one layer more in every phase. `from scratch` is the
    same net with the weights that it began with, fine-tuned as a whole: what the source was good for."""

    title = "Fine-tuning on another dataset"
    source = "Howard & Ruder, ACL 2018, arXiv 1801.06146 (gradual unfreezing, from the top)"

    class Settings(Settings):
        target: str | None = Field(
            None, description="dataset to learn; null: Fashion-MNIST where it lies in the data root, else glyphs"
        )
        epochs: int = Field(6, ge=1, le=1_000, description="passes over the training images, the same for every row")
        train: int | None = Field(None, ge=100, description="learn from the first N images only; null: all")
        seed: int = Field(0, ge=0, lt=2**31, description="of the order of the images")

    @classmethod
    def resolve(cls, settings: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
        return settle_target(settings, runs[0], "finetune")

    @classmethod
    def measure(cls, runs: Sequence[Trained], settings: Any, tell: Tell, root: str | None) -> Found:
        import torch

        from ffcore.training import build_model

        run = runs[0]
        device = "cuda" if torch.cuda.is_available() else "cpu"
        data = load(DataSettings(name=settings.target), run.config["data_root"], device)
        rows = []
        for i, mode in enumerate(MODES):
            model = build_model({**run.config, "device": "cpu"}, facts=run.config["facts"])
            if mode != "from scratch":
                model.load_state_dict(run.model.state_dict())
            begun = time.perf_counter()

            def say(share: float, i: int = i, mode: str = mode) -> None:
                tell((i + share) / len(MODES), mode)

            curve, accuracy = _tuned(model.to(device), mode, data, settings, say)
            seconds = time.perf_counter() - begun
            rows.append({"mode": mode, "accuracy": accuracy, "curve": curve, "seconds": seconds})
        told = {"model": run.config["model"]["name"], "target": settings.target, "epochs": settings.epochs}
        told |= {"source_title": run.config["facts"]["data_title"], "target_title": data.title}
        return {**told, "images": min(len(data.train.y), settings.train or len(data.train.y)), "rows": rows} | {
            "test_images": len(data.test.y)
        }, {}


def phases(mode: str, layers: int, epochs: int) -> list[set[int]]:
    """The layers that move in every epoch: a phase for the head alone, then one for every layer more."""
    if mode == "frozen, linear head":
        return [set()] * epochs
    if mode in ("fine-tuned", "from scratch"):
        return [set(range(layers))] * epochs
    order = list(range(layers)) if mode == "unfrozen from the bottom" else list(reversed(range(layers)))
    return [set(order[: epoch * (layers + 1) // epochs]) for epoch in range(epochs)]


def _tuned(model: Model, mode: str, data: Any, settings: Any, say) -> tuple[list[float], float]:
    """(accuracy on the target's validation images after every epoch, on its test images at the end)."""
    import torch
    import torch.nn.functional as F

    from ffcore import probes
    from ffcore.models.base import generator
    from ffcore.readout import accuracy

    device = data.train.x.device
    incoming = model.incoming()
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    def read(images: Tensor) -> Tensor:
        told = model.features(model.shown(images.float() / 255))
        return torch.cat([probes.normalised(h.float().flatten(1)) for h in told], 1)

    with torch.no_grad():
        width = read(data.train.x[:2]).shape[1]
    head: nn.Linear = torch.nn.Linear(width, len(data.classes)).to(device)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    x, y = (part[: settings.train] for part in data.train)

    @torch.no_grad()
    def right(images: Tensor, labels: Tensor) -> float:
        return accuracy(torch.cat([head(read(part)) for part in images.split(1_000)]), labels)

    curve, moving, optimiser, schedule = [], None, None, None
    told = phases(mode, len(incoming), settings.epochs)
    batches = -(-len(y) // BATCH)
    for epoch, layers in enumerate(told):
        if layers != moving:  # a phase begins
            moving = layers
            own = [p for i in layers for p in incoming[i]]
            for parameter in own:
                parameter.requires_grad_(True)
            probe = read(x[:2])
            if own and not probe.requires_grad:
                raise Refused(f"model '{model.name}' passes no slope from its features to its weights; only probe it")
            optimiser = torch.optim.AdamW([*head.parameters(), *own], RATE)
            steps = batches * sum(phase == layers for phase in told) + 1
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 10 * RATE if not own else 3 * RATE, total_steps=steps)
        order = torch.randperm(len(y), generator=generator(settings.seed, f"finetune {epoch}", device), device=device)
        for step, chosen in enumerate(order.split(BATCH)):
            loss = F.cross_entropy(head(read(x[chosen])), y[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 20 == 0:
                say((epoch + step / batches) / len(told))
        curve.append(right(*data.validation))
    return curve, right(*data.test)
