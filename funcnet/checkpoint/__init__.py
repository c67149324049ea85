"""Saving and loading: safetensors plus JSON, atomic, readable by PyTorch."""

from funcnet.checkpoint.arrays import load_arrays, load_metadata, save_arrays
from funcnet.checkpoint.files.formats import open_arrays
from funcnet.checkpoint.runs.checkpointer import Checkpointer
from funcnet.checkpoint.runs.saved import Saved
from funcnet.checkpoint.trees.one_file import load, save
from funcnet.checkpoint.weights import load_weights, save_weights

__all__ = [
    "Checkpointer",
    "Saved",
    "load",
    "load_arrays",
    "load_metadata",
    "load_weights",
    "open_arrays",
    "save",
    "save_arrays",
    "save_weights",
]
