"""From a dataset's name to tensors: where it lies, whether it is there, how it is split."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ffcore.data import own, public
from ffcore.data.sets import DATASETS, Data, Entry, Split, sizes
from ffcore.errors import Refused
from ffcore.registry import Settings

if TYPE_CHECKING:
    from numpy import ndarray

_TEST, _VALIDATION = 0.2, 0.1  # shares of a set that comes in one piece
_FEWEST = 10  # images per class, so that each of the three splits gets some


class DataSettings(Settings):
    """Which images a run sees."""

    name: str = Field("auto", description="a dataset's name, or a path to FILE.npz or to a FOLDER of class folders")
    validation: int | None = Field(
        None, ge=0, description="images held out of the training part; null: the set's own number, 0: none"
    )
    train: int | None = Field(None, ge=1, description="use only the first N training images, classes in proportion; null: all")
    standardise: bool = Field(
        False, description="subtract the training mean and divide by the training standard deviation, per channel"
    )
    size: int = Field(28, ge=4, le=256, description="own folders only: images are resized to size × size pixels")


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the public sets: the argument, else FFCORE_DATA, else a cache folder of the user."""
    given = root or os.environ.get("FFCORE_DATA")
    if given:
        return Path(given).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("ffcore") / "data"


def present(name: str, root: str | Path | None = None) -> bool:
    """Whether `load` needs no network: an embedded set, a public one that lies below the root, or an existing path."""
    if name == "auto":
        return True
    if own.is_path(name):
        return own.exists(name)
    return not public.missing(_entry(name), data_root(root))


def ensure(name: str, root: str | Path | None = None, progress: bool = True) -> str:
    """The name with `auto` resolved and a path made absolute; a public set that is absent is downloaded first.

    Raises Refused: unknown name, no such path, download failed.
    """
    if name == "auto":  # never on the network
        return "mnist" if present("mnist", root) else "mnist-5k"
    if own.is_path(name):
        return str(own.check_path(name))
    entry, root = _entry(name), data_root(root)
    if public.missing(entry, root):
        public.download(entry, root, progress)
    return name


def load(settings: DataSettings, root: str | Path | None = None, device: str = "cpu") -> Data:
    """The dataset, split and on `device`; the same settings and files always give the same splits in the same order.

    Raises Refused: as `ensure`, damaged files, too few images for what is asked.
    """
    import numpy as np

    name = ensure(settings.name, root)
    if settings.size != DataSettings().size and (name in DATASETS or not Path(name).is_dir()):
        raise Refused(f"data.size={settings.size}: only a folder of images is resized, not {name}; leave it out")
    entry, (x, y), test = _read(name, data_root(root), settings.size)

    order = _stratified_order(y)
    if test is None:
        cut = entry.sizes["test"]
        test, order = (x[order[:cut]], y[order[:cut]]), order[cut:]
    held_out = entry.sizes["validation"] if settings.validation is None else settings.validation
    left = len(order) - held_out
    if left < 1:
        raise Refused(
            f"data.validation={held_out}: {name} has {len(order)} images for training and validation together; "
            "set data.validation to less than that, 0 for none"
        )
    keep = left if settings.train is None else settings.train
    if keep > left:
        raise Refused(f"data.train={keep}: {name} has {left} images to train on; ask for at most that many")

    parts = [(x[part], y[part]) for part in (order[held_out : held_out + keep], order[:held_out])] + [test]
    parts = [(np.require(x, np.uint8, ["C", "W"]), y.astype(np.int64)) for x, y in parts]
    mean, std = _moments(parts[0][0])
    if settings.standardise and not all(std):
        raise Refused(f"data.standardise=true: {name} has a channel that is the same everywhere; leave standardise out")

    import torch

    return Data(
        name,
        entry.title,
        entry.classes,
        parts[0][0].shape[1:],
        *(Split(torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)) for x, y in parts),
        _hash(parts),
        entry.provenance,
        mean,
        std,
    )


def _entry(name: str) -> Entry:
    try:
        return DATASETS[name]
    except Refused as error:
        raise Refused(f"{error}; a FILE.npz or a FOLDER of class folders will do too") from None


def _read(name: str, root: Path, size: int):
    """The set's facts, its training part and its test part in numpy; test is None for a set that comes in one piece."""
    if own.is_path(name):
        (x, y), classes = own.read_arrays(name, size)
        _check_classes(name, y, classes)
        n, test, validation = len(y), round(_TEST * len(y)), round(_VALIDATION * len(y))
        entry = Entry(
            title=Path(name).name,
            about=f"{n:,} images",
            source="the user's own",
            licence="its owner's",
            classes=classes,
            shape=x.shape[1:],
            sizes=sizes(n - test - validation, validation, test),
        )
        return entry, (x, y), None
    entry = DATASETS[name]
    if entry.files:
        return entry, *public.read(entry, root)
    from ffcore.data import embedded

    return entry, *embedded.READERS[name]()


def _check_classes(name: str, y: ndarray, classes: tuple[str, ...]) -> None:
    import numpy as np

    if len(classes) < 2:
        raise Refused(f"{name} has a single class, '{classes[0]}'; training takes at least 2")
    counts = np.bincount(y, minlength=len(classes))
    if counts.min() < _FEWEST:
        least = int(counts.argmin())
        raise Refused(
            f"{name}: class '{classes[least]}' has {counts[least]} images; a split into training, validation and test "
            f"takes at least {_FEWEST} of each class"
        )


def _stratified_order(y: ndarray) -> ndarray:
    """A fixed shuffle, (N,) → (N,), of which every stretch holds the classes in proportion, give or take an image."""
    import numpy as np

    shuffled = np.random.default_rng(0).permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    counts = np.bincount(y)
    counts = counts[counts > 0]
    # image r of the n of its class sits at (r + ½) / n of the way; the shuffle decides between equals
    place = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
    return by_class[np.lexsort((np.argsort(shuffled)[by_class], place))]


def _moments(x: ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, in [0, 1] units, exact: from the counts of the 256 grey levels."""
    import numpy as np

    levels = np.arange(256) / 255
    mean, std = [], []
    for c in range(x.shape[1]):
        counts = sum(np.bincount(x[i : i + 4096, c].ravel(), minlength=256) for i in range(0, len(x), 4096))
        m = counts @ levels / counts.sum()
        mean.append(float(m))
        std.append(float(np.sqrt(counts @ (levels - m) ** 2 / counts.sum())))
    return tuple(mean), tuple(std)


def _hash(parts: list[tuple[ndarray, ndarray]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for x, y in parts:
        digest.update(repr(x.shape).encode())
        digest.update(y.astype("<i8", copy=False).data)
        digest.update(x.data)
    return digest.hexdigest()
