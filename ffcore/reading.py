"""What a net reads in one image: goodness per label and layer, scores, the answer, and how sure digits usually make it."""

from pathlib import Path
from typing import Any

import numpy as np

from ffcore import trained
from ffcore.data import own, strokes
from ffcore.errors import Refused
from ffcore.runs import Run
from ffcore.trained import Trained


def read(
    run: Run | str,
    image: Any = None,
    *,
    sample: int | None = None,
    drawing: str | None = None,
    ink: bool = False,
    invert: bool = False,
    root: str | None = None,
    **change: int,
) -> dict[str, Any]:
    """What a run's net makes of one image: the object that `ffcore read --json` prints.

    The image is a file or an array (C, H, W) uint8; or `sample`, the number of one of the run's test images, from 1; or
    `drawing`, what stands in a drawing's link. `ink`: the file is a drawing, to be placed as the run's own images are.
    `invert`: light and dark change places, as for dark ink on light paper.
    `change`: x, y, turn, scale, noise, cover and seed, as in `ffcore.data.strokes.Change`. Raises Refused for a bad one.

    label: the answer by the default read-out; scores: read-out → C; goodness: C × L, or None for a net that tries no labels;
    votes: the layers whose goodness counts, from 1; threshold: θ, where the objective has one; best, lead: the answer's score
    and by how much it leads; usual: read-out → the same two, which 99% of the validation images reach, or None of an older
    run; odd: the read-outs whose best score lies below that; torn: is the lead?
    """
    net = trained.load(run, root) if isinstance(run, str) else run if isinstance(run, Trained) else Trained(run.dir)
    shape = tuple(net.config["facts"]["shape"])
    pixels = _pixels(net, shape, image, sample, drawing, ink)
    pixels = strokes.changed(255 - pixels if invert else pixels, _change(change))
    told = net.goodness(pixels[None]) if net.model.tries_labels else None
    scores = {name: values[0].tolist() for name, values in net.scores(pixels[None], told).items()}
    readout, config, classes = net.model.readouts[0], net.config["model"], [str(c) for c in net.config["facts"]["classes"]]
    second, best = sorted(scores[readout])[-2:]
    label = int(np.argmax(scores[readout]))
    goodness = None if told is None else told[0].tolist()
    usual = _usual(net, list(scores))
    depth = len(goodness[0]) if goodness else 0
    votes = getattr(net.model, "votes", range(depth))
    return {
        "run": net.id,
        "label": label,
        "class": classes[label],
        "classes": classes,
        "readout": readout,
        "scores": scores,
        "goodness": goodness,
        "votes": [v + 1 for v in votes] if goodness else [],
        "threshold": config["theta"] if config.get("objective") == "threshold" and goodness else None,
        "best": best,
        "lead": best - second,
        "usual": usual,
        "odd": [name for name, told in (usual or {}).items() if max(scores[name]) < told["best"]],
        "torn": usual is not None and best - second < usual[readout]["lead"],
    }


def _usual(run: Run, readouts: list[str]) -> dict[str, dict[str, float]] | None:
    """What 99% of the validation images reach, as the run's result says; None of an older or edited one."""
    try:
        told = run.status()["result"]["usual"]
        return {name: {key: float(told[name][key]) for key in ("best", "lead")} for name in readouts}
    except (KeyError, TypeError, ValueError):
        return None


def _change(asked: dict[str, int]) -> strokes.Change:
    if odd := asked.keys() - set(strokes.Change._fields):
        raise Refused(f"nothing called '{min(odd)}' can be done to an image; there is {', '.join(strokes.Change._fields)}")
    if odd := [name for name, value in asked.items() if type(value) is not int]:
        raise Refused(f"{odd[0]} is {asked[odd[0]]!r}; give a whole number")
    return strokes.Change(**asked)


def _pixels(
    net: Run, shape: tuple[int, int, int], image: Any, sample: int | None, drawing: str | None, ink: bool
) -> np.ndarray:
    """The image that is meant, (C, H, W) uint8 as the net takes it."""
    if sum(given is not None for given in (image, sample, drawing)) != 1:
        raise Refused("name one image: a file, one of the run's test images (sample), or a drawing out of a link")
    if sample is not None:
        samples = net.samples()
        if samples is None:
            raise Refused(f"run {net.id} has stored no test images; give a file")
        if not 1 <= sample <= len(samples["images"]):
            raise Refused(f"run {net.id} has no test image {sample}; choose from 1 to {len(samples['images'])}")
        return samples["images"][sample - 1]
    if drawing is not None:
        return strokes.suited(strokes.from_text(drawing), shape, _by_mass(net))
    if isinstance(image, str | Path | bytes) or hasattr(image, "read"):
        return own.read_image(image, shape, _by_mass(net) if ink else None)[0].numpy()
    image = np.ascontiguousarray(image)  # torch takes no view that runs backwards
    if image.ndim != 3 or image.dtype != np.uint8:
        raise Refused(f"an image of shape {image.shape} and type {image.dtype}; give (C, H, W) uint8")
    return strokes.taken(image, shape)


def _by_mass(run: Run) -> bool:
    """Do its test images stand as MNIST's do? Where it has stored none, it is taken to."""
    samples = run.samples()
    return samples is None or strokes.are_centred(samples["images"])
