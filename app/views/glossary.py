"""Glossary: the words of this field, each in a sentence or two, with the page where it is seen."""

import streamlit as st
import widgets
from glossary import PAGES, TERMS

st.title("Glossary")
text = st.text_input(
    "Find", type="search", placeholder="goodness, dead, probe …", icon=":material/search:", key="find", bind="query-params"
)
asked = st.query_params.get("term")
named = next((term for term in TERMS if term.anchor == asked), None)
if asked is not None and not named:
    st.warning(f"The address asks for the term {widgets.quote(asked)}, which is not in the glossary.")
wanted = text.strip().lower()
found = [term for term in TERMS if wanted in f"{term.word} {term.text}".lower() and term != named]
if named:
    found.insert(0, named)
if not found:
    st.info(f"No term holds {widgets.quote(text)}; there are {len(TERMS)} of them.")
for term in found:
    with st.container(border=term == named, gap="xxsmall"):
        st.markdown(f"**{term.word}** {term.text}" if term.word[-1] in "?!" else f"**{term.word}.** {term.text}")
        formula = f"`{term.formula}` · " if term.formula else ""
        source = f"{term.source[0].upper()}{term.source[1:]} · " if term.source else ""
        address = "./" if term.page == "start" else term.page
        st.caption(f"{formula}{source}seen on [{PAGES[term.page]}]({address}) · [link](glossary?term={term.anchor})")
widgets.share(python="import ffcore\nffcore.catalogue.models('ff')[0]['settings']  # every setting explains itself")
widgets.explain(
    """
Every word that the dashboard uses in a sense of its own, in alphabetical order, with the formula where it is short and the
paper it comes from. `?term=` in the address puts one on top: other pages, and your own notes, can link to it.
"""
)
