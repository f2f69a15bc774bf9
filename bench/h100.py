"""The table of docs/speed.md for an H100, as rows of `ffcore bench`: `python bench/h100.py RESULTS.json …`.

Results are those of `bench/gpu.py` (machine, ceilings, steps, races, depth, presets), in one file or several; a part is taken
once. Rows of it replace those of the same benches in bench/results/h100.json.
"""

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from ffcore.benchmarks import TARGETS, median_ratio, raced, reaching, row

STORED = Path(__file__).parent / "results" / "h100.json"


def parts(files: list[str]) -> dict:
    """{part: what it told}; ends where a part stands in two files."""
    out: dict = {}
    for file in files:
        for name, part in json.loads(Path(file).read_text("utf-8"))["parts"].items():
            if name in out and "result" in part:
                sys.exit(f"{file}: '{name}' is told by an earlier file, too; leave one of them out")
            if "result" in part:
                out[name] = part["result"]
    return out


def steps(told: dict) -> Iterator[dict]:
    """Steps, their ratio to backpropagation's turn by turn, and their share of the ceiling."""
    peak = told["ceilings"]["bf16"]["operations"]
    known = {(s["rule"], tuple(s["widths"]), s["how"]): s for s in told["steps"]}
    for (rule, widths, how), s in known.items():
        shape, rounds = "-".join(map(str, widths)), s["rounds"]
        ratio = median_ratio(rounds, known["backprop", widths, how]["rounds"])
        yield row(f"step, {rule}, {shape}, {how}", rounds, "s", ratio, "backprop")
        if how == "graph":
            yield row(
                f"share of the ceiling, {rule}, {shape}", [s["operations"] / peak / seconds for seconds in rounds], "of 1"
            )
    yield row("ceiling of products", [peak], "operations/s, bf16")


def races(told: dict) -> Iterator[dict]:
    """Seconds of training until an accuracy."""
    ended: dict[str, dict[int, list[dict]]] = {}
    for end in told["races"]:
        ended.setdefault(end["rule"], {}).setdefault(end["epoch"], []).append(end)
    return raced({rule: reaching(of, TARGETS) for rule, of in ended.items()})


def memory(told: dict) -> Iterator[dict]:
    """Most memory of a step, as a graph."""
    most = {(d["rule"], d["width"], d["batch"]): d["bytes"] for d in told["depth"] if d["how"] == "auto"}
    for (rule, width, batch), size in most.items():
        ratio = size / most["backprop", width, batch]
        yield row(f"most memory, 8 layers of {width}, batch {batch}, {rule}", [size], "bytes", ratio, "backprop")


def presets(told: dict) -> Iterator[dict]:
    """Test accuracy of presets: the mean over random seeds."""
    for name in dict.fromkeys(end["preset"] for end in told["presets"]):
        ends = [end for end in told["presets"] if end["preset"] == name]
        widths, right = "-".join(map(str, ends[0]["widths"])), [end["accuracy"] for end in ends]
        line = row(f"test accuracy, {name} ({widths}, {ends[0]['epochs']} epochs)", right, "of 1, test")
        yield {**line, "value": statistics.mean(right)}


TABLE = {"steps": ("steps", steps), "races": ("race", races), "depth": ("memory", memory), "presets": ("presets", presets)}


def main() -> None:
    """Write what the files tell into the stored results."""
    told = parts(sys.argv[1:])
    before = json.loads(STORED.read_text("utf-8"))
    rows = []
    for part, (bench, made) in TABLE.items():
        old = [line for line in before["results"] if line["bench"] == bench]
        rows += [{**line, "bench": bench} for line in made(told)] if part in told else old
    machine = before["machine"]
    if "machine" in told:
        machine = {**told["machine"], "device": "cuda", "precision": "bf16", "data": "mnist"}
    text = json.dumps({"results": rows, "machine": machine, "quick": False}, indent=1)
    STORED.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
