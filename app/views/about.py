"""About: versions, machine, data and where they come from, what this cannot do, and how to cite it."""

import importlib.metadata as metadata
import os
import platform
import sys
from pathlib import Path

import pandas as pd
import psutil
import streamlit as st
import widgets

import ffcore
from ffcore import catalogue

PACKAGES = ("torch", "torchvision", "numpy", "streamlit", "plotly")
HERE = Path(__file__).absolute().parents[1]
LIMITS = """
- **One machine, one owner.** There are no accounts. Whoever reaches this server sees every run and, unless it is read-only, may
  start, pause and delete them.
- **Settings were chosen on MNIST**, by its validation split. On other data they are a start, not the best there is.
- **Few random seeds.** Most figures are means of three, some of one; pages say which. A difference below its interval is none.
- **Small nets on small images.** Colour images and convolutions run, but nothing was tuned for them; `conv_ff` stays below the
  fully connected net.
- **The gap objective knows no “none of these”.** Whether something is a digit at all is told by comparison with validation
  images only.
- **Bundled nets are stored in half precision.** Their accuracy was measured with these weights.
- **The same run twice gives the same weights** on the same machine with the same versions; elsewhere the last digits differ.
- **Seconds and images per second** are those of the machine and the hour they were measured in.
- **A plug-in is code** that is executed with all that you may do. None ever comes out of an imported zip.
"""


def version(package: str) -> str:
    """What is installed, read off its metadata: nothing is imported for it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def machine() -> list[tuple[str, str]]:
    """(what, how much) of this machine, told without torch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    places = ffcore.places()
    return [
        ("processor", f"{platform.processor() or platform.machine()}, {cores} cores for this server"),
        ("memory", f"{psutil.virtual_memory().total / 2**30:.1f} GiB"),
        ("runs at once on the processors", f"{places}: one for every two cores; the others wait in the queue"),
        ("runs folder", str(ffcore.runs_root())),
        ("data folder", str(ffcore.data.data_root())),
        ("read-only", "yes" if ffcore.read_only() else "no"),
    ]


def table(rows: list[tuple[str, str]], head: str) -> str:
    return f"| {head} |\n|---|---|\n" + "\n".join(f"| {name} | {widgets.plain(value)} |" for name, value in rows)


st.title("About")
st.markdown(
    "**Forward-Forward Explorer** shows nets that learn without backpropagation, layer by layer, and measures what they learn. "
    "It is a Python library (`ffcore`), a command line and this dashboard. MIT licence."
)
left, right = st.columns(2, gap="medium")
with left.container(border=True):
    st.markdown("**Versions**")
    st.markdown(
        table(
            [("ffcore", ffcore.__version__), ("Python", platform.python_version()), *((p, version(p)) for p in PACKAGES)],
            "package | version",
        )
    )
with right.container(border=True):
    st.markdown("**This machine**")
    st.markdown(table(machine(), "what | here"))
    if "torch" in sys.modules or st.button("Look for a GPU, and check all", icon=":material/troubleshoot:", key="doctor"):
        with widgets.told_if_broken("The check"), st.spinner("Looking …"):
            widgets.settle_torch()
            checks = catalogue.doctor()
            device = next(check["detail"] for check in checks if check["name"] == "device")
            st.markdown(f"Device: **{widgets.plain(device)}**")
            wrong = [check for check in checks if not check["ok"]]
            for check in wrong:
                st.error(f"{check['name']}: {widgets.plain(check['detail'])}", icon=":material/error:")
            if not wrong:
                st.caption(f"All {len(checks)} checks of `ffcore doctor` are passed.")

st.header("Data")
rows = [
    {
        "name": entry["name"], "here": entry["present"], "what and whose": entry["provenance"], "licence": entry["licence"],
        "images": sum(entry["sizes"].values()),
    }
    for entry in sorted(catalogue.datasets(), key=lambda entry: (not entry["present"], entry["name"]))
]  # fmt: skip
sets = pd.DataFrame(rows)
columns = {
    "here": st.column_config.CheckboxColumn("here", help="can be used without a download"),
    "what and whose": st.column_config.TextColumn("what and whose", width="large"),
}
st.dataframe(sets, hide_index=True, column_config=columns, alt="data sets with their provenance and licence", height="content")
st.download_button("Data sets as CSV", sets.to_csv(index=False), "datasets.csv", "text/csv", icon=":material/download:")
st.caption(
    "What lies here is used; what does not is downloaded only when a run asks for it by name. **Nothing else goes over the "
    "network**: no usage statistics, no fonts, no scripts from elsewhere; the whole dashboard works offline. One exception is "
    "Streamlit's own: of a browser that comes by a host name which is not this machine's, it asks a service for the machine's "
    "address on the internet; behind a proxy set up as on For teachers it does not."
)

st.header("Known limits")
st.markdown(LIMITS)

st.header("How to cite")
citation = next((file for folder in (HERE, HERE.parent) if (file := folder / "CITATION.cff").is_file()), None)
st.markdown(
    "Cite the software by its `CITATION.cff`, and the papers whose ideas you use: every model and strategy names its own on "
    "Variants and Negatives, and the command line prints them."
)
if citation:
    with st.expander("CITATION.cff", icon=":material/format_quote:"):
        text = citation.read_text("utf-8")
        st.code(text, language="yaml")
        st.download_button("Download", text, "CITATION.cff", icon=":material/download:")
widgets.share(
    "ffcore doctor", "import ffcore\nffcore.doctor()  # versions, device, data, write access\nffcore.catalogue.datasets()"
)
widgets.explain(
    """
Versions are read off the installed packages. *Cores* counts the processors that this server may use, which may be fewer than
the machine has. A data set that is *here* lies in the data folder or comes with the package; its licence is what its own page
or its distributors state.
"""
)
