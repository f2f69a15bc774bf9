"""The generated tables of README.md and docs/*.md: `python docs/tables.py` writes them anew, `--check` tells if they hold.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. Words come from the registries, numbers from bundled
runs and studies, so that none is typed.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from ffcore import catalogue
from ffcore.cards import percent, table

ROOT = Path(__file__).parent.parent
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def models() -> str:
    """Every model, what it is, and what the bundled run of it reached."""
    reached: dict[str, tuple[str, str]] = {}
    for one in _zoo():
        if one["data"] == "MNIST" and one["preset"] is None:
            how = f"{'-'.join(map(str, one['layers']))}, {one['images']:,} × {one['epochs']:g}"
            reached.setdefault(one["model"], (how, percent(one["test_accuracy"])))
    known = [model for model in catalogue.models() if model["faithful"]]
    known.sort(key=lambda model: (model["name"] != "ff", not model["is_local"], model["name"]))
    rows = [(f"`{m['name']}`", _first(m["about"]), m["source"], *reached.get(m["name"], ("–", "–"))) for m in known]
    return table(("model", "", "source", "bundled run: layers, images × epochs", "test"), rows)


def negatives() -> str:
    """Every strategy and what a net learns from it under one protocol, best first."""
    told = {item["name"]: item for item in catalogue.negatives()}
    study = json.loads((ROOT / "checkpoints" / "studies" / "negatives-mnist.json").read_text("utf-8"))
    rows = []
    for row in sorted(study["rows"], key=lambda row: -row["readouts"]["probe"]["mean"]):
        item = told.get(row["row"])
        flawed = "" if item is None or item["faithful"] else " (flawed)"
        by = [_spread(row["readouts"].get(name)) for name in ("goodness", "probe")]
        lost = ", ".join(f"{100 * share:.1f}" for share in row.get("hardness") or []) or "–"
        dead = "–" if row.get("dead") is None else f"{row['dead']:.0%}"
        name, about = (f"`{row['row']}`{flawed}", _first(item["about"])) if item else (f"*{row['row']}*", "")
        rows.append((name, about, "yes" if item and item["embeds_label"] else "no" if item else "–", *by, lost, dead))
    return table(("negatives", "", "labels shown", "by goodness", "by probe", "pairs lost, by layer", "dead"), rows)


def speed(machine: str) -> str:
    """The figures of `ffcore bench` on a machine, as stored in bench/results."""
    if not (results := _results(machine)):
        return f"*Not measured yet: `ffcore bench --json > bench/results/{machine}.json`.*"
    rows = []
    for row in results:
        low, high = row["spread"] or (None, None)
        spread = "–" if low == high else f"{_figure(low, row['unit'])} – {_figure(high, row['unit'])}"
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f} × {row['against']}"
        rows.append((row["name"], _figure(row["value"], row["unit"]), spread, str(row["n"]), ratio))
    return table(("", "value", "least – largest", "n", "ratio"), rows)


SHORT = {  # what README tells of `ffcore bench`: the row's name on two cores, and on an H100
    "a step of `ff`, 512 images": ("step, ff", "step, ff, 500-500, graph"),
    "a step of `backprop`": ("step, backprop", "step, backprop, 500-500, graph"),
    "`ff` to 97% of the validation images": ("seconds to 97.0%, ff",) * 2,
    "`backprop` to 97%": ("seconds to 97.0%, backprop",) * 2,
    "`ff` to 98%": ("seconds to 98.0%, ff",) * 2,
    "`backprop` to 98%": ("seconds to 98.0%, backprop",) * 2,
    "the reference study's recipe, 2 × 1,000 steps": ("the reference study's training, extrapolated to 50,000 images", None),
    "test accuracy, `--preset paper`": (None, "test accuracy, paper (500-500, 30 epochs)"),
    "test accuracy, `--preset wide`": (None, "test accuracy, wide (1000-1000-1000, 54 epochs)"),
    "test accuracy, `--preset shifted`": ("test accuracy, shifted (1000-1000-1000, 120 epochs)", None),
    "test accuracy, `--preset fashion`": ("test accuracy, fashion (1000-1000, 60 epochs)", None),
}


def speed_short() -> str:
    """The figures of both machines that a reader asks for first."""
    told = [{row["name"]: row for row in _results(machine)} for machine in ("cpu2", "h100")]
    rows = []
    for name, places in SHORT.items():
        found = [rows.get(place) if place else None for rows, place in zip(told, places, strict=True)]
        rows.append((name, *("–" if row is None else _figure(row["value"], row["unit"]) for row in found)))
    return table(("784-500-500, MNIST", "two CPU cores", "one H100"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "speed_short": speed_short,
    "models": models,
    "negatives": negatives,
    "speed_h100": lambda: speed("h100"),
    "speed_cpu2": lambda: speed("cpu2"),
}


def _results(machine: str) -> list[dict]:
    """The rows that a machine's measurement told; none before there was one."""
    file = ROOT / "bench" / "results" / f"{machine}.json"
    return json.loads(file.read_text("utf-8"))["results"] if file.exists() else []


def filled(text: str) -> str:
    """The text with every table in it made anew. Raises KeyError for a table that nobody makes."""
    return _PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]]()}\n{place[3]}", text)


def _zoo() -> list[dict]:
    return sorted(catalogue.zoo(), key=lambda one: (one["name"] != "ff-mnist", one["name"]))


def _first(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    return re.split(r"(?<=\.)\s+(?=[A-Z]|$)", " ".join(text.split("\n\n")[0].split()))[0].rstrip(".")


def _figure(value: float | None, unit: str) -> str:
    """A number with its unit, for reading: `621 µs`, `79.5 MB`, `98.79%`."""
    if value is None:
        return "not reached"
    kind = unit.partition(",")[0]
    if kind == "of 1":
        return f"{100 * value:.2f}%"
    if kind == "s" and value >= 7_200:
        return f"{value / 3_600:.1f} h"
    scales = {
        "s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs")),
        "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
        "operations/s": ((1e12, "TFLOP/s"), (1e9, "GFLOP/s")),
    }
    if kind not in scales:
        return f"{value:.2f}"
    scale, name = next((s for s in scales[kind] if value >= s[0]), scales[kind][-1])
    return f"{value / scale:.3g} {name}" if value / scale < 1_000 else f"{value / scale:,.0f} {name}"


def _spread(told: dict | None) -> str:
    if not told:
        return "–"
    return f"{100 * told['mean']:.2f}" + (f" ± {100 * told['sd']:.2f}" if told.get("n", 1) > 1 and told["sd"] else "")


def main() -> int:
    """Writes what changed; with --check, only says so."""
    check, stale = "--check" in sys.argv, 0
    for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = file.read_text("utf-8")
        if (new := filled(text)) != text:
            stale += 1
            print(f"{file.name}: {'is out of step; run `make tables`' if check else 'written anew'}")
            if not check:
                file.write_text(new, "utf-8")
    return stale if check else 0


if __name__ == "__main__":
    sys.exit(main())
