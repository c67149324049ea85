"""Scaled dot-product attention: each query takes a mean of the values, weighted by likeness."""

import math

import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_divisible, check_probability
from funcnet.core.dtypes import as_floats
from funcnet.functional.attention.chunked import chunked_attention
from funcnet.functional.attention.implementations import AttentionForm, choose, fused_heads
from funcnet.functional.attention.plain import (
    AttentionSettings,
    plain_attention,
    scores_shape,
    shares_heads,
    without_what_is_masked,
)
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
    implementation: AttentionForm | None = None,
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
        implementation: which form computes it; by default what was measured to be the fastest that serves.

            - ``"plain"``: the formula, with all scores in memory.
            - ``"chunked"``: the same for a block of queries after another, each computed again for the gradient:
              memory grows with ``L + S``. Dropout draws other bits than in the plain form.
            - ``"fused"``: cuDNN's kernel, on NVIDIA GPUs, 16 bits, no dropout, no learned scale; lengths are even, or
              attention is causal, to as many keys as queries. It rounds weights,
              and a mask of floats, to 16 bits; a value that is not finite may make NaN of every query that a
              causal mask leaves to attend to others. The default only where the mask is boolean or of the
              query's dtype. Its second derivatives and forward mode are those of the other forms.

    Returns:
        An array of shape ``(*, Hq, L, Ev)``.

    Raises:
        ValueError: shapes that do not fit, a mask together with ``is_causal``, or an implementation that
            cannot serve.
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
    check_heads(query, key, value, enable_gqa)
    return attend(
        query,
        key,
        value,
        attn_mask,
        dropout_p,
        dropout_key,
        is_causal,
        scale,
        implementation=implementation,
    )[0]


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
    implementation: AttentionForm | None = None,
) -> tuple[Array, Array | None]:
    """Attend with arrays that are checked already; return the weights too, if they are needed."""
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 1.0
    settings = AttentionSettings(dropout_p, is_causal, scale)
    if attn_mask is not None:
        _check_mask(attn_mask, query, key)
    form = choose(implementation, query, key, value, attn_mask, settings, need_weights)

    def whole(
        query: Array, key: Array, value: Array, attn_mask: Array | None, dropout_key: Key | None
    ) -> tuple[Array, Array | None]:
        if attn_mask is not None:
            query, key, value = without_what_is_masked(query, key, value, attn_mask)
        arrays = query, key, value, attn_mask
        if form == "fused":
            return fused_heads(settings, *arrays), None
        if form == "chunked":
            output, weights = chunked_attention(settings, *arrays, dropout_key), None
        else:
            output, weights = plain_attention(settings, *arrays, dropout_key, need_weights)
        return checkpoint_name(output, "attention"), weights

    arrays = query, key, value, attn_mask, dropout_key
    return let_xla_place(whole, *arrays, kept=query.ndim - 2)


def _check_mask(attn_mask: Array, query: Array, key: Array) -> None:
    scores = scores_shape(query, key)
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


def check_heads(query: Array, key: Array, value: Array, enable_gqa: bool) -> None:
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
    if not enable_gqa and (shares_heads(query, key) or shares_heads(query, value)):
        raise ValueError(
            f"query has {query.shape[-3]} heads, key and value have {key.shape[-3]}: "
            "write enable_gqa=True to share key heads among query heads"
        )
    for name, array in (("key", key), ("value", value)):
        try:
            scores_shape(query, array)
        except ValueError:
            raise ValueError(
                f"the leading axes of query and {name} must broadcast; got {query.shape} and {array.shape}"
            ) from None
