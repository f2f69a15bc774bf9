"""The loop, a generator of events: to stop, stop iterating. Nothing is read back from the device between events."""

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ffcore import neurons, readout, telemetry
from ffcore.config import TrainSettings
from ffcore.data import Data
from ffcore.errors import Failed
from ffcore.graphs import Graphs
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.models.base import Model, Term, generator
from ffcore.negatives import STRATEGIES
from ffcore.negatives.base import Pair, Strategy
from ffcore.registry import build

TENDED = 10  # steps between two corrections of homeostatic biases
TICK = 0.2  # seconds between live events, at least
SAMPLES = 64
MANY = 10  # batches of an epoch from which on it pays to have two under way
UNEVEN = 0.1  # how far from one half of a step's work the upper layers' may be to learn beside the lower ones


def build_model(config: dict[str, Any], data: Data | None = None, facts: dict[str, Any] | None = None) -> Model:
    """The untrained net of a configuration, for `data` or for what `facts` remember of it."""
    seen = facts or {"shape": data.shape, "classes": data.classes, "mean": data.mean, "std": data.std}
    settings = dict(config["model"])
    cls = MODELS[settings.pop("name")]
    standardise = {k: tuple(seen[k]) for k in ("mean", "std")} if config["data"]["standardise"] else {}
    settings = build(cls.Settings, settings, "model")
    net = cls(settings, seen["shape"], len(seen["classes"]), config["seed"], **standardise)
    if config["negatives"] and not _shows_labels(config):
        net.unlabelled()
    return net.to(config["device"])


def _shows_labels(config: dict[str, Any]) -> bool:
    """Do its negatives come with labels? A finished run knows, even where its plug-in is no more."""
    name = config["negatives"]["name"]
    return STRATEGIES[name].embeds_label if name in STRATEGIES or "labelled" not in config else config["labelled"]


def build_strategy(config: dict[str, Any]) -> Strategy | None:
    """The negative strategy of a configuration, or None where the model uses none."""
    if not config["negatives"]:
        return None
    settings = dict(config["negatives"])
    return build(STRATEGIES[settings.pop("name")], settings, "negatives")


@torch.no_grad()
def contrast(model: Model, strategy: Strategy, x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[Pair, Tensor, Tensor]:
    """A strategy's pair of images (B, C, H, W), a net's g⁺ - g⁻ for it (B, L), and which pairs it gets right (B, L)."""
    pair = strategy(x, y, model.view(), rng)
    pos, neg = model.pair_goodness(pair)
    return pair, pos - neg, (pos > neg).float()


def finite(model: Model) -> bool:
    """Whether every weight is a number."""
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())


