"""What a run has told so far: one reader per run for all viewers, which reads only what is new."""

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import charts
import numpy as np
import streamlit as st

from ffcore import Refused, Run

GONE = 15  # seconds without a look after which a viewer has left
KEPT = 1_000  # ticks, and epochs, in memory; of more, at most half, spread over the training, spikes first


@dataclass
class Story:
    """A run's events, sorted by kind, oldest first; `told` counts the ticks of each layer, kept or not (0: all).

    `made` holds what was made of exactly these events, for all who look at them.
    """

    ticks: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    told: Counter[int] = field(default_factory=Counter)
    made: dict[tuple, Any] = field(default_factory=dict)

    def copy(self) -> "Story":
        return Story(list(self.ticks), list(self.epochs), list(self.alarms), self.told.copy(), self.made)

    def once(self, *key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returns, made by the first viewer only; `key` names it, and all it depends on besides the events."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def take(self, event: dict) -> None:
        """Add one event; what a hand has made unreadable is passed over."""
        if not _sound(event):
            return
        self.made = {}
        match event.get("event"):
            case "tick":
                self.ticks.append(event)
                self.told.update([0, *(row["layer"] for row in event["layers"])])
                self.ticks = _kept(self.ticks)
            case "epoch":
                self.epochs.append(event)
                self.epochs = _kept(self.epochs)
            case "alarm":
                self.alarms.append(event)
            case "start":  # what lies behind the point of resumption will be told again
                for part in (self.ticks, self.epochs, self.alarms):
                    part[:] = [e for e in part if e["step"] <= event["step"]]


def _sound(event: dict) -> bool:
    """Has it the numbers that every chart relies on?"""
    needs = ("step", "epoch") if event.get("event") in ("tick", "epoch") else ("step",)
    layers = event.setdefault("layers", [])
    rows = isinstance(layers, list) and all(isinstance(r, dict) and isinstance(r.get("layer"), int) for r in layers)
    return rows and all(isinstance(event.get(key), int | float) for key in needs)


def accuracies(story: Story, readouts: list[str]) -> dict[int, float]:
    """{epoch: validation accuracy} by the first of these read-outs that a run has, or else its best."""
    out = {}
    for event in story.epochs:
        told = event.get("validation")
        told = {k: v for k, v in told.items() if is_share(v)} if isinstance(told, dict) else {}
        if told:
            out[event["epoch"]] = next((told[name] for name in readouts if name in told), max(told.values()))
    return out


def dead(story: Story) -> dict[int, dict[int, float]]:
    """{layer: {epoch: share of dead units}}"""
    out: dict[int, dict[int, float]] = {}
    for event in story.epochs:
        for row in event.get("layers", []):
            if is_share(row.get("dead")):
                out.setdefault(row["layer"], {})[event["epoch"]] = row["dead"]
    return out


def is_share(value: Any) -> bool:
    """A number within [0, 1]? An imported run may hold anything."""
    return isinstance(value, int | float) and 0 <= value <= 1


def _kept(events: list[dict]) -> list[dict]:
    """At most half of the events once they are too many, the highest and lowest of their `_figures` among them."""
    if len(events) <= KEPT:
        return events
    told = [_figures(event) for event in events]
    row = {name: i for i, name in enumerate(dict.fromkeys(itertools.chain(*told)))}
    lines = np.full((len(row), len(events)), np.nan)
    for i, figures in enumerate(told):
        lines[[row[name] for name in figures], i] = list(figures.values())
    steps = np.array([event["step"] for event in events], float)
    return [events[i] for i in charts.thin(lines, len(events) // 2, steps)]


def _figures(event: dict) -> dict[tuple, float]:
    """The numbers of a tick or an epoch by which its like are chosen."""
    told = {("loss",): event.get("loss")}
    if isinstance(event.get("validation"), dict):
        told |= {("validation", name): value for name, value in event["validation"].items()}
    for row in event["layers"]:
        told |= {(row["layer"], key): row.get(key) for key in ("gap", "dead", "validation_accuracy")}
    return {name: value for name, value in told.items() if isinstance(value, int | float)}


class _Reader:
    def __init__(self, run: Run):
        self._run, self._story, self._offset, self._lock = run, Story(), 0, threading.Lock()
        self._looked: dict[str, float] = {}  # when each viewer did

    def read(self) -> Story:
        """The story up to now; the caller may keep it, later events go into another."""
        with self._lock:
            events, offset = self._run.events(self._offset)
            if offset < self._offset:  # a resume has cut the file back
                self._story = Story()
                events, offset = self._run.events(0)
            self._offset = offset
            for event in events:
                self._story.take(event)
            return self._story.copy()

    def viewers(self, who: str) -> int:
        """How many there are, the one that asks among them."""
        with self._lock:
            now = time.monotonic()
            self._looked = {one: when for one, when in self._looked.items() if now - when < GONE} | {who: now}
            return len(self._looked)


@st.cache_resource(max_entries=32, show_spinner=False)
def _reader(directory: str) -> _Reader:
    return _Reader(Run(directory))


def story(run: Run) -> Story:
    """All that the run's event file says, at the price of its new lines only."""
    return _reader(str(run.dir)).read()


def viewers(run: Run) -> int:
    """How many sessions of this server watch the run, this one among them."""
    return _reader(str(run.dir)).viewers(st.session_state.setdefault("viewer", uuid.uuid4().hex))


def pace(status: dict[str, Any], viewers: int) -> float:
    """Seconds between looks: below 1 at first, up to 10 for a run that takes hours, or for a class that watches together."""
    return min(10.0, max(0.7, (status["train_seconds"] or 0) / 600, 0.12 * viewers))


@st.cache_data(max_entries=64, show_spinner=False)
def _snapshot(directory: str, epoch: int, stamp: float) -> dict:
    return Run(directory).snapshot(epoch)


def _stored(run: Run, epoch: int) -> dict:
    return _snapshot(str(run.dir), epoch, (run.dir / "snapshots" / f"epoch-{epoch:04d}.npz").stat().st_mtime)


def snapshot(run: Run, epoch: int) -> dict | None:
    """A snapshot's arrays, or None if it is damaged; kept in memory: only a resumed run writes an epoch's file again."""
    return _try(_stored, run, epoch)[0]


def samples(run: Run) -> dict | None:
    """The fixed test samples, or None before the start or if they are damaged."""
    return _try(run.samples)[0]


def evaluation(run: Run) -> dict | None:
    """Confusions and worst errors, or None before the evaluation or if they are damaged."""
    return _try(run.evaluation)[0]


def showable(run: Run) -> bool:
    """Are there samples, and a newest snapshot of what the net makes of them?"""
    epochs, kept = run.snapshots(), samples(run)
    newest = snapshot(run, epochs[-1]) if epochs else None
    if not kept or not newest:
        return False
    table = newest.get("goodness", newest.get("scores"))
    n, classes = len(kept.get("labels", ())), len(run.config.get("facts", {}).get("classes", ()))
    return table is not None and table.shape[:2] == (n, classes) and bool((kept["labels"] < classes).all())


def damage(run: Run) -> str | None:
    """What of the pages' arrays cannot be read, in one line, or None."""
    newest = [(_stored, run, epoch) for epoch in run.snapshots()[-1:]]
    found = [_try(*reading)[1] for reading in ((run.samples,), *newest, (run.evaluation,))]
    return " · ".join(why for why in found if why) or None


def _try(read: Callable[..., dict | None], *args: Any) -> tuple[dict | None, str | None]:
    """(the arrays, None), or (None, why they cannot be read)."""
    try:
        return read(*args), None
    except Refused as error:
        return None, str(error)
