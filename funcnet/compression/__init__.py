"""Smaller models: pruning, quantization, and what they cost, as functions of a model and its arrays."""

from typing import TYPE_CHECKING

from funcnet.compression.pruning.applied import (
    apply_masks,
    combine_masks,
    masks_of_zeros,
    split_pruned,
)
from funcnet.compression.pruning.gradual import gradual
from funcnet.compression.pruning.magnitude import magnitude_masks, random_masks
from funcnet.compression.pruning.shrink import Shrunk, shrink
from funcnet.compression.pruning.sparsity import Sparsity, SparsityRow, sparsity
from funcnet.compression.pruning.structured import structured_masks
from funcnet.compression.pruning.unit_masks import unit_masks, whole_units
from funcnet.core.torch_hints import package_attributes

__all__ = [
    "Shrunk",
    "Sparsity",
    "SparsityRow",
    "apply_masks",
    "combine_masks",
    "gradual",
    "magnitude_masks",
    "masks_of_zeros",
    "random_masks",
    "shrink",
    "sparsity",
    "split_pruned",
    "structured_masks",
    "unit_masks",
    "whole_units",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = package_attributes(__name__, __all__)
