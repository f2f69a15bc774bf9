"""Lessons: predict, run, reveal, question. The whole state lives in the address, so a teacher can send a link to a step."""

import streamlit as st
import widgets
from components import plotly_loader
from lessons import LESSONS, STEPS
from lessons.base import Lesson


def index() -> None:
    st.markdown(
        "About ten minutes each: say what you expect, make it happen, see what was measured, and think on. No data, no network "
        "and no earlier knowledge of the dashboard are needed; the order is that of a course."
    )
    cards = st.grid("auto", min_column_width=300)
    for number, lesson in enumerate(LESSONS.values(), 1):
        with cards.cell().container(border=True, height="stretch"):
            st.markdown(f"**{number} · {lesson.title}**")
            st.markdown(lesson.teaser)
            st.caption(f"About {lesson.minutes} minutes")
            st.button(
                "Begin", key=f"begin.{lesson.name}", icon=":material/arrow_forward:", on_click=go, args=(lesson, "predict")
            )


def go(lesson: Lesson, step: str) -> None:
    st.query_params["lesson"] = lesson.name
    st.session_state[f"step.{lesson.name}"] = step
    st.query_params["step"] = step


def leave() -> None:
    for key in ("lesson", "step", "answer"):
        st.query_params.pop(key, None)


def predicted(lesson: Lesson) -> str | None:
    """The option that the address holds, or None."""
    answer = st.query_params.get("answer")
    if answer is not None and answer not in lesson.options:
        st.warning(f"The address holds the answer {widgets.quote(answer)}, which is none of this lesson's.")
        st.query_params.pop("answer")
        return None
    return answer


def remember(key: str) -> None:
    st.query_params["answer"] = st.session_state[key]


def predict(lesson: Lesson) -> None:
    st.markdown(f"**{lesson.predict}**")
    key, names, answer = f"answer.{lesson.name}", list(lesson.options), predicted(lesson)
    st.session_state.setdefault(key, answer)
    st.radio(
        "What do you expect?", names, index=None, format_func=lambda name: lesson.options[name],
        key=key, on_change=remember, args=(key,),
    )  # fmt: skip
    st.caption(
        "Nobody marks it. A guess that you have made is what makes the answer stay."
        if not answer
        else "Kept. See what happens."
    )


def reveal(lesson: Lesson) -> None:
    answer = predicted(lesson)
    found = None
    with widgets.told_if_broken("The stored numbers of this lesson"):
        found = lesson.facts()
    if found is None:
        st.info(lesson.missing, icon=":material/info:")
        return
    with widgets.told_if_broken("The stored numbers of this lesson"):
        held = lesson.held(found)
        what = f"What was measured: **{lesson.options[held]}**" if held else "What is stored here does not decide it yet"
        said = "." if not answer else ", as you expected." if answer == held else f". You expected: {lesson.options[answer]}."
        st.markdown(what + said)
        lesson.draw(found)
        st.markdown(lesson.why(found))
        st.caption(f"Source: {lesson.source}")


def question(lesson: Lesson) -> None:
    st.markdown(f"**{lesson.ask}**")
    with st.expander("One possible answer", icon=":material/lightbulb:"):
        st.markdown(lesson.sample)
    label, view, query = lesson.onward
    with st.container(horizontal=True):
        if st.button(label, type="primary", icon=":material/explore:", key="onward"):
            st.switch_page(view, query_params={**query, "lesson": lesson.name})
        names = list(LESSONS)
        if lesson.name != names[-1]:
            following = LESSONS[names[names.index(lesson.name) + 1]]
            st.button(
                f"Next lesson: {following.title}",
                icon=":material/arrow_forward:",
                key="following",
                on_click=follow,
                args=(following,),
            )


def follow(lesson: Lesson) -> None:
    leave()
    go(lesson, "predict")


def show(lesson: Lesson) -> None:
    st.button("All lessons", icon=":material/arrow_back:", key="all_lessons", on_click=leave)
    st.header(lesson.title)
    step = widgets.choose(
        st.segmented_control,
        "Step",
        "step",
        STEPS,
        "predict",
        f"step.{lesson.name}",
        required=True,
        label_visibility="collapsed",
    )
    with st.container(border=True, key="lesson_step"):
        match step:
            case "predict":
                predict(lesson)
            case "run":
                with widgets.told_if_broken("This step"):
                    lesson.run()
            case "reveal":
                reveal(lesson)
            case _:
                question(lesson)
    steps = list(STEPS)
    if step != steps[-1]:
        after = steps[steps.index(step) + 1]
        st.button(
            f"On to: {STEPS[after]}",
            type="primary",
            icon=":material/arrow_forward:",
            key="on",
            on_click=go,
            args=(lesson, after),
        )


st.title("Lessons")
plotly_loader()
asked = st.query_params.get("lesson")
if asked is not None and asked not in LESSONS:
    st.warning(f"The address asks for lesson {widgets.quote(asked)}; there is {', '.join(LESSONS)}.")
chosen = LESSONS.get(asked or "")
if chosen:
    show(chosen)
else:
    index()
widgets.share(lacks="where its sliders stand")
widgets.explain(
    """
**Predict** before you look: one question, a few answers, none of them silly. **Run**: make it happen with a slider, a button
or a training of some seconds. **Reveal**: what was measured, by whom and how often; its figures are read from stored runs and
studies at this moment. **Question**: one to think about, with a possible answer to unfold.

The address holds lesson, step and prediction: copy it to go on elsewhere, or to send somebody to this very step.
"""
)
