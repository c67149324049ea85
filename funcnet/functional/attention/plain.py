"""The formula of attention, each score written out: what every other form has to agree with."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Key
from funcnet.core.dtypes import at_least_float32
from funcnet.core.keys import require_key
from funcnet.functional.dropout import keep_mask

__all__ = [
    "AttentionSettings",
    "FlexOutput",
    "allowed_by",
    "attend_to",
    "plain_attention",
    "product",
    "scores_shape",
    "shares_heads",
    "without_what_is_masked",
]


class AttentionSettings(NamedTuple):
    """What all forms are told besides arrays."""

    dropout_p: float
    is_causal: bool
    scale: float


def plain_attention(
    settings: AttentionSettings,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    dropout_key: Key | None,
    need_weights: bool = False,
    first: int | Array = 0,
) -> tuple[Array, Array | None]:
    """Attend with arrays that are checked already, and hold zeros where a mask takes them out of everything.

    Args:
        settings: what does not change.
        query: ``(*, Hq, L, E)``.
        key: ``(*, H, S, E)``.
        value: ``(*, H, S, Ev)``.
        attn_mask: broadcasts to the scores, or ``None``.
        dropout_key: for ``dropout_p > 0``.
        need_weights: return the weights too.
        first: which row of a longer sequence of queries the first is, for the causal mask.
    """
    dropout_p, is_causal, scale = settings
    scores = _masked_scores(query, key, attn_mask, is_causal, scale, first)
    weights, total, finite = _exponentials(scores)
    dtype, wide = value.dtype, value.astype(scores.dtype)
    if attn_mask is not None or is_causal:
        finite &= _attends_to_numbers(query, value, attn_mask, first)
        wide = _finite_part(wide)
    if need_weights:
        weights = weights / total
    if dropout_p > 0:
        weights = _drop(weights, dropout_p, dropout_key)
    # Weights are not rounded to 16 bits: the softmax's gradient is a difference of what the product's gives.
    output = product(weights, wide, (-1, -2))
    if not need_weights:
        # Dividing after the product costs L * Ev divisions rather than L * S.
        return jnp.where(finite, output / total, jnp.nan).astype(dtype), None
    output, weights = (jnp.where(finite, x, jnp.nan).astype(dtype) for x in (output, weights))
    return output, weights


def scores_shape(query: Array, key: Array) -> tuple[int, ...]:
    """Return the shape of the scores; raise if leading axes do not broadcast."""
    if shares_heads(query, key):
        leading = jnp.broadcast_shapes(query.shape[:-3], key.shape[:-3])
        return (*leading, *query.shape[-3:-1], key.shape[-2])
    leading = jnp.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    return (*leading, query.shape[-2], key.shape[-2])


def allowed_by(attn_mask: Array) -> Array:
    """Return where a query may attend to a key."""
    return attn_mask if attn_mask.dtype == jnp.bool_ else attn_mask != -jnp.inf


def _attends_to_numbers(
    query: Array, value: Array, attn_mask: Array | None, first: int | Array
) -> Array:
    """Return which queries ``(..., L, 1)`` attend to finite values only; without a mask, causally.

    The others alone become NaN: in a product of matrices, zero times NaN would spread it to every query.
    """
    finite = jnp.isfinite(value).all(-1)
    if shares_heads(query, value):
        finite = jnp.repeat(finite, query.shape[-3] // value.shape[-3], -2)
    if attn_mask is None:
        places, rows = (jnp.arange(n, dtype=jnp.int32) for n in (finite.shape[-1], query.shape[-2]))
        none = np.iinfo(
            np.int32
        ).max  # no place, so that queries beyond the last key reach none either
        worst = jnp.where(finite, none, places).min(-1, keepdims=True, initial=none)
        return (worst > rows + first)[..., None]
    return (finite[..., None, :] | ~allowed_by(attn_mask)).all(-1, keepdims=True)


@jax.custom_jvp
def _finite_part(array: Array) -> Array:
    """Put zeros in place of what is not finite; the gradient passes, so that no mask is kept for it."""
    return jnp.where(jnp.isfinite(array), array, jnp.zeros((), array.dtype))


@_finite_part.defjvp
def _finite_part_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _finite_part(*primals), tangents[0]


def without_what_is_masked(
    query: Array, key: Array, value: Array, attn_mask: Array
) -> tuple[Array, Array, Array]:
    """Put zeros in place of queries and keys that the mask takes out of everything: zero times NaN is NaN."""
    allowed = jnp.atleast_2d(allowed_by(attn_mask))
    queries = allowed.any(-1, keepdims=True)
    keys = jnp.swapaxes(allowed.any(-2, keepdims=True), -1, -2)
    return _where_any(queries, query), _where_any(keys, key), _where_any(keys, value)


def _where_any(used: Array, array: Array) -> Array:
    """Keep the elements of a sequence that are used ``(..., L, 1)`` in any of the heads or examples it serves."""
    extra = used.ndim - array.ndim
    serves = [
        axis
        for axis in range(used.ndim - 2)
        if axis < extra or array.shape[axis - extra] != used.shape[axis]
    ]
    used = used.any(tuple(serves), keepdims=True)
    used = used.reshape(used.shape[max(extra, 0) :])
    return jnp.where(used, array, jnp.zeros((), array.dtype))


def _masked_scores(
    query: Array,
    key: Array,
    attn_mask: Array | None,
    is_causal: bool,
    scale: float,
    first: int | Array,
) -> Array:
    """Return ``query keyᵀ * scale``, with what a mask forbids at ``-inf``."""
    if query.dtype == at_least_float32(query.dtype):
        scores = _likeness(query * scale, key)
    else:  # products of 16-bit floats are exact in 32 bits, scaled queries in 16 would not be
        scores = _likeness(query, key) * scale
    if is_causal:
        rows, columns = (jax.lax.broadcasted_iota(jnp.int32, scores.shape[-2:], n) for n in (0, 1))
        attn_mask = rows + first >= columns
    if attn_mask is None:
        return scores
    if attn_mask.dtype == jnp.bool_:
        return jnp.where(attn_mask, scores, -jnp.inf)
    return jnp.where(allowed_by(attn_mask), scores + attn_mask.astype(scores.dtype), -jnp.inf)


@jax.custom_jvp
def _likeness(query: Array, key: Array) -> Array:
    return product(query, key, (-1, -1))


@_likeness.defjvp
def _likeness_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Leave out what is not finite: scores that a mask forbids have no gradient, and zero times NaN is NaN."""
    (query, key), (d_query, d_key) = primals, tangents
    change = product(d_query, _finite_part(key), (-1, -1))
    return _likeness(query, key), change + product(_finite_part(query), d_key, (-1, -1))


