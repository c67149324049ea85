"""Multi-head attention as a layer."""

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_divisible, check_positive, check_probability
from funcnet.functional.attention.implementations import AttentionForm, check_implementation
from funcnet.functional.attention.multi_head import multi_head_attention_forward
from funcnet.module import Module, Parameter
from funcnet.nn import init
from funcnet.nn.linear import Linear

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Attend with several heads: ``concat(head_1, …, head_h) Wᵒ``.

    ``head_i = softmax(Q_i K_iᵀ / √d) V_i``, where ``Q_i``, ``K_i`` and ``V_i`` are the head's projections of query,
    key and value, of ``d`` features each.

    Inputs ``(L, N, E)`` and ``(S, N, E)``, or ``(N, L, E)`` and ``(N, S, E)`` with ``batch_first``,
    or ``(L, E)`` and ``(S, E)`` for one example.

    Args:
        embed_dim: number of features E.
        num_heads: number of heads, a divisor of ``embed_dim``.
        dropout: probability of an attention weight to be zeroed in training.
        bias: learn biases of the projections.
        add_bias_kv: learn one more key and value.
        add_zero_attn: append a key and a value of zeros.
        kdim: number of features of the keys, by default ``embed_dim``.
        vdim: number of features of the values, by default ``embed_dim``.
        batch_first: the batch is the first axis rather than the second.
        dtype: of the parameters.
        implementation: which form computes the attention, as of `F.scaled_dot_product_attention`; by default what
            was measured to be the fastest that serves.
            The weights come from the plain form alone: say ``need_weights=False`` for the others.

    Attributes:
        in_proj_weight: ``(3 * embed_dim, embed_dim)``; or, where the features differ in number,
            ``q_proj_weight``, ``k_proj_weight`` and ``v_proj_weight``.
        in_proj_bias: ``(3 * embed_dim,)``, zeros.
        out_proj: a `Linear`.
        bias_k: ``(1, 1, embed_dim)``, with ``add_bias_kv``.
        bias_v: likewise.

    Raises:
        ValueError: sizes that are not positive, heads that do not divide the features, or an unknown
            implementation.

    >>> net = fn.functionalize(nn.MultiheadAttention(8, 2, batch_first=True))
    >>> params, state = net.init(jax.random.key(0))
    >>> x = jnp.ones((4, 5, 8))
    >>> (output, weights), _ = net.apply(params, state, x, x, x)
    >>> output.shape, weights.shape
    ((4, 5, 8), (4, 5, 5))

    Reference: Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762;
    ``torch.nn.MultiheadAttention``.
    """

    implementation: AttentionForm | None = (
        None  # here too: descriptions that were stored without it
    )

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        dtype: DType = jnp.float32,
        implementation: AttentionForm | None = None,
    ) -> None:
        check_implementation(implementation)
        check_positive("embed_dim", embed_dim)
        check_positive("num_heads", num_heads)
        check_divisible("embed_dim", embed_dim, "num_heads", num_heads)
        check_probability("dropout", dropout)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.add_zero_attn = add_zero_attn
        self.batch_first = batch_first
        self.implementation = implementation
        packed = self.kdim == embed_dim and self.vdim == embed_dim
        glorot = init.xavier_uniform()

        def projection(rows: int, columns: int, wanted: bool) -> Array | None:
            return Parameter((rows, columns), glorot, dtype) if wanted else None

        self.in_proj_weight = projection(3 * embed_dim, embed_dim, packed)
        self.q_proj_weight = projection(embed_dim, embed_dim, not packed)
        self.k_proj_weight = projection(embed_dim, self.kdim, not packed)
        self.v_proj_weight = projection(embed_dim, self.vdim, not packed)
        self.in_proj_bias = Parameter((3 * embed_dim,), init.zeros(), dtype) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, dtype=dtype)
        if bias:
            self.out_proj.bias = Parameter((embed_dim,), init.zeros(), dtype)
        extra = (1, 1, embed_dim)
        self.bias_k = Parameter(extra, init.xavier_normal(), dtype) if add_bias_kv else None
        self.bias_v = Parameter(extra, init.xavier_normal(), dtype) if add_bias_kv else None

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        key_padding_mask: Array | None = None,
        need_weights: bool = True,
        attn_mask: Array | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        segment_ids: ArrayLike | None = None,
        key_segment_ids: ArrayLike | None = None,
    ) -> tuple[Array, Array | None]:
        """Attend; draws a key in training if there is dropout.

        Args:
            query: ``(L, N, embed_dim)``, ``(N, L, embed_dim)`` with ``batch_first``, or without N.
            key: ``(S, N, kdim)``, likewise.
            value: ``(S, N, vdim)``, likewise.
            key_padding_mask: keys to leave out, ``(N, S)`` or ``(S,)``: True, or floats to add.
            need_weights: return the attention weights; without them it is faster.
            attn_mask: ``(L, S)`` or ``(N * num_heads, L, S)``: True where a query may not attend,
                or floats to add.
            average_attn_weights: average the weights over heads.
            is_causal: ``attn_mask`` is the causal mask; a hint that allows a faster form.
            segment_ids: which of several sequences packed in one each position belongs to, ``(N, L)``, whatever
                ``batch_first`` is, or ``(L,)``; as `funcnet.data.pack` yields. Attention stays within a segment,
                and 0 is padding.
            key_segment_ids: of the keys, ``(N, S)`` or ``(S,)``; by default those of the queries, in attention to
                oneself.

        Returns:
            The output, of the query's shape; and the weights, ``(N, L, S)`` or
            ``(N, num_heads, L, S)``, or ``None``.
        """
        needs_key = self.training and 0 < self.dropout < 1
        return multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            self.training,
            key_padding_mask,
            need_weights,
            attn_mask,
            self.in_proj_weight is None,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
            batch_first=self.batch_first,
            segment_ids=segment_ids,
            key_segment_ids=key_segment_ids,
            dropout_key=self.next_key() if needs_key else None,
            implementation=self.implementation,
        )
