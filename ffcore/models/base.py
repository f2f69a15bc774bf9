"""What a model is: groups of parameters, and local losses that arrive one at a time."""

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ffcore import goodness as formulas
from ffcore import labels
from ffcore.labels import Sample
from ffcore.registry import Settings

ACTIVATIONS = {
    "relu": torch.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
}


class LayerSettings(Settings):
    """A stack of layers and what their units do."""

    widths: tuple[Annotated[int, Field(ge=1, le=20_000)], ...] = Field(
        (500, 500), min_length=1, max_length=64, description="units of each layer"
    )
    activation: Literal["relu", "leaky_relu", "gelu", "silu"] = Field("relu", description="activity of a unit")
    winners: float = Field(
        1.0, gt=0, le=1, description="k-winners: share of a layer's units, the most active, that stay on for an image"
    )


class UnitSettings(LayerSettings):
    """The same, and what a layer's loss does to keep its units alive."""

    peer: float = Field(
        0.0,
        ge=0,
        le=1_000,
        description="peer normalisation: weight that pulls each unit's mean activity to the layer's; 0: off",
    )
    sparsity: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="adaptive sparsity: share of units on that a penalty of just enough weight aims at; 0: off",
    )


class PairSettings(UnitSettings):
    """The same, for layers that tell positives from negatives."""

    objective: Literal["gap", "threshold"] = Field(
        "gap", description="gap: softplus(-α(g⁺-g⁻)); threshold: Hinton's logistic loss against θ"
    )
    alpha: float = Field(4.0, gt=0, le=10_000, description="α, slope of the objective; n makes the mean goodness a sum")
    theta: float = Field(1.0, ge=0, le=1_000, description="θ, goodness that separates real from negative (threshold only)")
    peer: float = Field(
        0.03,
        ge=0,
        le=1_000,
        description="peer normalisation: weight that pulls each unit's mean activity to its layer's; 0: off",
    )


def generator(seed: int, purpose: str, device="cpu") -> torch.Generator:
    """A generator of its own for every purpose, so that adding a layer or a strategy changes no other random draw."""
    digest = hashlib.blake2b(f"{seed} {purpose}".encode(), digest_size=7).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big"))


class Term(NamedTuple):
    """One local loss: `loss` may move the parameters of `group` and no others.

    stats, detached: pos, neg, the goodness of the two sides, (B,), or (B, L) of a loss over all layers; and what the
    model's `traces` name, a number each.
    """

    group: int
    loss: Tensor
    stats: dict[str, Tensor] = {}  # noqa: RUF012


