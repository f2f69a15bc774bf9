"""What a run has told so far: one reader per run for all viewers, which reads only what is new."""

import threading
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from ffcore import Run


@dataclass
class Story:
    """A run's events, sorted by kind, oldest first."""

    ticks: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    alarms: list[dict[str, Any]] = field(default_factory=list)


class _Reader:
    def __init__(self, run: Run):
        self._run, self._story, self._offset, self._lock = run, Story(), 0, threading.Lock()

    def read(self) -> Story:
        """The story up to now; the caller may keep it, later events go into another."""
        with self._lock:
            events, offset = self._run.events(self._offset)
            if offset < self._offset:  # a resume has cut the file back
                self._story = Story()
                events, offset = self._run.events(0)
            self._offset = offset
            for event in events:
                self._take(event)
            return Story(list(self._story.ticks), list(self._story.epochs), list(self._story.alarms))

    def _take(self, event: dict) -> None:
        story = self._story
        match event.get("event"):
            case "tick":
                story.ticks.append(event)
            case "epoch":
                story.epochs.append(event)
            case "alarm":
                story.alarms.append(event)
            case "start":  # what lies behind the point of resumption will be told again
                for part in (story.ticks, story.epochs, story.alarms):
                    part[:] = [e for e in part if e["step"] <= event["step"]]


@st.cache_resource(max_entries=32, show_spinner=False)
def _reader(directory: str) -> _Reader:
    return _Reader(Run(directory))


def story(run: Run) -> Story:
    """All that the run's event file says, at the price of its new lines only."""
    return _reader(str(run.dir)).read()


@st.cache_data(max_entries=64, show_spinner=False)
def _snapshot(directory: str, epoch: int, stamp: float) -> dict:
    return Run(directory).snapshot(epoch)


def snapshot(run: Run, epoch: int) -> dict:
    """A snapshot's arrays, kept in memory: an epoch's file changes only when a resumed run writes it again."""
    return _snapshot(str(run.dir), epoch, (run.dir / "snapshots" / f"epoch-{epoch:04d}.npz").stat().st_mtime)
