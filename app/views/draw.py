"""Draw: an image of the reader's own, what one net or two read in it, and how far it can be pushed until they err."""

import shlex

import charts
import feed
import numpy as np
import own
import streamlit as st
import widgets
from charts import draw as figures
from components import live_chart, pad, plotly_loader

import ffcore
from ffcore import Run
from ffcore.data import strokes

SOURCES = {"draw": "Draw", "sample": "Test image", "upload": "Upload"}
CHANGES = {  # what is done to the image → (its slider, unit, what it is called on an axis)
    "x": ("Shift right", "px", "shifted right, pixels"),
    "y": ("Shift down", "px", "shifted down, pixels"),
    "turn": ("Turn", "°", "turned clockwise, degrees"),
    "scale": ("Size", "%", "size, per cent"),
    "noise": ("Noise", "%", "noise: standard deviation, per cent of white"),
    "cover": ("Hide the middle", "px", "side of the hidden square, pixels"),
}
KEPT = 8  # drawings


# The nets


def suits(run: Run) -> tuple[bool, ...]:
    """The least is what the page opens with: a finished net of digits that answers by goodness and is no failure on purpose."""
    config = run.config
    return run.state != "done", not are_digits(run), not config["negatives"], bool(config["preset"] or config["tag"])


def are_digits(run: Run) -> bool:
    return [str(c) for c in run.config["facts"]["classes"]] == [str(c) for c in range(10)]


def choose_runs() -> tuple[Run, Run | None] | None:
    """The net on screen and the one beside it, if any; None where there is no net."""
    runs = widgets.all_runs()
    able = [r for r in runs if own.has_weights(r) and r.config.get("facts", {}).get("shape")]
    if not able:
        return None
    default = min(able, key=suits)
    asked = next((r for r in runs if r.id == st.query_params.get("run")), default)
    if asked not in able:
        st.info(f"“{widgets.title(asked)}” has no weights yet; here is “{widgets.title(default)}”.")
        st.query_params["run"] = default.id
    left, right = st.columns(2)
    with left:
        run = widgets.pick_run(able, default)
    with right:
        names = {"": "no second net"}
        for r in able:
            if r != run:
                names[r.id] = widgets.known_as(r)
        wanted = st.query_params.get("beside")
        if wanted not in (None, *names):
            st.query_params.pop("beside")
            if wanted != run.id:
                st.warning(f"The address asks for {widgets.quote(wanted)} beside it, which is not here.")
        beside = widgets.choose(st.selectbox, "Beside it", "beside", names, "")
    return run, next((r for r in able if beside and r.id == beside), None)


# The image


def heard(paths: list[np.ndarray], sheet: int) -> None:
    """The pad has told another stroke, or that it is empty: the drawing goes into the address and among those kept."""
    if not paths:
        st.query_params.pop("img", None)
        return
    code = strokes.to_text(own.drawn(paths))
    kept = st.session_state.setdefault("drawings", [])
    if kept and kept[-1][0] == sheet:
        kept.pop()  # the same drawing, one stroke further
    kept.append((sheet, code))
    del kept[:-KEPT]
    st.query_params["img"] = code


def bring_back(code: str) -> None:
    st.query_params["img"] = code
    fresh_sheet()


def fresh_sheet() -> None:
    """An empty pad."""
    st.session_state.pads = st.session_state.get("pads", 0) + 1


def forget() -> None:
    st.session_state.pop("drawings", None)
    st.query_params.pop("img", None)
    fresh_sheet()


def linked() -> np.ndarray | None:
    """The drawing in the address, (28, 28) uint8; None where there is none, or none that can be read, which is told."""
    code = st.query_params.get("img")
    if code is None:
        return None
    try:
        drawing = strokes.from_text(code)
        if not drawing.any():
            raise ffcore.Refused("this one is empty")
        return drawing
    except ffcore.Refused as error:
        st.warning(f"The address should hold a drawing, but {error}.")
        st.query_params.pop("img")
        return None


