"""Runs side by side, from what is stored: grouped by everything but the random seed, one number per seed. Needs no torch.

Nothing is computed here that a run did not measure: where a run has no such number, there is none.
"""

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ffcore import files, runs
from ffcore.analyses import stored_analyses
from ffcore.config import SECTIONS, TrainSettings
from ffcore.data import DataSettings
from ffcore.errors import Refused
from ffcore.registry import Settings
from ffcore.replays import default_readout, fits, rebin, stacked
from ffcore.runs import Run

STUDIES = "studies"  # in the runs folder: tables, one file each
BINS, LOOKS = 40, 20  # of superimposed histograms; epochs whose snapshots are read for a course
EXECUTION = ("train.compile", "train.telemetry", "train.keep_weights")  # how a run was carried out, not what it learns
FACTS = {  # what `headline` tells → what that is
    "test_accuracy": "share of the test images that the default read-out gets right",
    "validation_accuracy": "the same of the validation images, after the last epoch",
    "best_accuracy": "the same after the epoch at which it was highest: chosen in hindsight, so a little too good",
    "best_epoch": "that epoch, the first if there are several",
    "transfer": "share of another set's test images that a linear probe on all layers gets right, converged protocol",
    "transfer_gain": "by how much that exceeds the same probe on the same net untrained",
    "images_per_second": "training images × epochs over seconds of training, validation and telemetry included",
    "train_seconds": "seconds of training, validation and telemetry included",
    "peak_memory": "bytes: of the process at its largest on a CPU, of tensors at their largest on a GPU",
    "dead": "share of units that no validation image switched on after the last epoch, mean over layers",
}


def settings(run: Run) -> dict[str, Any]:
    """{dotted setting: value} of a run: all that decides its outcome but the random seed.

    What a run of an older version does not say of data and training has the default, which is what it did.
    """
    config = run.config
    parts = {key: config.get(key) if isinstance(config.get(key), Mapping) else {} for key in SECTIONS}
    parts |= {key: _as_now(cls, parts[key]) for key, cls in (("data", DataSettings), ("train", TrainSettings))}
    told = {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}
    return {key: told[key] for key in sorted(told) if key not in EXECUTION}


