"""The command line: one short function per subcommand, each a public function of `ffcore`. Torch is loaded only to compute."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

import ffcore
from ffcore.errors import Failed, Refused
from ffcore.rundir import validated

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def several(*options):
    """One decorator out of several options."""

    def decorate(function):
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


runs_option = click.option("--runs", "root", metavar="DIR", help="where runs lie (else FFCORE_RUNS, else ./runs)")
json_option = click.option("--json", "as_json", is_flag=True, help="print exactly one JSON object")
data_root_option = click.option("--data-root", metavar="DIR", help="where public data lie (else FFCORE_DATA, else a cache)")
recipe = several(
    click.option("--model", metavar="NAME", help="what to train; `ffcore models` lists them  [ff]"),
    click.option("--negatives", metavar="NAME", help="negative strategy; `ffcore negatives` lists them  [the model's own]"),
    click.option("--data", metavar="NAME|PATH", help="dataset, FILE.npz or FOLDER of class folders  [auto]"),
    click.option("--preset", metavar="NAME", help="named bundle of settings; `ffcore presets` lists them"),
    click.option("--epochs", type=int, help="passes over the training images; 0: the untrained net"),
    click.option("--device", default="auto", metavar="auto|cpu|cuda|mps", show_default=True),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="any setting, e.g. model.widths=[500,500]"),
    click.option("--tag", help="a word to find the run by"),
    data_root_option,
    runs_option,
)
one_run = several(
    click.option("--seed", type=int, default=0, show_default=True, help="random seed"),
    click.option("--run-dir", metavar="DIR", help="where to put this run"),
    click.option("--no-test", is_flag=True, help="measure no accuracy on the test images"),
    json_option,
)


def asked(settings, no_test=False, **options) -> dict[str, Any]:
    """The options as `ffcore.train` takes them."""
    return {**options, "set": ffcore.parse_settings(list(settings)), "test": not no_test}


def say(value: Any, as_json: bool, text: str) -> None:
    """JSON to a script, text to a person."""
    click.echo(json.dumps(value, default=str) if as_json else text)


@click.group(context_settings=CONTEXT)
@click.version_option(ffcore.__version__, prog_name="ffcore")
def cli():
    """Forward-Forward learning: train it, watch every layer's goodness, compare it, take it apart."""


@cli.command()
@recipe
@one_run
def train(as_json, **options):
    """Train a net in this process. Ctrl-C pauses it."""
    with Display(as_json) as display:
        run = ffcore.train(display, **asked(**options))
    _tell(run, as_json)


@cli.command()
@recipe
@one_run
def submit(as_json, **options):
    """Queue a run in a process of its own and return."""
    run = ffcore.submit(**asked(**options))
    told = {**ffcore.summary(run), "position": ffcore.position(run)}
    say(told, as_json, f"{run.id} is queued; watch it with `ffcore runs show {run.id}` or `ffcore app`")


@cli.command()
@click.argument("run")
@runs_option
@json_option
def resume(run, root, as_json):
    """Go on with a paused, stopped, failed or lost run, in this process."""
    with Display(as_json) as display:
        run = ffcore.resume(run, display, root)
    _tell(run, as_json)


def _tell(run, as_json: bool) -> None:
    told = ffcore.summary(run)
    told["seconds"] = _process_seconds()
    accuracies = [
        f"{split} accuracy {told[f'{split}_accuracy']:.2%}"
        for split in ("validation", "test")
        if told[f"{split}_accuracy"] is not None
    ]
    text = f"{run.id} {told['state']} after {told['train_seconds']:.1f} s: {', '.join(accuracies) or 'no accuracy yet'}"
    say(told, as_json, f"{text} ({told['readout']})\n{told['dir']}")


def _process_seconds() -> float:
    import psutil

    return time.time() - psutil.Process().create_time()


@cli.command()
@click.argument("run")
@runs_option
@json_option
def pause(run, root, as_json):
    """Save a run's exact state and end its process, which frees its place."""
    _asked(ffcore.pause(run, root), as_json)