def stored(run: Run, samples: dict | None) -> tuple[np.ndarray, str, str] | None:
    """The test image in the address: (image, caption, the command's words for it); None where the run has none."""
    if samples is None:
        return None
    n, classes = len(samples["labels"]), run.config["facts"]["classes"]
    at = widgets.digit(n)
    true = widgets.plain(str(classes[int(samples["labels"][at - 1])]))
    return samples["images"][at - 1], f"test image {at} of {n}, whose class is **{true}**", f"--sample {at}"


def choose_image(run: Run, samples: dict | None) -> tuple[np.ndarray, str, str] | None:
    """(image (C, H, W) uint8 as the net takes it, what it is, the command's words for it), or None where there is none."""
    source = widgets.choose(st.segmented_control, "Image", "image", SOURCES, "draw", required=True)
    shape, by_mass = tuple(run.config["facts"]["shape"]), own.stands_by_mass(samples)
    if source == "upload":
        help = "Its ink is found, scaled and moved as MNIST’s digits were, and made white on black"
        ink = by_mass and st.toggle("It is a single digit: place it", True, key="own_ink", help=help)
        told = own.upload(run, by_mass if ink else None)
        if told is None:
            return None
        image, swapped = told
        return image, "your image", f"IMAGE.png{' --ink' * ink}{' --invert' * swapped}"
    if source == "sample":
        told = stored(run, samples)
        if told is None:
            st.info(widgets.plain(feed.damage(run) or "") or "This run has stored no test images; draw one.")
            return None
        n = len(samples["labels"])
        st.html(charts.picture(told[0], told[1].replace("*", ""), 200))
        with st.container(horizontal=True, horizontal_alignment="center", gap="xsmall"):
            st.button("Previous", icon=":material/arrow_back:", on_click=widgets.turn, args=(-1, n))
            st.button("Next", icon=":material/arrow_forward:", on_click=widgets.turn, args=(1, n), type="primary")
        st.number_input(f"Or its number, 1 to {n}", 1, n, key="digit")
        return told
    drawing = linked()
    pad(key=f"draw_pad.{st.session_state.get('pads', 0)}", on_change=heard)
    st.caption("Mouse, finger or pen; by keyboard, arrow keys draw and with Shift only move.")
    st.caption(
        ("Your drawing is placed as MNIST’s digits are: its box fits 20 of 28 pixels, its centre of mass stands in the middle."
        if by_mass
        else "This net’s images are not placed as MNIST’s are: your drawing fills the square, its box in the middle.")
        + (" The net takes colour; a drawing is grey." if shape[0] > 1 else "")
    )  # fmt: skip
    if drawing is None:
        return stored(run, samples)
    return strokes.suited(drawing, shape, by_mass), "your drawing", f"--drawing {st.query_params['img']}"


# Its changes


def asked_change(limits: dict[str, tuple[int, int]]) -> strokes.Change:
    """What is to be done to the image, as the sliders stand, and the address where there are none yet.

    Known before the sliders are drawn, so that the bars need not wait for them.
    """
    chosen = {}
    for name in CHANGES:
        (low, high), usual = limits[name], getattr(strokes.Change(), name)
        spot = f"change.{name}"
        if spot not in st.session_state:
            st.session_state[spot] = widgets.asked_number(name, low, high, usual)
        chosen[name] = st.session_state[spot] = min(max(st.session_state[spot], low), high)
        widgets.put(name, chosen[name], usual)
    return strokes.Change(**chosen, seed=widgets.asked_number("seed", *limits["seed"], 0))


def show_change(change: strokes.Change, limits: dict[str, tuple[int, int]]) -> None:
    """Sliders for what is done to the image."""
    with st.grid(3, min_column_width=200, gap="small") as grid:
        for name, (label, unit, _) in CHANGES.items():
            with grid.cell():
                st.slider(label, *limits[name], key=f"change.{name}", format=f"%d {unit.replace('%', '%%')}")
    with st.container(horizontal=True):
        st.button("Reset", icon=":material/restart_alt:", on_click=reset, disabled=change == strokes.Change())
        st.button("Other noise", icon=":material/casino:", on_click=reseed, args=(change.seed,), disabled=not change.noise)


