"""Transfer: what a frozen net has learnt that is of use on other images, against the baselines that tell."""

import csv
import io
import shlex
import statistics
from collections.abc import Mapping
from typing import Any

import findings
import own
import streamlit as st
import widgets
from charts import transfer as charts
from components import live_chart, live_charts, plotly_loader

import ffcore
from ffcore import Run, catalogue

FIRST, OFFLINE = "fashion-mnist", "glyphs"
PROTOCOLS = {"converged": "converged protocol", "reference": "the reference study's protocol"}
BASELINES = {  # always there, with the words for where they are not measured
    "pixels": "raw pixels",
    "untrained": "the same net untrained",
    "backprop_source": "backprop on the source",
    "backprop_target": "backprop on the target",
}
SHOTS = (10, 100)
CLAIMS = {"run": 0.5419, "backprop_source": 0.7549, "untrained": 0.7189}  # MNIST → Fashion-MNIST, last layer
CLAIMED = {"cwc": 0.8905}  # by another probe and another net than the rest of its table
Results = list[tuple[int, dict[str, Any]]]  # (random seed, a probe's result)


# Which run, which target


def choose_run(runs: list[Run]) -> Run:
    """Any run with weights; a net that has been probed first, and no baseline."""
    plain = [r for r in runs if r.config["model"]["name"] not in ("untrained", "backprop")] or runs
    probed = (r for r in plain[:30] if ffcore.stored_analyses(r, "probe"))
    default = next(probed, None) or next((r for r in plain if r.state == "done"), plain[0])
    return widgets.pick_run(runs, default)


def choose_target(run: Run) -> str:
    """A data set of the run's shape, not its own; first what it has been asked about, or what is on this machine."""
    sets = {d["name"]: d for d in catalogue.datasets()}
    shape, source = tuple(run.config["facts"]["shape"]), run.config["data"]["name"]
    fits = [name for name, d in sets.items() if tuple(d["shape"]) == shape]
    order = {name: i for i, name in enumerate([FIRST, OFFLINE])}
    known = {target for target, *_ in stored_of(run)} | {name for name, d in sets.items() if d["present"]}
    fits.sort(key=lambda n: (n == source, n not in known, order.get(n, 9), n))
    if not fits:
        raise ffcore.Refused(f"no data set here has images of shape {shape}; choose another run")
    shown = {n: sets[n]["title"] + ("" if n in known else " · not on this machine") for n in fits}
    shown |= {n: f"{shown[n]} · the set it learnt from" for n in fits if n == source}
    return widgets.choose(st.selectbox, "Target images", "target", shown, fits[0])


def seeds_of(run: Run, runs: list[Run]) -> dict[int, Run]:
    """{random seed: run} of the runs that differ from this one in nothing else; its own first."""
    group = next((g for g in ffcore.groups(runs) if any(run == r for r in g["runs"])), None)
    others = dict(zip(group["seeds"], group["runs"], strict=True)) if group else {}
    mine = run.config.get("seed", 0)
    return {mine: run, **{seed: r for seed, r in others.items() if seed != mine}}


def stored_of(run: Run) -> dict[tuple[str, str, int | None], dict[str, Any]]:
    """{(target, protocol, shots): what this net, as it is, has answered}: of several the one that learnt from most images."""
    out: dict[tuple[str, str, int | None], dict[str, Any]] = {}
    for finding in ffcore.stored_analyses(run, "probe"):
        told = finding.result() or {}
        asked = told.get("settings") if isinstance(told.get("settings"), dict) else {}
        key = told.get("target"), told.get("protocol"), told.get("shots")
        fits = isinstance(key[0], str) and key[1] in PROTOCOLS and isinstance(key[2], int | None)
        fits = fits and asked.get("epoch") is None and ffcore.sound_rows(told)
        if fits and learnt_from(told) >= learnt_from(out.get(key, {})):
            out[key] = told
    return out


def learnt_from(told: Mapping[str, Any]) -> int:
    """How many images of the target the classifiers were given."""
    return told["images"] if isinstance(told.get("images"), int) else 0


