"""Start: a trained net reads a digit before your eyes. Stored arrays, no torch and no Plotly, so it paints at once."""

import charts
import feed
import numpy as np
import streamlit as st
import widgets

import ffcore
from ffcore import Run


def reading(goodness: np.ndarray, true: int, classes: list[str], votes: list[int], who: str) -> str:
    """One sentence that explains a heat map, goodness (C, L); `who`: "the net says", where its sums are its answer."""
    favourites = goodness.argmax(0)
    words = []
    for layer, winner in enumerate(favourites):
        second = np.sort(goodness[:, layer])[-2]
        best = goodness[winner, layer]
        words.append(f"layer {layer + 1} prefers **{widgets.plain(classes[winner])}** ({best:.2f}, next {second:.2f})")
    answer = int(goodness[:, votes].sum(1).argmax())
    sentence = ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
    right = "and that is right" if answer == true else f"but it is a **{widgets.plain(classes[true])}**"
    return f"{sentence[0].upper()}{sentence[1:]}; so {who} **{widgets.plain(classes[answer])}**, {right}."


def show(run: Run) -> None:
    """The digit, its heat map, the epoch slider, where to go from here, and all samples."""
    if not feed.showable(run):
        st.rerun()  # damaged since the page was painted: once more as a whole, with another run
    samples, epochs, classes = feed.samples(run), run.snapshots(), [str(c) for c in run.config["facts"]["classes"]]
    n, last = len(samples["labels"]), epochs[-1]
    if st.session_state.get("follow", "epoch" not in st.query_params):
        st.session_state.epoch = last
    else:
        st.session_state.setdefault("epoch", widgets.asked_number("epoch", 0, last, last))
    near = sorted(epochs, key=lambda e: abs(e - st.session_state.epoch))
    epoch, snapshot = next((e, s) for e in near if (s := feed.snapshot(run, e)))  # a damaged one is passed over
    digit = widgets.digit(n) - 1
    true = int(samples["labels"][digit])
    depth = snapshot["goodness"].shape[2] if "goodness" in snapshot else 0
    by_sums = not depth or widgets.by_goodness(run)  # else the net answers by something that no snapshot holds
    who = "the net says" if by_sums else "the sums say"
    votes = widgets.voters(run, depth)
    said = ffcore.answers(run, snapshot)
    right = int((said == samples["labels"]).sum())
    table = snapshot["goodness"][digit].astype(float) if depth else snapshot["scores"][digit][:, None].astype(float)
    rows = [f"Layer {i + 1}" for i in range(depth)] or ["Score"]

    left, main = st.columns([1, 2.6], gap="medium")
    with left:  # pictures and tables come a moment after text, into room that is kept for them: nothing jumps
        name = f"test image {digit + 1} of {n}, class {classes[true]}"
        st.container(height=240, border=False).html(charts.picture(samples["images"][digit], name))
        is_a = f"its class is **{widgets.plain(classes[true])}**"
        st.caption(f"Test image {digit + 1} of {n} · {is_a}", text_alignment="center")
        with st.container(horizontal=True, horizontal_alignment="center"):
            st.button("Previous", icon=":material/arrow_back:", on_click=widgets.turn, args=(-1, n), shortcut="left")
            st.button(
                "Next digit",
                icon=":material/arrow_forward:",
                on_click=widgets.turn,
                args=(1, n),
                shortcut="right",
                type="primary",
            )
    with main:
        if depth:
            st.markdown("**How excited does each layer get when the image is shown with each label?**")
            room = st.container(height=60 + 43 * (depth + 1), border=False)
            room.html(charts.goodness_table(table, classes, true, rows, votes))
            st.markdown(reading(table, true, classes, votes, who))
            if not by_sums:
                layers = "random layers" if run.config["model"]["name"] == "untrained" else "layers"
                st.info(f"This net answers with its softmax read-out; the sums shown are what its {layers} say by goodness.")
        else:
            st.markdown("**How strongly does the net vote for each class?**")
            room = st.container(height=60 + 43, border=False)
            room.html(charts.goodness_table(table, classes, true, rows))
            why = "learnt without labels, so there are none to try on" if run.config["negatives"] else "has no goodness"
            st.markdown(f"This net {why}; its softmax read-out says **{widgets.plain(classes[said[digit]])}**.")
        if len(epochs) > 1:
            room = st.container(height=84, border=False)  # as high as a slider, which also comes late
            room.slider("Turn time back: epochs of training", epochs[0], last, key="epoch", on_change=moved, args=(last,))
    if not widgets.hidden("ways"):
        ways(run)
    when = f"after epoch {epoch}" if epoch else "before training"
    st.markdown(f"**{right} of {n} test images read right**{'' if by_sums else ' by the sums'} {when}")
    st.html(charts.contact_sheet(samples["images"], samples["labels"], said, classes, digit))
    title, provenance = (widgets.plain(run.config["facts"][key]) for key in ("data_title", "provenance"))
    st.caption(f"{n} fixed test images of {title}, each with what {who}. {provenance}")
    with st.container(horizontal=True):
        file = f"{'goodness' if depth else 'scores'}-{run.id}-image-{digit + 1}-epoch-{epoch}.csv"
        lines = [[name, *values] for name, values in zip(classes, table, strict=True)]
        text = charts.csv_text(["label", *rows], lines)
        st.download_button("Heat map as CSV", text, file, "text/csv", icon=":material/download:")
        widgets.share(run.command(), repeat(run, digit, epoch, depth))


def moved(last: int) -> None:
    st.session_state.follow = st.session_state.epoch == last
    st.query_params["epoch"] = str(st.session_state.epoch)


