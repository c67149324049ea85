"""The models that are carried out of Python, in sizes that compile in a moment.

    case = CASES["llama"]
    model = case.model(jnp.float32)            # kept: a second call costs nothing
    model.params, model.state, model.entries   # what every exporter takes: export.save(path, model.entries, ...)
    inputs = model.example("step", 3)          # a tuple of trees, as the function takes it
    outputs = model.reference("step", 3)       # what the function gives for it, a list of NumPy arrays
    model.far("step", 3, outputs)              # how far outputs are from that

Nothing is built before it is asked for.
"""

import functools
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import export, nn
from funcnet import functional as F

__all__ = ["BATCHES", "CASES", "DTYPES", "TOLERANCE", "Case", "Model", "relative_error"]

BATCHES = (1, 2, 3, 32)
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}
"""Of the largest difference, relative to the largest output."""


@dataclass(frozen=True)
class Input:
    """One array that a function takes: floats of the model's dtype from N(0, 1), or integers below a bound."""

    name: str
    shape: tuple[int | str, ...]
    below: int | None = None
    least: int = 0
    dtype: Any = None  # None: the model's

    def spec(self, dtype: Any) -> export.ArraySpec:
        return export.spec(self.shape, self._type(dtype), self.name)

    def draw(self, dtype: Any, batch: int, random: np.random.Generator) -> np.ndarray:
        shape = [batch if length == "batch" else length for length in self.shape]
        drawn = (
            random.standard_normal(shape, np.float32)
            if self.below is None
            else random.integers(self.least, self.below, shape)
        )
        return np.asarray(drawn).astype(self._type(dtype))

    def _type(self, dtype: Any) -> np.dtype:
        if self.dtype is not None:
            return np.dtype(self.dtype)
        return np.dtype(dtype if self.below is None else np.int32)


@dataclass(frozen=True)
class Function:
    """One function of a model: what computes it, and a tree of `Input` for each argument."""

    compute: Any
    inputs: tuple[Any, ...]
    returns_state: bool = False
    keywords: Mapping[str, Any] | None = None

    def entry(self, dtype: Any) -> export.Entry:
        specs = [_mapped(lambda leaf: leaf.spec(dtype), tree) for tree in self.inputs]
        return export.entry(
            self.compute, *specs, returns_state=self.returns_state, **(self.keywords or {})
        )


def _mapped(function: Callable[[Input], Any], tree: Any) -> Any:
    return jax.tree.map(function, tree, is_leaf=lambda node: isinstance(node, Input))


class Model:
    """A model with its arrays and functions."""

    def __init__(self, name: str, module: nn.Module, functions: dict[str, Function], dtype: Any):
        self.name, self.module, self.dtype = name, module, dtype
        self.functions = functions
        self.net = fn.functionalize(module)
        self.params, self.state = _lively(self.net.init(jax.random.key(0)), dtype)
        self._references: dict[tuple[str, int, bool], list[np.ndarray]] = {}

    @property
    def entries(self) -> dict[str, export.Entry]:
        """Each function with the specs of its inputs; the batch is left open."""
        return {name: function.entry(self.dtype) for name, function in self.functions.items()}

    def example(self, function: str, batch: int) -> tuple[Any, ...]:
        """Inputs of that batch, always the same."""
        random = np.random.default_rng(zlib.crc32(f"{self.name} {function} {batch}".encode()))
        return tuple(
            _mapped(lambda leaf: leaf.draw(self.dtype, batch, random), tree)
            for tree in self.functions[function].inputs
        )

    def _apply(self, function: str, params: Any, state: Any, inputs: tuple[Any, ...]) -> Any:
        """What is exported: the output, or a pair of it and the new state."""
        asked = self.functions[function]
        compute = getattr(asked.compute, "apply", asked.compute)
        output, state = compute(params, state, *inputs, **(asked.keywords or {}))
        return (output, state) if asked.returns_state else output

    def reference(self, function: str, batch: int, wide: bool = False) -> list[np.ndarray]:
        """What the function itself gives for the example, leaf by leaf.

        A runtime that carries 16 bits as 32 rounds less often than the function does, whose own error may be larger
        than a tolerance: ``wide`` is the function of the same numbers in 32 bits.
        """
        if (function, batch, wide) not in self._references:
            run = jax.jit(functools.partial(self._apply, function))
            given = (self.params, self.state, self.example(function, batch))
            outputs = jax.tree.leaves(run(*(_widened(given) if wide else given)))
            self._references[function, batch, wide] = [np.asarray(leaf) for leaf in outputs]
        return self._references[function, batch, wide]

    def far(self, function: str, batch: int, found: Any) -> float:
        """How far outputs are from the function's, relative to the largest number of each."""
        references = [self.reference(function, batch)]
        if self.dtype != jnp.float32:
            references.append(self.reference(function, batch, wide=True))
        return min(
            max(relative_error(*pair) for pair in zip(found, expected, strict=True))
            for expected in references
        )


def _widened(trees: Any) -> Any:
    def one(leaf: Any) -> Any:
        wide = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(np.float32) if wide else leaf

    return jax.tree.map(one, trees)


def _lively(trees: Any, dtype: Any) -> Any:
    """Give every array values that a mistake would show in: no bias of zeros, no norm of ones."""
    random = np.random.default_rng(0)

    def one(path: Any, leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        drawn = np.asarray(leaf, np.float32)
        if "running_var" in jax.tree_util.keystr(path):
            drawn = random.uniform(0.5, 2.0, leaf.shape)
        elif leaf.ndim < 2:
            drawn = drawn + 0.2 * random.standard_normal(leaf.shape)
        return jnp.asarray(drawn, dtype)

    return jax.tree_util.tree_map_with_path(one, trees)


@dataclass(frozen=True)
class Case:
    """How a model is made: a function that returns its module and its functions."""

    name: str
    make: Callable[[], tuple[nn.Module, dict[str, Function]]]
    functions: tuple[str, ...] = ("call",)

    @functools.cache  # noqa: B019 - there is one list of cases, and it stays
    def model(self, dtype: Any = jnp.float32) -> Model:
        """Build it, once for each dtype."""
        module, functions = self.make()
        assert tuple(functions) == self.functions, self.name
        return Model(self.name, module, functions, dtype)


def alone(module: nn.Module, *inputs: Input, **keywords: Any) -> tuple[nn.Module, dict]:
    """Make a module's call the only function."""
    return module, {"call": Function(fn.functionalize(module), inputs, keywords=keywords)}


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


def relative_error(found: Any, expected: Any) -> float:
    """Return the largest difference, relative to the largest number expected; infinite if shapes differ."""
    if np.shape(found) != np.shape(expected):
        return float("inf")
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if not expected.size:
        return 0.0
    scale = max(float(np.abs(expected).max()), 1e-6)
    worst = float(np.abs(found - expected).max())
    return worst / scale if np.isfinite(worst) else float("inf")