def stored(runs: Mapping[int, Run], target: str, protocol: str) -> Results:
    """What these runs have answered, if only some have; other random seeds only where they learnt from as many images."""
    found = [(seed, told) for seed, run in runs.items() if (told := stored_of(run).get((target, protocol, None)))]
    return [(seed, told) for seed, told in found if learnt_from(told) == learnt_from(found[0][1])]


# What the rows say


def key_of(row: Mapping[str, Any]) -> str:
    """A row's name in the address."""
    side = {True: ".normalised", False: ".as-is"}.get(row.get("normalised"), "")
    return "pixels" if row["net"] == "pixels" else f"{row['net']}.{row.get('layer')}{side}"


def merged(results: Results) -> dict[str, dict[str, Any]]:
    """{key: {row, n, mean, sd}} over random seeds; of one seed, the s.d. over the draws of a few images."""
    found: dict[str, list[dict]] = {}
    for _, told in results:
        for row in ffcore.sound_rows(told):
            found.setdefault(key_of(row), []).append(row)
    out = {}
    for key, rows in found.items():
        values = [row["accuracy"] for row in rows]
        own_sd = rows[0].get("sd") if isinstance(rows[0].get("sd"), int | float) else None
        sd = statistics.stdev(values) if len(values) > 1 else own_sd
        out[key] = {"row": rows[0], "n": len(values), "mean": statistics.fmean(values), "sd": sd}
    return out


def name_of(row: Mapping[str, Any]) -> str:
    return ("this net, " if row["net"] == "run" else "") + row["features"]


def bars(converged: dict, reference: dict, claims: Mapping[str, float], every: bool) -> list[charts.Bar]:
    """Rows for the chart: this net's, then every baseline's, which stand there even if nobody has measured them."""
    rows = {key: told["row"] for part in (reference, converged) for key, told in part.items()}
    order = ["run", *BASELINES, *sorted({row["net"] for row in rows.values()} - {"run", *BASELINES})]

    def rank(key: str) -> tuple:
        layer = rows[key].get("layer")
        return order.index(rows[key]["net"]), layer == "all", layer if isinstance(layer, int) else 99, key

    ends = last_layers(rows)
    out = []
    for net in order:
        mine = sorted((key for key in rows if rows[key]["net"] == net), key=rank)
        if not every:  # all layers together stand for themselves, on whichever side of the norm
            as_is = [key for key in mine if rows[key].get("layer") == "all" or not rows[key].get("normalised")]
            ends_only = [key for key in as_is if net == "run" or rows[key].get("layer") in ("all", None, ends.get(net))]
            mine = ends_only or mine
        for key in mine:
            pairs = [(part[key]["mean"], part[key]["sd"]) if key in part else None for part in (converged, reference)]
            last = rows[key].get("layer") == ends.get(net) and not rows[key].get("normalised")
            out.append(charts.Bar(name_of(rows[key]), net, *pairs, claim=claims.get(net) if last else None))
        if not mine and net in BASELINES:
            out.append(charts.Bar(BASELINES[net], net))
    return out


def last_layers(rows: Mapping[str, dict]) -> dict[str, int]:
    """{net: its last layer that was probed}"""
    out: dict[str, int] = {}
    for row in rows.values():
        if isinstance(row.get("layer"), int):
            out[row["net"]] = max(out.get(row["net"], 0), row["layer"])
    return out


def claims_of(run: Run, target: str) -> dict[str, float]:
    """What the study said of this pair of data sets, by net."""
    if target != FIRST or run.config["data"]["name"] not in ("mnist", "mnist-5k"):
        return {}
    model = run.config["model"]["name"]
    own_claim = {"run": CLAIMED[model]} if model in CLAIMED else {"run": CLAIMS["run"]} if model == "ff" else {}
    return {**{net: value for net, value in CLAIMS.items() if net != "run"}, **own_claim}


def points(share: float) -> str:
    """0.0123 → `+1.2`, as points of accuracy."""
    return f"{100 * share:+.1f}".replace("-", "−")


