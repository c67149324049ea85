"""How each operation of JAX is written in ONNX so that ONNX Runtime computes the same, family by family."""

from funcnet.export.onnx.translation import OperationRule
from funcnet.export.operators.arithmetic import ARITHMETIC
from funcnet.export.operators.conversions import CONVERSIONS
from funcnet.export.operators.functions import FUNCTIONS
from funcnet.export.operators.indexing import INDEXING
from funcnet.export.operators.kernels import unless_empty
from funcnet.export.operators.logic import LOGIC
from funcnet.export.operators.order import ORDER
from funcnet.export.operators.products import PRODUCTS
from funcnet.export.operators.reductions import REDUCTIONS
from funcnet.export.operators.shapes import SHAPES
from funcnet.export.operators.slices import SLICES
from funcnet.export.operators.threefry import THREEFRY, without_keys

__all__ = ["RULES"]

_FAMILIES = (
    ARITHMETIC,
    CONVERSIONS,
    FUNCTIONS,
    INDEXING,
    LOGIC,
    ORDER,
    PRODUCTS,
    REDUCTIONS,
    SHAPES,
    SLICES,
    THREEFRY,
)

RULES: dict[str, OperationRule] = {
    kind: without_keys(kind, unless_empty(rule))
    for family in _FAMILIES
    for kind, rule in family.items()
}
"""By the kind of an operation: what adds its nodes to a graph, and returns the values of its results."""
