"""Forward-Forward learning (Hinton 2022): models, negatives, runs. Names load what they need when first used."""

import importlib
import os

# Before torch loads: OpenMP threads that spin while idle slow whoever trains beside. Two trainings on two cores take
# about twice the time of one with 2000 turns, five times with 10000; with none, one alone takes 1.4 times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

__version__ = "0.1.0"

_WHERE = {
    "train": "jobs", "submit": "jobs", "resume": "jobs", "requeue": "jobs", "pause": "jobs", "stop": "jobs",
    "position": "jobs", "estimate": "jobs",
    "load": "trained", "evaluate": "trained", "summary": "trained", "Trained": "trained",
    "find": "runs", "list_runs": "runs", "delete": "runs", "export": "runs", "import_zip": "runs", "Run": "runs",
    "runs_root": "runs", "bundled_root": "runs", "configure": "config", "parse_settings": "config", "parse_grid": "config",
    "command": "rundir", "app": "serve",
    "examples": "catalogue", "doctor": "catalogue", "study": "studies", "study_negatives": "studies",
    "study_remedies": "studies", "health": "trained",
    "unit_history": "lifetimes", "objective_in_words": "lifetimes", "evidence_in_words": "lifetimes", "what_if": "lifetimes",
    "analyse": "analyses", "Finding": "analyses", "find_analysis": "analyses", "submit_analysis": "analyses",
    "stored_analyses": "analyses", "similarity": "analyses", "embed": "analyses", "groups": "comparison", "differing": "comparison", "headline": "comparison",
    "transferred": "comparison", "row_of": "comparison", "compare": "comparison", "probed": "comparison", "sound_rows": "comparison",
    "generate": "pictures",
    "stored_studies": "studies", "Refused": "errors", "Failed": "errors",
}  # fmt: skip

_MODULES = ("catalogue", "data", "runs")  # public as modules, too
__all__ = ["__version__", *_MODULES, *_WHERE]


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"ffcore.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'ffcore' has no attribute '{name}'")
    return getattr(importlib.import_module(f"ffcore.{_WHERE[name]}"), name)


def __dir__():
    return __all__