@cli.command()
@click.argument("run")
@runs_option
@json_option
def stop(run, root, as_json):
    """End a run and keep its weights."""
    _asked(ffcore.stop(run, root), as_json)


def _asked(run, as_json: bool) -> None:
    told = ffcore.summary(run)
    state = told["state"]
    text = f"{run.id} is {state}" if state not in ("running", "queued") else f"{run.id} has been asked, and is still {state}"
    say(told, as_json, text)


@cli.group(name="runs")
def runs_group():
    """List, show, delete, export and import runs."""


@runs_group.command(name="list")
@runs_option
@json_option
def list_(root, as_json):
    """All runs, newest first, and the bundled checkpoints."""
    rows = []
    for run in ffcore.list_runs(root):
        if run.problem:
            rows.append({"run": run.id, "dir": str(run.dir), "state": "damaged", "reason": run.problem, "title": run.id})
        else:
            rows.append({**ffcore.summary(run), "title": run.title(), "bundled": run.bundled})
    lines = [
        f"{row['run']:<36} {row['state']:<8} {_percent(row.get('test_accuracy')):>8}  {row['title']}"
        + (f"  ({row['reason']})" if row["state"] in ("damaged", "lost", "failed") else "")
        for row in rows
    ]
    say({"runs": rows}, as_json, "\n".join(lines) or "no runs yet; start one with `ffcore train`")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


@runs_group.command()
@click.argument("run")
@runs_option
@json_option
def show(run, root, as_json):
    """One run: its state, figures and the command that repeats it."""
    run = ffcore.find(run, root)
    told = {**ffcore.summary(run), "command": run.command(), "config": run.config, "position": ffcore.position(run)}
    lines = [run.title(), *(f"{k:<20} {v}" for k, v in told.items() if k not in ("config", "layers") and v is not None)]
    say(told, as_json, "\n".join(lines))


@runs_group.command()
@click.argument("run")
@runs_option
@json_option
def delete(run, root, as_json):
    """Remove a run for good."""
    run = ffcore.find(run, root, damaged=True)
    ffcore.delete(run)
    say({"run": run.id, "deleted": True}, as_json, f"{run.id} is deleted")


@runs_group.command()
@click.argument("run")
@click.argument("words", nargs=-1, metavar="[TAG …]")
@click.option("--note", metavar="TEXT", help="a note, instead of the one before")
@click.option("--clear", is_flag=True, help="take all tags off")
@runs_option
@json_option
def tag(run, words, note, clear, root, as_json):
    """Add tags and a note to a run; without any, tell them."""
    run = ffcore.find(run, root)
    told = run.notes()
    if words or clear or note is not None:
        told = ffcore.annotate(run, [*([] if clear else told["tags"]), *words], note)
    text = f"{run.id}: {', '.join(told['tags']) or 'no tags'}" + (f"\n{told['note']}" if told["note"] else "")
    say({"run": run.id, **told}, as_json, text)


@runs_group.command()
@click.argument("run")
@click.argument("file")
@runs_option
@json_option
def export(run, file, root, as_json):
    """Write a run to FILE.zip."""
    run = ffcore.find(run, root)
    ffcore.export(run, file)
    say({"run": run.id, "file": str(Path(file).absolute())}, as_json, f"{run.id} is in {file}")


@runs_group.command(name="import")
@click.argument("file")
@runs_option
@json_option
def import_(file, root, as_json):
    """Take in a run from FILE.zip."""
    run = ffcore.import_zip(file, root)
    say({"run": run.id, "dir": str(run.dir)}, as_json, f"{run.id} is in {run.dir}")


