"""Variants: one model, its picture, equation and knobs, its own quantities live, and plain Forward-Forward beside it."""

import re
from contextlib import suppress
from typing import Any

import charts
import diagrams
import feed
import numpy as np
import own
import streamlit as st
import widgets
from components import live_charts, plotly_loader

import ffcore
from ffcore import Run, catalogue

PLAIN, FIRST = "ff", "layer_collab"
QUICK = "mnist-5k"  # 5,000 real digits that come with ffcore: a run takes seconds
POINTS = 320  # of all lines of a chart together: a tick stays light


# Which model, which run


def model_of(run: Run) -> str:
    return run.config["model"]["name"]


def choose_model(items: dict[str, dict], runs: list[Run]) -> str:
    """The model in the address, or that of the run in the address, or of the one just looked at on another page."""
    asked = st.query_params.get("run", st.session_state.get("run"))
    if asked and "model" not in st.query_params and "variant" not in st.session_state:
        found = next((model_of(r) for r in runs if r.id == asked), None)
        if found in items:
            st.query_params["model"] = found
    names = sorted(items, key=lambda n: (n != PLAIN, items[n]["title"]))
    shown = {n: items[n]["title"] for n in names}
    first = FIRST if FIRST in items else PLAIN
    return widgets.choose(st.pills, "Model", "model", shown, first, "variant", required=True, on_change=leave)


def leave() -> None:
    """Another model has runs of its own."""
    st.query_params.pop("run", None)
    st.session_state.pop("run", None)


def choose_run(runs: list[Run], item: dict, flawed: set[str]) -> Run | None:
    """A run of this model: the one in the address, else the newest that is no failure on purpose and of no study."""
    mine = [r for r in runs if model_of(r) == item["name"]]
    if not mine:
        return None
    whole = ("done", *widgets.LIVE)
    default = min(mine, key=lambda r: (r.config.get("preset") in flawed, bool(r.config.get("tag")), r.state not in whole))
    asked = next((r for r in runs if r.id == st.query_params.get("run", st.session_state.get("run"))), None)
    if asked and asked not in mine:  # remembered from another page, or from another model's address
        if "run" in st.query_params:
            st.info(f"“{widgets.plain(asked.title())}” is a run of another model; here is one of {item['title']}.")
        leave()
    return widgets.pick_run(mine, default)


def plain_runs(runs: list[Run], beside: Run, flawed: set[str]) -> list[Run]:
    """Runs of plain Forward-Forward on the same images: the same widths first, what was broken off last, else the newest."""

    def rank(run: Run) -> tuple:
        unlike = run.config["model"].get("widths") != beside.config["model"].get("widths")
        return unlike, bool(run.config.get("tag")), run.state not in ("done", *widgets.LIVE), run.bundled

    data = beside.config["data"]["name"]
    mine = [r for r in runs if model_of(r) == PLAIN and r.config["data"]["name"] == data and r.id != beside.id]
    return sorted((r for r in mine if r.config.get("preset") not in flawed), key=rank)


# What it is


def show_facts(item: dict, plain: dict) -> None:
    """The picture, and in words and in its equation what the model is."""
    left, right = st.columns([1, 1.25], gap="medium")
    with left.container(border=True, height="stretch", vertical_alignment="center"), widgets.told_if_broken("The diagram"):
        diagrams.show(picture(item), f"diagram.{item['name']}")
    with right.container(border=True, height="stretch"):
        st.markdown(f"**{item['title']}**  \n{badges(item, plain)}")
        if item["equation"]:
            with st.container(key="equation"):
                st.latex(item["equation"])
        st.markdown(prose(item["about"] or "It does not say what it does."))
        st.caption(widgets.plain(item["source"]))


def picture(item: dict) -> str:
    widths = item["settings"].get("widths", {}).get("default")
    layers = min(3, max(2, len(widths))) if isinstance(widths, list) else 2
    learns = item["is_local"] and (item["uses_negatives"] or item["traces"])
    label = "label" in item["settings"]
    reads = ", ".join(item["readouts"]) if len(item["readouts"]) < 3 else f"{len(item['readouts'])} ways"
    under = "own loss" if learns else ""
    return diagrams.model(layers, item["wiring"], item["is_local"], under, reads, label, item["title"])


