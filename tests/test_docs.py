"""The README and docs/ say what the registries, bundled runs and studies say."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_generated_table_is_in_step(tables):
    texts = {file.name: file.read_text("utf-8") for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
    assert {name for name, text in texts.items() if tables.filled(text) != text} == set(), "run `make tables`"
    assert sum(text.count("<!-- table: ") for text in texts.values()) >= 2


def test_every_figure_of_the_short_table_has_been_measured(tables):
    """A new measurement that lacks a row would show a dash in README."""
    told = [{row["name"] for row in tables._results(machine)} for machine in ("cpu2", "h100")]
    for places in tables.SHORT.values():
        assert all(place in rows for place, rows in zip(places, told, strict=True) if place)


def test_a_typed_figure_is_noticed(tables):
    text = tables.filled("<!-- table: negatives -->\n<!-- end -->\n")
    assert text.count("\n") > 15
    changed = text.replace("96.99", "97.99")
    assert changed != text
    assert tables.filled(changed) == text
