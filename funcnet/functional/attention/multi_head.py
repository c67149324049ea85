"""Multi-head attention: projections around scaled dot-product attention, as one function."""

from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Key
from funcnet.core.checks import check_divisible, check_ndim
from funcnet.core.dtypes import as_floats, spread
from funcnet.functional.attention.dot_product import attend
from funcnet.functional.attention.implementations import AttentionForm
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.linear import linear
from funcnet.functional.sequences.masks import segment_array, segment_mask

__all__ = ["multi_head_attention_forward"]


def multi_head_attention_forward(
    query: Array,
    key: Array,
    value: Array,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Array | None,
    in_proj_bias: Array | None,
    bias_k: Array | None,
    bias_v: Array | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Array,
    out_proj_bias: Array | None,
    training: bool = True,
    key_padding_mask: Array | None = None,
    need_weights: bool = True,
    attn_mask: Array | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Array | None = None,
    k_proj_weight: Array | None = None,
    v_proj_weight: Array | None = None,
    static_k: Array | None = None,
    static_v: Array | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    batch_first: bool = False,
    segment_ids: ArrayLike | None = None,
    key_segment_ids: ArrayLike | None = None,
    dropout_key: Key | None = None,
    implementation: AttentionForm | None = None,
) -> tuple[Array, Array | None]:
    """Project, attend with several heads, and project the heads' joined outputs.

    ``concat(head_1, …, head_h) Wᵒ``, where ``head_i = attention(Q W_i^q, K W_i^k, V W_i^v)`` as
    `scaled_dot_product_attention` computes it.

    With E features, N examples, L queries and S keys. Masks: booleans where True means *left out*,
    or floats that are added to the scores, where ``-inf`` means *left out*. What ``key_padding_mask`` leaves
    out and is not finite counts as zero, also as a query where query and key are one array: padding of NaN
    reaches neither output nor gradient of the rest. So does what has the segment id 0.

    Args:
        query: shape ``(L, N, E)``, or ``(L, E)`` for one example.
        key: shape ``(S, N, Ek)`` or ``(S, Ek)``.
        value: shape ``(S, N, Ev)`` or ``(S, Ev)``.
        embed_dim_to_check: E.
        num_heads: number of heads, a divisor of E.
        in_proj_weight: shape ``(3 * E, E)``: for queries, keys and values.
        in_proj_bias: shape ``(3 * E,)``.
        bias_k: one more key for every example, shape ``(1, 1, E)``.
        bias_v: the value that goes with it.
        add_zero_attn: append a key and a value of zeros.
        dropout_p: probability of a weight to be zeroed in training.
        out_proj_weight: shape ``(E, E)``; or ``(E, W)`` for heads that have fewer than E features between them, as
            pruning leaves: W stands for E in the rows of what projects queries, keys and values, too.
        out_proj_bias: shape ``(E,)``.
        training: apply dropout.
        key_padding_mask: keys to leave out, shape ``(N, S)`` or ``(S,)``.
        need_weights: return the weights too; without them it is faster.
        attn_mask: shape ``(L, S)`` or ``(N * num_heads, L, S)``.
        use_separate_proj_weight: project by the following three weights.
        q_proj_weight: shape ``(E, E)``.
        k_proj_weight: shape ``(E, Ek)``.
        v_proj_weight: shape ``(E, Ev)``.
        static_k: keys to use instead, shape ``(N * num_heads, S, E / num_heads)``.
        static_v: values to use instead.
        average_attn_weights: return the mean of the heads' weights.
        is_causal: ``attn_mask`` is the causal mask; a hint that allows a faster form.
        batch_first: inputs and output are ``(N, length, features)``.
        segment_ids: which of several sequences packed in one a query belongs to, ``(N, L)``, or ``(L,)`` for one
            example, as `funcnet.data.pack` yields; it attends to the keys of its own segment. 0 is padding.
        key_segment_ids: of the keys, ``(N, S)`` or ``(S,)``; by default those of the queries, in attention to
            oneself.
        dropout_key: random key; needed for dropout in training.
        implementation: which form computes it, as of `scaled_dot_product_attention`; by default what was
            measured to be the fastest that serves. The weights come from the plain form alone.

    Returns:
        The output, of the query's shape, and the weights: ``(N, L, S)`` averaged, else
        ``(N, num_heads, L, S)``; without N for one example; or ``None``.

    Raises:
        ValueError: shapes that do not fit, ``is_causal`` without ``attn_mask``, segment ids of queries or keys
            alone, or an implementation that cannot serve.
        TypeError: inputs that do not hold floats.
        MissingKeyError: dropout without a key.

    Example:
        >>> x, w = jnp.ones((5, 2, 8)), jnp.ones((24, 8))
        >>> output, weights = F.multi_head_attention_forward(
        ...     x, x, x, 8, 2, w, None, None, None, False, 0.0, jnp.eye(8), None)
        >>> output.shape, weights.shape
        ((5, 2, 8), (2, 5, 5))

    Reference: Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762.
    """
    if is_causal and attn_mask is None:
        raise ValueError(
            "is_causal=True is a hint about attn_mask: pass that too, for example "
            "nn.Transformer.generate_square_subsequent_mask(length)"
        )
    arrays = {id(query): query, id(key): key, id(value): value}  # one array is projected once
    names = {id(value): "value", id(key): "key", id(query): "query"}
    given: dict[str, Any] = {names[n]: array for n, array in arrays.items()}
    floats = as_floats("multi_head_attention_forward", **given)
    arrays = dict(zip(arrays, floats, strict=True))
    sizes = _sizes(
        arrays[id(query)], arrays[id(key)], arrays[id(value)],
        embed_dim_to_check, num_heads, batch_first,
    )  # fmt: skip
    _check_masks(key_padding_mask, attn_mask, sizes)
    segments = _segments(segment_ids, key_segment_ids, sizes)
    _check_parameters(
        embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, out_proj_weight
    )
    if key_padding_mask is not None:
        for n in {id(key), id(value)}:
            arrays[n] = without_padding(arrays[n], key_padding_mask, batch_first)
    if segments is not None:
        ids = {id(value): segments.keys, id(key): segments.keys, id(query): segments.queries}
        for n in arrays:
            arrays[n] = without_padding(arrays[n], ids[n] == 0, batch_first)
    query, key, value = arrays[id(query)], arrays[id(key)], arrays[id(value)]
    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = _project_each(query, key, value, weights, in_proj_bias)
    else:
        q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias)
    if bias_k is not None or bias_v is not None:
        if bias_k is None or bias_v is None or static_k is not None or static_v is not None:
            raise ValueError("bias_k and bias_v go together, and not with static_k or static_v")
        k, v = _append(k, bias_k, sizes), _append(v, bias_v, sizes)
    q, k, v = (_split_heads(x, sizes) for x in (q, k, v))
    k = k if static_k is None else _static("static_k", static_k, sizes).astype(q.dtype)
    v = v if static_v is None else _static("static_v", static_v, sizes).astype(q.dtype)
    if add_zero_attn:
        k, v = (jnp.pad(x, ((0, 0),) * (x.ndim - 2) + ((0, 1), (0, 0))) for x in (k, v))
    dropout_p = dropout_p if training else 0.0
    causal = is_causal and key_padding_mask is None and segments is None and not need_weights
    mask = None
    if not causal:
        apart = None if segments is None else ~segment_mask(*segments)
        mask = _merged(key_padding_mask, attn_mask, apart, k.shape[-2] - sizes.keys, sizes)
    attended, weights = attend(
        q, k, v, mask, dropout_p, dropout_key, causal,
        need_weights=need_weights, implementation=implementation,
    )  # fmt: skip
    if weights is not None and average_attn_weights:
        weights = weights.mean(-3)
    return linear(_join_heads(attended, sizes), out_proj_weight, out_proj_bias), weights


