"""Predictive Forward-Forward (Ororbia & Mali 2023): a recurrent net settles on image and label; a second one predicts it."""

from collections.abc import Generator, Iterator, Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ffcore import goodness as formulas
from ffcore import labels
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.models.base import Model, PairSettings, Term
from ffcore.models.ff import View

DESCENT = 20  # gradient steps that find z_g; each costs latent² per image
MEMORY = 0.98  # what the classes' Gaussians keep of the latents of earlier batches
TOLD = 64  # pairs whose settled goodness a step reports


class Window(View):
    """The same window; what strategy, head and first state share is the pass without recurrence."""

    def rise(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        return self._once(self.model.rise, image, grad=False)


@MODELS.register("pff")
class PredictiveForwardForward(Model):
    """A recurrent circuit that recognises, and beside it one that learns to generate what the first one has settled on.

    Representation: K steps of a net whose layers hear the layer below, the one above, the label at the top, and each other
    within small groups; every step is followed by a local update. Generation: from a latent z_g down to the image, every layer
    learns to predict the settled state below it.

    Where this departs from the paper: positives have high goodness, as in all models; the top layer sees the label from the
    start; z_g is inferred image by image; a generative layer learns once per batch and reads what the one above predicted, as
    it does when it generates; and only a state's direction, norm(z), is predicted, as only that reaches the next layer.
    """

    title = "Predictive Forward-Forward"
    source = "Ororbia & Mali 2023, arXiv 2301.01452"
    can_generate = True
    recommended = {"negatives.name": "hard_label", "train.lr": 0.01, "train.drop_pixels": 0.0}  # noqa: RUF012
    compiles = "layer"
    equation = (
        r"\begin{gathered}z_l\leftarrow(1-\lambda)\,\mathrm{ReLU}\big(W_l\,\mathrm{norm}(z_{l-1})+V_l\,\mathrm{norm}(z_{l+1})"
        r"-L_l\,z_l+b_l+\varepsilon\big)+\lambda z_l\\ \mathcal L_l=\mathrm{softplus}\big(-\alpha\,(g_l^+-g_l^-)\big)\\ "
        r"\hat z_{l-1}=G_l\,\mathrm{norm}([\hat z_l]_+),\quad\mathcal E_l=\lVert\hat z_{l-1}-\mathrm{norm}(z_{l-1})\rVert^2"
        r"\end{gathered}"
    )
    traces = {  # noqa: RUF012
        "reconstruction": "mean squared error per pixel of the image that is generated from the settled top layer",
    }
    wiring = (
        ("label", "top layer", "drive"),
        ("layer above", "layer", "drive, and a prediction"),
        ("layer", "its groups", "activity"),
        ("its groups", "layer", "inhibition"),
        ("latent z_g", "top layer", "a prediction"),
        ("layer 1", "image", "a prediction"),
    )

    class Settings(PairSettings):
        steps: int = Field(4, ge=1, le=64, description="K, inference steps for every image, each with an update")
        leak: float = Field(0.3, ge=0, lt=1, description="λ, share of its state that a unit keeps from step to step")
        noise: float = Field(0.1, ge=0, le=10, description="s.d. of the noise on every drive, in training only")
        group: int = Field(10, ge=1, le=1_000, description="units that inhibit each other; 1: only each excites itself")
        label_value: float = Field(3.0, gt=0, le=100, description="the input that says 'this class' to the top layer")
        latent: int = Field(20, ge=1, le=1_000, description="size of z_g, which the generative circuit starts from")

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        widths = settings.widths
        pixels = self.shape[0] * self.shape[1] * self.shape[2]

        def matrices(purpose: str, targets: Sequence[int], sources: Sequence[int]) -> nn.ParameterList:
            pairs = enumerate(zip(targets, sources, strict=True))
            return nn.ParameterList(self.uniform(f"{purpose} {i}", n, m, fan_in=m) for i, (n, m) in pairs)

        self.weights = matrices("weight", widths, [pixels, *widths[:-1]])
        self.feedback = matrices("feedback", widths[:-1], widths[1:])
        self.label_weights = self.uniform("label", classes, widths[-1], fan_in=classes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in widths)
        size = settings.group
        self.lateral = nn.ParameterList(
            self.uniform(f"lateral {i}", -(-n // size), size, size, fan_in=4) for i, n in enumerate(widths)
        )
        for lateral in self.lateral:
            lateral.data.abs_()
        self.register_buffer("sign", 2 * torch.eye(size) - 1, persistent=False)  # others inhibit, oneself excites
        self.head = nn.Linear(sum(widths), classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        down = widths[::-1]
        self.generative = matrices("generative", [*down, pixels], [settings.latent, *down])
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in [*down, pixels])
        # the latents of the training images, class by class: how many, their sum, the sum of their products
        self.register_buffer("latent_count", torch.zeros(classes))
        self.register_buffer("latent_sum", torch.zeros(classes, settings.latent))
        self.register_buffer("latent_products", torch.zeros(classes, settings.latent, settings.latent))
        self.track_units(widths)

    def groups(self):
        layers = [list(group) for group in zip(self.weights, self.biases, self.lateral, strict=True)]
        for group, feedback in zip(layers, [*self.feedback, self.label_weights], strict=True):
            group.append(feedback)
        generative = [list(group) for group in zip(self.generative, self.offsets, strict=True)]
        return [*layers, list(self.head.parameters()), *generative]

    def layer_groups(self):
        head = len(self.weights)  # the generative layers, too, learn at every step
        return [group for group in range(2 * head + 2) if group != head]

    def view(self):
        return Window(self)

    # The representation circuit.

    def norm_image(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] → (B, D) of mean square 1."""
        return formulas.normalise(self.pixels(image), "rms")

    def rising(self, i: int, h: Tensor) -> Tensor:
        """W·h + b of layer i, (B, m) → (B, n)."""
        return F.linear(h, self.weights[i], self.biases[i])

    def told(self, samples: Sequence[Sample]) -> Tensor | float:
        """What the labels of stacked samples add to the top layer's drive, (ΣB, n)."""
        return labels.drive(labels.joined(samples, self.classes), self.label_weights, self.settings.label_value)

    def rise(self, image: Tensor, view: Window | None = None) -> tuple[list[Tensor], Tensor]:
        """The pass without recurrence: states of all layers but the top, [(B, n₁), …], and the top's drive without a label."""
        z, h = [], self.norm_image(image)
        for i in range(len(self.weights)):
            drive = self.rising(i, h).float()
            z.append(self.activate(drive))
            h = formulas.normalise(z[-1], "rms")
        return z[:-1], drive

    def start(self, samples: Sequence[Sample], view: Window | None = None) -> list[Tensor]:
        """States of stacked samples before the first step, [(ΣB, n₁), …]: the pass without recurrence, the label at the top."""
        lower, drives = zip(*((view or self).rise(sample.image) for sample in samples), strict=True)
        states = [torch.cat(parts) for parts in zip(*lower, strict=True)]
        return [*states, self.activate(torch.cat(drives) + self.told(samples))]

    def inhibition(self, i: int) -> Tensor:
        """-L, what each unit (column) adds to the drive of each (row), (n, n): others of its group lose, it gains itself."""
        size, n = self.settings.group, len(self.biases[i])
        # (groups, size, size), L from 0 to 1/size: a unit that excites itself more than it leaks would never settle
        blocks = self.sign * self.lateral[i].clamp(0, 1) / size
        # one dense product is faster than many small ones
        whole = torch.diag_embed(blocks.permute(1, 2, 0)).permute(2, 0, 3, 1)
        return whole.reshape(len(blocks) * size, -1)[:n, :n]

    def layer(
        self, i: int, rising: Tensor, z: Sequence[Tensor], told: Tensor | float, lateral: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Drive and next state of layer i, (B, n) each, from W·norm(below) + b, all states z, the label's drive and -L."""
        drive = torch.addmm(rising, z[i], lateral.T)
        if i + 1 < len(z):
            drive = torch.addmm(drive, formulas.normalise(z[i + 1], "rms"), self.feedback[i].T).float()
        else:
            drive = drive.float() + told
        return drive, torch.lerp(self.activate(drive), z[i], self.settings.leak)

    def below(self, i: int, z: Sequence[Tensor], corrupt=None) -> Tensor:
        """Input of layer i above the first, (B, m), of mean square 1; a strategy may make the negatives' here."""
        h = z[i - 1]
        if corrupt is not None:
            pos, _ = h.chunk(2)
            h = torch.cat([pos, corrupt(i + 1, pos)])
        return formulas.normalise(h, "rms")

    def settling(
        self, product: Tensor, z: list[Tensor], told: Tensor | float, corrupt=None, steps: int = 0
    ) -> Iterator[list[Tensor]]:
        """The states z, and those after each of K steps, or of `steps`, without noise; product: W·norm(image) + b (B, n₁);
        told: the label's drive."""
        yield z
        laterals = [self.inhibition(i) for i in range(len(z))]
        for _ in range(steps or self.settings.steps):
            rising = [product, *(self.rising(i, self.below(i, z, corrupt)) for i in range(1, len(z)))]
            z = [self.layer(i, rising[i], z, told, laterals[i])[1] for i in range(len(z))]
            yield z

    def settle(self, product: Tensor, z: list[Tensor], told: Tensor | float, corrupt=None) -> list[Tensor]:
        """The last of them."""
        for settled in self.settling(product, z, told, corrupt):
            z = settled
        return z

    def states(self, samples: Sequence[Sample], corrupt=None, view: Window | None = None) -> list[Tensor]:
        """Settled state of every layer of stacked samples, [(ΣB, n₁), …]."""
        product = torch.cat([self.rising(0, self.norm_image(sample.image)) for sample in samples])
        return self.settle(product, self.start(samples, view), self.told(samples), corrupt)

    def activities(self, sample: Sample, view: Window | None = None) -> list[Tensor]:
        """Settled state of every layer, [(B, n₁), …]."""
        return self.states([sample], view=view)

    def terms(self, x, y, pair, active, view=None):
        view, active, head = view or self.view(), set(active), len(self.weights)
        votes = view.votes(x) if head in active else None
        settled = yield from self.infer_and_learn(pair, active, view)
        if head in active:
            yield Term(head, F.cross_entropy(self.head(votes).float(), y))
        if max(active, default=0) > head:
            yield from self.predict_and_learn(settled, pair.pos.image, y, active)

    def infer_and_learn(self, pair, active: set[int], view: Window) -> Generator[Term, None, list[Tensor]]:
        """K steps of the stacked pair, (2B, n), a term per layer at each; returns the positives' last states, [(B, n₁), …]."""
        samples, top = (pair.pos, pair.neg), len(self.weights) - 1
        with torch.no_grad():
            z = self.start(samples, view)
            # an image that both sides share is multiplied once
            images = [self.norm_image(s.image) for s in samples[: 1 if pair.neg.image is pair.pos.image else 2]]
        for step in range(1, self.settings.steps + 1):
            report = self.report(pair) if step == self.settings.steps and min(active, default=top + 1) <= top else {}
            old, z = z, []
            for i in range(len(old)):
                with torch.set_grad_enabled(i in active):
                    parts = (
                        [self.rising(0, x) for x in images] if i == 0 else [self.rising(i, self.below(i, old, pair.corrupt))]
                    )
                    rising = torch.cat([parts[0], parts[-1]]) if i == 0 else parts[0]
                    told = self.told(samples) if i == top else 0.0
                    drive, h = self.layer(i, rising + self.noise(old[i]), old, told, self.inhibition(i))
                z.append(h.detach())  # detach: no error crosses a layer or a step
                if i in active:
                    yield self.term(i, drive, h, report)
        return [h[: len(pair.pos.image)] for h in z]

    def noise(self, z: Tensor) -> Tensor | float:
        """ε for every drive of a stacked pair, (2B, n), the same for both sides, so that it is no difference between them."""
        if not self.settings.noise:
            return 0.0
        half = torch.randn(len(z) // 2, z.shape[1], generator=self.rng, device=self.rng.device)
        return self.settings.noise * half.to(z.device).repeat(2, 1)

    def term(self, i: int, drive: Tensor, z: Tensor, report: dict[str, list[Tensor]]) -> Term:
        """The local loss of one layer after one step, from its stacked drive and state, (2B, n)."""
        loss = self.objective(*formulas.mean_square(z).chunk(2))
        stats = {key: values[i] for key, values in report.items() if i < len(values)}
        return Term(i, loss.mean() + self.penalty(i, drive, z), stats)

    @torch.no_grad()
    def report(self, pair) -> dict[str, list[Tensor]]:
        """What the last step tells of every layer: some pairs' goodness as the read-out sees it, and layer 1's image error."""
        pos, neg = (Sample(s.image[:TOLD], None if s.label is None else s.label[:TOLD]) for s in (pair.pos, pair.neg))
        states = self.states((pos, neg), pair.corrupt)
        sides = [formulas.mean_square(z).chunk(2) for z in states]
        error = self.generate(self.latents(states[-1][: len(pos.image)])) - pos.image
        return {"pos": [s[0] for s in sides], "neg": [s[1] for s in sides], "reconstruction": [error.square().mean()]}

    # The generative circuit. Its layer 0 predicts the top, its last layer the image.

    def predict(self, j: int, state: Tensor) -> Tensor:
        """What generative layer j predicts from the state above, (B, m) → a state's direction (B, n), or pixels (B, D)."""
        told = F.linear(
            formulas.normalise(torch.relu(state), "rms") if j else state, self.generative[j], self.offsets[j]
        ).float()
        return told.sigmoid() if j == len(self.weights) else told

    @torch.no_grad()
    def latents(self, top: Tensor, steps: int = DESCENT) -> Tensor:
        """z_g of every settled top state on its own, (B, n) → (B, latent): steepest descent, with the exact step, on
        ‖G z_g + c - norm(top)‖² + ‖z_g‖² from 0.

        No normaliser reads z_g: at 0 its slope has no bound, and so the first step would have none.
        """
        with torch.autocast(top.device.type, enabled=False):
            g = self.generative[0].float()
            square = g.T @ g + torch.eye(g.shape[1], device=g.device)
            aim = (formulas.normalise(top.float(), "rms") - self.offsets[0]) @ g
            z = torch.zeros_like(aim)
            for _ in range(steps):
                slope = aim - z @ square
                z = z + slope * (
                    slope.square().sum(1, keepdim=True) / (slope * (slope @ square)).sum(1, keepdim=True).clamp(min=1e-12)
                )
        return z

    def predict_and_learn(self, settled: list[Tensor], image: Tensor, y: Tensor, active: set[int]) -> Iterator[Term]:
        """The terms of the generative layers: each predicts the settled state below from what the layer above predicted."""
        depth, down = len(self.weights), settled[::-1]
        above = self.latents(down[0])
        self.remember(above, y)
        for j, aim in enumerate([*(formulas.normalise(state, "rms") for state in down), image.flatten(1)]):
            active_now = depth + 1 + j in active
            with torch.set_grad_enabled(active_now):
                told = self.predict(j, above)
            if active_now:
                yield Term(depth + 1 + j, (told - aim).square().mean())
            above = told.detach()  # detach: no error crosses a layer

    @torch.no_grad()
    def remember(self, z: Tensor, y: Tensor) -> None:
        """Let the classes' Gaussians follow the latents (B, latent) of a batch."""
        with torch.autocast(z.device.type, enabled=False):
            own = F.one_hot(y, self.classes).to(z.dtype)
            news = own.sum(0), own.T @ z, torch.einsum("bc,bi,bj->cij", own, z, z)
        for kept, new in zip((self.latent_count, self.latent_sum, self.latent_products), news, strict=True):
            kept.mul_(MEMORY).add_(new)

    @torch.no_grad()
    def infer(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents z_g, (B, C, H, W) → (B, latent), of the states that settle under these labels, (B,), or the neutral one."""
        return self.latents(self.activities(self.shown(image) if label is None else Sample(image, label))[-1])

    @torch.no_grad()
    def inference(self, image: Tensor, label: Tensor | None = None, steps: int = 0) -> Iterator[Tensor]:
        """What z_g is before the first step and after each of K, or of `steps`, (B, latent) each; the K-th is `infer`'s."""
        sample = self.shown(image) if label is None else Sample(image, label)
        product, told = self.rising(0, self.norm_image(image)), self.told([sample])
        for states in self.settling(product, self.start([sample]), told, steps=steps):
            yield self.latents(states[-1])

    @torch.no_grad()
    def generate(self, z: Tensor) -> Tensor:
        """Images in [0, 1], (B, latent) → (B, C, H, W): every layer reads what the one above predicted."""
        for j in range(len(self.generative)):
            z = self.predict(j, z)
        return z.view(-1, *self.shape)

    def reconstruct(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """Images from their own latents, (B, C, H, W) → (B, C, H, W)."""
        return self.generate(self.infer(image, label))

    def gaussian(self, label: int) -> tuple[Tensor, Tensor]:
        """Mean (latent,) and covariance (latent, latent) of a class's latents; 0 of a class not seen."""
        count = self.latent_count[label].clamp(min=1e-6)
        mean = self.latent_sum[label] / count
        return mean, self.latent_products[label] / count - mean.outer(mean)

    @torch.no_grad()
    def sample(self, n: int, label: int, rng: torch.Generator) -> Tensor:
        """n images of a class, (n, C, H, W) in [0, 1]: latents drawn from its Gaussian, and what they generate."""
        mean, covariance = self.gaussian(label)
        variances, axes = torch.linalg.eigh(covariance)
        drawn = torch.randn(n, len(mean), generator=rng, device=rng.device).to(mean.device)
        return self.generate(mean + drawn * variances.clamp(min=0).sqrt() @ axes.T)

    # Read-outs.

    def neutral_votes(self, image: Tensor, view: Window | None = None) -> Tensor:
        """What the softmax head reads: all layers in the pass without recurrence and class, of mean square 1 each, (B, Σn)."""
        return torch.cat([formulas.normalise(h, "rms") for h in self.start([self.shown(image)], view)], 1)

    def sample_goodness(self, sample: Sample) -> Tensor:
        """Settled goodness per layer of samples as they are, → (B, L)."""
        return torch.stack([formulas.mean_square(h) for h in self.activities(sample)], 1)

    @torch.no_grad()
    def pair_goodness(self, pair, view=None):
        states = self.states((pair.pos, pair.neg), pair.corrupt, view)
        return torch.stack([formulas.mean_square(h) for h in states], 1).chunk(2)

    def label_goodness(self, image, layers=0, view=None):
        lower, drive = (view or self).rise(image)
        table = self.settings.label_value * self.label_weights
        tops = [self.activate(drive + told) for told in table]
        if 0 < layers < len(self.weights):
            # a miner's cheap question: without recurrence only the top layer, which the label drives, tells labels apart
            return torch.stack([formulas.mean_square(top)[:, None] for top in tops], 1)
        product = self.rising(0, self.norm_image(image))
        settled = (self.settle(product, [*lower, top], told) for top, told in zip(tops, table, strict=True))
        return torch.stack([torch.stack([formulas.mean_square(h) for h in z], 1) for z in settled], 1)

    def scores(self, image, goodness=None):
        told = {"softmax": self.head(self.neutral_votes(image)).float()}
        if not self.labelled:
            return told
        goodness = self.label_goodness(image) if goodness is None else goodness
        return {"goodness": goodness.sum(2), **told}

    def features(self, sample):
        return self.activities(sample)

    def incoming(self):
        return list(zip(self.weights, self.biases, strict=True))
