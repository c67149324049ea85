"""What an operator is, and what their definitions share.

Each operator's effect on ``phi`` is a polynomial of `rows`, linear in the function, so that any
composition has an answer in closed form. A transform with options that change its way of working
is several operators.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tests.transforms.composition.rows import (
    IDENTITY,
    TWICE,
    D,
    Polynomial,
    Row,
    is_moving,
    plus,
    shifted,
    times,
)

Function = Callable[[Any], Any]
HALF: Polynomial = {(0, 0): 0.5}
VALUE_AND_D = plus(IDENTITY, D)
DD = times(D, D)
D_TWICE = times(D, TWICE)
# Larger than any slope in the grid: the norm of slope + OFFSET is linear in the slope.
OFFSET = 16.0


@dataclass(frozen=True)
class Operator:
    """A transform, or several, from functions to functions.

    Attributes:
        name: of the operator.
        kind: those of a kind do their work in the same way.
        transforms: the public names that it tests.
        apply: ``(row, function) -> function``.
        effect: on ``phi``.
        real_only: whether it is defined for real functions only.
        first: ``"forward"`` or ``"reverse"``, whichever derivative the function meets first, if any.
    """

    name: str
    kind: str
    transforms: tuple[str, ...]
    apply: Callable[[Row, Function], Function]
    effect: Polynomial
    real_only: bool
    first: str | None

    def __str__(self) -> str:
        return self.name


OPERATORS: dict[str, Operator] = {}

# Public names that are no operators.
REASONS = {
    "Blame": "a record",
    "Ensemble": "a record",
    "Lanczos": "a record",
    "Site": "a record",
    "check_grads": "returns nothing: it compares a function's derivatives at concrete numbers",
    "compilation_cache": "a setting of the process",
    "gradient_penalty": "draws points between two batches: tests/transforms/per_example has its derivatives",
    "keep_memory": "a setting of the process",
}


def operator(kind: str, effect: Polynomial, *transforms: str, real_only=False, first=None):
    """Register an operator; ``first`` is the kind of derivative that the function meets first."""

    def register(apply):
        name = apply.__name__
        OPERATORS[name] = Operator(name, kind, transforms, apply, effect, real_only, first)
        return apply

    return register


def line(row: Row, f: Function, tree) -> Callable[[Any], Any]:
    """Return ``phi``: the function along the direction."""
    return lambda by: f(shifted(row, tree, by))


def twin(f: Function):
    """Return the function with its value as an auxiliary output too."""

    def with_aux(*args):
        value = f(*args)
        return value, {"value": value, "count": 3}

    return with_aux


def zeros(tree):
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if is_moving(leaf) else None, tree)


def cheap_key():
    return jax.random.key(0, impl="unsafe_rbg")


def row_dtype(row):
    return jnp.result_type(complex if row.is_complex else float)