def badges(item: dict, plain: dict) -> str:
    """What kind of model it is; in colour where plain Forward-Forward is another."""
    words = {
        "is_local": ("local: no error crosses layers", "not local: an error crosses layers"),
        "uses_negatives": ("learns from negatives", "no negatives"),
        "has_goodness": ("has goodness", "no goodness"),
        "can_generate": ("generates images", ""),
    }
    told = [(yes if item[key] else no, item[key] == plain[key]) for key, (yes, no) in words.items()]
    return " ".join(f":{'gray' if same else 'blue'}-badge[{text}]" for text, same in told if text)


def prose(text: str) -> str:
    """A docstring as Markdown: paragraphs, and names set in a column as a list."""
    out = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.splitlines()
        if all(re.match(r"\w+  +\S|\s+\S", line) for line in lines) and not lines[0].startswith(" "):
            entries: list[str] = []
            for line in lines:
                name, _, rest = line.partition("  ")
                entries += [f"- **{widgets.plain(name)}**: {coded(rest)}"] if name else []
                if not name:
                    entries[-1] += f" {coded(line)}"
            out.append("\n".join(entries))
        else:
            out.append(coded(" ".join(lines)))
    return "\n\n".join(out)


def coded(text: str) -> str:
    """Text as it is, but for what stands in backticks."""
    parts = " ".join(text.split()).split("`")
    return "".join(f"`{part}`" if i % 2 and i + 1 < len(parts) else widgets.plain(part) for i, part in enumerate(parts))


# Its knobs


def choose_settings(item: dict, plain: dict) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what to train, and plain Forward-Forward under the same conditions), as arguments of `ffcore.submit`."""
    special = {key: about for key, about in item["settings"].items() if key not in plain["settings"]}
    left, right = st.columns([1.25, 1], gap="medium")
    with left:
        beyond = " :small[:gray[what plain Forward-Forward does not have]]" * (item["name"] != PLAIN)
        st.markdown(f"**Its own settings**{beyond}")
        if special:
            values = widgets.controls(special, {}, f"knob.{item['name']}")
        else:
            values = {}
            none = "This is the rule that the others change." if item["name"] == PLAIN else "It has none."
            st.caption(f"{none} Settings that models share are on Train.")
    with right:
        st.markdown("**On what, and how long**")
        sets = {d["name"]: d for d in catalogue.datasets()}
        names = sorted(sets, key=lambda n: (n != QUICK, not sets[n]["present"]))
        shown = {n: sets[n]["title"] + ("" if sets[n]["present"] else " · will be downloaded") for n in names}
        data = widgets.choose(st.selectbox, "Images", "data", shown, names[0], "variant_data")
        with st.container(horizontal=True):
            epochs = st.number_input("Epochs", 1, 1_000, 10, key="epochs", width=150)
            seed = st.number_input("Random seed", 0, 2**31 - 1, 0, key="seed", width=150)
    changed = {f"model.{key}": value for key, value in values.items() if value != special[key]["default"]}
    same = {"data": data, "epochs": epochs, "seed": seed}
    widths = item["settings"].get("widths", {}).get("default")
    like = {"model.widths": widths} if isinstance(widths, list) and widths != plain["settings"]["widths"]["default"] else {}
    return {"model": item["name"], **same, "set": changed}, {"model": PLAIN, **same, "set": like}


def show_knobs(item: dict, plain: dict) -> tuple[dict[str, Any] | None, str]:
    """The form, its buttons and its command. Returns a run's arguments, None where they are refused, and how long it takes."""
    with st.container(border=True):
        request, beside = choose_settings(item, plain)
        try:
            config = ffcore.configure(**request)
        except ffcore.Refused as error:
            widgets.refusal(error)
            return None, ""
        time = how_long(config)
        with st.container(horizontal=True, vertical_alignment="center"):
            train_button("Train it", "train", request, shows=True)
            if item["name"] != PLAIN:
                hint = "the same images, random seed, widths and epochs"
                train_button("Train Forward-Forward beside it", "train_plain", beside, help=hint)
            st.caption(time)
        refusal("train", "train_plain", "train_first")
    return request, time


