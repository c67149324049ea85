"""The decoder of a transformer, and one layer of it."""

from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.functional import relu
from funcnet.functional.attention.implementations import AttentionForm
from funcnet.module import Module
from funcnet.nn.attention.multi_head import MultiheadAttention
from funcnet.nn.attention.transformer_layer import ActivationOrName, TransformerLayer, layer_copies
from funcnet.nn.dropout import Dropout
from funcnet.nn.normalization.layer import LayerNorm

__all__ = ["TransformerDecoder", "TransformerDecoderLayer"]


class TransformerDecoderLayer(TransformerLayer):
    """Self-attention, attention over a memory, and a feed-forward block.

    ``y = norm_1(x + attention(x))``, ``u = norm_2(y + attention(y, memory))``,
    ``z = norm_3(u + linear_2(activation(linear_1(u))))``; with ``norm_first`` each norm is applied to what goes into
    its block instead.

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
        implementation: which form computes the attention, as of `F.scaled_dot_product_attention`; by default
            what was measured to be the fastest that serves.

    Attributes:
        self_attn: `MultiheadAttention`; ``multihead_attn``, over the memory, likewise.
        linear1: `Linear`; ``linear2`` likewise.
        norm1: `LayerNorm`; ``norm2`` and ``norm3`` likewise.

    Raises:
        ValueError: heads that do not divide the features, or an unknown activation or implementation.

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
        activation: ActivationOrName = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: DType = jnp.float32,
        implementation: AttentionForm | None = None,
    ) -> None:
        self._declare(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, dtype, implementation, ("self_attn", "multihead_attn"),
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
        *,
        tgt_segment_ids: ArrayLike | None = None,
        memory_segment_ids: ArrayLike | None = None,
    ) -> Array:
        """Transform a sequence with a memory; draws keys in training if there is dropout.

        Args:
            tgt: the sequence; what is padding in it and not finite counts as zero.
            memory: what the encoder made of its own; likewise.
            tgt_mask: ``(T, T)`` or ``(N * nhead, T, T)``: True where not to attend, or floats.
            memory_mask: ``(T, S)`` or ``(N * nhead, T, S)``, likewise.
            tgt_key_padding_mask: ``(N, T)`` or ``(T,)``: True for padding, or floats.
            memory_key_padding_mask: ``(N, S)`` or ``(S,)``, likewise.
            tgt_is_causal: ``tgt_mask`` is the causal mask; a hint that allows a faster form.
            memory_is_causal: ``memory_mask`` is the causal mask, likewise.
            tgt_segment_ids: which of several sequences packed in one each position belongs to, ``(N, T)``, whatever
                ``batch_first`` is, or ``(T,)``; as `funcnet.data.pack` yields. Attention stays within a segment,
                and 0 is padding.
            memory_segment_ids: of the memory, ``(N, S)`` or ``(S,)``: a segment attends to the part of the memory
                with its own number; by default to all of it.
        """
        # Attention of one's own need not know of segments that there are not.
        packed: dict[str, Any] = {}
        packed_memory: dict[str, Any] = {}
        if tgt_segment_ids is not None:
            packed = {"segment_ids": tgt_segment_ids}
        if memory_segment_ids is not None:
            packed_memory = {"segment_ids": tgt_segment_ids, "key_segment_ids": memory_segment_ids}

        def attend(x: Array) -> Array:
            masks = tgt_key_padding_mask, False, tgt_mask
            attended = self.self_attn(x, x, x, *masks, is_causal=tgt_is_causal, **packed)
            return self.dropout1(attended[0])

        def recall(x: Array) -> Array:
            masks = memory_key_padding_mask, False, memory_mask
            attended = self.multihead_attn(
                x, memory, memory, *masks, is_causal=memory_is_causal, **packed_memory
            )
            return self.dropout2(attended[0])

        tgt = self._without_padding(tgt, tgt_key_padding_mask, tgt_segment_ids)
        x = self._residual(tgt, self.norm1, attend)
        x = self._residual(x, self.norm2, recall)
        return self._residual(x, self.norm3, lambda x: self.dropout3(self._feed_forward(x)))


class TransformerDecoder(Module):
    """A stack of decoder layers.

    Args:
        decoder_layer: a layer to copy; each copy has parameters of its own.
        num_layers: number of copies.
        norm: a last normalization, or ``None``.

    Attributes:
        layers: the copies.
        norm: the last normalization.

    >>> layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    >>> net = fn.functionalize(nn.TransformerDecoder(layer, 3))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((4, 5, 8)), jnp.ones((4, 3, 8)))[0].shape
    (4, 5, 8)

    Reference: ``torch.nn.TransformerDecoder``.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = layer_copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def __call__(
        self,
        tgt: Array,
        memory: Array,
        tgt_mask: Array | None = None,
        memory_mask: Array | None = None,
        tgt_key_padding_mask: Array | None = None,
        memory_key_padding_mask: Array | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
        *,
        tgt_segment_ids: ArrayLike | None = None,
        memory_segment_ids: ArrayLike | None = None,
    ) -> Array:
        """Pass a sequence through the layers; arguments as of `TransformerDecoderLayer`."""
        output = tgt
        given = {"tgt_segment_ids": tgt_segment_ids, "memory_segment_ids": memory_segment_ids}
        # A layer of one's own need not know of segments that there are not.
        packed = {name: ids for name, ids in given.items() if ids is not None}
        for layer in self.layers:
            output = layer(
                output,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
                **packed,
            )
        return output if self.norm is None else self.norm(output)
