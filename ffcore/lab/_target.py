"""On which dataset a net is tried that has learnt on another."""

from typing import Any

from ffcore.data import DATASETS, present
from ffcore.errors import Refused
from ffcore.rundir import Run


def settle_target(settings: dict[str, Any], run: Run, kind: str) -> dict[str, Any]:
    """The settings with their target filled in. Raises Refused for one that does not fit the run's net."""
    shape = tuple(run.config["facts"]["shape"])
    target = settings["target"]
    if target in (None, "auto"):
        target = transfer_target(shape, run.config["data"]["name"])
    if target not in DATASETS:
        raise Refused(f"{kind}.target={target}: no such dataset; known: {', '.join(DATASETS)}")
    if tuple(DATASETS[target].shape) != shape:
        fits = [name for name in DATASETS if tuple(DATASETS[name].shape) == shape]
        raise Refused(
            f"{target} has images of shape {tuple(DATASETS[target].shape)}, the net of run {run.id} takes {shape}; "
            f"take {', '.join(fits) or 'data of that shape'}"
        )
    return {**settings, "target": target}


def transfer_target(shape: tuple[int, ...], source: str) -> str:
    """The dataset that shows transfer best of those that are here: Fashion-MNIST, else glyphs, else any of that shape."""
    fits = [name for name in DATASETS if tuple(DATASETS[name].shape) == shape and present(name)]
    order = [name for name in ("fashion-mnist", "glyphs", "mnist", "mnist-5k") if name in fits and name != source]
    if not order and not fits:
        raise Refused(f"no dataset here has images of shape {shape}; name one with --target")
    return (order or fits)[0]