def verdict(results: Results, run: Run) -> None:
    """The one sentence that the page is about, from the data."""
    told = [result for _, result in results]
    found = ffcore.transferred(told)
    if found is None:
        st.warning("The stored result has no row of all layers together, of this net and of its untrained twin.")
        return
    target, source = (widgets.plain(str(told[0].get(key) or "?")) for key in ("target_title", "source_title"))
    gap = f"**{points(found['difference'])} points**"
    spread = f" ± {100 * found['sd']:.1f}" if found["sd"] is not None else ""
    by = f"{found['n']} random seed{'s' * (found['n'] > 1)}, {found['images']:,} test images"
    said = {
        "better": f"**Yes.** Learning {source} made these features better for {target}",
        "worse": f"**No.** Learning {source} made these features worse for {target}",
        "no different": f"**Not measurably.** Learning {source} changed nothing for {target} that this test could show",
    }[found["verdict"]]
    box, icon = {"better": (st.success, "trending_up"), "worse": (st.warning, "trending_down")}.get(
        found["verdict"], (st.info, "trending_flat")
    )
    net = widgets.plain(run.config["model"]["name"])
    others = [
        f"{words} {widgets.percent(one['baseline'], 1)}"
        for words, key in (("raw pixels", "pixels"), ("backprop on the source", "backprop_source"),
                           ("backprop on the target", "backprop_target"))
        if (one := ffcore.transferred(told, key))
    ]  # fmt: skip
    box(
        f"{said}: read from all layers, {net} is right on **{widgets.percent(found['accuracy'], 1)}**, the same net *before "
        f"training* on **{widgets.percent(found['baseline'], 1)}**. That is {gap}{spread} ({by}; differences under "
        f"{100 * found['margin']:.1f} points are within two standard errors)."
        + (f" For comparison: {', '.join(others)}." if others else ""),
        icon=f":material/{icon}:",
    )


def paradox(converged: Results, reference: Results, claims: Mapping[str, float]) -> None:
    """How a protocol makes features look worse than random: the same last layers, twice."""
    st.header("The same features, two protocols")
    both = [ffcore.transferred([told for _, told in results], layer="last") for results in (converged, reference)]
    wanted = ("run", "untrained", "backprop_source", "pixels")
    st.html(charts.table([ends_of(converged, reference, net, claims) for net in wanted]))
    if all(both):
        fair, quick = both
        made = abs(quick["difference"] - fair["difference"])
        told = (
            f"By the reference study's protocol the trained last layer is **{points(quick['difference'])}** points from its "
            f"untrained twin, by the converged one **{points(fair['difference'])}**. "
        )
        if made > quick["margin"] + fair["margin"]:
            told += (
                f"The protocol alone accounts for {100 * made:.1f} points"
                f"{', and for another answer' * (quick['verdict'] != fair['verdict'])}: it takes 100 steps of Adam on features "
                "as they are, without scaling, so it measures how large activities are as much as what they say."
            )
        else:
            told += f"Here the two protocols agree: {100 * made:.1f} points between them are within their errors."
        st.markdown(told)
    elif not all((converged, reference)):
        st.caption("Both protocols have to be measured before they can be compared.")
    if claims:
        st.caption(
            "The last column is what the reference study *reports* (54.19 trained, 75.49 backprop, 71.89 untrained); it is a "
            "claim and not measured here. Other files of the same study give its untrained net 80.60, 83.81 and 83.98."
        )


def ends_of(converged: Results, reference: Results, net: str, claims: Mapping[str, float]) -> charts.Bar:
    """A net's last layer, as it is, by both protocols."""

    def spread(results: Results) -> tuple[float, float | None] | None:
        found = [row for _, told in results if (row := ffcore.row_of(told, net, layer="last"))]
        values = [row["accuracy"] for row in found]
        return (statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None) if values else None

    name = {"run": "this net, last layer", "pixels": "raw pixels"}.get(net, f"{BASELINES.get(net, net)}, last layer")
    return charts.Bar(name, net, spread(converged), spread(reference), claims.get(net))


# More of the same probe


