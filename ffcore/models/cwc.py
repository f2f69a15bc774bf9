"""Channel-wise competitive learning (Papachristodoulou et al., AAAI 2024): a convolution's channels compete class by class."""

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ffcore.models import MODELS
from ffcore.models.base import ACTIVATIONS, Model, Term
from ffcore.registry import Settings

MOMENTUM = 0.1  # share of the running statistics that a batch replaces
EPSILON = 1e-5
GRID = 4  # features and softmax head see a map as averages over at most 4 × 4 places


class _Moments(torch.autograd.Function):
    """Mean and mean square over places, (B, n, H, W) → (B, n) twice; the gradient in one pass, autograd's own takes five."""

    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        rows = x.permute(0, 2, 3, 1).flatten(1, 2).float()
        return rows.mean(1), rows.square().mean(1)

    @staticmethod
    def backward(ctx, slope: Tensor, slope2: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        places = x.shape[2] * x.shape[3]
        one, two = ((s / places)[:, :, None, None].to(x.dtype) for s in (slope, 2 * slope2))
        return torch.addcmul(one, x, two)


@MODELS.register("cwc")
class ChannelwiseCompetitive(Model):
    """Every class owns a group of each convolution's channels; each layer learns alone that the right one is strongest."""

    title = "Channel-wise competition"
    source = "Papachristodoulou, Kyrkou, Timotheou & Theocharides, AAAI 2024, doi 10.1609/aaai.v38i13.29369"
    uses_negatives = False
    readouts = ("softmax", "goodness")  # the paper's second predictor was better on validation in every run on MNIST
    recommended = {"train.lr": 0.03, "train.batch_size": 128, "train.drop_pixels": 0.0}  # noqa: RUF012
    compiles = "layer"
    equation = (
        r"\mathcal L_l=\mathrm{CE}(\alpha G_l,\,y),\qquad G_{l,c}=\operatorname{mean}_{k\in\text{group }c,\;p}\;y_{l,k,p}^2,"
        r"\quad y_l=\mathrm{BN}\big(\mathrm{pool}(\mathrm{ReLU}(W_l*y_{l-1}+b_l))\big)"
    )
    traces = {  # noqa: RUF012
        "own": "goodness of the channels that belong to the image's class",
        "others": "goodness of the other classes' channels, their mean",
    }
    wiring = (("layer", "class groups", "channels"), ("class groups", "layer", "which group should win"))

    class Settings(Settings):
        channels: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(
            (20, 40, 80, 160),
            min_length=1,
            max_length=32,
            description="channels of each layer, rounded up to a multiple of the number of classes",
        )
        activation: Literal["relu", "leaky_relu", "gelu", "silu"] = Field("relu", description="activity of a channel")
        loss: Literal["cross_entropy", "pvn"] = Field(
            "cross_entropy", description="over the classes' goodness; pvn: the right class above θ, the others' mean below"
        )
        alpha: float = Field(
            16.0, gt=0, le=1_000, description="α, slope of the loss: goodness counts times it; the paper has 1"
        )
        theta: float = Field(2.0, ge=0, le=1_000, description="θ, goodness that separates right from wrong (pvn only)")
        votes: tuple[Annotated[int, Field(ge=1, le=32)], ...] = Field(
            (),
            description="layers whose goodness the read-out adds up, counted from 1; empty = the last two (paper: the last)",
        )

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        self.channels = [classes * math.ceil(n / classes) for n in settings.channels]
        self.split = [classes if i % 2 else 1 for i in range(len(self.channels))]  # every other layer keeps classes apart
        fans = [(n, m // g) for (m, n), g in zip(itertools.pairwise([self.shape[0], *self.channels]), self.split, strict=True)]
        self.weights = nn.ParameterList(self.uniform(f"weight {i}", n, m, 3, 3, fan_in=9 * m) for i, (n, m) in enumerate(fans))
        self.biases = nn.ParameterList(self.uniform(f"bias {i}", n, fan_in=9 * m) for i, (n, m) in enumerate(fans))
        self.gains = nn.ParameterList(torch.ones(n) for n in self.channels)
        self.shifts = nn.ParameterList(torch.zeros(n) for n in self.channels)
        height, width = self.shape[1:]
        self.pools = []
        for i, n in enumerate(self.channels):
            self.pools.append(i % 2 == 1 and min(height, width) > 1)
            if self.pools[i]:
                height, width = height // 2, width // 2
            self.register_buffer(f"mean_{i}", torch.zeros(n))
            self.register_buffer(f"variance_{i}", torch.ones(n))
        self.grid = min(height, GRID), min(width, GRID)
        self.votes = [v - 1 for v in settings.votes] or list(range(len(self.channels)))[-2:]
        self.head = nn.Linear(self.channels[-1] * self.grid[0] * self.grid[1], classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def groups(self):
        layers = zip(self.weights, self.biases, self.gains, self.shifts, strict=True)
        return [*map(list, layers), list(self.head.parameters())]

    def layer_groups(self):
        return list(range(len(self.weights)))

    def layer(self, i: int, h: Tensor) -> Tensor:
        """Activity of layer i's channels, (B, m, H, W) → (B, n, H, W), halved in size by every other layer."""
        z = F.conv2d(h, self.weights[i], self.biases[i], padding=1, groups=self.split[i])
        z = z.contiguous(memory_format=torch.channels_last)  # a convolution of one channel would forget it
        # pooled first: the same for an activity that rises with its drive, and a quarter of the work
        return ACTIVATIONS[self.settings.activation](F.max_pool2d(z, 2) if self.pools[i] else z)

    def normaliser(self, i: int, mean: Tensor, square: Tensor, learns: bool) -> tuple[Tensor, Tensor]:
        """Batch normalisation of layer i as a factor and a shift, (n,) each, from an image's moments (B, n).

        By the batch's statistics while the layer learns, which the running ones then follow; else by the running ones.
        """
        running, spread = getattr(self, f"mean_{i}"), getattr(self, f"variance_{i}")
        if learns:
            middle = mean.mean(0)
            variance = (square.mean(0) - middle.square()).clamp(min=0)
            running.lerp_(middle.detach(), MOMENTUM)
            spread.lerp_(variance.detach(), MOMENTUM)
        else:
            middle, variance = running, spread
        factor = self.gains[i] * (variance + EPSILON).rsqrt()
        return factor, self.shifts[i] - middle * factor

    def climb(self, image: Tensor, depth: int | None = None, active=frozenset()) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(activity, goodness, output) of the first `depth` layers, or of all: (B, n, H, W), (B, C), (B, n, H, W).

        Gradients are kept in the goodness of the `active` layers; no output has one, so that no error crosses a layer.
        """
        h = self.pixels(image).view(-1, *self.shape)
        layers = len(self.weights)
        for i in range(layers if depth is None else min(depth, layers)):
            with torch.set_grad_enabled(i in active):
                x = self.layer(i, h)
                mean, square = _Moments.apply(x)
                a, b = self.normaliser(i, mean, square, i in active)
                # mean over places of (ax + b)²: the normalised map itself need not be squared
                g = a.square() * square + 2 * a * b * mean + b.square()
                g = g.view(len(g), self.classes, -1).mean(2)
            with torch.no_grad():
                a, b = (v.to(x.dtype)[:, None, None] for v in (a, b))
                h = torch.addcmul(b, x, a)
            yield x.detach(), g, h

    def terms(self, x, y, pair, active, view=None):
        active, head = set(active), len(self.weights)
        for i, (_, g, h) in enumerate(self.climb(x, max(active, default=-1) + 1, active)):
            if i in active:
                own = g.gather(1, y[:, None]).squeeze(1)
                others = (g.sum(1) - own) / max(1, self.classes - 1)
                told = {"own": own.detach().mean(), "others": others.detach().mean()}
                yield Term(i, self.loss(g, y, own, others), told)
            if i + 1 == head and head in active:
                yield Term(head, F.cross_entropy(self.read(h), y))

    def loss(self, g: Tensor, y: Tensor, own: Tensor, others: Tensor) -> Tensor:
        """A layer's loss from its goodness (B, C), the right class's (B,) and the others' mean (B,)."""
        alpha, theta = self.settings.alpha, self.settings.theta
        if self.settings.loss == "cross_entropy":
            return F.cross_entropy(alpha * g, y)
        return (F.softplus(alpha * (theta - own)) + F.softplus(alpha * (others - theta))).mean()

    def read(self, h: Tensor) -> Tensor:
        """What the softmax head says of the last layer's output, (B, n, H, W) → (B, C)."""
        return self.head(F.adaptive_avg_pool2d(h, self.grid).flatten(1)).float()

    def label_goodness(self, image):
        return torch.stack([g for _, g, _ in self.climb(image)], 2)

    def scores(self, image, goodness=None):
        told = []
        for _, g, h in self.climb(image):
            told, last = [*told, g], h
        goodness = torch.stack(told, 2) if goodness is None else goodness
        return {"goodness": goodness[:, :, self.votes].sum(2), "softmax": self.read(last)}

    def features(self, sample):
        """Activity of every layer, averaged over at most 4 × 4 places, [(B, n₁, H, W), …]: whole maps would fill the memory."""
        pooled = []
        for x, _, _ in self.climb(sample.image):
            pooled.append(F.adaptive_avg_pool2d(x, [min(side, GRID) for side in x.shape[2:]]))
        return pooled

    def incoming(self):
        return list(zip(self.weights, self.biases, strict=True))
