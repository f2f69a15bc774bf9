"""A run's validation images, also where its data set is not on this machine: those of the bundled checkpoints come with them.

They lie once per data set in `checkpoints/data/SET.npz`: x (n, C, H, W) uint8 and y (n,), the first n validation images; mean
(C, H, W), the mean training image. `index.json` beside them says for which data hashes, and how many of each. No torch here.
"""

from __future__ import annotations

import functools
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffcore import data, files
from ffcore.errors import Refused
from ffcore.rundir import Run, bundled_root

if TYPE_CHECKING:
    from numpy import ndarray

FOLDER = "data"  # beside the checkpoints


def held_out_here(run: Run) -> int:
    """How many of a run's first validation images are on this machine: all, those that come with ffcore, or none."""
    all_of_them = _kept(run)
    with suppress(Refused, OSError, ValueError, TypeError, KeyError):  # its configuration may name anything
        if data.present(run.config["data"]["name"], run.config.get("data_root")):
            return all_of_them
    return bundled_images(run)


def bundled_images(run: Run) -> int:
    """How many of a run's first validation images come with ffcore."""
    return min(_kept(run), _entry(run)[1])


def stored(run: Run, images: int | None = None) -> tuple[ndarray, ndarray] | None:
    """(x, y) of a run's first validation images as they come with ffcore, or None where they do not, or not so many.

    Raises Refused where the file is damaged.
    """
    name, most = _entry(run)
    wanted = _kept(run) if images is None else min(images, _kept(run))
    if not name or wanted > most:
        return None
    arrays = _arrays(name)
    return arrays["x"][:wanted], arrays["y"][:wanted].astype("int64")


def along(run: Run) -> ndarray | None:
    """All images that come with ffcore of a run's data set: its validation images, then, if it kept few, training images."""
    name, _ = _entry(run)
    return _arrays(name)["x"] if name else None


def mean_image(run: Run) -> ndarray | None:
    """The mean of a run's training images in [0, 1], (C, H, W) float32, as it comes with ffcore; None where it does not."""
    name, _ = _entry(run)
    one = _index()["sets"].get(name) if name else None
    return _arrays(name)["mean"] if one and one.get("mean_of") == run.config["facts"]["data_hash"] else None


def licence(run: Run) -> str:
    """On what terms the bundled images of a run's data set may be used; empty where there are none."""
    name, _ = _entry(run)
    return str(_index()["sets"][name].get("licence", "")) if name else ""


def digest(x: ndarray, y: ndarray) -> str:
    """What tells stored images from others."""
    return hashlib.blake2b(x.tobytes() + y.astype("uint8").tobytes(), digest_size=16).hexdigest()


def _kept(run: Run) -> int:
    """How many validation images a run kept."""
    n = ((run.config.get("facts") or {}).get("sizes") or {}).get("validation")
    return n if isinstance(n, int) and n > 0 else 0


def _index() -> dict[str, Any]:
    path = bundled_root() / FOLDER / "index.json"
    try:
        return _read(str(path), path.stat().st_mtime_ns)
    except OSError:
        return {"sets": {}, "hashes": {}}


@functools.lru_cache(maxsize=4)
def _read(path: str, _stamp: int) -> dict[str, Any]:
    told = files.read_json(Path(path))[0]
    return {key: told[key] if isinstance(told.get(key), dict) else {} for key in ("sets", "hashes")}


def _entry(run: Run) -> tuple[str, int]:
    """(name of the set, how many of its images are the run's own validation images), or ("", 0)."""
    index = _index()
    one = index["hashes"].get((run.config.get("facts") or {}).get("data_hash"))
    if not (isinstance(one, list) and len(one) == 2 and one[0] in index["sets"] and isinstance(one[1], int)):
        return "", 0
    return one[0], one[1]


def _arrays(name: str) -> dict[str, ndarray]:
    path = bundled_root() / FOLDER / f"{name}.npz"
    try:
        return _checked(str(path), path.stat().st_mtime_ns, _index()["sets"][name].get("digest"))
    except OSError:
        raise Refused(f"{path} is gone; install ffcore again") from None


@functools.lru_cache(maxsize=4)
def _checked(path: str, _stamp: int, wanted: str) -> dict[str, ndarray]:
    arrays = files.load_arrays(Path(path))[0]
    if digest(arrays["x"], arrays["y"]) != wanted:
        raise Refused(f"{path} holds other images than it should; install ffcore again")
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
