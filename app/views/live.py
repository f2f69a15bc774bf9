"""Live: watch every layer's goodness part while a run trains; pause, resume or stop it."""

from functools import partial

import charts
import feed
import numpy as np
import shelf
import streamlit as st
import widgets
from components import live_charts, plotly_loader
from widgets import LIVE

import ffcore
from ffcore import Run

POINTS = 320  # of all layers' lines together: a tick stays under 60 kB

runs = widgets.all_runs()
if not runs:
    st.title("Live")
    widgets.empty("No run has been started yet.", "Start one", "views/train.py")
plotly_loader()


def watch(run: Run, period: float | None) -> None:
    """The part of the page that moves."""
    status = run.status()
    state = status["state"]
    if period and state not in LIVE:
        st.rerun()  # over: once more as a whole, without a timer
    story = feed.story(run)
    if period and not 0.5 < feed.pace(status, feed.viewers(run)) / period < 1.5:
        st.rerun()  # once more as a whole, with another timer
    heading(run, status)
    for message in standing_alarms(story):
        st.warning(widgets.plain(message), icon=":material/warning:")
    if why := feed.damage(run):
        st.warning(f"Not all of this run can be shown: {widgets.plain(why)}", icon=":material/broken_image:")
    if state == "queued":
        queue(run)
    tiles(run, status, story)
    layers(run, story)
    across(story)
    shelf.log(run, 20)


def heading(run: Run, status: dict) -> None:
    """What this run is and what it does now, with the buttons that change that."""
    hanging = " :red-badge[:material/warning: no sign of life for two minutes]" if status.get("hanging") else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{widgets.badge(status['state'])}{hanging} :gray[{run.id}]", width="stretch")
        controls(run, status)
    if problem := st.session_state.pop("refused", None):
        widgets.refusal(problem)
    if status["reason"]:
        (st.error if status["state"] in ("failed", "lost") else st.info)(widgets.plain(status["reason"]))


def controls(run: Run, status: dict) -> None:
    """Pause, resume, stop: each asks the process, which answers within a step or two."""
    state, want = status["state"], run.want()
    if state in LIVE:
        pausing, stopping = want == "pause", want == "stop"
        widgets.act(
            "Pausing …" if pausing else "Pause",
            icon=":material/pause:",
            disabled=pausing or stopping,
            key="pause",
            on_click=ask,
            args=(Run.control, run, "pause"),
            help="saves everything and frees the processor",
        )
        widgets.act(
            "Stopping …" if stopping else "Stop",
            icon=":material/stop:",
            disabled=stopping,
            key="stop",
            on_click=ask,
            args=(Run.control, run, "stop"),
            help="ends the run and keeps its weights",
        )
        return
    if can_resume(run, status):
        widgets.act(
            "Resume",
            icon=":material/play_arrow:",
            type="primary",
            on_click=ask,
            args=(ffcore.requeue, run),
            key="resume",
            help="goes on from the last saved state",
        )
    if (kept := run.kept()) and ffcore.asked(run.config)["data"] in ffcore.data.DATASETS:
        st.page_link(
            "views/train.py", label="Branch from here", icon=":material/call_split:",
            query_params=shelf.train_query(run, run.config.get("seed", 0), kept[-1]),
            help="a new run that begins with these weights, with settings of your choice",
        )  # fmt: skip
    if state == "paused":
        widgets.act("Stop", icon=":material/stop:", on_click=ask, args=(ffcore.stop, run), key="stop",
                  help="ends the run and keeps its weights")  # fmt: skip


def can_resume(run: Run, status: dict) -> bool:
    """Does it lie there unfinished, with a state to go on from (or before its first step)?"""
    unfinished = status["state"] in ("paused", "stopped", "lost", "failed") and not run.bundled
    return unfinished and ((run.dir / "state.safetensors").exists() or not status["step"])


def ask(verb, run: Run, *more: str) -> None:
    """Do it; a refusal is told beside the buttons."""
    try:
        verb(run, *more)
    except (ffcore.Refused, ffcore.Failed) as error:
        st.session_state.refused = str(error)


def standing_alarms(story: feed.Story) -> list[str]:
    """What the last epoch's check found; what it no longer finds is past."""
    last = story.epochs[-1]["step"] if story.epochs else 0
    return [f"After epoch {story.epochs[-1]['epoch']}, {alarm['message']}" for alarm in story.alarms if alarm["step"] == last]


def queue(run: Run) -> None:
    place = ffcore.position(run)
    training = widgets.latest(runs, lambda r: r.state == "running")
    left = training and widgets.duration(training.status()["eta"])
    now = f" “{widgets.title(training)}” is training now, {left} left." if training else ""
    st.info(
        f"**Queued: number {place} in line.**{now} It starts by itself when a place is free; there is one for each "
        "GPU, or for every two processor cores.",
        icon=":material/hourglass_empty:",
    )


