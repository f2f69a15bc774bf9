"""A training over again: all its kept moments on common axes, and those worth a look. Read without torch."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ffcore.errors import Refused
from ffcore.rundir import Run, is_event

FRAMES = 101  # at most: of a longer run as many, evenly spread, the first and the last among them
BINS = 60
BEYOND = 0.001  # share of the images of a moment that may lie beyond an axis, and are counted in its last bin
APART, WON, NEARLY = 1.0, 0.95, 0.9


def frames(run: Run) -> dict[str, Any]:
    """What a run's snapshots and epochs tell, moment by moment; E of them, at most FRAMES.

    epochs [E]; of, lost: snapshots there are, and those that cannot be read; seconds (E,) on the training clock, which also
    counts the checks between epochs; readout, accuracy (E,): validation accuracy by the default read-out; bookmarks, see
    `bookmarks`. What is not known is nan. From here on a key is there only where every snapshot has it:
    images, labels, said (E, 64): the fixed test samples, their classes and what they are read as, said_by goodness or
    scores, see `answers`; fields (E, n, H, W): incoming weights; map_labels (300,).
    layers: per layer accuracy, dead (E,), and where told: pos, neg (E, BINS) counts between edges (BINS + 1,), the same at
    every moment; dprime, overlap (E,); pair (E, BINS) counts of g⁺ - g⁻ between pair_edges, won (E,) the share surely above 0;
    map (E, 300, 2), each turned and mirrored to lie on the one before.
    estimated: d′ and overlap were taken from the histograms, as in runs of older versions.
    Raises Refused where no snapshot can be read.
    """
    every = run.snapshots()
    picked = sorted({every[i] for i in np.linspace(0, len(every) - 1, min(FRAMES, len(every))).round().astype(int)})
    found = {epoch: arrays for epoch in picked if (arrays := _read(run, epoch))}
    if not found:
        raise Refused(f"run {run.id} has no snapshots that can be read; train one with train.telemetry on")
    events = {e["epoch"]: e for e in run.events()[0] if e.get("event") == "epoch" and is_event(e)}
    told = [events.get(epoch, {}) for epoch in found]

    def column(name: str, of: int | None = None) -> np.ndarray | None:
        return stacked([arrays.get(name) for arrays in found.values()], of)

    readout = default_readout(run, told)
    out: dict[str, Any] = {
        "epochs": list(found), "of": len(every), "lost": len(picked) - len(found), "readout": readout, "estimated": False,
        "seconds": np.array([_number(e.get("seconds")) for e in told]),
        "accuracy": np.array([_number(_validation(e).get(readout)) for e in told]),
    }  # fmt: skip
    heaps = {name: column(name, 2) for name in ("pos", "neg", "edges", "pair", "pair_edges", "apart")}
    depth = max([len(e.get("layers", [])) for e in told] + [len(a[0]) for a in heaps.values() if a is not None])
    out["layers"] = [{} for _ in range(depth)]
    for i, layer in enumerate(out["layers"]):
        rows = [next((row for row in e.get("layers", []) if row["layer"] == i + 1), {}) for e in told]
        layer["accuracy"] = np.array([_number(row.get("validation_accuracy")) for row in rows])
        layer["dead"] = np.array([_number(row.get("dead")) for row in rows])
        if fits(heaps["pos"], heaps["edges"], i) and fits(heaps["neg"], heaps["edges"], i):
            layer |= _sides(*(heaps[name][:, i] for name in ("pos", "neg", "edges")))
            if (apart := heaps["apart"]) is not None and i < apart.shape[1] and apart.shape[2] == 3:
                layer |= {"dprime": apart[:, i, 1], "overlap": apart[:, i, 2]}
            else:
                out["estimated"] = True
        if fits(heaps["pair"], heaps["pair_edges"], i):
            pair, edges = heaps["pair"][:, i], heaps["pair_edges"][:, i]
            common = _axis(edges, pair)
            above = np.where(edges[:, :-1] > 0, pair, 0).sum(1)  # the bin that holds 0 counts as lost: a tie is no win
            won = above / np.maximum(pair.sum(1), 1)
            layer |= {"pair": rebin(pair, edges, common), "pair_edges": common, "won": won}
        if (places := column(f"map_{i + 1}", 2)) is not None and places.shape[2] == 2:
            layer["map"] = align(places)
    try:
        samples = run.samples() or {}
    except Refused:
        samples = {}
    if (fields := column("fields", 3)) is not None:
        out["fields"] = fields
    said = stacked([answers(run, arrays) for arrays in found.values()], 1)
    if said is not None and said.shape[1] == len(samples.get("labels", ())):
        out |= {"labels": samples["labels"], "images": samples["images"], "said": said.astype(int)}
        out["said_by"] = "goodness" if all("goodness" in arrays for arrays in found.values()) else "scores"
    sizes = {len(layer["map"][0]) for layer in out["layers"] if "map" in layer}
    if sizes == {len(samples.get("map_labels", ()))}:
        out["map_labels"] = samples["map_labels"]
    else:
        for layer in out["layers"]:
            layer.pop("map", None)
    out["bookmarks"] = bookmarks(out)
    return out


def answers(run: Run, arrays: dict[str, np.ndarray]) -> np.ndarray | None:
    """What a snapshot's net reads the samples as, (n,): the label with most goodness over the layers that vote, or the best
    score; None where it tells neither."""
    if "goodness" in arrays and arrays["goodness"].ndim == 3:
        depth = arrays["goodness"].shape[2]
        votes = [v - 1 for v in run.config["model"].get("votes") or () if v in range(1, depth + 1)] or list(range(depth))
        return arrays["goodness"][:, :, votes].astype(float).sum(2).argmax(1)
    return arrays["scores"].argmax(1) if "scores" in arrays and arrays["scores"].ndim == 2 else None


def align(places: np.ndarray) -> np.ndarray:
    """Maps (E, N, 2), each turned and mirrored so that it lies as near as can be to the one before.

    Orthogonal Procrustes (Schönemann 1966): the main axes of a cloud have no sign, and change places as it grows.
    """
    out = np.nan_to_num(places.astype(float))
    for before, now in pairwise(out):
        left, _, right = np.linalg.svd(now.T @ before)
        now[:] = now @ left @ right
    return out


def rebin(counts: np.ndarray, edges: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Counts (E, B) between edges (E, B + 1) → (E, len(common) - 1) between common edges, with the same sums.

    What lies in a bin is spread evenly over it; what lies beyond the common edges is counted in the outer bins.
    """
    out = []
    for row, at in zip(counts, edges, strict=True):
        below = np.interp(common, at, np.concatenate([[0], np.cumsum(row)]))
        below[0], below[-1] = 0, row.sum()
        out.append(np.diff(below))
    return np.stack(out)


