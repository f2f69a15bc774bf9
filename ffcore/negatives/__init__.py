"""Negative strategies: one file each; a new file here is found by its name."""

from ffcore.registry import Registry

STRATEGIES = Registry("negative strategy", "ffcore.negatives", "Strategy")