@cli.command()
@click.argument("run")
@click.option("--data", metavar="NAME|PATH", help="a dataset's test images, FILE.npz or FOLDER  [the run's own test images]")
@click.option("--readout", metavar="NAME", help="which read-out counts  [the model's first]")
@data_root_option
@runs_option
@json_option
def evaluate(run, data, readout, data_root, root, as_json):
    """Accuracy of a run on labelled images."""
    told = ffcore.evaluate(run, data, readout, root, data_root)
    told["seconds"] = _process_seconds()
    lines = [f"{told['run']} on {told['images']} images of {told['data']}:"]
    lines += [f"  {name:<10} {right['test']:.2%}" for name, right in told["readouts"].items()]
    lines += [f"  layer {row['layer']:<4} {row['accuracy']:.2%}" for row in told["layers"]]
    say(told, as_json, "\n".join(lines))


@cli.command()
@click.argument("run")
@click.option("--epoch", type=int, metavar="N", help="the net after epoch N, of those that kept their weights  [the last]")
@runs_option
@json_option
def health(run, epoch, root, as_json):
    """How many units of every layer are dead or dormant, how often units are on, how selective they are; why dead ones are."""
    told = ffcore.health(run, root, epoch=epoch)
    names = ("dead", "dormant", "reference_metric", "mean_rate", "lifetime_sparseness", "population_sparseness")
    names = (*names, "effective_rank")
    lines = [f"{told['run']} after epoch {told['epoch']}, on {told['images']} validation images:"]
    lines.append("  ".join([f"{'layer':>5}", f"{'units':>6}", *(f"{name:>{max(8, len(name))}}" for name in names)]))
    for row in told["layers"]:
        cells = [
            f"{'–' if row[k] is None else f'{row[k]:.1f}' if k == names[-1] else f'{row[k]:.1%}':>{max(8, len(k))}}"
            for k in names
        ]
        lines.append("  ".join([f"{row['layer']:>5}", f"{row['units']:>6}", *cells]))
    for row in told["layers"]:
        if row["causes"]:
            lines.append(f"layer {row['layer']}, why units are dead: " + _counted(row["causes"]))
        lines += [f"  {line}" for line in ffcore.objective_in_words(row["objective"])]
    say(told, as_json, "\n".join(lines))


def _counted(causes: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in causes.items())


@cli.command()
@click.argument("run")
@click.option("--out", metavar="FILE.png|.npz", help="a grid of images, or arrays x (n, H, W) in [0, 1] and y (n,)")
@click.option("--label", metavar="C|any", help="a class's number; any: all in their proportions  [every class alike]")
@click.option("--n", type=int, help="images in all  [16]")
@click.option("--what", metavar="NAME", help="samples, reconstructions, steps, interpolation, epochs or ascent")
@click.option("--seed", type=int, help="random seed  [0]")
@click.option("--components", type=int, help="Gaussians in the mixture of each class (samples)  [1]")
@click.option("--layer", metavar="L|each", help="layer whose goodness is climbed (ascent)  [all that vote]")
@click.option("--epoch", type=int, help="the net of this epoch, where its weights are kept  [the last]")
@click.option("--judge", metavar="RUN", help="another run that says what it reads in the images")
@click.option("--set", "more", multiple=True, metavar="KEY=VALUE", help="steps, first, second, points, of, aim, start, rate …")
@click.option("--overwrite", is_flag=True, help="replace FILE if it is there")
@runs_option
@json_option
def generate(run, label, layer, more, root, as_json, **options):
    """Images out of a run: samples of a run of pff; of any other, images that its layers like best."""
    given = ffcore.parse_settings(list(more))
    if odd := given.keys() & {"run", "root", "progress"}:
        raise Refused(f"--set {min(odd)}: no setting of generate; leave it out")
    given |= {k: v for k, v in {"label": _number(label), "layer": _number(layer), **options}.items() if v is not None}
    told = ffcore.generate(run, root=root, **given)
    text = f"{told['n']} images ({told['what']}) of {told['run']}"
    if told["what"] == "ascent":
        text += ": what the net likes best, which need look like no digit"
    if told.get("judged") is not None:
        right = _percent(told["judge_test_accuracy"]) or "unknown"
        who = f"{told['judge']} (test accuracy {right})" if told["judge"] else "the net itself"
        text += f"; {who} reads {told['judged']:.1%} as intended"
    say(told, as_json, text + (f"\n{told['file']}" if told["file"] else ""))


