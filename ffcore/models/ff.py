"""Forward-Forward (Hinton 2022, arXiv 2212.13345): every layer learns high goodness for real data, low for negatives."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ffcore import goodness as formulas
from ffcore import labels
from ffcore.errors import Refused
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.models.base import LayerSettings, Model, PairSettings, Term, UnitSettings

ROWS = 16_384  # of a batch of label hypotheses on a GPU, labels × images


class View:
    """One step's window on the net: computes layer 1's image product once, for the strategy and for the training step."""

    def __init__(self, model: "ForwardForward"):
        self.model, self.classes = model, model.classes
        self._grad = torch.is_grad_enabled()
        self._known: dict[tuple, tuple] = {}

    def _once(self, compute, image: Tensor, grad: bool = True) -> Any:
        key = (compute.__name__, id(image))
        if key not in self._known:
            # a miner asks without gradient for what training then needs with
            with torch.set_grad_enabled(grad and self._grad):
                self._known[key] = (compute(image, self), image)  # keeps the image, and so its id, alive
        return self._known[key][0]

    def product(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Layer 1's image product, and the image's squared length, (B, n₁) and (B, 1)."""
        return self._once(self.model.product, image)

    def base(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What all one-hot label hypotheses share, (B, n₁), and the scale of their label columns, (B, 1)."""
        return self._once(self.model.base, image)

    @torch.no_grad()
    def label_goodness(self, image: Tensor, layers: int = 0) -> Tensor:
        return self.model.label_goodness(image, layers, self)

    def goodness(self, sample: Sample) -> Tensor:
        """Goodness of samples as they are, (B, L), with a gradient; nothing is kept."""
        return self.model.sample_goodness(sample)

    @torch.no_grad()
    def features(self, sample: Sample) -> list[Tensor]:
        return self.model.activities(sample, self)

    def votes(self, image: Tensor) -> Tensor:
        """What the softmax head reads, the voting layers' activities when no class is known, (B, Σn), without gradient."""
        return self._once(self.model.neutral_votes, image, grad=False)

    @torch.no_grad()
    def label_probs(self, image: Tensor) -> Tensor:
        return self.model.head(self.votes(image)).softmax(1)


class NetSettings(LayerSettings):
    """The net's shape and how inputs and labels enter and leave it: what its untrained twin shares."""

    norm: Literal["rms", "standard", "unit", "none"] = Field(
        "rms", description="how every layer normalises its input: mean square 1; mean 0 and mean square 1; length 1; or not"
    )
    label: Literal["appended", "overlay"] = Field(
        "appended", description="label inputs beside the image, or in place of its first C pixels"
    )
    label_value: float = Field(1.0, gt=0, le=100, description="the input that says 'this class'")
    votes: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (), description="layers that vote in the read-outs, counted from 1; empty = all"
    )