def reset() -> None:
    for name in strokes.Change._fields:
        st.session_state.pop(f"change.{name}", None)
        st.query_params.pop(name, None)


def reseed(seed: int) -> None:
    st.query_params["seed"] = str(seed + 1)


# What is read


def panel(run: Run, image: np.ndarray, what: str, wide: bool) -> None:
    """One net: what it sees, the bars, the goodness of every layer, and whether this looks like what it knows."""
    classes = [str(c) for c in run.config["facts"]["classes"]]
    seen = strokes.taken(image, tuple(run.config["facts"]["shape"]))
    told = ffcore.read(own.net(run), seen)
    scores, by_goodness = np.array(told["scores"][told["readout"]]), told["readout"] == "goodness"
    with st.container(border=True, gap="small"):
        who = "" if wide else f" :small[:gray[{run.dir.name if run.bundled else run.id.rpartition('-')[2]}]]"
        st.markdown(f"**{widgets.plain(run.title())}**{who} reads **{widgets.plain(told['class'])}**")
        left, right = st.columns([1, 2.2] if wide else [1, 1.6], gap="small", vertical_alignment="center")
        with left:
            st.html(charts.picture(seen, f"what the net sees: {what.replace('*', '')}", 150))
            st.caption("What the net sees", text_alignment="center")
        with right:
            st.html(figures.bars(scores, classes, len(told["votes"]), told["threshold"] if by_goodness else None))
        st.markdown(sentence(told, classes))
        if told["goodness"]:
            goodness = np.array(told["goodness"])
            rows = [f"Layer {layer}" for layer in range(1, goodness.shape[1] + 1)]
            st.html(charts.goodness_table(goodness, classes, None, rows, [v - 1 for v in told["votes"]]))
        verdict(told, "digit" if are_digits(run) else "class it knows")


def sentence(told: dict, classes: list[str]) -> str:
    """What the bars say, in words."""
    scores = np.array(told["scores"][told["readout"]])
    second = widgets.plain(classes[int(np.argsort(-scores, kind="stable")[1])]) if len(scores) > 1 else ""
    lead = f" **{widgets.plain(told['class'])}** leads **{second}** by {told['lead']:.3g}." if second else ""
    if not told["goodness"]:
        return f"This net tries no labels on, so there is no goodness to show: these are its scores ({told['readout']}).{lead}"
    goodness = np.array(told["goodness"])
    says = [f"layer {i} prefers **{widgets.plain(classes[c])}**" for i, c in enumerate(goodness.argmax(0), 1)]
    words = ", ".join(says)
    whole = len(told["votes"]) == goodness.shape[1]
    who = "all layers vote" if whole and len(says) > 1 else "only layer(s) " + ", ".join(map(str, told["votes"])) + " vote"
    text = f"{words[0].upper()}{words[1:]}; {who}.{lead}" if len(says) > 1 else f"{words[0].upper()}{words[1:]}.{lead}"
    if told["readout"] != "goodness":
        text += f" This net answers by its {told['readout']} read-out, whose scores the bars show."
    if told["threshold"] is not None and told["readout"] == "goodness":
        text += f" The line is θ = {told['threshold']:g} in every voting layer: training drew positives above it."
    return text


def verdict(told: dict, thing: str) -> None:
    """Does this look like anything that the net knows?"""
    usual, readout = told["usual"], told["readout"]
    if usual is None:
        st.caption(f"This run did not note how sure images usually make it, so it cannot tell what looks like no {thing}.")
    elif told["odd"]:
        below = [f"{name} {max(told['scores'][name]):.3g}, usually at least {usual[name]['best']:.3g}" for name in told["odd"]]
        st.warning(f"**This looks like no {thing}**: by {'; by '.join(below)}.", icon=":material/help:")
    elif told["torn"]:
        by = f"its lead is {told['lead']:.3g}, usually at least {usual[readout]['lead']:.3g}"
        st.warning(f"**Torn between two labels**: {by}.", icon=":material/balance:")
    else:
        st.caption(
            f"Not unusual: 99% of the validation images reach {usual[readout]['best']:.3g}. That is no proof of a {thing}."
        )