class Model(nn.Module):
    """A net with local losses.

    Facts: `is_local` no loss reaches beyond its own group · `uses_negatives` · `has_goodness` · `can_generate` ·
    `labelled` it is shown labels, so goodness can be asked for under each ·
    `readouts` names of what `scores` returns, the default first · `recommended` dotted settings that suit it ·
    `compiles` the method that torch.compile takes · `steady` steps of the same groups do the same sums from first to last,
    so that one can stand for all · `faithful` False for one that is flawed on purpose and reached by a
    preset only · `equation` its rule in TeX · `traces` special quantities in its terms' stats, name → what it is ·
    `wiring` what its paper adds to a stack of layers, (from, to, what flows), for the diagram.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    is_local: ClassVar[bool] = True
    uses_negatives: ClassVar[bool] = True
    has_goodness: ClassVar[bool] = True
    can_generate: ClassVar[bool] = False
    readouts: tuple[str, ...] = ("goodness", "softmax")
    labelled: bool = True  # False for a net that is shown images alone, since its negatives need no labels
    recommended: ClassVar[Mapping[str, Any]] = {}
    compiles: ClassVar[str]
    steady: ClassVar[bool] = True
    faithful: ClassVar[bool] = True
    equation: ClassVar[str] = ""
    traces: ClassVar[Mapping[str, str]] = {}
    wiring: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    Settings: ClassVar[type[Settings]]
    progress = 0.0  # of the run, from 0 to 1; set before every step

    def __init__(self, settings, shape: Sequence[int], classes: int, seed: int = 0, mean=(0.0,), std=(1.0,)):
        """A net for images of `shape` (C, H, W) in [0, 1]; `mean` and `std` per channel standardise them on the way in."""
        super().__init__()
        self.settings, self.shape, self.classes, self.seed = settings, tuple(shape), classes, seed
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.standardises = tuple(mean) != (0.0,) or tuple(std) != (1.0,)
        self.rng = generator(seed, "model")  # what its own noise is drawn from; a run puts its saved one here

    def unlabelled(self) -> None:
        """Make this a net that is shown no labels: trying them on says nothing, so only the softmax head reads it."""
        self.labelled, self.readouts = False, ("softmax",)

    @property
    def tries_labels(self) -> bool:
        """Can goodness be asked for under each label?"""
        return self.has_goodness and self.labelled

    def shown(self, image: Tensor) -> Sample:
        """An image as the net sees it when its class is not known: under the neutral label, or under none."""
        return Sample(image, labels.neutral(len(image), self.classes, image.device) if self.labelled else None)

    def uniform(self, purpose: str, *size: int, fan_in: int) -> nn.Parameter:
        """Initial weights U(±1/√fan_in), PyTorch's default for a linear layer."""
        bound = fan_in**-0.5
        return nn.Parameter(torch.empty(*size).uniform_(-bound, bound, generator=generator(self.seed, purpose)))

    def pixels(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] → (B, D), standardised if the run says so."""
        if self.standardises:
            image = (image - self.mean) / self.std
        return image.flatten(1)

    def track_units(self, units: Sequence[int]) -> None:
        """Make the running statistics that `activate` and `penalty` need for layers of so many units."""
        for i, n in enumerate(units):
            self.register_buffer(f"mean_activity_{i}", torch.zeros(n))  # for peer normalisation
        if self.settings.sparsity:
            self.register_buffer("sparsity_weight", torch.zeros(len(units)))

    def activate(self, z: Tensor) -> Tensor:
        """Activity of a layer's units from their drive, (B, n) → (B, n); of k winners only, if so set (Ahmad & Scheinkman
        2019, arXiv 1903.11257)."""
        h = ACTIVATIONS[self.settings.activation](z)
        if self.settings.winners == 1:
            return h
        k = math.ceil(self.settings.winners * h.shape[1])
        return torch.where(h >= h.topk(k, dim=1).values[:, -1:], h, 0.0)

    def penalty(self, layer: int, z: Tensor, h: Tensor, mean: Tensor | None = None) -> Tensor | float:
        """What keeps a layer's units alive and apart, from their drive and activity, (B, n).

        Peer normalisation (Hinton 2022, and his code): λ · mean over units of (their mean activity - the layer's)²,
        with running means (momentum 0.9). Its gradient passes through units that are off, so it wakes them: `mean` (n,), if
        known, has h's value and z's gradient.
        Adaptive sparsity: λ · mean |h|, λ ≥ 0 rising while more units are on than wanted and falling else (dual ascent).
        """
        told = 0.0
        if self.settings.peer:
            running = getattr(self, f"mean_activity_{layer}")
            if mean is None:
                drive = z.mean(0)
                mean = drive + (h.mean(0) - drive).detach()
            mean = torch.lerp(running, mean.to(running.dtype), 0.1)
            running.copy_(mean.detach())
            told = told + self.settings.peer * mean.var(correction=0)
        if self.settings.sparsity:
            weight = self.sparsity_weight
            on = (h.detach() > 0).float().mean()
            weight[layer] = (weight[layer] + 0.05 * (on - self.settings.sparsity)).clamp(min=0)
            told = told + weight[layer].clone() * h.abs().mean()
        return told

    def objective(self, pos: Tensor, neg: Tensor) -> Tensor:
        """The loss of every pair from the goodness of its two sides, (B,) each → (B,)."""
        if self.settings.objective == "gap":
            return formulas.gap(pos, neg, self.settings.alpha)
        return formulas.threshold(pos, neg, self.settings.alpha, self.settings.theta)

    def groups(self) -> list[list[nn.Parameter]]:
        """What each local loss may move; the loop gives every group an optimiser of its own."""
        raise NotImplementedError

    def layer_groups(self) -> list[int]:
        """The groups that a layer-by-layer schedule takes in turn; the others (read-out heads) are always on."""
        return list(range(len(self.groups())))

    def costs(self) -> list[float]:
        """Products of a step, layer by layer, for a net whose layers may learn a batch apart: none but what a layer passes on
        enters the next, before it learned from the batch. Empty for any other."""
        return []

    def view(self) -> Any:
        """What a strategy may ask during one step, and what the step has already computed."""
        return None

    def terms(self, x: Tensor, y: Tensor, pair, active: Iterable[int], view=None) -> Iterator[Term]:
        """The local losses of the groups in `active`, one at a time; whoever asks steps each before asking for the next."""
        raise NotImplementedError

    def label_goodness(self, image: Tensor) -> Tensor:
        """Goodness under every label, (B, C, H, W) → (B, classes, L)."""
        raise NotImplementedError

    def pair_goodness(self, pair, view=None) -> tuple[Tensor, Tensor]:
        """Goodness of a strategy's positives and negatives as training sees them, (B, L) each, without gradient."""
        raise NotImplementedError

    def scores(self, image: Tensor, goodness: Tensor | None = None) -> dict[str, Tensor]:
        """Read-out name → (B, classes), higher is likelier; `goodness` is label_goodness(image) where already known."""
        raise NotImplementedError

    def features(self, sample: Sample) -> list[Tensor]:
        """Activity of every layer, [(B, n₁) or (B, n₁, H, W), …], before any normalisation or mask."""
        raise NotImplementedError

    def incoming(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """(weights (n, D) or (n, m, h, w), biases (n,)) of every layer, for inspection."""
        raise NotImplementedError

    def transmitted(self, sample: Sample) -> list[Tensor]:
        """What each layer passes on, [(B, n₁), …]: its activity, unless the model masks that."""
        return self.features(sample)


class Stack(Model):
    """Fully connected layers, one above the other, that see the image alone: what models without label inputs share."""

    Settings = UnitSettings

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        sizes = [self.shape[0] * self.shape[1] * self.shape[2], *settings.widths]
        pairs = list(enumerate(itertools.pairwise(sizes)))
        self.weights = nn.ParameterList(self.uniform(f"weight {i}", n, m, fan_in=m) for i, (m, n) in pairs)
        self.biases = nn.ParameterList(self.uniform(f"bias {i}", n, fan_in=m) for i, (m, n) in pairs)
        self.track_units(settings.widths)

    def layer(self, i: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """Drive and activity of layer i from its input, (B, m) → (B, n) each."""
        z = F.linear(h, self.weights[i], self.biases[i])
        return z, self.activate(z)

    def activities(self, image: Tensor) -> list[Tensor]:
        """Activity of every layer, [(B, n₁), …]."""
        h, out = formulas.normalise(self.pixels(image), "rms"), []
        for i in range(len(self.weights)):
            h = self.layer(i, h)[1]
            out.append(h)
        return out

    def features(self, sample):
        return self.activities(sample.image)

    def incoming(self):
        return list(zip(self.weights, self.biases, strict=True))


class LabelFree(Stack):
    """Layers that learn from images alone, each by a loss of its own; labels teach only a softmax head that reads them all.

    A subclass says what a layer's loss is in `layer_terms`, which is shown no label, and adds to `layer_parameters`.
    """

    uses_negatives = False
    has_goodness = False
    readouts = ("softmax",)
    compiles = "layer"

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        self.head = nn.Linear(sum(settings.widths), classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def layer_parameters(self, i: int) -> list[nn.Parameter]:
        """What layer i's loss may move."""
        return [self.weights[i], self.biases[i]]

    def layer_terms(self, x: Tensor, active: set[int]) -> Iterator[Term]:
        """The losses of the layers in `active` on images (B, C, H, W)."""
        raise NotImplementedError

    def groups(self):
        return [*(self.layer_parameters(i) for i in range(len(self.weights))), list(self.head.parameters())]

    def layer_groups(self):
        return list(range(len(self.weights)))

    def activities(self, image):
        h, out = self.pixels(image), []
        for i in range(len(self.weights)):
            h = self.layer(i, formulas.normalise(h, "rms"))[1]
            out.append(h)
        return out

    @torch.no_grad()
    def votes(self, image: Tensor) -> Tensor:
        """What the head reads: every layer's activity at mean square 1, (B, Σn), without gradient."""
        return torch.cat([formulas.normalise(h, "rms") for h in self.activities(image)], 1)

    def terms(self, x, y, pair, active, view=None):
        active, head = set(active), len(self.weights)
        votes = self.votes(x) if head in active else None
        yield from self.layer_terms(x, active - {head})
        if head in active:
            yield Term(head, F.cross_entropy(self.head(votes).float(), y))

    def scores(self, image, goodness=None):
        return {"softmax": self.head(self.votes(image)).float()}
