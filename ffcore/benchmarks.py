"""What is measured of speed: seconds of a step and until an accuracy is reached, and the least that the arithmetic takes."""

import gc
import itertools
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from ffcore import readout
from ffcore.config import TrainSettings, configure, pick_device, pick_precision, resolve
from ffcore.data import Data, DataSettings, Split, load
from ffcore.errors import Refused
from ffcore.labels import Sample
from ffcore.presets import PRESETS
from ffcore.registry import suggest
from ffcore.training import Trainer


def trainer_for(data: Data, device: str, seed: int = 0, epochs: int = 1_000, preset: str | None = None, **asked) -> Trainer:
    """A run in memory, without telemetry; `asked`: model, negatives, set, as for `configure`."""
    settings = {"train.telemetry": False, "train.epochs": epochs, **asked.pop("set", {})}
    config = configure(data=data.name, device=device, seed=seed, preset=preset, set=settings, **asked)
    train = resolve(TrainSettings(**config["train"]), len(data.train.y))
    config["train"] = {**train.model_dump(mode="json"), "precision": pick_precision(train.precision, device)}
    return Trainer(config, data)


def wait(device: torch.device | str) -> None:
    """Until the device has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


class Pace(NamedTuple):
    """Seconds of one step."""

    seconds: float  # median over repeats
    low: float
    high: float
    host: float  # until the step was handed to the device
    rounds: tuple[float, ...]  # one for each repeat, in the order in which the trainers took turns


def pace(trainers: Sequence[Trainer], steps: int = 50, repeats: int = 5, warm: int = 20) -> list[Pace]:
    """How long a step of each trainer takes, full batches only. The trainers take turns, so that a drift meets all alike."""
    batches = []
    for trainer in trainers:
        order = trainer.order(0, 0)
        batches.append([chosen for chosen in order if len(chosen) == len(order[0])])
    told: list[list[tuple[float, float]]] = [[] for _ in trainers]

    def go(i: int, count: int) -> tuple[float, float]:
        trainer, full = trainers[i], batches[i]
        wait(trainer.device)
        begun = time.perf_counter()
        with trainer.side_by_side():
            for n in range(count):
                trainer.learn_from(full[n % len(full)])
            handed = time.perf_counter() - begun
        wait(trainer.device)
        return (time.perf_counter() - begun) / count, handed / count

    for i in range(len(trainers)):
        go(i, warm)
    for _ in range(repeats):
        for i in range(len(trainers)):
            told[i].append(go(i, steps))
    seconds = [[s for s, _ in each] for each in told]
    return [
        Pace(statistics.median(s), min(s), max(s), statistics.median(h for _, h in each), tuple(s))
        for s, each in zip(seconds, told, strict=True)
    ]


def race(trainer: Trainer, only_last: bool = False) -> list[dict[str, float]]:
    """Train to the end: [{epoch, seconds, accuracy}, …], seconds of training alone, accuracy on the validation images.

    Recording graphs and compiling count; validation, after every epoch or the last only, does not.
    """
    told, seconds = [], 0.0
    while trainer.step < trainer.steps:
        epoch, first = divmod(trainer.step, trainer.steps_per_epoch)
        wait(trainer.device)
        begun = time.perf_counter()
        with trainer.side_by_side():
            for chosen in trainer.order(epoch, first):
                trainer.learn_from(chosen)
        wait(trainer.device)
        seconds += time.perf_counter() - begun
        if only_last and trainer.step < trainer.steps:
            continue
        checked = readout.evaluate(trainer.model, *trainer.probe(), trainer.train.precision)
        told.append({"epoch": epoch + 1, "seconds": seconds, "accuracy": checked.accuracy[trainer.model.readouts[0]]})
    return told


# The least that the arithmetic takes.


def products(model: str, sizes: Sequence[int], classes: int, batch: int, shared: bool = True, head_every: int = 4) -> float:
    """Floating-point operations of a step's matrix products, for layers of `sizes` (pixels first).

    Two for every weight, image and product. Forward-Forward's layers see both sides of a pair and send nothing down; a pair
    that shares its image (`shared`) shares layer 1's product and its weight gradient. The head's look at the layers, without a
    label, shares layer 1's product, too. Layer collaboration asks all layers once more before it learns.
    """
    weights = [a * b for a, b in itertools.pairwise(sizes)]
    above = sum(weights[1:])
    if model == "backprop":
        read = sizes[-1] * classes
        return 2 * batch * (3 * (sum(weights) + read) - weights[0])
    if model == "mono_forward":
        return 2 * batch * (2 * sum(weights) + 3 * classes * sum(sizes[1:]))
    first = (1 if shared else 2) * 2 * weights[0]
    again = 2 * above if model == "layer_collab" else 0
    head = (above + 2 * classes * sum(sizes[1:])) / head_every
    return 2 * batch * (first + 4 * above + again + head)


def peaks(device: str, precision: str = "bf16", size: int | None = None) -> dict[str, float]:
    """Measured ceilings of this device: operations per second of a large product, bytes per second of a large copy."""
    gpu = torch.device(device).type == "cuda"
    size = size or (8_192 if gpu else 1_024)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    source = torch.randn(2**28 if gpu else 2**25, device=device)  # several times any cache
    target = torch.empty_like(source)

    def fastest(work, repeats: int) -> float:
        times = []
        for _ in range(repeats):
            wait(device)
            begun = time.perf_counter()
            work()
            wait(device)
            times.append(time.perf_counter() - begun)
        return statistics.median(times[2:])

    product = fastest(lambda: a @ b, 12)
    copy = fastest(lambda: target.copy_(source), 8)
    return {"operations": 2 * size**3 / product, "bytes": 2 * source.nbytes / copy}


def memory(make: Callable[[], Trainer], device: torch.device | str, steps: int = 8) -> int | None:
    """Bytes of tensors at the most during the first steps of the trainer that `make` returns, weights and moments included,
    but not what was on the device before (the data, other trainers); None where there is no GPU."""
    if torch.device(device).type != "cuda":
        return None
    wait(device)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before, trainer = torch.cuda.memory_allocated(device), make()
    for chosen in trainer.order(0, 0)[:steps]:
        trainer.learn_from(chosen)
    wait(device)
    return torch.cuda.max_memory_allocated(device) - before


def traced(trainer: Trainer, warm: int = 10) -> dict[str, Any]:
    """What the profiler sees of one epoch: waits for the device, copies to the host, launches and kernels per step."""
    from torch.profiler import ProfilerActivity, profile, record_function

    order = trainer.order(0, 0)
    for n in range(warm):
        trainer.learn_from(order[n % len(order)])
    wait(trainer.device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        with record_function("the epoch"):
            for chosen in order:
                trainer.learn_from(chosen)
        wait(trainer.device)
    names: dict[str, int] = {}
    kernels: dict[str, list[float]] = {}
    events = seen.events()
    inside = next(e.time_range for e in events if e.name == "the epoch" and e.device_type == torch.autograd.DeviceType.CPU)
    for event in events:
        if event.device_type == torch.autograd.DeviceType.CUDA:
            if event.name != "the epoch":
                kernels.setdefault(event.name, []).append(event.time_range.elapsed_us())
        elif event.name.startswith("cuda") and inside.start <= event.time_range.start <= inside.end:
            names[event.name] = names.get(event.name, 0) + 1
    steps = len(order)
    top = sorted(kernels.items(), key=lambda item: -sum(item[1]))[:25]
    return {
        "steps": steps,
        "waits": sum(n for name, n in names.items() if "Synchronize" in name),
        "copies_to_host": sum(len(v) for name, v in kernels.items() if "DtoH" in name),
        "calls": names,
        "kernels_per_step": sum(map(len, kernels.values())) / steps,
        "kernel_microseconds_per_step": sum(map(sum, kernels.values())) / steps,
        "top": [{"name": n[:120], "per_step": len(v) / steps, "microseconds_per_step": sum(v) / steps} for n, v in top],
    }


# What `ffcore bench` tells.

RULES: dict[str, dict[str, Any]] = {
    "ff": {"model": "ff", "negatives": "hard_label"},
    "ff, uniform wrong labels": {"model": "ff", "negatives": "wrong_label"},
    "ff, labels by all layers": {"model": "ff", "negatives": "hard_label", "set": {"negatives.layers": 0}},
    "ff, threshold": {"model": "ff", "negatives": "hard_label", "set": {"model.objective": "threshold"}},
    "layer_collab": {"model": "layer_collab", "negatives": "hard_label"},
    "mono_forward": {"model": "mono_forward"},
    "cwc": {"model": "cwc"},
    "backprop": {"model": "backprop"},
}
SHAPE = {"model.widths": [500, 500], "train.batch_size": 512}
# Best on the validation images after four epochs: of some sixty combinations tried for ff, and of some twenty for backprop.
TUNED: dict[str, dict[str, Any]] = {
    "ff": {"model_label_value": 4.0, "negatives_temperature": 0.2, "train_drop_pixels": 0.1, "train_beta2": 0.95},
    "backprop": {"train_lr": 0.008, "train_beta2": 0.95},
}
TARGETS = (0.97, 0.98, 0.985)
STUDY = 0.9315  # what the reference study claims for its standard recipe, by 2 × 1,000 full-batch steps
SMALL_NET = 0.982  # dah33/explore_forward_forward's 2 × 500 after 30 epochs in batches of 4,096, labels by all layers' goodness


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    steps: int  # of a round
    rounds: int
    lengths: tuple[int, ...]  # of races, in epochs
    seeds: int
    racers: tuple[str, ...]
    widths: tuple[int, ...]  # the slopes' axes; the middle one is what the others are measured at
    depths: tuple[int, ...]
    batches: tuple[int, ...]
    classes: tuple[int, ...]
    images: tuple[int, ...]
    pairs: int  # of trainings with and without telemetry
    reference: int  # images of the reference study's full batch, which has 50,000


FULL = Size(
    50, 9, (1, 2, 3, 4, 5, 6, 9, 14), 3, ("ff", "mono_forward", "layer_collab", "backprop"), (250, 500, 1_000, 2_000),
    (1, 2, 4, 8), (128, 256, 512, 1_024, 2_048), (2, 5, 10, 20, 50), (4_096, 8_192, 16_384), 5, 50_000,
)  # fmt: skip
QUICK = Size(
    4, 5, (1, 4, 7), 1, ("ff", "backprop"), (250, 500, 1_000), (1, 2, 4), (128, 512, 1_024), (5, 10, 40), (2_048, 4_096), 1,
    5_000,
)  # fmt: skip


class Bench(NamedTuple):
    """Where and on what is measured."""

    size: Size
    device: str
    data: Data

    def made(self, rule: str, seed: int = 0, epochs: int = 1_000, data: Data | None = None, **settings) -> Trainer:
        """A trainer of `rule`, 784-500-500 in batches of 512 where nothing else is said; `cwc` has channels of its own."""
        asked = dict(RULES[rule])
        shape = {} if rule == "cwc" else {**SHAPE, **{k.replace("_", ".", 1): v for k, v in settings.items()}}
        asked["set"] = {**shape, **asked.get("set", {})}
        return trainer_for(data or self.data, self.device, seed, epochs, **asked)


def row(name: str, values: Sequence[float], unit: str, ratio: float | None = None, against: str = "") -> dict[str, Any]:
    """One figure: the median of `values`, how many, the least and the largest; `ratio` to what `against` names."""
    told = [v for v in values if v is not None]
    value = statistics.median(told) if len(told) == len(values) and told else None
    spread = [min(told), max(told)] if told else None
    return {"name": name, "value": value, "unit": unit, "n": len(told), "spread": spread, "ratio": ratio, "against": against}


def median_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The median of the ratios of what was measured in turn, so that a drifting machine changes both sides alike."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def _steps(bench: Bench) -> Iterator[dict[str, Any]]:
    """Seconds of one training step, all rules in turn; ratio: to backpropagation's."""
    plain = [rule for rule in RULES if rule != "cwc"]
    seen = pace([bench.made(rule) for rule in plain], bench.size.steps, bench.size.rounds, 6)
    known = dict(zip(plain, seen, strict=True))
    precision = bench.made("backprop").train.precision
    ceiling = peaks(bench.device, precision)["operations"]
    for rule, p in known.items():
        yield row(f"step, {rule}", p.rounds, "s", median_ratio(p.rounds, known["backprop"].rounds), "backprop")
    (p,) = pace([bench.made("cwc")], 1, 3, 1)
    yield row("step, cwc (its own channels and batch)", p.rounds, "s")
    yield row("ceiling of products", [ceiling], f"operations/s, {precision}")
    pixels = math.prod(bench.data.shape)
    for rule, p in known.items():
        model = RULES[rule]["model"]
        needed = products(model, [pixels, *SHAPE["model.widths"]], len(bench.data.classes), SHAPE["train.batch_size"])
        yield row(f"share of the ceiling, {rule}", [needed / s / ceiling for s in p.rounds], "of 1")


