"""Live: watch every layer's goodness part while a run trains; pause, resume or stop it; see what came out."""

import charts
import feed
import streamlit as st
import widgets
from components import live_chart, plotly_loader
from widgets import LIVE

import ffcore
from ffcore import Run

PANEL_POINTS = 250  # per line and layer: keeps a tick under 60 kB

runs = widgets.all_runs()
st.title("Live")
if not runs:
    widgets.empty("No run has been started yet.", "Start one", "views/train.py")
plotly_loader()


def watch(run: Run, period: float | None) -> None:
    """The part of the page that moves."""
    status = run.status()
    state = status["state"]
    if period and state not in LIVE:
        st.rerun()  # over: once more as a whole, without a timer
    story = feed.story(run)
    if period and pace(status) >= 2 * period:
        st.rerun()  # a long run needs no hurry: once more, with a slower timer
    heading(run, status)
    controls(run, status)
    for alarm in story.alarms[-3:]:
        st.warning(f"Step {alarm['step']:,}: {alarm['message']}", icon=":material/warning:")
    if state == "queued":
        queue(run)
    else:
        tiles(run, status, story)
        layers(run, story)
        across(run, story)
    log(run)


def pace(status: dict) -> float:
    """Seconds between looks: 1 at first, up to 10 for a run that takes hours."""
    return min(10.0, max(1.0, (status["train_seconds"] or 0) / 600))


def heading(run: Run, status: dict) -> None:
    hanging = " :red-badge[:material/warning: no sign of life for two minutes]" if status.get("hanging") else ""
    st.markdown(f"### {run.title()}\n{widgets.badge(status['state'])}{hanging} :gray[{run.id}]")
    if status["reason"]:
        (st.error if status["state"] in ("failed", "lost") else st.info)(status["reason"])


def controls(run: Run, status: dict) -> None:
    """Pause, resume, stop: each asks the process, which answers within a step or two."""
    state, want = status["state"], run.want()
    with st.container(horizontal=True):
        if state in LIVE:
            pausing, stopping = want == "pause", want == "stop"
            st.button("Pausing …" if pausing else "Pause", icon=":material/pause:", disabled=pausing or stopping,
                      on_click=run.control, args=("pause",), help="saves everything and frees the processor")
            st.button("Stopping …" if stopping else "Stop", icon=":material/stop:", disabled=stopping,
                      on_click=run.control, args=("stop",), help="ends the run and keeps its weights")
        elif state in ("paused", "stopped", "lost") and not run.bundled:
            st.button("Resume", icon=":material/play_arrow:", type="primary", on_click=ask, args=(ffcore.requeue, run))
            if state == "paused":
                st.button("Stop", icon=":material/stop:", on_click=ask, args=(ffcore.stop, run),
                          help="ends the run and keeps its weights")
    if problem := st.session_state.pop("refused", None):
        st.error(problem)


def ask(verb, run: Run) -> None:
    try:
        verb(run)
    except (ffcore.Refused, ffcore.Failed) as error:
        st.session_state.refused = str(error)


def queue(run: Run) -> None:
    place = ffcore.position(run)
    training = widgets.latest(runs, lambda r: r.state == "running")
    left = training and widgets.duration(training.status()["eta"])
    now = f" “{training.title()}” is training now, {left} left." if training else ""
    st.info(f"**Queued: number {place} in line.**{now} It starts by itself when a place is free; there is one for each "
            "GPU, or for every two processor cores.", icon=":material/hourglass_empty:")


def tiles(run: Run, status: dict, story: feed.Story) -> None:
    result = status["result"] or {}
    last = story.epochs[-1]["validation"] if story.epochs else None
    with st.grid(4, min_column_width=150, gap="small"):
        if result.get("test_accuracy") is not None:
            st.metric("Test accuracy", widgets.percent(result["test_accuracy"]), border=True,
                      help=f"{result['readout']} read-out; the test images were looked at {status['test_touches']}×")
        else:
            value = max(last.values()) if last else None
            st.metric("Validation accuracy", widgets.percent(value), border=True,
                      help="best read-out after the last epoch, on images held out of the training set")
        epoch = story.ticks[-1]["epoch"] if story.ticks else 0.0
        st.metric("Epoch", f"{epoch:.1f} / {status['epochs']}", border=True)
        speed = status["images_per_second"]
        st.metric("Images per second", f"{speed:,.0f}" if speed else "–", border=True)
        if status["state"] in LIVE:
            st.metric("Time left", widgets.duration(status["eta"]), border=True)
        else:
            st.metric("Training time", widgets.duration(status["train_seconds"]), border=True)
    if status["state"] in LIVE:
        st.progress(min(1.0, status["step"] / max(1, status["steps"])))


