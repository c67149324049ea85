"""The one rule of leaves that every optimizer and every wrapper keeps.

1. A leaf moves where its parameter and its gradient are real or complex: arrays, or plain numbers, which count
   as arrays of the default dtype. A gradient may be a `RowSparse`.
2. Any other leaf (``None`` for a gradient, JAX's ``float0``, integers, booleans, random keys) stays: its update
   is what came as its gradient, which `apply_updates` leaves out, and what is remembered of it stays too.
3. What is remembered over steps has 32 bits at least, because a sum in 16 bits stops growing.
4. Counters of steps stop at 2**31 - 1, and go on from there as if no more time passed.
5. A `RowSparse` gradient gives the numbers that the whole array would give. It stays sparse where nothing is
   remembered and no parameter is read (clipping, scaling, plain descent), and is made a whole array elsewhere.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import at_least_float32
from funcnet.core.leaf_kinds import is_trainable
from funcnet.core.paths import leaves_with_paths
from funcnet.optim.row_sparse import RowSparse

__all__: list[str] = []

LAST_STEP = 2**31 - 1
"""Where a counter of steps stops."""


def is_gradient(node: Any) -> bool:
    """Say whether a node is one gradient: the ``is_leaf`` of trees of gradients and updates."""
    return node is None or isinstance(node, RowSparse)


def moves(gradient: Any, *others: Any) -> bool:
    """Say whether a leaf moves: whether its gradient, and its parameter if given, are real or complex.

    >>> moves(jnp.ones(2), 1.0), moves(None, 1.0), moves(jnp.ones(2), jnp.arange(2))
    (True, False, False)
    """
    values = gradient.values if isinstance(gradient, RowSparse) else gradient
    return is_trainable(values) and all(map(is_trainable, others))


def map_moved(function: Callable[..., Any], grads: PyTree, *trees: PyTree) -> PyTree:
    """Map a function over the leaves that move; the others' gradients stay as they came.

    Args:
        function: of a gradient, which may be a `RowSparse`, and of the same leaf of each other tree.
        grads: gradients or updates.
        trees: of the same structure; where a leaf of one is a constant, the leaf does not move.

    >>> map_moved(lambda g, p: g + p, {"a": 1.0, "b": None, "c": 3}, {"a": 2.0, "b": 2.0, "c": 2.0})
    {'a': 3.0, 'b': None, 'c': 3}
    """

    def one(g: Any, *others: Any) -> Any:
        return function(g, *others) if moves(g, *others) else g

    return jax.tree.map(one, grads, *trees, is_leaf=is_gradient)


def on_values(function: Callable[[Array], Array]) -> Callable[[Any], Any]:
    """Make a function of an array that maps zero to zero take a `RowSparse` as well."""

    def apply(g: Any) -> Any:
        if isinstance(g, RowSparse):
            return RowSparse(g.rows, function(jax_leaf(g.values)))
        return function(jax_leaf(g))

    return apply


def jax_leaf(x: Any) -> Array:
    """Make an array of a number, whose dtype is then not up to what it meets.

    >>> jax_leaf(1.0).weak_type
    False
    """
    return x if isinstance(x, jax.Array) else jnp.asarray(x, jnp.result_type(x))


def wide_copy(x: Any) -> Array:
    """Copy a leaf in 32 bits at least: what to remember of it."""
    return jnp.array(x, at_least_float32(jnp.result_type(x)), copy=True)


def remembered(params: PyTree) -> PyTree:
    """Copy the leaves that move in 32 bits at least; a constant stays as it is."""
    return jax.tree.map(lambda p: wide_copy(p) if is_trainable(p) else p, params)


def zeros_like_moved(params: PyTree) -> PyTree:
    """Make zeros, in 32 bits at least, for the leaves that move, and ``None`` for the others."""
    return jax.tree.map(
        lambda p: (
            jnp.zeros(jnp.shape(p), at_least_float32(jnp.result_type(p)))
            if is_trainable(p)
            else None
        ),
        params,
    )


def add_wide(x: Any, y: Any, dtype: Any) -> Array:
    """Add two arrays in the wider of their dtypes and of 32 bits, and round once."""
    x, y = jax_leaf(x), jax_leaf(y)
    wide = np.promote_types(at_least_float32(x.dtype), at_least_float32(y.dtype))
    return (x.astype(wide) + y.astype(wide)).astype(dtype)


def counted(step: Array, by: Array | int = 1) -> Array:
    """Count one more step, or several; the last number stays.

    >>> int(counted(jnp.int32(2**31 - 1)))
    2147483647
    """
    # Made smaller before it is added to, so that the sum cannot overflow.
    return jnp.minimum(step, LAST_STEP - by) + by


def leaf_names(tree: PyTree) -> list[str]:
    """Name each leaf by its dotted path; of several with one path, those after the first get a number.

    >>> leaf_names({"a": {"b": 1.0}, "a.b": 2.0})
    ['a.b', 'a.b (2)']
    """
    names: dict[str, None] = {}
    for path, _ in leaves_with_paths(tree, is_leaf=is_gradient):
        name, count = path, 1
        while name in names:
            count += 1
            name = f"{path} ({count})"
        names[name] = None
    return list(names)


def whole(name: str, value: Any, at_least: int = 1) -> int:
    """Check a number of steps, which a counter must be able to reach.

    Raises:
        ValueError: not a whole number, or out of range.

    >>> whole("steps", 2.0)
    2
    """
    if not isinstance(value, int | float | np.number) or not at_least <= value <= LAST_STEP:
        raise ValueError(
            f"{name} must be a whole number from {at_least} to 2**31 - 1; got {value!r}"
        )
    if value != int(value):
        raise ValueError(f"{name} must be a whole number; got {value!r}")
    return int(value)


def require_shape(name: str, x: Any, shape: tuple[int, ...]) -> None:
    """Raise ``ValueError`` unless a gradient or update has its parameter's shape; others would be broadcast.

    >>> require_shape("sgd", jnp.ones(2), (2,))
    """
    if jnp.shape(x) != shape:
        raise ValueError(
            f"{name}: a gradient or update has shape {jnp.shape(x)}, and its parameter {shape}. Gradients of "
            "single examples are averaged first: jax.tree.map(lambda g: g.mean(0), grads)"
        )


def require_state(name: str, state: Any, kind: type) -> None:
    """Raise ``TypeError`` unless a state is one that this kind of optimizer made."""
    if not isinstance(state, kind):
        raise TypeError(
            f"{name}: expected the state that init or the last update returned, a {kind.__name__}; got "
            f"{type(state).__name__}. Call update(grads, state, params)"
        )
