"""Train: choose what learns, from what, on which images; see the exact command; start it and go to Live."""

import hashlib
import json
from pathlib import Path

import charts
import streamlit as st
import widgets

import ffcore
from ffcore import catalogue

st.title("Train a net")
st.caption("The choices below already make a good run: press Start, or change what you are curious about.")
with st.container(border=True):
    ready = st.container()  # filled last: it needs all choices
    with st.container(horizontal=True, vertical_alignment="bottom"):
        launch = st.container(width="content")
        seed = st.number_input("Random seed", 0, value=0, width=150, help="the same seed gives the same weights, bit for bit")
slot = st.container()  # painted at once; torch loads behind the skeleton


@st.cache_data(show_spinner=False, max_entries=32)
def example(config: str) -> str:
    """A strategy's positives and negatives on real training images, as a picture."""
    return charts.pairs(**catalogue.example(json.loads(config), 4))


def asked_choice(key: str, options: list[str]) -> None:
    """A friendly word when the address asks for what there is not; the widget then shows its default."""
    text = st.query_params.get(key)
    if text is not None and text not in options:
        st.warning(f"The address asks for {key} {widgets.quote(text)}; there is {', '.join(options)}.")


def choose_preset() -> str:
    items = {p["name"]: p for p in catalogue.presets()}
    names = sorted(items, key=lambda n: (n != "quick", not items[n]["good"], n))
    asked_choice("preset", names)
    name = st.segmented_control(
        "Preset", names, default="quick", required=True, key="preset", bind="query-params",
        format_func=lambda n: items[n]["title"] if items[n]["good"] else f"⚠ {items[n]['title']}",
    )
    st.caption(items[name]["why"])
    return name


def choose_model(default: str) -> str:
    items = {m["name"]: m for m in catalogue.models()}
    names = sorted(items, key=lambda n: (n != "ff", n))
    asked_choice("model", names)
    name = st.segmented_control(
        "Model", names, default=default, required=True, key="model", bind="query-params",
        format_func=lambda n: items[n]["title"],
    )
    local = "every layer learns from its own loss" if items[name]["is_local"] else "one loss moves all layers"
    st.caption(f"{items[name]['about']} :gray[{items[name]['source']} · {local}]")
    return name


def choose_negatives(base: dict) -> str:
    """One card per strategy, with what it really makes of real images."""
    items = {s["name"]: s for s in catalogue.negatives()}
    own = base["negatives"]["name"]
    honest = [n for n in items if items[n]["faithful"] or n == own]
    asked_choice("negatives", honest)
    name = st.segmented_control(
        "Negatives: what the layers must stay calm about", honest, default=own, required=True, key="negatives",
        bind="query-params", format_func=lambda n: items[n]["title"],
    )
    with st.grid(min(3, len(honest)), min_column_width=300, gap="small"):
        for key in honest:
            with st.container(border=True, height="stretch"):
                mark = " :blue-badge[:material/check: chosen]" if key == name else ""
                st.markdown(f"**{items[key]['title']}**{mark}  \n:small[{items[key]['about']}]")
                settings = {k: about["default"] for k, about in items[key]["settings"].items()}
                st.html(example(json.dumps({**base, "seed": 0, "negatives": {"name": key, **settings}})))
                st.caption(items[key]["source"])
    return name


def choose_data() -> str:
    items = {d["name"]: d for d in catalogue.datasets()}
    auto = "mnist" if items["mnist"]["present"] else "mnist-5k"
    names = ["auto", *sorted(items, key=lambda n: not items[n]["present"])]
    asked_choice("data", names)
    left, right = st.columns(2)
    with left:
        name = st.selectbox(
            "Images", names, key="data", bind="query-params",
            format_func=lambda n: f"auto: {items[auto]['title']}" if n == "auto" else items[n]["title"] + (
                "" if items[n]["present"] else " · will be downloaded"),
        )
        item = items[auto if name == "auto" else name]
        found = "MNIST, which lies in the data folder" if auto == "mnist" else (
            "the 5,000 embedded digits, as MNIST is not in the data folder")
        sizes = item["sizes"]
        st.caption((f"**auto** means {found}. " if name == "auto" else "") + f"{item['provenance']} "
                   f"{sizes['train']:,} to train on, {sizes['validation']:,} to validate, {sizes['test']:,} to test.")
    with right:
        file = st.file_uploader("Or your own .npz with x (images) and y (labels)", type="npz")
        if file:
            return keep(file.name, file.getvalue()) or name
    return name


