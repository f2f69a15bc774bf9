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
    file = ROOT / "bench" / "results" / f"{machine}.json"
    if not file.exists():
        return f"*Not measured yet: `ffcore bench --json > bench/results/{machine}.json`.*"
    rows = []
    for row in json.loads(file.read_text("utf-8"))["results"]:
        low, high = row["spread"] or (None, None)
        spread = "–" if low == high else f"{_figure(low, row['unit'])} – {_figure(high, row['unit'])}"
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f} × {row['against']}"
        rows.append((row["name"], _figure(row["value"], row["unit"]), spread, str(row["n"]), ratio))
    return table(("", "value", "least – largest", "n", "ratio"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "models": models,
    "negatives": negatives,
    "speed_h100": lambda: speed("h100"),
    "speed_cpu2": lambda: speed("cpu2"),
}


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