def _race(bench: Bench) -> Iterator[dict[str, Any]]:
    """Seconds of training until an accuracy on the validation images: the shortest of several lengths whose end reaches it."""
    reached: dict[str, dict[float, list[float]]] = {}
    for rule in bench.size.racers:
        reached[rule], ended = shortest(bench, rule, TARGETS)
        for epochs, accuracies in ended.items():
            yield row(f"accuracy after {epochs} epochs, {rule}", accuracies, "of 1, validation")
    yield from raced(reached)


def raced(reached: Mapping[str, Mapping[float, Sequence[float]]]) -> Iterator[dict[str, Any]]:
    """Rows of the seconds to every target from {rule: {target: seconds, one for each seed}}; ratio: to backpropagation's."""
    for rule, target in itertools.product(reached, TARGETS):
        mine, other = reached[rule].get(target), reached["backprop"].get(target)
        ratio = statistics.median(mine) / statistics.median(other) if mine and other else None
        yield row(f"seconds to {target:.1%}, {rule}", mine or [], "s", ratio, "backprop")


def shortest(bench: Bench, rule: str, targets: Sequence[float]) -> tuple[dict[float, list[float]], dict[int, list[float]]]:
    """Train, tuned for it, for longer and longer until every target is reached: (what `reaching` tells, {epochs: accuracy in
    the end, one for each seed})."""
    ended: dict[int, list[dict[str, float]]] = {}
    settings = TUNED.get(rule, {})
    for epochs in bench.size.lengths:
        trainers = (bench.made(rule, seed, epochs, **settings) for seed in range(bench.size.seeds))
        ended[epochs] = [race(trainer, only_last=True)[-1] for trainer in trainers]
        if len(reaching(ended, targets)) == len(targets):
            break
    return reaching(ended, targets), {epochs: [end["accuracy"] for end in ends] for epochs, ends in ended.items()}