def show_few(run: Run, target: str, converged: Results) -> None:
    """The few-shot curve, and buttons for what it lacks."""
    st.header("With few labelled images")
    have = stored_of(run)
    found = {shots: told for shots in SHOTS if (told := have.get((target, "converged", shots)))}
    lacking = [shots for shots in SHOTS if shots not in found]
    mine = next((told for seed, told in converged if seed == run.config.get("seed", 0)), None)
    everything = 0.0
    if mine and isinstance(mine.get("images"), int) and isinstance(mine.get("classes"), list):
        everything = mine["images"] / max(1, len(mine["classes"]))
        found[everything] = mine
    curves: dict[str, tuple[str, dict[float, tuple[float, float | None]]]] = {}
    for net, name in {"run": "this net", **BASELINES}.items():
        spots = {}
        for n, told in found.items():
            if row := ffcore.row_of(told, net):
                sd = row.get("sd")
                spots[n] = (row["accuracy"], sd if isinstance(sd, int | float) else None)
        if spots:
            curves[name + ("" if net == "pixels" else ", all layers")] = (net, spots)
    if len(found) > 1:  # one point is no curve
        live_chart(charts.few(curves, everything), key="few", alt="accuracy by the number of labelled images per class")
        absent = [name for net, name in BASELINES.items() if net not in {net for net, _ in curves.values()}]
        drawn = "Few images are drawn at random several times; bars are the standard deviation over draws."
        st.caption(drawn + (f" No data: {', '.join(absent)}." if absent else "") + " Of the chosen run alone.")
    for shots in lacking:
        finding = findings.find("probe", run, target=target, protocol="converged", shots=shots)
        findings.answer(
            finding, f"Measure with {shots} per class", "few images, several draws; under a minute as a rule", f"few.{shots}"
        )


def show_heat(run: Run, sets: Mapping[str, str]) -> None:
    """Source layer × target, of all that is stored of this run."""
    st.header("Which layer, which target")
    found = {
        target: told for (target, protocol, shots), told in stored_of(run).items() if (protocol, shots) == ("converged", None)
    }
    layers = sorted({row["layer"] for told in found.values() for row in ffcore.sound_rows(told)
                     if row["net"] == "run" and isinstance(row.get("layer"), int)})  # fmt: skip
    wanted = [*layers, "all"]
    own_rows = [[ffcore.row_of(told, "run", layer=layer) for told in found.values()] for layer in wanted]
    accuracy = [[row and row["accuracy"] for row in line] for line in own_rows]
    gain: list[list[float | None]] = []
    for line in own_rows:
        twins = [row and ffcore.row_of(told, "untrained", like=row) for row, told in zip(line, found.values(), strict=True)]
        gain.append(
            [row["accuracy"] - twin["accuracy"] if row and twin else None for row, twin in zip(line, twins, strict=True)]
        )
    if not found:
        st.caption("No converged probe of this run is stored yet.")
        return
    names = [f"layer {layer}" if layer != "all" else "all layers" for layer in wanted]
    figure = charts.heat(names, [sets.get(t, t) for t in found], accuracy, gain)
    live_chart(figure, key="heat", alt="accuracy of every layer on every target, and its lead over the untrained twin")
    st.caption(
        f"Converged protocol, features as they are. Below the accuracy: points ahead of (blue) or behind (orange) the same "
        f"layer of the untrained twin. {len(found)} target{'s' * (len(found) > 1)} probed; another one above adds a column."
    )


def show_row(converged: Results, run: Run) -> None:
    """Recalls and confusions of one row of features."""
    st.header("Which classes")
    told = next((t for seed, t in converged if seed == run.config.get("seed", 0)), converged[0][1])
    rows = {key_of(row): row for row in ffcore.sound_rows(told)}
    classes = [str(c) for c in told.get("classes") or []]
    default = next((k for k in ("run.all", "run.all.as-is", "run.all.normalised") if k in rows), next(iter(rows)))
    key = widgets.choose(st.selectbox, "Features", "row", {k: name_of(r) for k, r in rows.items()}, default)
    row = rows[key]
    twin = ffcore.row_of(told, "untrained", like=row) if row["net"] not in ("untrained", "pixels") else None
    shown = {name_of(r): (r["net"], r["per_class"]) for r in (row, twin) if r and are_shares(r.get("per_class"), len(classes))}
    counts = row.get("confusion")
    square = isinstance(counts, list) and len(counts) == len(classes) and all(are_counts(r, len(classes)) for r in counts)
    figures = []
    if shown:
        figures.append((charts.recalls(classes, shown), f"share of each class read right from {row['features']}"))
    if square and classes:
        import numpy as np

        figures.append((charts.confused(np.array(counts, int), classes), f"confusions from {row['features']}"))
    if figures:
        live_charts(figures, columns=2, key="classes", framed=True)
    else:
        st.caption("no data: this row was stored without its classes.")
    st.caption(f"Converged protocol, random seed {run.config.get('seed', 0)}, {told.get('test_images', 0):,} test images.")


