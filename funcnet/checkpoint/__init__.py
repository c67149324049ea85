"""Saving and loading: safetensors plus JSON, atomic, readable by PyTorch."""

from funcnet.checkpoint.arrays import load_arrays, load_metadata, save_arrays
from funcnet.checkpoint.files.formats import open_arrays
from funcnet.checkpoint.weights import load_weights, save_weights

__all__ = [
    "load_arrays",
    "load_metadata",
    "load_weights",
    "open_arrays",
    "save_arrays",
    "save_weights",
]
