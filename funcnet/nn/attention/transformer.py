"""The transformer of an encoder and a decoder."""

from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.functional import relu
from funcnet.functional.attention.implementations import AttentionForm
from funcnet.module import Module
from funcnet.module.description import layout_of
from funcnet.nn import init
from funcnet.nn.attention.transformer_decoder import TransformerDecoder, TransformerDecoderLayer
from funcnet.nn.attention.transformer_encoder import TransformerEncoder, TransformerEncoderLayer
from funcnet.nn.attention.transformer_layer import ActivationOrName
from funcnet.nn.normalization.layer import LayerNorm

__all__ = ["Transformer"]


class Transformer(Module):
    """The encoder-decoder model of *Attention Is All You Need*, without embeddings.

    Inputs ``(S, N, d_model)`` and ``(T, N, d_model)``, ``(N, S, d_model)`` and ``(N, T, d_model)``
    with ``batch_first``, or without N; the output has the shape of the second. All matrices start
    from Glorot's uniform distribution.

    Args:
        d_model: number of features.
        nhead: number of heads, a divisor of ``d_model``.
        num_encoder_layers: number of encoder layers.
        num_decoder_layers: number of decoder layers.
        dim_feedforward: width of the feed-forward blocks.
        dropout: probability of dropout, in attention and after each block.
        activation: ``"relu"``, ``"gelu"`` or a function.
        custom_encoder: a module to use as the encoder.
        custom_decoder: a module to use as the decoder.
        layer_norm_eps: added to the variance in the norms.
        batch_first: the batch is the first axis rather than the second.
        norm_first: normalize before each block rather than after its residual.
        bias: learn biases of linear maps and norms.
        dtype: of the parameters.
        implementation: which form computes the attention, as of `F.scaled_dot_product_attention`; by default
            what was measured to be the fastest that serves.

    Attributes:
        encoder: `TransformerEncoder`, with a last `LayerNorm`.
        decoder: `TransformerDecoder`, with a last `LayerNorm`.

    >>> net = fn.functionalize(nn.Transformer(8, 2, 1, 1, 16))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((5, 4, 8)), jnp.ones((3, 4, 8)))[0].shape
    (3, 4, 8)

    Reference: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762; ``torch.nn.Transformer``.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: ActivationOrName = relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: DType = jnp.float32,
        implementation: AttentionForm | None = None,
    ) -> None:
        settings: tuple[Any, ...] = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias,
        )  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

        if custom_encoder is None:
            layer = TransformerEncoderLayer(*settings, dtype=dtype, implementation=implementation)
            custom_encoder = TransformerEncoder(layer, num_encoder_layers, norm())
        if custom_decoder is None:
            layer = TransformerDecoderLayer(*settings, dtype=dtype, implementation=implementation)
            custom_decoder = TransformerDecoder(layer, num_decoder_layers, norm())
        self.encoder = custom_encoder
        self.decoder = custom_decoder
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first
        for spec in layout_of(self).parameters.values():
            if len(spec.shape) > 1:
                spec.init = init.xavier_uniform()

    def __call__(
        self,
        src: Array,
        tgt: Array,
        src_mask: Array | None = None,
        tgt_mask: Array | None = None,
        memory_mask: Array | None = None,
        src_key_padding_mask: Array | None = None,
        tgt_key_padding_mask: Array | None = None,
        memory_key_padding_mask: Array | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
        *,
        src_segment_ids: ArrayLike | None = None,
        tgt_segment_ids: ArrayLike | None = None,
    ) -> Array:
        """Encode one sequence and decode another with it.

        Args:
            src: the sequence to encode.
            tgt: the sequence to decode.
            src_mask: ``(S, S)`` or ``(N * nhead, S, S)``: True where not to attend, or floats.
            tgt_mask: ``(T, T)`` or ``(N * nhead, T, T)``, likewise.
            memory_mask: ``(T, S)`` or ``(N * nhead, T, S)``, likewise.
            src_key_padding_mask: ``(N, S)`` or ``(S,)``: True for padding, or floats.
            tgt_key_padding_mask: ``(N, T)`` or ``(T,)``, likewise.
            memory_key_padding_mask: ``(N, S)`` or ``(S,)``, likewise.
            src_is_causal: ``src_mask`` is the causal mask; a hint that allows a faster form.
            tgt_is_causal: ``tgt_mask`` is the causal mask, likewise.
            memory_is_causal: ``memory_mask`` is the causal mask, likewise.
            src_segment_ids: which of several sequences packed in one each position belongs to, ``(N, S)``, whatever
                ``batch_first`` is, or ``(S,)``; as `funcnet.data.pack` yields. 0 is padding.
            tgt_segment_ids: likewise, ``(N, T)`` or ``(T,)``: a segment is decoded with what was encoded of that with
                its own number.

        Raises:
            ValueError: the sequences differ in number of examples, or lack ``d_model`` features, or one alone has
                segment ids.
        """
        batch = 0 if self.batch_first else 1
        if src.ndim == 3 and (tgt.ndim != 3 or src.shape[batch] != tgt.shape[batch]):
            raise ValueError(
                f"src and tgt must have as many examples; got {src.shape} and {tgt.shape}"
            )
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ValueError(
                f"src and tgt must have {self.d_model} features; got {src.shape} and {tgt.shape}"
            )
        if (src_segment_ids is None) != (tgt_segment_ids is None):
            raise ValueError("give both src_segment_ids and tgt_segment_ids, or neither")
        packed = src_segment_ids is not None
        memory = self.encoder(
            src,
            mask=src_mask,
            src_key_padding_mask=src_key_padding_mask,
            is_causal=src_is_causal,
            **({"segment_ids": src_segment_ids} if packed else {}),
        )
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
            **(
                {"tgt_segment_ids": tgt_segment_ids, "memory_segment_ids": src_segment_ids}
                if packed
                else {}
            ),
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, *, dtype: DType = jnp.float32) -> Array:
        """Return the causal mask of floats: ``-inf`` above the diagonal, zero elsewhere.

        Args:
            sz: length of the sequence.
            dtype: of the mask.

        >>> nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        return jnp.triu(jnp.full((sz, sz), -jnp.inf, dtype), 1)