def without_padding(sequence: Array, padding: Array, batch_first: bool) -> Array:
    """Put zeros in place of what is left out and not finite: zero times NaN is NaN, in every gradient.

    Args:
        sequence: ``(L, N, E)``, ``(N, L, E)`` with ``batch_first``, or ``(L, E)``.
        padding: ``(N, L)`` or ``(L,)``: True, or ``-inf``, for what is left out.
        batch_first: where the examples are.
    """
    out = padding if padding.dtype == jnp.bool_ else padding == -jnp.inf
    if out.ndim == 2 and not batch_first:
        out = out.T
    if out.shape != sequence.shape[:-1]:
        raise ValueError(
            f"a key_padding_mask of shape {padding.shape} does not fit a sequence of shape {sequence.shape}"
        )
    return jnp.where(
        out[..., None] & ~jnp.isfinite(sequence), jnp.zeros((), sequence.dtype), sequence
    )


def _check_parameters(
    features: int,
    heads: int,
    weight: Array | None,
    bias: Array | None,
    bias_k: Array | None,
    bias_v: Array | None,
    out_weight: Array,
) -> None:
    # Fewer heads than the features were made for, as pruning leaves, have fewer features between them.
    width = out_weight.shape[-1] if out_weight.ndim == 2 else features
    check_divisible("embed_dim", width, "num_heads", heads)
    expected = (
        ("in_proj_weight", weight, (3 * width, features)),
        ("in_proj_bias", bias, (3 * width,)),
    )
    for name, array, shape in expected:
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}; got {array.shape}")
    for name, array in (("bias_k", bias_k), ("bias_v", bias_v)):
        if array is not None and array.size != width:
            raise ValueError(f"{name} must have {width} elements; got shape {array.shape}")
    if out_weight.ndim != 2 or width > features:
        raise ValueError(f"out_proj_weight must have shape (*, {features}); got {out_weight.shape}")


