"""What a model is: groups of parameters, and local losses that arrive one at a time."""

import hashlib
import itertools
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
    """A stack of fully connected layers."""

    widths: tuple[Annotated[int, Field(ge=1, le=20_000)], ...] = Field(
        (500, 500), min_length=1, max_length=64, description="units of each layer"
    )
    activation: Literal["relu", "leaky_relu", "gelu", "silu"] = Field("relu", description="activity of a unit")


def generator(seed: int, purpose: str, device="cpu") -> torch.Generator:
    """A generator of its own for every purpose, so that adding a layer or a strategy changes no other random draw."""
    digest = hashlib.blake2b(f"{seed} {purpose}".encode(), digest_size=7).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big"))


class Term(NamedTuple):
    """One local loss: `loss` may move the parameters of `group` and no others."""

    group: int
    loss: Tensor
    stats: dict[str, Tensor] = {}  # noqa: RUF012  (pos, neg: goodness (B,), detached)


class Model(nn.Module):
    """A net with local losses.

    Facts: `is_local` no loss reaches beyond its own group · `uses_negatives` · `has_goodness` · `can_generate` ·
    `labelled` it is shown labels, so goodness can be asked for under each ·
    `readouts` names of what `scores` returns, the default first · `recommended` dotted settings that suit it ·
    `compiles` the method that torch.compile takes.
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
    Settings: ClassVar[type[Settings]]

    def __init__(self, settings, shape: Sequence[int], classes: int, seed: int = 0, mean=(0.0,), std=(1.0,)):
        """A net for images of `shape` (C, H, W) in [0, 1]; `mean` and `std` per channel standardise them on the way in."""
        super().__init__()
        self.settings, self.shape, self.classes, self.seed = settings, tuple(shape), classes, seed
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.standardises = tuple(mean) != (0.0,) or tuple(std) != (1.0,)

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

    def groups(self) -> list[list[nn.Parameter]]:
        """What each local loss may move; the loop gives every group an optimiser of its own."""
        raise NotImplementedError

    def layer_groups(self) -> list[int]:
        """The groups that a layer-by-layer schedule takes in turn; the others (read-out heads) are always on."""
        return list(range(len(self.groups())))

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
        """Activity of every layer, [(B, n₁), …], before any normalisation."""
        raise NotImplementedError

    def incoming(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """(weights (n, D), biases (n,)) of every layer, for inspection."""
        raise NotImplementedError


class Stack(Model):
    """Fully connected layers, one above the other, that see the image alone: what models without label inputs share."""

    Settings = LayerSettings

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        sizes = [self.shape[0] * self.shape[1] * self.shape[2], *settings.widths]
        pairs = list(enumerate(itertools.pairwise(sizes)))
        self.weights = nn.ParameterList(self.uniform(f"weight {i}", n, m, fan_in=m) for i, (m, n) in pairs)
        self.biases = nn.ParameterList(self.uniform(f"bias {i}", n, fan_in=m) for i, (m, n) in pairs)

    def layer(self, i: int, h: Tensor) -> Tensor:
        """Activity of layer i from its input, (B, m) → (B, n)."""
        return ACTIVATIONS[self.settings.activation](F.linear(h, self.weights[i], self.biases[i]))

    def activities(self, image: Tensor) -> list[Tensor]:
        """Activity of every layer, [(B, n₁), …]."""
        h, out = formulas.normalise(self.pixels(image), "rms"), []
        for i in range(len(self.weights)):
            h = self.layer(i, h)
            out.append(h)
        return out

    def features(self, sample):
        return self.activities(sample.image)

    def incoming(self):
        return list(zip(self.weights, self.biases, strict=True))