def _number(text: str | None) -> int | str | None:
    return int(text) if text and text.isascii() and text.lstrip("-").isdigit() else text


@cli.command()
@click.argument("run")
@click.argument("image", required=False, metavar="[IMAGE]")
@click.option("--sample", type=int, metavar="N", help="instead of a file: the run's test image number N, from 1")
@click.option("--drawing", metavar="TEXT", help="instead of a file: a drawing, as a link to the page Draw holds it")
@click.option("--ink", is_flag=True, help="the file is a drawing: place it as the run's own images are placed")
@click.option("--invert", is_flag=True, help="swap light and dark, as for dark ink on light paper")
@click.option("--set", "more", multiple=True, metavar="KEY=N", help="x, y, turn, scale, noise, cover or seed")
@runs_option
@json_option
def read(run, image, more, root, as_json, **options):
    """What a run's net reads in one image: its answer, the scores, the goodness of every label and layer."""
    given = ffcore.parse_settings(list(more))
    if odd := given.keys() & {"run", "image", "root", *options}:
        raise Refused(f"--set {min(odd)}: nothing that is done to an image; leave it out")
    told = ffcore.read(run, image, root=root, **options, **given)
    lines = [f"{told['run']} reads {told['class']} ({told['readout']} {told['best']:.4g}, {told['lead']:.3g} ahead)"]
    lines += [f"{name:>12} {value:9.3f}" for name, value in zip(told["classes"], told["scores"][told["readout"]], strict=True)]
    if told["odd"]:
        lines.append(f"it may be nothing the net knows: 99% of validation images score higher ({', '.join(told['odd'])})")
    say(told, as_json, "\n".join(lines))


@cli.command()
@click.argument("run")
@click.option("--target", metavar="NAME", help="dataset whose classes are read  [fashion-mnist, else glyphs]")
@click.option("--protocol", metavar="converged|reference", help="how the classifier is trained  [converged]")
@click.option("--shots", type=int, help="images per class to learn from, mean of 5 draws  [all]")
@click.option("--train", type=int, help="learn from so many images only  [as many as fit into memory]")
@click.option("--seed", type=int, help="of the draws and of the backprop nets  [0]")
@click.option("--epoch", type=int, help="the net as it was after this epoch  [as it is]")
@click.option("--finetune", is_flag=True, help="instead: let the net itself go on learning there, by backprop")
@click.option("--epochs", type=int, help="with --finetune: passes over the target's training images  [6]")
@runs_option
@json_option
def probe(run, root, as_json, finetune, epochs, **settings):
    """What a linear classifier reads from a run's frozen layers on another dataset, beside its baselines."""
    if finetune:
        if unfit := [name for name in ("protocol", "shots", "epoch") if settings.pop(name) is not None]:
            raise Refused(f"--{unfit[0]} means nothing to --finetune; leave it out")
        told = ffcore.finetune(run, root, _share, epochs=epochs, **settings)
        lines = [f"{row['mode']:<42} {row['accuracy']:7.2%}  {row['seconds']:6.1f} s" for row in told["rows"]]
    elif epochs is not None:
        raise Refused("--epochs belongs to --finetune; leave it out")
    else:
        told = ffcore.probe(run, root, _share, **settings)
        lines = [f"{'features':<42} {'accuracy':>8} {'k-NN':>8} {'width':>6}"]
        for row in told["rows"]:
            sd = "" if row["sd"] is None else f" ± {row['sd']:.2%}"
            near = "–" if row["knn"] is None else f"{row['knn']:.2%}"
            lines.append(f"{row['features']:<42} {row['accuracy']:>8.2%} {near:>8} {row['width']:>6}{sd}")
    _share(1, "done")
    head = f"{told['source_title']} → {told['target_title']}, {told['test_images']:,} test images:"
    say(told, as_json, "\n".join([head, *lines]))