class _Sizes(NamedTuple):
    batch: int | None
    queries: int
    keys: int
    heads: int
    axis: int
    """Where the sequence is: counted from the end, -3 or -2."""


def _sizes(
    query: Array, key: Array, value: Array, embed_dim: int, heads: int, batch_first: bool
) -> _Sizes:
    layout = "(N, L, E) or (L, E)" if batch_first else "(L, N, E) or (L, E)"
    check_ndim("query", query.ndim, (2, 3), layout)
    if key.ndim != query.ndim or value.ndim != query.ndim:
        raise ValueError(
            f"query, key and value must have equally many axes; got {query.shape}, {key.shape} "
            f"and {value.shape}"
        )
    if query.shape[-1] != embed_dim:
        raise ValueError(f"query must have {embed_dim} features; got shape {query.shape}")
    if key.shape[:-1] != value.shape[:-1]:
        raise ValueError(
            f"key and value must agree except in their features; got {key.shape} and {value.shape}"
        )
    axis = -2 if batch_first or query.ndim == 2 else -3
    batch = None if query.ndim == 2 else query.shape[-5 - axis]
    if batch is not None and key.shape[-5 - axis] != batch:
        raise ValueError(
            f"query and key must have as many examples; got {query.shape} and {key.shape}"
        )
    return _Sizes(batch, query.shape[axis], key.shape[axis], heads, axis)


def _check_masks(padding: Array | None, mask: Array | None, sizes: _Sizes) -> None:
    examples = () if sizes.batch is None else (sizes.batch,)
    if padding is not None and padding.shape != (*examples, sizes.keys):
        raise ValueError(
            f"key_padding_mask must have shape {(*examples, sizes.keys)}; got {padding.shape}"
        )
    plain = (sizes.queries, sizes.keys)
    each = sizes.heads * (1 if sizes.batch is None else sizes.batch)
    if mask is not None and mask.shape not in (plain, (each, *plain)):
        raise ValueError(f"attn_mask must have shape {plain} or {(each, *plain)}; got {mask.shape}")
    for name, given in (("key_padding_mask", padding), ("attn_mask", mask)):
        if given is not None and not (
            given.dtype == jnp.bool_ or jnp.issubdtype(given.dtype, jnp.floating)
        ):
            raise TypeError(f"{name} must be boolean or floating; got {given.dtype}")


class _Segments(NamedTuple):
    queries: Array
    keys: Array


def _segments(queries: ArrayLike | None, keys: ArrayLike | None, sizes: _Sizes) -> _Segments | None:
    """Check segment ids; those of the keys are those of the queries unless they are given."""
    if queries is None and keys is None:
        return None
    if queries is None or (keys is None and sizes.keys != sizes.queries):
        missing = "segment_ids, those of the queries," if queries is None else "key_segment_ids"
        raise ValueError(
            f"{missing} are missing: with {sizes.queries} queries and {sizes.keys} keys both need segment ids"
        )
    found = _Segments(
        segment_array("segment_ids", queries),
        segment_array("key_segment_ids", queries if keys is None else keys),
    )
    examples = () if sizes.batch is None else (sizes.batch,)
    names = ("segment_ids", "key_segment_ids")
    for name, ids, length in zip(names, found, (sizes.queries, sizes.keys), strict=True):
        if ids.shape != (*examples, length):
            raise ValueError(f"{name} must have shape {(*examples, length)}; got {ids.shape}")
    return found