def keep(name: str, content: bytes) -> str | None:
    """Put an uploaded .npz beside the runs that use it; returns its path, or None if it is not usable."""
    from ffcore.data import read_own

    folder = ffcore.runs_root() / ".data"
    path = folder / f"{Path(name).stem[:40]}-{hashlib.blake2b(content, digest_size=4).hexdigest()}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(content)
        split, classes = read_own(path)
    except ffcore.Refused as error:
        path.unlink(missing_ok=True)
        st.error(str(error))
        return None
    st.success(f"{len(split.y):,} images of {len(classes)} classes")
    return str(path)


def choose_settings(base: dict) -> dict:
    """The settings classes as forms; returns what was changed, {"section.key": value}."""
    model = base["model"]["name"]
    strategy = catalogue.negatives(base["negatives"]["name"])[0] if base["negatives"] else None
    known = {
        "train": (catalogue.training_settings(), "How it learns"),
        "model": (catalogue.models(model)[0]["settings"], "The net"),
        "negatives": (base["negatives"] and strategy["settings"], "Its negatives"),
        "data": ({k: v for k, v in catalogue.datasets("mnist")[0]["settings"].items() if k != "name"}, "Its images"),
    }
    key = f"{base['preset']}.{model}.{strategy and strategy['name']}"
    changed = {}
    with st.expander("Settings", icon=":material/tune:"):
        for section, (settings, title) in known.items():
            if settings:
                st.markdown(f"**{title}**")
                changed |= widgets.settings_form(section, settings, base[section], key)
    return changed


def prospects(config: dict) -> str:
    """How long it may take, and what waits before it."""
    seconds = ffcore.estimate(config)
    if seconds:
        time = f"About **{widgets.duration(max(10, seconds))}** of training, going by a like run on this machine"
    else:
        time = "No such run has been timed on this machine yet; the default takes **about a minute** on two cores"
    states = [r.state for r in widgets.all_runs() if not r.bundled]
    ahead = states.count("queued") + states.count("running")
    queue = f"**{ahead} run{'s' * (ahead > 1)}** before it." if ahead else "The queue is empty: it starts at once."
    return f"{time}. {queue}"


with slot.skeleton():
    widgets.settle_torch()
    catalogue.models()

try:
    with slot:
        with st.container(border=True):
            preset = choose_preset()
            start = ffcore.configure(preset=preset)
            model = choose_model(start["model"]["name"])
        request = {"preset": None if preset == "quick" else preset, "model": model}
        base = ffcore.configure(**request)
        with st.container(border=True):
            request["data"] = choose_data()
        if base["negatives"]:
            with st.container(border=True):
                request["negatives"] = choose_negatives(base)
        base = ffcore.configure(**request)
        request["set"] = choose_settings(base)
        request["seed"] = seed
        config = ffcore.configure(**request)
except ffcore.Refused as error:
    ready.error(str(error), icon=":material/block:")
    st.stop()

with ready:
    st.markdown(prospects(config))
    st.code(ffcore.command(config), language="bash", wrap_lines=True)
if launch.button("Start training", type="primary", icon=":material/play_arrow:", key="start"):
    try:
        with ready, st.spinner("Starting …"):
            run = ffcore.submit(**request)
    except (ffcore.Refused, ffcore.Failed) as error:
        ready.error(str(error), icon=":material/block:")
    else:
        st.switch_page("views/live.py", query_params={"run": run.id})

widgets.explain(
    """
**Positives and negatives.** Forward-Forward has no error signal from the top. Instead each layer sees pairs: x⁺, an
image with its right label, and x⁻, which looks alike but is wrong somewhere. It learns high goodness for the first, low
for the second. What counts as wrong is the *negative strategy*, and the better it fools the net, the more the net has
to learn: a label drawn at random is soon easy, a label that the net itself finds likely stays hard.

**The honest reference.** *Backpropagation* trains a net of the same widths on the same images with the same care, so
the comparison is fair. *Untrained layers* tell what random features are worth.

**Validation and test.** Accuracy on screen during training comes from images held out of the training set. The test set
is looked at once, at the end.
"""
)