def bookmarks(told: dict[str, Any]) -> list[dict[str, Any]]:
    """[{index, epoch, name, why}] of what happens in `frames`, in the order of time; `why` says by what definition."""
    found: list[tuple[int | None, str, str]] = []
    for i, layer in enumerate(told["layers"], 1):
        if "won" in layer:
            why = "the first moment at which the right label gives more goodness than the wrong one for 95% of the images"
            found.append((_first(layer["won"] >= WON), f"layer {i} wins its pairs", why))
        if "dprime" in layer:
            why = "the first moment with d′ ≥ 1: the mean of the positives is a standard deviation above that of the negatives"
            found.append((_first(layer["dprime"] >= APART), f"layer {i} separates", why))
        why = "the first moment at which half its units or more are never above 0 on the probe images"
        found.append((_first(layer["dead"] >= 0.5), f"half of layer {i} is dead", why))
    firsts = [(at, i) for i, layer in enumerate(told["layers"], 1) if (at := _first(layer["dead"] > 0)) is not None]
    if firsts:
        at, i = min(firsts)
        found.append((at, f"first dead unit, in layer {i}", "the first moment with a unit that no probe image switches on"))
    accuracy = told["accuracy"]
    if np.isfinite(accuracy).any() and np.ptp(accuracy[np.isfinite(accuracy)]) > 0:
        last = accuracy[np.isfinite(accuracy)][-1]
        at = _first(accuracy >= NEARLY * last) if last > 1.5 * accuracy[np.isfinite(accuracy)][0] else None
        why = f"the first moment with {NEARLY:.0%} of the validation accuracy at the end"
        found.append((at or None, "90% of the final accuracy", why))
        best = int(np.nanargmax(accuracy))
        found.append((best, "best validation", f"the highest validation accuracy: {accuracy[best]:.2%}"))
    if "said" in told:
        changed = np.flatnonzero((np.diff(told["said"], axis=0) != 0).any(1)) + 1
        why = "after it the net reads each of the test samples as it does at the end"
        found.append((int(changed[-1]) if len(changed) else None, "a sample changes its mind last", why))
    marks = [{"index": at, "epoch": told["epochs"][at], "name": name, "why": why} for at, name, why in found if at is not None]
    return sorted(marks, key=lambda mark: mark["index"])


