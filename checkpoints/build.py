"""The bundled checkpoints and studies: made, made again, and checked.

`python checkpoints/build.py [NAME …]` (or `make checkpoints`) trains them by the same function as `ffcore train`, makes them
small (weights in float16, no log, no weights of earlier epochs), measures their accuracy again with the small weights, asks
them what the Explore and Analyse pages ask by default, and writes their cards. With `--raw FOLDER` the full runs stay there,
and are not trained again while they lie there. What has not changed is left as it is, so that there is nothing to commit.

`python checkpoints/build.py --check [NAME …]` (or `make check-checkpoints`) measures every figure of a card again, on the
test images, and ends with 1 if one does not hold.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ffcore
from ffcore import analyses, cards, data, files, heldout, telemetry
from ffcore.lab.generate import NO_SLOPE
from ffcore.runs import Run

HERE = Path(__file__).parent
MNIST = {"data": "mnist", "seed": 0}
SMALL = {"model.widths": [250, 250]}  # where a net has more weights than its layers take
TICKS = 48  # of a run's curves, which have some 400
CHECKPOINTS = {  # the first one is what pages show by themselves: it is trained last, and so is the newest
    "ff-mnist": MNIST,
    "backprop-mnist": {**MNIST, "model": "backprop"},
    "untrained-mnist": {**MNIST, "model": "untrained"},
    "ff-threshold-mnist": {**MNIST, "set": {"model.objective": "threshold"}},
    "ff-fashion": {**MNIST, "data": "fashion-mnist"},
    "layer_collab-mnist": {**MNIST, "model": "layer_collab"},
    "three_factor-mnist": {**MNIST, "model": "three_factor"},
    "pcl-mnist": {**MNIST, "model": "pcl", "set": SMALL},
    "ref-pcl-mnist": {**MNIST, "preset": "ref-pcl", "set": SMALL},
    "prospective-mnist": {**MNIST, "model": "prospective"},
    "pff-mnist": {**MNIST, "model": "pff", "set": SMALL},
    "dendritic-mnist": {**MNIST, "model": "dendritic"},
    "cwc-mnist": {**MNIST, "model": "cwc", "epochs": 4, "set": {"data.train": 20_000}},
}
PROBED_WHOLLY = ("ff-mnist", "pcl-mnist")  # by all images of the target, a minute's work; the others by some, in seconds
KEPT = ("config.json", "status.json", "events.jsonl", "samples.npz", "evaluation.npz", "weights.safetensors", "snapshots")
HELD_OUT = {"mnist": 5_000, "fashion-mnist": 2_000}  # validation images that come along, once per data set
HOLDS = 0.001  # a figure may move by so much: 0.1 points


# One checkpoint


def train(name: str, raw: Path) -> Run:
    """The full run of a checkpoint, trained now unless it lies there finished."""
    place = raw / name
    if (run := Run(place)).state == "done":
        return run
    shutil.rmtree(place, ignore_errors=True)
    return Run(ffcore.train(lambda *_: print(".", end="", flush=True), str(raw), str(place), **CHECKPOINTS[name]).dir)


def shrink(full: Run, place: Path) -> Run:
    """A run's small version: half precision, accuracies of these weights, and nothing of this machine."""
    from safetensors.torch import load_file, save_file

    from ffcore import readout

    place.mkdir(parents=True)
    for part in KEPT:
        if (source := full.dir / part).is_dir():
            for epoch in thinned(full.snapshots()):
                Run(place).write_snapshot(epoch, {key: coarse(key, value) for key, value in full.snapshot(epoch).items()})
        elif source.exists():
            shutil.copy(source, place / part)
    (place / "events.jsonl").write_bytes(b"".join(thinned_events(full.events()[0])))
    weights = load_file(full.dir / "weights.safetensors")
    small = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    save_file(small, place / "weights.safetensors")
    (place / "weights.safetensors").chmod(0o644)
    run = ffcore.Trained(place)
    loaded = full_data(full)
    told = [readout.evaluate(run.model, *split, run.config["train"]["precision"]) for split in (loaded.validation, loaded.test)]
    run.write_arrays("evaluation.npz", told[1].arrays(*loaded.test))
    status = run.stored_status()
    result = status["result"] | {
        "readouts": {key: {"validation": told[0].accuracy[key], "test": told[1].accuracy[key]} for key in told[0].accuracy},
        "layers": [{"layer": i, "validation_accuracy": right} for i, right in enumerate(told[0].layers, 1)],
        "usual": told[0].usual,
    }
    result |= {f"{split}_accuracy": result["readouts"][result["readout"]][split] for split in ("validation", "test")}
    run.write_status(result=result, pid=None, heartbeat=None, queued_at=None, test_touches=2)  # in full and in half precision
    facts = run.config["facts"] | {"provenance": loaded.provenance}
    run.write_config(data_root=None, facts=facts)
    return Run(place)


