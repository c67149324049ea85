"""Every transform as an operator from functions of trees to functions of trees."""

from tests.transforms import operators_calls, operators_derivatives  # noqa: F401 - they register
from tests.transforms.operator_base import OPERATORS, REASONS, Operator

__all__ = ["OPERATORS", "REASONS", "Operator"]
