"""Negatives: one image through every strategy, what a trained net makes of the pairs, and what training on them led to."""

import hashlib
import shlex
from pathlib import Path
from typing import Any

import charts
import feed
import numpy as np
import own
import streamlit as st
import widgets
from components import arrive, live_chart, pad, plotly_loader

import ffcore
from ffcore import Run, catalogue

SOURCES = {"sample": "Test image", "draw": "Draw", "upload": "Upload"}
READINGS = {
    "too easy": ":gray-badge[:material/trending_down: too easy]",
    "useful": ":green-badge[:material/check: useful]",
    "too hard": ":orange-badge[:material/warning: too hard]",
}
SEEDS = 999_999


def fits(run: Run) -> bool:
    """Has it learnt from negatives, and kept its net and its samples?"""
    learnt = run.state in ("done", "stopped") and bool(run.config["negatives"])
    return learnt and own.has_weights(run) and (run.dir / "samples.npz").exists()


def choose_run() -> Run | None:
    """The net that judges the pairs, or None where there is none."""
    runs = widgets.all_runs()
    able = [r for r in runs if fits(r)]
    if not able:
        return None
    default = min(able, key=lambda r: (bool(r.config.get("tag")), r.state != "done"))  # a study's are not all good
    asked = next((r for r in runs if r.id == st.query_params.get("run")), default)
    if asked not in able:
        why = "has not finished" if asked.config["negatives"] else "learnt without negatives"
        st.info(f"“{widgets.title(asked)}” {why}; here is “{widgets.title(default)}”.")
        st.query_params["run"] = default.id
    return widgets.pick_run(able, default)


def choose_image(run: Run, samples: dict) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, C, H, W) uint8 and their classes (n,): the chosen one, then stored samples, its possible partners."""
    source = widgets.choose(st.segmented_control, "Image", "image", SOURCES, "sample", required=True)
    n, classes = len(samples["labels"]), run.config["facts"]["classes"]
    digit, mine = widgets.digit(n) - 1, None
    if source == "draw":
        mine = drawn(run, samples)
    elif source == "upload":
        mine, _ = own.upload(run) or (None, False)
    if mine is not None:
        st.html(charts.picture(mine, "what the net sees", 120 if source == "draw" else 240))
        st.caption("What the net sees", text_alignment="center")
        label = choose_class(run, mine)
        return np.concatenate([mine[None], samples["images"][: n - 1]]), np.array([label, *samples["labels"][: n - 1]])
    if source == "sample":
        is_a, true = f"Test image {digit + 1} of {n} · its class is ", str(classes[int(samples["labels"][digit])])
        st.html(charts.picture(samples["images"][digit], is_a + true, 200))
        st.caption(f"{is_a}**{widgets.plain(true)}**", text_alignment="center")
        with st.container(horizontal=True, horizontal_alignment="center", gap="xsmall"):
            st.button("Previous", icon=":material/arrow_back:", on_click=widgets.turn, args=(-1, n))
            st.button("Next", icon=":material/arrow_forward:", on_click=widgets.turn, args=(1, n), type="primary")
        st.number_input(f"Or its number, 1 to {n}", 1, n, key="digit")
        widgets.ways(run, "draw", digit=digit + 1)
    else:
        st.caption(f"Until then the pairs below are made of test image {digit + 1}.")
    order = np.r_[digit, np.delete(np.arange(n), digit)]
    return samples["images"][order], samples["labels"][order]


def drawn(run: Run, samples: dict) -> np.ndarray | None:
    """What is on the drawing pad as the net takes it, (C, H, W), or None: as on Draw."""
    st.caption("Draw with the mouse, a finger or a pen. By keyboard: arrow keys draw, with Shift they only move.")
    paths = pad(key="pad")
    if not paths:
        return None
    from ffcore.data import strokes

    shape = tuple(run.config["facts"]["shape"])
    return strokes.suited(own.drawn(paths), shape, own.stands_by_mass(samples))


def choose_class(run: Run, image: np.ndarray) -> int:
    """The class of an image of the reader's own: a strategy must know which label is the right one."""
    classes = run.config["facts"]["classes"]
    said = int(own.net(run).predict(image[None])[0])
    key = "class_" + hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest()  # the next image is asked anew
    hint = f"The net reads it as {widgets.plain(classes[said])}; say so if it is something else"
    return st.selectbox("What is it?", range(len(classes)), said, format_func=lambda c: str(classes[c]), key=key, help=hint)