def thinned(epochs: list[int]) -> list[int]:
    """All of the first twelve epochs, every eighth one of the others, and the last."""
    return [epoch for epoch in epochs if epoch <= 12 or epoch % 8 == 0 or epoch == epochs[-1]]


def thinned_events(events: list[dict]) -> list[bytes]:
    """All events as lines, but only some of the ticks, evenly spread, and numbers to six digits."""
    ticks = [i for i, event in enumerate(events) if event["event"] == "tick"]
    kept = {ticks[round(i * (len(ticks) - 1) / (TICKS - 1))] for i in range(TICKS)} if len(ticks) > TICKS else set(ticks)
    chosen = [event for i, event in enumerate(events) if event["event"] != "tick" or i in kept]
    return [files.to_json({**rounded(event), "time": round(event["time"], 1)}, indent=None) + b"\n" for event in chosen]


def rounded(value):
    """JSON with its numbers to six digits."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def coarse(name: str, values):
    """An array with fewer digits, so that it packs: of pictures an eye sees no more than three bits, of others no more than
    half precision tells."""
    import numpy as np

    if name == "fields":
        return ((values.astype(np.float16).view(np.uint16) + 0x40) & 0xFF80).view(np.float16)
    if values.dtype == np.float32:
        return ((values.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)
    return values


def full_data(run: Run) -> data.Data:
    """The data set of a run, all of it. Raises Refused where it is not what it was trained on."""
    return ffcore.Trained(run.dir).data()


def same(one: Run, other: Run) -> bool:
    """Do two small versions agree in all but the time that they took?"""

    def essence(run: Run) -> list:
        result = {key: value for key, value in (run.stored_status().get("result") or {}).items() if key != "peak_memory"}
        ours = {key: value for key, value in run.config.items() if key not in ("id", "created", "given")}
        snapshots = [(run.dir / "snapshots" / f"epoch-{epoch:04d}.npz").read_bytes() for epoch in run.snapshots()]
        return [result, ours, (run.dir / "weights.safetensors").read_bytes(), snapshots, sorted(run.evaluation() or {})]

    return not one.problem and not other.problem and essence(one) == essence(other)


def settle(small: Run, place: Path) -> None:
    """Put a small version in the place of the old one, which stays if it is the same and took no longer: of equal trainings,
    the slower one had company. The name and day of the first making stay."""
    old = Run(place)
    if not old.problem:
        if same(old, small) and old.status()["train_seconds"] <= small.status()["train_seconds"]:
            return
        small.write_config(**{key: old.config[key] for key in ("id", "created")})
    place.mkdir(exist_ok=True)
    for part in KEPT:
        if (place / part).is_dir():
            (place / part).rename(small.dir / f"old {part}")  # goes with what is left of the small version
        (small.dir / part).replace(place / part)


# The images that come along


def put_images() -> None:
    """The first validation images of every data set, and which runs they belong to."""
    import torch

    folder, index = HERE / heldout.FOLDER, {"sets": {}, "hashes": {}}
    folder.mkdir(exist_ok=True)
    for name, n in HELD_OUT.items():
        loaded = data.load(data.DataSettings(name=name))
        x, y = loaded.validation.x[:n].numpy(), loaded.validation.y[:n].numpy().astype("uint8")
        mean = (loaded.train.x.double().mean(0) / 255).float().numpy()
        Run(folder).write_arrays(f"{name}.npz", {"x": x, "y": y, "mean": mean})
        entry = data.DATASETS[name]
        index["sets"][name] = {
            "images": n, "digest": heldout.digest(x, y), "mean_of": loaded.hash, "source": entry.source,
            "licence": entry.licence,
        }  # fmt: skip
        index["hashes"][loaded.hash] = [name, n]
        for run in bundled():
            if run.config["data"]["name"] == name and run.config["facts"]["data_hash"] != loaded.hash:
                own = full_data(run)  # other sizes, but the same order
                joined = torch.cat([own.validation.x, own.train.x])[:n]
                assert (joined.numpy() == x[: len(joined)]).all(), run.id
                index["hashes"][run.config["facts"]["data_hash"]] = [name, min(n, len(own.validation.y))]
    files.replace(folder, "index.json", files.to_json(index), durable=False)


def bundled() -> list[Run]:
    """The checkpoints that lie here, in the order of the list."""
    return [Run(HERE / name) for name in CHECKPOINTS if (HERE / name / "config.json").exists()]


# What pages ask by default


def questions(name: str) -> list[tuple[str, list[str], dict]]:
    """(kind, other checkpoints, settings) of what is to be answered before anybody asks."""
    run = Run(HERE / name)
    learnt, mnist, goodness = name != "untrained-mnist", name.endswith("-mnist"), _by_goodness(run)
    classes, n = len(run.config["facts"]["classes"]), min(5_000, heldout.bundled_images(run))  # what the page has without data
    asked: list[tuple[str, list[str], dict]] = [
        ("health", [], {}),
        ("embed", [], {"layer": "all", "method": "pca", "frames": "one", "n": n}),
        ("similarity", [], {}),
    ]
    climb = {"what": "ascent", "n": classes, "seed": 0, "of": "goodness" if goodness else "score", "aim": "contrast",
             "start": "noise", **({"layer": "each"} if goodness else {})}  # fmt: skip
    if run.config["model"]["name"] not in NO_SLOPE:
        asked.append(("generate", [], climb))
    if name == "pff-mnist":
        asked += [
            ("generate", [_judge()], {"what": "samples", "n": 1_000, "seed": 0}),
            ("generate", [], {"what": "steps", "n": 100}),
            ("generate", [], {"what": "interpolation", "first": 1, "second": 2}),
            ("generate", [], {"what": "epochs", "n": 12 * classes, "seed": 0}),
        ]
    if name in ("ff-mnist", "backprop-mnist", "ff-fashion"):
        asked.append(("embed", [], {"layer": "all", "method": "tsne", "frames": "one", "n": n}))
    if name == "ff-mnist":
        asked.append(("embed", [], {"layer": "all", "method": "umap", "frames": "one", "n": n}))
        asked.append(("embed", [], {"layer": "all", "method": "pca", "frames": "kept", "n": n}))
    if mnist and name != "backprop-mnist":
        asked.append(("similarity", ["backprop-mnist"], {}))
    target = "fashion-mnist" if mnist else "glyphs"
    if learnt and not name.startswith("ref-"):
        few = {} if name in PROBED_WHOLLY else {"train": 10_000}
        asked += [("probe", [], {"target": target, "protocol": protocol, **few}) for protocol in ("converged", "reference")]
    return asked


def _by_goodness(run: Run) -> bool:
    return (run.status()["result"] or {}).get("readout") == "goodness"


def _judge() -> str:
    """The net that reads PFF's samples: of those for the same images, the best on validation images."""
    able = [r for r in bundled() if r.id.endswith("-mnist") and r.id != "pff-mnist"]
    return max(able, key=lambda r: r.status()["result"]["validation_accuracy"]).id