@cli.command()
@click.argument("run")
@click.argument("other", required=False, metavar="[RUN2]")
@click.option("--n", type=int, help="images: the first run's first validation images  [2000]")
@click.option("--epoch", type=int, help="the nets as they were after this epoch  [as they are]")
@runs_option
@json_option
def similarity(run, other, n, epoch, root, as_json):
    """Which layers of one run, or of two, represent the same images alike: CKA, and Procrustes distance."""
    told = ffcore.similarity(*[ref for ref in (run, other) if ref], root=root, progress=_share, n=n, epoch=epoch)
    _share(1, "done")
    width = max(14, *(len(name) for name in [*told["rows"], *told["columns"]]))
    lines = []
    for key, head in (("cka", "CKA, debiased"), ("procrustes", "Procrustes distance, 0 to 1.41")):
        lines.append(f"{head}, {told['images']} images of {told['data']}:")
        lines.append(" " * width + "".join(f"  {name:>{width}}" for name in told["columns"]))
        for name, row in zip(told["rows"], told[key], strict=True):
            cells = ("no data" if value is None else f"{value:.2f}" for value in row)
            lines.append(f"{name:>{width}}" + "".join(f"  {cell:>{width}}" for cell in cells))
    say(told, as_json, "\n".join(lines))


@cli.command()
@click.argument("refs", nargs=-1, metavar="[RUN …]")
@click.option("--target", metavar="NAME", help="data set of the transfer figures")
@click.option("--baseline", metavar="RUN", help="tell differences to this run's group")
@runs_option
@json_option
def compare(refs, target, baseline, root, as_json):
    """Finished runs side by side, those that differ in their random seed only together: what they have stored."""
    told = ffcore.compare(*refs, root=root, target=target, baseline=baseline)
    lines = []
    for group in told["groups"]:
        lines.append(f"{group['label']} (random seeds {', '.join(map(str, group['seeds']))}; {'; '.join(group['machines'])})")
        for fact, spread in group["facts"].items():
            mean, sd = (None if spread[key] is None else f"{spread[key]:.6g}" for key in ("mean", "sd"))
            lines.append(f"  {fact:<20} " + (f"{mean}{f' ± {sd}' if sd else ''}, n {spread['n']}" if mean else "no data"))
    say(told, as_json, "\n".join(lines) or "no run has finished yet; start one with `ffcore train`")


@cli.command()
@click.argument("run")
@click.option("--layer", metavar="L|all|pixels", help="which activities  [all]")
@click.option("--method", metavar="pca|tsne|umap", help="how they come onto a plane  [pca]")
@click.option("--n", type=int, help="images  [5000]")
@click.option("--data", metavar="NAME", help="images of another data set  [the run's own]")
@click.option("--epoch", type=int, help="the net as it was after this epoch  [as it is]")
@click.option("--seed", type=int, help="random seed  [0]")
@click.option("--out", required=True, metavar="FILE.csv|.parquet", help="where to write the table")
@runs_option
@json_option
def embed(run, out, root, as_json, **settings):
    """Lay a run's images out on a plane so that what a layer finds alike lies close, and write the table."""
    told = ffcore.embed(run, out, root, _share, **settings)
    _share(1, "done")
    trust = "unknown" if told["trustworthiness"] is None else f"{told['trustworthiness']:.3f}"
    text = f"{told['rows']} images by {told['method']} in {told['seconds']:.1f} s, trustworthiness {trust}\n{told['file']}"
    say(told, as_json, text)


def _share(done: float, doing: str) -> None:
    """How far an analysis is, on a terminal's standard error."""
    if sys.stderr.isatty():
        click.echo(f"\r{done:4.0%} {doing:<60}", nl=done >= 1, err=True)


