"""Runs side by side, from what is stored: grouped by everything but the random seed, one number per seed. Needs no torch.

Nothing is computed here that a run did not measure: where a run has no such number, there is none.
"""

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ffcore import files, runs
from ffcore.analyses import stored_analyses
from ffcore.errors import Refused
from ffcore.runs import Run

STUDIES = "studies"  # in the runs folder: tables, one file each
SECTIONS = ("model", "negatives", "data", "train")
FACTS = {  # what `headline` tells → what that is
    "test_accuracy": "share of the test images that the default read-out gets right",
    "validation_accuracy": "the same of the validation images",
    "transfer": "share of another set's test images that a linear probe on all layers gets right, converged protocol",
    "transfer_gain": "by how much that exceeds the same probe on the same net untrained",
    "images_per_second": "training images × epochs over seconds of training, validation and telemetry included",
    "train_seconds": "seconds of training, validation and telemetry included",
    "peak_memory": "bytes: of the process at its largest on a CPU, of tensors at their largest on a GPU",
    "dead": "share of units that no validation image switched on after the last epoch, mean over layers",
}


def settings(run: Run) -> dict[str, Any]:
    """{dotted setting: value} of a run: all that decides its outcome but the random seed."""
    config = run.config
    parts = {key: config.get(key) if isinstance(config.get(key), Mapping) else {} for key in SECTIONS}
    return {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}


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
    return {
        "test_accuracy": _share(result.get("test_accuracy")),
        "validation_accuracy": _share(result.get("validation_accuracy")),
        "transfer": found and found["accuracy"],
        "transfer_gain": found and found["difference"],
        "images_per_second": images * epochs / seconds if images and epochs and seconds else None,
        "train_seconds": seconds,
        "peak_memory": _positive(result.get("peak_memory")),
        "dead": _dead(run),
    }


def _positive(value: Any) -> float | None:
    return value if isinstance(value, int | float) and 0 < value < math.inf else None


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _dead(run: Run) -> float | None:
    """As the last epoch told it."""
    for event in reversed(run.events()[0]):
        layers = event.get("layers") if event.get("event") == "epoch" else None
        if isinstance(layers, list):
            shares = [_share(row.get("dead")) for row in layers if isinstance(row, dict)]
            return statistics.fmean(shares) if shares and None not in shares else None
    return None


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


def stored_studies(root: str | None = None, name: str = "negatives") -> list[dict[str, Any]]:
    """The tables that the study of this name (negatives, remedies) has stored, the newest first, then the bundled:
    {protocol, rows, file}."""
    found = []
    for place in (runs.runs_root(root), runs.bundled_root()):
        inside = (place / STUDIES).glob(f"{name}-*.json")
        found += sorted(inside, key=lambda file: file.stat().st_mtime, reverse=True)
    told = [{**files.read_json(file)[0], "file": str(file)} for file in found]
    return [study for study in told if "rows" in study and "protocol" in study]