def show_sweep(run: Run, image: np.ndarray, change: strokes.Change) -> None:
    """The answer along one change, the others as they are."""
    names = {name: label for name, (label, *_) in CHANGES.items()}
    along = widgets.choose(st.selectbox, "Along", "along", names, "turn")
    values, images = strokes.sweep(image, change, along)
    net, classes = own.net(run), [str(c) for c in run.config["facts"]["classes"]]
    readout = net.model.readouts[0]
    totals = net.scores(images)[readout].numpy()
    now, winners = values.index(getattr(change, along)), totals.argmax(1)
    _, unit, axis = CHANGES[along]
    turns: dict[str, list[str]] = {}
    for step, end in ((-1, -1), (1, len(values))):
        if (other := next((i for i in range(now, end, step) if winners[i] != winners[now]), None)) is not None:
            where = f"{values[other]} {unit}".replace(" °", "°").replace("-", "−")
            turns.setdefault(widgets.plain(classes[winners[other]]), []).append(where)
    told = " and ".join(f"as **{name}** at {' and '.join(places)}" for name, places in turns.items())
    is_a = widgets.plain(classes[winners[now]])
    st.markdown(f"Read as **{is_a}** here, but {told}." if turns else f"Read as **{is_a}** all the way.")
    figure = figures.along(values, totals, classes, getattr(change, along), axis)
    live_chart(figure, key="along_chart", alt=f"the labels' totals, each above their mean, along: {axis}")
    st.caption(f"{len(values)} images, one per step, all through “{widgets.plain(run.title())}”; a mark where the label wins.")


def show_kept(run: Run, samples: dict | None) -> None:
    """The last drawings, and what this net reads in them."""
    kept = [code for _, code in st.session_state.get("drawings", [])]
    st.header("Your last drawings")
    if not kept:
        st.caption(f"The last {KEPT} are kept here until you close or reload the page. A link keeps the one on screen.")
        return
    shape, drawings = tuple(run.config["facts"]["shape"]), [strokes.from_text(code) for code in kept]
    by_mass = own.stands_by_mass(samples)
    said = own.net(run).predict(np.stack([strokes.suited(d, shape, by_mass) for d in drawings]))
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        for i, (code, drawing, label) in reversed(list(enumerate(zip(kept, drawings, said.tolist(), strict=True)))):
            name = str(run.config["facts"]["classes"][label])
            with st.container(width=64, gap="xsmall"):
                st.html(figures.thumbnail(drawing, f"drawing {i + 1}, read as {name}"))
                st.button(widgets.plain(name), key=f"kept.{i}", on_click=bring_back, args=(code,), width="stretch",
                          help=f"Bring drawing {i + 1} back")  # fmt: skip
        st.button("Clear all", icon=":material/delete:", on_click=forget)
    st.caption("Kept until you close or reload the page; the button says what the net reads. A link keeps the one on screen.")


