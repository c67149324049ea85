"""The models of `benchmarks.models` in Equinox with Optax, as a user writes them for one example."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from equinox import nn

from benchmarks.models_data import CLASSES, LR, VOCABULARY, WEIGHT_DECAY

RELU = nn.Lambda(jax.nn.relu)


class Keys:
    """New random keys, one for each layer."""

    def __init__(self) -> None:
        self.key = jax.random.key(0)

    def __call__(self) -> jax.Array:
        """Return a key that was not used before."""
        self.key, key = jax.random.split(self.key)
        return key


def conv(inputs: int, outputs: int, keys: Keys, stride: int = 1, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, use_bias=False, key=keys())


def batch_norm(width: int) -> nn.BatchNorm:
    return nn.BatchNorm(width, "batch", momentum=0.9, mode="batch")


def mlp(keys: Keys) -> nn.Sequential:
    first, second = nn.Linear(784, 512, key=keys()), nn.Linear(512, 512, key=keys())
    return nn.Sequential([first, RELU, second, RELU, nn.Linear(512, CLASSES, key=keys())])


def deep(keys: Keys) -> nn.Sequential:
    return nn.Sequential([f for _ in range(100) for f in (nn.Linear(64, 64, key=keys()), RELU)])


def cnn(keys: Keys) -> nn.Sequential:
    layers: list[Any] = []
    for inputs, outputs in ((1, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, key=keys()), batch_norm(outputs)]
        layers += [RELU, nn.MaxPool2d(2, 2)]
    head = nn.Linear(64 * 7 * 7, CLASSES, key=keys())
    return nn.Sequential([*layers, nn.Lambda(jnp.ravel), head])


class LSTMLM(eqx.Module):
    """An embedding, one LSTM and a linear head."""

    tokens: nn.Embedding
    cell: nn.LSTMCell
    head: nn.Linear

    def __init__(self, keys: Keys, width: int = 256) -> None:
        self.tokens = nn.Embedding(VOCABULARY, width, key=keys())
        self.cell = nn.LSTMCell(width, width, key=keys())
        self.head = nn.Linear(width, VOCABULARY, key=keys())

    def __call__(self, tokens: jax.Array, state: nn.State) -> tuple[jax.Array, nn.State]:
        """Map tokens ``(T,)`` to logits ``(T, V)``."""

        def step(carry: Any, x: jax.Array) -> Any:
            carry = self.cell(x, carry)
            return carry, carry[0]

        zeros = jnp.zeros(self.cell.hidden_size)
        _, hidden = jax.lax.scan(step, (zeros, zeros), jax.vmap(self.tokens)(tokens))
        return jax.vmap(self.head)(hidden), state


class Block(eqx.Module):
    """Self-attention and an MLP, each after a layer norm and around a shortcut."""

    norm1: nn.LayerNorm
    norm2: nn.LayerNorm
    qkv: nn.Linear
    project: nn.Linear
    up: nn.Linear
    down: nn.Linear
    heads: int = eqx.field(static=True)
    causal: bool = eqx.field(static=True)

    def __init__(self, width: int, heads: int, causal: bool, keys: Keys) -> None:
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, key=keys())
        self.project = nn.Linear(width, width, key=keys())
        self.up = nn.Linear(width, 4 * width, key=keys())
        self.down = nn.Linear(4 * width, width, key=keys())

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(T, D)`` to ``(T, D)``."""
        qkv = jax.vmap(self.qkv)(jax.vmap(self.norm1)(x)).reshape(len(x), 3, self.heads, -1)
        q, k, v = jnp.moveaxis(qkv, 1, 0)
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + jax.vmap(self.project)(attended.reshape(x.shape))
        hidden = jax.nn.gelu(jax.vmap(self.up)(jax.vmap(self.norm2)(x)), approximate=False)
        return x + jax.vmap(self.down)(hidden)


class GPT(eqx.Module):
    """Four causal blocks of width 128."""

    tokens: nn.Embedding
    positions: nn.Embedding
    blocks: list[Block]
    norm: nn.LayerNorm
    head: nn.Linear

    def __init__(self, keys: Keys, width: int = 128, layers: int = 4, time: int = 128) -> None:
        self.tokens = nn.Embedding(VOCABULARY, width, key=keys())
        self.positions = nn.Embedding(time, width, key=keys())
        self.blocks = [Block(width, 4, True, keys) for _ in range(layers)]
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, key=keys())

    def __call__(self, tokens: jax.Array, state: nn.State) -> tuple[jax.Array, nn.State]:
        """Map tokens ``(T,)`` to logits ``(T, V)``."""
        x = jax.vmap(self.tokens)(tokens) + jax.vmap(self.positions)(jnp.arange(len(tokens)))
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.head)(jax.vmap(self.norm)(x)), state


