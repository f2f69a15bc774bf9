"""What a net answers: goodness over labels and the one-pass softmax head, each layer's own vote, and where it errs."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ffcore.models.base import Model

WORST = 25


def autocast(precision: str, device: torch.device | str):
    """The context in which matrix products run in `precision`.

    No weight cache: a cast kept from before an optimiser step, or from a no-grad pass, would be stale.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, cache_enabled=False) if precision == "bf16" else nullcontext()


@dataclass
class Evaluation:
    """Read-outs over one labelled set, all from the same pass; accuracies are fractions."""

    images: int
    accuracy: dict[str, float]  # read-out → share right
    layers: list[float]  # each layer's goodness alone
    confusion: Tensor  # (C, C) counts [true, predicted] of the default read-out
    worst: Tensor  # (≤ 25,) indices of the errors with the largest margin, default read-out
    worst_scores: Tensor  # (≤ 25, C) what that read-out said
    goodness: Tensor | None  # (N, C, L)
    usual: dict[str, dict[str, float]]  # read-out → best score, and its lead over the next, that 99% of the images reach

    def arrays(self, x: Tensor, y: Tensor) -> dict:
        """The confusion matrix and the worst errors among images x (N, C, H, W) as numpy arrays, to be stored."""
        return {
            "confusion": self.confusion.numpy(),
            "worst_index": self.worst.numpy(),
            "worst_label": y.cpu()[self.worst].numpy(),
            "worst_prediction": self.worst_scores.argmax(1).numpy(),
            "worst_goodness": self.worst_scores.numpy(),
            "worst_images": x[self.worst.to(x.device)].cpu().numpy(),
        }


@torch.no_grad()
def evaluate(model: Model, images: Tensor, y: Tensor, precision: str = "float32", batch: int = 1_000) -> Evaluation:
    """Every read-out of `model` on images (N, C, H, W) uint8 with labels y (N,)."""
    scores: dict[str, list[Tensor]] = {}
    goodness = []
    for x in images.split(batch):
        x = x.float().div_(255)
        with autocast(precision, x.device):
            g = model.label_goodness(x) if model.tries_labels else None
            for name, value in model.scores(x, g).items():
                scores.setdefault(name, []).append(value.float())
        if g is not None:
            goodness.append(g.float())
    y = y.cpu()
    joined = {name: torch.cat(parts).cpu() for name, parts in scores.items()}
    told = joined[model.readouts[0]]
    predicted, right = told.argmax(1), told.gather(1, y[:, None]).squeeze(1)
    margin = torch.where(predicted == y, -torch.inf, told.amax(1) - right)
    worst = margin.argsort(descending=True, stable=True)[: min(WORST, int((predicted != y).sum()))]
    g = torch.cat(goodness).cpu() if goodness else None
    return Evaluation(
        len(y),
        {name: accuracy(joined[name], y) for name in model.readouts},
        [accuracy(g[:, :, layer], y) for layer in range(g.shape[2])] if g is not None else [],
        torch.bincount(y * model.classes + predicted, minlength=model.classes**2).view(model.classes, -1),
        worst,
        told[worst],
        g,
        {name: _usual(joined[name]) for name in model.readouts},
    )


def _usual(scores: Tensor) -> dict[str, float]:
    """The first percentiles of rows (N, C): {best, lead}. What scores less than nearly all digits may be none."""
    best, second = scores.topk(2).values.unbind(1)
    return {"best": best.quantile(0.01).item(), "lead": (best - second).quantile(0.01).item()}


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Share of rows (N, C) whose largest score is the label's; k equal ones count 1/k: a constant is chance."""
    best = scores == scores.amax(1, keepdim=True)
    return (best.gather(1, y[:, None]).squeeze(1).double() / best.sum(1)).mean().item()