def tiles(run: Run, status: dict, story: feed.Story) -> None:
    result = status["result"] or {}
    last = story.epochs[-1]["validation"] if story.epochs else None
    with st.grid(4, min_column_width=150, gap="small"):
        if result.get("test_accuracy") is not None:
            st.metric(
                "Test accuracy",
                widgets.percent(result["test_accuracy"]),
                border=True,
                help=f"{widgets.plain(result['readout'])} read-out; accuracy on the test images has been measured "
                f"{status['test_touches']}×; "
                "64 fixed test samples are shown throughout",
            )
        else:
            value = max(last.values()) if last else None
            st.metric(
                "Validation accuracy",
                widgets.percent(value),
                border=True,
                help="best read-out after the last epoch, on images held out of the training set",
            )
        tick = story.ticks[-1] if story.ticks else {}
        epoch = status["epoch"] if status["state"] == "done" or not tick else f"{tick['epoch']:.1f}"
        st.metric("Epoch", f"{epoch} / {status['epochs'] or run.config['train']['epochs'] or '–'}", border=True)
        speed = tick.get("images_per_second")
        st.metric("Images per second", f"{speed:,.0f}" if speed else "–", border=True)
        if status["state"] in LIVE:
            st.metric("Time left", widgets.duration(tick.get("eta")), border=True)
        else:
            st.metric("Training time", widgets.duration(status["train_seconds"]), border=True)
    if status["state"] in LIVE:
        st.progress(min(1.0, status["step"] / max(1, status["steps"])))