def repeat(run: Run, digit: int, epoch: int, depth: int) -> str:
    """The lines of Python that give the numbers of the heat map."""
    key, of = ("goodness", "labels × layers") if depth else ("scores", "labels")
    return (
        f'import ffcore\n\nrun = ffcore.find("{run.id}")\n'
        f'run.samples()["images"][{digit}]  # the test image\n'
        f'run.snapshot({epoch})["{key}"][{digit}]  # {of}'
    )


def ways(run: Run) -> None:
    """The three things to do with this net."""
    with st.container(horizontal=True, key="ways"):
        if st.button("Draw your own", icon=":material/draw:"):
            st.switch_page("views/draw.py", query_params={"run": run.id})
        if st.button("Watch it learn", icon=":material/play_circle:", help="its training over again: nothing to wait for"):
            st.switch_page("views/replay.py", query_params={"run": run.id, "epoch": "0", "play": "1"})
        if st.button("Break it", icon=":material/heart_broken:", help="a known recipe whose units fall silent, one by one"):
            page, query = widgets.broken()
            st.switch_page(page, query_params=query)


def banner(run: Run) -> None:
    """The run that is training right now, in one line that moves."""
    status = run.status()
    if status["state"] != "running":
        st.rerun()
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f"{widgets.badge('running')} **{widgets.title(run)}**", width="content")
        done = min(1.0, status["step"] / max(1, status["steps"]))
        st.progress(done, f"epoch {status['epoch']:.1f} of {status['epochs']}, {widgets.duration(status['eta'])} left")
        if st.button("Watch it live", icon=":material/monitoring:"):
            st.switch_page("views/live.py", query_params={"run": run.id})


def reached(run: Run) -> str:
    """How many test images it reads right, as the end of a sentence; nothing where its files do not say."""
    result, n = run.status()["result"] or {}, run.config["facts"]["sizes"].get("test")
    share, readout = result.get("test_accuracy"), result.get("readout")
    if not (feed.is_share(share) and isinstance(n, int) and isinstance(readout, str)):
        return ""
    return f", {widgets.percent(share)} of {n:,} test images right by its {widgets.plain(readout)} read-out"


PLACES = {  # page → heading, what is there, icon
    "lessons": ("Lessons", "Predict, run, see: a few minutes each.", "school"),
    "negatives": ("Negatives", "What a wrong example looks like, and why it must be hard.", "contrast"),
    "compare": ("Compare", "Forward-Forward beside backpropagation, settings and curves.", "compare_arrows"),
    "health": ("Neuron health", "Which units die, when, and what of.", "cardiology"),
    "embeddings": ("Embeddings", "How every layer sorts the images.", "scatter_plot"),
    "train": ("Train", "Your own net, in about a minute on MNIST.", "model_training"),
}


def strip() -> None:
    """Where to go from here."""
    st.markdown("**Where to go from here**")
    grid = st.grid("auto", min_column_width=320)
    for page, (name, about, icon) in PLACES.items():
        with grid.cell().container(border=True, height="stretch"):
            st.page_link(f"views/{page}.py", label=f"**{name}**", icon=f":material/{icon}:")
            st.caption(about)


runs = widgets.all_runs()
st.title("A net that learns without backpropagation")
st.markdown(
    "In **Forward-Forward** learning (Hinton, 2022) every layer trains itself: it should be excited, "
    "have high *goodness*, when an image comes with its right label, and stay calm when the label is wrong. To read an image, "
    "the net tries on every label and answers with the one that excites its layers most."
)

running = widgets.latest(runs, lambda r: r.state == "running")
if running:
    st.fragment(banner, run_every=widgets.pace(1))(running)
finished = sorted((r for r in runs if r.state == "done"), key=lambda r: not r.config["negatives"])  # with goodness first
learnt = [running] if running and running.status()["epoch"] else []
default = next((r for r in [*learnt, *finished, *runs] if feed.showable(r)), None)
if default is None:
    widgets.empty("No net has been trained here yet. It takes a minute.", "Train the first one", "views/train.py")

chosen = widgets.asked_run(runs, default)
st.query_params["run"] = chosen.id
if not feed.showable(chosen):
    why = feed.damage(chosen)
    missing = f" ({widgets.plain(why)})" if why else " yet"
    st.info(f"“{widgets.title(chosen)}” has nothing to show{missing}; here is “{widgets.title(default)}”.")
    chosen = default
st.caption(f"On screen: {widgets.title(chosen)}{reached(chosen)}.")
widgets.part(f"“{chosen.title()}”", show, chosen, every=widgets.pace(2) if chosen.state == "running" else None)
if not widgets.hidden("pages"):
    strip()

widgets.explain(
    """
**The number in a cell** is a layer's *goodness*: the mean square of its units' activities while it looks at the image
together with one candidate label. Reading by goodness needs no output layer. A softmax head, trained beside it on the
layers' activities, is a second read-out: it moves no layer, and Live shows its accuracy.

**Each row** is one layer; darker blue means more goodness, compared within the row only. The star marks the label that
excites this layer most, the underlined heading is the truth. The last row adds up the layers that vote, and its star is
the answer by goodness: a Forward-Forward net's own. Where a net answers by something else, the page says so.

**Training** showed each layer two kinds of input: *positives* (image with its right label), whose goodness it raised,
and *negatives* (the same image with a wrong label), whose goodness it lowered. Each layer changed only its own weights;
no error travelled back. Pull the slider to epoch 0: before training, all labels excite the layers alike and the answer
is a guess.

The images are 64 fixed samples of the test set, which training never saw; they are shown throughout, and accuracy on all
test images is measured once, at the end.
"""
)
widgets.warm_torch()