def reaching(ended: Mapping[int, Sequence[Mapping[str, float]]], targets: Sequence[float]) -> dict[float, list[float]]:
    """{target: seconds of training, one for each seed} of the shortest length whose median accuracy reaches it, from the ends
    of races {epochs: [{accuracy, seconds}, …]}; without targets that no length reaches."""
    out: dict[float, list[float]] = {}
    for _, ends in sorted(ended.items()):
        accuracy = statistics.median(end["accuracy"] for end in ends)
        out |= {target: [end["seconds"] for end in ends] for target in targets if target not in out and accuracy >= target}
    return out


def kept_for_backward(trainer: Trainer) -> int:
    """Bytes that wait for a backward pass at the most at once within a step of a trainer in float32: what layers make of the
    batch, and the batch as layer 1 sees it, but no weights (a step in bf16 keeps a copy of those, too)."""
    known = {p.data_ptr() for p in trainer.model.parameters()}
    waiting: dict[int, int] = {}
    most = 0

    def pack(tensor):
        nonlocal most
        if (place := tensor.untyped_storage().data_ptr()) not in known:
            waiting[place] = tensor.untyped_storage().nbytes()
            most = max(most, sum(waiting.values()))
        return tensor

    def unpack(tensor):
        waiting.pop(tensor.untyped_storage().data_ptr(), None)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        trainer.compute(*trainer.take(trainer.order(0, 0)[0]), trainer.active(1))  # a step between two of the head's
    return most


