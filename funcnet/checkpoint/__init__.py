"""Saving and loading.

- any tree: `save`, `load`; the steps of a run: `Checkpointer`, `Saved`
- a model's weights, under PyTorch's names: `save_weights`, `load_weights`
- named arrays: `save_arrays`, `load_arrays`, `open_arrays`, `load_metadata`
- whatever else a file of ``torch.save`` holds: `load_pytorch`, `save_pytorch`
"""

from funcnet.checkpoint.arrays import load_arrays, load_metadata, save_arrays
from funcnet.checkpoint.files.formats import open_arrays
from funcnet.checkpoint.files.pytorch_file import load_pytorch
from funcnet.checkpoint.files.pytorch_writer import save_pytorch
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
    "load_pytorch",
    "load_weights",
    "open_arrays",
    "save",
    "save_arrays",
    "save_pytorch",
    "save_weights",
]
