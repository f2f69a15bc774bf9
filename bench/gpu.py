"""Everything that only a GPU can tell: `python bench/gpu.py RESULTS.json [PART …]`; `bench/h100.py` makes tables of it.

MNIST is looked for where FFCORE_DATA says. Every part runs on its own: what fails is written down, and the next begins.
SECONDS_AT_MOST leaves out what would take longer. DEVICE=cpu tries the script out on few images, where there is no GPU.
"""

import itertools
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
import traceback
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DEVICE = os.environ.get("DEVICE", "cuda")
BUDGET = float(os.environ.get("SECONDS_AT_MOST", "inf"))
BEGUN = time.monotonic()
OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "gpu.json")
RESULTS: dict = {"parts": {}}
PARTS = []

NARROW, WIDE = [500, 500], [2000, 2000, 2000, 2000]


def part(seconds: float):
    """A part that takes about so many seconds and is left out when fewer remain."""

    def file(work):
        PARTS.append((work.__name__, seconds, work))
        return work

    return file


def left() -> float:
    return BUDGET - (time.monotonic() - BEGUN)


def write() -> None:
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(RESULTS, indent=1))


_DATA = {}


def mnist(device: str = DEVICE):
    from ffcore import data

    if device not in _DATA:
        _DATA[device] = data.load(data.DataSettings(name="mnist", train=None if device == "cuda" else 2_000), None, device)
    return _DATA[device]


def made(rule: str, widths=NARROW, compiled: str = "auto", seed: int = 0, epochs: int = 1_000, **more):
    from ffcore.benchmarks import FULL, Bench

    return Bench(FULL, DEVICE, mnist()).made(rule, seed, epochs, model_widths=widths, train_compile=compiled, **more)


def say(*words) -> None:
    print(f"[{time.monotonic() - BEGUN:6.1f}s]", *words, flush=True)


@part(10)
def machine():
    import torch

    ask = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,memory.total,temperature.gpu"
    asked = ["nvidia-smi", f"--query-gpu={ask}", "--format=csv"]
    smi = subprocess.run(asked, capture_output=True, text=True, check=False).stdout if shutil.which("nvidia-smi") else ""
    return {
        "gpu": torch.cuda.get_device_name(0) if DEVICE == "cuda" else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "nvidia-smi": smi.strip().splitlines()[-1:],
        "images": len(mnist().train.y),
    }


@part(60)
def tests():
    """The laws on the GPU; the rest of the parts go on whatever they say."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/test_gpu.py", "-q", "-p", "no:randomly", "--tb=short"]
    command += ["-rfE", "--durations=8", "-n", "4", "--dist", "load"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    timed_out = False
    try:
        told, _ = process.communicate(timeout=min(100, left() - 120))
    except subprocess.TimeoutExpired:
        timed_out = True
        process.send_signal(signal.SIGINT)  # pytest then tells what it has found
        try:
            told, _ = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            told, _ = process.communicate()
    print(told[-6_000:], flush=True)
    return {"status": process.returncode, "timed_out": timed_out, "told": told[-20_000:]}


@part(5)
def ceilings():
    from ffcore.benchmarks import peaks

    return {kind: peaks(DEVICE, kind) for kind in ("bf16", "float32")}


@part(25)
def steps():
    """Seconds of a step, eager and as a graph, all rules in turn."""
    from ffcore.benchmarks import RULES, pace, products

    ceiling = RESULTS["parts"].get("ceilings", {}).get("result", {}).get("bf16", {}).get("operations")
    told = []
    for widths in (NARROW, WIDE):
        asked = [(rule, how) for rule in RULES if rule != "cwc" for how in ("eager", "graph")]
        trainers = [made(rule, widths, "off" if how == "eager" else "auto") for rule, how in asked]
        for (rule, how), trainer, seen in zip(asked, trainers, pace(trainers, 40, 5), strict=True):
            head_every, sizes = trainer.train.head_every, [784, *widths]
            needed = products(RULES[rule]["model"], sizes, 10, trainer.train.batch_size, head_every=head_every)
            row = {"rule": rule, "widths": widths, "how": how, **seen._asdict(), "operations": needed, "log": trainer.how}
            told.append({**row, "share_of_peak": ceiling and needed / ceiling / seen.seconds})
            say(f"{rule:24} {widths} {how:6} {seen.seconds * 1e6:8.1f} µs, host {seen.host * 1e6:7.1f} µs, {trainer.how}")
    return told


@part(12)
def trace():
    """Waits for the device within an epoch, and what its time goes to."""
    from ffcore.benchmarks import traced

    told = {}
    for rule in ("ff", "backprop"):
        for how in ("off", "auto"):
            told[f"{rule}, {how}"] = seen = traced(made(rule, compiled=how))
            say(rule, how, {k: v for k, v in seen.items() if k != "top"})
    for row in told["ff, auto"]["top"]:
        say(f"  {row['per_step']:6.1f} × {row['microseconds_per_step']:7.2f} µs  {row['name'][:90]}")
    return told


@part(20)
def races():
    """Seconds of training until an accuracy on the validation images, as graphs: the end of each of several lengths."""
    from ffcore.benchmarks import race

    told = []
    for rule in ("ff", "backprop", "mono_forward", "layer_collab", "cwc"):
        for epochs in (1, 2, 3) if rule == "cwc" else (2, 3, 4, 6, 9, 14):
            for seed in range(3):
                if left() < 10:
                    return told
                if not told or told[-1]["rule"] != rule:  # what only the first run of a rule takes
                    race(made(rule, epochs=1), only_last=True)
                energy = joules()
                (last,) = race(made(rule, seed=seed, epochs=epochs), only_last=True)
                after = joules()
                row = {"rule": rule, "seed": seed, **last}
                told.append({**row, "joules": after - energy if energy is not None else None})
            ended = [r for r in told if r["rule"] == rule and r["epoch"] == epochs]
            s, a = (statistics.median(r[k] for r in ended) for k in ("seconds", "accuracy"))
            say(f"{rule:14} {epochs:3} epochs: {s:6.3f} s, {a:.4f}")
    return told


def joules() -> float | None:
    """The card's own count of energy; None where it does not tell."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0)) / 1_000
    except Exception:  # whatever the driver lacks
        return None