@cli.command()
@click.argument("name", required=False, metavar="[negatives|remedies|transfer]")
@click.option("--vary", multiple=True, metavar="KEY=a,b,c", help="values to compare; repeat for a grid")
@click.option("--seeds", type=int, default=3, show_default=True, help="random seeds per combination")
@click.option("--target", metavar="NAME", help="transfer only: the dataset that is read  [fashion-mnist, else glyphs]")
@click.option("--nets", metavar="A;B", help="transfer only: some of the nets, separated by semicolons  [all]")
@recipe
@json_option
def study(name, vary, seeds, target, nets, as_json, **options):
    """Compare on the validation split, over several random seeds: a grid of settings, every negative strategy, what
    brings dead units back (`remedies`, on the preset ref-pcl), or what serves on another dataset (`transfer`)."""
    named = {
        "negatives": (ffcore.study_negatives, _negatives_table),
        "remedies": (ffcore.study_remedies, _remedies_table),
        "transfer": (ffcore.study_transfer, _transfer_table),
    }
    if name and name not in named:
        from ffcore.registry import suggest

        raise Refused(f"no study named '{name}'; {suggest(name, list(named))}; or give --vary KEY=a,b,c")
    if name and vary:
        raise Refused(f"study {name} knows what it varies; leave out --vary or the name")
    if name != "transfer" and (target or nets):
        raise Refused("--target and --nets belong to `ffcore study transfer`; leave them out")
    if name == "transfer":
        options |= {"target": target, "nets": [net.strip() for net in nets.split(";")] if nets else None}
    if name:
        train, table = named[name]
        with Display(as_json) as display:
            told = train(seeds, display, **{k: v for k, v in asked(**options).items() if v is not None})
        say(told, as_json, f"{table(told['rows'])}\n{told['file']}")
        return
    with Display(as_json) as display:
        rows = ffcore.study(ffcore.parse_grid(vary), seeds, display, **asked(**options))
    lines = []
    for row in rows:
        cell = " ".join(f"{k}={row[k]}" for k in ffcore.parse_grid(vary))
        sd = "" if row["sd"] is None else f" ± {row['sd']:.2%}"
        lines.append(
            f"{cell:<40} {row['mean']:.2%}{sd} (n={row['n']})  {row['paired_difference']:+.2%}  {row['seconds']:.1f} s"
        )
    say({"rows": rows}, as_json, "\n".join(lines))


def _negatives_table(rows: list[dict[str, Any]]) -> str:
    """A line per strategy: each read-out in a column of its own, differences to wrong_label with the same random seeds."""

    def cell(values: dict[str, Any] | None) -> str:
        if values is None:
            return f"{'–':^22}"
        sd = "" if values["sd"] is None else f"±{100 * values['sd']:.2f}"
        return f"{100 * values['mean']:6.2f}{sd:<6} {100 * values['paired_difference']:+6.2f}  "

    names = ("goodness", "softmax", "probe")
    head = f"{'negatives':<20} " + "".join(f"{name + ' % ± s.d., Δ':<22}" for name in names) + "  seconds   dead  pairs lost"
    lines = [head]
    for row in sorted(rows, key=lambda row: -row["mean"]):
        lost = "" if row["hardness"] is None else " ".join(f"{share:.1%}" for share in row["hardness"])
        flawed = "  (flawed)" if row.get("faithful") is False else ""
        lines.append(
            f"{row['row']:<20} {''.join(cell(row['readouts'].get(name)) for name in names)} {row['seconds']:8.1f} "
            f"{_percent(row['dead']):>7}  {lost}{flawed}"
        )
    lines += [f"{row['row']}: {row['remark']}" for row in rows if row["remark"]]
    return "\n".join([*lines, f"n = {rows[0]['n']} random seeds; Δ: paired difference to wrong_label; validation split"])


