"""Datasets as uint8 tensors that rest on the device: public, embedded or a user's own. Importing it loads no torch."""

from ffcore.data.access import DataSettings, data_root, ensure, load, present
from ffcore.data.own import read_image, read_own
from ffcore.data.sets import DATASETS, Data, Split

__all__ = [
    "DATASETS",
    "Data",
    "DataSettings",
    "Split",
    "data_root",
    "ensure",
    "load",
    "present",
    "read_image",
    "read_own",
]
