"""Rows of the transformer's layers and stacks."""

import numpy as np

from tests.parity import Layer, bools, values

SRC, TGT = (5, 2, 8), (4, 2, 8)
CAUSAL = values(np.triu(np.ones((5, 5), bool), 1))
TGT_CAUSAL = values(np.triu(np.ones((4, 4), bool), 1))
PADDING = values(np.array([[False, False, False, True, True], [False, True, False, False, False]]))
FORWARD = {"train": False, "gradients": False, "vmap": False, "dtypes": False}
"""Stacks only pass arguments on: their first rows and their layers' rows have the gradients."""

SMALL = {"dim_feedforward": 6, "dropout": 0.0}


def _squared(x):
    return x * x


def _encoder_layer(kwargs, inputs=(SRC,), call=None, **how):
    settings = SMALL | kwargs
    how = {"train": False, "gradients": False} | how
    call = {} if call is None else call
    return Layer("TransformerEncoderLayer", (8, 2), settings, inputs=inputs, call=call, **how)


def _decoder_layer(kwargs, inputs=(TGT, SRC), call=None, **how):
    settings = SMALL | kwargs
    how = {"train": False, "gradients": False} | how
    call = {} if call is None else call
    return Layer("TransformerDecoderLayer", (8, 2), settings, inputs=inputs, call=call, **how)


def _encoder(build, inputs=(SRC,), call=None, **how):
    call = {} if call is None else call
    return Layer("TransformerEncoder", build=build, inputs=inputs, call=call, **(FORWARD | how))


def _decoder(build, inputs=(TGT, SRC), call=None, **how):
    call = {} if call is None else call
    return Layer("TransformerDecoder", build=build, inputs=inputs, call=call, **(FORWARD | how))


def encoders(count, last_norm=False, **kwargs):
    def build(nn):
        layer = nn.TransformerEncoderLayer(8, 2, **SMALL, **kwargs)
        norm = nn.LayerNorm(8) if last_norm else None
        return nn.TransformerEncoder(layer, count, norm, enable_nested_tensor=False)

    return build


def decoders(count, last_norm=False, **kwargs):
    def build(nn):
        layer = nn.TransformerDecoderLayer(8, 2, **SMALL, **kwargs)
        return nn.TransformerDecoder(layer, count, nn.LayerNorm(8) if last_norm else None)

    return build


def _transformer(kwargs, inputs=(SRC, TGT), call=None, **how):
    settings = SMALL | {"num_encoder_layers": 1, "num_decoder_layers": 1} | kwargs
    call = {} if call is None else call
    return Layer("Transformer", (8, 2), settings, inputs=inputs, call=call, **(FORWARD | how))


def _custom(nn):
    return nn.Transformer(
        8, 2, 1, 1, 6, 0.0, custom_encoder=encoders(2)(nn), custom_decoder=decoders(1)(nn)
    )


ROWS = [
    _encoder_layer({}, train=True, gradients=True),
    _encoder_layer({"norm_first": True, "activation": "gelu"}, gradients=True),
    _encoder_layer({"batch_first": True, "bias": False, "layer_norm_eps": 1e-2}, [(2, 5, 8)]),
    _encoder_layer({"activation": _squared}, [(5, 8)]),
    _encoder_layer({}, call={"src_mask": CAUSAL, "is_causal": True}),
    _encoder_layer({}, call={"src_mask": bools((4, 5, 5), 0.3), "src_key_padding_mask": PADDING}),
    _decoder_layer({}, gradients=True),
    _decoder_layer({"norm_first": True, "activation": "gelu", "bias": False}, gradients=True),
    _decoder_layer({"batch_first": True}, [(2, 4, 8), (2, 5, 8)]),
    _decoder_layer({}, [(4, 8), (5, 8)]),
    _decoder_layer({}, call={"tgt_mask": TGT_CAUSAL, "tgt_is_causal": True}),
    _decoder_layer(
        {}, call={"memory_mask": bools((4, 5), 0.3), "memory_key_padding_mask": PADDING}
    ),
    _encoder(encoders(2), note=" two", gradients=True),
    _encoder(encoders(1, True, norm_first=True), note=" norm"),
    _encoder(encoders(1, batch_first=True), [(2, 5, 8)], note=" batch first"),
    _encoder(encoders(1), call={"mask": CAUSAL}, note=" causal, to be noticed"),
    _encoder(encoders(1), call={"mask": CAUSAL, "is_causal": True}, note=" causal"),
    _encoder(encoders(1), call={"src_key_padding_mask": PADDING}, note=" padding"),
    _encoder(encoders(1), [(5, 8)], note=" one example"),
    _decoder(decoders(2), note=" two", gradients=True),
    _decoder(decoders(1, True, norm_first=True), note=" norm"),
    _decoder(decoders(1, batch_first=True), [(2, 4, 8), (2, 5, 8)], note=" batch first"),
    _decoder(decoders(1), call={"tgt_mask": TGT_CAUSAL}, note=" causal"),
    _decoder(decoders(1), call={"memory_key_padding_mask": PADDING}, note=" padding"),
    _decoder(decoders(1), [(4, 8), (5, 8)], note=" one example"),
    _transformer({}, gradients=True),
    _transformer({"norm_first": True, "num_decoder_layers": 2, "activation": "gelu"}),
    _transformer({"batch_first": True, "bias": False}, [(2, 5, 8), (2, 4, 8)]),
    _transformer({}, [(5, 8), (4, 8)]),
    _transformer({}, call={"tgt_mask": TGT_CAUSAL, "src_mask": CAUSAL}),
    _transformer({}, call={"src_key_padding_mask": PADDING, "memory_key_padding_mask": PADDING}),
    Layer("Transformer", build=_custom, inputs=[SRC, TGT], note=" custom", **FORWARD),
]

RAISES = [
    _encoder_layer({"activation": "tanh"}).raises(
        ValueError, "activation must be 'relu', 'gelu' or a function"
    ),
    _encoder_layer({}, call={"is_causal": True}).raises(
        ValueError, "is_causal=True is a hint about attn_mask"
    ),
    _encoder_layer({}, [(5, 2, 7)]).raises(ValueError, "query must have 8 features"),
    _transformer({}, [(5, 2, 8), (4, 3, 8)]).raises(
        ValueError, "src and tgt must have as many examples"
    ),
    _transformer({}, [(5, 2, 7), (4, 2, 7)]).raises(ValueError, "src and tgt must have 8 features"),
    Layer("TransformerEncoderLayer", (8, 3), inputs=[SRC]).raises(
        ValueError, "embed_dim must be divisible by num_heads"
    ),
]
