"""Scaled dot-product attention: each query takes a mean of the values, weighted by likeness."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_divisible, check_probability
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.core.keys import require_key
from funcnet.functional.dropout import keep_mask
from funcnet.functional.explicit_meshes import let_xla_place

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    dropout_key: Key | None = None,
) -> Array:
    """Attend: ``softmax(query keyᵀ * scale + mask) value``.

    A query that may attend to nothing yields zeros. Scores, softmax and its gradient are in float32 at
    least; inputs of several dtypes are promoted together. A query that may attend to nothing, and a key
    (with its value) to which no query of ``attn_mask`` may attend, are never computed with: what they
    hold, NaN too, changes neither output nor gradient. Where there is a mask, a value that is not finite makes NaN
    of the queries that attend to it, and of no others, and reaches no gradient of theirs.

    Args:
        query: shape ``(*, Hq, L, E)``, with any number of leading axes; floats, as key and value.
        key: shape ``(*, H, S, E)``.
        value: shape ``(*, H, S, Ev)``.
        attn_mask: broadcasts to ``(*, Hq, L, S)``; boolean, where True means *takes part*, or
            floats that are added to the scores, where ``-inf`` means *does not*.
        dropout_p: probability of a weight to be zeroed; applied whenever it is not zero.
        is_causal: let query ``i`` attend to keys ``0 … i`` only.
        scale: factor of the scores, ``1 / sqrt(E)`` by default.
        enable_gqa: let ``Hq / H`` neighbouring query heads share one head of keys and values.
        dropout_key: random key; needed for ``dropout_p > 0``.

    Returns:
        An array of shape ``(*, Hq, L, Ev)``.

    Raises:
        ValueError: shapes that do not fit, or a mask together with ``is_causal``.
        TypeError: integers, booleans or complex numbers.
        MissingKeyError: dropout without a key.

    Example:
        >>> q, k, v = (jnp.ones((2, 4, length, 8)) for length in (3, 5, 5))
        >>> F.scaled_dot_product_attention(q, k, v).shape
        (2, 4, 3, 8)

    Reference: Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762;
    grouped queries: Ainslie et al., 2023, https://arxiv.org/abs/2305.13245.
    """
    check_probability("dropout_p", dropout_p)
    if attn_mask is not None and is_causal:
        raise ValueError("give either attn_mask or is_causal=True, not both")
    query, key, value = as_floats("scaled_dot_product_attention", query=query, key=key, value=value)
    _check_heads(query, key, value, enable_gqa)
    return attend(query, key, value, attn_mask, dropout_p, dropout_key, is_causal, scale)[0]


def attend(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    dropout_p: float,
    dropout_key: Key | None,
    is_causal: bool = False,
    scale: float | None = None,
    need_weights: bool = False,
) -> tuple[Array, Array | None]:
    """Attend with arrays that are checked already; return the weights too, if they are needed."""

    def whole(
        query: Array, key: Array, value: Array, attn_mask: Array | None
    ) -> tuple[Array, Array | None]:
        settings = (dropout_p, dropout_key, is_causal, scale, need_weights)
        return _attend(query, key, value, attn_mask, *settings)

    return let_xla_place(whole, query, key, value, attn_mask, kept=query.ndim - 2)


def _attend(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    dropout_p: float,
    dropout_key: Key | None,
    is_causal: bool,
    scale: float | None,
    need_weights: bool,
) -> tuple[Array, Array | None]:
    if attn_mask is not None:
        _check_mask(attn_mask, query, key)
        query, key, value = _without_what_is_masked(query, key, value, attn_mask)
    scores = _masked_scores(query, key, attn_mask, is_causal, scale)
    weights, total, finite = _exponentials(scores)
    dtype, wide = value.dtype, value.astype(scores.dtype)
    if attn_mask is not None or is_causal:
        finite &= _attends_to_numbers(query, value, attn_mask)
        wide = _finite_part(wide)
    if need_weights:
        weights = weights / total
    if dropout_p > 0:
        weights = _drop(weights, dropout_p, dropout_key)
    # Weights are not rounded to 16 bits: the softmax's gradient is a difference of what the product's gives.
    output = _product(weights, wide, (-1, -2))
    if not need_weights:
        # Dividing after the product costs L * Ev divisions rather than L * S.
        return jnp.where(finite, output / total, jnp.nan).astype(dtype), None
    output, weights = (jnp.where(finite, x, jnp.nan).astype(dtype) for x in (output, weights))
    return output, weights


def _check_mask(attn_mask: Array, query: Array, key: Array) -> None:
    leading = _leading(query, key)
    scores = (*leading, query.shape[-2], key.shape[-2])
    try:
        fits = jnp.broadcast_shapes(attn_mask.shape, scores) == scores
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"attn_mask of shape {attn_mask.shape} does not broadcast to the scores {scores}"
        )
    if attn_mask.dtype != jnp.bool_ and not jnp.issubdtype(attn_mask.dtype, jnp.floating):
        raise TypeError(f"attn_mask must be boolean or floating; got {attn_mask.dtype}")


def _leading(query: Array, key: Array) -> tuple[int, ...]:
    """Return the axes of the scores before their last two."""
    if _shares_heads(query, key):
        return (*jnp.broadcast_shapes(query.shape[:-3], key.shape[:-3]), query.shape[-3])
    return jnp.broadcast_shapes(query.shape[:-2], key.shape[:-2])


def _allowed(attn_mask: Array) -> Array:
    """Return where a query may attend to a key."""
    return attn_mask if attn_mask.dtype == jnp.bool_ else attn_mask != -jnp.inf


def _attends_to_numbers(query: Array, value: Array, attn_mask: Array | None) -> Array:
    """Return which queries ``(..., L, 1)`` attend to finite values only; without a mask, causally.

    The others alone become NaN: in a product of matrices, zero times NaN would spread it to every query.
    """
    finite = jnp.isfinite(value).all(-1)
    if _shares_heads(query, value):
        finite = jnp.repeat(finite, query.shape[-3] // value.shape[-3], -2)
    if attn_mask is None:
        length = finite.shape[-1]
        first = jnp.where(finite, length, np.arange(length)).min(-1, keepdims=True, initial=length)
        return (first > np.arange(query.shape[-2]))[..., None]
    return (finite[..., None, :] | ~_allowed(attn_mask)).all(-1, keepdims=True)


@jax.custom_jvp
def _finite_part(array: Array) -> Array:
    """Put zeros in place of what is not finite; the gradient passes, so that no mask is kept for it."""
    return jnp.where(jnp.isfinite(array), array, jnp.zeros((), array.dtype))


@_finite_part.defjvp
def _finite_part_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _finite_part(*primals), tangents[0]


def _without_what_is_masked(
    query: Array, key: Array, value: Array, attn_mask: Array
) -> tuple[Array, Array, Array]:
    """Put zeros in place of queries and keys that the mask takes out of everything: zero times NaN is NaN."""
    allowed = jnp.atleast_2d(_allowed(attn_mask))
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
    query: Array, key: Array, attn_mask: Array | None, is_causal: bool, scale: float | None
) -> Array:
    """Return ``query keyᵀ * scale``, with what a mask forbids at ``-inf``."""
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 1.0
    if query.dtype == at_least_float32(query.dtype):
        scores = _likeness(query * scale, key)
    else:  # products of 16-bit floats are exact in 32 bits, scaled queries in 16 would not be
        scores = _likeness(query, key) * scale
    if is_causal:
        shape = scores.shape[-2:]
        attn_mask = jax.lax.broadcasted_iota(jnp.int32, shape, 0) >= jax.lax.broadcasted_iota(
            jnp.int32, shape, 1
        )
    if attn_mask is None:
        return scores
    if attn_mask.dtype == jnp.bool_:
        return jnp.where(attn_mask, scores, -jnp.inf)
    return jnp.where(_allowed(attn_mask), scores + attn_mask.astype(scores.dtype), -jnp.inf)


@jax.custom_jvp
def _likeness(query: Array, key: Array) -> Array:
    return _product(query, key, (-1, -1))


@_likeness.defjvp
def _likeness_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Leave out what is not finite: scores that a mask forbids have no gradient, and zero times NaN is NaN."""
    (query, key), (d_query, d_key) = primals, tangents
    change = _product(d_query, _finite_part(key), (-1, -1))
    return _likeness(query, key), change + _product(_finite_part(query), d_key, (-1, -1))


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
    keep = keep_mask(require_key("attention", dropout_key, "dropout_key"), weights.shape, dropout_p)
    return jnp.where(keep, weights * (1 / (1 - dropout_p)), 0.0)


