"""What pages share: words for numbers, state badges, the run picker, values from the address, settings → form."""

import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import streamlit as st
from components import copy_link

import ffcore
from ffcore import Failed, Refused, Run, list_runs

LIVE = ("queued", "running")  # a process stands behind it

_BADGES = {
    "queued": ("orange", "hourglass_empty"),
    "running": ("blue", "play_circle"),
    "paused": ("orange", "pause_circle"),
    "stopped": ("gray", "stop_circle"),
    "done": ("green", "check_circle"),
    "failed": ("red", "error"),
    "lost": ("red", "heart_broken"),
    "damaged": ("red", "broken_image"),
}


class _Warmer(threading.Thread):
    """Imports torch beside the script threads, once the first page has had a moment to paint, or when hurried."""

    def __init__(self):
        super().__init__(daemon=True)
        self.hurry = threading.Event()

    def run(self) -> None:
        self.hurry.wait(2)
        import torch

        from ffcore import Trained  # noqa: F401

        torch.set_num_threads(1)  # threads that spin would slow every training on this machine


@st.cache_resource(show_spinner=False)
def _warmer() -> _Warmer:
    warmer = _Warmer()
    warmer.start()
    return warmer


def warm_torch() -> None:
    """Have torch imported in the background, so that the first click that needs it is quick."""
    _warmer()


def settle_torch() -> None:
    """Torch is here when this returns; the server computes with one thread."""
    warmer = _warmer()
    warmer.hurry.set()
    warmer.join()


def badge(state: str) -> str:
    """A coloured badge with icon and word, as Markdown."""
    colour, icon = _BADGES[state]
    return f":{colour}-badge[:material/{icon}: {state}]"


def percent(share: float | None, digits: int = 2) -> str:
    """0.9823 → `98.23%`"""
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def duration(seconds: float | None) -> str:
    """83.2 → `1 min 23 s`"""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def when(run: Run) -> str:
    """The day and minute at which a run was made, in this machine's time."""
    try:
        return f"{datetime.fromisoformat(run.config['created']).astimezone():%d %b %H:%M}"
    except (KeyError, ValueError):
        return "at an unknown time"


SAVES = "Every chart saves itself as PNG, SVG or CSV: ⤓ at its lower right."


def share(command: str | None = None, python: str | None = None, lacks: str = "", saves: str = SAVES) -> None:
    """How to see this again: the address of the view, the command line and the Python lines that give its numbers.

    `lacks`: what of the view the address does not hold; `saves`: how its charts are saved.
    """
    with st.popover("Share and repeat", icon=":material/share:"):
        copy_link()
        st.caption(f"The address holds the whole view{f', but not {lacks}' if lacks else ''}. {saves}")
        if command:
            st.markdown("From the command line")
            st.code(command, language="bash", wrap_lines=True)
        if python:
            st.markdown("In Python")
            st.code(python, language="python", wrap_lines=True)


_WAYS = {
    "draw": ("Open in Draw", "draw"), "replay": ("Watch it learn", "history"), "live": ("Live", "monitoring"),
    "health": ("Neuron health", "cardiology"), "run": ("All about this run", "fact_check"),
    "embeddings": ("Embeddings", "scatter_plot"),
}  # fmt: skip


def ways(run: Run, *views: str, **query: Any) -> None:
    """Links from here to other pages about a run; `query`: what else their addresses are to say."""
    with st.container(horizontal=True):
        for view in views:
            name, icon = _WAYS[view]
            there = {"run": run.id, **{key: str(value) for key, value in query.items()}}
            st.page_link(f"views/{view}.py", label=name, icon=f":material/{icon}:", query_params=there)


def broken() -> tuple[str, dict[str, str]]:
    """(page, what its address says) of a net whose units have died; where it did not come along, of its recipe on Train."""
    if any(r.bundled and r.id == "ref-pcl-mnist" for r in list_runs()):
        return "views/health.py", {"run": "ref-pcl-mnist"}
    return "views/train.py", {"preset": "ref-pcl"}


def explain(text: str) -> None:
    """The page's own lesson, for a second-year student."""
    with st.expander("What am I seeing?", icon=":material/school:"):
        st.markdown(text)