@MODELS.register("ff")
class ForwardForward(Model):
    """Every fully connected layer learns high goodness for an image under its true label, low under a wrong one, on its own."""

    title = "Forward-Forward"
    source = "Hinton 2022, arXiv 2212.13345"
    recommended = {"negatives.name": "hard_label", "train.lr": 0.02}  # noqa: RUF012
    compiles = "term"
    equation = (
        r"\mathcal L_l=\mathrm{softplus}\big(-\alpha\,(g_l^+-g_l^-)\big),\qquad g_l=\tfrac1n\textstyle\sum_i h_{l,i}^2,"
        r"\quad h_l=\mathrm{ReLU}\big(W_l\,\mathrm{norm}(h_{l-1})+b_l\big)"
    )

    class Settings(NetSettings, PairSettings):
        goodness: Literal["mean_square", "mean"] = Field(
            "mean_square", description="of a layer's activities; the mean keeps a gradient where activity is small"
        )

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        self.squares = getattr(settings, "goodness", "mean_square") == "mean_square"
        self.short = self.has_short_way()
        self.votes = [v - 1 for v in settings.votes] or list(range(len(settings.widths)))
        sizes = self.make_layers()
        self.head = nn.Linear(sum(sizes[v] for v in self.votes), classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if isinstance(settings, UnitSettings):
            self.track_units(settings.widths)

    def make_layers(self) -> Sequence[int]:
        """Make weights, biases, label weights and `inputs`, layer 1's number; returns how much the head reads of each layer."""
        settings, pixels = self.settings, self.shape[0] * self.shape[1] * self.shape[2]
        if settings.label == "overlay" and self.classes > pixels:
            raise Refused(
                f"model.label=overlay: {self.classes} labels do not fit into {pixels} pixels; take model.label=appended"
            )
        self.inputs = pixels + (self.classes if settings.label == "appended" else 0)
        sizes = [pixels, *settings.widths]
        fans = [self.inputs, *settings.widths]
        self.weights = nn.ParameterList(
            self.uniform(f"weight {i}", n, m, fan_in=fans[i]) for i, (m, n) in enumerate(itertools.pairwise(sizes))
        )
        self.biases = nn.ParameterList(self.uniform(f"bias {i}", n, fan_in=fans[i]) for i, n in enumerate(settings.widths))
        self.label_weights = self.uniform("label", self.classes, sizes[1], fan_in=fans[0])
        return settings.widths

    def has_short_way(self) -> bool:
        """Are layers ReLU units of which `term` needs the mean square and mean alone? Its gradient then is shorter."""
        settings, kept = self.settings, ("activate", "activity", "context", "goodness", "extra", "penalty", "term")
        as_here = all(getattr(type(self), name) is getattr(ForwardForward, name) for name in kept)
        return (
            as_here and self.squares and settings.activation == "relu" and settings.winners == 1
            and getattr(settings, "sparsity", None) == 0
        )  # fmt: skip

    # The hooks.

    def context(self, z: Tensor, *samples: Sample) -> Any:
        """What reaches every layer from elsewhere; nothing as a rule. z: layer 1's drive under these samples, stacked."""
        return None

    def activity(self, layer: int, z: Tensor, context: Any) -> Tensor:
        """Activity of a layer's units from their drive, (B, n) → (B, n), and from what `context` returned."""
        return self.activate(z)

    def goodness(self, layer: int, h: Tensor) -> Tensor:
        """(B, n) → (B,)."""
        return formulas.mean_square(h) if self.squares else h.mean(1)

    def logits(self, layer: int, g: Tensor) -> Tensor:
        """What the objective sees of a layer's goodness, (B,) → (B,)."""
        return g

    def weight(self, layer: int, pos: Tensor, neg: Tensor) -> Tensor | float:
        """How much each pair's loss counts, (B,) or a number; never a path for a gradient."""
        return 1.0

    def extra(self, layer: int, z: Tensor, h: Tensor) -> Tensor | float:
        """What a layer's loss holds besides the objective: what keeps its units alive, if that is on."""
        return self.penalty(layer, z, h)

    def traced(self, layer: int) -> dict[str, Tensor]:
        """The numbers that `traces` names, of the pair that layer has just seen."""
        return {}

    # The rule, once for all variants.

    def groups(self):
        layers = [[w, b] for w, b in zip(self.weights, self.biases, strict=True)]
        layers[0].append(self.label_weights)
        return [*layers, list(self.head.parameters())]

    def layer_groups(self):
        return list(range(len(self.weights)))

    def costs(self):
        if type(self) is not ForwardForward or not self.short:  # a variant may look at other layers
            return []
        first, *above = (weight.numel() for weight in self.weights)
        return [2 * first, *(4 * n for n in above)]  # a pair that shares its image costs layer 1 as much as one sample

    def view(self):
        return View(self)

    def product(self, image: Tensor, view: View | None = None) -> tuple[Tensor, Tensor]:
        """Layer 1's image product (B, n₁) and the image's squared length (B, 1)."""
        x = formulas.centred(labels.room(self.pixels(image), self.classes, self.settings.label), self.settings.norm)
        return self.multiply(0, x).float(), torch.linalg.vector_norm(x, dim=1, keepdim=True).square()

    def first_drive(self, product: Tensor, squared: Tensor, label: Tensor | None) -> Tensor:
        """Layer 1's drive under a label: W·norm([image, label]) + b = s·(W·image + W_label[label]) + b, (B, n₁)."""
        s = self.scale(squared, label)
        return s * (product + labels.drive(label, self.label_columns(), 1.0)) + self.bias(0)

    def scale(self, squared: Tensor, label: Tensor | None) -> Tensor:
        """Factor that normalises layer 1's input under a label, (B, 1)."""
        total = squared + labels.squared_norm(label, self.settings.label_value)
        return formulas.scale(total, self.inputs, self.settings.norm)

    def base(self, image: Tensor, view: View | None = None) -> tuple[Tensor, Tensor]:
        """The layer-1 shortcut: s·(W·image) + b (B, n₁) and s (B, 1). A label's drive is then base + s·W_label[label].

        Exact, because every one-hot label has the same length and so the same scale s.
        """
        product, squared = (view or self).product(image)
        s = self.scale(squared, torch.zeros(len(image), dtype=torch.long, device=image.device))
        return torch.addcmul(self.bias(0), s, product), s

    def multiply(self, layer: int, x: Tensor) -> Tensor:
        """A layer's weights on its input, (B, m) → (B, n)."""
        return F.linear(x, self.weights[layer])

    def bias(self, layer: int) -> Tensor:
        """(n,)."""
        return self.biases[layer]

    def label_table(self) -> Tensor:
        """What an input of 1 for each label adds to layer 1's product, (C, n₁)."""
        return self.label_weights

    def label_columns(self) -> Tensor:
        """What each label adds to layer 1's product, with `label_value` as its input, (C, n₁)."""
        table, value = self.label_table(), self.settings.label_value
        return table if value == 1 else value * table

    def drive(self, layer: int, h: Tensor) -> Tensor:
        """Drive of a layer above the first from the activity below, (B, m) → (B, n)."""
        return F.linear(formulas.normalise(h, self.settings.norm), self.weights[layer], self.biases[layer]).float()

    def rise(self, z: Tensor, sample: Sample, depth: int = 0, spent: bool = False) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(layer, drive, activity) of the first `depth` layers (0: all) from layer 1's drive under a sample.

        spent: nobody looks at the drives any more, and activities may be written over them.
        """
        spent = spent and self.short and not torch.is_grad_enabled()
        given = self.context(z, sample)
        depth = depth or len(self.weights)
        for layer in range(depth):
            h = z.relu_() if spent else self.activity(layer, z, given)
            yield layer, z, h
            z = self.drive(layer + 1, h) if layer + 1 < depth else z

    def plain(self, z: Tensor) -> list[Tensor]:
        """Activity of every layer on the way up from layer 1's drive, nothing reaching it from elsewhere, [(B, n₁), …]."""
        out = [self.activate(z)]
        for layer in range(1, len(self.weights)):
            out.append(self.activate(self.drive(layer, out[-1])))
        return out

    def activities(self, sample: Sample, view: View | None = None) -> list[Tensor]:
        """Activity of every layer, [(B, n₁), …]; the first may come from the step's view."""
        return [h for _, _, h in self.rise(self.sample_drive(sample, view or self), sample)]

    def terms(self, x, y, pair, active, view=None):
        view = view or self.view()
        active = set(active)
        head, votes = len(self.weights), []
        known = view.votes(x) if head in active and not self.short else None  # a variant may remember what it was asked last
        asked = self.neutral(x, view) if head in active and self.short else ()
        climb = self.climb(pair, view, max((g for g in active if g < head), default=-1) + 1, active)
        # the head asks a layer just before that one learns: a step is done with a layer before it comes to the next
        for vote, told in itertools.zip_longest(asked, climb):
            votes.append(vote)
            if told and told[0] in active:
                yield self.term(*told)
        if head in active:
            yield Term(head, F.cross_entropy(self.head(self.read(votes) if known is None else known).float(), y))

    def climb(self, pair, view: View, depth: int, active=frozenset()) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(layer, drive, activity) of the stacked pair, (2B, n), for the first `depth` layers, each when asked for.

        Gradients are kept in the `active` layers. On the short way the activity is written over the drive and has none: it is
        for `term`, which finds its gradient by `goodness.rectified`. A model with other losses turns that way off.
        """
        h = None
        for layer in range(depth):
            with torch.set_grad_enabled(layer in active):
                if layer == 0:
                    z = self.pair_drive(pair, view)
                    given = self.context(z.detach(), pair.pos, pair.neg)
                else:
                    # detach: no error crosses a layer
                    z = self.drive(layer, self.pair_input(pair, layer, h.detach()))
                # the short way writes over the drive, of which only its place in the graph is needed
                h = z.detach().relu_() if self.short else self.activity(layer, z, given)
            yield layer, z, h

    def pair_drive(self, pair, view: View) -> Tensor:
        """Layer 1's drive for positives, then negatives, stacked: (2B, n₁). A shared image is multiplied once."""
        pos, neg = pair.pos, pair.neg
        if pos.image is neg.image and labels.is_hard(pos.label) and labels.is_hard(neg.label):
            return self.labelled_drive(pos.image, view, pos.label, neg.label)
        return torch.cat([self.sample_drive(sample, view) for sample in (pos, neg)])

    def pair_input(self, pair, layer: int, h: Tensor) -> Tensor:
        """Input of a layer above the first from the stacked activity below, (2B, m); a strategy may make its negatives here."""
        if pair.corrupt is None:
            return h
        pos, _ = h.chunk(2)
        return torch.cat([pos, pair.corrupt(layer + 1, pos)])

    def sample_drive(self, sample: Sample, view: View) -> Tensor:
        """Layer 1's drive of one sample, (B, n₁), by way of what the view already knows of its image."""
        if labels.is_hard(sample.label):
            return self.labelled_drive(sample.image, view, sample.label)
        return self.first_drive(*view.product(sample.image), sample.label)

    def labelled_drive(self, image: Tensor, view: View, *label: Tensor) -> Tensor:
        """Layer 1's drive of images under K labels each, (B,) …, one after the other: (K·B, n₁)."""
        return labels.under(*view.base(image), self.label_columns(), *label)

    def term(self, layer: int, z: Tensor, h: Tensor) -> Term:
        """The local loss of one layer from its stacked drive and activity, (2B, n)."""
        g, mean = formulas.rectified(z, h) if self.short else (self.goodness(layer, h), None)
        loss = self.objective(*self.logits(layer, g).chunk(2))
        pos, neg = g.detach().chunk(2)
        loss = (loss * self.weight(layer, pos, neg)).mean()
        loss = loss + (self.penalty(layer, z, h, mean) if self.short else self.extra(layer, z, h))
        return Term(layer, loss, {"pos": pos, "neg": neg, **self.traced(layer)})

    # Read-outs.

    def neutral(self, image: Tensor, view: View) -> Iterator[Tensor]:
        """Activity of one layer after the other when no class is known, (B, n), without gradient."""
        sample, ascent = self.shown(image), None
        for _ in self.weights:
            with torch.no_grad():  # the head moves no layer
                ascent = ascent or self.rise(self.sample_drive(sample, view), sample)
                _, _, h = next(ascent)
            yield h

    def neutral_votes(self, image: Tensor, view: View | None = None) -> Tensor:
        """What the softmax head reads: the voting layers' activities when no class is known, each of mean square 1, (B, Σn)."""
        return self.read(self.activities(self.shown(image), view))

    def read(self, activities: list[Tensor]) -> Tensor:
        """What the softmax head sees of the layers, [(B, n₁), …] → (B, Σn): the voting ones, each of mean square 1."""
        return torch.cat([formulas.normalise(activities[v], "rms") for v in self.votes], 1)

    def voted(self, goodness: Tensor) -> Tensor:
        """The voting layers' goodness, added up, (B, C, L) → (B, C); a list as an index would be a copy to the device."""
        return sum(goodness[:, :, v] for v in self.votes)

    def sample_goodness(self, sample: Sample) -> Tensor:
        """Goodness per layer of samples as they are, → (B, L)."""
        return torch.stack([self.goodness(layer, h) for layer, h in enumerate(self.activities(sample))], 1)

    @torch.no_grad()
    def pair_goodness(self, pair, view=None):
        told = [self.goodness(layer, h) for layer, _, h in self.climb(pair, view or self.view(), len(self.weights))]
        return torch.stack(told, 1).chunk(2)

    def label_goodness(self, image, layers=0, view=None):
        base, s = (view or self).base(image)
        table, depth = self.label_columns(), min(layers, len(self.weights)) or len(self.weights)
        together = self.labels_at_once(len(image), image.is_cuda)
        if self.short and depth == 1 and together == 1 and not torch.is_grad_enabled():
            return formulas.squares_under(base, s, table).T[:, :, None]
        looks = type(self).context is not ForwardForward.context  # only then is it told the images and the labels
        out: list[list[Tensor]] = [[] for _ in range(depth)]
        for c in range(0, self.classes, together):
            drive = torch.addcmul(base, s, table[c : c + together, None])
            sample = self.hypotheses(image, c, len(drive)) if looks else Sample(image)
            for layer, _, h in self.rise(drive.flatten(0, 1), sample, depth, True):
                out[layer].append(self.goodness(layer, h))
        told = torch.stack([torch.cat(each) for each in out])  # (L, C·B)
        return told.unflatten(1, (self.classes, len(image))).permute(2, 1, 0)

    def hypotheses(self, image: Tensor, first: int, count: int) -> Sample:
        """The images once under each of `count` labels, one label after the other."""
        label = torch.arange(first, first + count, device=image.device).repeat_interleave(len(image))
        return Sample(image.expand(count, *image.shape).flatten(0, 1) if count > 1 else image, label)

    def labels_at_once(self, images: int, gpu: bool) -> int:
        """How many labels are tried in one batch. One stays in a processor's cache; a GPU is quicker with many, until the batch
        is large anyway and only takes memory."""
        return max(1, min(self.classes, ROWS // max(1, images))) if gpu else 1

    def scores(self, image, goodness=None):
        told = {"softmax": self.head(self.neutral_votes(image)).float()}
        if not self.labelled:
            return told
        goodness = self.label_goodness(image) if goodness is None else goodness
        return {"goodness": self.voted(goodness), **told}

    def features(self, sample):
        return self.activities(sample)

    def incoming(self):
        return list(zip(self.weights, self.biases, strict=True))
