"""Studies: the same run over a grid of settings and random seeds, compared on the validation split."""

import hashlib
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ffcore import __version__, data, files, jobs, probes, runs, telemetry
from ffcore.analyses import analyse, health
from ffcore.comparison import STUDIES
from ffcore.config import configure
from ffcore.errors import Refused
from ffcore.trained import Trained, summary
from ffcore.training import build_strategy, contrast

EPOCHS, MANY = 3, 20_000  # a study of negatives takes 3 epochs on sets of so many images, else what training takes


def study(
    vary: Mapping[str, Sequence[Any]],
    seeds: int = 3,
    progress: jobs.Progress | None = None,
    root: str | None = None,
    tag: str | None = None,
    **asked,
) -> list[dict[str, Any]]:
    """Train every combination of `vary` (dotted settings → values) with `seeds` random seeds; one row per combination.

    Rows: the varied keys, n, mean and sd of the validation accuracy, paired_difference to the first row (same seeds),
    seconds (mean), runs. No accuracy is measured on test images. A
    cell that is done already is not run again, an interrupted one
    goes on. Raises Refused before anything is trained if one cell's settings are wrong.
    """
    if not vary or not all(vary.values()):
        raise Refused("a study varies something; name it with --vary KEY=a,b,c")
    flags = {"model.name": "model", "negatives.name": "negatives", "data.name": "data", "train.epochs": "epochs"}
    for key in vary:
        if asked.get(flags.get(key, key)) is not None or key in asked.get("set", {}):
            raise Refused(f"'{key}' is varied and fixed at once; leave out the one or the other")
    first = asked.pop("seed", 0)
    tag = tag or "study " + ", ".join(vary)
    cells = []
    for values in itertools.product(*vary.values()):
        cell = dict(zip(vary, values, strict=True))
        flags = {key: cell[key] for key in ("model", "negatives", "data", "preset") if key in cell}
        settings = {**asked.get("set", {}), **{k: v for k, v in cell.items() if k not in flags}}
        wanted = {**asked, **flags, "set": settings, "test": False, "tag": tag}
        cells.append((cell, [{**wanted, "seed": first + i} for i in range(seeds)]))
    _check(cells)
    rows = []
    for cell, repeats in cells:
        results = [summary(jobs.trained_once(wanted, progress, root)) for wanted in repeats]
        scores = [r["validation_accuracy"] for r in results]
        rows.append({**cell, "scores": scores, **_shared(results)})
    for row in rows:
        row |= compared(row["scores"], rows[0]["scores"])
    return rows


def study_negatives(
    seeds: int = 3,
    progress: jobs.Progress | None = None,
    root: str | None = None,
    images: int = 20_000,
    **asked,
) -> dict[str, Any]:
    """Train one net with every negative strategy, and compare: {protocol, rows, file}, as stored in the runs folder.

    Equal for all: initial weights and order of the images (by random seed), number of steps, settings. Rows: every
    strategy with its default settings, the flawed ones of the `ref-` presets, the untrained net, raw pixels. Every row
    holds `readouts` {goodness, softmax, probe → {scores, n, mean, sd, paired_difference and paired_sd to `wrong_label`}},
    of which those of the probe stand in the row itself, since all rows have them; seconds of training, dead (share of
    units), hardness (share of pairs that the trained net still gets wrong, per layer), remark (why it taught little), runs.
    All accuracies are measured
    on the validation split; the probe (`probes.probe`) is trained on the first `images` training images.

    A cell that is done is not run again, an interrupted one goes on. Raises Refused before anything is trained.
    """
    chosen = [key for key in ("negatives", "preset", "tag", "seed") if asked.get(key)]
    if chosen := [*chosen, *(key for key in asked.get("set", {}) if key.startswith("negatives."))]:
        raise Refused(f"the study of negatives chooses {chosen[0]} itself; leave it out, or compare settings with --vary")
    cells = _negative_cells(seeds, asked)
    loaded = _check(cells)
    if (few := min(images, len(loaded.train.y))) < probes.FEW:
        raise Refused(f"{few} training images: a probe needs at least {probes.FEW}; take more data")
    if asked.get("epochs") is None and len(loaded.train.y) >= MANY:
        cells = _negative_cells(seeds, {**asked, "epochs": EPOCHS})
    told = []
    for cell, repeats in cells:
        found = []
        for wanted in repeats:
            run = jobs.trained_once(wanted, progress, root)
            found.append({**summary(run), **_examined(run, images)})
        told.append((cell, found))
    config = configure(**cells[0][1][0])
    told.append(({"row": "raw pixels"}, [{"run": None, "probe": _raw_pixels(config, images, root)}] * seeds))
    rows = [{**cell, **_negative_row(found)} for cell, found in told]
    base = next(row for row in rows if row["row"] == "wrong_label")
    for row in rows:
        for name, values in row["readouts"].items():
            values |= compared(values["scores"], base["readouts"].get(name, values)["scores"])
        row |= {k: row["readouts"]["probe"][k] for k in ("n", "mean", "sd", "paired_difference", "paired_sd")}
    untrained = next(row for row in rows if row["row"] == "untrained")
    for row in rows:
        row["remark"] = _remark(row, untrained["mean"])
    return _stored("negatives", config, rows, root, seeds=seeds, images=images)