def _memory(bench: Bench) -> Iterator[dict[str, Any]]:
    """What a step keeps for its backward passes, by depth; on a GPU the most that lies there, too."""
    for depth in bench.size.depths:
        told = {}
        for rule in ("ff", "mono_forward", "backprop"):
            shape = {"model_widths": [500] * depth, "train_compile": "off", "train_precision": "float32"}
            told[rule] = kept_for_backward(bench.made(rule, **shape))
        for rule, most in told.items():
            yield row(f"kept for backward, depth {depth}, {rule}", [most], "bytes", most / told["backprop"], "backprop")
    if torch.device(bench.device).type == "cuda":
        widths = {"model_widths": [500] * bench.size.depths[-1]}
        told = {r: memory(lambda r=r: bench.made(r, **widths), bench.device) for r in ("ff", "mono_forward", "backprop")}
        for rule, most in told.items():
            name = f"most memory, depth {bench.size.depths[-1]}, {rule}"
            yield row(name, [most], "bytes", most / told["backprop"], "backprop")


def made_up(data: Data, images: int, classes: int, device: str) -> Data:
    """Random images of the shape of `data`, for what a step costs, whatever is on them."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(256, (images, *data.shape), dtype=torch.uint8, generator=rng).to(device)
    part = Split(x, (torch.arange(images) % classes).to(device))
    few = Split(*(t[:256] for t in part))
    return replace(data, classes=tuple(map(str, range(classes))), train=part, validation=few, test=few)


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent b of seconds ∝ size^b that fits best: least squares on logarithms."""
    return statistics.linear_regression([math.log(s) for s in sizes], [math.log(t) for t in seconds]).slope