@st.cache_data(max_entries=24, show_spinner=False, scope="session")  # a reload sees a plug-in's newest code
def _through(_net, weights: tuple, wanted: list[dict], x: np.ndarray, y: np.ndarray, seed: int) -> list[dict]:
    return catalogue.through(_net, wanted, x, y, seed)


def through(run: Run, wanted: list[dict], x: np.ndarray, y: np.ndarray, seed: int) -> list[dict | str]:
    """What strategies make of the first image and the net of the pairs; of one that fails, what it said."""
    try:
        told = _through(own.net(run), (str(run.dir), own.stamp(run)), wanted, x, y, seed)
        if any(one[side].shape != x.shape[1:] for one in told for side in ("pos", "neg")):
            raise ValueError(f"its images are not of shape {x.shape[1:]}")
        return told
    except Exception as error:  # a plug-in is any code, and one that fails must not take the page with it
        if len(wanted) > 1:
            return [through(run, [one], x, y, seed)[0] for one in wanted]
        return [" ".join(f"{'' if isinstance(error, ffcore.Refused) else type(error).__name__ + ': '}{error}".split())]


def failed(said: str) -> None:
    st.error(f"It failed: {widgets.quote(said, 300)}", icon=":material/block:")


def name_of(item: dict) -> str:
    return f"{'' if item['faithful'] else '⚠ '}{item['title']}"


def first_line(item: dict) -> str:
    return (item["about"] or "").partition("\n")[0]


def open_strategy(name: str) -> None:
    st.session_state.strategy = name
    st.session_state.arrivals = st.session_state.get("arrivals", 0) + 1


def card(item: dict, told: dict | str, classes: list[str], learnt: bool) -> None:
    """One strategy: its pair, and what every layer makes of it."""
    with st.container(border=True, height="stretch", gap="xsmall"):
        badges = "" if isinstance(told, str) else READINGS[told["reading"]]
        badges += " :blue-badge[:material/check: this net learnt from these]" if learnt else ""
        st.markdown(f"**{name_of(item)}** {badges}  \n:small[{first_line(item)}]")
        if isinstance(told, str):
            failed(told)
        else:
            st.html(pictures(told, classes) + charts.verdicts(told["difference"], told["won"]))
        label = f"Adjust {item['title']}"
        with st.container(height="stretch", vertical_alignment="bottom"):
            st.button("Adjust", icon=":material/tune:", on_click=open_strategy, args=(item["name"],),
                      key=f"open.{item['name']}", help=label, width="stretch")  # fmt: skip


def pictures(told: dict, classes: list[str], width: int = 96) -> str:
    return charts.contrast(told["pos"], told["neg"], told["pos_label"], told["neg_label"], classes, width)


