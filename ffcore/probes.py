"""Frozen features → accuracy: a linear classifier, standardised, regularised by choice, trained until it has converged."""

import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ffcore import goodness
from ffcore.data import Data, Split
from ffcore.errors import Refused
from ffcore.models.base import Model
from ffcore.readout import autocast

L2 = (1.0, 0.1, 0.01, 0.001, 0.0001)  # tried from the strongest on, each starting where the last one ended
MOST = 1_000  # iterations of L-BFGS at most
CHOOSING = 0.2  # share of the images that choose the L2 penalty
FEW = 100  # fewer images than this choose nothing


@dataclass
class Probe:
    """A probe's outcome: `accuracy` on images that neither trained it nor chose `l2` (the penalty ½·l2·‖w‖² per image)."""

    accuracy: float
    l2: float
    images: int  # that it was trained on, those that chose included
    features: int
    converged: bool
    seconds: float


def linear(train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]) -> Probe:
    """Multinomial logistic regression on features (N, n) with labels (N,), by L-BFGS to convergence (scikit-learn).

    Features are standardised on the training part. The last fifth of `train` chooses the penalty; the classifier with it
    is then trained on all of `train`, and measured once on `held_out`. Raises Refused for fewer than 100 images or one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    begun = time.perf_counter()
    (x, y), (x_out, y_out) = ((features.float().cpu().numpy(), labels.cpu().numpy()) for features, labels in (train, held_out))
    if len(y) < FEW or len(np.unique(y)) < 2:
        raise Refused(f"a probe needs {FEW} images of at least two classes and got {len(y)}; take more data")
    if not (np.isfinite(x).all() and np.isfinite(x_out).all()):
        raise Refused("features that are no numbers cannot be probed; train the net again with a lower train.lr")
    scaler = StandardScaler().fit(x)
    x, x_out = scaler.transform(x), scaler.transform(x_out)
    fit = round(len(y) * (1 - CHOOSING))

    def trained(model: LogisticRegression, l2: float, n: int) -> bool:
        model.set_params(C=1 / (l2 * n))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # told by `converged`
            model.fit(x[:n], y[:n])
        return bool((model.n_iter_ < MOST).all())

    model, best = LogisticRegression(max_iter=MOST, warm_start=True), (-1.0, L2[0])
    for l2 in L2:
        trained(model, l2, fit)
        score = model.score(x[fit:], y[fit:])
        if score < best[0]:
            break  # a weaker penalty only fits the training part better
        if score > best[0]:
            best = (score, l2)
    if len(model.classes_) < len(np.unique(y)):  # a rare class stands among those that chose only
        model = LogisticRegression(max_iter=MOST)
    converged = trained(model, best[1], len(y))
    return Probe(float(model.score(x_out, y_out)), best[1], len(y), x.shape[1], converged, time.perf_counter() - begun)


@torch.no_grad()
def features(model: Model, images: Tensor, precision: str = "float32", batch: int = 1_000) -> list[Tensor]:
    """Activity of every layer when no class is known, images (N, C, H, W) uint8 → [(N, n₁), …], each image of mean square 1."""
    parts = []
    for x in images.split(batch):
        with autocast(precision, x.device):
            told = model.features(model.shown(x.float().div(255)))
        parts.append([goodness.normalise(h.float().flatten(1), "rms") for h in told])
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def probe(model: Model | None, data: Data, images: int = 20_000, precision: str = "float32") -> dict[str, Any]:
    """A linear probe on all layers of `model` together, or on the raw pixels (None): trained on the first `images` training
    images, measured on the validation images. Returns a Probe as a dict."""

    def seen(split: Split) -> tuple[Tensor, Tensor]:
        x = split.x.flatten(1).float() / 255 if model is None else torch.cat(features(model, split.x, precision), 1)
        return x, split.y

    return asdict(linear(seen(Split(*(part[:images] for part in data.train))), seen(data.validation)))
