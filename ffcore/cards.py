"""Model cards: what a run is, how it was made, what it reached, and where it fails; made from the run's own files alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ffcore import heldout, lifetimes, runs
from ffcore.errors import Refused
from ffcore.presets import PRESETS
from ffcore.rundir import Run, bundled_root

MANY = 0.05  # share of dead units that a card calls a failing
WEIGHTS = "MIT, as ffcore itself"


def card(run: Run | str, root: str | None = None) -> str:
    """The card of a run in Markdown: model, data and licence, seed and command, figures, what it is for, known failings.

    Raises Refused for a damaged run.
    """
    run = run if isinstance(run, Run) else runs.find(run, root)
    if run.problem:
        raise Refused(f"{run.dir} is damaged: {run.problem}; choose another run")
    preset = PRESETS[run.config["preset"]] if run.config.get("preset") in PRESETS else None
    parts = [
        f"# {run.id}",
        _lead(run, preset),
        "## How it was made\n\n" + table(("", ""), _making(run)),
        "```bash\n" + run.command().replace("```", "` ` `") + "\n```",
        "## Figures\n\n" + _figures(run),
        "## What it is for\n\n" + _purpose(run, preset),
        "## Known failings\n\n" + "\n".join(f"- {line}" for line in _failings(run, preset)),
        "## Licence\n\n" + _licence(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def zoo() -> list[dict[str, Any]]:
    """The bundled checkpoints, the newest first: {name, title, about, model, layers (units or channels), preset, data, images,
    epochs (of training), readout, test_accuracy, dead (share per layer), bytes, command}."""
    told = []
    for run in runs.list_runs(bundled_root(), bundled=False):
        if run.problem:
            continue
        result, config = _result(run), run.config
        preset = PRESETS[config["preset"]] if config.get("preset") in PRESETS else None
        told.append({
            "name": run.dir.name, "title": run.title(), "about": _lead(run, preset), "model": config["model"]["name"],
            "layers": _layers(run), "preset": config.get("preset"),
            "data": config["facts"].get("data_title", config["data"]["name"]),
            "images": config["facts"].get("sizes", {}).get("train"), "epochs": run.status()["epoch"],
            "readout": result.get("readout"), "test_accuracy": result.get("test_accuracy"), "dead": dead_units(run),
            "bytes": run.size_bytes(), "command": run.command(),
        })  # fmt: skip
    return told


def zoo_page() -> str:
    """docs/zoo.md: the bundled checkpoints and what they are for, in Markdown."""
    rows = []
    for one in zoo():
        dead = ", ".join(f"{share:.1%}" for share in one["dead"]) or "–"
        right = f"{percent(one['test_accuracy'])} by {one['readout']}"
        link = f"[{one['name']}](../checkpoints/{one['name']}/README.md)"
        rows.append((link, one["about"], one["data"], right, dead, f"{one['bytes'] / 1e6:.1f} MB"))
    return (
        "# Checkpoint zoo\n\n"
        "Small finished runs that come with ffcore. Every Explore and Analyse page shows something of them at once, with no "
        "training, no data and no network; what else one asks there may need a data set. Each is an ordinary run: "
        "`ffcore.load(NAME)` in Python, `ffcore evaluate NAME`, or the name in a page's run picker.\n\n"
        + table(("checkpoint", "what it is", "data", "test accuracy", "dead units, by layer", "size"), rows)
        + "\n\nThis page and the cards are generated from the runs' own files by `make checkpoints`, which also trains them "
        "again; `make check-checkpoints` measures every figure anew. The weights are in float16, and the figures are of "
        "these weights. Validation images of the data sets come along in `checkpoints/data/`, under their own licences: "
        "`index.json` there names them.\n"
    )


def dead_units(run: Run) -> list[float]:
    """Share of units in each layer that the newest snapshot found silent on every image; [] without snapshots."""
    try:
        return [float(layer["out"]["dead"][-1].mean()) for layer in lifetimes.unit_history(run)["layers"]]
    except Refused:
        return []


def _lead(run: Run, preset: Any) -> str:
    """What it is, in a sentence."""
    config = run.config
    if preset and not preset.good:
        return f"{preset.title}. Flawed on purpose, and kept for study ({preset.source or 'preset ' + preset.name})."
    title, source, about = _model(config["model"]["name"])
    how = []
    if objective := config["model"].get("objective"):
        how.append(f"{_plain(objective)} objective")
    if config.get("negatives"):
        how.append(f"negatives {_plain(config['negatives']['name'])}")
    return f"{title}{f' ({source})' if source else ''}{', ' + ', '.join(how) if how else ''}. {about}".strip()


def _model(name: str) -> tuple[str, str, str]:
    """(title, source, first line about it); its bare name where no such model is known here."""
    from ffcore.models import MODELS  # with torch

    if name not in MODELS:
        return _plain(name), "", ""
    cls = MODELS[name]
    return cls.title, cls.source, " ".join((cls.__doc__ or "").strip().partition("\n\n")[0].split())


def _making(run: Run) -> list[tuple[str, str]]:
    config, status, facts = run.config, run.status(), run.config["facts"]
    sizes = facts.get("sizes", {})
    counts = ", ".join(f"{sizes[key]:,} {key}" for key in ("train", "validation", "test") if key in sizes)
    widths = config["model"].get("widths") or config["model"].get("channels")
    versions = facts.get("versions", {})
    rows = [
        ("model", _code(config["model"]["name"]) + (f", layers of {_plain(', '.join(map(str, widths)))}" if widths else "")),
        ("negatives", _code(config["negatives"]["name"]) if config.get("negatives") else "none"),
        ("preset", _code(config["preset"]) if config.get("preset") else ""),
        ("data", f"{_plain(facts.get('provenance') or config['data']['name'])} Images: {counts or 'unknown'}."),
        ("random seed", str(config.get("seed", 0))),
        ("training", f"{status['epoch']:g} epochs, {status['step']:,} steps, {status['train_seconds']:.0f} s on "
                     f"{_plain(facts.get('device_name', config['device']))}, {_threads(facts.get('threads'))}wall clock"),
        ("made", f"{_plain(config.get('created', '')[:10])} with ffcore {_plain(versions.get('ffcore', '?'))}, "
                 f"PyTorch {_plain(versions.get('torch', '?'))}"),
    ]  # fmt: skip
    return [row for row in rows if row[1]]


def _figures(run: Run) -> str:
    """Accuracies by read-out, and dead units."""
    result = _result(run)
    if not result.get("readouts"):
        return f"None yet: the run is {run.state}."
    sizes = run.config["facts"].get("sizes", {})
    heads = ("read-out", *(f"{key} ({sizes.get(key, 0):,} images)" for key in ("validation", "test")))
    first = result.get("readout")
    rows = [
        (
            f"{_plain(name)}{' (its answer)' if name == first else ''}",
            percent(right.get("validation")),
            percent(right.get("test")),
        )
        for name, right in result["readouts"].items()
        if isinstance(right, dict)
    ]
    told = table(heads, rows)
    if shares := dead_units(run):
        dead = "; ".join(f"layer {layer}: {share:.1%}" for layer, share in enumerate(shares, 1))
        told += f"\n\nDead units, never above 0 on up to 1,000 validation images: {dead}."
    return told


def _purpose(run: Run, preset: Any) -> str:
    if preset and not preset.good:
        lines = (("What one sees", preset.see), ("Why", preset.why), ("What mends it", preset.fix))
        return "To see a failure and its cause. " + " ".join(f"**{head}.** {text}" for head, text in lines if text)
    name = run.config["model"]["name"]
    what = {
        "untrained": "The baseline: random layers that never learn, under a read-out that does. What a trained net does not "
        "exceed was not learnt.",
        "backprop": "The baseline: what the usual way of training reaches with the same layers and images.",
    }.get(name, "Study and teaching: to look into a finished net and compare learning rules on equal terms.")
    return f"{what} It is no product: it knows one small data set and nothing else."


def _failings(run: Run, preset: Any) -> list[str]:
    """What the run's own files say against it."""
    config, result, lines = run.config, _result(run), []
    evaluation, classes = run.evaluation() or {}, config["facts"].get("classes", [])
    confusion = evaluation.get("confusion")
    if confusion is not None and len(confusion) == len(classes) and confusion.sum():
        asked, right = confusion.sum(1), confusion.diagonal()
        recall = [r / n if n else 1.0 for r, n in zip(right, asked, strict=True)]  # a class without images is no failing
        low, wrong = min(range(len(classes)), key=recall.__getitem__), confusion.copy()
        wrong[range(len(classes)), range(len(classes))] = 0
        if most := int(wrong.max()):
            true, said = divmod(int(wrong.argmax()), len(classes))
            lines.append(
                f"Of the test images it is least often right about “{_plain(classes[low])}” ({recall[low]:.1%}); its most "
                f"frequent mistake is to read “{_plain(classes[true])}” as “{_plain(classes[said])}” ({most} times)."
            )
    lines += [
        f"{share:.1%} of the units of layer {layer} are dead." for layer, share in enumerate(dead_units(run), 1) if share > MANY
    ]
    if preset and not preset.good:
        lines.append("All of it: the recipe is wrong on purpose.")
    sizes = config["facts"].get("sizes", {})
    if config["data"].get("train"):
        lines.append(
            f"It learnt from {sizes.get('train', 0):,} images, a part of the set: its figures do not compare with others'."
        )
    if not sizes.get("validation"):
        lines.append("It held out no validation images, so nothing but the test images says how it does.")
    if result.get("test_accuracy") is None:
        lines.append("It was never asked about test images.")
    odd = (
        "; an image that scores lower than 99% of the validation images, `ffcore read` calls odd" if result.get("usual") else ""
    )
    lines.append(f"It answers whatever it is shown with one of its classes{odd}.")
    lines.append("It is of one random seed: another gives other figures.")
    return lines


