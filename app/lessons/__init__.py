"""The lessons, one file each, in the order of a course; and the slim bar that leads back to one from another page."""

from dataclasses import replace
from importlib import import_module

import streamlit as st
import widgets

import ffcore
from lessons.base import Lesson

ORDER = ("goodness", "negatives", "label_pixels", "shuffled", "threshold_gap", "transfer", "pcl", "backprop")
PAGES = {
    "start": "Start", "negatives": "Negatives", "train": "Train", "health": "Neuron health", "transfer": "Transfer",
    "replay": "Replay",
}  # fmt: skip
PARTS = {  # page → what `?hide=` may leave out of it
    "start": {"ways": "what to do with this net", "pages": "where to go from here"},
    "negatives": {"study": "the study"},
    "train": {"settings": "the settings"},
    "health": {"remedies": "what brings dead units back"},
    "transfer": {"study": "the study", "export": "what can be taken along"},
    "replay": {"race": "the race"},
}
LESSONS: dict[str, Lesson]
STEPS = {"predict": "1 Predict", "run": "2 Run", "reveal": "3 Reveal", "question": "4 Question"}


def __getattr__(name: str) -> dict[str, Lesson]:
    """LESSONS, {name: lesson}, made when first asked for: every page loads this module, and they load half of the library."""
    if name != "LESSONS":
        raise AttributeError(f"module 'lessons' has no attribute '{name}'")
    made = {name: replace(import_module(f"lessons.{name}").LESSON, name=name) for name in ORDER}
    return globals().setdefault("LESSONS", made)


def bar(page: str) -> None:
    """Above a page: the lesson that sent the reader here, what a link has hidden, and whether this server is read-only."""
    name, parts = st.query_params.get("lesson"), widgets.hidden_parts()
    lesson = __getattr__("LESSONS").get(name) if name and page != "lessons" else None
    if page != "lessons" and (lesson or parts):
        with st.container(horizontal=True, vertical_alignment="center", key="lesson_bar"):
            st.markdown(f"Lesson: **{lesson.title}**" if lesson else "A teacher's link", width="content")
            if lesson and st.button("Back to the lesson", icon=":material/arrow_back:", key="lesson_back"):
                step = st.query_params.get("step", "question")
                st.switch_page("views/lessons.py", query_params={"lesson": lesson.name, "step": step})
            if parts:
                st.button("Show all of this page", icon=":material/visibility:", key="show_all", on_click=_show_all)
    if ffcore.read_only():
        st.caption(":material/lock: Read-only: look at everything; nothing is started, changed or deleted on this server.")


def _show_all() -> None:
    st.query_params.pop("hide", None)
