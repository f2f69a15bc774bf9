"""What several pages do with runs: export one, put some into the trash, lead to Train for one like it."""

import tempfile
from pathlib import Path
from typing import Any

import streamlit as st

import ffcore
from ffcore import Run


def export_button(run: Run) -> None:
    """Saves a run as a zip."""
    st.download_button(
        "Export as zip", lambda: zipped(run), f"{run.id}.zip", "application/zip", on_click="ignore",
        icon=":material/download:", disabled=bool(run.problem),
    )  # fmt: skip


def zipped(run: Run) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{run.id}.zip"
        ffcore.export(run, file)
        return file.read_bytes()


def log(run: Run, lines: int) -> None:
    """The last lines that its process has said."""
    with st.expander("Log", icon=":material/terminal:"):
        file = run.dir / "log.txt"
        text = file.read_bytes()[-100 * lines :].decode("utf-8", "replace") if file.exists() else ""
        st.code("\n".join(text.splitlines()[-lines:]) or "nothing yet, or it came from elsewhere", language=None, height=300)


def discard(runs: list[Run]) -> None:
    """Into the trash, all that go; Runs tells it, with a way back: `st.session_state.discarded` and `refusals`."""
    gone, refused = [], []
    for run in runs:
        try:
            ffcore.discard(run)
        except (ffcore.Refused, ffcore.Failed) as error:
            refused.append(str(error))
        else:
            gone.append(run.dir.name)
    st.session_state.discarded, st.session_state.refusals = gone, refused
    if gone:
        st.query_params.pop("run", None)


def train_query(run: Run, seed: int, begin: int | None = None) -> dict[str, Any]:
    """The address of Train for a run like this one; with `begin`, for one that goes on from its weights of that epoch."""
    asked = ffcore.asked(run.config)
    branch = {} if begin is None else {"train.init_from": f"{run.id}@{begin}"}
    sets = ffcore.set_words({**asked.get("set", {}), **branch})
    names = {key: asked[key] for key in ("preset", "model", "negatives", "data") if key in asked}
    return {**names, "seed": str(seed), **({"set": sets} if sets else {})}