class ResidualBlock(nn.StatefulLayer):
    """Two 3x3 convolutions around a shortcut."""

    body: nn.Sequential
    shortcut: nn.Sequential

    def __init__(self, inputs: int, outputs: int, stride: int, keys: Keys) -> None:
        first = [conv(inputs, outputs, keys, stride), batch_norm(outputs), RELU]
        self.body = nn.Sequential([*first, conv(outputs, outputs, keys), batch_norm(outputs)])
        layers = []
        if stride != 1 or inputs != outputs:
            layers = [conv(inputs, outputs, keys, stride, size=1), batch_norm(outputs)]
        self.shortcut = nn.Sequential(layers)

    def __call__(self, x: jax.Array, state: nn.State, *, key: Any = None) -> Any:
        """Map an image to an image."""
        y, state = self.body(x, state)
        x, state = self.shortcut(x, state)
        return jax.nn.relu(x + y), state


def resnet(keys: Keys) -> nn.Sequential:
    layers: list[Any] = [conv(3, 64, keys), batch_norm(64), RELU]
    for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        layers.append(ResidualBlock(inputs, outputs, stride, keys))
        layers.append(ResidualBlock(outputs, outputs, 1, keys))
    average = nn.Lambda(lambda x: x.mean((1, 2)))
    return nn.Sequential([*layers, average, nn.Linear(512, CLASSES, key=keys())])


class ViT(eqx.Module):
    """ViT-tiny on patches of 4x4, whose tokens are averaged."""

    patches: nn.Conv2d
    positions: jax.Array
    blocks: list[Block]
    norm: nn.LayerNorm
    head: nn.Linear

    def __init__(self, keys: Keys, width: int = 192, layers: int = 12) -> None:
        self.patches = nn.Conv2d(3, width, 4, 4, key=keys())
        self.positions = 0.02 * jax.random.normal(keys(), (64, width))
        self.blocks = [Block(width, 3, False, keys) for _ in range(layers)]
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES, key=keys())

    def __call__(self, x: jax.Array, state: nn.State) -> tuple[jax.Array, nn.State]:
        """Map an image ``(3, 32, 32)`` to logits."""
        x = self.patches(x)
        x = x.reshape(len(x), -1).T + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(jax.vmap(self.norm)(x).mean(0)), state


MODELS: dict[str, Callable[[Keys], Callable]] = {
    "mlp": mlp,
    "deep": deep,
    "cnn": cnn,
    "lstm": LSTMLM,
    "gpt": GPT,
    "resnet": resnet,
    "vit": ViT,
}


def loss(model: Any, state: Any, x: jax.Array, y: jax.Array) -> Any:
    """Return the loss of a batch, and the new running statistics."""
    batched = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    output, state = batched(x, state)
    if y.ndim == output.ndim:
        return jnp.mean(jnp.square(output - y)), state
    return optax.softmax_cross_entropy_with_integer_labels(output, y).mean(), state


def make(row: str, x: Any, y: Any, variant: str = "") -> tuple[Callable[[], object], int]:
    """Return one training step that finishes before it returns, and the number of parameters."""
    model, state = nn.make_with_state(MODELS[row])(Keys())
    optimizer = optax.adamw(LR, weight_decay=WEIGHT_DECAY)
    params = eqx.filter(model, eqx.is_inexact_array)
    data = jnp.asarray(x), jnp.asarray(y)

    @eqx.filter_jit(donate="all-except-first")
    def step(data: Any, model: Any, state: Any, opt_state: Any) -> Any:
        differentiate = eqx.filter_value_and_grad(loss, has_aux=True)
        (value, state), grads = differentiate(model, state, *data)
        params = eqx.filter(model, eqx.is_inexact_array)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return eqx.apply_updates(model, updates), state, opt_state, value

    held = [model, state, optimizer.init(params)]

    def run() -> object:
        *held[:], value = step(data, *held)
        jax.block_until_ready(value)  # of one program: everything is ready when one result is
        return value

    return run, sum(leaf.size for leaf in jax.tree.leaves(params))
