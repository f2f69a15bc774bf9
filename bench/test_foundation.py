"""`make bench`: what the foundation costs, measured here and now. Figures are printed and stored, never asserted.

Real MNIST where FFCORE_DATA has it, else the embedded 5,000 digits. Pairs run in turn, so that a drifting machine
changes both sides alike; the median of the ratios is told.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import pytest

import ffcore

DATA = "mnist" if ffcore.data.present("mnist") else "mnist-5k"
EPOCHS = 3 if DATA == "mnist" else 40


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "ffcore", "train", "--data", DATA, "--epochs", str(EPOCHS), "--json", *words]


def result(process: subprocess.Popen) -> dict:
    out, _ = process.communicate()
    return json.loads(out)


def start(*words: str) -> subprocess.Popen:
    return subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.timeout(900)
def test_telemetry(benchmark, tell):
    """Training seconds with live goodness and snapshots, over those without, validation on in both."""
    ratios = []

    def pair():
        on, off = (result(start("--no-test", "--set", f"train.telemetry={flag}")) for flag in ("true", "false"))
        ratios.append(on["train_seconds"] / off["train_seconds"])

    benchmark.pedantic(pair, rounds=5, warmup_rounds=1)
    tell("telemetry, training time on / off", statistics.median(ratios[1:]), "×", ratios[1:])


@pytest.mark.timeout(900)
def test_two_trainings_at_once(benchmark, tell):
    """Wall seconds of two trainings side by side over those of one alone."""
    ratios = []

    def pair():
        clock = time.perf_counter()
        result(start("--no-test"))
        alone = time.perf_counter() - clock
        clock = time.perf_counter()
        for process in [start("--no-test"), start("--no-test", "--seed", "1")]:
            result(process)
        ratios.append((time.perf_counter() - clock) / alone)

    benchmark.pedantic(pair, rounds=3)
    tell("two trainings at once / one", statistics.median(ratios), "×", ratios)


@pytest.mark.timeout(900)
def test_resume_against_a_fresh_run(benchmark, tell):
    """Wall seconds to finish a run killed half-way, over those of the whole run."""
    ratios = []

    def pair():
        clock = time.perf_counter()
        whole = result(start("--no-test"))
        fresh = time.perf_counter() - clock
        process = start("--no-test", "--run-dir", os.environ["FFCORE_RUNS"] + f"/killed-{len(ratios)}")
        time.sleep(fresh - whole["train_seconds"] / 2)
        process.kill()
        process.communicate()
        clock = time.perf_counter()
        ffcore.resume(os.environ["FFCORE_RUNS"] + f"/killed-{len(ratios)}")
        ratios.append((time.perf_counter() - clock) / fresh)

    benchmark.pedantic(pair, rounds=3)
    tell("resume after kill −9 half-way / fresh run", statistics.median(ratios), "×", ratios)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", ["ff", "backprop"])
def test_accuracy_and_time_with_the_defaults(benchmark, tell, model):
    """Three random seeds with the default settings: the figures of the README."""
    runs = []

    def one():
        words = [sys.executable, "-m", "ffcore", "train", "--data", DATA, "--model", model, "--json"]
        words += ["--seed", str(len(runs))]
        runs.append(result(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)))

    benchmark.pedantic(one, rounds=3)
    for key, unit in (("test_accuracy", "of 1"), ("train_seconds", "s"), ("seconds", "s, whole process")):
        values = [run[key] for run in runs]
        tell(f"{model} on {DATA}, {key}", statistics.mean(values), unit, values)