def keep(shape: torch.Size, dropped: float, rng: torch.Generator) -> Tensor:
    """A random mask of `shape`, 0 for the share `dropped`, to the nearest 256th, else 1: a random byte decides for a pixel.

    Eight at a time: on the CPU, `bernoulli_` would take as long as the rest of the step. Bytes, since booleans are slow there.
    """
    n = shape.numel()
    words = torch.empty(-(-n // 8), dtype=torch.int64, device=rng.device).random_(-(2**63), None, generator=rng)
    return words.view(torch.uint8)[:n].view(shape).ge_(round(256 * dropped))


def moved(x: Tensor, shift: int, flip: bool, rng: torch.Generator) -> Tensor:
    """Images (B, C, H, W), each moved by up to `shift` pixels up or down and left or right, what is beyond the edge being 0;
    with `flip`, every other one by chance mirrored."""
    height, width = x.shape[2:]
    padded = F.pad(x, (shift,) * 4)
    down, right = torch.randint(2 * shift + 1, (2, len(x), 1), generator=rng, device=x.device)
    across = torch.arange(width, device=x.device).expand(len(x), -1)
    if flip:
        mirrored = torch.randint(2, (len(x), 1), generator=rng, device=x.device).bool()
        across = torch.where(mirrored, width - 1 - across, across)
    rows, columns = down + torch.arange(height, device=x.device), right + across
    places = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).flatten(1)[:, None]
    return padded.flatten(2).gather(2, places.expand(-1, x.shape[1], -1)).view_as(x)


class Trainer:
    """One run in memory: model, optimisers, generators, and where it stands. `events()` moves it on."""

    def __init__(self, config: dict[str, Any], data: Data):
        self.config, self.data, self.device = config, data, torch.device(config["device"])
        self.train = TrainSettings(**config["train"])
        self.model = build_model(config, data)
        self.strategy = build_strategy(config)
        self.rng = {p: generator(config["seed"], p, self.device) for p in ("negatives", "pixels", "model")}
        self.model.rng = self.rng["model"]
        self.groups = self.model.groups()
        self.in_turn = self.model.layer_groups()
        self.steps_per_epoch = -(-len(data.train.y) // self.train.batch_size)
        turns = max(1, len(self.in_turn)) if self.train.schedule == "greedy" else 1
        self.epochs = self.train.epochs * turns
        self.steps = self.epochs * self.steps_per_epoch
        # on a GPU the rates lie there, where a recorded step finds them
        gpu = self.device.type == "cuda"
        if gpu:  # else the fastest convolution is taken, which may add in any order
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self.rates = [torch.tensor(self.train.lr, device=self.device) if gpu else self.train.lr for _ in self.groups]
        self.optimisers = [self._optimiser(group, rate) for group, rate in zip(self.groups, self.rates, strict=True)]
        self.taken = [0] * len(self.groups)  # steps of each group
        self.turns = [self._turns(i) for i in range(len(self.groups))]
        self.step, self.seconds = 0, 0.0
        self.checked: readout.Evaluation | None = None  # the last validation
        self.checked_step = -1
        if self.train.compile == "fuse":
            setattr(self.model, self.model.compiles, torch.compile(getattr(self.model, self.model.compiles)))
        self.graphs = self._graphs()
        self.upstairs: ThreadPoolExecutor | None = None  # where the layers above `landing` learn, while `side_by_side`
        self.under_way: Future | None = None
        self.landing = self._landing()

    @property
    def remedy(self) -> str:
        """What to do about a loss that is no number."""
        return "lower train.lr" + (" or model.alpha" if "alpha" in type(self.model.settings).model_fields else "")

    def _optimiser(self, group: list, rate: float | Tensor) -> torch.optim.Optimizer:
        t, how = self.train, {"fused": self.device.type in ("cpu", "cuda")}
        if t.optimiser == "sgd":
            return torch.optim.SGD(group, rate, momentum=t.momentum, weight_decay=t.weight_decay, **how)
        kind = torch.optim.AdamW if t.optimiser == "adamw" else torch.optim.Adam
        betas = (0.9, t.beta2)
        return kind(group, rate, betas, weight_decay=t.weight_decay, capturable=self.device.type == "cuda", **how)

    def _graphs(self) -> Graphs | None:
        if self.device.type != "cuda" or self.train.compile == "off" or not self.model.steady:
            return None
        batch = min(self.train.batch_size, len(self.data.train.y))
        return Graphs(self.on, batch, self.rng.values(), self.model.parameters())

    def _landing(self) -> int:
        """How many layers learn below, while those above learn from the batch before; 0: all learn in one place.

        On a GPU one step fills the device or is one graph. On a CPU two halves with half of the threads each waste less of
        them than all threads together on one operation after the other, if neither half waits long for the other.
        """
        t, threads = self.train, torch.get_num_threads()
        apart = t.pipeline == "auto" and t.compile != "fuse" and t.schedule == "together" and not (t.homeostasis or t.recycle)
        if self.device.type != "cpu" or threads < 2 or not apart or not (self.strategy and self.strategy.below):
            return 0
        costs = self.model.costs()
        off, layers = min(((abs(sum(costs[:n]) / sum(costs) - 0.5), n) for n in range(1, len(costs))), default=(1, 0))
        return layers if off < UNEVEN and self.steps_per_epoch >= MANY else 0

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Within, `learn_from` comes back while the upper layers still learn from its batch, where they may (`settle` waits).

        Weights come out as if each step had been taken to its end, to the last bit where that has as many threads as either
        half: a layer sees the same batches in the same order, each as the layer below passed it on before learning from it.
        """
        threads = torch.get_num_threads()
        if not self.landing or threads < 2:
            yield
            return
        half = threads // 2
        torch.set_num_threads(threads - half)
        try:
            with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(half,)) as self.upstairs:
                yield
                self.settle()
        finally:
            self.upstairs = self.under_way = None
            torch.set_num_threads(threads)

    def settle(self) -> list[Term]:
        """Wait until every layer has learned from the last batch; its terms, if any were under way. Raises what they raised."""
        return self.under_way.result() if self.under_way else []

    @property
    def how(self) -> str:
        """How steps are taken, for the log."""
        if self.landing:
            return f"steps with layers up to {self.landing} and above it side by side, a batch apart"
        if self.graphs is None or self.graphs.why:
            return "steps one by one" + (f", since {self.graphs.why}" if self.graphs else "")
        return f"steps as CUDA graphs ({len(self.graphs.recorded)} recorded)"

    def _turns(self, group: int) -> int:
        """Steps that a group takes in all, at least 1."""
        if group not in self.in_turn:
            steps = -(-self.steps // self.train.head_every)
        elif self.train.schedule == "staggered":
            steps = self.last(self.in_turn.index(group))
        else:
            steps = self.steps if self.train.schedule == "together" else -(-self.steps // len(self.in_turn))
        return max(1, steps)

    def rate(self, group: int) -> float:
        """The learning rate of a group's next step.

        one_cycle (Smith & Topin 2019, arXiv 1708.07120) with PyTorch's defaults: a half-cosine from lr/25 up to lr over 30%
        of the steps, another down to lr/250,000.
        """
        lr, taken, turns = self.train.lr, self.taken[group], self.turns[group]
        if self.train.lr_schedule == "constant":
            return lr
        if self.train.lr_schedule == "linear":
            return lr * min(1.0, 2 * (1 - taken / turns))
        peak = 0.3 * (turns + 1) - 1
        begin, end, at = (lr / 25, lr, taken / peak) if taken <= peak else (lr, lr / 25e4, (taken - peak) / (turns - peak))
        return end + (begin - end) / 2 * (math.cos(math.pi * at) + 1)

    def last(self, turn: int) -> int:
        """Steps from the start on in which a layer learns under the staggered schedule: the deeper, the longer."""
        return -(-self.steps * (turn + 1) // len(self.in_turn))

    def active(self, step: int) -> set[int]:
        """The groups that learn in this step: the layers whose turn it is, and now and then the heads."""
        layers = self.in_turn
        if layers and self.train.schedule == "greedy":
            layers = [layers[min(step // (self.train.epochs * self.steps_per_epoch), len(layers) - 1)]]
        elif layers and self.train.schedule == "alternate":
            layers = [layers[step % len(layers)]]
        elif self.train.schedule == "staggered":
            layers = [layer for i, layer in enumerate(layers) if step < self.last(i)]
        heads = set(range(len(self.groups))) - set(self.in_turn) if step % self.train.head_every == 0 else set()
        return {*layers, *heads}

    def order(self, epoch: int, first: int) -> tuple[Tensor, ...]:
        """The epoch's batches from the `first` on, as indices (B,). Their order depends on seed and epoch alone."""
        images = len(self.data.train.y)
        if self.steps_per_epoch == 1:  # the full batch, always in the same order
            return (torch.arange(images, device=self.device),)
        rng = generator(self.config["seed"], f"batches {epoch}", self.device)
        return torch.randperm(images, generator=rng, device=self.device).split(self.train.batch_size)[first:]

    def take(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The images of indices (B,) in [0, 1], and their labels."""
        return self.data.train.x.index_select(0, chosen).float().div_(255), self.data.train.y[chosen]

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches from the `first` on: images in [0, 1], labels."""
        return map(self.take, self.order(epoch, first))

    def learn(self, x: Tensor, y: Tensor) -> list[Term]:
        """One step on images (B, C, H, W) in [0, 1] with labels (B,). Returns the terms, without gradient."""
        return self._around(lambda groups: self.compute(x, y, groups))

    def learn_from(self, chosen: Tensor) -> list[Term]:
        """One step on the training images of these indices (B,), by way of a CUDA graph where there is one.

        While `side_by_side`, its terms are those of the batch before, but for the first one, which is waited for.
        """
        return self._around(lambda groups: (self.graphs or self.on)(chosen, groups))

    def on(self, chosen: Tensor, groups: set[int]) -> tuple[list[Term], Tensor, Tensor]:
        """What a step computes from indices (B,): everything that a graph records."""
        return self.compute(self.data.train.x.index_select(0, chosen), self.data.train.y[chosen], groups)

    def _around(self, compute: Callable[[set[int]], tuple[list[Term], Tensor, Tensor]]) -> list[Term]:
        """A step: what depends on how many came before, then `compute`, then what is done between two steps."""
        groups = self.active(self.step)
        self.model.progress = self.step / max(1, self.steps)
        for group in groups:
            if isinstance(self.rates[group], Tensor):
                self.rates[group].fill_(self.rate(group))
        terms, x, y = compute(groups)
        with readout.autocast(self.train.precision, self.device):
            self.tend(x, y)
        for group in groups if self.upstairs else {term.group for term in terms}:  # once, however many terms a group had
            self.taken[group] += 1
        self.step += 1
        return terms

    def compute(self, x: Tensor, y: Tensor, groups: set[int]) -> tuple[list[Term], Tensor, Tensor]:
        """Every one of `groups` takes its local loss, in turn; images as bytes or in [0, 1]. Returns the terms, and the images
        and labels as seen."""
        done = []
        if self.train.shift or self.train.flip:
            x = moved(x, self.train.shift, self.train.flip, self.rng["pixels"])
        if self.train.drop_pixels:
            x = x * keep(x.shape, self.train.drop_pixels, self.rng["pixels"]).to(x.dtype)
        if x.dtype == torch.uint8:  # as bytes, a quarter of the memory was moved until here
            x = x.float().div_(255)
        rates = {group: self.rate(group) for group in groups}
        with readout.autocast(self.train.precision, self.device):
            view = self.model.view()
            pair = self.strategy(x, y, view, self.rng["negatives"]) if self.strategy else None
            terms = self.model.terms(x, y, pair, groups, view)
            self._take(itertools.islice(terms, self.landing if self.upstairs else None), rates, done)
        if self.upstairs:  # one batch ahead, not more
            before, self.under_way = self.settle(), self.upstairs.submit(self._above, terms, rates, done)
            done = before or self.settle()
        return done, x, y

    def _take(self, terms: Iterable[Term], rates: dict[int, float], done: list[Term]) -> None:
        """Let the group of each term take its loss before the next term is asked for."""
        for term in terms:
            for parameter in self.groups[term.group]:
                parameter.grad = None
            term.loss.backward()
            optimiser = self.optimisers[term.group]
            if not isinstance(self.rates[term.group], Tensor):
                optimiser.param_groups[0]["lr"] = rates[term.group]
            optimiser.step()
            done.append(term._replace(loss=term.loss.detach()))

    def _above(self, terms: Iterable[Term], rates: dict[int, float], done: list[Term]) -> list[Term]:
        """What is left of a step, on a thread of its own."""
        with readout.autocast(self.train.precision, self.device):
            self._take(terms, rates, done)
        return done

    @torch.no_grad()
    def tend(self, x: Tensor, y: Tensor) -> None:
        """Between two steps, remedies for silent units: every 10 steps homeostatic biases, and ReDo when its turn comes."""
        steady = self.train.homeostasis and self.step % TENDED == 0
        due = self.train.recycle and (self.step + 1) % self.train.recycle == 0
        if not (steady or due):
            return
        incoming = self.model.incoming()
        learning = {id(p) for group in self.active(self.step) & set(self.in_turn) for p in self.groups[group]}
        layers = [i for i, (weight, _) in enumerate(incoming) if id(weight) in learning]  # any other stays as it is
        if not layers:
            return
        told = [neurons.per_unit(h).float() for h in self.model.features(Sample(x, y if self.model.labelled else None))]
        if steady:
            chosen = [(incoming[i][1], told[i]) for i in layers]
            neurons.hold_rate(*zip(*chosen, strict=True), self.train.homeostasis)
        if due:
            neurons.recycle(incoming, told, self.optimisers, self.model.rng, layers)

    def events(self) -> Iterator[dict[str, Any]]:
        """start, tick …, epoch …: dicts as in events.jsonl; an epoch's snapshot comes under `arrays`.

        Raises Failed when a loss or a weight is no longer a number.
        """
        clock, before = time.perf_counter(), self.seconds
        begun = self.step

        def event(kind: str, **more) -> dict[str, Any]:
            self.seconds = before + time.perf_counter() - clock
            return {"event": kind, "time": time.time(), "step": self.step, "seconds": self.seconds, **more}

        yield event("start", epoch=self.step / self.steps_per_epoch, resumed=begun > 0)
        if self.step == 0:
            yield event("epoch", **self.epoch())
        ticked, ticked_step = time.perf_counter(), self.step
        while self.step < self.steps:
            epoch, first = divmod(self.step, self.steps_per_epoch)
            with self.side_by_side():
                for chosen in self.order(epoch, first):
                    terms = self.learn_from(chosen)
                    now = time.perf_counter()
                    if now - ticked >= TICK:
                        speed = (self.step - ticked_step) / (now - ticked)
                        yield event("tick", **self.tick(terms, speed))
                        ticked, ticked_step = time.perf_counter(), self.step
            told = self.epoch()
            for message in telemetry.alarms(self.checked, self.model.classes, self.dead):
                yield event("alarm", message=message)
            yield event("epoch", **told)  # last, since a state may be saved after it

    def tick(self, terms: list[Term], steps_per_second: float) -> dict[str, Any]:
        """What `terms` say: loss, and each layer's goodness of positives and negatives."""
        loss = sum(term.loss.item() for term in terms)
        if loss != loss or abs(loss) == float("inf"):
            raise Failed(f"diverged at step {self.step}: a loss is {loss}; {self.remedy}")
        return {
            "epoch": self.step / self.steps_per_epoch,
            "images_per_second": steps_per_second * len(self.data.train.y) / self.steps_per_epoch,
            "eta": (self.steps - self.step) / steps_per_second,
            "loss": loss,
            "layers": telemetry.layers_now(terms) if self.train.telemetry else [],
        }

    def check(self) -> readout.Evaluation:
        """Every read-out of the net as it is now, on the validation images (or, where there are none, on training images)."""
        self.settle()
        if self.checked_step != self.step:
            self.checked = readout.evaluate(self.model, *self.probe(), self.train.precision)
            self.checked_step = self.step
        return self.checked

    def probe(self) -> tuple[Tensor, Tensor]:
        """The images and labels that validation and snapshots look at."""
        held_out = self.data.validation
        return held_out if len(held_out.y) else tuple(part[: telemetry.PROBE] for part in self.data.train)

    def check_finite(self) -> None:
        """Raises Failed when a weight is no longer a number."""
        self.settle()
        if not finite(self.model):
            raise Failed(f"diverged at step {self.step}: a weight is no longer a number; {self.remedy}")

    def epoch(self) -> dict[str, Any]:
        """Validation by every read-out, and the snapshot."""
        self.check_finite()
        held_out, checked = len(self.data.validation.y) > 0, self.check()
        arrays, self.dead = {}, []
        if self.train.telemetry:
            shown = self.data.test.x[:SAMPLES].float().div(255)
            arrays, self.dead = telemetry.snapshot(
                self.model, self.strategy, *self.probe(), checked.goodness, shown, self.train.precision
            )
        own = checked.layers if held_out else []
        layers = [
            {"layer": i, "validation_accuracy": right, "dead": share}
            for i, (right, share) in enumerate(itertools.zip_longest(own, self.dead), 1)
        ]
        return {
            "epoch": self.step // self.steps_per_epoch,
            "validation": checked.accuracy if held_out else None,
            "layers": layers,
            "arrays": arrays,
        }

    def samples(self) -> dict[str, Any]:
        """The 64 fixed test images whose goodness every snapshot holds, and the classes of those that it maps."""
        shown = {"images": self.data.test.x[:SAMPLES], "labels": self.data.test.y[:SAMPLES]}
        shown["map_labels"] = self.probe()[1][: telemetry.MAPPED]
        return {name: part.cpu().numpy() for name, part in shown.items()}

    # Exact resume.

    def state(self, **more) -> tuple[dict[str, Tensor], dict[str, str]]:
        """(tensors, metadata) for one safetensors file: weights, optimisers, schedules, generators, position."""
        self.settle()
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"rng.{purpose}": rng.get_state() for purpose, rng in self.rng.items()}
        plain = []
        for i, optimiser in enumerate(self.optimisers):
            inner = optimiser.state_dict()
            for index, values in inner["state"].items():
                for key, value in values.items():
                    if value is not None:
                        tensors[f"optimiser.{i}.{index}.{key}"] = torch.as_tensor(value)
            groups = [{k: float(v) if k == "lr" else v for k, v in group.items()} for group in inner["param_groups"]]
            plain.append({"groups": groups, "taken": self.taken[i]})
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        position = {"step": self.step, "seconds": self.seconds, "plain": plain, **more}
        return tensors, {"state": json.dumps(position)}

    def restore(self, tensors: dict[str, Tensor], metadata: dict[str, str]) -> dict[str, Any]:
        """Take up where `state` was taken; returns what was saved beside it."""
        position = json.loads(metadata["state"])
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        for purpose, rng in self.rng.items():
            rng.set_state(tensors[f"rng.{purpose}"])
        for i, plain in enumerate(position["plain"]):
            inner: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"optimiser.{i}."):
                    _, _, index, key = name.split(".", 3)
                    inner.setdefault(int(index), {})[key] = value
            ours = self.optimisers[i].param_groups[0]  # not what an older version, or another device, could record
            how = {"capturable": ours["capturable"]} if "capturable" in ours else {}
            groups = [{**group, **how} for group in plain["groups"]]
            self.optimisers[i].load_state_dict({"state": inner, "param_groups": groups})
            self.optimisers[i].param_groups[0]["lr"] = self.rates[i]  # the very tensor that recorded steps read
            self.taken[i] = plain["taken"] if "taken" in plain else plain["schedule"]["last_epoch"]
        self.step, self.seconds = position["step"], position["seconds"]
        return position