def _project_each(
    query: Array,
    key: Array,
    value: Array,
    weights: tuple[Array | None, ...],
    bias: Array | None,
) -> tuple[Array, ...]:
    """Project by three weights, for keys and values of other widths than the queries."""
    w_q, w_k, w_v = weights
    if w_q is None or w_k is None or w_v is None:
        raise ValueError("use_separate_proj_weight=True needs q_, k_ and v_proj_weight")
    b_q, b_k, b_v = (None, None, None) if bias is None else jnp.split(bias, 3)
    return linear(query, w_q, b_q), linear(key, w_k, b_k), linear(value, w_v, b_v)


def _project(
    query: Array, key: Array, value: Array, weight: Array | None, bias: Array | None
) -> tuple[Array, ...]:
    """Project by the packed weight, in one product where inputs are the same array."""
    if weight is None:
        raise ValueError("in_proj_weight is needed unless use_separate_proj_weight=True")
    if query is key and key is value:
        return tuple(jnp.split(linear(query, weight, bias), 3, axis=-1))
    features = weight.shape[0] // 3
    if key.shape != value.shape:
        raise ValueError(f"key and value must be alike; got {key.shape} and {value.shape}")
    b_q, b_kv = (None, None) if bias is None else jnp.split(bias, [features])
    w_q, w_kv = jnp.split(weight, [features])
    q = linear(query, w_q, b_q)
    if key is value:
        return (q, *jnp.split(linear(key, w_kv, b_kv), 2, axis=-1))
    w_k, w_v = jnp.split(w_kv, 2)
    b_k, b_v = (None, None) if b_kv is None else jnp.split(b_kv, 2)
    return q, linear(key, w_k, b_k), linear(value, w_v, b_v)


def _append(sequence: Array, bias: Array, sizes: _Sizes) -> Array:
    """Append one more element, the same for each example, to a projected sequence."""
    shape = list(sequence.shape)
    shape[sizes.axis] = 1

    def append(sequence: Array, bias: Array) -> Array:
        last = spread(bias.reshape(-1), tuple(shape), sequence.dtype)
        return jnp.concatenate([sequence, last], axis=sizes.axis)

    return let_xla_place(append, sequence, bias, kept=2 if sizes.batch is not None else 0)


def _split_heads(x: Array, sizes: _Sizes) -> Array:
    """Turn ``(L, N, E)``, ``(N, L, E)`` or ``(L, E)`` into ``(N, heads, L, E / heads)``."""
    x = x.reshape(*x.shape[:-1], sizes.heads, x.shape[-1] // sizes.heads)
    return jnp.moveaxis(x, sizes.axis - 1, -2)


def _join_heads(x: Array, sizes: _Sizes) -> Array:
    x = jnp.moveaxis(x, -2, sizes.axis - 1)
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _static(name: str, given: Array, sizes: _Sizes) -> Array:
    examples = 1 if sizes.batch is None else sizes.batch
    if given.ndim != 3 or given.shape[0] != examples * sizes.heads:
        raise ValueError(
            f"{name} must have shape ({examples * sizes.heads}, S, E / heads); got {given.shape}"
        )
    return given if sizes.batch is None else given.reshape(examples, sizes.heads, *given.shape[1:])


def _merged(
    padding: Array | None, mask: Array | None, apart: Array | None, added: int, sizes: _Sizes
) -> Array | None:
    """Merge masks to one of scaled_dot_product_attention, where True means *takes part*."""
    padding, mask, apart = (
        None if m is None else jnp.pad(m, ((0, 0),) * (m.ndim - 1) + ((0, added),))
        for m in (padding, mask, apart)
    )
    if padding is not None and sizes.batch is not None:
        padding = padding[:, None, None, :]
    if mask is not None and mask.ndim == 3 and sizes.batch is not None:
        mask = mask.reshape(sizes.batch, sizes.heads, *mask.shape[1:])
    masks = [m for m in (padding, mask, apart) if m is not None]
    if all(m.dtype == jnp.bool_ for m in masks):
        return ~reduce(jnp.logical_or, masks) if masks else None
    dtype = next(m.dtype for m in masks if m.dtype != jnp.bool_)
    floats = [
        jnp.where(m, jnp.array(-jnp.inf, dtype), jnp.array(0, dtype))
        if m.dtype == jnp.bool_
        else m.astype(dtype)
        for m in masks
    ]
    return reduce(jnp.add, floats)
