"""Images out of a run as a file: a grid to look at, or arrays to work with."""

from pathlib import Path
from typing import Any

from ffcore import files, runs
from ffcore.analyses import analyse
from ffcore.errors import Refused
from ffcore.lab.base import Tell
from ffcore.runs import Run

GAP, WIDE = 2, 28  # pixels between images; small ones are enlarged to at least so many
KINDS = (".png", ".npz")
DEFAULT = 16  # images


def generate(
    run: Run | str,
    out: str | Path | None = None,
    label: int | str | None = None,
    n: int | None = None,
    what: str | None = None,
    judge: Run | str | None = None,
    overwrite: bool = False,
    root: str | None = None,
    progress: Tell | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Images out of a run, written to `out` (.png: a grid; .npz: x (n, H, W) or (n, C, H, W) float32 in [0, 1], y (n,)).

    Samples of a run of pff, else images that climb in goodness or in a class's score; `what` and `settings` as in the analysis
    `generate`. `n` images in all (16), of one class (`label`), of every class alike, or ("any") in their proportions.
    `judge` is another run that reads them. Returns {file, n, label, …}. Raises Refused for a file that is there already.
    """
    target = _target(out, overwrite)
    if target is None and judge is None:
        raise Refused("generate makes a file; say which with --out FILE.png or FILE.npz, or name a --judge")
    chosen = [ref if isinstance(ref, Run) else runs.find(ref, root) for ref in (run, judge) if ref is not None]
    count = n if n is not None or what == "interpolation" else DEFAULT
    finding = analyse("generate", *chosen, root=root, progress=progress, what=what, label=label, n=count, **settings)
    told, arrays = finding.result(), finding.arrays()
    if told is None:
        raise Refused(f"the stored result in {finding.dir} is damaged; delete it and ask again")
    asked, (channels, *size) = told["settings"], chosen[0].config["facts"]["shape"]
    tail = (channels, *size) if channels > 1 else tuple(size)
    images, y = arrays["images"], arrays["y"]
    frames = images.reshape(-1, images.shape[images.ndim - len(tail) - 1], *tail)  # steps, epochs or layers; images of each
    if target is not None:
        write = _npz if target.suffix.lower() == ".npz" else _png
        files.replace(target.parent, target.name, lambda path: write(path, frames, y, asked["what"]), durable=False)
    keys = (
        "judged",
        "judged_by_class",
        "judge",
        "judge_test_accuracy",
        "copies",
        "variety",
        "error",
        "rows",
        "epochs",
        "components",
        "log_likelihood",
    )
    return {
        "file": None if target is None else str(target),
        "n": int(frames.shape[0] * frames.shape[1]),
        "label": asked["label"],
        "run": chosen[0].id,
        "what": asked["what"],
        "seed": asked["seed"],
        "settings": {key: value for key, value in asked.items() if value is not None},
        **{key: told[key] for key in keys if key in told},
        "seconds": told["seconds"],
    }


def _target(out: str | Path | None, overwrite: bool) -> Path | None:
    if out is None:
        return None
    path = Path(out).absolute()
    if path.suffix.lower() not in KINDS:
        raise Refused(f"{path.name} is neither .png nor .npz; end its name with one of them")
    if not path.parent.is_dir():
        raise Refused(f"no folder {path.parent}; make it, or choose another place")
    if path.is_dir() or (path.exists() and not overwrite):
        raise Refused(f"{path} is there already; choose another name, or say --overwrite")
    return path


def _npz(path: Path, frames: Any, y: Any, what: str) -> None:
    """x, y of every image, and, where there are several frames (steps, epochs, layers), the number of each, from 0."""
    import numpy as np

    count, n = frames.shape[:2]
    arrays = {"x": (frames.reshape(count * n, *frames.shape[2:]) / np.float32(255)).astype(np.float32)}
    if what != "interpolation":  # what lies between two images is of no class
        arrays["y"] = np.tile(y, count).astype(np.int64)
    if count > 1:
        arrays["frame"] = np.repeat(np.arange(count), n)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _png(path: Path, frames: Any, y: Any, what: str) -> None:
    """A grid. One frame: a row for each class, or a square of one class. Several: a column for each frame, a row per image."""
    import numpy as np
    from PIL import Image

    count = len(frames)
    if count > 1:
        rows = list(frames.swapaxes(0, 1))
    elif what == "interpolation":
        rows = [frames[0]]
    else:
        classes = np.unique(y)
        side = int(np.ceil(len(y) ** 0.5))
        single = [frames[0][i : i + side] for i in range(0, len(y), side)]
        rows = [frames[0][y == c] for c in classes] if len(classes) > 1 else single
    Image.fromarray(grid(rows)).save(path, "png")


def grid(rows: Any) -> Any:
    """Rows of images (n, H, W) or (n, 3, H, W) uint8 as one picture, (height, width) or (height, width, 3) uint8."""
    import numpy as np

    tiles = [[image.transpose(1, 2, 0) if image.ndim == 3 else image for image in row] for row in rows]
    height, width = tiles[0][0].shape[:2]
    scale = max(1, -(-WIDE // height))
    height, width = scale * height, scale * width
    across = max(map(len, tiles))
    whole = np.zeros((len(tiles) * (height + GAP) - GAP, across * (width + GAP) - GAP, *tiles[0][0].shape[2:]), np.uint8)
    for i, row in enumerate(tiles):
        for j, image in enumerate(row):
            large = image.repeat(scale, 0).repeat(scale, 1)
            whole[i * (height + GAP) : i * (height + GAP) + height, j * (width + GAP) : j * (width + GAP) + width] = large
    return whole
