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
def examples(config: str, strategies: str) -> list[str]:
    """Each strategy's positives and negatives on real training images, as a picture."""
    return [charts.pairs(**told) for told in catalogue.examples(json.loads(config), json.loads(strategies), 4)]


def forget() -> None:
    """Another preset has a model and negatives of its own; what was chosen before must not stand in their way."""
    for key in ("model", "negatives"):
        st.session_state.pop(key, None)
        st.query_params.pop(key, None)


def choose_preset() -> str:
    items = {p["name"]: p for p in catalogue.presets()}
    names = sorted(items, key=lambda n: (n != "quick", not items[n]["good"], n))
    shown = {n: items[n]["title"] if items[n]["good"] else f"⚠ {items[n]['title']}" for n in names}
    name = widgets.choose(st.segmented_control, "Preset", "preset", shown, "quick", required=True, on_change=forget)
    told = items[name]
    st.caption(" ".join(text for text in (told["see"], told["why"]) if text))
    return name


def choose_model(default: str) -> str:
    items = {m["name"]: m for m in catalogue.models() if m["faithful"] or m["name"] == default}  # flawed: by preset only
    names = sorted(items, key=lambda n: (n != "ff", n))
    shown = {n: items[n]["title"] for n in names}
    name = widgets.choose(st.segmented_control, "Model", "model", shown, default, required=True)
    local = "every layer learns from its own loss" if items[name]["is_local"] else "one loss moves all layers"
    about = items[name]["about"].partition("\n\n")[0]
    st.caption(f"{about} :gray[{items[name]['source']} · {local}]")
    return name


def choose_negatives(base: dict) -> str:
    """One card per strategy, with what it really makes of real images."""
    items = {s["name"]: s for s in catalogue.negatives()}
    own = base["negatives"]["name"]
    honest = [n for n in items if items[n]["faithful"] or n == own]
    shown, label = {n: items[n]["title"] for n in honest}, "Negatives: what the layers must stay calm about"
    name = widgets.choose(st.segmented_control, label, "negatives", shown, own, required=True)
    here = ffcore.data.present(base["data"]["name"], base["data_root"])  # a look at the page downloads nothing
    if not here:
        images = ffcore.data.DATASETS[base["data"]["name"]].title
        st.caption(f"{images} is not in the data folder and will be downloaded on Start: no examples can be shown yet.")
    wanted = [{"name": k, **{s: about["default"] for s, about in items[k]["settings"].items()}} for k in honest]
    pictures = examples(json.dumps({**base, "seed": 0}), json.dumps(wanted)) if here else [""] * len(honest)
    with st.container(height=430, border=False), st.grid(3, min_column_width=300, gap="small"):
        for key, picture in sorted(zip(honest, pictures, strict=True), key=lambda pair: pair[0] != name):
            with st.container(border=True, height="stretch"):
                mark = " :blue-badge[:material/check: chosen]" if key == name else ""
                st.markdown(f"**{items[key]['title']}**{mark}  \n:small[{items[key]['about'].partition(chr(10))[0]}]")
                if here:
                    st.html(picture)
                st.caption(items[key]["source"])
    return name


def choose_data(auto: str) -> str | None:
    """The name or path of the images; None for what the preset, or else the machine, offers, which is `auto`."""
    items = {d["name"]: d for d in catalogue.datasets()}
    names = sorted(items, key=lambda n: not items[n]["present"])
    shown = {n: items[n]["title"] + ("" if items[n]["present"] else " · will be downloaded") for n in names}
    shown = {"auto": f"auto: {items[auto]['title']}", **shown}
    left, right = st.columns(2)
    with left:
        name = widgets.choose(st.selectbox, "Images", "data", shown, "auto")
        item = items[auto if name == "auto" else name]
        found = (
            "the 5,000 embedded digits, as MNIST is not in the data folder"
            if auto == "mnist-5k"
            else (f"{items[auto]['title']}" + ", which lies in the data folder" * items[auto]["present"])
        )
        sizes = item["sizes"]
        st.caption(
            (f"**auto** means {found}. " if name == "auto" else "") + f"{item['provenance']} "
            f"{sizes['train']:,} to train on, {sizes['validation']:,} to validate, {sizes['test']:,} to test."
            + ("" if item["present"] else " It will be downloaded on Start.")
        )
    with right:
        file = st.file_uploader("Or your own .npz with x (images) and y (labels)", type="npz")
        if file:
            return keep(file.name, file.getvalue())
    return None if name == "auto" else name