def answer(name: str, raw: Path, root: Path, kinds: list[str] | None = None) -> None:
    """Put the answers to a checkpoint's questions beside it; those that lie there stay, those to other questions go."""
    run, valid = Run(HERE / name), set()
    for kind, others, settings in questions(name):
        refs = [run, *(Run(HERE / other) for other in others)]
        if any(r.problem for r in refs):
            continue
        finding = ffcore.find_analysis(kind, *refs, root=str(root), **settings)
        target = run.dir / "analyses" / finding.dir.name
        valid.add(target.name)
        if (target / "result.json").exists() or (kinds and kind not in kinds):
            continue
        with earlier_epochs(run, raw / name, settings):
            ffcore.analyse(kind, *refs, root=str(root), **settings)
        adopt(finding, target, run)
        print(f"{name}: {kind} {settings} {others}: {size(target) / 1e3:.0f} kB", flush=True)
    if kinds is None:
        for left in (run.dir / "analyses").glob("*"):
            if left.name not in valid:
                shutil.rmtree(left)


@contextmanager
def earlier_epochs(run: Run, full: Path, settings: dict) -> Iterator[None]:
    """Within the block a checkpoint has the weights of earlier epochs, where a question is about them."""
    wanted = settings.get("frames") == "kept" or settings.get("what") == "epochs"
    lent = [Path(shutil.copy(source, run.dir / "snapshots")) for source in (full / "snapshots").glob("weights-*") if wanted]
    try:
        yield
    finally:
        for path in lent:
            path.unlink()


