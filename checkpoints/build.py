"""Make the bundled checkpoints and the bundled study again: `python checkpoints/build.py [NAME …]` (or `make checkpoints`).

Each is an ordinary finished run, trained by the same function as `ffcore train`, then made small: weights in float16,
no log, no lock. Its accuracy is measured again with the small weights, and that figure is the one it carries.
"""

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import ffcore
from ffcore.runs import Run

HERE = Path(__file__).parent
CHECKPOINTS = {
    "ff-mnist": {"data": "mnist", "seed": 0},
}
KEPT = ("config.json", "status.json", "events.jsonl", "samples.npz", "evaluation.npz", "weights.safetensors", "snapshots")


def build(name: str) -> None:
    """Train one checkpoint and put it in place of the old one."""
    from safetensors.torch import load_file, save_file

    with tempfile.TemporaryDirectory() as folder:
        run = ffcore.train(lambda *_: print(".", end="", flush=True), folder, **CHECKPOINTS[name])
        before = ffcore.summary(run)["test_accuracy"]
        weights = run.dir / "weights.safetensors"
        save_file({key: value.half() for key, value in load_file(weights).items()}, weights)
        weights.chmod(0o644)
        told = ffcore.evaluate(Run(run.dir))
        status = run.stored_status()
        result = status["result"] | {"test_accuracy": told["test_accuracy"]}
        for readout, right in result["readouts"].items():
            right["test"] = told["readouts"][readout]["test"]
        run.write_status(result=result, pid=None)
        place = HERE / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for part in KEPT:
            source = run.dir / part
            if source.is_dir():
                shutil.copytree(source, place / part, ignore=shutil.ignore_patterns("weights-*"))  # past nets are large
            else:
                shutil.copy(source, place / part)
    size = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
    print(f"\n{name}: test accuracy {before:.4f}, with small weights {told['test_accuracy']:.4f}; {size / 1e6:.2f} MB")


FAST = ["ff, gap", "ff, threshold", "ff, label-free (random_noise)", "mono_forward", "layer_collab", "hybrid", "backprop"]
TRANSFER = partial(ffcore.study_transfer, data="mnist", target="fashion-mnist")
STUDIES = {  # half an hour each
    "negatives-mnist": partial(ffcore.study_negatives, data="mnist"),
    "transfer-mnist": partial(TRANSFER, epochs=3, nets=FAST),
    "transfer-mnist-cwc": partial(TRANSFER, epochs=2, nets=["cwc"], set={"data.train": 20_000}),
}


def study(name: str) -> None:
    """Make a study again on MNIST, and put its table in place of the old one."""
    with tempfile.TemporaryDirectory() as folder:
        told = STUDIES[name](3, lambda *_: print(".", end="", flush=True), folder)
        (HERE / "studies").mkdir(exist_ok=True)
        shutil.copy(told["file"], HERE / "studies" / f"{name}.json")
    print(f"\n{name}: {len(told['rows'])} rows")


BUILDS = {name: partial(build, name) for name in CHECKPOINTS} | {name: partial(study, name) for name in STUDIES}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or BUILDS:
        BUILDS[wanted]()