REMEDIES: dict[str, dict[str, Any]] = {  # of dead units, one change each
    "none": {},
    "peer normalisation": {"model.peer": 1.0},
    "leaky ReLU": {"model.activation": "leaky_relu"},
    "GELU": {"model.activation": "gelu"},
    "SiLU": {"model.activation": "silu"},
    "mean goodness": {"model.goodness": "mean"},
    "k-winners (20%)": {"model.winners": 0.2},
    "adaptive sparsity (20%)": {"model.sparsity": 0.2, "model.penalty_size": 0},
    "homeostatic bias (20%)": {"train.homeostasis": 0.2},
    "recycling (ReDo, every 10 steps)": {"train.recycle": 10},
    "no mask": {"model.mask": 0},
    "no sparsity penalty": {"model.penalty_size": 0},
    "detached predictor": {"model.coupled": False},
    "detached predictor, no penalty": {"model.coupled": False, "model.penalty_size": 0},
    "detached predictor, no penalty, no mask": {"model.coupled": False, "model.penalty_size": 0, "model.mask": 0},
    "the same, and recycling": {
        "model.coupled": False,
        "model.penalty_size": 0,
        "model.mask": 0,
        "train.recycle": 10,
    },
}


def study_remedies(
    seeds: int = 3, progress: jobs.Progress | None = None, root: str | None = None, preset: str | None = "ref-pcl", **asked
) -> dict[str, Any]:
    """What brings dead units back: the runs of `preset` (`ref-pcl`) with and without each remedy; {protocol, rows, file}.

    Rows: row, settings, n, mean, sd (validation accuracy), paired_difference and paired_sd to "none", dead, reference_metric,
    mean_rate (as `analyses.health` has them: mean over layers and seeds), seconds, runs. The table is stored in the runs
    folder. A cell that is done is not run again, an interrupted one goes on. Raises Refused before anything is trained.
    """
    if preset != "ref-pcl":
        raise Refused(f"preset '{preset}': the study of remedies is about ref-pcl; leave --preset out")
    if chosen := [key for key in ("model", "negatives", "tag", "seed") if asked.get(key)]:
        raise Refused(f"the study of remedies chooses {chosen[0]} itself; leave it out")
    shared, own = {**asked, "preset": preset, "test": False, "tag": "study remedies"}, asked.get("set") or {}
    cells = [
        ({"row": name, "settings": remedy}, [{**shared, "set": {**own, **remedy}, "seed": seed} for seed in range(seeds)])
        for name, remedy in REMEDIES.items()
    ]
    _check(cells)
    rows = []
    for cell, repeats in cells:
        found = [jobs.trained_once(wanted, progress, root) for wanted in repeats]
        told = [summary(run) for run in found]
        layers = [layer for run in found for layer in health(run, root)["layers"]]
        shares = {key: statistics.mean(layer[key] for layer in layers) for key in ("dead", "reference_metric", "mean_rate")}
        rows.append({**cell, "scores": [r["validation_accuracy"] for r in told], **shares, **_shared(told)})
    for row in rows:
        row |= compared(row["scores"], rows[0]["scores"])
    return _stored("remedies", configure(**cells[0][1][0]), rows, root, seeds=seeds)


