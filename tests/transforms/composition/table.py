"""Every transform as an operator from functions of trees to functions of trees."""

from tests.transforms.composition import calls, derivatives  # noqa: F401 - they register
from tests.transforms.composition.base import OPERATORS, REASONS, Operator

__all__ = ["OPERATORS", "REASONS", "Operator"]
