"""Forward-Forward with convolutions (Scodellaro et al., Sci. Rep. 2025): the label is a picture that every place can see."""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ffcore import goodness as formulas
from ffcore import labels
from ffcore.errors import Refused
from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


def waves(classes: int, height: int, width: int) -> Tensor:
    """One plane wave per class, (C, H, W), each of mean square 1, the longest first; orthogonal where there are as many.

    More classes than waves get the same ones in other phases, π/2 or less apart.
    """
    up, across = (height - 1) // 2, (width - 1) // 2  # beyond them a wave is another one's alias
    vectors = [(u, v) for u in range(-up, up + 1) for v in range(across + 1) if v > 0 or u > 0]
    vectors.sort(key=lambda k: (math.hypot(k[0] / height, k[1] / width), k))
    if not vectors:
        raise Refused(f"model.label=waves: images of {height} x {width} pixels hold no wave; take model.label=planes")
    phases = -(-classes // len(vectors))
    u, v = torch.tensor([vectors[c % len(vectors)] for c in range(classes)], dtype=torch.float64).T[:, :, None, None]
    phase = torch.tensor([c // len(vectors) / phases for c in range(classes)], dtype=torch.float64)[:, None, None]
    y, x = torch.arange(height)[:, None] / height, torch.arange(width) / width
    return (2**0.5 * torch.cos(2 * math.pi * (u * y + v * x) + math.pi * phase)).float()


@MODELS.register("conv_ff")
class ConvFF(ForwardForward):
    """Forward-Forward's rule on 3 × 3 convolutions, whose goodness is the mean over all channels and places of a layer.

    A one-hot label beside the image means nothing to weights that are shared by all places. Here it is one more input
    channel: a wave of its class's own direction and length, or C channels of which the label's is full. Both say the same
    to every place, and all labels are of equal length, so Forward-Forward's shortcut through layer 1 stays exact.
    Activities are kept flat, (B, n·H·W); `widths` are channels.
    """

    title = "Convolutional Forward-Forward"
    source = "Scodellaro, Kulkarni, Alves & Schröter, Sci. Rep. 15 (2025), doi 10.1038/s41598-025-26235-2, arXiv 2312.14924"
    recommended = {"negatives.name": "hard_label", "train.lr": 0.005, "train.batch_size": 128}  # noqa: RUF012
    equation = (
        r"h_l=\mathrm{ReLU}\big(W_l*\mathrm{norm}(\mathrm{pool}(h_{l-1}))+b_l\big),\qquad "
        r"g_l=\tfrac1{nHW}\textstyle\sum_{i,p}h_{l,i}(p)^2,\qquad \text{label }c:\ \sqrt2\cos(2\pi\,k_c\cdot p)"
    )
    wiring = (("label", "image", "a wave, as one more channel"), ("layer", "layer above", "pooled activity"))

    class Settings(ForwardForward.Settings):
        widths: tuple[Annotated[int, Field(ge=1, le=2_000)], ...] = Field(
            (32, 64, 128), min_length=1, max_length=16, description="channels of each layer"
        )
        label: Literal["waves", "planes"] = Field(
            "waves",
            description="the label's input: one channel with its class's wave, or a channel per class, 1 everywhere or 0",
        )
        stride: int = Field(2, ge=1, le=4, description="places that layer 1 moves on by; 2: a quarter of the work")
        pool: Literal["max", "average"] = Field("max", description="how 2 × 2 places become one between layers")
        alpha: float = Field(32.0, gt=0, le=10_000, description="α, slope of the objective; n makes the mean goodness a sum")
        label_value: float = Field(
            0.2, gt=0, le=100, description="root mean square of the label's input; a large one hides images"
        )
        peer: float = Field(
            0.0,
            ge=0,
            le=1_000,
            description="peer normalisation: weight that pulls each channel's mean activity to its layer's; 0: off",
        )

    def make_layers(self):
        channels, height, width = self.shape
        own = 1 if self.settings.label == "waves" else self.classes  # channels that the label takes
        ins, outs = (channels, *self.settings.widths), self.settings.widths
        fans = [9 * (channels + own), *(9 * m for m in outs)]
        self.weights = nn.ParameterList(
            self.uniform(f"weight {i}", n, ins[i], 3, 3, fan_in=fans[i]) for i, n in enumerate(outs)
        )
        self.biases = nn.ParameterList(self.uniform(f"bias {i}", n, fan_in=fans[i]) for i, n in enumerate(outs))
        self.label_weights = self.uniform("label", outs[0], own, 3, 3, fan_in=fans[0])
        self.inputs = (channels + 1) * height * width
        codes = waves(self.classes, height, width) if self.settings.label == "waves" else torch.empty(0, height, width)
        self.register_buffer("codes", codes[:, None], persistent=False)
        flat = codes.flatten(1).double()
        alike = flat @ flat.T / (height * width) if len(codes) else torch.eye(self.classes)
        self.register_buffer("alike", alike.float(), persistent=False)  # (C, C), mean products of the labels' inputs
        step = self.settings.stride
        self.sizes = [(-(-height // step), -(-width // step))]  # of every layer's picture
        for _ in outs[1:]:
            self.sizes.append(tuple(-(-side // 2) for side in self.sizes[-1]))
        return [n * -(-h // 2) * -(-w // 2) for n, (h, w) in zip(outs, self.sizes, strict=True)]

    # The hooks.

    def picture(self, layer: int, h: Tensor) -> Tensor:
        """(B, n·H·W) → (B, n, H, W)."""
        return h.view(len(h), -1, *self.sizes[layer])

    def pooled(self, layer: int, h: Tensor) -> Tensor:
        """A layer's activity with 2 × 2 places made one, (B, n·H·W) → (B, n·⌈H/2⌉·⌈W/2⌉)."""
        return self.halved(self.halved(self.picture(layer, h), 2), 3).flatten(1)

    def halved(self, h: Tensor, side: int) -> Tensor:
        """Neighbours along a side made one; the last of an odd number stays. Ten times as fast as PyTorch's pooling on CPUs."""
        even, odd = (h[:, :, i::2] if side == 2 else h[..., i::2] for i in (0, 1))
        if even.shape[side] > odd.shape[side]:
            odd = torch.cat([odd, even.narrow(side, even.shape[side] - 1, 1)], side)
        return torch.maximum(even, odd) if self.settings.pool == "max" else (even + odd) / 2

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """Layer 1's convolution, (B, m, H, W) → (B, n·H₁·W₁)."""
        return F.conv2d(x, weight, stride=self.settings.stride, padding=1).float().flatten(1)

    def product(self, image, view=None):
        x = formulas.centred(self.pixels(image), self.settings.norm)
        return self.multiply(0, x), torch.linalg.vector_norm(x, dim=1, keepdim=True).square()

    def multiply(self, layer, x):
        return self.convolve(x.view(-1, *self.shape), self.weights[0])

    def bias(self, layer):
        height, width = self.sizes[layer]
        return self.biases[layer].repeat_interleave(height * width)

    def label_table(self):
        if self.settings.label == "waves":
            return self.convolve(self.codes, self.label_weights)
        one = self.label_weights.new_ones(1, 1, *self.shape[1:])
        told = self.convolve(one, self.label_weights.flatten(0, 1)[:, None])  # every (unit, class) by itself
        return told.view(self.settings.widths[0], self.classes, -1).transpose(0, 1).flatten(1)

    def scale(self, squared, label):
        told = labels.squared_norm(label, self.settings.label_value)
        if label is not None and label.is_floating_point():
            told = self.settings.label_value**2 * ((label @ self.alike) * label).sum(1, keepdim=True)
        return formulas.scale(squared + told * self.shape[1] * self.shape[2], self.inputs, self.settings.norm)

    def drive(self, layer, h):
        x = formulas.normalise(self.pooled(layer - 1, h), self.settings.norm)
        x = x.view(len(x), -1, *self.sizes[layer])
        return F.conv2d(x, self.weights[layer], self.biases[layer], padding=1).float().flatten(1)

    def read(self, activities):
        return super().read([self.pooled(layer, h) for layer, h in enumerate(activities)])

    def penalty(self, layer, z, h):
        if not (self.settings.peer or self.settings.sparsity):
            return 0.0
        # a channel is one unit, and every place a sample of it
        return super().penalty(layer, *(self.picture(layer, t).movedim(1, -1).flatten(0, -2) for t in (z, h)))

    def features(self, sample):
        return [self.picture(layer, h) for layer, h in enumerate(self.activities(sample))]
