"""Studies: the same run over a grid of settings and random seeds, compared on the validation split."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ffcore import data, jobs, runs
from ffcore.config import configure
from ffcore.errors import Failed, Refused
from ffcore.trained import summary


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
    if seeds < 1:
        raise Refused(f"seeds={seeds}: a study needs at least one; take --seeds 3")
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
        results = [summary(_cell(wanted, progress, root)) for wanted in repeats]
        scores = [r["validation_accuracy"] for r in results]
        rows.append(
            {
                **cell,
                "scores": scores,
                "seconds": statistics.mean(r["train_seconds"] for r in results),
                "runs": [r["run"] for r in results],
            }
        )
    for row in rows:
        differences = [a - b for a, b in zip(row["scores"], rows[0]["scores"], strict=True)]
        row["n"], row["mean"] = len(row["scores"]), statistics.mean(row["scores"])
        row["sd"] = statistics.stdev(row["scores"]) if seeds > 1 else None
        row["paired_difference"] = statistics.mean(differences)
        row["paired_sd"] = statistics.stdev(differences) if seeds > 1 else None
    return rows


def _check(cells: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> None:
    """Raises Refused for the first setting or dataset that would stop the study half-way."""
    seen = []
    for _, repeats in cells:
        configs = [configure(**wanted) for wanted in repeats]
        images = configs[0]["data"], configs[0]["data_root"]
        if images not in seen:
            seen.append(images)
            if not len(data.load(data.DataSettings(**images[0]), images[1]).validation.y):
                raise Refused("data.validation=0: a study compares on the validation split; leave it out")


def _cell(wanted: dict[str, Any], progress: jobs.Progress | None, root: str | None) -> runs.Run:
    """The finished run of one cell: found, taken up again, or trained now."""
    recipe = configure(**wanted)["recipe"]
    for run in runs.list_runs(root, bundled=False):
        if run.config.get("tag") == wanted["tag"] and run.config.get("recipe") == recipe:
            state = run.state
            if state == "done":
                return run
            if state in ("paused", "lost"):
                return _done(jobs.resume(run, progress))
    return _done(jobs.train(progress, root, **wanted))


def _done(run: runs.Run) -> runs.Run:
    if run.state != "done":  # somebody paused or stopped it from elsewhere: half a run compares with nothing
        raise Failed(f"run {run.id} of the study is {run.state}; give the same command again to go on")
    return run