def _transfer_table(rows: list[dict[str, Any]]) -> str:
    """A line per net: accuracy on the target from its last layer and from all, and the gain over its untrained twin."""

    def cell(told: dict[str, Any] | None, sign: str = "") -> str:
        if told is None:
            return f"{'–':>15}"
        half = "" if told["interval"] is None else f" ± {100 * told['interval']:.2f}"
        text = f"{100 * told['mean']:{sign}.2f}{half}"
        return f"{text:>15}"

    names = ("last", "all", "gain last", "gain all")
    lines = [f"{'net':<30}" + "".join(f"{name:>15}" for name in (*names, "reference last", "its gain"))]
    for row in rows:
        cells, study = row["cells"], row["reference"]
        told = [
            cell(cells.get(name) or (cells.get("pixels") if name == "all" else None), "+" * (" " in name)) for name in names
        ]
        told += [cell(study.get("last") or study.get("pixels")), cell(study.get("gain last"), "+")]
        lines.append(f"{row['row']:<30}" + "".join(told))
    about = "test accuracy on the target, %, ± half of a 95% interval; gain: over the same net untrained"
    about += "; reference: by the study's 100 steps"
    return "\n".join([*lines, f"n = {rows[-1]['source']['n']} random seeds; {about}"])


def _remedies_table(rows: list[dict[str, Any]]) -> str:
    """A line per remedy."""
    lines = [f"{'remedy':<42} {'accuracy':>16} {'dead':>7} {'masked':>7} {'rate':>7} {'seconds':>8}"]
    for row in rows:
        sd = "" if row["sd"] is None else f" ± {row['sd']:.1%}"
        shares = " ".join(f"{row[key]:>7.1%}" for key in ("dead", "reference_metric", "mean_rate"))
        accuracy = f"{row['mean']:.1%}{sd}"
        lines.append(f"{row['row']:<42} {accuracy:>16} {shares} {row['seconds']:>8.1f}")
    told = "dead: never above 0; masked: the reference study's measure; rate: share on"
    return "\n".join([*lines, f"n = {rows[0]['n']} random seeds; validation split; {told}"])


def _lists(name: str, about: str):
    """A command that tells what there is: `ffcore NAME [ONE]`."""

    @cli.command(name=name, help=about, short_help=about)
    @click.argument("one", required=False, metavar="[NAME]")
    @json_option
    def command(one, as_json):
        items = getattr(ffcore.catalogue, name)(one)
        lines = []
        for item in items:
            lines.append(
                f"{item['name']:<16} {item['title']}" + ("" if item.get("good", item.get("faithful", True)) else "  (flawed)")
            )
            if one:
                lines += [f"  {item[k]}" for k in ("about", "see", "why", "fix", "source", "provenance") if item.get(k)]
                for key, told in item["settings"].items():
                    if not isinstance(told, dict) or "type" not in told:
                        lines.append(f"  {key}={json.dumps(told)}")
                        continue
                    limits = f"{told['type']}{', ' + told['bounds'] if told['bounds'] else ''}"
                    lines.append(f"  {key:<14} {told['help']}  [{json.dumps(told['default'])}; {limits}]")
        say({"items": items}, as_json, "\n".join(lines))


_lists("models", "Models, with their settings, bounds and sources.")
_lists("negatives", "Negative strategies, with their settings, bounds and sources.")
_lists("datasets", "Datasets, with their provenance and settings.")
_lists("presets", "Presets: known-good, and known-bad with the reason why.")


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME …]")
@click.option("--quick", is_flag=True, help="less of everything, within a minute on two calm cores")
@click.option("--data", default="auto", show_default=True, metavar="NAME", help="the images to measure with")
@click.option("--device", default="auto", metavar="auto|cpu|cuda|mps", show_default=True)
@data_root_option
@json_option
def bench(as_json, **options):
    """Measure speed here: steps, race, memory, slopes, readout, telemetry, reference; without a name, all of them."""

    def progress(row):
        value = "not reached" if row["value"] is None else f"{row['value']:,.4g} {row['unit']}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f} × {row['against']}"
        click.echo(f"{row['name']:<72} {value:<28} {ratio}".rstrip(), err=as_json)

    told = ffcore.bench(progress=progress, **options)
    if as_json:
        click.echo(json.dumps(told))