def how_long(config: dict) -> str:
    seconds = None
    with suppress(Exception):  # another run's files, by which it goes, may hold anything
        seconds = ffcore.estimate(config)
    return f"About {widgets.duration(max(5, seconds))}" if seconds else "Not timed on this machine yet; small sets take seconds"


def train_button(label: str, key: str, request: dict[str, Any], shows: bool = False, **more: Any) -> None:
    """Submits a run with these arguments; `shows`: the page turns to it."""
    kind = {"type": "primary", "icon": ":material/play_arrow:"} if shows else {"icon": ":material/play_arrow:"}
    widgets.act(label, key=key, on_click=submit, args=(key, request, shows), **{**kind, **more})


def refusal(*keys: str) -> None:
    """Why the button that was pressed last started nothing."""
    key, said = st.session_state.get("refusal", ("", ""))
    if key in keys:
        del st.session_state.refusal
        widgets.refusal(said)


def submit(key: str, request: dict[str, Any], shows: bool) -> None:
    """Queue a run; a refusal is told beside the button, and the page stays as it is."""
    widgets.settle_torch()
    try:
        run = ffcore.submit(**request)
    except (ffcore.Refused, ffcore.Failed) as error:
        st.session_state.refusal = key, str(error)
        return
    st.toast(f"Started: {widgets.plain(run.title())}", icon=":material/play_arrow:")
    if shows:
        st.query_params["run"] = st.session_state.run = run.id
        st.session_state.pop("picked_run", None)


# Its own quantities, and Forward-Forward's beside them


def period_of(*runs: Run | None) -> float | None:
    """Seconds between looks while one of these runs moves, and the reader wants that."""
    return widgets.pace(1) if any(r and widgets.is_live(r) for r in runs) else None