def _as_now(cls: type[Settings], stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Stored settings as this version would store them; what it does not know, or would refuse, stays as it is."""
    with suppress(ValueError):
        known = {key: value for key, value in stored.items() if key in cls.model_fields}
        return {**stored, **cls(**known).model_dump(mode="json")}
    return stored


def groups(of: Sequence[Run] | None = None, root: str | None = None) -> list[dict[str, Any]]:
    """Finished runs that differ in nothing but their random seed, together; the group with the newest run first.

    Each: key, label, model, data, settings, machines (names), runs and seeds, one of each seed (the newest that was tested), in
    their order.
    """
    found: dict[str, dict[int, Run]] = {}
    for run in runs.list_runs(root) if of is None else of:
        if run.problem or run.stored_status().get("state") != "done":
            continue
        config = run.config
        same = [settings(run), str(config.get("device", "")).partition(":")[0], config.get("plugins")]
        same.append(_facts(run).get("data_hash"))
        key = hashlib.blake2b(files.to_json(same), digest_size=4).hexdigest()
        same_seed = found.setdefault(key, {})
        before = same_seed.setdefault(config.get("seed", 0), run)  # listed from the newest on
        if _tested(run) and not _tested(before):  # a study, or a probe's baseline, measured less
            same_seed[config.get("seed", 0)] = run
    told = [_group(key, dict(sorted(seeds.items()))) for key, seeds in found.items()]
    for group in told:
        group["label"] = _label(group, told)
    return told


def _tested(run: Run) -> bool:
    result = run.stored_status().get("result")
    return isinstance(result, Mapping) and _share(result.get("test_accuracy")) is not None


def _facts(run: Run) -> Mapping[str, Any]:
    facts = run.config.get("facts")
    return facts if isinstance(facts, Mapping) else {}


def _group(key: str, seeds: dict[int, Run]) -> dict[str, Any]:
    first = next(iter(seeds.values()))
    machines = {f"{_facts(r).get('device_name', 'unknown')}, {_facts(r).get('threads', '?')} threads" for r in seeds.values()}
    return {
        "key": key,
        "base": first.title().rpartition(" · seed ")[0],
        "model": first.config["model"]["name"],
        "data": first.config["data"]["name"],
        "settings": settings(first),
        "machines": sorted(m.replace(", 1 threads", ", 1 thread") for m in machines),
        "runs": list(seeds.values()),
        "seeds": list(seeds),
    }


def _label(group: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """What it is, and by which settings it differs from groups of the same name."""
    alike = [other for other in others if other["base"] == group["base"]]
    keys = differing(alike)  # a run of an older version lacks settings, which says little
    keys = ([key for key in keys if all(key in other["settings"] for other in alike)] or keys)[:3]
    label = " · ".join([group["base"], *(f"{key.partition('.')[2]} {_short(group['settings'].get(key))}" for key in keys)])
    twins = [other for other in alike if all(other["settings"].get(key) == group["settings"].get(key) for key in keys)]
    return label if len(twins) == 1 else f"{label} · {group['key'][:4]}"


def _short(value: Any) -> str:
    text = "–" if value is None else "-".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 24 else text[:23] + "…"


def differing(of: Sequence[Mapping[str, Any]]) -> list[str]:
    """The dotted settings in which groups are not all alike, in a fixed order."""
    keys = sorted({key for group in of for key in group["settings"]}, key=lambda k: (SECTIONS.index(k.partition(".")[0]), k))
    return [key for key in keys if len({files.to_json([g["settings"].get(key, "absent")]) for g in of}) > 1]


def headline(
    of: Sequence[Mapping[str, Any]], root: str | None = None, target: str | None = None, baseline: str | None = None
) -> list[dict[str, Any]]:
    """Groups with `facts`: {fact: {values {seed: number}, n, mean, sd (None for one)}}, mean None where nobody measured it.

    `target` is the data set of the transfer figures, `targets` those that have been probed. `baseline`, a group's key, adds
    `differences` {fact: {n, mean, sd}} to it: over the seeds that both have, else of the means, with n 0.
    """
    told = []
    for group in of:
        probes = [probed(run, root) for run in group["runs"]]
        found = [measure(run, probe.get(target)) for run, probe in zip(group["runs"], probes, strict=True)]
        measured = dict(zip(group["seeds"], found, strict=True))
        facts = {fact: _spread({seed: m[fact] for seed, m in measured.items() if m[fact] is not None}) for fact in FACTS}
        told.append({**group, "facts": facts, "targets": sorted({name for probe in probes for name in probe})})
    base = next((group for group in told if group["key"] == baseline), None)
    for group in told if base else []:
        group["differences"] = {fact: _difference(group["facts"][fact], base["facts"][fact]) for fact in FACTS}
    return told


def _spread(values: dict[int, float]) -> dict[str, Any]:
    some = list(values.values())
    return {
        "values": values,
        "n": len(some),
        "mean": statistics.fmean(some) if some else None,
        "sd": statistics.stdev(some) if len(some) > 1 else None,
    }


def _difference(one: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """{n, mean, sd} of one's numbers less the base's, seed by seed."""
    both = [one["values"][seed] - base["values"][seed] for seed in one["values"] if seed in base["values"]]
    if both or one["mean"] is None or base["mean"] is None:
        told = _spread(dict(enumerate(both)))
        return {key: told[key] for key in ("n", "mean", "sd")}
    return {"n": 0, "mean": one["mean"] - base["mean"], "sd": None}


def measure(run: Run, probe: Mapping[str, Any] | None = None) -> dict[str, float | None]:
    """What one finished run has stored, by the names in FACTS, `probe` being a result of `probed`; None for what is not there
    or no number."""
    status = run.stored_status()
    result = status.get("result") if isinstance(status.get("result"), Mapping) else {}
    sizes, epochs = _facts(run).get("sizes"), _positive(status.get("epochs"))
    images = _positive(sizes.get("train")) if isinstance(sizes, Mapping) else None
    seconds = _positive(status.get("train_seconds"))
    found = transferred([probe]) if probe else None
    told = _told_epochs(run)
    best = max((at for at in told if at["accuracy"] is not None), key=lambda at: at["accuracy"], default={})
    dead = [row["dead"] for row in told[-1]["layers"].values()] if told else []
    return {
        "test_accuracy": _share(result.get("test_accuracy")),
        "validation_accuracy": _share(result.get("validation_accuracy")),
        "best_accuracy": best.get("accuracy"),
        "best_epoch": best.get("epoch"),
        "transfer": found and found["accuracy"],
        "transfer_gain": found and found["difference"],
        "images_per_second": images * epochs / seconds if images and epochs and seconds else None,
        "train_seconds": seconds,
        "peak_memory": _positive(result.get("peak_memory")),
        "dead": statistics.fmean(dead) if dead and None not in dead else None,
    }


def _positive(value: Any) -> float | None:
    return value if isinstance(value, int | float) and 0 < value < math.inf else None


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _told_epochs(run: Run) -> list[dict[str, Any]]:
    """What the run told after every epoch: epoch, seconds, accuracy of its default read-out and layers {number: {dead}}."""
    events = [event for event in run.events()[0] if event.get("event") == "epoch" and runs.is_event(event)]
    readout, out = default_readout(run, events), {}
    for event in events:
        held = event.get("validation")
        accuracy = _share(held.get(readout)) if isinstance(held, Mapping) else None
        layers = {row["layer"]: {"dead": _share(row.get("dead"))} for row in event.get("layers", [])}
        told = {"epoch": event["epoch"], "seconds": event["seconds"], "accuracy": accuracy, "layers": layers}
        out[event["epoch"]] = told  # a resumed run tells an epoch again
    return [out[epoch] for epoch in sorted(out)]


def course(run: Run) -> list[dict[str, Any]]:
    """How a run went, epoch by epoch, on validation images: epoch, seconds of training, accuracy, layers {number: {dead, gap,
    dprime}}.

    Gap and d′ of positives and negatives are in every snapshot of runs since 0.1; of longer runs, 20 snapshots are read.
    """
    told = _told_epochs(run)
    there = set(run.snapshots())
    with_snapshot = [at for at in told if at["epoch"] in there]
    chosen = np.linspace(0, len(with_snapshot) - 1, min(LOOKS, len(with_snapshot))).round().astype(int)
    for at in (with_snapshot[i] for i in chosen):
        with suppress(Refused):
            apart = run.snapshot(at["epoch"]).get("apart")
            for layer, row in enumerate(apart if apart is not None and apart.ndim == 2 and apart.shape[1] == 3 else [], 1):
                at["layers"].setdefault(layer, {}).update(gap=float(row[0]), dprime=float(row[1]))
    return told


def histograms(of: Sequence[Mapping[str, Any]], when: str = "last") -> list[dict[str, Any]]:
    """Goodness of positives and negatives of several groups on the same bins, one dict per layer: {layer, edges (bins + 1,),
    groups {key: {pos, neg: shares (bins,), n: runs, epochs: [of each]}}}.

    `when`: "last", or "best", each run's epoch of best validation accuracy. Bins are even in the root of goodness, as nets
    differ in its size by orders. Of several runs the mean; a group whose runs tell nothing of a layer is not there.
    """
    if when not in ("last", "best"):
        raise Refused(f"histograms of the '{when}' epoch: choose last or best")
    found: dict[int, dict[str, list[tuple[int, dict[str, Any]]]]] = {}
    for group in of:
        for run in group["runs"]:
            with suppress(Refused):
                epoch, arrays = _shown(run, when)
                heaps = {name: stacked([arrays.get(name)], 2) for name in ("edges", "pos", "neg")}
                for i in range(0 if heaps["edges"] is None else heaps["edges"].shape[1]):
                    if fits(heaps["pos"], heaps["edges"], i) and fits(heaps["neg"], heaps["edges"], i):
                        layer = {name: heap[:, i] for name, heap in heaps.items()}
                        found.setdefault(i + 1, {}).setdefault(group["key"], []).append((epoch, layer))
    out = []
    for layer, groups in sorted(found.items()):
        ends = [one["edges"][0, [0, -1]] for told in groups.values() for _, one in told]
        low, high = np.min(ends), max(np.max(ends), 1e-9)
        edges = np.linspace(math.copysign(abs(low) ** 0.5, low), high**0.5, BINS + 1)
        edges = np.sign(edges) * edges**2
        rows = {}
        for key, told in groups.items():
            counts = {side: [rebin(one[side], one["edges"], edges)[0] for _, one in told] for side in ("pos", "neg")}
            shares = {side: np.mean([row / max(1.0, row.sum()) for row in rows], 0) for side, rows in counts.items()}
            rows[key] = {**shares, "n": len(told), "epochs": [epoch for epoch, _ in told]}
        out.append({"layer": layer, "edges": edges, "groups": rows})
    return out


def _shown(run: Run, when: str) -> tuple[int, dict[str, Any]]:
    """(epoch, its snapshot). Raises Refused where there is none."""
    epochs = run.snapshots()
    if not epochs:
        raise Refused(f"run {run.id} has no snapshot")
    best = measure(run)["best_epoch"] if when == "best" else None
    epoch = epochs[-1] if best is None else min(epochs, key=lambda e: abs(e - best))
    return epoch, run.snapshot(epoch)


def probed(run: Run, root: str | None = None) -> dict[str, dict[str, Any]]:
    """{data set: the newest stored result of a converged probe there, of the net as it is and with all images}."""
    out: dict[str, dict[str, Any]] = {}
    with suppress(Refused):
        for finding in stored_analyses(run, "probe", root):
            told = finding.result() or {}
            asked = told.get("settings") if isinstance(told.get("settings"), Mapping) else {}
            plain = told.get("protocol") == "converged" and told.get("shots") is None
            plain = plain and asked.get("epoch") is None and asked.get("train") is None
            if plain and isinstance(told.get("target"), str) and sound_rows(told):
                out.setdefault(told["target"], told)
    return out


def sound_rows(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a probe's result that have what everybody relies on: features, net, layer and an accuracy."""
    rows = told.get("rows")
    return [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
        and all(isinstance(row.get(key), str) for key in ("features", "net"))
        and _share(row.get("accuracy")) is not None
    ]


def row_of(told: Mapping[str, Any], net: str, like: Mapping[str, Any] | None = None, layer: Any = "all") -> dict | None:
    """A probe's row: of `net`, for the same features as `like`, or for a layer (a number, "all" or "last")."""
    mine = [row for row in sound_rows(told) if row["net"] == net]
    if net == "pixels":
        return next(iter(mine), None)
    if like is not None:
        return next((r for r in mine if all(r.get(key) == like.get(key) for key in ("layer", "normalised"))), None)
    depth = max((row["layer"] for row in mine if isinstance(row.get("layer"), int)), default=None)
    wanted = depth if layer == "last" else layer
    fits = [row for row in mine if row.get("layer") == wanted and wanted is not None]
    return min(fits, key=lambda row: bool(row.get("normalised")), default=None)  # as they are, before any norm


def transferred(told: Sequence[Mapping[str, Any]], baseline: str = "untrained", layer: Any = "all") -> dict[str, Any] | None:
    """Does it transfer? Results of one probe for several random seeds → the net against `baseline` on the same features.

    {features, n, images, accuracy, baseline (means), difference, sd (over seeds), margin, verdict "better", "worse" or
    "no different"}; None where no result has both rows. `margin` is two standard errors: of so many test images, taken as if
    the two nets were asked different ones (too large rather than too small) unless the net's row has `discordant`, the share
    of them that one of the two alone gets right; and of so many seeds.
    """
    pairs = []
    for one in told:
        own = row_of(one, "run", layer=layer)
        other = own and row_of(one, baseline, like=own)
        if other:
            pairs.append((own, other, max(1, int(_positive(one.get("test_images")) or 1))))
    if not pairs:
        return None
    gaps = [own["accuracy"] - other["accuracy"] for own, other, _ in pairs]
    means = [statistics.fmean(row["accuracy"] for row in rows) for rows in list(zip(*pairs, strict=True))[:2]]
    images = min(n for *_, n in pairs)
    sd = statistics.stdev(gaps) if len(gaps) > 1 else None
    apart = [_share(own.get("discordant")) for own, *_ in pairs] if baseline == "untrained" else [None]
    unlike = sum(p * (1 - p) for p in means) if None in apart else statistics.fmean(apart) - statistics.fmean(gaps) ** 2
    error = max(0.0, unlike) / images + (sd or 0) ** 2 / len(gaps)
    difference, margin = statistics.fmean(gaps), 2 * math.sqrt(error)
    verdict = "better" if difference > margin else "worse" if difference < -margin else "no different"
    return {
        "features": pairs[0][0]["features"], "n": len(gaps), "images": images, "accuracy": means[0], "baseline": means[1],
        "difference": difference, "sd": sd, "margin": margin, "verdict": verdict,
    }  # fmt: skip


def compare(
    *refs: Run | str, root: str | None = None, target: str | None = None, baseline: Run | str | None = None
) -> dict[str, Any]:
    """{groups}, JSON-ready: the groups that these runs belong to (none named: all), as `headline` tells them.

    `baseline`, a run, adds differences to its group. Raises Refused for a run that is not finished.
    """
    every = groups(root=root)

    def group_of(ref: Run | str) -> dict[str, Any]:
        run = ref if isinstance(ref, Run) else runs.find(ref, root)
        alike = next((g for g in every if run in g["runs"]), None) or next((g for g in groups([run])), None)
        if alike is None:
            raise Refused(f"run {run.id} is {run.state}; only finished runs are compared")
        return alike

    chosen = {g["key"]: g for g in map(group_of, refs)} or {g["key"]: g for g in every}
    base = group_of(baseline) if baseline else None
    told = headline(
        [*chosen.values(), *([base] if base and base["key"] not in chosen else [])], root, target, base and base["key"]
    )
    return {"target": target, "groups": [{**g, "runs": [run.id for run in g["runs"]]} for g in told]}


PROPERTIES = {  # of a learning rule → what it asks: what speaks for a brain, and against
    "Learning is local": "no loss reaches beyond its own layer",
    "No weight transport": "nothing comes back through the weights of the way up",
    "One phase": "an image is taken in once per step",
    "No negatives": "nothing has to be made up that is not in the world",
    "No label at the input": "the net sees the image alone",
    "No class labels for the layers": "they learn without being told what they see",
    "Read in one pass": "no trying on of every label",
}


def properties(run: Run, item: Mapping[str, Any], strategies: Mapping[str, dict]) -> dict[str, tuple[str, str]]:
    """{property: (yes, no, in part, idle or open; why)} from a run's settings and its model's facts, as the catalogue tells
    them. No score is made of it."""
    wires, local, negatives = [tuple(wire) for wire in item["wiring"]], item["is_local"], item["uses_negatives"]
    labelled = bool(run.config.get("labelled"))
    if local and not negatives and not item["traces"]:  # nothing to learn with
        return dict.fromkeys(PROPERTIES, ("idle", "its layers do not learn")) | {"Read in one pass": _one_pass(run)}
    strategy = strategies.get((run.config.get("negatives") or {}).get("name", ""), {})
    relaxes = any("relax" in what for *_, what in wires)
    inside = sorted({start for start, end, what in wires if end == "layer" and "error" in what})
    heard = sorted({what for start, end, what in wires if end.endswith("layer") and start in _ABOVE} - {"relaxes"})
    if not local:
        transport = ("no", "the error comes down through the very weights that the signal went up by")
    elif relaxes:
        transport = ("no", "activities relax down one energy, whose slope takes the forward weights backwards")
    elif inside:
        transport = ("in part", f"none between layers; within one, an error comes back from {', '.join(inside)}")
    else:
        transport = ("yes", "no error travels between layers")
    if negatives:
        phases = ("no", "every image comes twice, as a positive and as a negative" + relaxes * ", and activities relax first")
    elif any("second view" in wire for wire in wires):
        phases = ("no", "two views of every image")
    else:
        phases = ("yes", "each image is seen once a step")
    made = f"“{strategy.get('title', 'its strategy')}”, " + (
        "which takes the true label" if strategy.get("uses_labels") else "made from images alone"
    )
    entry = sorted({end for start, end, _ in wires if start == "label"})
    told = not local or (strategy.get("uses_labels", True) if negatives else item["has_goodness"])
    return {
        "Learning is local": (
            "yes",
            f"each layer's loss moves that layer alone{'; from above it hears ' * bool(heard)}{', '.join(heard)}",
        )
        if local
        else ("no", "an error from the read-out reaches the layers below"),
        "No weight transport": transport,
        "One phase": phases,
        "No negatives": ("no", made) if negatives else ("yes", "it uses none"),
        "No label at the input": ("no", f"a label is shown {'at the ' + ', '.join(entry) if entry else 'beside the image'}")
        if labelled
        else ("yes", "it is shown images alone"),
        "No class labels for the layers": ("no", "the class takes part in what they learn")
        if told
        else ("yes", "only the read-out, trained beside them, is told the classes"),
        "Read in one pass": _one_pass(run),
    }


_ABOVE = ("layer above", "read-out", "modulator M")


def _one_pass(run: Run) -> tuple[str, str]:
    result = run.status()["result"]
    readout = result.get("readout") if isinstance(result, dict) else None
    if readout == "goodness" and run.config.get("labelled"):
        return "no", f"every one of the {len(run.config['facts'].get('classes', []))} labels is tried on"
    return ("yes", f"read out by {readout}") if isinstance(readout, str) else ("open", "the run does not say how it is read")


def stored_studies(root: str | None = None, name: str = "negatives") -> list[dict[str, Any]]:
    """The tables that the study of this name (negatives, remedies) has stored, the newest first, then the bundled:
    {protocol, rows, file}."""
    found = []
    for place in (runs.runs_root(root), runs.bundled_root()):
        inside = (place / STUDIES).glob(f"{name}-*.json")
        found += sorted(inside, key=lambda file: file.stat().st_mtime, reverse=True)
    told = [{**files.read_json(file)[0], "file": str(file)} for file in found]
    return [study for study in told if "rows" in study and "protocol" in study]