def _licence(run: Run) -> str:
    """Of the weights, where they are ours, and of the images that lie beside them."""
    facts = run.config["facts"]
    ours = f"Weights and figures: {WEIGHTS}. " if run.bundled else "The weights are yours. "
    words = heldout.licence(run) or (facts.get("provenance") or "").rpartition("licence: ")[2].rstrip(".")
    images = f"Images in it (samples, worst errors) are of {_plain(facts.get('data_title', run.config['data']['name']))}"
    return f"{ours}{images}: {_plain(words or 'their owner’s')}."


def _layers(run: Run) -> list[int]:
    """Units of every layer, or channels."""
    return run.config["model"].get("widths") or run.config["model"].get("channels") or []


def _result(run: Run) -> dict[str, Any]:
    result = run.status()["result"]
    return result if isinstance(result, dict) else {}


def _threads(n: Any) -> str:
    return f"{n} thread{'s' * (n != 1)}, " if isinstance(n, int) else ""


def _plain(text: Any) -> str:
    """A run's own words for Markdown: an imported run may hold anything, and no link or picture is to be made of it."""
    return re.sub(r"[\\`*\[\]<>!&]", r"\\\g<0>", " ".join(str(text).split()))


def _code(text: Any) -> str:
    return "`" + str(text).replace("`", "·") + "`"


def percent(share: Any) -> str:
    """`98.24%`, or a dash where there is no number."""
    return f"{100 * share:.2f}%" if isinstance(share, int | float) else "–"


def table(heads: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)
