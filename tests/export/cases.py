"""The models that are carried out of Python, in sizes that compile in a moment.

    case = CASES["llama"]
    model = case.model(jnp.float32)            # kept: a second call costs nothing
    model.params, model.state, model.entries   # what every exporter takes: export.save(path, model.entries, ...)
    inputs = model.example("step", 3)          # a tuple of trees, as the function takes it
    outputs = model.reference("step", 3)       # what the function gives for it, a list of NumPy arrays
    model.far("step", 3, outputs)              # how far outputs are from that

Nothing is built before it is asked for.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import functional as F
from funcnet import nn
from tests.export.case import (
    BATCHES,
    DTYPES,
    TOLERANCE,
    Case,
    Function,
    Input,
    Model,
    alone,
    relative_error,
)

__all__ = ["BATCHES", "CASES", "DTYPES", "TOLERANCE", "Case", "Model", "relative_error"]


def tokens(vocabulary: int, *lengths: int) -> Input:
    return Input("tokens", ("batch", *lengths), vocabulary)


def images(channels: int, size: int) -> Input:
    return Input("images", ("batch", channels, size, size))


def gpt2() -> Any:
    from examples.models.gpt2 import GPT2, GPT2Config

    config = GPT2Config(vocab_size=61, n_positions=16, n_embd=24, n_layer=2, n_head=3)
    return alone(GPT2(config), tokens(61, 12))


def llama() -> Any:
    """The whole text at once; a prompt into an empty cache; one more token with the cache that came back."""
    from examples.models.llama import Llama, LlamaConfig

    config = LlamaConfig(
        vocab_size=53,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model, capacity = Llama(config), 10
    decode, decoder = fn.functionalize(model.decode), model.model

    def prefill(params: Any, state: Any, prompt: jax.Array) -> Any:
        dtype = params["model"]["norm"]["weight"].dtype
        caches = model.empty_caches(prompt.shape[0], capacity, dtype)
        return decode.apply(params, state, prompt, caches)

    def cache(layer: int) -> nn.KeyValueCache:
        shape = ("batch", 2, capacity, config.features)
        return nn.KeyValueCache(
            Input(f"key{layer}", shape),  # pyright: ignore[reportArgumentType]
            Input(f"value{layer}", shape),  # pyright: ignore[reportArgumentType]
            Input(f"length{layer}", (), 6, 5),  # pyright: ignore[reportArgumentType]
        )

    caches = [cache(layer) for layer in range(len(decoder.layers))]
    return model, {
        "call": Function(fn.functionalize(model), (tokens(53, 8),)),
        "prefill": Function(prefill, (tokens(53, 5),)),
        "step": Function(decode, (tokens(53, 1), caches)),
    }


def bert() -> Any:
    """Features of a text; and one vector of it, with a mask."""
    from examples.models.bert import Bert, BertConfig

    model = Bert(
        BertConfig(
            vocab_size=47,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=48,
            max_position_embeddings=16,
        )
    )

    def embed(params: Any, state: Any, texts: jax.Array, lengths: jax.Array) -> Any:
        mask = jnp.arange(texts.shape[1]) < lengths[:, None]
        return fn.functionalize(model.embed).apply(params, state, texts, mask)

    lengths = Input("lengths", ("batch",), 10, 1)
    return model, {
        "call": Function(fn.functionalize(model), (tokens(47, 9),)),
        "embed": Function(embed, (tokens(47, 9), lengths)),
    }


def vit() -> Any:
    from examples.models.vit import ViT, ViTConfig

    config = ViTConfig(
        image_size=16,
        patch_size=4,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        num_labels=7,
    )
    return alone(ViT(config), images(3, 16))


def resnet() -> Any:
    from examples.models.resnet import ResNet, ResNetConfig

    # of 32 pixels the last convolution's result would be one pixel, which IREE 3.13 refuses
    return alone(ResNet(ResNetConfig((1, 1, 1, 1), width=8, num_classes=9)), images(3, 64))


def unet() -> Any:
    from examples.models.unet import UNet, UNetConfig

    return alone(UNet(UNetConfig(channels=3, classes=2, width=4)), images(3, 32))


def lstm_lm() -> Any:
    """A text from nothing; and the next token with the memory of what came before."""
    from examples.models.lstm_lm import LSTMLM, LSTMConfig

    config = LSTMConfig(vocab_size=43, embedding_size=12, hidden_size=12, layers=2, tied=True)
    model = LSTMLM(config)
    net = fn.functionalize(model)
    memory = (Input("hidden", (2, "batch", 12)), Input("cell", (2, "batch", 12)))
    return model, {
        "call": Function(net, (tokens(43, 6),)),
        "step": Function(net, (tokens(43, 1), memory)),
    }


def mnist() -> Any:
    from examples.mnist import DigitNet

    return alone(DigitNet(), Input("image", ("batch", 1, 28, 28)))


def mnist_bytes() -> Any:
    """The digits' network for pictures as they are on disk: preprocessing is part of the function."""
    from examples.mnist import DigitNet

    model = DigitNet()
    net = fn.functionalize(model)

    def read(params: Any, state: Any, image: jax.Array) -> Any:
        dtype = params["head"]["weight"].dtype
        scaled = (image.astype(jnp.float32) / 255 - 0.1307) / 0.3081
        logits, state = net.apply(params, state, scaled.astype(dtype)[:, None])
        return {"digit": logits.argmax(-1), "logits": logits}, state

    pixels = Input("image", ("batch", 28, 28), 256, dtype=np.uint8)
    return model, {"call": Function(read, (pixels,))}


