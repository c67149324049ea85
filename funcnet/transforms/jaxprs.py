"""Traced functions, operation by operation: what a search or a rewrite of one shares."""

from collections.abc import Sequence
from typing import Any

from jax.extend import core

__all__ = ["called", "evaluate", "opened"]

# Operations that hold one jaxpr and mean nothing but a call of it.
CALLS = frozenset(
    {
        "checkpoint",
        "closed_call",
        "core_call",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "jit",
        "pjit",
        "remat",
        "remat2",
    }
)


def called(equation: Any) -> tuple[core.Jaxpr, Sequence[Any]] | None:
    """Return the jaxpr, and its constants, that an operation calls, if that is all that it does."""
    if equation.primitive.name not in CALLS:
        return None
    for value in equation.params.values():
        jaxpr, consts = opened(value)
        if isinstance(jaxpr, core.Jaxpr) and len(jaxpr.invars) == len(equation.invars):
            return jaxpr, consts
    return None


def opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """Return a jaxpr and its constants, of one that holds them and of one that has none."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def evaluate(equation: Any, operands: Sequence[Any]) -> list[Any]:
    """Run one operation as it stands."""
    primitive = equation.primitive
    outputs = primitive.bind(*operands, **primitive.get_bind_params(equation.params))
    return list(outputs) if primitive.multiple_results else [outputs]
