"""Gradients of a batch in parts, one after another: for less memory, and equal to those of the whole."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array, Key, Params, State
from funcnet.core.dtypes import at_least_float32
from funcnet.training.averages import Outcome, number_of_rows
from funcnet.training.objective import MarkedBatch, Measured, unmarked, valid_rows

__all__ = ["gradient_in_parts"]

Loss = Callable[[Params, State, Any, Key], tuple[Array, tuple[Measured, State]]]


def gradient_in_parts(
    loss: Loss, params: Params, state: State, batch: Any, key: Key, count: int
) -> tuple[Params, Measured, State]:
    """Return the gradient of the mean loss of a batch, computed a part at a time.

    Each part weighs by what its mean stands for, such as the tokens that are not ignored. A part is every
    ``count``-th row, so that on a mesh each device keeps its rows; rows that ``count`` does not divide are filled.

    Args:
        loss: ``loss(params, state, batch, key) -> (value, (measured, state))``.
        params: to differentiate by.
        state: goes from part to part.
        batch: arrays with rows along their first axis.
        key: folded for each part.
        count: of parts.

    Returns:
        The gradient, what was measured in the whole batch, and the state after it.

    Example:
        >>> from funcnet.training.microbatches import gradient_in_parts
        >>> from funcnet.training.objective import measured
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> params, state = net.init(jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.mse_loss, inputs="x", targets="y")
        >>> loss = lambda params, state, batch, key: measured(objective, params, state, batch, key, True)
        >>> batch = {"x": jnp.ones((5, 4)), "y": jnp.ones((5, 3))}
        >>> grads, found, _ = gradient_in_parts(loss, params, state, batch, jax.random.key(0), 2)
        >>> float(found.weights["loss"])  # the elements
        15.0
    """
    parts = _split(batch, count)
    gradient = jax.value_and_grad(loss, has_aux=True)

    def add(carry: Any, part: tuple[Any, Array]) -> tuple[Any, Measured]:
        total, weight, state = carry
        (_, (found, state)), grads = gradient(
            params, state, part[0], jax.random.fold_in(key, part[1])
        )
        share = found.weights["loss"]
        share = jnp.ones((), jnp.float32) if share is None else jnp.asarray(share, jnp.float32)
        # a part in which nothing counts has no mean, and no gradient of one
        total = jax.tree.map(
            lambda t, g: t + jnp.where(share != 0, _times(g, share), 0), total, grads
        )
        return (total, weight + share, state), found

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, at_least_float32(p.dtype)), params)
    start = (zeros, jnp.zeros((), jnp.float32), state)
    (total, weight, state), found = lax.scan(add, start, (parts, jnp.arange(count)))
    divisor = jnp.ones_like(weight) if found.weights["loss"] is None else weight
    grads = jax.tree.map(lambda t, p: _times(t, 1 / divisor).astype(p.dtype), total, params)
    return grads, _joined(found, count), state


def _times(array: Array, factor: Array) -> Array:
    wide = at_least_float32(array.dtype)
    return array.astype(wide) * factor.astype(wide)


def _split(batch: Any, count: int) -> Any:
    """Give each array an axis of parts in front; a number is given to each part."""
    rows = number_of_rows(unmarked(batch))
    size = -(-rows // count) * count
    if size != rows:
        valid = valid_rows(batch)
        valid = jnp.ones(rows, bool) if valid is None else valid
        places = jnp.arange(size) % rows
        filled = jax.tree.map(lambda leaf: _rows_at(leaf, places), unmarked(batch))
        batch = MarkedBatch(filled, valid[places] & (jnp.arange(size) < rows))

    def split(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        if not leaf.ndim:
            return jnp.broadcast_to(leaf, (count,))
        return leaf.reshape(size // count, count, *leaf.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(split, batch)


def _rows_at(leaf: Any, places: Array) -> Array:
    leaf = jnp.asarray(leaf)
    return leaf[places] if leaf.ndim else leaf


def _joined(found: Measured, count: int) -> Measured:
    """Put together what was measured in the parts."""
    metrics, weights = {}, {}
    for name, values in found.metrics.items():
        shares = found.weights[name]
        if shares is None:
            metrics[name], weights[name] = values.sum(), None
            continue
        shares = jnp.asarray(shares, jnp.float32)
        total = jnp.where(shares != 0, values * shares.astype(values.dtype), 0).sum()
        weights[name] = shares.sum()
        metrics[name] = total / weights[name].astype(total.dtype)
    return Measured(metrics, weights, _joined_rows(found.rows, count))


def _joined_rows(rows: Outcome | None, count: int) -> Outcome | None:
    if rows is None:
        return None
    each = jax.tree.leaves(rows.targets)[0].shape[1]

    def join(leaf: Array) -> Array:
        if leaf.ndim > 1 and leaf.shape[1] == each:
            return leaf.swapaxes(0, 1).reshape(each * count, *leaf.shape[2:])
        # what has no rows, such as a penalty that the model returns
        return leaf.mean(0) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf[0]

    return jax.tree.map(join, rows)