def layers(run: Run, story: feed.Story) -> None:
    """A card per layer: how far positives and negatives are apart, pair by pair, and both curves."""
    told, model = by_layer(story), run.config["model"]
    widths = model.get("widths") or model.get("channels", [])
    if (story.ticks and not told) or not run.config["negatives"]:  # a net without goodness, or whose layers do not learn
        with st.container(border=True):
            no_sides(story)
        return
    theta = model.get("theta") if model.get("objective") == "threshold" else None
    epochs = run.snapshots()
    snapshot = (feed.snapshot(run, epochs[-1]) if epochs else None) or {}
    dead = {row["layer"]: row["dead"] for row in story.epochs[-1]["layers"]} if story.epochs else {}
    points = max(60, min(250, POINTS // max(1, len(widths))))
    for layer in told or range(1, len(widths) + 1):  # empty cards before the first tick: nothing jumps
        rows = told.get(layer, [])
        with st.container(border=True):
            units = f":gray[{widths[layer - 1]:,} units]" if layer <= len(widths) else ""
            st.markdown(f"**Layer {layer}** {units} · {sentence(rows, dead.get(layer))}")
            make = partial(curves, layer, rows, theta, points, story.told[layer], snapshot, epochs)
            shown = story.once("curves", layer, *epochs[-1:], make=make)
            live_charts(shown, columns=len(shown), key=f"layer_{layer}")


def no_sides(story: feed.Story) -> None:
    """What a net without positives and negatives tells while it learns: its loss, and what is special to its model."""
    told = charts.by_layer(story.ticks, "traces")
    names = list(dict.fromkeys(name for rows in told.values() for _, row in rows for name in row["traces"] or {}))
    shown = [(charts.loss(story.ticks, told=story.told[0], title="Loss of all layers together"), "loss over training")]
    points = max(60, min(250, POINTS // max(1, len(told))))
    shown += [(charts.special(told, name, points, story.told), f"{name} of every layer over training") for name in names[:7]]
    live_charts(shown, columns=2 if len(shown) < 4 else 4, key="loss")


def sentence(rows: charts.Rows, dead: float | None) -> str:
    """The layer's numbers, the one for beginners first."""
    if not rows:
        return ":gray[waiting for the first numbers …]"
    row = rows[-1][1]
    silent = "" if dead is None else f" · {widgets.percent(dead, 1)} dead"
    if charts.is_paired(rows):
        lead = f"the positive wins **{widgets.percent(row['won'], 1)}** of pairs"
        paired = f" · d′ of pairs {row['paired_dprime']:.2f}"
    else:
        lead, paired = f"positives lead by **{row['gap']:.2f}**", ""
    numbers = f"gap {row['gap']:.2f}{paired} · d′ {row['dprime']:.2f} · overlap {widgets.percent(row['overlap'], 0)}{silent}"
    return f"{lead} :small[:gray[{numbers}]]"


def by_layer(story: feed.Story) -> dict[int, charts.Rows]:
    return story.once("by layer", make=lambda: charts.by_layer(story.ticks))


def curves(
    layer: int, rows: charts.Rows, theta: float | None, points: int, told: int, snapshot: dict, epochs: list[int]
) -> list[tuple[dict, str]]:
    """One layer's charts, with what they show in words; the difference leads where positives and negatives come in pairs."""
    when = f"after epoch {epochs[-1]}" if epochs else "after each epoch"
    shown, i = [], layer - 1

    def counts(*names: str) -> list[np.ndarray]:
        """This layer's arrays of the snapshot; empty ones before the first."""
        return [snapshot[name][i] if name in snapshot else np.arange(2.0) if "edges" in name else np.zeros(1) for name in names]

    if charts.is_paired(rows) or not rows:
        shown += [
            (
                charts.difference(rows, layer, points, told),
                f"goodness of positives minus negatives of layer {layer}, pair by pair, over training",
            ),
            (
                charts.pair_histogram(*counts("pair_edges", "pair"), f"Lead {when}"),
                f"lead of the positive in layer {layer} on validation images {when}",
            ),
        ]
    shown += [
        (charts.goodness(rows, theta, points, told), f"goodness of positives and negatives of layer {layer} over training"),
        (
            charts.histogram(*counts("edges", "pos", "neg"), f"Goodness {when}"),
            f"goodness of layer {layer} on validation images {when}",
        ),
    ]
    return shown


def across(story: feed.Story) -> None:
    """What compares layers: pairs won, d′, accuracy, dead units."""
    if told := story.once("across", make=lambda: compared(story)):
        live_charts(told, columns=2, key="across", framed=True)


def compared(story: feed.Story) -> list[tuple[dict, str]]:
    """Charts of all layers together, with what they show in words."""
    shown = []
    if told := by_layer(story):
        paired = all(charts.is_paired(rows) for rows in told.values())
        points = max(60, min(250, POINTS // len(told)))
        for name in ("won", "paired_dprime") if paired else ("gap", "dprime"):
            shown.append(charts.separation(told, name, points, story.told))
    if story.epochs:
        shown += [charts.accuracy(story.epochs), charts.dead_units(story.epochs)]
    return [(figure, figure["layout"]["title"]["text"] + " over training") for figure in shown]


def over(run: Run, result: dict) -> None:
    """The headline of a run that has ended, and where its story goes on."""
    share = result.get("test_accuracy")
    kind = "test" if share is not None else "validation"
    share = result.get("validation_accuracy") if share is None else share
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        ending = "It failed" if run.state == "failed" else f"It is {run.state}"
        figure = (
            ""
            if share is None
            else f": **{widgets.percent(share)}** of {kind} images right by its {widgets.plain(result['readout'])} read-out"
        )
        st.markdown(f"{ending}{figure}.", width="stretch")
        if st.button("See the run", type="primary", icon=":material/fact_check:", help="confusions, worst errors, settings"):
            st.switch_page("views/run.py", query_params={"run": run.id})
        if run.snapshots() and st.button("Replay it", icon=":material/history:"):
            st.switch_page("views/replay.py", query_params={"run": run.id})


def python_for(run: Run) -> str:
    return f"""import ffcore
run = ffcore.find({run.id!r})
for event in run.events()[0]:
    print(event["event"], event.get("epoch"), event.get("loss"), event.get("validation"))"""


training = widgets.latest(runs, lambda run: run.state == "running")
name, choice = st.columns([1, 4], vertical_alignment="bottom")
name.title("Live")
with choice:
    chosen = widgets.pick_run(runs, training or widgets.latest(runs, widgets.is_live) or runs[0])
high = 590 if chosen.config["negatives"] else 300
st.html(
    f"<style>[class*='st-key-layer_'] {{min-height: 230px}} .st-key-across {{min-height: {high}px}}</style>"
)  # nothing jumps
if (result := chosen.status()["result"]) and not widgets.is_live(chosen):
    over(chosen, result)
period = widgets.pace(feed.pace(chosen.status(), feed.viewers(chosen))) if widgets.is_live(chosen) else None
widgets.part("This run", watch, chosen, period, every=period)
widgets.share(chosen.command(), python_for(chosen))
widgets.explain(
    """
Charts move while a run trains, and stand still when it has ended; **See the run** then shows what it learnt.

**Goodness** is the mean square of a layer's activities: how excited the layer is. Every step shows each layer *pairs*:
a true example, the positive x⁺, and its negative x⁻: for a net with labels the same image under a wrong one, else what
its negative strategy makes of the image.

**Lead of the positive** is the goodness of the positive minus that of its own negative, the mean over pairs in a band
that holds the middle 80%. Above 0 the positive wins. The training objective pushes exactly this up, in each layer on
its own, with no error passed between layers. In the histogram beside it, blue images are read right against that one
wrong label, vermilion ones are not.

**Goodness** of the two: the blue solid curve is the mean over positives, the vermilion dotted one over negatives. The
curves part as the layer learns. Their bands overlap even in a good net, because images differ from each other far more
than two labels of the same image do; that is why the lead is taken pair by pair. With the *threshold* objective a dashed
line shows θ: positives should end above it and negatives below. The *gap* objective has no θ.

**d′** is a difference divided by its standard deviation: d′ of pairs for the lead, plain d′ for the two curves, where 1
means much overlap and 3 hardly any.

**Dead units** were never switched on by the first 1,000 validation images, under the right label or a wrong one. That
need not last: peer normalisation can wake them, and with gelu, silu or leaky_relu a unit that is off still has a
gradient. **A layer alone** reads the image by its own goodness only.

A net **without negatives** has no such pairs: it shows its loss and what is special to its rule, a line per layer.

**Pause** saves everything and frees the processor; **Resume** goes on as if nothing had happened, to the last bit.
"""
)
