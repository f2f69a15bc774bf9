"""Copies the page's address, which holds the whole view."""

import streamlit as st

_link = st.components.v2.component(
    "copy_link",
    html="""<div><button type='button'>Copy link to this view</button>
      <input readonly aria-label='address of this view' hidden></div>""",
    js="""export default function ({ parentElement }) {
  const [button, field] = ["button", "input"].map((name) => parentElement.querySelector(name));
  button.onclick = async () => {
    field.value = location.href;
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy link to this view"), 1500);
    } catch { // no clipboard on a plain http address: shown, to be copied by hand
      field.hidden = false;
      field.select();
    }
  };
}
""",
    css="""button, input {font: inherit; padding: 0.35rem 0.75rem; border-radius: var(--st-base-radius);
  border: 1px solid var(--st-border-color); background: var(--st-background-color); color: var(--st-text-color)}
button {cursor: pointer} button:hover {border-color: var(--st-primary-color); color: var(--st-link-color)}
input {width: 100%; margin-top: 0.5rem; box-sizing: border-box} input[hidden] {display: none}
""",
)


def copy_link() -> None:
    """A button that puts the address of this view on the clipboard."""
    _link(key="copy_link", height="content")