def layers(run: Run, story: feed.Story) -> None:
    """One card per layer: its two curves, and the histogram of the last snapshot."""
    told = charts.by_layer(story.ticks)
    if not told:
        if story.ticks:
            live_chart(charts.loss(story.ticks), key="loss", alt="loss over training")
        else:
            st.caption("Waiting for the first numbers …")
        return
    model = run.config["model"]
    theta = model.get("theta") if model.get("objective") == "threshold" else None
    epochs = run.snapshots()
    snapshot = feed.snapshot(run, epochs[-1]) if epochs else {}
    dead = {row["layer"]: row["dead"] for row in story.epochs[-1]["layers"]} if story.epochs else {}
    widths = model.get("widths", [])
    grid = st.grid(min(3, len(told)), min_column_width=330, gap="small")
    for i, rows in told.items():
        row = rows[-1][1]
        with grid.cell(), st.container(border=True):
            units = f" :gray[{widths[i]:,} units]" if i < len(widths) else ""
            silent = f" · {widgets.percent(dead[i], 1)} dead" if i in dead else ""
            st.markdown(f"**Layer {i + 1}**{units}  \n:small[gap {row['gap']:.2f} · d′ {row['dprime']:.2f} · "
                        f"overlap {widgets.percent(row['overlap'], 0)}{silent}]")
            live_chart(charts.goodness(rows, theta, PANEL_POINTS), key=f"goodness_{i}",
                       alt=f"goodness of positives and negatives of layer {i + 1} over training")
            if "pos" in snapshot:
                figure = charts.histogram(*(snapshot[part][i] for part in ("edges", "pos", "neg")))
                live_chart(figure, key=f"histogram_{i}",
                           alt=f"goodness of layer {i + 1} on validation images after epoch {epochs[-1]}")


def across(run: Run, story: feed.Story) -> None:
    """What compares layers: gap, d′, accuracy, dead units."""
    shown = []
    if told := charts.by_layer(story.ticks):
        shown += [(name, charts.separation(told, name, PANEL_POINTS), title) for name, title in (
            ("gap", "Gap between positives and negatives"), ("dprime", "d′: the gap in standard deviations"))]
    if story.epochs:
        shown += [("accuracy", charts.accuracy(story.epochs), "Accuracy on validation images"),
                  ("dead", charts.dead_units(story.epochs), "Dead units")]
    if not shown:
        return
    grid = st.grid(2, min_column_width=330, gap="small")
    for key, figure, title in shown:
        with grid.cell(), st.container(border=True):
            st.markdown(f"**{title}**")
            live_chart(figure, key=key, alt=title)


def log(run: Run) -> None:
    with st.expander("Log", icon=":material/terminal:"):
        file = run.dir / "log.txt"
        text = file.read_bytes()[-4000:].decode("utf-8", "replace") if file.exists() else ""
        st.code("\n".join(text.splitlines()[-20:]) or "nothing yet", language=None)
        st.caption("Repeat this run from the command line:")
        st.code(run.command(), language="bash", wrap_lines=True)


def outcome(run: Run, result: dict) -> None:
    """What a finished run leaves: accuracy by read-out, confusions, worst errors, receptive fields."""
    st.header("Result")
    with st.grid(4, min_column_width=150):
        for name, row in result["readouts"].items():
            st.metric(f"Test accuracy, {name}", widgets.percent(row["test"]), border=True,
                      delta=f"validation {widgets.percent(row['validation'])}", delta_color="off", delta_arrow="off")
        for row in result["layers"]:
            if row["validation_accuracy"] is not None:
                st.metric(f"Layer {row['layer'] + 1} alone", widgets.percent(row["validation_accuracy"]), border=True,
                          delta="validation", delta_color="off", delta_arrow="off")
    evaluation, classes = run.evaluation(), run.config["facts"]["classes"]
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch"):
        st.markdown("**Which classes it confuses** :small[test images; mistakes coloured]")
        if evaluation:
            live_chart(charts.confusion(evaluation["confusion"], classes), key="confusion",
                       alt="confusion matrix of the test images")
    with right, st.container(border=True, height="stretch"):
        st.markdown("**What units of layer 1 look for** :small[incoming weights]")
        epochs = run.snapshots()
        if epochs and "fields" in (snapshot := feed.snapshot(run, epochs[-1])):
            st.html(charts.fields(snapshot["fields"]))
            st.caption("Blue pixels excite the unit, vermilion ones calm it.")
    if evaluation and "worst_images" in evaluation:
        with st.container(border=True):
            st.markdown("**Its worst errors** :small[the test images that it was most wrong about]")
            worst = (evaluation[f"worst_{part}"] for part in ("images", "label", "prediction"))
            st.html(charts.contact_sheet(*worst, classes))


training = widgets.latest(runs, lambda run: run.state == "running")
chosen = widgets.pick_run(runs, training or widgets.latest(runs, widgets.is_live) or runs[0])
period = pace(chosen.status()) if widgets.is_live(chosen) and st.query_params.get("live") != "0" else None
st.fragment(watch, run_every=period)(chosen, period)
if result := chosen.status()["result"]:
    outcome(chosen, result)
widgets.explain(
    """
**Two curves per layer.** Goodness is the mean square of a layer's activities. The blue solid curve is its mean over
*positives* (images with the right label), the vermilion dotted one over *negatives* (the same images with a wrong
label). Each band holds the middle 80% of images. Learning is the two curves parting; each layer does it on its own,
from its own local loss.

**The gap and d′.** The gap is the distance between the two means; d′ divides it by the spread, so 1 means the two
histograms still overlap a lot, 3 means they hardly touch. With the *threshold* objective a dashed line shows θ:
positives should end above it and negatives below. The *gap* objective has no θ; only the difference counts.

**Dead units** are never switched on by any validation image: they learn nothing any more. **A layer alone** reads the
image by its own goodness only.
"""
)
