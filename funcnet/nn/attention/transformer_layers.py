"""One layer of a transformer's encoder, and one of its decoder."""

from collections.abc import Callable

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.functional.activations.gated import gelu
from funcnet.functional.activations.rectified import relu
from funcnet.module import Module
from funcnet.nn.attention.multi_head import MultiheadAttention
from funcnet.nn.dropout import Dropout
from funcnet.nn.linear import Linear
from funcnet.nn.normalization.layer import LayerNorm

__all__ = ["TransformerDecoderLayer", "TransformerEncoderLayer"]

Activation = str | Callable[[Array], Array]


def _named(activation: Activation) -> Callable[[Array], Array]:
    if not isinstance(activation, str):
        return activation
    functions = {"relu": relu, "gelu": gelu}
    if activation not in functions:
        raise ValueError(f"activation must be 'relu', 'gelu' or a function; got {activation!r}")
    return functions[activation]


class _TransformerLayer(Module):
    """What both kinds share: attention and a feed-forward block, each with norm and residual."""

    def _declare(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        activation: Activation,
        layer_norm_eps: float,
        batch_first: bool,
        norm_first: bool,
        bias: bool,
        dtype: DType,
        attentions: tuple[str, ...],
    ) -> None:
        for name in attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype
            )
            setattr(self, name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        for number in range(1, len(attentions) + 2):
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
            setattr(self, f"norm{number}", norm)
            setattr(self, f"dropout{number}", Dropout(dropout))
        self.activation = _named(activation)

    def _residual(self, x: Array, norm: Module, block: Callable[[Array], Array]) -> Array:
        return x + block(norm(x)) if self.norm_first else norm(x + block(x))

    def _feed_forward(self, x: Array) -> Array:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_TransformerLayer):
    """Self-attention and a feed-forward block, each with dropout, residual and layer norm.

    Input ``(S, N, d_model)``, ``(N, S, d_model)`` with ``batch_first``, or ``(S, d_model)``.

    Args:
        d_model: number of features.
        nhead: number of heads, a divisor of ``d_model``.
        dim_feedforward: width of the feed-forward block.
        dropout: probability of dropout, in attention and after each block.
        activation: ``"relu"``, ``"gelu"`` or a function.
        layer_norm_eps: added to the variance in the norms.
        batch_first: the batch is the first axis rather than the second.
        norm_first: normalize before each block rather than after its residual.
        bias: learn biases of linear maps and norms.
        dtype: of the parameters.

    Attributes:
        self_attn: `MultiheadAttention`.
        linear1: `Linear`; ``linear2`` likewise.
        norm1: `LayerNorm`; ``norm2`` likewise.

    Raises:
        ValueError: heads that do not divide the features, or an unknown activation.

    >>> net = fn.functionalize(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((4, 5, 8)))[0].shape
    (4, 5, 8)

    Reference: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762;
    ``torch.nn.TransformerEncoderLayer``.
    """

    self_attn: MultiheadAttention
    norm1: LayerNorm
    norm2: LayerNorm
    dropout1: Dropout
    dropout2: Dropout

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        self._declare(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, dtype, ("self_attn",),
        )  # fmt: skip

    def __call__(
        self,
        src: Array,
        src_mask: Array | None = None,
        src_key_padding_mask: Array | None = None,
        is_causal: bool = False,
    ) -> Array:
        """Transform a sequence; draws keys in training if there is dropout.

        Args:
            src: the sequence.
            src_mask: ``(S, S)`` or ``(N * nhead, S, S)``: True where not to attend, or floats.
            src_key_padding_mask: ``(N, S)`` or ``(S,)``: True for padding, or floats.
            is_causal: ``src_mask`` is the causal mask; a hint that allows a faster form.
        """

        def attend(x: Array) -> Array:
            masks = src_key_padding_mask, False, src_mask
            return self.dropout1(self.self_attn(x, x, x, *masks, is_causal=is_causal)[0])

        x = self._residual(src, self.norm1, attend)
        return self._residual(x, self.norm2, lambda x: self.dropout2(self._feed_forward(x)))


class TransformerDecoderLayer(_TransformerLayer):
    """Self-attention, attention over a memory, and a feed-forward block.

    Inputs ``(T, N, d_model)`` and ``(S, N, d_model)``, ``(N, T, d_model)`` and ``(N, S, d_model)``
    with ``batch_first``, or ``(T, d_model)`` and ``(S, d_model)``.

    Args:
        d_model: number of features.
        nhead: number of heads, a divisor of ``d_model``.
        dim_feedforward: width of the feed-forward block.
        dropout: probability of dropout, in attention and after each block.
        activation: ``"relu"``, ``"gelu"`` or a function.
        layer_norm_eps: added to the variance in the norms.
        batch_first: the batch is the first axis rather than the second.
        norm_first: normalize before each block rather than after its residual.
        bias: learn biases of linear maps and norms.
        dtype: of the parameters.

    Attributes:
        self_attn: `MultiheadAttention`; ``multihead_attn``, over the memory, likewise.
        linear1: `Linear`; ``linear2`` likewise.
        norm1: `LayerNorm`; ``norm2`` and ``norm3`` likewise.

    Raises:
        ValueError: heads that do not divide the features, or an unknown activation.

    >>> net = fn.functionalize(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((4, 5, 8)), jnp.ones((4, 3, 8)))[0].shape
    (4, 5, 8)

    Reference: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762;
    ``torch.nn.TransformerDecoderLayer``.
    """

    self_attn: MultiheadAttention
    multihead_attn: MultiheadAttention
    norm1: LayerNorm
    norm2: LayerNorm
    norm3: LayerNorm
    dropout1: Dropout
    dropout2: Dropout
    dropout3: Dropout

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        self._declare(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, dtype, ("self_attn", "multihead_attn"),
        )  # fmt: skip

    def __call__(
        self,
        tgt: Array,
        memory: Array,
        tgt_mask: Array | None = None,
        memory_mask: Array | None = None,
        tgt_key_padding_mask: Array | None = None,
        memory_key_padding_mask: Array | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Array:
        """Transform a sequence with a memory; draws keys in training if there is dropout.

        Args:
            tgt: the sequence.
            memory: what the encoder made of its own.
            tgt_mask: ``(T, T)`` or ``(N * nhead, T, T)``: True where not to attend, or floats.
            memory_mask: ``(T, S)`` or ``(N * nhead, T, S)``, likewise.
            tgt_key_padding_mask: ``(N, T)`` or ``(T,)``: True for padding, or floats.
            memory_key_padding_mask: ``(N, S)`` or ``(S,)``, likewise.
            tgt_is_causal: ``tgt_mask`` is the causal mask; a hint that allows a faster form.
            memory_is_causal: ``memory_mask`` is the causal mask, likewise.
        """

        def attend(x: Array) -> Array:
            masks = tgt_key_padding_mask, False, tgt_mask
            return self.dropout1(self.self_attn(x, x, x, *masks, is_causal=tgt_is_causal)[0])

        def recall(x: Array) -> Array:
            masks = memory_key_padding_mask, False, memory_mask
            attended = self.multihead_attn(x, memory, memory, *masks, is_causal=memory_is_causal)
            return self.dropout2(attended[0])

        x = self._residual(tgt, self.norm1, attend)
        x = self._residual(x, self.norm2, recall)
        return self._residual(x, self.norm3, lambda x: self.dropout3(self._feed_forward(x)))