def show(run: Run, beside: Run | None) -> None:
    """The pad and what is read, the changes and what they lead to, the last drawings."""
    samples = feed.samples(run)
    left, main = st.columns([1, 2.6], gap="medium")
    with left:
        given = choose_image(run, samples)
    limits = strokes.limits(tuple(run.config["facts"]["shape"]))
    change = asked_change(limits)
    with main.container(key="said"):
        if given is None:
            st.info("Choose an image, and what the net reads in it stands here.", icon=":material/image:")
        else:
            image = strokes.changed(given[0], change)
            st.caption(f"On screen: {given[1]}{'' if change[:-1] == strokes.Change()[:-1] else ', changed below'}.")
            places = st.columns(2, gap="small") if beside else [st.container()]
            for one, place in zip([run, *([beside] if beside else [])], places, strict=True):
                with place, widgets.told_if_broken(f"“{one.title()}”"):
                    panel(one, image, given[1], not beside)
    st.header("Push it until it breaks")
    knobs, chart = st.columns([1, 1.4], gap="medium")
    with knobs:
        show_change(change, limits)
    if given is not None:
        with chart, widgets.told_if_broken("The sweep"):
            show_sweep(run, given[0], change)
    with widgets.told_if_broken("The drawings"):
        show_kept(run, samples)
    words = given[2] if given else "IMAGE.png"
    asked = {name: value for name, value in change._asdict().items() if value != getattr(strokes.Change(), name)}
    sets = "".join(f" --set {name}={value}" for name, value in asked.items())
    keywords = "".join(f", {name}={value}" for name, value in asked.items())
    kind, _, value = words.removeprefix("--").partition(" ")
    if kind == "IMAGE.png":
        image = ", ".join([repr(kind), *(f"{flag.removeprefix('--')}=True" for flag in value.split())])
    else:
        image = f"{kind}={value if kind == 'sample' else repr(value)}"
    python = f"import ffcore\n\ntold = ffcore.read({run.id!r}, {image}{keywords})\nprint(told['class'], told['scores'])"
    widgets.ways(run, "replay", "health", "run")
    page, query = widgets.broken()
    st.page_link(page, label="Break one: a net whose units died", icon=":material/heart_broken:", query_params=query)
    lacks = "" if given and kind != "IMAGE.png" else "your image"
    widgets.share(f"ffcore read {shlex.quote(run.id)} {words}{sets}", python, lacks)


st.title("Draw")
st.markdown(
    "Draw a digit and see what a trained net makes of it: it tries on every label and answers with the one that excites its "
    "layers most."
)
slot = st.container()
with slot.skeleton():
    widgets.settle_torch()
    read = ffcore.read  # imported here, where waiting is shown
with slot:
    chosen = choose_runs()
    if chosen is None:
        widgets.empty("No net has been trained here yet. It takes a minute.", "Train one", "views/train.py")
    plotly_loader()
    st.html("<style>.st-key-said {min-height: 620px}</style>")  # nothing jumps
    with widgets.told_if_broken("This run"):
        model = own.net(chosen[0]).model  # read here, where a damaged one is told
        widgets.part("This run", show, *chosen)

widgets.explain(
    """
**What the net sees** is never your stroke itself but a small image like those it learnt from. MNIST’s makers scaled each digit
to fit 20 × 20 pixels and put its centre of mass into the middle of 28 × 28 (LeCun, Cortes and Burges). The pad does the same,
with a pen that leaves as much ink as theirs: so it makes no difference how large or where you draw.

**The bars** are the totals of the labels: the goodness of all layers that vote, when the image is shown together with that
label. They begin at the lowest label’s total, since what counts is the difference. ★ marks the answer, stripes the second.
The table shows each layer’s own goodness; darker is more, compared within a row. Nets without goodness show their scores.

**θ** is the goodness that separates positives from negatives for nets trained with the threshold objective. The gap objective
only compares, so there is no such line.

**“This looks like no digit.”** A net must answer with one of its labels, whatever it is shown. But its best score can be
compared with those of its validation images: each read-out has a line that 1% of them stay below. It is a weak sign. With the
net that comes with ffcore, one read-out or the other stayed below its line for 60% of 2,000 pictures of clothes, 42% of 500
scribbles, 41% of 1,000 digits turned by 90°, 25% of 114 printed letters, and for none of 500 images of pure noise, which excite
it greatly; and for 1.8% of 5,000 test digits, by mistake. “Torn” means that the answer leads the next label by less than in 99%
of the validation images.

**Push it until it breaks.** A fully connected net has no idea of space: shifted by a few pixels, a digit is another input. The
chart shows the totals of the labels that win somewhere along the way, less the mean of all labels, since most of what changes
is common to them. Your other settings stay as they are, and noise is the same random draw at every step.
"""
)
