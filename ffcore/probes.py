"""Frozen features → accuracy: what a linear classifier, or its nearest neighbours, can read from them."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ffcore import goodness
from ffcore.data import Data, Split
from ffcore.errors import Refused
from ffcore.models.base import Model, generator
from ffcore.readout import accuracy, autocast

L2 = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)  # from the strongest on, each from where the last one ended
MOST = 500  # iterations of L-BFGS at most
FLAT = 1e-3  # the largest entry of the gradient at which it has converged: from there on accuracy stays within 0.1 points
PASSES, BATCH, RATE, MOMENTUM = 6, 1_024, 0.3, 0.9  # of the stochastic descent that goes before
PATIENCE = 2  # penalties in a row that may be worse before weaker ones are left out
SWEPT = 24_000  # images that the penalties are tried on, at most
CHOOSING = 0.2  # share of the images that choose the L2 penalty
SMALL, FOLDS = 2_000, 4  # fewer images than this choose it by cross-validation
FEW = 100  # fewer images than this choose nothing
ROWS = 8_192  # images whose covariance conditions the problem, at least
NUMBERS = 2**28  # features of all training images together that a probe takes: 1 GiB
NEIGHBOURS, AMONG = 20, 20_000  # of the k-NN check, and the images they are sought among


@dataclass
class Probe:
    """A probe's outcome: `accuracy` on images that neither trained it nor chose `l2` (the penalty ½·l2·‖w‖² per image).

    `validation` is the accuracy that chose it; `confusion` counts [true, predicted] (C, C).
    """

    accuracy: float
    l2: float
    images: int  # that it was trained on, those that chose included
    features: int
    converged: bool
    seconds: float
    validation: float | None = None
    confusion: list[list[int]] = field(default_factory=list)


class Logistic:
    """Multinomial logistic regression, the mean cross-entropy + ½·l2·‖W‖², the offsets unpenalised, by L-BFGS.

    The variables are those in which the Hessian at W = 0, Σ/C + l2, is the identity (Σ: the features' covariance), which
    takes half as many steps; the optimum is the same. Of many images, six passes of stochastic descent in the same
    variables come first: they go in a second where L-BFGS would take a hundred looks at all of them.
    x: (N, n) standardised, y: (N,).
    """

    def __init__(self, x: Tensor, y: Tensor, classes: int):
        self.x, self.y, self.classes = x, y, classes
        some = x[: max(ROWS, 2 * x.shape[1])]
        self.covariance = some.T @ some / len(some)
        self.weight = x.new_zeros(classes, x.shape[1])
        self.offset = x.new_zeros(classes)

    def fit(self, l2: float) -> bool:
        """Go to the optimum for a penalty, from where it stands; returns whether it got there."""
        n, features = self.x.shape
        hessian = self.covariance / self.classes
        hessian.diagonal().add_(l2 + 1e-6)
        lower = torch.linalg.cholesky(hessian)
        inverse = torch.linalg.solve_triangular(lower, torch.eye(features, device=self.x.device), upper=False)
        if n > SWEPT:
            self._descend(l2, inverse.T @ inverse)
        place = torch.cat([(self.weight @ lower).flatten(), self.offset]).requires_grad_()
        rows = torch.arange(n, device=self.x.device)
        flat = False

        def weights() -> tuple[Tensor, Tensor]:
            v, offset = place.detach().split([features * self.classes, self.classes])
            return v.view(self.classes, -1) @ inverse, offset

        def loss() -> Tensor:
            nonlocal flat
            w, offset = weights()
            log_p = torch.log_softmax(F.linear(self.x, w, offset), 1)
            told = -log_p[rows, self.y].mean() + l2 / 2 * w.square().sum()
            wrong = log_p.exp_()
            wrong[rows, self.y] -= 1
            wrong /= n
            # wrong.T @ x, not x.T @ wrong: four times as fast for so few columns
            slope, tilt = torch.addmm(l2 * w, wrong.T.contiguous(), self.x), wrong.sum(0)
            flat = bool(max(slope.abs().max(), tilt.abs().max()) <= FLAT)
            place.grad = torch.cat([(slope @ inverse.T).flatten(), tilt])
            if flat:
                place.grad.zero_()  # the solver stops
            return told

        solver = torch.optim.LBFGS(
            [place], max_iter=MOST, tolerance_grad=0, tolerance_change=1e-9, history_size=20, line_search_fn="strong_wolfe"
        )
        solver.step(loss)
        self.weight, self.offset = (part.clone() for part in weights())
        return flat

    def _descend(self, l2: float, inverse: Tensor) -> None:
        """Passes over the images with momentum and a step that falls to 0; the order is the same every time."""
        n, rng = len(self.y), torch.Generator(self.x.device).manual_seed(0)
        speed, drift = torch.zeros_like(self.weight), torch.zeros_like(self.offset)
        batches, step = n // BATCH, 0
        for _ in range(PASSES):
            order = torch.randperm(n, generator=rng, device=self.x.device)
            for chosen in order[: batches * BATCH].view(batches, BATCH):
                x = self.x[chosen]
                wrong = self.scores(x).softmax(1)
                wrong[torch.arange(BATCH, device=x.device), self.y[chosen]] -= 1
                wrong /= BATCH
                slope = torch.addmm(l2 * self.weight, wrong.T.contiguous(), x) @ inverse
                rate = RATE / 2 * (1 + math.cos(math.pi * step / (batches * PASSES)))
                speed = MOMENTUM * speed + (1 - MOMENTUM) * slope
                drift = MOMENTUM * drift + (1 - MOMENTUM) * self.classes * wrong.sum(0)
                self.weight, self.offset, step = self.weight - rate * speed, self.offset - rate * drift, step + 1

    def scores(self, x: Tensor) -> Tensor:
        """(N, n) → (N, C)."""
        return F.linear(x, self.weight, self.offset)


def standardised(x: Tensor, *others: Tensor) -> list[Tensor]:
    """Features (N, n) with mean 0 and s.d. 1 over `x`, and the others by the same numbers; a constant one becomes 0."""
    mean, sd = x.mean(0), x.std(0, correction=0)
    scale = torch.where(sd > 1e-6 * (mean.abs() + 1e-6), 1 / sd, 0.0)
    return [(part - mean).mul_(scale) for part in (x, *others)]


def linear(train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], classes: int | None = None) -> Probe:
    """A linear classifier of features (N, n) with labels (N,), trained to convergence.

    After Kornblith, Shlens & Le, CVPR 2019 (arXiv 1805.08974): standardised on the training part; the penalty chosen on the
    last fifth of it (tried on at most 24,000 images; the weight of the penalty as a whole then stays the same), or by 4-fold
    cross-validation where it is small; then trained on all of `train`, and measured once on `held_out`.
    Raises Refused for fewer than 100 images or one class, and for features that are no numbers.
    """
    begun = time.perf_counter()
    x, y, x_out, y_out = checked(train, held_out)
    classes = classes or int(torch.cat([y, y_out]).max()) + 1
    x, x_out = standardised(x, x_out)
    n, folds = len(y), []
    if n < SMALL:
        places = torch.arange(n, device=y.device)
        order = places[torch.argsort(y, stable=True)]  # every fold gets some of every class
        part = torch.empty_like(places).scatter_(0, order, places % FOLDS)
        folds = [(part != k, part == k) for k in range(FOLDS)]
    else:
        fit = round(n * (1 - CHOOSING))
        folds = [(slice(min(fit, SWEPT)), slice(fit, n))]
    tried = [Logistic(x[fit], y[fit], classes) for fit, _ in folds]
    best, chosen, worse = -1.0, L2[0], 0
    model = Logistic(x, y, classes)
    for l2 in L2:
        for part in tried:
            part.fit(l2)
        told = [accuracy(part.scores(x[rest]), y[rest]) for part, (_, rest) in zip(tried, folds, strict=True)]
        score = sum(told) / len(told)
        if score > best:
            best, chosen, worse = score, l2 * len(tried[0].y) / n, 0
            model.weight, model.offset = tried[0].weight, tried[0].offset
        elif (worse := worse + 1) == PATIENCE:
            break  # a weaker penalty only fits the training part better
    converged = model.fit(chosen)
    return _told(model.scores(x_out), y_out, x, chosen, converged, begun, best)


def checked(train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features as float32 and labels of both parts; raises Refused for what cannot be probed."""
    (x, y), (x_out, y_out) = ([torch.as_tensor(part) for part in parts] for parts in (train, held_out))
    x, x_out = x.float(), x_out.float()
    if len(y) < FEW or len(y.unique()) < 2:
        raise Refused(f"a probe needs {FEW} images of at least two classes and got {len(y)}; take more data")
    if not (torch.isfinite(x).all() and torch.isfinite(x_out).all()):
        raise Refused("features that are no numbers cannot be probed; train the net again with a lower train.lr")
    return x, y, x_out, y_out


def unconverged(
    train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], classes: int | None = None, seed: int = 0
) -> Probe:
    """The reference study's protocol, which measures the features' scale as much as their worth: a linear layer on features
    as they are, no penalty, 100 full-batch steps of Adam at 0.01."""
    begun = time.perf_counter()
    x, y, x_out, y_out = checked(train, held_out)
    classes = classes or int(torch.cat([y, y_out]).max()) + 1
    bound, rng = x.shape[1] ** -0.5, generator(seed, "reference probe")
    weight = torch.empty(classes, x.shape[1]).uniform_(-bound, bound, generator=rng).to(x.device).requires_grad_()
    offset = torch.empty(classes).uniform_(-bound, bound, generator=rng).to(x.device).requires_grad_()
    adam = torch.optim.Adam([weight, offset], lr=0.01)
    for _ in range(100):
        adam.zero_grad()
        F.cross_entropy(F.linear(x, weight, offset), y).backward()
        adam.step()
    with torch.no_grad():
        return _told(F.linear(x_out, weight, offset), y_out, x, 0.0, False, begun)


