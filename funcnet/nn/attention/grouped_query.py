"""Grouped-query attention: several query heads share a head of keys and values; with a cache to decode."""

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_divisible, check_positive, check_probability
from funcnet.functional.attention.dot_product import scaled_dot_product_attention
from funcnet.functional.attention.implementations import AttentionForm, check_implementation
from funcnet.functional.attention.multi_head import without_padding
from funcnet.functional.sequences.masks import segment_mask
from funcnet.functional.sequences.segments import segment_positions
from funcnet.module import Module
from funcnet.nn.attention.key_value_cache import KeyValueCache
from funcnet.nn.attention.rotary import RotaryEmbedding
from funcnet.nn.linear import Linear

__all__ = ["GroupedQueryAttention"]


class GroupedQueryAttention(Module):
    """Attend to earlier positions with ``num_heads`` query heads and ``num_kv_heads`` of keys and values.

    ``head_i = softmax(Q_i K_jᵀ / √d) V_j``, where neighbouring query heads share the head ``j`` of keys and values.

    Input and output ``(*, L, embed_dim)``. With one head of keys and values this is multi-query
    attention, with as many as query heads it is multi-head attention. Names of parameters are those of
    the Llama family on Hugging Face.

    To decode, make a cache, give it to each call and take the new one from it. Shapes stay the same,
    so that a whole generation is one ``jax.lax.scan``; keys are stored after their rotation.

    Args:
        embed_dim: number of features.
        num_heads: number of query heads.
        num_kv_heads: number of heads of keys and values, a divisor of ``num_heads``; by default as many.
        head_dim: features of a head; ``embed_dim / num_heads`` by default.
        bias: learn biases of the query, key and value projections.
        out_bias: learn a bias of the output projection; by default as ``bias``.
        dropout: probability of an attention weight to be zeroed in training.
        is_causal: a position attends to itself and earlier ones only. A cache needs that.
        rotary: a `RotaryEmbedding` for queries and keys.
        dtype: of the parameters.
        implementation: which form computes the attention, as of `F.scaled_dot_product_attention`; by default
            what was measured to be the fastest that serves.

    Attributes:
        q_proj: `Linear` to ``num_heads * head_dim`` features.
        k_proj: `Linear` to ``num_kv_heads * head_dim`` features.
        v_proj: likewise.
        o_proj: `Linear` back to ``embed_dim``.

    Raises:
        ValueError: sizes that are not positive or do not divide one another, or an unknown implementation.

    Example:
        >>> layer = nn.GroupedQueryAttention(16, 4, 2, rotary=nn.RotaryEmbedding(4))
        >>> net = fn.functionalize(layer)
        >>> params, state = net.init(jax.random.key(0))
        >>> def step(cache, x):                                   # x: the batch at one position
        ...     (output, cache), _ = net.apply(params, state, x[:, None], cache=cache)
        ...     return cache, output[:, 0]
        >>> cache = layer.empty_cache((3,), capacity=32)
        >>> cache, outputs = jax.lax.scan(step, cache, jnp.ones((10, 3, 16)))
        >>> outputs.shape, int(cache.length)
        ((10, 3, 16), 10)

    Reference: Ainslie et al., GQA, 2023, https://arxiv.org/abs/2305.13245; Shazeer, Fast Transformer
    Decoding, 2019, https://arxiv.org/abs/1911.02150.
    """

    implementation: AttentionForm | None = (
        None  # here too: descriptions that were stored without it
    )

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        *,
        head_dim: int | None = None,
        bias: bool = False,
        out_bias: bool | None = None,
        dropout: float = 0.0,
        is_causal: bool = True,
        rotary: RotaryEmbedding | None = None,
        dtype: DType = jnp.float32,
        implementation: AttentionForm | None = None,
    ) -> None:
        check_implementation(implementation)
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_positive("embed_dim", embed_dim)
        check_positive("num_heads", num_heads)
        check_positive("num_kv_heads", num_kv_heads)
        check_divisible("num_heads", num_heads, "num_kv_heads", num_kv_heads)
        check_probability("dropout", dropout)
        if head_dim is None:
            check_divisible("embed_dim", embed_dim, "num_heads", num_heads)
            head_dim = embed_dim // num_heads
        check_positive("head_dim", head_dim)
        if rotary is not None and rotary.dim > head_dim:
            raise ValueError(f"rotary turns {rotary.dim} features; a head has {head_dim}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_dim = head_dim
        self.dropout = dropout
        self.is_causal = is_causal
        self.rotary = rotary
        self.implementation = implementation
        shared = num_kv_heads * head_dim
        self.q_proj = Linear(embed_dim, num_heads * head_dim, bias, dtype=dtype)
        self.k_proj = Linear(embed_dim, shared, bias, dtype=dtype)
        self.v_proj = Linear(embed_dim, shared, bias, dtype=dtype)
        out_bias = bias if out_bias is None else out_bias
        self.o_proj = Linear(num_heads * head_dim, embed_dim, out_bias, dtype=dtype)

    def empty_cache(
        self, batch_shape: tuple[int, ...], capacity: int, dtype: DType = jnp.float32
    ) -> KeyValueCache:
        """Make a cache for this layer; the description can do that, without arrays.

        Args:
            batch_shape: the axes of the input before its positions.
            capacity: how many positions there is room for.
            dtype: of keys and values.
        """
        leading = (*batch_shape, self.num_kv_heads)
        return KeyValueCache.empty(leading, capacity, self.head_dim, dtype=dtype)

    def __call__(
        self,
        input: Array,
        attn_mask: Array | None = None,
        *,
        positions: Array | None = None,
        cache: KeyValueCache | None = None,
        segment_ids: ArrayLike | None = None,
    ) -> tuple[Array, KeyValueCache | None]:
        """Attend; with a cache also to what it holds.

        Args:
            input: shape ``(*, L, embed_dim)``.
            attn_mask: broadcasts to ``(*, num_heads, L, S)``, with S the capacity if there is a cache
                and L if not: boolean, where True means *takes part*, or floats that are added to the
                scores. It joins the causal mask.
            positions: for the rotary embedding, broadcasting to ``(*, 1, L)``; by default counted from
                the number of positions in the cache, or from the beginning of each segment.
            cache: from `empty_cache` or an earlier call.
            segment_ids: which of several sequences packed in one each position belongs to, ``(*, L)``, as
                `funcnet.data.pack` yields; attention stays within a segment, and 0 is padding.

        Returns:
            The output, of the input's shape; and the new cache, ``None`` if none was given.

        Raises:
            ValueError: shapes do not fit, or a cache is given to a layer that is not causal, or with segment ids.
        """
        if cache is not None and not self.is_causal:
            raise ValueError("a cache holds earlier positions only: it needs is_causal=True")
        mask = None
        if segment_ids is not None:
            _check_segments(segment_ids, input, cache)
            input = without_padding(input, jnp.asarray(segment_ids) == 0, batch_first=True)
            mask = segment_mask(segment_ids, causal=self.is_causal)
            positions = (
                segment_positions(segment_ids)[..., None, :] if positions is None else positions
            )
        query, key, value = (
            self._heads(project(input)) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.rotary is not None:
            offset = 0 if cache is None or positions is not None else cache.length
            query, key = (self.rotary(heads, positions, offset=offset) for heads in (query, key))
        if cache is not None:
            cache = cache.append(key, value)
            key, value = cache.key.astype(key.dtype), cache.value.astype(value.dtype)
            mask = cache.mask(input.shape[-2])
        elif mask is None and self.is_causal and attn_mask is not None:
            mask = jnp.tril(jnp.ones((input.shape[-2],) * 2, jnp.bool_))
        dropping = self.training and self.dropout > 0
        output = scaled_dot_product_attention(
            query,
            key,
            value,
            _joined(mask, attn_mask),
            self.dropout if dropping else 0.0,
            is_causal=self.is_causal and mask is None,
            enable_gqa=True,
            dropout_key=self.next_key() if dropping else None,
            implementation=self.implementation,
        )
        output = jnp.swapaxes(output, -2, -3)
        width = self.num_heads * self.head_dim
        return self.o_proj(output.reshape(*input.shape[:-1], width)), cache

    def _heads(self, features: Array) -> Array:
        """Split ``(*, L, heads * head_dim)`` into ``(*, heads, L, head_dim)``."""
        sizes = (features.shape[-1] // self.head_dim, self.head_dim)
        return jnp.swapaxes(features.reshape(*features.shape[:-1], *sizes), -2, -3)


def _check_segments(segment_ids: ArrayLike, input: Array, cache: KeyValueCache | None) -> None:
    if cache is not None:
        raise ValueError("a cache holds one sequence a row: give it to a call without segment_ids")
    if jnp.shape(segment_ids) != input.shape[:-1]:
        raise ValueError(
            f"segment_ids must have shape {input.shape[:-1]}, one for each position; got {jnp.shape(segment_ids)}"
        )


def _joined(causal: Array | None, given: Array | None) -> Array | None:
    """Join the mask of what lies ahead with one that the caller gives."""
    if causal is None or given is None:
        return given if causal is None else causal
    if given.dtype == jnp.bool_:
        return causal & given
    return jnp.where(causal, given, -jnp.inf)