def _read(run: Run, epoch: int) -> dict[str, np.ndarray] | None:
    try:
        return run.snapshot(epoch)
    except Refused:
        return None


def stacked(arrays: Sequence[Any], dims: int | None = None) -> np.ndarray | None:
    """Arrays of one shape as (E, …) floats; None where one is missing, of another shape, empty or no numbers."""
    first = arrays[0]
    if (
        not isinstance(first, np.ndarray)
        or first.dtype.kind not in "fiu"
        or not first.size
        or first.ndim != (dims or first.ndim)
    ):
        return None
    if any(not isinstance(a, np.ndarray) or a.shape != first.shape or a.dtype.kind not in "fiu" for a in arrays):
        return None
    return np.stack(arrays).astype(float)


def fits(counts: np.ndarray | None, edges: np.ndarray | None, layer: int) -> bool:
    """Are these (E, L, B) and (E, L, B + 1) histograms of a layer, between edges that rise?"""
    if counts is None or edges is None or layer >= min(counts.shape[1], edges.shape[1]):
        return False
    at, heap = edges[:, layer], counts[:, layer]
    whole = np.isfinite(at).all() and np.isfinite(heap).all() and (heap >= 0).all()
    return at.shape[1] == heap.shape[1] + 1 and bool(whole and (np.diff(at) > 0).all())


def _axis(edges: np.ndarray, *heaps: np.ndarray) -> np.ndarray:
    """Edges (BINS + 1,) between which each heap (E, B) lies at every moment, but for BEYOND of it at either end."""
    low, high = [], []
    for heap in heaps:
        for row, at in zip(heap, edges, strict=True):
            below = np.concatenate([[0], np.cumsum(row)]) / max(row.sum(), 1)
            low.append(at[max(0, np.searchsorted(below, BEYOND, "right") - 1)])
            high.append(at[min(len(at) - 1, np.searchsorted(below, 1 - BEYOND))])
    return np.linspace(min(low), max(max(high), min(low) + 1e-9), BINS + 1)


def _sides(pos: np.ndarray, neg: np.ndarray, edges: np.ndarray) -> dict[str, np.ndarray]:
    """The two heaps (E, B) of a layer on one axis, with d′ and overlap as their bins tell them."""
    common, middle = _axis(edges, pos, neg), (edges[:, 1:] + edges[:, :-1]) / 2
    shares = [heap / np.maximum(heap.sum(1, keepdims=True), 1) for heap in (pos, neg)]
    means = [(share * middle).sum(1) for share in shares]
    spread = [(share * (middle - mean[:, None]) ** 2).sum(1) for share, mean in zip(shares, means, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        dprime = (means[0] - means[1]) / np.sqrt((spread[0] + spread[1]) / 2)
    return {
        "edges": common, "pos": rebin(pos, edges, common), "neg": rebin(neg, edges, common),
        "dprime": dprime, "overlap": np.minimum(*shares).sum(1),
    }  # fmt: skip


def default_readout(run: Run, epochs: Iterable[Mapping[str, Any]]) -> str | None:
    """The read-out by which the net answers: as its result says, else goodness for one that has it, else the first that its
    epoch events tell of."""
    names = list(dict.fromkeys(name for event in epochs for name in _validation(event)))
    result = run.status()["result"] or {}
    wanted = [result.get("readout"), "goodness" if run.config.get("negatives") else None]
    return next((name for name in [*wanted, *names] if name in names), None)


def _validation(event: Mapping[str, Any]) -> dict[str, Any]:
    return told if isinstance(told := event.get("validation"), dict) else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _first(holds: np.ndarray) -> int | None:
    return int(np.argmax(holds)) if holds.any() else None