def workbench(
    run: Run, items: dict[str, dict], start: dict[str, dict], x: np.ndarray, y: np.ndarray, seed: int
) -> tuple[dict[str, Any], str]:
    """One strategy, large, with its settings as live controls. Returns it, {name, **settings}, and what trains with it."""
    mine = run.config["negatives"]["name"]
    default = mine if mine in items else next(iter(items))
    with st.container(gap=None):
        arrive(st.session_state.get("arrivals", 0), key="arrive")
        name = widgets.choose(st.selectbox, "Strategy", "strategy", {n: name_of(i) for n, i in items.items()}, default)
    item, classes = items[name], run.config["facts"]["classes"]
    sound = not isinstance(through(run, [{"name": name, **start[name]}], x, y, seed)[0], str)
    shown, knobs = st.columns([1.15, 1], gap="medium")
    with knobs:
        values = widgets.controls(item["settings"], start[name] if sound else {}, f"adjust.{run.id}.{name}")
        if not item["settings"]:
            st.caption("This strategy has no settings.")
    told = through(run, [{"name": name, **values}], x, y, seed)[0]
    with shown:
        badge = "" if isinstance(told, str) else READINGS[told["reading"]]
        st.markdown(f"{first_line(item)} {badge}")
        if isinstance(told, str):
            failed(told)
        else:
            st.html(pictures(told, classes, 150) + charts.verdicts(told["difference"], told["won"]))
        st.caption(f"After {item['source']}.")
    changed = {k: v for k, v in values.items() if v != item["settings"][k]["default"]}
    preset = None if item["faithful"] else preset_of(name)
    with st.container(horizontal=True, vertical_alignment="center"):
        if (item["faithful"] or preset) and st.button("Train with these", icon=":material/model_training:", type="primary"):
            sets = ffcore.set_words({f"negatives.{key}": value for key, value in changed.items()})
            which = {"preset": preset} if preset else {"negatives": name}
            st.switch_page("views/train.py", query_params={**which, **({"set": sets} if sets else {})})
        st.code(command(name, preset, changed), language="bash", wrap_lines=True)
    return {"name": name, **values}, command(name, preset, changed)


def preset_of(name: str) -> str | None:
    """The preset that only chooses these negatives: flawed ones cannot be had without one."""
    return next((p["name"] for p in catalogue.presets() if dict(p["settings"]) == {"negatives.name": name}), None)


def command(name: str, preset: str | None, changed: dict[str, Any]) -> str:
    """The line that trains with this strategy and these settings."""
    words = ["ffcore", "train", *(["--preset", preset] if preset else ["--negatives", name])]
    for word in ffcore.set_words({f"negatives.{key}": value for key, value in changed.items()}):
        words += ["--set", word]
    return shlex.join(words)


def show(run: Run) -> None:
    """The image, one strategy to adjust, and all of them side by side."""
    samples = feed.samples(run)
    if samples is None:
        widgets.refusal(f"{feed.damage(run)}; choose another run.")
        return
    if not own.net(run).model.has_goodness:
        st.info("This net has no goodness, so it cannot say how far a negative is from a positive. Choose another run.")
        return
    classes, mine = run.config["facts"]["classes"], run.config["negatives"]
    items = {s["name"]: s for s in sorted(catalogue.negatives(), key=lambda s: (not s["faithful"], s["title"]))}
    start = {name: {key: about["default"] for key, about in item["settings"].items()} for name, item in items.items()}
    if mine["name"] in start:
        start[mine["name"]] |= {key: value for key, value in mine.items() if key != "name"}
    left, main = st.columns([1, 2.6], gap="medium")
    with left.container(border=True, height="stretch"):
        x, y = choose_image(run, samples)
    seed = widgets.asked_number("seed", 0, SEEDS, 0)
    with main.container(border=True, height="stretch"):
        strategy, line = workbench(run, items, start, x, y, seed)
    told = through(run, [{"name": name, **start[name]} for name in items], x, y, seed)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(f"The same image through {len(items)} strategies", width="content")
        st.button("Draw again", icon=":material/casino:", on_click=draw_again, args=(seed,), help="other random choices")
    st.caption(
        f"A gap above 0 (✓) means: the layer likes x⁺ better. “Pairs right” is the share of {len(y)} such pairs, made of "
        f"stored test images, in which it does. The badge is a rule of thumb. Random draw {seed}."
    )
    with st.grid(3, min_column_width=290, gap="small"):
        for (name, item), one in zip(items.items(), told, strict=True):
            card(item, one, classes, name == mine["name"])
    lacks = ["your image"] * (st.session_state.image != "sample") + ["the settings above"] * bool(
        items[strategy["name"]]["settings"]
    )
    widgets.share(line, repeat(run, strategy, seed), " and ".join(lacks))