def _slopes(bench: Bench) -> Iterator[dict[str, Any]]:
    """How cost grows with width, depth, batch, classes and images: the exponent b of seconds ∝ size^b; 1 is in proportion."""
    made = partial(bench.made, train_pipeline="off")  # which only some of the sizes would have
    size, few = bench.size, made_up(bench.data, max(bench.size.batches), 10, bench.device)
    axes: dict[str, tuple[Sequence[int], Callable[[str, int], Trainer]]] = {
        "width": (size.widths, lambda rule, n: made(rule, data=few, model_widths=[n, n])),
        "depth": (size.depths, lambda rule, n: made(rule, data=few, model_widths=[500] * n)),
        "batch": (size.batches, lambda rule, n: made(rule, data=few, train_batch_size=n)),
        "classes": (
            size.classes,
            lambda rule, n: made(rule, data=made_up(bench.data, 1_024, n, bench.device)),
        ),
    }
    for axis, (sizes, make) in axes.items():
        for rule in ("ff", "backprop"):
            seen = pace([make(rule, n) for n in sizes], max(1, size.steps // 5), size.rounds, 2)
            by_round = [slope(sizes, times) for times in zip(*(p.rounds for p in seen), strict=True)]
            yield row(f"growth with {axis} ({sizes[0]} to {sizes[-1]}), {rule}", by_round, "exponent")
    for rule in ("ff", "backprop"):
        fits = []
        trainers = [made(rule, data=made_up(bench.data, n, 10, bench.device)) for n in size.images]
        for _ in range(2):
            times = []
            for trainer in trainers:
                wait(bench.device)
                begun = time.perf_counter()
                with trainer.side_by_side():
                    for chosen in trainer.order(0, 0):
                        trainer.learn_from(chosen)
                wait(bench.device)
                times.append(time.perf_counter() - begun)
            fits.append(slope(size.images, times))
        yield row(f"growth of an epoch with images ({size.images[0]} to {size.images[-1]}), {rule}", fits[1:], "exponent")


def _readout(bench: Bench) -> Iterator[dict[str, Any]]:
    """Goodness under every label of 1,000 images, or all there are: by one image product for all labels, and label by label."""
    trainer = bench.made("ff")
    x = bench.data.test.x[:1_000].float().div(255)
    classes = range(len(bench.data.classes))

    def naive() -> torch.Tensor:
        labels = (torch.full((len(x),), c, device=x.device) for c in classes)
        return torch.stack([trainer.model.sample_goodness(Sample(x, label)) for label in labels], 1)

    times: dict[str, list[float]] = {"shared": [], "one by one": []}
    with torch.no_grad(), readout.autocast(trainer.train.precision, bench.device):
        for _ in range(bench.size.rounds + 1):
            for name, ask in (("shared", lambda: trainer.model.label_goodness(x)), ("one by one", naive)):
                wait(bench.device)
                begun = time.perf_counter()
                ask()
                wait(bench.device)
                times[name].append(time.perf_counter() - begun)
    shared, alone = times["shared"][1:], times["one by one"][1:]
    name = f"read-out of {len(x):,} images"
    yield row(f"{name}, image product shared by the labels", shared, "s", median_ratio(shared, alone), "one by one")
    yield row(f"{name}, label by label", alone, "s")


def _telemetry(bench: Bench) -> Iterator[dict[str, Any]]:
    """Seconds of two epochs with live goodness and snapshots, and without; validation in both."""
    told: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(bench.size.pairs):
        for on in (True, False):
            trainer = bench.made("ff", seed, 2, train_telemetry=on)
            for _ in trainer.events():
                pass
            told[on].append(trainer.seconds)
    yield row("two epochs with telemetry", told[True], "s", median_ratio(told[True], told[False]), "without")
    yield row("two epochs without telemetry", told[False], "s")


def _reference(bench: Bench) -> Iterator[dict[str, Any]]:
    """What it takes to get where others' code gets: a few of their steps are measured, the rest is multiplication."""
    reached, _ = shortest(bench, "ff", (STUDY, SMALL_NET))
    recipe = PRESETS["ref-ff"].settings
    study, images = recipe["train.batch_size"], min(bench.size.reference, len(bench.data.train.y))
    few = replace(bench.data, train=Split(*(t[:images] for t in bench.data.train)))
    theirs = trainer_for(few, bench.device, preset="ref-ff", set={"train.batch_size": images})
    (p,) = pace([theirs], 1, 2, 1)
    passes = 2 * recipe["train.epochs"]  # one layer after the other, each step a pass over all images
    whole = [s * study / images * passes for s in p.rounds]
    yield row(f"the reference study's step, measured on {images:,} images", p.rounds, "s")
    yield _against(f"the reference study's training, extrapolated to {study:,} images", whole, reached, STUDY)
    steps = _small_net_steps(bench, min(4_096, len(bench.data.train.y)))
    whole = [seconds * 60_000 * 30 for seconds in steps]
    yield _against("30 epochs of explore_forward_forward's steps, on 60,000 images", whole, reached, SMALL_NET)


def _small_net_steps(bench: Bench, batch: int, repeats: int = 3) -> list[float]:
    """Seconds per image of steps as dah33/explore_forward_forward takes them (ff_hinton.py, 2024), reading of images left out:
    in float32, ten passes of the whole net for a hard label, every layer asked for either side, and once more when it has
    learned."""
    pixels = bench.data.train.x[:batch].float().div(255).flatten(1)
    brightest = pixels.max().item()
    y, classes = bench.data.train.y[:batch], len(bench.data.classes)
    sizes = [pixels.shape[1], 500, 500]
    net = [torch.nn.Linear(n, m, device=bench.device) for n, m in itertools.pairwise(sizes)]
    optimiser = torch.optim.Adam([p for layer in net for p in layer.parameters()], 0.35)

    def shown(label: torch.Tensor) -> torch.Tensor:
        image = pixels.clone()
        image[:, :classes] = 0
        return image.scatter_(1, label[:, None], brightest)

    def up(layer: torch.nn.Linear, h: torch.Tensor) -> torch.Tensor:
        return layer(F.normalize(h)).relu()

    def goodness(h: torch.Tensor) -> torch.Tensor:
        return h.square().mean(1)

    @torch.no_grad()
    def belief(label: int) -> torch.Tensor:
        h, told = shown(torch.full_like(y, label)), 0.0
        for layer in net:
            h = up(layer, h)
            told = told + goodness(h)
        return told

    def step() -> None:
        told = torch.stack([belief(label) for label in range(classes)], 1).scatter_(1, y[:, None], 0.0)
        wrong = torch.multinomial(told.sqrt() + 1e-12, 1)[:, 0]
        pos, neg = shown(y), shown(wrong)
        for layer in net:
            loss = F.silu(6 * (goodness(up(layer, neg)) - goodness(up(layer, pos)))).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                pos, neg = up(layer, pos), up(layer, neg)

    step()
    times = []
    for _ in range(repeats):
        wait(bench.device)
        begun = time.perf_counter()
        step()
        wait(bench.device)
        times.append((time.perf_counter() - begun) / batch)
    return times


def _against(name: str, seconds: list[float], reached: dict[float, list[float]], target: float) -> dict[str, Any]:
    """A row of another's training beside what `ff` took to get as far."""
    ours = statistics.median(reached[target]) if target in reached else None
    far = f"the {ours:.2f} s in which ff is at {target:.2%}" if ours else f"ff, which did not reach {target:.2%}"
    return row(name, seconds, "s", statistics.median(seconds) / ours if ours else None, far)


BENCHES: Mapping[str, Callable[[Bench], Iterator[dict[str, Any]]]] = {
    "steps": _steps, "race": _race, "memory": _memory, "slopes": _slopes, "readout": _readout, "telemetry": _telemetry,
    "reference": _reference,
}  # fmt: skip


def bench(
    names: Sequence[str] = (),
    quick: bool = False,
    data: str = "auto",
    device: str = "auto",
    data_root: str | None = None,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Measure what `names` name (none: all), here and now: {results, machine, quick}; `progress` sees every row as it comes.

    A row: {name, value, unit, n, spread, ratio, against, bench}; value is the median of n, null where it was not reached.
    Raises Refused: an unknown name.
    """
    for name in names:
        if name not in BENCHES:
            raise Refused(f"no bench named '{name}'; {suggest(name, list(BENCHES))}")
    device = pick_device(device)
    images = load(DataSettings(name=data), data_root, device)
    told, rows, begun = Bench(QUICK if quick else FULL, device, images), [], time.perf_counter()
    for name in names or BENCHES:
        for line in BENCHES[name](told):
            rows.append({**line, "bench": name})
            if progress:
                progress(rows[-1])
    return {
        "results": rows,
        "machine": {**_machine(device), "data": images.name, "images": len(images.train.y)},
        "quick": quick,
        "seconds": time.perf_counter() - begun,
    }


def _machine(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    gpu = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None
    return {
        "device": device, "gpu": gpu, "processor": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "precision": pick_precision("auto", device), "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip


def _processor() -> str:
    """Its name, as far as the system tells."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
