"""How each operation of JAX is written in ONNX so that ONNX Runtime computes the same, family by family."""

from funcnet.export.onnx.translation import Rule
from funcnet.export.operators.arithmetic import ARITHMETIC
from funcnet.export.operators.conversions import CONVERSIONS
from funcnet.export.operators.functions import FUNCTIONS
from funcnet.export.operators.convolution import CONVOLUTION
from funcnet.export.operators.indexing import INDEXING
from funcnet.export.operators.order import ORDER
from funcnet.export.operators.windows import WINDOWS
from funcnet.export.operators.logic import LOGIC
from funcnet.export.operators.products import PRODUCTS
from funcnet.export.operators.reductions import REDUCTIONS
from funcnet.export.operators.shapes import SHAPES
from funcnet.export.operators.slices import SLICES

__all__ = ["RULES"]

RULES: dict[str, Rule] = {
    **ARITHMETIC,
    **CONVERSIONS,
    **FUNCTIONS,
    **CONVOLUTION,
    **INDEXING,
    **ORDER,
    **WINDOWS,
    **LOGIC,
    **PRODUCTS,
    **REDUCTIONS,
    **SHAPES,
    **SLICES,
}
"""By the kind of an operation: what adds its nodes to a graph, and returns the values of its results."""