def char_gpt() -> Any:
    from examples.char_gpt import CharGPT

    model = CharGPT(vocabulary=37, context=16, width=24, layers=2, heads=2, dropout=0.1)
    return model, {"call": Function(fn.functionalize(model), (tokens(37, 12),))}


def mlp() -> Any:
    model = nn.Sequential(nn.Linear(9, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))
    return alone(model, Input("input", ("batch", 9)))


class SequenceClassifier(nn.Module):
    """A bidirectional LSTM over sequences of several lengths, its last states, and a linear head."""

    def __init__(self) -> None:
        self.rnn = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def __call__(self, sequences: jax.Array, lengths: jax.Array) -> jax.Array:
        _, (hidden, _) = self.rnn(sequences, lengths=lengths)
        return F.log_softmax(self.head(jnp.concatenate([hidden[0], hidden[1]], -1)), -1)


def lstm_classifier() -> Any:
    sequences = Input("sequences", ("batch", 7, 6))
    return alone(SequenceClassifier(), sequences, Input("lengths", ("batch",), 8, 1))


def convolutions() -> Any:
    """Grouped, depthwise, strided, dilated and transposed convolutions, and other paddings."""
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, groups=2),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.GroupNorm(2, 8),
        nn.Conv2d(8, 6, 3, padding=2, dilation=2, padding_mode="reflect"),
        nn.ConvTranspose2d(6, 6, 3, stride=2, padding=1, output_padding=1, groups=3),
        nn.Hardswish(),
        nn.AvgPool2d(3, 2, 1),
        nn.ConvTranspose2d(6, 2, 4, stride=2, padding=1),
    )
    return alone(model, images(4, 12))


def running_statistics() -> Any:
    """One step of training of a net with batch norm: the new running statistics come out as well."""
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    net, given = fn.functionalize(model), Input("input", ("batch", 5))
    return model, {
        "call": Function(net, (given,)),
        # a batch of one has no variance of its own, so that a fixed row is added to the batch
        "update": Function(
            _with_one_row_more(net), (given,), returns_state=True, keywords={"train": True}
        ),
    }


def _with_one_row_more(net: fn.Functional) -> Any:
    def update(params: Any, state: Any, input: jax.Array, train: bool) -> Any:
        rows = jnp.concatenate([input, jnp.ones((1, 5), input.dtype)])
        return net.apply(params, state, rows, train=train)

    return update


_MAKERS: dict[Callable[[], Any], tuple[str, ...]] = {
    gpt2: ("call",),
    llama: ("call", "prefill", "step"),
    bert: ("call", "embed"),
    vit: ("call",),
    resnet: ("call",),
    unet: ("call",),
    lstm_lm: ("call", "step"),
    mnist: ("call",),
    mnist_bytes: ("call",),
    char_gpt: ("call",),
    mlp: ("call",),
    lstm_classifier: ("call",),
    convolutions: ("call",),
    running_statistics: ("call", "update"),
}

CASES = {make.__name__: Case(make.__name__, make, names) for make, names in _MAKERS.items()}