def repeat(run: Run, strategy: dict[str, Any], seed: int) -> str:
    """The lines of Python that give the gaps of the strategy on the bench, for the chosen test image."""
    digit = st.session_state.digit - 1
    return (
        f"import numpy as np\n\nimport ffcore\n\nnet = ffcore.load({run.id!r})\nkept = net.samples()\n"
        f"order = np.r_[{digit}, np.delete(np.arange(len(kept['labels'])), {digit})]  # the image, then its possible partners\n"
        f"told = ffcore.catalogue.through(net, [{strategy!r}], kept['images'][order], kept['labels'][order], {seed})\n"
        "print(told[0]['difference'], told[0]['won'])"
    )


def draw_again(seed: int) -> None:
    st.query_params["seed"] = str((seed + 1) % (SEEDS + 1))


# The study


def study(folder: dict) -> dict[str, Any] | None:
    """A stored table as the page shows it, {name, label, rows, points, levels}, or None if it is not whole."""
    try:
        protocol, rows = folder["protocol"], folder["rows"]
        widths = "-".join(str(w) for w in protocol["model"].get("widths", []))
        label = f"{protocol['data']['name']} · {protocol['model']['name']} {widths} · {protocol['train']['epochs']} epochs"
        label += f" · {protocol['seeds']} random seeds"
        told = {"name": Path(folder["file"]).stem, "label": label, "images": int(protocol["images"])}
        told["rows"] = [line(row) for row in rows]
        told["points"] = [point(row) for row in rows if row["hardness"]]
        told["levels"] = {name: share(row["mean"]) for row in rows if (name := row["row"]) in ("untrained", "raw pixels")}
        return told
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # edited, cut off, or of another version
        return None


def line(row: dict) -> dict[str, Any]:
    """A row of the table: shares in per cent."""
    readouts = row["readouts"]
    return {
        "strategy": short_name(row),
        **{name: spread(readouts.get(name)) for name in ("goodness", "softmax", "probe")},
        "difference": 100 * row["paired_difference"],
        "seconds": float(row["seconds"]) or None,
        "dead": None if row["dead"] is None else 100 * share(row["dead"]),
        "n": row["n"],
        "remark": str(row.get("remark") or ""),
    }


def short_name(row: dict) -> str:
    """As in the chart, so in the table."""
    return ("⚠ " if row.get("faithful") is False else "") + row["row"].replace("_", " ")


def spread(scores: dict | None) -> str:
    """`97.31 ± 0.12`, so that text sorts as numbers do; a dash where there is no such read-out."""
    if scores is None:
        return "–"
    sd = "" if scores["sd"] is None else f" ± {100 * scores['sd']:.2f}"
    return f"{100 * scores['mean']:6.2f}".replace(" ", "\u2007") + sd


def point(row: dict) -> charts.Point:
    goodness = row["readouts"].get("goodness")
    lost = [share(layer) for layer in row["hardness"]]
    return charts.Point(short_name(row), sum(lost) / len(lost), share(row["mean"]), goodness and share(goodness["mean"]))


def share(value: Any) -> float:
    """A number within [0, 1]; raises ValueError for any other, as a chart cannot draw it."""
    if not 0 <= value <= 1:
        raise ValueError(f"{value} is no share")
    return float(value)