def hidden_parts() -> list[str]:
    """The parts of a page that its address leaves out, `?hide=a,b`: a teacher's link shows what is needed and no more."""
    return [part for part in st.query_params.get("hide", "").split(",") if part]


def hidden(part: str) -> bool:
    """Has the address left out this part of the page?"""
    return part in hidden_parts()


def act(label: str, *, disabled: bool = False, **more: Any) -> bool:
    """A button that starts, changes or deletes something: disabled on a read-only server, where the library refuses anyhow."""
    if ffcore.read_only():
        disabled, more["help"] = True, "This dashboard is read-only"
    return st.button(label, disabled=disabled, **more)


def refusal(error: object) -> None:
    """Why something was not done, in one line."""
    st.error(plain(" ".join(str(error).split())), icon=":material/block:")


@contextmanager
def told_if_broken(what: str) -> Iterator[None]:
    """A run may hold anything, and a plug-in is any code: what fails costs its own place on the page, and says so in a line."""
    try:
        yield
    except (Refused, Failed) as error:
        refusal(error)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        st.error(f"{plain(what)} cannot be shown: {quote(' '.join(said.split()), 200)}", icon=":material/broken_image:")


def part(what: str, body: Callable[..., None], *args: Any, every: float | None = None) -> None:
    """A part of the page that reruns by itself; where one of its runs is gone by then, the page does, and shows another."""

    def guarded() -> None:
        if any(isinstance(run, Run) and run.problem for run in args):
            st.rerun()
        with told_if_broken(what):
            body(*args)

    st.fragment(guarded, run_every=every)()


def pace(seconds: float) -> float | None:
    """How often a part that shows a living run looks again; never where the address says `?live=0`."""
    return None if st.query_params.get("live") == "0" else seconds


def empty(text: str, action: str, page: str) -> None:
    """A page with nothing to show: why, and the one thing to do about it. Ends the script."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.markdown(f"**{text}**", text_alignment="center")
        if st.button(action, type="primary", icon=":material/arrow_forward:"):
            st.switch_page(page)
        st.space("small")
    st.stop()


def asked_number(key: str, low: int, high: int, default: int) -> int:
    """`?key=` as a whole number from low to high; anything else gets a friendly word and the default."""
    text = st.query_params.get(key)
    if text is None:
        return default
    whole = text.removeprefix("-") if low < 0 else text
    if whole.isascii() and whole.isdigit() and len(whole) < 10 and low <= int(text) <= high:
        return int(text)
    st.warning(f"The address asks for {key} {quote(text)}, but it runs from {low} to {high}. Showing {default}.")
    st.query_params[key] = str(default)
    return default


def put(key: str, value: Any, usual: Any) -> None:
    """`?key=value` into the address; out of it where the value is the usual one."""
    if value == usual:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != str(value):
        st.query_params[key] = str(value)


def digit(n: int) -> int:
    """The number of the test image on screen, 1 to n: one for all pages of a visit, and in the address wherever it is used."""
    if "digit" not in st.session_state:
        st.session_state.digit = asked_number("digit", 1, n, 1)
    st.session_state.digit = min(st.session_state.digit, n)
    put("digit", st.session_state.digit, 1)
    return st.session_state.digit


def turn(step: int, n: int) -> None:
    """The next test image, or the one before."""
    st.session_state.digit = (st.session_state.digit - 1 + step) % n + 1


def choose(
    widget: Callable, label: str, key: str, options: Mapping[str, str], default: str, spot: str | None = None, **more: Any
) -> str:
    """A select box or segmented control over {name: shown text} whose name lives in the address as `?key=`.

    Streamlit's own binding would put the shown text there, which no link should depend on. `spot` is the widget's own key,
    where another page has another widget for the same choice: the state of one means nothing to the other.
    """
    spot = spot or key
    asked, before = st.query_params.get(key), st.session_state.get(spot)
    if asked not in (None, before, *options):  # what was chosen before may have gone with another choice, and is no news
        st.warning(f"The address asks for {key} {quote(asked)}; there is {some(options)}. Showing {plain(default)}.")
    if before not in options:
        st.session_state[spot] = asked if asked in options else default
    name = widget(label, list(options), format_func=options.get, key=spot, **more)
    put(key, name, default)
    return name


def several(widget: Callable, label: str, key: str, options: Iterable[str], default: list[str], **more: Any) -> list[str]:
    """A choice of several that lives in the address as `?key=a,b`; what is not there is told."""
    options, spot = list(options), f"several.{key}"
    asked, before = st.query_params.get(key), st.session_state.get(spot)
    wanted = default if asked is None else [name for name in asked.split(",") if name]
    if odd := [name for name in wanted if name not in (*options, *(before or ()))]:
        st.warning(f"The address asks for {key} {quote(', '.join(odd))}; there is {some(options) or 'none'}.")
    st.session_state[spot] = [name for name in (wanted if before is None else before) if name in options]
    chosen = widget(label, options, key=spot, **more)
    put(key, ",".join(chosen), ",".join(default))
    return chosen


def asked_run(runs: list[Run], default: Run) -> Run:
    """The run that `?run=` names (an id, or the start of one). Never a path: an address must not open folders."""
    text = st.query_params.get("run")
    if text is None:
        remembered = st.session_state.get("run")
        return next((r for r in runs if r.id == remembered), default)
    fits = [r for r in runs if r.id == text] or [r for r in runs if text and r.id.startswith(text)]
    if len(fits) == 1:
        return fits[0]
    here = any(r.id.startswith(text) for r in list_runs()) if text else False
    why = (
        "of which there are several"
        if fits
        else "which is here but not among those that this page shows"
        if here
        else "which is not here"
    )
    st.warning(f"The address asks for run {quote(text)}, {why}. Showing “{title(default)}” instead.")
    return default


def known_as(run: Run) -> str:
    """A run in a list: what it is, and its checkpoint's name, or when it was made and the end of its id."""
    return f"{run.title()} · " + (f"{run.dir.name} (bundled)" if run.bundled else f"{when(run)} · {run.id.rpartition('-')[2]}")


