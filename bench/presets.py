"""Test accuracy of presets on this machine's processor: `python bench/presets.py RESULTS.json PRESET …`.

Three random seeds, each on a core of its own; the test images are asked once, in the end. Rows of the same name in
RESULTS.json, as `ffcore bench --json` writes it, are replaced.
"""

import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from ffcore import data, readout
from ffcore.benchmarks import race, row, trainer_for
from ffcore.presets import PRESETS

SEEDS = 3


def trained(preset: str, seed: int, device: str = "cpu", few: int | None = None) -> dict:
    """One training from end to end, or for one epoch on `few` images, and its accuracy on the test images."""
    chosen = PRESETS[preset].settings
    asked = data.DataSettings(name=chosen.get("data.name", "mnist"), validation=chosen["data.validation"], train=few)
    images = data.load(asked, None, device)
    epochs = 1 if few else chosen["train.epochs"]
    trainer, begun = trainer_for(images, device, seed, epochs, preset=preset), time.perf_counter()
    race(trainer, only_last=True)
    right = readout.evaluate(trainer.model, images.test.x, images.test.y, trainer.train.precision).accuracy
    told = {"preset": preset, "seed": seed, "epochs": epochs, "widths": list(trainer.model.settings.widths)}
    return {**told, "accuracy": right[trainer.model.readouts[0]], "seconds": time.perf_counter() - begun}


def rows(told: Iterable[dict]) -> Iterator[dict]:
    """A row for each preset that `trained` told of: the mean over random seeds."""
    told = list(told)
    for name in dict.fromkeys(end["preset"] for end in told):
        ends = [end for end in told if end["preset"] == name]
        widths, right = "-".join(map(str, ends[0]["widths"])), [end["accuracy"] for end in ends]
        line = row(f"test accuracy, {name} ({widths}, {ends[0]['epochs']} epochs)", right, "of 1, test")
        yield {**line, "value": statistics.mean(right), "bench": "presets"}


def main() -> None:
    file, names = Path(sys.argv[1]), sys.argv[2:]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn, torch.set_num_threads, (1,)) as pool:
        ends = []
        for end in pool.map(trained, [n for n in names for _ in range(SEEDS)], [*range(SEEDS)] * len(names)):
            print(json.dumps(end), flush=True)
            ends.append(end)
    stored, fresh = json.loads(file.read_text("utf-8")), list(rows(ends))
    known = {line["name"] for line in fresh}
    stored["results"] = [line for line in stored["results"] if line["name"] not in known] + fresh
    file.write_text(json.dumps(stored) + "\n", "utf-8")


if __name__ == "__main__":
    main()