def _told(scores: Tensor, y: Tensor, x: Tensor, l2: float, converged: bool, begun: float, validation=None) -> Probe:
    classes = scores.shape[1]
    confusion = torch.bincount(y * classes + scores.argmax(1), minlength=classes**2).view(classes, classes).tolist()
    right = accuracy(scores, y)
    return Probe(right, l2, len(x), x.shape[1], converged, time.perf_counter() - begun, validation, confusion)


def neighbours(train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], classes: int, k: int = NEIGHBOURS) -> float:
    """A check without any training: the share of `held_out` right by a vote of the k nearest of 20,000 training images.

    Nearest by cosine between standardised features (N, n); a tie goes to the nearer ones.
    """
    x, x_out = standardised(train[0][:AMONG].float(), held_out[0].float())
    y = train[1][:AMONG]
    x, x_out = (F.normalize(part, dim=1) for part in (x, x_out))
    right = 0
    for part, labels in zip(x_out.split(2_000), held_out[1].split(2_000), strict=True):
        near = (part @ x.T).topk(min(k, len(y)), dim=1)
        votes = torch.zeros(len(part), classes, device=part.device)
        votes.scatter_add_(1, y[near.indices], 1 + 1e-3 * near.values)
        right += (votes.argmax(1) == labels).sum().item()
    return right / len(held_out[1])


