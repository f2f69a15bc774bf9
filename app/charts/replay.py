"""All moments of a training as a few bytes, for a component that shows any of them at once."""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from charts import COMPARED, _list
from charts.embedding import COLOURS

LEVELS = 15  # steps of a weight to either side of 0
SIDE = 28  # pixels: larger fields are sent coarser


def pack(runs: Sequence[Mapping[str, Any]], axes: Mapping[str, str], start: Mapping[str, Any]) -> bytes:
    """Runs as `ffcore.frames` tells them, each with `title` and `classes` more, squeezed (zlib).

    Four bytes of the header's length, the header (JSON), then arrays of one byte a number; what goes over moments is told as
    the difference to the moment before, modulo 256. `axes`: {name: word} of time; `start`: what the reader sees first.
    """
    blobs: list[bytes] = []

    def keep(values: np.ndarray, moments: bool = True) -> dict[str, Any]:
        values = np.ascontiguousarray(values)
        if moments:
            values = np.concatenate([values[:1], np.diff(values.view(np.uint8), axis=0).view(values.dtype)])
        at = sum(map(len, blobs))
        blobs.append(values.tobytes())
        return {"at": at, "kind": values.dtype.str[1:], "shape": values.shape, "moments": moments}

    told = [_told(run, keep) for run in runs]
    colours = {"classes": COLOURS, "runs": COMPARED}
    head = json.dumps({"runs": told, "axes": dict(axes), "start": dict(start), "colours": colours}, separators=(",", ":"))
    head = head.encode()
    return zlib.compress(len(head).to_bytes(4, "little") + head + b"".join(blobs), 9)


def _told(run: Mapping[str, Any], keep) -> dict[str, Any]:
    told: dict[str, Any] = {key: run[key] for key in ("title", "classes", "epochs", "readout", "bookmarks")}
    told |= {key: _list(run[key]) for key in ("seconds", "accuracy")}
    told["layers"] = [_layer(layer, keep) for layer in run["layers"]]
    if "fields" in run:
        fields = run["fields"]
        step = max(1, math.ceil(max(fields.shape[2:]) / SIDE))
        fields = np.nan_to_num(fields[:, :, ::step, ::step])
        most = np.abs(fields).max((0, 2, 3), keepdims=True)  # a unit keeps its scale over time: weights are seen to grow
        told["fields"] = keep(np.round(LEVELS * fields / np.maximum(most, 1e-30)).astype(np.int8))
        told["levels"] = LEVELS
    if "said" in run and len(run["classes"]) < 256:
        images = run["images"]
        images = images if images.shape[1] in (1, 3) else images[:, :1]
        step = max(1, math.ceil(max(images.shape[2:]) / 32))
        told["images"] = keep(np.asarray(images[:, :, ::step, ::step], np.uint8), moments=False)
        told["labels"] = [int(v) for v in run["labels"]]
        told["said_by"] = run["said_by"]
        told["said"] = keep(run["said"].astype(np.uint8))
    if "map_labels" in run:
        told["map_labels"] = [int(v) for v in run["map_labels"]]
    return told


def _layer(layer: Mapping[str, Any], keep) -> dict[str, Any]:
    told: dict[str, Any] = {k: _list(layer[k]) for k in ("accuracy", "dead", "dprime", "overlap", "won") if k in layer}
    for name, heaps in (("edges", ("pos", "neg")), ("pair_edges", ("pair",))):
        if name not in layer:
            continue
        shares = {heap: layer[heap] / np.maximum(layer[heap].sum(1, keepdims=True), 1) for heap in heaps}
        tops = np.max([share.max(1) for share in shares.values()], 0)  # of each moment: it fills its chart
        told[name] = [float(f"{v:.6g}") for v in layer[name][[0, -1]]]
        told[f"{name}_top"] = _list(tops)
        for heap, share in shares.items():
            told[heap] = keep(np.round(255 * share / np.maximum(tops, 1e-30)[:, None]).astype(np.uint8))
    if "map" in layer:
        reach = np.quantile(np.abs(layer["map"]), 0.995) or 1.0  # what lies beyond is put on the rim
        told["map"] = keep(np.round(127 * np.clip(layer["map"] / reach, -1, 1)).astype(np.int8))
    return told


def table(run: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """(heads, a row per moment): the numbers of a replay."""
    heads, columns = ["epoch", "seconds", "validation accuracy"], [run["epochs"], _list(run["seconds"]), _list(run["accuracy"])]
    names = {"accuracy": "accuracy alone", "won": "pairs won", "dprime": "d′", "overlap": "overlap", "dead": "dead units"}
    for i, layer in enumerate(run["layers"], 1):
        for key, name in names.items():
            if key in layer:
                heads.append(f"layer {i}, {name}")
                columns.append(_list(layer[key]))
    return heads, [list(row) for row in zip(*columns, strict=True)]