def are_shares(values: Any, n: int) -> bool:
    return isinstance(values, list) and len(values) == n and all(isinstance(v, int | float) and 0 <= v <= 1 for v in values)


def are_counts(values: Any, n: int) -> bool:
    return isinstance(values, list) and len(values) == n and all(isinstance(v, int) and v >= 0 for v in values)


def show_tuning(run: Run, target: str) -> None:
    """Going on with training on the target, from the frozen net to one from scratch."""
    st.header("And if the net may go on learning?")
    finding = findings.find("finetune", run, target=target)
    about = "trains the net on the target: frozen, from the top, from the bottom, as a whole, and a new one; takes minutes"
    told = findings.answer(finding, "Fine-tune it on the target", about, "tune")
    if not told:
        return
    rows = [row for row in told.get("rows") or [] if isinstance(row, dict) and isinstance(row.get("mode"), str)]
    curves = {row["mode"]: row["curve"] for row in rows if isinstance(row.get("curve"), list) and row["curve"]}
    curves = {mode: curve for mode, curve in curves.items() if are_shares(curve, len(curve))}
    right = {row["mode"]: row["accuracy"] for row in rows if are_shares([row.get("accuracy")], 1)}
    if curves:
        live_chart(charts.tuning(curves, right), key="tuning", alt="validation accuracy on the target as training goes on")
    shown = [{"mode": mode, "test accuracy, %": 100 * share} for mode, share in right.items()]
    form = {"test accuracy, %": st.column_config.NumberColumn(format="%.2f")}
    st.dataframe(shown, hide_index=True, height="content", column_config=form, alt="test accuracy of every way to go on")


# The study


TABLES = 3  # of stored studies are shown, the newest first
CELLS = {  # heading → (which protocol, which cell)
    "last layer": ("cells", "last"),
    "gain over untrained": ("cells", "gain last"),
    "all layers": ("cells", "all"),
    "gain, all": ("cells", "gain all"),
    "gain by the study's protocol, last layer": ("reference", "gain last"),
}


def show_study() -> None:
    """The stored tables over models: each net on the target, and its gain over its own untrained twin."""
    st.header("Over many models and seeds")
    shown = 0
    for study in ffcore.stored_studies(name="transfer"):
        rows, protocol = study["rows"], study["protocol"]
        lines = [study_line(row) for row in rows] if isinstance(rows, list) else []
        if not (lines and all(lines) and isinstance(protocol, dict)) or shown == TABLES:
            continue
        shown += 1
        st.dataframe(lines, hide_index=True, height="content", alt="the study's table")
        data, train = (part if isinstance(part := protocol.get(key), dict) else {} for key in ("data", "train"))
        names = [data.get("name"), protocol.get("target"), protocol.get("seeds"), train.get("epochs"), protocol.get("images")]
        source, target, n, epochs, images = (widgets.plain(str(name)) for name in names)
        st.caption(
            f"{source} → {target}, accuracy in %, mean ± half of a 95% interval over {n} random seeds; {epochs} epochs, probes "
            f"trained on {images} images. An interval that holds 0 shows no gain."
        )
    if not shown:
        st.caption("No study is stored here. It trains and probes several models with several seeds, and may be interrupted:")
    st.code("ffcore study transfer", language="bash")


def study_line(row: Any) -> dict[str, str] | None:
    """A row of a study as text, None if it is damaged."""
    if not isinstance(row, dict) or not all(isinstance(row.get(part), dict) for part in ("cells", "reference")):
        return None
    line = {"net": str(row.get("row", "?"))}
    for head, (part, key) in CELLS.items():
        told = row[part].get(key) or (row[part].get("pixels") if key == "all" else None)
        line[head] = "–"
        if isinstance(told, dict) and isinstance(told.get("mean"), int | float):
            half = f" ± {100 * told['interval']:.1f}" if isinstance(told.get("interval"), int | float) else ""
            line[head] = f"{100 * told['mean']:{'+' if 'gain' in key else ''}.1f}{half}"
    return line