def keep(name: str, content: bytes) -> str:
    """Put an uploaded .npz beside the runs that use it; returns its path. Raises Refused, and keeps nothing, if it is bad."""
    folder = ffcore.runs_root() / ".data"
    path = folder / f"{Path(name).stem[:40]}-{hashlib.blake2b(content, digest_size=8).hexdigest()}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    try:
        images, classes = counted(str(path))
    except ffcore.Refused as error:
        path.unlink()
        raise ffcore.Refused(str(error).replace(str(path), name)) from None
    st.success(f"{images:,} images of {classes} classes", icon=":material/check:")
    return str(path)


@st.cache_data(show_spinner=False, max_entries=8)
def counted(path: str) -> tuple[int, int]:
    """Images and classes of a kept .npz, which is named by its content."""
    split, classes = ffcore.data.read_own(path)
    return len(split.y), len(classes)


def asked_settings(request: dict) -> dict:
    """Settings that the address asks for, `?set=model.peer=1` as often as there are some; none where they do not fit."""
    asked = st.query_params.get_all("set")
    if not asked:
        return {}
    try:
        given = ffcore.parse_settings(asked[:20])
        ffcore.configure(**request, set=given)
    except ffcore.Refused as error:
        st.warning(f"The settings in the address do not fit and are left out: {widgets.plain(str(error))}")
        return {}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.info("Set by the link that led here: " + ", ".join(widgets.quote(text) for text in asked), icon=":material/link:")
        st.button("Forget them", icon=":material/close:", on_click=lambda: st.query_params.pop("set"), key="forget")
    return given


def choose_settings(base: dict, given: dict) -> dict:
    """The settings classes as forms; returns what was changed, {"section.key": value}."""
    model = base["model"]["name"]
    strategy = catalogue.negatives(base["negatives"]["name"])[0] if base["negatives"] else None
    known = {
        "train": (catalogue.training_settings(), "How it learns"),
        "model": (catalogue.models(model)[0]["settings"], "The net"),
        "negatives": (base["negatives"] and strategy["settings"], "Its negatives"),
        "data": ({k: v for k, v in catalogue.datasets("mnist")[0]["settings"].items() if k != "name"}, "Its images"),
    }
    key = f"{base['preset']}.{model}.{strategy and strategy['name']}" + (f".{json.dumps(given)}" if given else "")
    changed = {}
    with st.expander("Settings", icon=":material/tune:"):
        for section, (settings, title) in known.items():
            if settings:
                st.markdown(f"**{title}**")
                changed |= widgets.settings_form(section, settings, base[section], key)
    return changed


def prospects(config: dict) -> str:
    """How long it may take, and what it may have to wait for: runs that share its kind of device."""
    seconds = ffcore.estimate(config)
    if seconds:
        time = f"About **{widgets.duration(max(10, seconds))}** of training, going by a like run on this machine"
    else:
        default = config["model"]["name"] == "ff" and config["preset"] in (None, "quick")
        known = "; the default takes **about a minute** on two cores" * default
        time = f"No such run has been timed on this machine yet{known}"
    kind = config["device"].partition(":")[0]
    beside = [r for r in widgets.all_runs() if not r.bundled and r.config.get("slots", {}).get("kind") == kind]
    ahead = sum(widgets.is_live(r) for r in beside)
    return f"{time}. " + (f"It may wait for **{ahead} run{'s' * (ahead > 1)}**." if ahead else "It starts at once.")


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
            request["data"] = choose_data(base["data"]["name"])
        if base["negatives"]:
            with st.container(border=True):
                request["negatives"] = choose_negatives(base)
        given = asked_settings(request)
        base = ffcore.configure(**request, set=given)
        request["set"] = {**given, **choose_settings(base, given)}
        request["seed"] = seed
        config = ffcore.configure(**request)
    with ready:
        st.markdown(prospects(config))
        st.code(ffcore.command(config), language="bash", wrap_lines=True)
except ffcore.Refused as error:
    config = None
    ready.error(str(error), icon=":material/block:")

if launch.button("Start training", type="primary", icon=":material/play_arrow:", key="start", disabled=config is None):
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

**Validation and test.** Accuracy on screen during training comes from images held out of the training set. Accuracy on the
test images is measured once, at the end; 64 fixed test samples are shown throughout.
"""
)