def _product(a: Array, b: Array, contract: tuple[int, int]) -> Array:
    """Multiply matrices in the last two axes, in float32 at least; leading axes broadcast.

    Where ``a`` has several heads for each of ``b``, those heads' rows are stacked, so that ``b``
    need not be repeated.
    """
    rows = a.shape
    if _shares_heads(a, b):
        a = a.reshape(*rows[:-3], b.shape[-3], rows[-3] // b.shape[-3] * rows[-2], rows[-1])
    leading = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = jnp.broadcast_to(a, (*leading, *a.shape[-2:]))
    b = jnp.broadcast_to(b, (*leading, *b.shape[-2:]))
    batch = tuple(range(len(leading)))
    axes = ((contract[0] % a.ndim,), (contract[1] % b.ndim,))
    output = jax.lax.dot_general(
        a, b, (axes, (batch, batch)), preferred_element_type=at_least_float32(a.dtype)
    )
    if output.shape[-2] == rows[-2]:
        return output
    return output.reshape(*leading[:-1], *rows[-3:-1], output.shape[-1])


def _shares_heads(a: Array, b: Array) -> bool:
    return min(a.ndim, b.ndim) > 2 and 1 < b.shape[-3] < a.shape[-3]


def _check_heads(query: Array, key: Array, value: Array, enable_gqa: bool) -> None:
    if min(query.ndim, key.ndim, value.ndim) < (3 if enable_gqa else 2):
        axes = "(..., heads, length, features)" if enable_gqa else "(..., length, features)"
        raise ValueError(
            f"query, key and value must have shape {axes}; got "
            f"{query.shape}, {key.shape} and {value.shape}"
        )
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query and key must have as many features; got {query.shape} and {key.shape}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"key and value must be as long as each other; got {key.shape} and {value.shape}"
        )
    for array in (key, value) if enable_gqa else ():
        check_divisible(
            "the number of query heads", query.shape[-3], "that of key heads", array.shape[-3]
        )
    if not enable_gqa and (_shares_heads(query, key) or _shares_heads(query, value)):
        raise ValueError(
            f"query has {query.shape[-3]} heads, key and value have {key.shape[-3]}: "
            "write enable_gqa=True to share key heads among query heads"
        )
    for name, array in (("key", key), ("value", value)):
        try:
            _leading(query, array)
        except ValueError:
            raise ValueError(
                f"the leading axes of query and {name} must broadcast; got {query.shape} and {array.shape}"
            ) from None