# Taking it along


def export(run: Run, target: str, results: Mapping[str, Results]) -> None:
    """The numbers as CSV, and the lines that measure them."""
    out = io.StringIO()
    fields = [
        "seed",
        "protocol",
        "features",
        "net",
        "layer",
        "normalised",
        "accuracy",
        "sd",
        "knn",
        "l2",
        "width",
        "converged",
        "seconds",
    ]
    sheet = csv.DictWriter(out, fields, extrasaction="ignore")
    sheet.writeheader()
    for protocol, told in results.items():
        for seed, result in told:
            sheet.writerows({"seed": seed, "protocol": protocol, **row} for row in ffcore.sound_rows(result))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Numbers as CSV", out.getvalue(), f"transfer-{run.id}-{target}.csv", "text/csv", icon=":material/download:"
        )
        widgets.ways(run, "draw", "replay", "run")
    asked = [["--protocol", protocol, *part_of(results[protocol])] for protocol in PROTOCOLS]
    asked += [["--shots", str(n)] for n in SHOTS]
    lines = [shlex.join(["ffcore", "probe", run.id, "--target", target, *words]) for words in asked]
    first = f", train={part[1]}" if (part := part_of(results["converged"])) else ""
    widgets.share(
        "\n".join(lines),
        f"import ffcore\n\ntold = ffcore.probe({run.id!r}, target={target!r}{first})\n"
        "print({row['features']: row['accuracy'] for row in told['rows']})",
    )


def part_of(results: Results) -> list[str]:
    """The words that ask for as many images as these were measured with, where somebody chose that."""
    settings = results[0][1].get("settings") if results else None
    train = settings.get("train") if isinstance(settings, dict) else None
    return ["--train", str(train)] if isinstance(train, int) else []


def measure(runs: Mapping[int, Run], target: str) -> dict[str, Results] | None:
    """Results by protocol, of all seeds that have them; buttons for what the chosen run lacks. None: not to be asked."""
    run = next(iter(runs.values()))
    asked = {protocol: findings.find("probe", run, target=target, protocol=protocol) for protocol in PROTOCOLS}
    if None in asked.values():
        return None
    results = {protocol: stored(runs, target, protocol) for protocol in PROTOCOLS}
    mine = run.config.get("seed", 0)
    lacking = {protocol: finding for protocol, finding in asked.items() if mine not in dict(results[protocol])}
    if not any(results.values()):
        st.markdown(
            "**Nobody has asked this net about these images yet.** The net stays frozen; a linear classifier learns the target "
            "from what its layers answer. Four baselines are measured with it."
        )
    about = {
        "converged": "standardised features, trained until nothing changes: what the features are worth. Some minutes",
        "reference": "100 steps on features as they are, as the reference study did. A minute or so",
    }
    for protocol, finding in asked.items():
        if protocol in lacking or finding.state in findings.LIVE:
            words = PROTOCOLS[protocol].removeprefix("the ")
            if findings.answer(finding, f"Measure by the {words}", about[protocol], protocol) and protocol in lacking:
                st.error(f"{widgets.plain(str(finding.dir))} has no row that can be read; delete it and ask again.")
    return results


def show_seeds(runs: Mapping[int, Run], target: str, results: Mapping[str, Results]) -> None:
    """How many random seeds stand behind the figures, and how to get more."""
    measured = {seed for seed, _ in results["converged"]}
    missing = {seed: run for seed, run in list(runs.items())[1:] if seed not in measured}
    counts = {protocol: learnt_from(told[0][1]) for protocol, told in results.items() if told}
    few = ", ".join(f"{n:,}" for n in sorted(set(counts.values())))
    st.caption(
        f"Mean ± standard deviation over n = {len(measured)} random seed{'s' * (len(measured) != 1)} "
        f"({', '.join(map(str, sorted(measured))) or 'none'}) by the converged protocol, n = {len(results['reference'])} by "
        f"the reference study's. "
        + (f"{len(runs)} runs differ in nothing but the random seed. " if len(runs) > 1 else "")
        + f"The classifiers learnt from {few} images of the target. Measured once and stored."
    )
    if missing:
        with st.expander(f"Measure the other {len(missing)} random seed{'s' * (len(missing) > 1)}", icon=":material/casino:"):
            for seed, run in missing.items():
                for protocol in PROTOCOLS:
                    finding = findings.find("probe", run, target=target, protocol=protocol)
                    findings.answer(finding, f"Seed {seed}, {protocol}", widgets.plain(run.title()), f"seed.{seed}.{protocol}")


