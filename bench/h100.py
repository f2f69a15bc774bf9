"""What calls on an H100 told, as rows of `ffcore bench`: `python bench/h100.py STEPS.json CEILINGS.json TUNED.json …`.

The first is of `bench/gpu.py` (machine, steps, races, depth, fused), the second of its part `ceilings`, the rest of the
searches for the presets' settings, whose three last runs each were asked for the test images once.
"""

import json
import statistics
import sys
from pathlib import Path

from ffcore.benchmarks import TARGETS, row


def rows(told: dict, ceilings: dict, tuned: list[dict]) -> list[dict]:
    """In the order in which docs/speed.md tells them."""
    parts = {name: part["result"] for name, part in told["parts"].items()}
    peak = ceilings["parts"]["ceilings"]["result"]["bf16"]["operations"]
    known = {(s["rule"], tuple(s["widths"]), s["how"]): s for s in parts["steps"]}
    out = []
    for (rule, widths, how), s in known.items():
        shape = "-".join(map(str, widths))
        plain = known["backprop", widths, how]
        line = row(f"step, {rule}, {shape}, {how}", [s["low"], s["seconds"], s["high"]], "s", s["seconds"] / plain["seconds"])
        out.append({**line, "n": 5, "against": "backprop", "bench": "steps"})
        if how == "graph":
            share = row(f"share of the ceiling, {rule}, {shape}", [s["operations"] / peak / s["seconds"]], "of 1")
            out.append({**share, "bench": "steps"})
    out.append({**row("ceiling of products", [peak], "operations/s, bf16"), "bench": "steps"})
    reached: dict[tuple[str, float], list[float]] = {}
    for rule in dict.fromkeys(r["rule"] for r in parts["races"]):
        own = [r for r in parts["races"] if r["rule"] == rule]
        for target in TARGETS:
            for epochs in sorted({r["epochs"] for r in own}):
                ended = [r for r in own if r["epochs"] == epochs]
                if statistics.median(r["accuracy"] for r in ended) >= target:
                    reached[rule, target] = [r["seconds"] for r in ended]
                    break
    for rule in dict.fromkeys(r["rule"] for r in parts["races"]):
        for target in TARGETS:
            mine, other = reached.get((rule, target)), reached.get(("backprop", target))
            ratio = statistics.median(mine) / statistics.median(other) if mine and other else None
            out.append({**row(f"seconds to {target:.1%}, {rule}", mine or [], "s", ratio, "backprop"), "bench": "race"})
    most = {(d["rule"], d["width"], d["batch"]): d["bytes"] for d in parts["depth"] if d["how"] == "auto"}
    for (rule, width, batch), size in most.items():
        line = row(
            f"most memory, 8 layers of {width}, batch {batch}, {rule}",
            [size],
            "bytes",
            size / most["backprop", width, batch],
            "backprop",
        )
        out.append({**line, "bench": "memory"})
    for part in tuned:
        for task, chosen in part["chosen"].items():
            done = [r["goodness"] for r in part["finals"] if r["task"] == task]
            widths = "-".join(map(str, chosen["settings"]["model.widths"]))
            name = f"test accuracy, {task} ({widths}, {chosen['epochs']} epochs)"
            mean = {**row(name, done, "of 1, test"), "value": statistics.mean(done), "bench": "presets"}
            out = [line for line in out if line["name"].split(" (")[0] != name.split(" (")[0]] + [mean]
    return out


if __name__ == "__main__":
    told, ceilings, *tuned = (json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:])
    machine = {**told["parts"]["machine"]["result"], "device": "cuda", "precision": "bf16", "data": "mnist"}
    text = json.dumps({"results": rows(told, ceilings, tuned), "machine": machine, "quick": False}, indent=1)
    (Path(__file__).parent / "results" / "h100.json").write_text(text + "\n", "utf-8")