@cli.command()
@data_root_option
@runs_option
@json_option
def doctor(data_root, root, as_json):
    """Versions, device, data found, write access."""
    checks = ffcore.doctor(root, data_root)
    lines = [f"{'ok ' if c['ok'] else 'NOT'} {c['name']:<22} {c['detail']}" for c in checks]
    say({"checks": checks}, as_json, "\n".join(lines))
    if not all(c["ok"] for c in checks):
        raise Failed("something is missing; the lines marked NOT say what")


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 shows it to the whole network")
@click.option("--base-path", default="", help="the path that a proxy in front serves it under, such as ff")
@click.option("--read-only", is_flag=True, help="for a class or in public: nothing is started, changed or deleted")
@runs_option
@data_root_option
def app(port, host, base_path, read_only, root, data_root):
    """Open the dashboard."""
    ffcore.app(port, host, root, data_root, base_path, read_only)


class Display:
    """Live progress on standard error: a table on a terminal, a line per epoch elsewhere."""

    def __init__(self, quiet: bool):
        self.live, self.quiet = None, quiet

    def __enter__(self):
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self.live = Live(console=Console(stderr=True), refresh_per_second=4, transient=self.quiet)
            self.live.__enter__()
            self.validation, self.rows, self.head = "no validation yet", {}, ""
        return self

    def __exit__(self, *error):
        if self.live:
            self.live.__exit__(*error)

    def __call__(self, run, event: dict[str, Any]) -> None:
        kind = event["event"]
        if not self.live:
            if kind in ("epoch", "alarm"):
                said = event.get("message") or f"epoch {event['epoch']}: {validated(event['validation'])}"
                click.echo(f"{run.id} {event['seconds']:7.1f} s  {said}", err=True)
            return
        if kind == "epoch":
            self.validation = validated(event["validation"])
            for row in event["layers"]:
                self.rows.setdefault(row["layer"], {}).update(row)
        elif kind == "tick":
            for row in event["layers"]:
                self.rows.setdefault(row["layer"], {}).update(row)
            self.head = f"epoch {event['epoch']:.2f}  {event['images_per_second']:,.0f} images/s  {event['eta']:.0f} s to go"
        self.live.update(self._table(run))

    def _table(self, run):
        from rich.table import Table

        table = Table(title=f"{run.title()}\n{self.head}  {self.validation}", title_justify="left")
        for column in ("layer", "goodness +", "goodness −", "pairs won", "validation accuracy", "dead"):
            table.add_column(column, justify="right")
        for layer, row in sorted(self.rows.items()):
            pos, neg = row.get("pos"), row.get("neg")
            table.add_row(
                str(layer),
                f"{pos[0]:.2f}" if pos else "",
                f"{neg[0]:.2f}" if neg else "",
                _percent(row.get("won")),
                _percent(row.get("validation_accuracy")),
                _percent(row.get("dead")),
            )
        return table


def main() -> None:
    """Run the command line; every failure is one line on standard error and an exit status."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and newer: a bare `ffcore` asks for help
            click.echo(error.format_message())
            sys.exit(0)
        said = " ".join(error.format_message().split())
        where = error.ctx.command_path if getattr(error, "ctx", None) else "ffcore"
        _end(f"{said.rstrip('.')}; `{where} --help` says what it takes", 2)
    except Refused as error:
        _end(str(error), 2)
    except Failed as error:
        _end(str(error), 1)
    except (KeyboardInterrupt, click.exceptions.Abort) as stopped:
        run = (stopped.__cause__ or stopped).args  # click wraps the interruption, which names the run that it paused
        _end(f"interrupted; {f'`ffcore resume {run[0]}` goes on from here' if run else 'nothing was begun'}", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _end(text: str, status: int) -> None:
    print("error: " + " ".join(text.split()), file=sys.stderr)
    sys.exit(status)
