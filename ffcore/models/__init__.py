"""Models: one file each; `ff.py` is the rule, the others are its diffs. A new file here is found by its name."""

from ffcore.registry import Registry

MODELS = Registry("model", "ffcore.models", "Model")
