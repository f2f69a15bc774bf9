"""Train: choose what learns, from what, on which images; see the exact command; start it and go to Live."""

import json
import re

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
        st.session_state.setdefault("seed", widgets.asked_number("seed", 0, 999_999_999, 0))
        seed = st.number_input("Random seed", 0, 999_999_999, key="seed", width=150,
                               help="the same seed gives the same weights, bit for bit")  # fmt: skip
        widgets.put("seed", seed, 0)
slot = st.container()  # painted at once; torch loads behind the skeleton


@st.cache_data(show_spinner=False, max_entries=32)
def example(config: str, strategy: str) -> str:
    """A strategy's positives and negatives on real training images, as a picture."""
    return charts.pairs(**catalogue.examples(json.loads(config), [json.loads(strategy)], 4)[0])


def forget(*more: str) -> None:
    """Another preset has a model, negatives and settings of its own; what was chosen before must not stand in their way."""
    for key in ("model", "negatives", "set", *more):
        st.session_state.pop(key, None)
        st.query_params.pop(key, None)


def choose_preset() -> str:
    """A recipe that is known to be good, or a failure with the reason why it fails."""
    items = {p["name"]: p for p in catalogue.presets()}
    kinds = {"good": "Recipes", "failures": "Failures to study"}
    asked = items.get(st.query_params.get("preset", ""))
    st.session_state.setdefault("kind", "good" if not asked or asked["good"] else "failures")
    kind = st.segmented_control(
        "Preset", list(kinds), format_func=kinds.get, key="kind", required=True, on_change=forget, args=("preset",)
    )
    names = sorted((n for n in items if items[n]["good"] == (kind == "good")), key=lambda n: (n != "quick", n))
    shown = {n: items[n]["title"].removeprefix("Reference study: ") for n in names}
    name = widgets.choose(
        st.pills, "Which one", "preset", shown, names[0], required=True, on_change=forget, label_visibility="collapsed"
    )
    if kind == "failures":
        st.query_params["preset"] = name  # its default, too: the address must lead here again
    told = items[name]
    st.caption(" ".join(widgets.plain(text) for text in (told["see"], told["why"]) if text))
    if not told["good"]:
        st.caption(f"**What mends it**: {widgets.plain(told['fix'])} :gray[{widgets.plain(told['source'])}]")
    return name


def choose_model(default: str) -> str:
    items = {m["name"]: m for m in catalogue.models() if m["faithful"] or m["name"] == default}  # flawed: by preset only
    names = sorted(items, key=lambda n: (n != "ff", n))
    shown = {n: items[n]["title"] for n in names}
    name = widgets.choose(st.pills, "Model", "model", shown, default, required=True)
    local = "every layer learns from its own loss" if items[name]["is_local"] else "one loss moves all layers"
    about = items[name]["about"].partition("\n\n")[0]
    st.caption(f"{about} :gray[{items[name]['source']} · {local}]")
    return name


def choose_negatives(base: dict) -> str:
    """The strategy, with what it really makes of real images."""
    items = {s["name"]: s for s in catalogue.negatives()}
    own = base["negatives"]["name"]
    shown = {n: item["title"] for n, item in items.items() if item["faithful"] or n == own}
    label = "Negatives: what the layers must stay calm about"
    name = widgets.choose(st.pills, label, "negatives", shown, own, required=True)
    item, (left, right) = items[name], st.columns([1.3, 1], gap="medium")
    with left:
        st.markdown(f"**{item['title']}**  \n{item['about'].partition(chr(10))[0]} :gray[{item['source']}]")
        here = {"run": run.id} if (run := widgets.latest(widgets.all_runs(), lambda r: bool(r.config["negatives"]))) else {}
        st.page_link(
            "views/negatives.py", label="All strategies beside each other", icon=":material/contrast:", query_params=here
        )
    with right.container(height=230, border=False):
        if not ffcore.data.present(base["data"]["name"], base["data_root"]):  # a look at the page downloads nothing
            images = ffcore.data.DATASETS[base["data"]["name"]].title
            st.caption(f"{images} is not in the data folder and will be downloaded on Start: no examples can be shown yet.")
        else:
            wanted = {"name": name, **{key: about["default"] for key, about in item["settings"].items()}}
            st.html(example(json.dumps({**base, "seed": 0}), json.dumps(wanted)))
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
        file = st.file_uploader("Or your own .npz with x (images) and y (labels)", type="npz", disabled=ffcore.read_only())
        if file:
            path = ffcore.keep_images(file.name, file.getvalue())
            images, classes = counted(path)
            st.success(f"{images:,} images of {classes} classes", icon=":material/check:")
            return path
    return None if name == "auto" else name