def adopt(finding: ffcore.Finding, target: Path, run: Run) -> None:
    """Put a finding beside its checkpoint: without this machine's paths, in half precision, without images that lie there."""
    import numpy as np

    told, arrays, left_out = dict(finding.result() or {}), finding.arrays(), {}
    if "images" in arrays and "index" in arrays and len(arrays["images"]) == len(arrays["index"]):
        along, index = heldout.along(run), arrays["index"]
        if along is not None and index.max() < len(along) and np.array_equal(along[index], arrays["images"]):
            left_out["images"] = "held out"
    if "fields" in arrays and (tensor := tensor_of(run, arrays["fields"])):
        left_out["fields"] = tensor
    small = {key: value for key, value in arrays.items() if key not in left_out}
    for key, value in small.items():
        if value.dtype.kind == "f" and not key.startswith("gradient") and not (np.abs(value) > 6e4).any():  # halves know less
            small[key] = value.astype("float16")
    request = {key: value for key, value in finding.request.items() if key not in ("root", "data_root")} | {"runs": []}
    told = {**told, "left_out": left_out} if arrays else told
    assert not any(str(place) in json.dumps([request, told]) for place in (HERE, Path.home(), Path(tempfile.gettempdir())))
    target.mkdir(parents=True, exist_ok=True)
    if small:
        Run(target).write_arrays("arrays.npz", small)
    files.replace(target, "request.json", files.to_json(request), durable=False)
    files.replace(target, "result.json", files.to_json(told, indent=None), durable=False)


def tensor_of(run: Run, fields) -> str | None:
    """The tensor of a run's weights that pictures (n, H, W) are made of."""
    from safetensors import safe_open

    with safe_open(run.dir / "weights.safetensors", "np") as weights:
        shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    pixels = math.prod(run.config["facts"]["shape"])
    able = [name for name, shape in shapes.items() if shape == [len(fields), pixels]]
    return next((name for name in able if (analyses.fields_of(run, name) == fields).all()), None)


def size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


# Cards, and whether they hold


def write_cards() -> None:
    """README.md of every checkpoint, and the list of all in docs/zoo.md."""
    for run in bundled():
        write(run.dir / "README.md", cards.card(run))
    if (docs := HERE.parent / "docs").is_dir():
        write(docs / "zoo.md", cards.zoo_page())