@part(8)
def depth():
    """Most memory of a step at depth 8."""
    from ffcore.benchmarks import memory

    told = []
    for width, batch in ((500, 512), (2000, 512), (500, 8_192)):
        for rule in ("ff", "mono_forward", "backprop"):
            for how in ("off", "auto"):
                most = memory(partial(made, rule, [width] * 8, how, train_batch_size=batch), DEVICE)
                told.append({"rule": rule, "width": width, "batch": batch, "how": how, "bytes": most})
                say(told[-1])
    return told


@part(12)
def recorded():
    """Which models and strategies can be recorded, and why not."""
    from dataclasses import replace

    from ffcore.benchmarks import trainer_for
    from ffcore.models import MODELS
    from ffcore.negatives import STRATEGIES

    few = replace(mnist(), train=type(mnist().train)(*(part[:512] for part in mnist().train)))
    told = {}
    for name in MODELS:
        if MODELS[name].faithful:
            told[f"model {name}"] = ended(
                lambda name=name: trainer_for(few, DEVICE, epochs=2, model=name, set={"train.batch_size": 64})
            )
    for name in STRATEGIES:
        if STRATEGIES[name].faithful:
            told[f"negatives {name}"] = ended(
                lambda name=name: trainer_for(few, DEVICE, epochs=2, negatives=name, set={"train.batch_size": 64})
            )
    for name, how in told.items():
        say(f"{name:34} {how}")
    return told


def ended(make) -> str:
    try:
        trainer = make()
        for n in range(16):
            trainer.learn_from(trainer.order(n // 8, n % 8)[0])
        return trainer.how
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"


@part(45)
def fused():
    """What torch.compile adds, and takes at the start."""
    from ffcore.benchmarks import pace

    told = []
    for rule in ("ff", "backprop"):
        begun = time.perf_counter()
        trainer = made(rule, compiled="fuse")
        for chosen in trainer.order(0, 0)[:12]:
            trainer.learn_from(chosen)
        start = time.perf_counter() - begun
        pair = [trainer, made(rule)]
        for how, each, seen in zip(("fuse", "graph"), pair, pace(pair, 60, 5), strict=True):
            told.append({"rule": rule, "how": how, **seen._asdict(), "start": start, "log": each.how})
            say(f"{rule:18} {how:6} {seen.seconds * 1e6:8.1f} µs, {each.how}, {start:.1f} s at the start")
    return told


@part(120)
def presets():
    """Test accuracy of the presets whose figures are of a GPU: three random seeds, each asked once, in the end."""
    from presets import trained

    told = []
    for name, seed in itertools.product(("paper", "wide"), range(3)):
        told.append(trained(name, seed, DEVICE, None if DEVICE == "cuda" else 2_000))
        say(told[-1])
    return told


def main() -> None:
    only = set(sys.argv[2:])
    for name, seconds, work in PARTS:
        if only and name not in only:
            continue
        if left() < seconds:
            RESULTS["parts"][name] = {"left_out": f"{left():.0f} s left"}
            say(name, "is left out")
            continue
        say(name)
        begun = time.monotonic()
        try:
            told = {"result": work()}
        except Exception as error:
            traceback.print_exc()
            told = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()[-4_000:]}
        RESULTS["parts"][name] = {**told, "seconds": time.monotonic() - begun}
        write()
    say(
        {
            name: (f"{p['seconds']:.0f} s" if "seconds" in p else "left out") + (" FAILED" if "error" in p else "")
            for name, p in RESULTS["parts"].items()
        }
    )


if __name__ == "__main__":
    main()