@st.cache_data(show_spinner=False, max_entries=8)
def counted(path: str) -> tuple[int, int]:
    """Images and classes of a kept .npz, which is named by its content."""
    split, classes = ffcore.data.read_own(path)
    return len(split.y), len(classes)


def asked_settings(request: dict) -> dict:
    """Settings that a link asks for, `?set=model.peer=1` as often as there are some; none where they do not fit.

    What the reader changes below goes into the address as well (`put_settings`), and is not taken for a new link's.
    """
    asked = st.query_params.get_all("set")
    if asked != st.session_state.get("train_put", []):
        st.session_state.train_given = asked[:40]
    asked = st.session_state.get("train_given", []) if asked else []
    if not asked:
        return {}
    try:
        given = ffcore.parse_settings(asked)
        refuse_files(given)
        ffcore.configure(**request, set=given)
    except ffcore.Refused as error:
        st.warning(f"The settings in the address do not fit and are left out: {widgets.plain(str(error))}")
        return {}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.info("Set by the link that led here: " + ", ".join(widgets.quote(text) for text in asked), icon=":material/link:")
        st.button("Forget them", icon=":material/close:", on_click=lambda: st.query_params.pop("set"), key="forget")
    return given


def refuse_files(given: dict) -> None:
    """No address opens a file of this machine: images are named by `?data=`, and weights by the id of a run that is here."""
    if "data.name" in given:
        raise ffcore.Refused("data.name cannot be set by a link; choose the images below")
    source = str(given.get("train.init_from") or "")
    if source and re.sub(r"@\d+$", "", source) not in [run.id for run in ffcore.list_runs()]:
        raise ffcore.Refused(f"train.init_from={source}: no run here has this id; a link says ID or ID@EPOCH")


def put_settings(settings: dict) -> None:
    """All of them into the address, so that it leads to this very form."""
    st.session_state.train_put = ffcore.set_words(settings)
    if settings:
        st.query_params["set"] = st.session_state.train_put
    else:
        st.query_params.pop("set", None)


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


def python_for(config: dict) -> str:
    asked = ", ".join(f"{key}={value!r}" for key, value in ffcore.asked(config).items())
    return f"import ffcore\nrun = ffcore.train({asked})\nprint(run.status()['result'])"


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
        request["set"] = given if widgets.hidden("settings") else {**given, **choose_settings(base, given)}
        request["seed"] = seed
        config = ffcore.configure(**request)
        put_settings(request["set"])
    with ready:
        st.markdown(prospects(config))
        st.code(ffcore.command(config), language="bash", wrap_lines=True)
except ffcore.Refused as error:
    config = None
    with ready:
        widgets.refusal(error)

with launch:
    started = widgets.act("Start training", type="primary", icon=":material/play_arrow:", key="start", disabled=config is None)
if started:
    try:
        with ready, st.spinner("Starting …"):
            run = ffcore.submit(**request)
    except (ffcore.Refused, ffcore.Failed) as error:
        with ready:
            widgets.refusal(error)
    else:
        st.switch_page("views/live.py", query_params={"run": run.id})

lacks = "your file" if config and config["data"]["name"] not in ffcore.data.DATASETS else ""
widgets.share(ffcore.command(config), python_for(config), lacks) if config else widgets.share()
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
