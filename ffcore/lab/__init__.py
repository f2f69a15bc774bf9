"""Questions that can be asked of finished runs: name → class. A new file in this folder is found by its name."""

from ffcore.registry import Registry

ANALYSES = Registry("analysis", "ffcore.lab", "Analysis")