NETS: dict[str, dict[str, Any]] = {  # whose transfer is compared
    "ff, gap": {"model": "ff"},
    "ff, threshold": {"model": "ff", "set": {"model.objective": "threshold"}},
    "ff, label-free (random_noise)": {"model": "ff", "negatives": "random_noise"},
    **{name: {"model": name} for name in ("layer_collab", "three_factor", "pcl", "prospective", "dendritic")},
    **{name: {"model": name} for name in ("mono_forward", "hybrid", "pff", "cwc", "backprop")},
}


def study_transfer(
    seeds: int = 3,
    progress: jobs.Progress | None = None,
    root: str | None = None,
    target: str | None = None,
    nets: Sequence[str] | None = None,
    images: int = 20_000,
    **asked,
) -> dict[str, Any]:
    """Does what a net has learnt from one dataset serve on another? {protocol, rows, file}, as stored in the runs folder.

    Rows, one per net of `NETS` (or those of `nets`): row, model, source (validation accuracy on its data); `cells`, what the
    converged probe (`ffcore.lab.probe`), trained on `images` images of the target, reads on its test images from the net's
    `last` layer and from `all`, from its untrained twin's (`untrained last` …) and the paired differences (`gain last` …),
    each as `spread` tells it; `reference`: the same by the reference study's protocol; seconds, runs. The first row is raw
    pixels.
    A cell that is done is not run again, an interrupted one goes on. Raises Refused before anything is trained.
    """
    chosen = [key for key in ("model", "negatives", "preset", "tag", "seed") if asked.get(key)]
    varied = [key for key in asked.get("set") or {} if key == "model.objective" or key.startswith("negatives.")]
    if chosen := [*chosen, *varied]:
        raise Refused(f"the study of transfer chooses {chosen[0]} itself; leave it out")
    if unknown := [name for name in nets or () if name not in NETS]:
        raise Refused(f"no net '{unknown[0]}' in the study of transfer; known: {'; '.join(NETS)}")
    shared, own = {**asked, "test": False, "tag": "study transfer"}, asked.get("set") or {}
    cells = [
        (name, [{**shared, **NETS[name], "set": {**own, **NETS[name].get("set", {})}, "seed": seed} for seed in range(seeds)])
        for name in nets or NETS
    ]
    _check(cells)
    rows: list[dict[str, Any]] = []
    for name, repeats in cells:
        told, found = [], {"converged": [], "reference": []}
        for wanted in repeats:
            run = jobs.trained_once(wanted, progress, root)
            told.append(summary(run))
            for protocol, results in found.items():
                asked_of = {"target": target, "protocol": protocol, "layers": "few", "train": images}
                results.append(analyse("probe", run, root=root, **asked_of).result())
        if not rows:
            pixels = {protocol: {"pixels": spread(_accuracies(results, "pixels"))} for protocol, results in found.items()}
            told_of = {"row": "raw pixels", "model": None, "source": None, "seconds": 0.0, "runs": []}
            rows.append({**told_of, "cells": pixels["converged"], "reference": pixels["reference"]})
        source = spread([result["validation_accuracy"] for result in told])
        kept = {"cells": _transferred(found["converged"]), "reference": _transferred(found["reference"])}
        rows.append({"row": name, "model": NETS[name]["model"], "source": source, **kept, **_shared(told)})
    settled = found["converged"][0]["target"]
    more = {"seeds": seeds, "target": settled, "nets": list(nets or NETS), "images": images}
    return _stored("transfer", configure(**cells[0][1][0]), rows, root, **more)


def _accuracies(results: list[dict[str, Any]], net: str, side: str | None = None) -> list[float]:
    """Of every random seed's probe, the accuracy of a net's last layer as it is, or of all its layers together."""
    told = []
    for result in results:
        mine = [row for row in result["rows"] if row["net"] == net]
        mine = [row for row in mine if (row["layer"] == "all") == (side == "all") and (side == "all" or not row["normalised"])]
        told.append(mine[-1]["accuracy"])
    return told


