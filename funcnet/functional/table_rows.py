"""Rows of a table: looked up, limited in norm, and with the gradients that an embedding's options ask for."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.distance import vector_norm

__all__ = ["limit_norms", "look_up_rows", "rows_with_options"]


def look_up_rows(weight: Array, index: Array) -> Array:
    """Return the rows of a table; NaN for those outside of it. The gradient is a sum in 32 bits at least.

    >>> look_up_rows(jnp.ones((3, 2)), jnp.array([0, 5])).tolist()
    [[1.0, 1.0], [nan, nan]]
    """
    floating = jnp.issubdtype(weight.dtype, jnp.inexact)
    narrow = floating and weight.dtype != at_least_float32(weight.dtype)
    return _narrow_rows(weight, index) if narrow else _rows(weight, index)


def _rows(weight: Array, index: Array) -> Array:
    missing = jnp.nan if jnp.issubdtype(weight.dtype, jnp.inexact) else None
    return weight.at[index].get(mode="fill", fill_value=missing, wrap_negative_indices=False)


@jax.custom_jvp
def _narrow_rows(weight: Array, index: Array) -> Array:
    """Look rows of 16-bit floats up; the gradient, a sum over all that look a row up, is added in 32 bits."""
    return _rows(weight, index)


@_narrow_rows.defjvp
def _narrow_rows_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    weight, index = primals
    wide = tangents[0].astype(at_least_float32(weight.dtype))
    return _narrow_rows(weight, index), _rows(wide, index).astype(weight.dtype)


def limit_norms(rows: Array, max_norm: float, norm_type: float) -> Array:
    """Scale rows of a larger norm down to it.

    >>> limit_norms(jnp.array([[3.0, 4.0], [0.0, 0.0]]), 1.0, 2.0).round(3).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    wide = rows.astype(at_least_float32(rows.dtype))
    norms = vector_norm(wide, norm_type, keepdims=True)
    scale = jnp.where(norms > max_norm, max_norm / (norms + 1e-7), jnp.ones((), norms.dtype))
    return (wide * scale.astype(wide.dtype)).astype(rows.dtype)


@jax.custom_jvp
def _with_gradient(rows: Array, values: Array, scale: Array) -> Array:
    """Return the values; their gradient goes to the rows, times the scale."""
    return values


@_with_gradient.defjvp
def _with_gradient_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    _, values, scale = primals
    return values, (tangents[0].astype(scale.dtype) * scale).astype(values.dtype)


def rows_with_options(
    rows: Array,
    index: Array,
    table_size: int,
    padding_idx: int | None,
    max_norm: float | None,
    norm_type: float,
    by_frequency: bool,
) -> Array:
    """Give looked-up rows their values and gradients for the options of an embedding."""
    if padding_idx is None and max_norm is None and not by_frequency:
        return rows
    values = rows
    if max_norm is not None:
        values = limit_norms(jax.lax.stop_gradient(rows), max_norm, norm_type)
    wide = at_least_float32(rows.dtype)
    scale = jnp.ones((), wide)
    if by_frequency:
        count = jnp.zeros(table_size, jnp.int32).at[index].add(1)
        scale = 1 / jnp.maximum(count[index], 1).astype(wide)
    if padding_idx is not None:
        scale = jnp.where(index == padding_idx, jnp.zeros((), wide), scale)
    return _with_gradient(rows, values, scale[..., None])
