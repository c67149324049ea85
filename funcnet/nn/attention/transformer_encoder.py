"""The encoder of a transformer, and one layer of it."""

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

__all__ = ["TransformerEncoder", "TransformerEncoderLayer"]


class TransformerEncoderLayer(TransformerLayer):
    """Self-attention and a feed-forward block, each with dropout, residual and layer norm.

    ``y = norm_1(x + attention(x))``, ``z = norm_2(y + linear_2(activation(linear_1(y))))``; with ``norm_first`` each
    norm is applied to what goes into its block instead.

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
        implementation: which form computes the attention, as of `F.scaled_dot_product_attention`; by default
            what was measured to be the fastest that serves.

    Attributes:
        self_attn: `MultiheadAttention`.
        linear1: `Linear`; ``linear2`` likewise.
        norm1: `LayerNorm`; ``norm2`` likewise.

    Raises:
        ValueError: heads that do not divide the features, or an unknown activation or implementation.

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
            norm_first, bias, dtype, implementation, ("self_attn",),
        )  # fmt: skip

    def __call__(
        self,
        src: Array,
        src_mask: Array | None = None,
        src_key_padding_mask: Array | None = None,
        is_causal: bool = False,
        *,
        segment_ids: ArrayLike | None = None,
    ) -> Array:
        """Transform a sequence; draws keys in training if there is dropout.

        Args:
            src: the sequence; what is padding in it and not finite counts as zero.
            src_mask: ``(S, S)`` or ``(N * nhead, S, S)``: True where not to attend, or floats.
            src_key_padding_mask: ``(N, S)`` or ``(S,)``: True for padding, or floats.
            is_causal: ``src_mask`` is the causal mask; a hint that allows a faster form.
            segment_ids: which of several sequences packed in one each position belongs to, ``(N, S)``, whatever
                ``batch_first`` is, or ``(S,)``; as `funcnet.data.pack` yields. Attention stays within a segment,
                and 0 is padding.
        """
        # Attention of one's own need not know of segments that there are not.
        packed: dict[str, Any] = {} if segment_ids is None else {"segment_ids": segment_ids}

        def attend(x: Array) -> Array:
            masks = src_key_padding_mask, False, src_mask
            attended = self.self_attn(x, x, x, *masks, is_causal=is_causal, **packed)
            return self.dropout1(attended[0])

        src = self._without_padding(src, src_key_padding_mask, segment_ids)
        x = self._residual(src, self.norm1, attend)
        return self._residual(x, self.norm2, lambda x: self.dropout2(self._feed_forward(x)))


class TransformerEncoder(Module):
    """A stack of encoder layers.

    Args:
        encoder_layer: a layer to copy; each copy has parameters of its own.
        num_layers: number of copies.
        norm: a last normalization, or ``None``.
        enable_nested_tensor: without effect; padding is always computed with the rest.
        mask_check: without effect.

    Attributes:
        layers: the copies.
        norm: the last normalization.

    >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> net = fn.functionalize(nn.TransformerEncoder(layer, 3))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((4, 5, 8)))[0].shape
    (4, 5, 8)

    Reference: ``torch.nn.TransformerEncoder``.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        self.layers = layer_copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def __call__(
        self,
        src: Array,
        mask: Array | None = None,
        src_key_padding_mask: Array | None = None,
        is_causal: bool | None = None,
        *,
        segment_ids: ArrayLike | None = None,
    ) -> Array:
        """Pass a sequence through the layers.

        Args:
            src: the sequence, as the layers take it.
            mask: ``(S, S)`` or ``(N * nhead, S, S)``: True where not to attend, or floats.
            src_key_padding_mask: ``(N, S)`` or ``(S,)``: True for padding, or floats.
            is_causal: ``mask`` is the causal mask; a hint that allows a faster form.
            segment_ids: which of several sequences packed in one each position belongs to, ``(N, S)``, whatever
                ``batch_first`` is, or ``(S,)``; as `funcnet.data.pack` yields. Attention stays within a segment,
                and 0 is padding.
        """
        output = src
        # A layer of one's own need not know of segments that there are not.
        packed: dict[str, Any] = {} if segment_ids is None else {"segment_ids": segment_ids}
        for layer in self.layers:
            output = layer(
                output,
                src_mask=mask,
                src_key_padding_mask=src_key_padding_mask,
                is_causal=bool(is_causal),
                **packed,
            )
        return output if self.norm is None else self.norm(output)
