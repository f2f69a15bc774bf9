"""The public sets, in torchvision's folder layout; files that lie there are read as they are and never replaced."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import tempfile
from pathlib import Path

from ffcore.data.sets import Entry
from ffcore.errors import Refused
from ffcore.files import door

_TIMEOUT = 30.0  # seconds without an answer
_IDX = "-ubyte"


def locate(root: Path, file: str) -> Path | None:
    """Where one of a set's files lies below the root, an IDX file plain or as .gz; None when it is absent."""
    choices = (file, f"{file}.gz") if file.endswith(_IDX) else (file,)
    return next((root / choice for choice in choices if (root / choice).is_file()), None)


def missing(entry: Entry, root: Path) -> list[str]:
    """Those of the set's files that are absent; empty for an embedded set."""
    return [file for file in entry.files if locate(root, file) is None]


def read(entry: Entry, root: Path):
    """((x, y) of training, (x, y) of test), x (N, C, H, W) uint8, y from 0; raises Refused for damaged files."""
    if not entry.files[0].endswith(_IDX):
        return _read_by_torchvision(entry, root)
    from ffcore.data.idx import read_pair

    train_x, train_y, test_x, test_y = (locate(root, file) for file in entry.files)
    pairs = [
        read_pair(x, y, entry.shape[1:], entry.first_label, len(entry.classes))
        for x, y in ((train_x, train_y), (test_x, test_y))
    ]
    if entry.name == "emnist-letters":  # its files hold every letter on its side, mirrored
        pairs = [(x.swapaxes(2, 3), y) for x, y in pairs]
    return pairs


@door("download data")
def download(entry: Entry, root: Path, progress: bool = True) -> None:
    """Fetch what is missing of the set, with torchvision's checksums; what lies there already stays. Raises Refused."""
    absent = missing(entry, root)
    created = [folder for folder in (root, *root.parents) if not folder.exists()]
    before = socket.getdefaulttimeout()
    screen = contextlib.redirect_stderr(sys.stderr if progress else io.StringIO())
    try:
        socket.setdefaulttimeout(_TIMEOUT)  # torchvision sets none and would wait for ever
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch, screen:
            print(f"downloading {entry.title} to {root}", file=sys.stderr)
            with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to --json
                for train in (True, False):
                    _by_torchvision(entry, Path(scratch), train, download=True)
            for file in missing(entry, root):
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (Path(scratch) / file).rename(root / file)
    except Exception as error:  # no network, no torchvision, wrong checksum, disk full, broken archive: all the same
        for folder in created:
            with contextlib.suppress(OSError):
                folder.rmdir()
        # torchvision lists every mirror it tried; the last line says what the last one answered
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip("<>")[:160]
        files, folder = ", ".join(Path(file).name for file in absent), (root / absent[0]).parent
        raise Refused(
            f"{entry.name} is not in {root} and could not be downloaded ({reason}); "
            f"put {files} into {folder} or use --data mnist-5k"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def _by_torchvision(entry: Entry, root: Path, train: bool, download: bool):
    """torchvision's dataset object for the training or the test part."""
    from torchvision import datasets

    if entry.name == "svhn":
        return datasets.SVHN(root, split="train" if train else "test", download=download)
    if entry.name == "emnist-letters":
        return datasets.EMNIST(root, split="letters", train=train, download=download)
    kinds = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}
    return (kinds | {"cifar10": datasets.CIFAR10})[entry.name](root, train=train, download=download)


def _read_by_torchvision(entry: Entry, root: Path):
    import numpy as np
    from torchvision.datasets import CIFAR10, SVHN
    from torchvision.datasets.utils import check_integrity

    if entry.name == "svhn":
        sums = {file: md5 for _, file, md5 in SVHN.split_list.values()}
    else:
        listed = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
        sums = {f"{CIFAR10.base_folder}/{file}": md5 for file, md5 in listed}
    for file in entry.files:  # torchvision checks them too, but does not say which one is wrong
        if not check_integrity(root / file, sums[file]):
            raise damaged(root / file, "its checksum is not the published one")
    train, test = (_by_torchvision(entry, root, part, download=False) for part in (True, False))
    if entry.name == "svhn":
        return [(part.data, part.labels) for part in (train, test)]
    return [(part.data.transpose(0, 3, 1, 2), np.array(part.targets)) for part in (train, test)]


def damaged(path: Path, what: str) -> Refused:
    """The refusal of a file that is there but wrong: replacing it is the user's decision."""
    return Refused(f"{path} is damaged ({what}); remove it, then put a good copy there or download the set by its name")