def _exponentials(scores: Array) -> tuple[Array, Array, Array]:
    """Return ``exp(scores - max)``, its sums, and which rows are finite: those that are not hold zeros.

    The exponentials of rows that are all ``-inf`` are zeros too, and their sums are ones.
    """
    least = float(jnp.finfo(scores.dtype).min)  # finite, so that no row subtracts -inf from -inf
    largest = jax.lax.stop_gradient(scores.max(-1, keepdims=True, initial=least))
    finite = largest < jnp.inf
    weights = jnp.exp(jnp.where(finite, scores - largest, -jnp.inf))
    total = weights.sum(-1, keepdims=True)
    return weights, jnp.where(total == 0, 1.0, total), finite


def _drop(weights: Array, dropout_p: float, dropout_key: Key | None) -> Array:
    if dropout_p == 1:
        return jnp.zeros_like(weights)
    key = require_key("attention", dropout_key, "dropout_key", like=weights)
    keep = keep_mask(key, weights.shape, dropout_p)
    return jnp.where(keep, weights * (1 / (1 - dropout_p)), 0.0)


def product(a: Array, b: Array, contract: tuple[int, int]) -> Array:
    """Multiply matrices in the last two axes, in float32 at least; leading axes broadcast.

    Where ``a`` has several heads for each of ``b``, those heads' rows are stacked, so that ``b``
    need not be repeated.
    """
    rows, stacked = a.shape, shares_heads(a, b)
    if stacked:
        a = a.reshape(*rows[:-3], b.shape[-3], rows[-3] // b.shape[-3] * rows[-2], rows[-1])
    leading = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = jnp.broadcast_to(a, (*leading, *a.shape[-2:]))
    b = jnp.broadcast_to(b, (*leading, *b.shape[-2:]))
    batch = tuple(range(len(leading)))
    axes = ((contract[0] % a.ndim,), (contract[1] % b.ndim,))
    output = jax.lax.dot_general(
        a, b, (axes, (batch, batch)), preferred_element_type=at_least_float32(a.dtype)
    )
    if not stacked:
        return output
    return output.reshape(*leading[:-1], *rows[-3:-1], output.shape[-1])


def shares_heads(a: Array, b: Array) -> bool:
    """Return whether several heads of one array go with each of the other's."""
    return min(a.ndim, b.ndim) > 2 and 1 < b.shape[-3] < a.shape[-3]


# ---- scores that a function has changed


class FlexOutput(NamedTuple):
    """What attention yields."""

    output: Array
    """``(B, H, L, Ev)``."""
    lse: Array
    """``(B, H, L)``: the logarithm of the sum of the scores' exponentials."""
    max_scores: Array
    """``(B, H, L)``: the largest score."""


def attend_to(scores: Array, value: Array) -> FlexOutput:
    """Attend by scores ``(*, L, S)`` that hold minus infinity where a mask forbids.

    Queries that may attend to nothing yield zeros, and minus infinity.
    """
    least = float(jnp.finfo(scores.dtype).min)  # finite, so that no row subtracts -inf from -inf
    largest = jax.lax.stop_gradient(scores.max(-1, keepdims=True, initial=least))
    weights = jnp.exp(scores - largest)
    total = weights.sum(-1, keepdims=True)
    empty = total == 0
    total = jnp.where(empty, 1.0, total)
    output = product(weights, value, (-1, -2)) / total
    lse, largest = (
        jnp.where(empty, -jnp.inf, x)[..., 0] for x in (largest + jnp.log(total), largest)
    )
    return FlexOutput(output, lse, largest)
