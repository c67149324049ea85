"""Linear maps along one axis whose transpose, and so their gradient, is a function of one's own.

The transpose that JAX derives of a gather is a scatter: slow, and on GPUs in no fixed order. A sum of elements at
fixed places has another one: each element of the gradient is a sum of the outputs that read it.
"""

from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.dtypes import is_float
from funcnet.functional.explicit_meshes import let_xla_place, varying_like
from funcnet.functional.windows import pad_axes

__all__ = ["elements_at_places", "linear_along_axis", "readers_of_places", "sums_at_places"]


def linear_along_axis(
    forward: Callable[[Array], Array],
    transpose: Callable[[Array], Array],
    input: Array,
    axis: int,
    size: int,
) -> Array:
    """Apply a linear map that changes an axis to a size; its transpose is the second function.

    JAX has one public linear operation with a transpose of one's own and rules for forward mode and `jax.vmap`:
    the solution of a square system. Here the system holds input and output side by side: ``(x, 0)`` becomes
    ``(x, forward(x))`` and, transposed, ``(0, y)`` becomes ``(transpose(y), y)``. XLA removes what is not read.

    >>> first = linear_along_axis(lambda x: x[:1], lambda y: jnp.pad(y, (0, 1)), jnp.array([3.0, 4.0]), 0, 1)
    >>> first.tolist()
    [3.0]
    """
    length = input.shape[axis]

    def solve(_: object, both: Array) -> Array:
        first = lax.slice_in_dim(both, 0, length, 1, axis)
        return lax.concatenate([first, forward(first)], axis)

    def solve_transposed(_: object, both: Array) -> Array:
        second = lax.slice_in_dim(both, length, length + size, 1, axis)
        return lax.concatenate([transpose(second), second], axis)

    both = pad_axes(input, [axis], [(0, size)])
    solution = lax.custom_linear_solve(lambda x: x, both, solve, solve_transposed)
    return lax.slice_in_dim(solution, length, length + size, 1, axis)


def readers_of_places(places: np.ndarray, size: int) -> np.ndarray:
    """Return for each element of an axis by which reads it is read, numbered row by row and filled up with -1.

    >>> readers_of_places(np.array([[0, 1], [1, -1]]), 3).tolist()
    [[0, -1], [1, 2], [-1, -1]]
    """
    reads = np.flatnonzero(places >= 0)
    place = places.reshape(-1)[reads]
    order = np.argsort(place, kind="stable")
    reads, place = reads[order], place[order]
    rank = np.arange(len(place)) - np.searchsorted(place, place)
    readers = np.full((size, int(rank.max(initial=0)) + 1), -1)
    readers[place, rank] = reads
    return readers


def sums_at_places(
    input: Array, places: np.ndarray, axis: int, weights: np.ndarray | None = None
) -> Array:
    """Sum elements of an axis at fixed places ``(outputs, reads)``, known before any data; -1 reads nothing.

    Nothing but what an output reads reaches it, NaN and infinity included, and so it is with the gradient.

    >>> sums_at_places(jnp.array([1.0, 2.0, 4.0]), np.array([[0, 1], [1, 2], [2, -1]]), 0).tolist()
    [3.0, 6.0, 4.0]
    """
    if weights is not None:
        weights = weights.astype(input.dtype)
    own = None if weights is None else varying_like(weights, input)
    read = partial(_read, places=places, weights=own, axis=axis)
    if not (is_float(input, complex=True) and places.size and input.size):
        return let_xla_place(read, input, kept=axis)
    readers = readers_of_places(places, input.shape[axis])
    outputs = np.where(readers < 0, -1, readers // places.shape[1])
    back = None if weights is None else weights.reshape(-1)[np.maximum(readers, 0)]
    back = None if back is None else varying_like(back, input)
    add_up = partial(_read, places=outputs, weights=back, axis=axis)
    whole = partial(linear_along_axis, read, add_up, axis=axis, size=len(places))
    return let_xla_place(whole, input, kept=axis)


def elements_at_places(input: Array, places: np.ndarray, axis: int) -> Array:
    """Take elements of an axis at fixed places of any shape, which takes the axis' place; -1 takes a zero.

    >>> elements_at_places(jnp.array([1.0, 2.0]), np.array([[0, 1], [1, -1]]), 0).tolist()
    [[1.0, 2.0], [2.0, 0.0]]
    """
    size = input.shape[axis]
    take = partial(_read_once, places=places.reshape(-1), axis=axis)
    if is_float(input) and places.size and input.size:
        gather = partial(_read, places=readers_of_places(places.reshape(-1, 1), size), axis=axis)

        def scatter(output: Array) -> Array:
            return jax.linear_transpose(take, jax.eval_shape(gather, output))(output)[0]

        def transpose(output: Array) -> Array:
            # What follows a choice of elements is choices: XLA for CPUs would repeat them in each gather.
            return lax.platform_dependent(output, cpu=scatter, default=gather)

        taken = linear_along_axis(take, transpose, input, axis, places.size)
    else:
        taken = take(input)
    return taken.reshape(*input.shape[:axis], *places.shape, *input.shape[axis + 1 :])


_FEW_READS = 16
"""Reads of an output up to which one gather each beats one gather of all (``python -m benchmarks.layers_spatial``)."""


def _read(input: Array, places: np.ndarray, axis: int, weights: Any = None) -> Array:
    if places.shape[1] > _FEW_READS:
        return jnp.sum(_read_once(input, places, axis, weights), axis + 1)
    columns = [None] * places.shape[1] if weights is None else weights.T
    reads = zip(places.T, columns, strict=True)
    return reduce(add, (_read_once(input, place, axis, weight) for place, weight in reads))


def _read_once(input: Array, places: np.ndarray, axis: int, weights: Any = None) -> Array:
    taken = jnp.take(input, np.maximum(places, 0), axis, mode="clip")
    shape = (*places.shape, *(1,) * (input.ndim - axis - 1))
    if weights is not None:
        taken = taken * weights.reshape(shape)
    inside = places >= 0
    return taken if inside.all() else jnp.where(inside.reshape(shape), taken, jnp.zeros_like(taken))
