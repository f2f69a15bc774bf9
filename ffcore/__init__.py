"""Forward-Forward learning (Hinton 2022): models, negatives, runs. Names load what they need when first used."""

import importlib
import os

# Before torch loads: OpenMP threads that spin while idle slow whoever trains beside. Two trainings on two cores take
# about twice the time of one with 2000 turns, five times with 10000; with none, one alone takes 1.4 times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# Before CUDA is used: with workspaces of one size, products come out the same on every run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

__version__ = "0.1.0"

_IN = {  # module → its public names
    "jobs": "train submit keep_images resume requeue pause stop position estimate",
    "trained": "load evaluate summary Trained",
    "runs": "find list_runs delete discard discarded restore purge annotate export import_zip Run runs_root bundled_root",
    "config": "configure parse_settings parse_grid",
    "rundir": "command asked set_words",
    "serve": "app",
    "benchmarks": "bench",
    "catalogue": "examples doctor",
    "studies": "study study_negatives study_remedies study_transfer",
    "analyses": "probe finetune analyse Finding find_analysis submit_analysis stored_analyses similarity embed health",
    "lifetimes": "unit_history objective_in_words evidence_in_words what_if",
    "replays": "frames answers",
    "comparison": "groups differing headline transferred row_of compare course histograms probed sound_rows stored_studies "
    "properties PROPERTIES",
    "pictures": "generate",
    "probes": "linear unconverged",
    "worker": "places",
    "reading": "read",
    "heldout": "held_out_here",
    "cards": "card",
    "errors": "Refused Failed",
    "files": "read_only",
}
_WHERE = {name: module for module, names in _IN.items() for name in names.split()}

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
