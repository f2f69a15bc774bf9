"""Test accuracy of presets on this machine's processor: `python bench/presets.py RESULTS.json PRESET …`.

Three random seeds at a time, one thread each; the test images are asked once, in the end. Rows of the same name in
RESULTS.json, as `ffcore bench --json` writes it, are replaced.
"""

import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from h100 import presets

from ffcore import data, readout
from ffcore.benchmarks import race, trainer_for
from ffcore.presets import PRESETS

SEEDS = 3


def trained(preset: str, seed: int, device: str = "cpu", few: int | None = None) -> dict:
    """One training from end to end, or for one epoch on `few` images, and its accuracy on the test images."""
    chosen = PRESETS[preset].settings
    asked = data.DataSettings(name=chosen.get("data.name", "mnist"), validation=chosen.get("data.validation"), train=few)
    images = data.load(asked, None, device)
    epochs = 1 if few else chosen["train.epochs"]
    trainer, begun = trainer_for(images, device, seed, epochs, preset=preset), time.perf_counter()
    race(trainer, only_last=True)
    right = readout.evaluate(trainer.model, images.test.x, images.test.y, trainer.train.precision).accuracy
    told = {"preset": preset, "seed": seed, "epochs": epochs, "widths": list(trainer.model.settings.widths)}
    return {**told, "accuracy": right[trainer.model.readouts[0]], "seconds": time.perf_counter() - begun}


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("give a file of results and presets: python bench/presets.py bench/results/cpu2.json fashion")
    file, names = Path(sys.argv[1]), [PRESETS[name].name for name in sys.argv[2:]]
    stored = json.loads(file.read_text("utf-8"))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(SEEDS, spawn, torch.set_num_threads, (1,)) as pool:
        ends = []
        for end in pool.map(trained, [n for n in names for _ in range(SEEDS)], [*range(SEEDS)] * len(names)):
            print(json.dumps(end), flush=True)
            ends.append(end)
    fresh = [{**line, "bench": "presets"} for line in presets({"presets": ends})]
    known = {line["name"] for line in fresh}
    stored["results"] = [line for line in stored["results"] if line["name"] not in known] + fresh
    file.write_text(json.dumps(stored) + "\n", "utf-8")


if __name__ == "__main__":
    main()