def show_studies() -> None:
    st.header("What training on them led to")
    found = ffcore.stored_studies()
    whole = {one["name"]: one for folder in found if (one := study(folder))}
    names: dict[str, str] = {}
    for name, one in whole.items():  # the browser answers by label: no two alike
        names[name] = f"{one['label']} · {name.rpartition('-')[2]}" if one["label"] in names.values() else one["label"]
    if len(whole) < len(found):
        st.caption(f":material/broken_image: {len(found) - len(whole)} stored table(s) cannot be read and are left out.")
    if not whole:
        with st.container(border=True):
            st.markdown(
                "**No study has been run here yet.** It trains one net with each strategy, from the same initial weights, and "
                "compares them. It may be interrupted, and goes on when the command is given again:"
            )
            st.code("ffcore study negatives", language="bash")
        return
    newest = next(iter(whole))
    if len(whole) > 1 or "study" in st.query_params:
        newest = widgets.choose(st.selectbox, "Study", "study", names, newest)
    shown = whole[newest]
    st.caption(
        f"{shown['label']}. All accuracies are of the validation split, mean ± standard deviation over random seeds. "
        f"The probe is a linear classifier, trained to convergence on the activities for {shown['images']:,} images at most."
    )
    plotly_loader()
    if shown["points"]:
        figure = charts.hardness(shown["points"], shown["levels"])
        with st.container(border=True):
            live_chart(figure, key="hardness", alt="hardness of each strategy against the accuracy it led to")
    about = {
        "strategy": st.column_config.TextColumn("strategy", width=150),
        "goodness": st.column_config.TextColumn("by goodness, %", help="the label with most goodness wins; needs shown labels"),
        "softmax": st.column_config.TextColumn("by softmax, %", help="a softmax head on the layers' activities"),
        "probe": st.column_config.TextColumn("by probe, %", help="a converged linear probe: the one that all rows have"),
        "difference": st.column_config.NumberColumn(
            "probe − wrong label's", format="%+.2f", help="points, mean of the differences between runs of the same random seed"
        ),
        "seconds": st.column_config.NumberColumn("seconds", format="%.1f", help="of training, mean"),
        "dead": st.column_config.NumberColumn("dead units, %", format="%.1f"),
        "n": st.column_config.NumberColumn("n", help="random seeds"),
        "remark": st.column_config.TextColumn("why it taught little", width="large"),
    }
    st.dataframe(shown["rows"], hide_index=True, alt="the study's table", column_config=about, height="content")


st.title("Negatives")
st.markdown(
    "A Forward-Forward net learns from pairs: it should like **x⁺**, a true image, and stay calm at **x⁻**, its *negative*. "
    "Here is what each strategy makes of one image, and how a trained net tells the two apart."
)
slot = st.container()
with slot.skeleton():
    widgets.settle_torch()
    catalogue.negatives()
with slot:
    chosen = choose_run()
    try:
        if chosen:
            own.net(chosen).model  # noqa: B018  (read here, where a damaged one is told)
            widgets.part("This run", show, chosen)
    except (ffcore.Refused, ffcore.Failed) as error:
        widgets.refusal(error)
    if chosen is None:
        widgets.empty("No finished run has learnt from negatives yet. It takes a minute.", "Train one", "views/train.py")
    if not widgets.hidden("study"):
        show_studies()

widgets.explain(
    """
**A negative** is an input that the net should not like: an image under a wrong label, a mixture of two images, a masked or
shuffled one, noise. Each layer learns to give x⁺ more *goodness* (mean squared activity) than x⁻. The **gap** g⁺ − g⁻ is by
how much it already does. The difference picture is blue where x⁺ is brighter and vermilion where x⁻ is.

**Too easy, too hard.** If nearly every pair is told apart, the loss is close to 0 and there is nothing left to learn: noise
is quickly known from digits by the amount of ink alone. If hardly more than half are, negatives look just like positives, or
better, and what the layers are told contradicts itself: noise in place of a lesson. Between the two lies what teaches. The
badge says “too easy” from 99% of pairs right, “too hard” up to 60%. That is a rule of thumb, not a law; the study below
shows what hardness went with what accuracy.

**Why shown labels matter.** Some strategies show the net a label beside the image. Such a net can later be asked by trying
on every label: that is reading by goodness. A net trained without labels has never seen one, so trying them on would say
nothing; it needs a read-out trained afterwards, softmax or probe. These ask different questions, so each has a column of
its own, and numbers of two columns must not be compared. Raw pixels and the untrained net show what a probe finds without any
learning.

**Whose eyes?** A net trained with labels was never shown images without one. Its gaps on label-free strategies say how
*other* negatives look to it, not what a net trained on them would learn, and the other way round. Pictures show what the
first layer sees; a layer-wise strategy goes on to corrupt the input of every later layer.

**⚠ Flawed on purpose** are mistakes of an earlier study, kept to show what they cost. Their badge may well say “useful”: it
knows how hard negatives are, not whether they are right.

**Your own strategy.** A Python file in the plug-in folder that `ffcore doctor` names adds a strategy to this page. It is code
that is executed with all that you may do, so put there only what you trust. It never comes out of an imported zip.
"""
)
