"""Losses of products with a large matrix, some rows of the batch at a time.

The logits of a large vocabulary are the largest array of a language model. What the backward pass needs of them, the
gradient of their loss, is known as soon as they are. So a sum of losses takes its gradients while a chunk's logits
exist: these never exist together, and no product is computed twice.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.explicit_meshes import devices_of, spread_like

__all__ = ["map_in_chunks", "logits_of", "sum_in_chunks"]


def logits_of(input: Array, weight: Array, bias: Array | None, factor: Any, summed: Any) -> Array:
    """Return ``x Wᵀ + b`` in 32 bits at least, for ``(*, F)``, ``(C, ..., F)`` and ``(C, ...)``.

    The factors of products have one dtype, and their sums another.

    Example:
        >>> from funcnet.functional.losses.chunks import logits_of
        >>> x, w, b = jnp.ones((5, 3)), jnp.ones((4, 2, 3)), jnp.ones((4, 2))
        >>> logits_of(x, w, b, jnp.bfloat16, jnp.float32).shape
        (5, 4, 2)
    """
    contract = (((input.ndim - 1,), (weight.ndim - 1,)), ((), ()))
    products = _multiply(input, weight, contract, factor, summed)
    products = products.astype(at_least_float32(summed))
    return products if bias is None else products + bias.astype(products.dtype)


def map_in_chunks(function: Callable[..., Any], rows: int, batch: Any) -> Any:
    """Call a function of a batch with some rows at a time, and join what it returns.

    A chunk takes its rows from all over the batch, so that a batch that is spread over devices gives each of them
    a part of every chunk.

    Args:
        function: of a pytree of arrays that share their first axis, to another one.
        rows: of a chunk.
        batch: the pytree.

    Example:
        >>> from funcnet.functional.losses.chunks import map_in_chunks
        >>> map_in_chunks(lambda x: x * len(x), 2, jnp.ones(5)).tolist()
        [2.0, 2.0, 2.0, 2.0, 1.0]
    """
    parts, chunks, rest = _cut(rows, batch)
    done = lax.map(function, chunks)
    last = None if rest is None else function(rest)
    return _join(parts, done, last)


def sum_in_chunks(
    loss: Callable[..., Array],
    rows: int,
    dtypes: tuple[Any, Any],
    input: Array,
    weight: Array,
    bias: Array | None,
    each: tuple[Array, ...],
    shared: tuple[Array | None, ...],
) -> Array:
    """Sum a loss of ``x Wᵀ + b`` over a batch, with the logits of some rows at a time.

    Args:
        loss: of logits ``(rows, C, *)``, what belongs to their rows, and what all rows share: a scalar.
        rows: of a chunk.
        dtypes: of the factors of products, and of their sums.
        input: ``(N, F)``.
        weight: ``(C, *, F)``.
        bias: ``(C, *)``.
        each: arrays ``(N, ...)`` of which a chunk takes its rows.
        shared: arrays that every chunk takes whole.

    Returns:
        The sum, a scalar.

    Example:
        >>> from funcnet.functional.losses.chunks import sum_in_chunks
        >>> squares = lambda logits, scale: jnp.sum(scale[:, None] * logits**2)
        >>> x, w, scale = jnp.ones((4, 2)), jnp.ones((3, 2)), jnp.arange(4.0)
        >>> float(sum_in_chunks(squares, 2, (jnp.float32, jnp.float32), x, w, None, (scale,), ()))
        72.0
    """
    rows = max(1, min(rows, len(input)))

    @jax.custom_jvp
    def total(input: Array, weight: Array, bias: Any, each: Any, shared: Any) -> Array:
        def value(batch: Any) -> Array:
            logits = logits_of(batch[0], weight, bias, *dtypes)
            return loss(logits, *batch[1], *shared)[None]

        return jnp.sum(map_in_chunks(value, rows, (input, each)))

    @partial(total.defjvp, symbolic_zeros=True)
    def total_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
        input, weight, bias, each, shared = primals
        moving = jax.tree.map(lambda t: None if isinstance(t, SymbolicZero) else t, tangents)
        wanted = jax.tree.map(lambda t: not isinstance(t, SymbolicZero), tangents)
        # Where the gradients are differentiated again, a chunk's logits are computed again, too.
        of_chunk = jax.checkpoint(partial(_value_and_gradients, loss, dtypes, wanted))
        whole = (weight.astype(dtypes[0]), bias, shared, jnp.ones((), at_least_float32(dtypes[1])))
        value, found = _sum_chunks(of_chunk, rows, (input, each), whole)
        return value, _inner_product(found, moving, value)

    return total(input, weight, bias, each, shared)


def _value_and_gradients(
    loss: Callable[..., Array], dtypes: tuple[Any, Any], wanted: Any, batch: Any, whole: Any
) -> tuple[Any, Any]:
    """Return what is summed over chunks, the value and gradients of the whole, and the gradients of rows."""
    (input, each), (weight, bias, shared, one) = batch, whole
    wants_input, wants_weight, wants_bias, *wants_others = wanted
    logits = logits_of(input, weight, bias, *dtypes)
    # Inside `jax.shard_map` the sum over devices is taken once, of the tangent, and not by each chunk.
    shared = tuple(None if array is None else spread_like(array, logits) for array in shared)
    places = [1 + n for n, want in enumerate((*wants_others[0], *wants_others[1])) if want]
    operands = [logits, *each, *shared]

    def of_moving(*moving: Array) -> Array:
        return loss(*(moving[found[n]] if n in found else x for n, x in enumerate(operands)))

    found = {place: n for n, place in enumerate((0, *places))}
    value, pull = jax.vjp(of_moving, *(operands[place] for place in found))
    slope, *slopes = pull(spread_like(one.astype(value.dtype), value))
    found = dict(zip(places, slopes, strict=True))
    of_each = tuple(found.get(1 + n) for n in range(len(each)))
    of_shared = tuple(found.get(1 + n + len(each)) for n in range(len(shared)))
    factor, summed = dtypes[0], at_least_float32(dtypes[1])
    slope = slope.astype(factor)
    classes = tuple(range(1, slope.ndim))
    over_classes = ((classes, tuple(range(slope.ndim - 1))), ((), ()))
    over_rows = (((0,), (0,)), ((), ()))
    of_input = _multiply(slope, weight, over_classes, factor, summed) if wants_input else None
    of_weight = _multiply(slope, input, over_rows, factor, summed) if wants_weight else None
    of_bias = jnp.sum(slope, 0, dtype=summed) if wants_bias else None
    return (value, (of_weight, of_bias, of_shared)), (of_input, of_each)


def _sum_chunks(function: Callable[..., Any], rows: int, batch: Any, whole: Any) -> tuple[Any, Any]:
    """Call a function of each chunk; return the value, and the gradients in the order of arguments."""
    parts, chunks, rest = _cut(rows, batch)
    if len(jax.tree.leaves(chunks)[0]) <= 1 and rest is None:
        summed, of_rows = function(batch, whole)
    else:
        one = jax.eval_shape(function, jax.tree.map(lambda x: x[0], chunks), whole)[0]
        everything = jax.tree.leaves((batch, whole))
        start = jax.tree.map(
            lambda x: reduce(spread_like, everything, jnp.zeros(x.shape, x.dtype)), one
        )

        def step(sums: Any, chunk: Any) -> tuple[Any, Any]:
            # What depends on no chunk JAX computes before the loop: a bias for each row, for instance, which
            # is as large as a chunk's logits.
            more, of_rows = function(*lax.optimization_barrier((chunk, whole)))
            return jax.tree.map(jnp.add, sums, more), of_rows

        summed, of_rows = lax.scan(step, start, chunks)
        last = None
        if rest is not None:
            summed, last = step(summed, rest)
        of_rows = _join(parts, of_rows, last)
    (value, (of_weight, of_bias, of_shared)), (of_input, of_each) = summed, of_rows
    return value, (of_input, of_weight, of_bias, of_each, of_shared)


def _inner_product(gradients: Any, tangents: Any, like: Array) -> Array:
    """Sum the products of gradients and tangents, in the dtype of the wider one."""

    def product(gradient: Array, tangent: Array) -> Array:
        return jnp.sum(gradient * tangent.astype(gradient.dtype)).astype(like.dtype)

    terms = jax.tree.leaves(jax.tree.map(product, gradients, tangents))
    return sum(terms, start=jnp.zeros_like(like))


def _multiply(a: Array, b: Array, contract: Any, factor: Any, summed: Any) -> Array:
    factors = a.astype(factor), b.astype(factor)
    return lax.dot_general(*factors, contract, preferred_element_type=summed)


def _cut(rows: int, batch: Any) -> tuple[int, Any, Any]:
    """Cut a batch into chunks, stacked along a new first axis, and what remains, if anything.

    Devices that share the batch out have an equal part each, of which every chunk takes as many rows: so none
    needs another's. Returned first is the number of parts.
    """
    first = jax.tree.leaves(batch)[0]
    parts = devices_of(first) if len(first) % devices_of(first) == 0 else 1
    size, rows = len(first) // parts, max(1, rows // parts)
    count = size // rows
    whole = count * rows

    def apart(x: Array) -> Array:
        taken = x[:whole] if parts == 1 else _of_parts(x, parts)[:, :whole]
        return jnp.swapaxes(taken.reshape(parts * rows, count, *x.shape[1:]), 0, 1)

    def left(x: Array) -> Array:
        return _of_parts(x, parts)[:, whole:].reshape(-1, *x.shape[1:])

    rest = None if whole == size else jax.tree.map(left, batch)
    return parts, jax.tree.map(apart, batch), rest


def _of_parts(x: Array, parts: int) -> Array:
    return x.reshape(parts, len(x) // parts, *x.shape[1:])


def _join(parts: int, done: Any, rest: Any) -> Any:
    """Undo the cut: ``(chunks, rows, ...)`` to ``(chunks * rows, ...)``, and what remained."""
    done = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), done)
    if rest is None:
        return done

    def both(x: Array, y: Array) -> Array:
        whole = jnp.concatenate([_of_parts(x, parts), _of_parts(y, parts)], 1)
        return whole.reshape(-1, *x.shape[1:])

    return jax.tree.map(both, done, rest)
