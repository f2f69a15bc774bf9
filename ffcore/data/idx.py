"""IDX, the format of MNIST and its kin (LeCun): two zero bytes, a type, a rank, big-endian lengths, then the values."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from ffcore.data.public import damaged

_UINT8 = 0x08


def read_idx(path: Path, rank: int) -> np.ndarray:
    """The uint8 array of that rank in an IDX file, plain or .gz; raises Refused, naming the file, if it is damaged."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise damaged(path, str(error)) from None
    start = 4 + 4 * rank
    if len(raw) < start or raw[:4] != bytes([0, 0, _UINT8, rank]):
        raise damaged(path, f"no IDX file of bytes with {rank} dimension{'s' * (rank > 1)}")
    shape = struct.unpack(f">{rank}I", raw[4:start])
    expected = start + int(np.prod(shape, dtype=object))  # Python integers do not overflow
    if len(raw) != expected:
        raise damaged(path, f"{len(raw):,} bytes where its header promises {expected:,}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_pair(images: Path, labels: Path, size: tuple[int, int], first: int, classes: int):
    """(N, 1, H, W) uint8 and (N,) classes from 0, of an image file and its label file whose labels start at `first`."""
    x, y = read_idx(images, 3), read_idx(labels, 1)
    if x.shape[1:] != size:
        raise damaged(images, f"images of {x.shape[1]} × {x.shape[2]} pixels where {size[0]} × {size[1]} belong")
    if not len(x):
        raise damaged(images, "no images")
    if len(x) != len(y):
        raise damaged(labels, f"{len(y):,} labels for the {len(x):,} images of {images.name}")
    if y.min() < first or y.max() >= first + classes:
        raise damaged(labels, f"labels {y.min()} to {y.max()} where {first} to {first + classes - 1} belong")
    return x[:, None], y - np.uint8(first)
