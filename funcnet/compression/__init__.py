"""Smaller models: pruning, quantization, and what they cost, as functions of a model and its arrays."""

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
from funcnet.compression.quantization.calibrate import calibrate
from funcnet.compression.quantization.convert import convert
from funcnet.compression.quantization.dynamic import quantize_dynamic
from funcnet.compression.quantization.fake import FakeQuantized, fake_quantize
from funcnet.compression.quantization.float8 import Float8Layer, float8
from funcnet.compression.quantization.integer import IntegerLayer, RoundedInput
from funcnet.compression.quantization.quantize import dequantize, quantize, quantized
from funcnet.compression.quantization.quantized import Quantized, QuantizedArray
from funcnet.compression.quantization.ranges import Activations, InputRange
from funcnet.compression.quantization.report import (
    Costs,
    LayerCost,
    quantization_report,
    sensitivity,
)
from funcnet.compression.quantization.schemes import NF4, Int4, Int8, Scheme
from funcnet.core.torch_hints import package_attributes

__all__ = [
    "Activations",
    "Costs",
    "FakeQuantized",
    "Float8Layer",
    "InputRange",
    "Int4",
    "Int8",
    "IntegerLayer",
    "LayerCost",
    "NF4",
    "Quantized",
    "QuantizedArray",
    "RoundedInput",
    "Scheme",
    "Shrunk",
    "Sparsity",
    "SparsityRow",
    "apply_masks",
    "calibrate",
    "combine_masks",
    "convert",
    "dequantize",
    "fake_quantize",
    "float8",
    "gradual",
    "magnitude_masks",
    "masks_of_zeros",
    "quantization_report",
    "quantize",
    "quantize_dynamic",
    "quantized",
    "random_masks",
    "sensitivity",
    "shrink",
    "sparsity",
    "split_pruned",
    "structured_masks",
    "unit_masks",
    "whole_units",
]

__getattr__, __dir__ = package_attributes(__name__, __all__)