def _transferred(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """{`last`, `all`, and of each: `untrained …`, and `gain …` over that, → spread}."""
    told = {}
    for side in ("last", "all"):
        own, twin = (_accuracies(results, net, side) for net in ("run", "untrained"))
        gain = [a - b for a, b in zip(own, twin, strict=True)]
        for name, scores in (("", own), ("untrained ", twin), ("gain ", gain)):
            told[f"{name}{side}"] = spread(scores)
    return told


def spread(scores: Sequence[float]) -> dict[str, Any]:
    """scores, n, mean, sd, and half of the 95% interval of the mean (Student's t); the last two None for a single score."""
    from scipy import stats

    n = len(scores)
    sd = statistics.stdev(scores) if n > 1 else None
    half = float(stats.t.ppf(0.975, n - 1)) * sd / n**0.5 if sd is not None else None
    return {"scores": list(scores), "n": n, "mean": statistics.mean(scores), "sd": sd, "interval": half}


def _stored(name: str, config: dict[str, Any], rows: list, root: str | None, **more) -> dict[str, Any]:
    """{protocol, rows, file}: a study's table, written into the runs folder under a digest of its protocol."""
    protocol = {"study": name, **{k: config[k] for k in ("data", "model", "train")}, **more}
    protocol |= {"accuracies": "validation split", "version": __version__}
    digest = hashlib.blake2b(files.to_json(protocol), digest_size=4).hexdigest()
    file = runs.runs_root(root) / STUDIES / f"{name}-{digest}.json"
    file.parent.mkdir(exist_ok=True)
    files.replace(file.parent, file.name, files.to_json({"protocol": protocol, "rows": rows}))
    return {"protocol": protocol, "rows": rows, "file": str(file)}


def _negative_cells(seeds: int, asked: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """(what the row is, its runs) for every strategy, flawed ones last, and the untrained net."""
    from ffcore.models import MODELS
    from ffcore.negatives import STRATEGIES
    from ffcore.presets import PRESETS

    facts = {name: STRATEGIES[name] for name in STRATEGIES}
    chosen = [(name, {"negatives": name}) for name in facts if facts[name].faithful]
    only_negatives = [p for p in PRESETS if all(k.startswith("negatives.") for k in PRESETS[p].settings)]
    flawed = {PRESETS[p].settings.get("negatives.name"): p for p in only_negatives}
    chosen += [(name, {"preset": flawed[name]}) for name in facts if name in flawed and not facts[name].faithful]
    chosen.sort(key=lambda row: row[0] != "wrong_label")  # what all are compared with
    shared = {**asked, "test": False, "tag": "study negatives"}
    cells = []
    for name, wanted in [*chosen, ("untrained", {"model": "untrained"})]:
        cls = facts.get(name)
        cell = {"row": name, "negatives": name if cls else None, "title": cls.title if cls else "Untrained layers"}
        cell |= {fact: getattr(cls, fact) if cls else None for fact in ("uses_labels", "embeds_label", "faithful")}
        settings = dict(asked.get("set") or {})
        if not cls:  # what says how layers learn is nothing to a net whose layers do not
            known = MODELS["untrained"].Settings.model_fields
            settings = {k: v for k, v in settings.items() if not k.startswith("model.") or k[6:] in known}
        cells.append((cell, [{**shared, "set": settings, **wanted, "seed": seed} for seed in range(seeds)]))
    return cells


def _negative_row(found: list[dict[str, Any]]) -> dict[str, Any]:
    """One row out of the runs of its random seeds."""
    scores = {name: [r["readouts"][name]["validation"] for r in found] for name in found[0].get("readouts", {})}
    scores["probe"] = [r["probe"]["accuracy"] for r in found]
    row: dict[str, Any] = {"readouts": {name: {"scores": values} for name, values in scores.items()}}
    if found[0]["run"] is None:
        return {**row, "seconds": 0.0, "dead": None, "hardness": None, "runs": []}
    hardness = [statistics.mean(layer) for layer in zip(*(r["hardness"] for r in found), strict=True)]
    dead = [r["dead"] for r in found if r["dead"] is not None]
    return {**row, **_shared(found), "dead": statistics.mean(dead) if dead else None, "hardness": hardness or None}


def _remark(row: dict[str, Any], untrained: float) -> str | None:
    """Why a strategy taught little, by what was measured; None where it beats untrained layers by a point."""
    if not row["hardness"] or row["mean"] >= untrained + 0.01:
        return None
    lost, dead = statistics.mean(row["hardness"]), row["dead"] or 0.0
    if dead > 0.5:
        return f"collapsed: {dead:.0%} of the units are silent, so that negatives are liked as little as positives"
    if lost > 0.4:
        return f"too hard: {lost:.0%} of the pairs are still lost, and the net cannot tell which side is which"
    if lost < 0.01:
        return f"too easy: {lost:.1%} of the pairs are lost, and what tells them apart says little about the classes"
    return "what tells the pairs apart says little about the classes"


def _examined(run: runs.Run, images: int) -> dict[str, Any]:
    """{probe, hardness, dead} of a finished run; measured once, then kept in its directory as study.json."""
    kept = files.read_json(run.dir / "study.json")[0]
    if kept.get("images") == images and _is_sound(kept):
        return kept
    import torch

    trained = Trained(run.dir)
    config, loaded = run.config, data.load(data.DataSettings(**run.config["data"]), run.config["data_root"])
    x, y = (part[: telemetry.PROBE] for part in loaded.validation)
    rng = torch.Generator().manual_seed(0)
    strategy = build_strategy(config)
    won = contrast(trained.model, strategy, x.float() / 255, y, rng)[2] if strategy else torch.empty(0, 0)
    last = [event for event in run.events()[0] if event["event"] == "epoch"][-1]
    dead = [row["dead"] for row in last["layers"] if row["dead"] is not None]  # none without telemetry
    told = {
        "images": images,
        "probe": probes.probe(trained.model, loaded, images, config["train"]["precision"]),
        "hardness": [1 - share for share in won.mean(0).tolist()],
        "dead": statistics.mean(dead) if dead else None,
    }
    run.replace("study.json", files.to_json(told))
    return told


def _is_sound(kept: dict[str, Any]) -> bool:
    """Is it what `_examined` writes? An imported run may bring anything."""
    probe, hardness, dead = (kept.get(key) for key in ("probe", "hardness", "dead"))
    numbers = [
        probe.get("accuracy") if isinstance(probe, dict) else None,
        *(hardness if isinstance(hardness, list) else [None]),
    ]
    return all(isinstance(n, int | float) for n in [*numbers, 0 if dead is None else dead])


def _raw_pixels(config: dict[str, Any], images: int, root: str | None) -> dict[str, Any]:
    """The probe on the images themselves, kept beside the tables."""
    loaded = data.load(data.DataSettings(**config["data"]), config["data_root"])
    folder = runs.runs_root(root) / STUDIES
    folder.mkdir(exist_ok=True)
    name = f"pixels-{loaded.hash[:16]}-{images}.json"
    kept = files.read_json(folder / name)[0]
    if not kept:
        kept = probes.probe(None, loaded, images)
        files.replace(folder, name, files.to_json(kept))
    return kept


def _shared(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"seconds": statistics.mean(r["train_seconds"] for r in results), "runs": [r["run"] for r in results]}


def compared(scores: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """n, mean and s.d. of scores, and of their differences to those of `base` with the same random seeds."""
    differences = [a - b for a, b in zip(scores, base, strict=True)]
    several = len(scores) > 1
    return {
        "n": len(scores),
        "mean": statistics.mean(scores),
        "sd": statistics.stdev(scores) if several else None,
        "paired_difference": statistics.mean(differences),
        "paired_sd": statistics.stdev(differences) if several else None,
    }


def _check(cells: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> data.Data:
    """Raises Refused for the first setting or dataset that would stop the study half-way; returns the last dataset."""
    if not cells[0][1]:
        raise Refused("seeds: a study needs at least one; take --seeds 3")
    seen = []
    for _, repeats in cells:
        configs = [configure(**wanted) for wanted in repeats]
        images = configs[0]["data"], configs[0]["data_root"]
        if images not in seen:
            seen.append(images)
            loaded = data.load(data.DataSettings(**images[0]), images[1])
            if not len(loaded.validation.y):
                raise Refused("data.validation=0: a study compares on the validation split; leave it out")
    return loaded