@torch.no_grad()
def activities(
    model: Model,
    images: Tensor,
    precision: str = "float32",
    batch: int = 1_000,
    tell: Callable[[float], None] = lambda share: None,
) -> list[Tensor]:
    """Activity of every layer when no class is known, images (N, C, H, W) uint8 → [(N, n₁), …] as the layers have it."""
    parts = []
    for i, x in enumerate(images.split(batch)):
        with autocast(precision, x.device):
            told = model.features(model.shown(x.float().div(255)))
        parts.append([h.float().flatten(1) for h in told])
        tell((i + 1) * batch / len(images))
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def normalised(h: Tensor) -> Tensor:
    """(N, n) → (N, n), each image at mean square 1: what the next layer sees, and no length to read goodness off."""
    return goodness.normalise(h, "rms")


def few(y: Tensor, shots: int, classes: int, rng: torch.Generator) -> Tensor:
    """Indices of `shots` images of each class, drawn at random, of labels (N,); fewer where a class has fewer."""
    order = torch.randperm(len(y), generator=rng)
    return torch.cat([order[y.cpu()[order] == c][:shots] for c in range(classes)]).to(y.device)


def probe(model: Model | None, data: Data, images: int = 20_000, precision: str = "float32") -> dict[str, Any]:
    """A linear probe on all layers of `model` together, or on the raw pixels (None): trained on the first `images` training
    images, measured on the validation images. Returns a Probe as a dict."""

    def seen(split: Split) -> tuple[Tensor, Tensor]:
        if model is None:
            return split.x.flatten(1).float() / 255, split.y
        return torch.cat([normalised(h) for h in activities(model, split.x, precision)], 1), split.y

    return asdict(linear(seen(Split(*(part[:images] for part in data.train))), seen(data.validation), len(data.classes)))