def pick_run(runs: list[Run], default: Run, *own: str) -> Run:
    """A select box of runs that lives in the address as `?run=`, so that a reload or a sent link shows the same.

    `own`: what else the address says of this run only; it goes when another is chosen.
    """
    chosen = asked_run(runs, default)
    names: dict[str, str] = {}
    for r in runs:
        name = known_as(r)
        names[r.id] = f"{name} · {r.id}" if name in names.values() else name  # the browser answers by name: no two alike
    st.session_state.picked_run = chosen.id
    st.selectbox("Run", list(names), format_func=names.get, key="picked_run", on_change=_remember_run, args=own)
    _put_run(chosen.id)
    return chosen


def _remember_run(*own: str) -> None:
    for key in own:
        st.query_params.pop(key, None)
    _put_run(st.session_state.picked_run)


def _put_run(run_id: str) -> None:
    st.session_state.run = run_id
    if st.query_params.get("run") != run_id:
        st.query_params["run"] = run_id


def some(names: Iterable[str], most: int = 12) -> str:
    """Names in a line, the first of many."""
    names = [plain(name) for name in names if name]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def quote(text: str, most: int = 40) -> str:
    """A stranger's text, harmless inside Markdown."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return "`" + "".join(c if c.isprintable() and c != "`" else "·" for c in short) + "`"


_JOINED = re.compile(  # what Streamlit makes addresses, icons and arrows of although it is escaped
    r"(?i)(?<=www)(?=\.)|(?=@[-\w]+\.)|(?<=:)(?=//|[a-z+-][\w/+-]*:)|(?<=-)(?=[->])|(?<=<)(?=-)|(?<=[<>~])(?==)"
)
_OPTION = re.compile(r"(?<![^\s(])(--[a-z][a-z-]*[a-z])(?![\w`])")  # of a command, which is to be copied as it is


def plain(text: Any) -> str:
    """Any text as Markdown that shows it as it is, without link, picture, list, formula or colour; an option becomes code."""
    return "".join(f"`{part}`" if i % 2 else _escaped(part) for i, part in enumerate(_OPTION.split(str(text))))


def _escaped(text: str) -> str:
    text = re.sub(r"\n[ \t]+", "\n", _JOINED.sub("\u2060", text))  # word joiner: it is not seen
    text = re.sub(r"[\\`*\[\]|<>~$&!]|:(?=[\w:])|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
    return re.sub(r"(?m)^(\d*)([-+#=.)])(?=[\s#=]|$)", r"\1\\\2", text)


def title(run: Run) -> str:
    """What a run is, for Markdown: an imported one may be called anything."""
    return plain(run.title())


def latest(runs: list[Run], fits: Callable[[Run], bool] = lambda run: True) -> Run | None:
    """The newest run that fits: your own before bundled ones."""
    fitting = [r for r in runs if not r.problem and fits(r)]
    return next((r for r in fitting if not r.bundled), next(iter(fitting), None))


def all_runs() -> list[Run]:
    """Every readable run, newest first, your own before the bundled."""
    return sorted((r for r in list_runs() if not r.problem), key=lambda r: r.bundled)


def voters(run: Run, depth: int) -> list[int]:
    """The layers whose goodness decides, as indices of arrays that have `depth` layers."""
    return [layer - 1 for layer in run.config["model"].get("votes") or range(1, depth + 1)]


def by_goodness(run: Run) -> bool:
    """Is its default read-out goodness? Before the result says so: a net trained on negatives answers by goodness."""
    result = run.status()["result"] or {}
    return result["readout"] == "goodness" if result.get("readout") else bool(run.config["negatives"])


def is_live(run: Run) -> bool:
    """Does a process stand behind it, or will one?"""
    return run.state in LIVE


def settings_form(section: str, settings: Mapping[str, dict], values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """One widget per setting, as `describe` tells it; returns what differs from `values`, as {"section.name": value}.

    Bounds are told as help and checked by the library, whose one line says what is wrong.
    """
    changed = {}
    grid = st.grid("auto", min_column_width=230)
    for name, about in settings.items():
        kind, default = about["type"], values.get(name, about["default"])
        hint = about["help"] + (f" ({about['bounds']})" if about["bounds"] else "")
        with grid.cell():
            value = _widget(kind, name.replace("_", " "), default, hint, f"{key}.{section}.{name}")
        if value != default:
            changed[f"{section}.{name}"] = value
    return changed


def controls(settings: Mapping[str, dict], values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """One live widget per setting, as `describe` tells it, sliders for numbers within bounds; returns {name: value}."""
    chosen = {}
    for name, about in settings.items():
        value, label, spot = values.get(name, about["default"]), name.replace("_", " "), f"{key}.{name}"
        if track := _track(about, value):
            least, most, step = track
            chosen[name] = st.slider(label, least, most, type(step)(value), step, help=about["help"], key=spot)
        else:
            chosen[name] = _widget(about["type"], label, value, about["help"], spot)
    return chosen


def _track(about: Mapping[str, Any], value: Any) -> tuple[Any, Any, Any] | None:
    """(least, most, step) of a slider for a bounded number, or None. Where bounds are wide it ends at what makes sense."""
    limits = dict(re.findall(r"([≥>≤<]) ([\d.e+-]+)", about["bounds"] or ""))
    low, high = (next((float(limits[sign]) for sign in signs if sign in limits), None) for signs in ("≥>", "≤<"))
    if about["type"] not in ("int", "float") or low is None or high is None or not isinstance(value, int | float):
        return None
    sensible = max(value, 4 * (about["default"] or 0), 10 if about["type"] == "int" else 0)
    if sensible and high > max(1, 2.5 * sensible):
        high = sensible
    if about["type"] == "int":
        return int(low) + (">" in limits), int(high) - ("<" in limits), 1
    step = 10.0 ** math.floor(math.log10((high - low) / 20))  # 20 to 200 stops
    ends = low + step * (">" in limits), high - step * ("<" in limits)
    return float(min(round(ends[0], 9), value)), float(max(round(ends[1], 9), value)), round(step, 9)


def _widget(kind: str, label: str, default: Any, hint: str, key: str) -> Any:
    if kind == "bool":
        return st.toggle(label, default, help=hint, key=key)
    if kind.startswith("one of "):
        options = kind.removeprefix("one of ").split(", ")
        return st.selectbox(label, options, options.index(default), help=hint, key=key)
    if kind == "int":
        return st.number_input(label, value=int(default), step=1, help=hint, key=key)
    shown = "" if default is None else default if isinstance(default, str) else json.dumps(default)
    text = st.text_input(label, shown, help=hint, key=key, placeholder="automatic")
    if text == "":
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
