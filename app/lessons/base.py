"""What a lesson is: predict, run, reveal, question; and what lessons share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import feed
import streamlit as st
import widgets
from components import live_chart

import ffcore
from ffcore import Run

Facts = dict[str, Any]


@dataclass(frozen=True)
class Lesson:
    """Ten minutes on one idea. What it claims comes out of `facts`, the numbers that lie in files; None where they do not.

    `held` names the option that these numbers bear out, `why` says so in 120 words at most, `draw` shows them, `run` is what
    the student does. `onward`: (button, page, query) of the full page. `name` is the file's.
    """

    title: str
    teaser: str  # the card's one-line question
    minutes: int
    predict: str
    options: Mapping[str, str]
    run: Callable[[], None]
    facts: Callable[[], Facts | None]
    held: Callable[[Facts], str | None]
    draw: Callable[[Facts], None]
    why: Callable[[Facts], str]
    source: str
    ask: str
    sample: str
    onward: tuple[str, str, dict[str, str]]
    missing: str = "The stored numbers of this lesson are not here."
    name: str = field(default="", compare=False)


def bundled(name: str) -> Run | None:
    """The bundled net of this name, or None: a package may come without it."""
    return next((run for run in ffcore.list_runs() if run.bundled and run.id == name and not run.problem), None)


def reader() -> Run | None:
    """A net that answers by goodness and has samples to show: the bundled one, or the newest of one's own."""
    mine = [run for run in widgets.all_runs() if run.state == "done" and widgets.by_goodness(run) and feed.showable(run)]
    return next((run for run in mine if run.id == "ff-mnist"), next(iter(mine), None))


def study(name: str, *rows: str) -> Facts | None:
    """{row: its dict} of the newest stored study of that name that has all these rows, with "of": its protocol; or None."""
    for told in ffcore.stored_studies(name=name):
        found = {row["row"]: row for row in told["rows"] if isinstance(row, dict) and row.get("row") in rows}
        if len(found) == len(rows):
            return {**found, "of": told["protocol"]}
    return None


def spread(values: Mapping[str, Any], digits: int = 1) -> str:
    """{mean, n, sd or interval} → `97.1 ± 0.2%`: half of a 95% interval where it is told, else the standard deviation."""
    wide = values.get("interval", values.get("sd"))
    return f"{100 * values['mean']:.{digits}f}" + ("" if wide is None else f" ± {100 * wide:.{digits}f}") + "%"


def points(difference: float, digits: int = 1) -> str:
    """-0.0387 → `−3.9 points`"""
    return f"{100 * difference:+.{digits}f} points".replace("-", "−")


def tag(key: str) -> str:
    """Of the run that an experiment of a lesson trains: by it the run is found again."""
    return f"lesson: {key}"


def own(key: str, *states: str) -> Run | None:
    """The run of an experiment in one of these states, or None."""
    mine = [run for run in ffcore.list_runs(bundled=False) if run.config.get("tag") == tag(key) and not run.problem]
    return next((run for run in mine if run.state in states), None)


def experiments(arms: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, Run]:
    """Short trainings of the student's own, {key: (title, what `ffcore.submit` takes)}: {title: run} of those that were
    started, and for each of the others the button that starts it. The same one is not trained twice."""
    found = {title: run for key, (title, _) in arms.items() if (run := own(key, *widgets.LIVE, "done"))}
    left = {key: arm for key, arm in arms.items() if arm[0] not in found}
    with st.container(horizontal=True):
        for key, (title, request) in left.items():
            if widgets.act(f"Train: {title}", key=key, icon=":material/play_arrow:"):
                _start(key, request)
    if left and ffcore.read_only():
        st.caption("Read-only: nothing is trained on this server; the next step shows what is stored.")
    return found


def _start(key: str, request: Mapping[str, Any]) -> None:
    try:
        with st.spinner("Starting …"):
            ffcore.submit(**request, test=False, tag=tag(key))
    except (ffcore.Refused, ffcore.Failed) as error:
        widgets.refusal(error)
    else:
        st.rerun()


def curves(runs: Mapping[str, Run], draw: Callable[[dict[str, feed.Story]], dict], key: str, alt: str) -> None:
    """A chart of what experiments tell, {name: run}, drawn anew every second while one of them is at work."""
    if not runs:
        return
    waiting = any(widgets.is_live(run) for run in runs.values())

    @st.fragment(run_every=widgets.pace(1) if waiting else None)
    def drawn() -> None:
        if waiting and not any(widgets.is_live(run) for run in runs.values()):
            st.rerun()
        live_chart(draw({name: feed.story(run) for name, run in runs.items()}), key=key, alt=alt)
        said = [f"{name}: {run.state}" + _reason(run) for name, run in runs.items() if run.state != "done"]
        st.caption(" · ".join(said) or "Trained on this machine just now or before: the same settings are not trained twice.")

    drawn()


def _reason(run: Run) -> str:
    status = run.status()
    return f" ({widgets.plain(status['reason'])})" if status.get("reason") else ""


def digit(run: Run, key: str) -> tuple[int, dict]:
    """The sample image that a slider picks, and all samples."""
    samples = feed.samples(run)
    n = len(samples["labels"])
    return st.slider("Test image", 1, n, 1, key=key) - 1, samples
