"""A user's own images: an .npz with x and y, a folder of class folders, or a single image file."""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ffcore.data.sets import DATASETS, Split
from ffcore.errors import Refused

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

_MOST_CLASSES = 1000
_MOST_BYTES = 4 * 2**30  # of an .npz, unpacked
_SAVE = "save it with np.savez(FILE, x=images, y=labels)"


def is_path(name: str) -> bool:
    """Whether a dataset's name means a file or folder; a registered name always wins (write ./mnist for a folder)."""
    if not name or name in DATASETS:
        return False
    return bool("/" in name or os.sep in name or Path(name).suffix or exists(name))


def exists(name: str | Path) -> bool:
    """Whether there is such a file or folder; a name that cannot be one, such as one too long, is no error."""
    return os.path.exists(os.path.expanduser(name))  # noqa: PTH110, PTH111  (Path's own raise for such a name)


def check_path(name: str) -> Path:
    """The absolute path of an own set, its contents unread; raises Refused when it cannot be one."""
    if not exists(name):
        known = ", ".join(DATASETS)
        raise Refused(f"{name} does not exist; give a FILE.npz, a FOLDER of class folders or one of {known}")
    path = Path(name).expanduser().absolute()
    if not path.is_dir() and path.suffix != ".npz":
        raise Refused(f"{name} is neither a FILE.npz nor a FOLDER of class folders; {_SAVE}")
    return path


def read_own(path: str | Path, size: int = 28) -> tuple[Split, tuple[str, ...]]:
    """All images of an .npz or of a folder of class folders as one set, with the names of the classes.

    An .npz holds x, (n, H, W), (n, H·W) of square images, (n, 1 or 3, H, W) or (n, H, W, 1 or 3), as uint8 or as floats
    in [0, 1], and y, (n,) integers from 0. In a folder every folder is a class, every file in it an image, resized to
    size × size; grey if all of them are, else RGB. Raises Refused for anything else.
    """
    import torch

    (x, y), classes = read_arrays(check_path(str(path)), size)
    return Split(torch.from_numpy(x), torch.from_numpy(y)), classes


def read_image(file: str | Path | bytes | BinaryIO, shape: tuple[int, int, int], by_mass: bool | None = None) -> Tensor:
    """One image file → (1, C, H, W) uint8 of the wanted shape: made grey or RGB, resized. Raises Refused: no image.

    With `by_mass` it is a drawing, light on dark or dark on light, and placed as in `strokes.suited`.
    """
    import numpy as np
    import torch

    channels, *size = shape
    if by_mass is not None:
        from ffcore.data import strokes

        ink = _pixels(file, None, "L")
        rim = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
        return torch.from_numpy(strokes.suited(255 - ink if rim.mean() > 127 else ink, shape, by_mass)[None])
    pixels = _pixels(file, tuple(size), "L" if channels == 1 else "RGB").reshape(1, *size, channels)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def read_arrays(path: str | Path, size: int) -> tuple[tuple[ndarray, ndarray], tuple[str, ...]]:
    """As `read_own`, in numpy: x (N, C, H, W) uint8 and y (N,) int64, then the classes."""
    path = Path(path)
    return _read_folder(path, size) if path.is_dir() else _read_npz(path)


def _read_npz(path: Path):
    import numpy as np

    try:
        if not zipfile.is_zipfile(path):  # numpy would advise to unpickle it
            raise ValueError("it is no .npz archive")
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
                raise ValueError(f"it unpacks to more than {_MOST_BYTES // 2**30} GB")
        with np.load(path, allow_pickle=False) as file:
            if lacking := [key for key in ("x", "y") if key not in file.files]:
                raise ValueError(f"no array '{lacking[0]}' in it")
            x, y = file["x"], file["y"]
    except Exception as error:  # damaged, pickled objects, larger than memory: numpy raises many kinds
        raise Refused(f"{path} cannot be read ({error}); {_SAVE}") from None

    shape = x.shape
    if x.ndim == 2 and math.isqrt(shape[1]) ** 2 == shape[1]:
        x = x.reshape(shape[0], 1, math.isqrt(shape[1]), -1) if x.size else x
    elif x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and shape[1] not in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.size:
        takes = "(n, H, W), (n, H·W) of square images, (n, 3, H, W) or (n, H, W, 3)"
        raise Refused(f"{path}: x has the shape {shape}; it takes {takes}")
    if x.dtype.kind == "f":
        if not (x.min() >= 0 and x.max() <= 1):  # also catches NaN
            raise Refused(f"{path}: x is not within [0, 1] everywhere; scale it, without NaN, or save it as uint8")
        x = np.rint(x.astype(np.float32) * 255).astype(np.uint8)
    elif x.dtype != np.uint8:
        raise Refused(f"{path}: x is {x.dtype}; save it as uint8, or as floats in [0, 1]")

    if y.shape != (len(x),):
        raise Refused(f"{path}: y has the shape {y.shape}; it takes one label for each image of x, ({len(x)},)")
    if y.dtype.kind not in "iu":
        raise Refused(f"{path}: y is {y.dtype}; save the labels as integers 0, 1, 2, …")
    if y.min() < 0 or y.max() >= _MOST_CLASSES:
        raise Refused(f"{path}: labels go from {y.min()} to {y.max()}; number up to {_MOST_CLASSES} classes 0, 1, 2, …")
    return (np.ascontiguousarray(x), y.astype(np.int64)), tuple(str(c) for c in range(int(y.max()) + 1))


def _read_folder(path: Path, size: int):
    import numpy as np

    folders = sorted(
        (folder for folder in _visible(path) if folder.is_dir()),
        key=lambda folder: (int(folder.name) if folder.name.isdecimal() else math.inf, folder.name),  # 10 after 9
    )
    if not folders:
        raise Refused(f"{path} holds no class folders; put the images of each class into a folder of its own")
    x, y = [], []
    for label, folder in enumerate(folders):
        files = _visible(folder)
        if any(file.is_dir() for file in files):
            raise Refused(f"{folder} holds folders where images belong; give the folder just above the classes")
        for file in files:
            x.append(_pixels(file, (size, size), "RGB"))
            y.append(label)
    if not x:
        raise Refused(f"{path}: its class folders hold no images; put some there")
    pixels = np.stack(x).transpose(0, 3, 1, 2)
    if (pixels[:, :1] == pixels).all():
        pixels = pixels[:, :1]
    return (np.ascontiguousarray(pixels), np.array(y, np.int64)), tuple(folder.name for folder in folders)


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise Refused(f"{folder} cannot be read ({error.strerror}); give a folder that can") from None


def _pixels(file: str | Path | bytes | BinaryIO, size: tuple[int, int] | None, mode: str) -> ndarray:
    """(H, W) for mode L or (H, W, 3) for RGB, uint8, of one image file; of its own size where none is given."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits of grey, of which Pillow would keep the low ones only
                image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
            if "A" in image.getbands() or "transparency" in image.info:  # on white, as every viewer shows it
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert(mode)
            return np.array(image.resize(size[::-1], Image.Resampling.BILINEAR) if size else image)
    except Exception as error:  # a decoder may stumble over a damaged file in any way it likes
        name = file if isinstance(file, str | Path) else getattr(file, "name", "the file")
        reason = "cannot identify its format" if isinstance(error, Image.UnidentifiedImageError) else error
        raise Refused(f"{name} is no readable image ({reason}); remove it or save it as a PNG") from None