def show_traces(run: Run, other: Run | None, item: dict, plain: dict, period: float | None) -> None:
    """The part that moves: what is special to the model, and both runs' accuracy and dead units."""
    if period and not any(r and widgets.is_live(r) for r in (run, other)):
        st.rerun()  # over: once more as a whole, without a timer
    with widgets.told_if_broken("This run"):
        line(run, item)
        if other:
            line(other, plain)
            if unlike := differences(run, other):
                st.caption(f"Not alike in: {unlike}.")
        elif item["name"] != PLAIN:
            st.caption("No run of plain Forward-Forward on these images to compare with: train one beside it, above.")
        story = feed.story(run)
        told = charts.by_layer(story.ticks, "traces")
        runs = {item["title"]: (feed.story(run), item)}
        if other:
            runs[plain["title"]] = (feed.story(other), plain)
        shown = compared(runs, bool(period))
        points = max(60, min(250, POINTS // max(1, len(told))))
        own_figures = [(key, charts.special(told, key, points, story.told)) for key in item["traces"]]
        shown += [(figure, f"{key} of every layer over training") for key, figure in own_figures if figure["data"]]
        losses = [tick for tick in story.ticks if isinstance(tick.get("loss"), int | float)]
        if losses:
            figure = charts.loss(losses, points, story.told[0], "Loss of all layers together")
            shown.append((figure, "loss of all layers together over training"))
        live_charts(shown, columns=2, key="traces", framed=True)
        if item["traces"]:
            about = [
                f"**{widgets.plain(key.replace('_', ' '))}**: {widgets.plain(is_a)}" for key, is_a in item["traces"].items()
            ]
            missing = not any(figure["data"] for _, figure in own_figures)
            early = "The run has told none of them" + (" yet." if widgets.is_live(run) else ": it was over too soon.")
            st.caption(f"Its own quantities, a line per layer. {' · '.join(about)}. {early * missing}")


def compared(runs: dict[str, tuple[feed.Story, dict | None]], live: bool) -> list[tuple[dict, str]]:
    """Accuracy and dead units of runs, {name: (story, facts of its model)}; `live`: they are not over."""
    names = " and ".join(runs)
    accuracy = {name: feed.accuracies(story, list(item["readouts"]) if item else []) for name, (story, item) in runs.items()}
    dead = {name: feed.dead(story) for name, (story, _) in runs.items()}
    spans = {name: max(values, default=0) for name, values in accuracy.items()}
    ends = [span for span in spans.values() if span]
    over = "epoch"
    if ends and max(ends) > 3 * min(ends) and not live:  # by epochs, the shorter run would be a blot
        over = "share of its training"
        accuracy = {name: {x / (spans[name] or 1): y for x, y in values.items()} for name, values in accuracy.items()}
        dead = {
            name: {layer: {x / (spans[name] or 1): y for x, y in values.items()} for layer, values in layers.items()}
            for name, layers in dead.items()
        }
    return [
        (charts.accuracies(accuracy, over), f"validation accuracy of {names} over training"),
        (charts.dead_beside(dead, over), f"share of dead units of {names} over training"),
    ]


def line(run: Run, item: dict) -> None:
    """What a run is and has come to."""
    status = run.status()
    result = status["result"] if isinstance(status["result"], dict) else {}
    right = result.get("test_accuracy")
    parts = [f"{widgets.badge(status['state'])} **{item['title']}**"]
    parts.append(f"epoch {status['epoch']:g} of {status['epochs'] or run.config['train'].get('epochs') or '–'}")
    parts += [f"**{widgets.percent(right)}** of the test images right"] if feed.is_share(right) else []
    parts.append(f"{widgets.duration(status['train_seconds'])} of training")
    st.markdown(" · ".join(parts))
    if status["state"] in ("failed", "lost") and status["reason"]:
        st.caption(widgets.quote(str(status["reason"]), 300))


def differences(run: Run, other: Run) -> str:
    """What else than the model differs between two runs' conditions."""
    found = []
    for section, key in (
        ("train", "epochs"),
        ("model", "widths"),
        ("train", "batch_size"),
        ("train", "lr"),
        ("model", "alpha"),
    ):
        one, two = (r.config[section].get(key) for r in (run, other))
        if one != two and None not in (one, two):
            found.append(f"{key.replace('_', ' ')} {widgets.plain(str(one))} and {widgets.plain(str(two))}")
    if run.config["seed"] != other.config["seed"]:
        found.append("random seed")
    return ", ".join(found)


# One digit through both


def show_digit(run: Run, other: Run | None, item: dict, plain: dict) -> None:
    """A test image, and what both nets make of it."""
    with widgets.told_if_broken("The digit"):
        samples, classes = feed.samples(run), run.config["facts"].get("classes")
        if samples is None or not own.has_weights(run):
            why = feed.damage(run)
            (st.error if why else st.caption)(
                widgets.plain(why or "") or "This run has saved no net yet; the digit comes when it has."
            )
            return
        n = len(samples["labels"])
        digit = widgets.digit(n) - 1
        image, true = samples["images"][digit], int(samples["labels"][digit])
        left, main = st.columns([1, 2.6], gap="medium")
        with left:
            is_a = f"Test image {digit + 1} of {n} · its class is "
            st.html(charts.picture(image, f"{is_a}{classes[true]}", 200))
            st.caption(f"{is_a}**{widgets.plain(str(classes[true]))}**", text_alignment="center")
            with st.container(horizontal=True, horizontal_alignment="center", gap="xsmall"):
                st.button("Previous", icon=":material/arrow_back:", on_click=widgets.turn, args=(-1, n))
                st.button("Next", icon=":material/arrow_forward:", on_click=widgets.turn, args=(1, n), type="primary")
            widgets.ways(run, "draw", digit=digit + 1)
        with main:
            answer(run, item, image, true)
            if item["can_generate"]:
                show_images(run, image)
            if other:
                answer(other, plain, image, true)
            elif item["name"] != PLAIN and item["has_goodness"]:
                st.caption("There is no net of plain Forward-Forward for such images yet: train one beside it, above.")


def answer(run: Run, item: dict, image: np.ndarray, true: int) -> None:
    """What one net says of one image (C, H, W) uint8, as on Start."""
    with widgets.told_if_broken(item["title"]):
        net, classes = own.net(run), [str(c) for c in run.config["facts"]["classes"]]
        scores = {name: values[0].numpy() for name, values in net.scores(image[None]).items()}
        first = net.model.readouts[0]
        said = int(scores[first].argmax())
        verdict = "right" if said == true else f"but it is a **{widgets.plain(classes[true])}**"
        whose = ":gray[(the net that comes with ffcore)]" if run.bundled else ""
        said = widgets.plain(classes[said])
        st.markdown(f"**{item['title']}** {whose} says **{said}** by its {first} read-out, {verdict}.")
        if net.model.tries_labels:
            table = net.goodness(image[None])[0].numpy()
            rows = [f"Layer {layer}" for layer in range(1, table.shape[1] + 1)]
            st.html(charts.goodness_table(table, classes, true, rows, widgets.voters(run, len(rows))))
        else:
            st.html(charts.goodness_table(scores[first][:, None], classes, true, ["Score"]))


def show_images(run: Run, image: np.ndarray) -> None:
    """What a generating net makes of an image (C, H, W) uint8, and of every class."""
    net, classes = own.net(run), [str(c) for c in run.config["facts"]["classes"]]
    again, drawn = net.reconstruct(image[None])[0], net.sample(1)[:, 0]
    st.caption("The same image out of its own latents, and one drawn for each class:")
    pictures = [("again", again.numpy()), *((name, one.numpy()) for name, one in zip(classes, drawn, strict=True))]
    st.html(charts.strip(pictures))


def plain_net(run: Run, others: list[Run]) -> Run | None:
    """A net of plain Forward-Forward for images of the same kind: one of `others`, else the one that comes with ffcore."""

    def fits(net: Run) -> bool:
        mine, its = run.config["facts"], net.config["facts"]
        return own.has_weights(net) and all(mine.get(key) == its.get(key) for key in ("shape", "classes"))

    bundled = [r for r in widgets.all_runs() if r.bundled and model_of(r) == PLAIN]
    return next((r for r in [*others, *bundled] if fits(r)), None) if model_of(run) != PLAIN else None


# Failures on purpose


def failures(name: str, items: dict[str, dict], presets: list[dict]) -> list[dict]:
    """The presets kept as failures of this model; those that belong to no honest one stand with plain Forward-Forward."""
    return [p for p in presets if not p["good"] and (p["variant"] if p["variant"] in items else PLAIN) == name]


def show_failure(preset: dict, request: dict | None, runs: list[Run], items: dict[str, dict]) -> None:
    """One failure: what one sees, why, what mends it; both to be run, and then to be seen side by side."""
    key = preset["name"]
    with st.container(border=True), widgets.told_if_broken(preset["title"]):
        st.markdown(f"**⚠ {preset['title']}** :small[:gray[preset {widgets.plain(key)}]]")
        told = {"What you see": preset["see"], "Why": preset["why"], "What fixes it": preset["fix"]}
        st.markdown("  \n".join(f"**{head}.** {coded(text)}" for head, text in told.items() if text))
        broken = {"preset": key, "seed": (request or {}).get("seed", 0)}
        sets = {d["name"]: d for d in catalogue.datasets()}
        if request and suits(sets[request["data"]], preset["settings"]):
            broken["data"] = request["data"]
        config = ffcore.configure(**broken)
        images = config["data"]["name"]
        with st.container(horizontal=True, vertical_alignment="center"):
            train_button("Run the failure", f"fail.{key}", broken)
            mended = {"data": images, **preset["instead"], "seed": broken["seed"], "tag": f"fix of {key}"}
            if preset["instead"]:
                train_button("Run the fix", f"fix.{key}", mended)
            st.caption(f"on {widgets.plain(sets[images]['title'] if images in sets else images)}")
        refusal(f"fail.{key}", f"fix.{key}")
        failure = widgets.latest(runs, lambda r: r.config.get("preset") == key)
        fix = widgets.latest(runs, lambda r: r.config.get("tag") == mended["tag"])
        if failure and fix is None and preset["instead"]:
            like = ffcore.configure(**mended)
            parts = ("model", "negatives", "data")
            fix = widgets.latest(runs, lambda r: all(r.config[part] == like[part] for part in parts))
        if failure or fix:
            period = period_of(failure, fix)
            st.fragment(show_curves, run_every=period)(key, failure, fix, items, period)


def suits(images: dict, settings: dict) -> bool:
    """Can a preset take these images, or does it ask for others, or for more?"""
    return "data.name" not in settings and (settings.get("data.train") or 0) <= images["sizes"]["train"]


def show_curves(key: str, failure: Run | None, fix: Run | None, items: dict[str, dict], period: float | None) -> None:
    """How a failure and its fix went."""
    both = {"the fix": fix, "the failure": failure}  # in this order, each has a colour
    if period and not any(run and widgets.is_live(run) for run in both.values()):
        st.rerun()
    with widgets.told_if_broken("These runs"):
        for name, run in both.items():
            if run:
                line(run, {"title": name.capitalize()})
        runs = {n: (feed.story(r), items.get(model_of(r))) if r else (feed.Story(), None) for n, r in both.items()}
        live_charts(compared(runs, bool(period)), columns=2, key=f"curves.{key}")


st.title("Variants")
st.markdown(
    "Researchers have changed Forward-Forward in many ways, to learn better or to be more like a brain. Each model here "
    "is shown by what its paper adds, and beside plain Forward-Forward on the same images."
)
st.html(
    "<style>.st-key-equation .katex-display {margin: 0; padding: .4rem 0; overflow-x: auto; overflow-y: hidden}"
    ".st-key-equation .katex {font-size: 1em}</style>"
)
slot = st.container()
with slot.skeleton():
    widgets.settle_torch()
    catalogue.models()
with slot:
    models, runs, presets = {m["name"]: m for m in catalogue.models()}, widgets.all_runs(), catalogue.presets()
    honest = {name: m for name, m in models.items() if m["faithful"]}
    flawed = {p["name"] for p in presets if not p["good"]}
    name = choose_model(honest, runs)
    item, plain = honest[name], honest[PLAIN]
    show_facts(item, plain)
    asked, time = show_knobs(item, plain)
    plotly_loader()
    st.header("As it learns")
    chosen = choose_run(runs, item, flawed)
    if chosen is None:
        with st.container(border=True, horizontal_alignment="center"):
            st.markdown(f"**No run of {item['title']} yet.** {time}.", text_alignment="center")
            if asked:
                train_button("Train the first one", "train_first", asked, shows=True)
    else:
        others = plain_runs(runs, chosen, flawed) if name != PLAIN else []
        beside = others[0] if others else None
        period = period_of(chosen, beside)
        widgets.part("Its traces", show_traces, chosen, beside, item, plain, period, every=period)
        widgets.ways(chosen, "live", "replay", "health", "run")
        st.header("The same digit through both" if name != PLAIN else "A digit through it")
        widgets.part("The digit", show_digit, chosen, plain_net(chosen, others), item, plain)
    kept = failures(name, honest, presets)
    if kept:
        st.header("How it fails, and what fixes it")
        for preset in kept:
            show_failure(preset, asked, runs, models)
    if asked:
        given = {key: value for key, value in asked.items() if value != {}}
        lines = f"import ffcore\n\nrun = ffcore.train(**{given!r})\nprint(run.status()['result']['readouts'])"
        widgets.share(ffcore.command(ffcore.configure(**asked)), lines)
    else:
        widgets.share()

widgets.explain(
    """
**The diagram** is drawn from the model's own facts: blue boxes learn, the image enters at the bottom, and signals rise along
the grey arrows. Orange is what the paper adds. Where ✕ stands no error travels back, so a layer can learn without waiting for
those above it: that is what makes Forward-Forward a candidate for brains and for unusual hardware.

**Beside Forward-Forward** is fair only on equal terms: the same images, seed, widths and epochs, which the second button
gives. What still differs is named above the charts. One run each is an anecdote: with small sets, two seeds of one model
differ by a point or so.

**Its own quantities** are what the rule computes and others do not, as measured during training on the batch at hand.

**Goodness is not comparable between models.** What counts is which label has most. A model without goodness shows the scores of
its read-out.

**Failures** are kept for study: recipes that look plausible, go wrong, and say why. The fix is the honest default on the
same data set, with all of its images and the steps it needs. Dead units, which never switch on, often tell the story before
the accuracy does.
"""
)