def write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def check(name: str, images: int | None = None) -> list[tuple[str, float, float, bool]]:
    """[(figure, what the card says, what it is now, does it hold?)] of a checkpoint: on all validation and test images, or,
    without the data set, on so many of the validation images, which come along."""
    from ffcore import neurons, readout

    run = ffcore.Trained(HERE / name)
    result, rows = run.status()["result"], []
    loaded = None if images else run.data()
    splits = {"validation": run.held_out(images)} if images else {"validation": loaded.validation, "test": loaded.test}
    for split, (x, y) in splits.items():
        told = readout.evaluate(run.model, x, y, run.config["train"]["precision"])
        for key, now in told.accuracy.items():
            said = result["readouts"][key][split]
            part = len(y) < run.config["facts"]["sizes"][split]  # then its own chance counts: three standard errors
            chance = 3 * (said * (1 - said) / len(y)) ** 0.5 if part else 0.0
            rows.append((f"{split} accuracy by {key}", said, now, HOLDS + chance))
    x, y = run.held_out(telemetry.PROBE)
    seen = neurons.observe(run.model, x.float() / 255, y)
    for layer, ((h, _), said) in enumerate(zip(seen, cards.dead_units(run), strict=True), 1):
        rows.append((f"dead units of layer {layer}", said, len(neurons.dead(h)) / h.shape[1], 0.01))
    return [(figure, said, now, abs(said - now) <= slack) for figure, said, now, slack in rows]


def report(names: list[str]) -> int:
    """Print whether every figure holds; the exit code."""
    wrong = 0
    for name in names:
        for figure, said, now, holds in check(name):
            wrong += not holds
            print(f"{'holds' if holds else 'DIFFERS'}: {name}, {figure}: {100 * said:.2f}% on the card, {100 * now:.2f}% now")
        if (HERE / name / "README.md").read_text(encoding="utf-8") != cards.card(Run(HERE / name)):
            wrong += 1
            print(f"DIFFERS: {name}/README.md is not what its files say; make it again")
    print(f"{wrong} figures do not hold" if wrong else "every figure holds")
    return min(wrong, 1)


# Studies


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


def build(names: list[str], raw: Path, root: Path, kinds: list[str] | None) -> None:
    """Train and put in place, then ask: some questions are about two checkpoints."""
    for name in reversed(names):
        full = train(name, raw)
        with tempfile.TemporaryDirectory(dir=HERE) as folder:
            settle(shrink(full, Path(folder) / name), HERE / name)
        before, now = (ffcore.summary(run)["validation_accuracy"] for run in (full, Run(HERE / name)))
        print(f"\n{name}: validation accuracy {before:.4f}, with small weights {now:.4f}", flush=True)
    put_images()
    for name in names:
        answer(name, raw, root, kinds)
    write_cards()
    for name in names:
        print(f"{name}: {size(HERE / name) / 1e6:.2f} MB")
    print(f"all together: {size(HERE) / 1e6:.2f} MB")


def main(words: list[str] | None = None) -> int:
    """Do what a command line asks for; the exit code."""
    known = [*CHECKPOINTS, *STUDIES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(known)}; all by default")
    parser.add_argument("--check", action="store_true", help="do the figures of the cards hold?")
    parser.add_argument("--raw", type=Path, help="a folder that keeps the full runs, and gives those that it has")
    parser.add_argument("--kinds", nargs="*", help="answer questions of these kinds only, and make no study again")
    asked = parser.parse_args(words)
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"no checkpoint or study '{unknown[0]}'; there is {', '.join(known)}")
    chosen = [name for name in CHECKPOINTS if name in (asked.names or known)]
    if not chosen and (asked.check or asked.kinds):
        parser.error(f"'{asked.names[0]}' is a study; --check and --kinds take checkpoints: {', '.join(CHECKPOINTS)}")
    if asked.check:
        return report(chosen)
    with tempfile.TemporaryDirectory() as made:
        kept = (asked.raw or Path(made)).absolute()
        if chosen:
            build(chosen, kept, kept / "asked", asked.kinds)
    for name in STUDIES:
        if name in (asked.names or known) and not asked.kinds:
            study(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
