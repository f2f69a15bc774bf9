"""What is measured of speed: seconds of a step and until an accuracy is reached, and the least that the arithmetic takes."""

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from ffcore import readout
from ffcore.config import TrainSettings, configure, pick_precision, resolve
from ffcore.data import Data
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
        Pace(statistics.median(s), min(s), max(s), statistics.median(h for _, h in each))
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