def show(run: Run, runs: list[Run], target: str) -> None:
    """The page below its pickers."""
    same = seeds_of(run, runs)
    results = measure(same, target)
    if results is None:
        return
    claims = claims_of(run, target)
    converged, reference = (results[protocol] for protocol in PROTOCOLS)
    merge = {protocol: merged(told) for protocol, told in results.items()}
    if converged:
        with widgets.told_if_broken("The verdict"):
            verdict(converged, run)
    if converged or reference:
        with widgets.told_if_broken("The rows"):
            every = widgets.choose(
                st.segmented_control, "Rows", "rows", {"short": "as they are", "every": "and after normalisation"}, "short",
                required=True,
            )  # fmt: skip
            rows = bars(merge["converged"], merge["reference"], claims, every == "every")
            live_chart(charts.bars(rows), key="bars", alt="accuracy of every row of features by both protocols")
            show_seeds(same, target, results)
        with widgets.told_if_broken("The two protocols"):
            paradox(converged, reference, claims)
    if converged:  # before it there is one thing to do
        with widgets.told_if_broken("The few-shot curve"):
            show_few(run, target, converged)
        with widgets.told_if_broken("The layers"):
            show_heat(run, {d["name"]: d["title"] for d in catalogue.datasets()})
        with widgets.told_if_broken("The classes"):
            show_row(converged, run)
        with widgets.told_if_broken("Fine-tuning"):
            show_tuning(run, target)
    with widgets.told_if_broken("The study"):
        if not widgets.hidden("study"):
            show_study()
    if not widgets.hidden("export"):
        st.header("Take it along")
        export(run, target, results)


st.title("Transfer")
st.markdown(
    "Has a net that learnt one kind of image learnt anything about *another* kind? Freeze it, let a linear classifier read its "
    "layers, and compare with **the same net before training**: only what exceeds that was learnt."
)
nets = [r for r in widgets.all_runs() if own.has_weights(r) and r.config.get("facts", {}).get("shape")]
if not nets:
    widgets.empty("No net has been trained here yet. It takes a minute.", "Train one", "views/train.py")
plotly_loader()
with widgets.told_if_broken("This run"):
    left, right = st.columns([1.4, 1])
    with left:
        chosen = choose_run(nets)
    with right:
        aim = choose_target(chosen)
    show(chosen, nets, aim)

widgets.explain(
    """
**A frozen net** is asked for its activities on images it never learnt from. A linear classifier is trained on these
*features* with the target's labels, and tested on the target's test images, which nobody else has seen.

**The right baseline is the same net before training.** Random layers are not bad features: they spread an image over many
units, and a linear classifier can do much with that. So a high accuracy alone says nothing; the lead over the untrained twin,
read from the same layers in the same way, does. *Raw pixels* need no net at all. *Backprop on the source* is what the usual
way of training would have carried over, *backprop on the target* is what there is to be had.

**The converged protocol** standardises every feature on the target's training part, chooses the L2 penalty on a part of it,
and trains until nothing changes (after Kornblith, Shlens & Le, CVPR 2019). **The reference study's protocol** takes 100 steps
of Adam at a fixed rate on features as they are. Where the activities of two nets differ in size, such steps get further on
the one than on the other, and the ranking follows size. That is how “worse than random” can be made.

**With few labels** features matter most: with all of them even pixels do well. **Layers:** early ones are often more general,
late ones know the source's classes. **All layers** reads every layer at once.

**Normalised** features have lost their length. In Forward-Forward length is goodness, so always say on which side of the
normalisation you probe.
"""
)
