"""The models of `benchmarks.models` in Flax NNX with Optax, as a user writes them.

Weights and biases start as PyTorch's do, so that all sides train alike: Flax's own start differs.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.models_data import CLASSES, LR, VOCABULARY, WEIGHT_DECAY

KERNEL = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform(inputs: int) -> Callable[..., jax.Array]:
    """Return the start of a bias behind so many inputs."""
    bound = inputs**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    bias = uniform(inputs)
    return nnx.Linear(inputs, outputs, kernel_init=KERNEL, bias_init=bias, rngs=rngs)


def conv(inputs: int, outputs: int, size: int, rngs: nnx.Rngs, **how: Any) -> nnx.Conv:
    settings: Any = {"padding": size // 2, "bias_init": uniform(inputs * size**2)} | how
    return nnx.Conv(inputs, outputs, (size, size), kernel_init=KERNEL, rngs=rngs, **settings)


def embedding(rows: int, width: int, rngs: nnx.Rngs) -> nnx.Embed:
    return nnx.Embed(rows, width, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)


def batch_norm(width: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(width, momentum=0.9, epsilon=1e-5, rngs=rngs)


def layer_norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)


def pool(x: jax.Array) -> jax.Array:
    return nnx.max_pool(x, (2, 2), (2, 2))


def mlp(rngs: nnx.Rngs) -> nnx.Module:
    first, second = linear(784, 512, rngs), linear(512, 512, rngs)
    return nnx.Sequential(first, nnx.relu, second, nnx.relu, linear(512, CLASSES, rngs))


def deep(rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Sequential(*(f for _ in range(100) for f in (linear(64, 64, rngs), nnx.relu)))


class CNN(nnx.Module):
    """Two convolutions with batch norm, each followed by pooling, and a linear head."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1, self.norm1 = conv(1, 32, 3, rngs), batch_norm(32, rngs)
        self.conv2, self.norm2 = conv(32, 64, 3, rngs), batch_norm(64, rngs)
        self.head = linear(64 * 7 * 7, CLASSES, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images ``(N, 1, 28, 28)`` to logits."""
        x = jnp.moveaxis(x, 1, -1)
        x = pool(nnx.relu(self.norm1(self.conv1(x))))
        x = pool(nnx.relu(self.norm2(self.conv2(x))))
        return self.head(x.reshape(len(x), -1))


class LSTMLM(nnx.Module):
    """An embedding, one LSTM and a linear head."""

    def __init__(self, rngs: nnx.Rngs, width: int = 256) -> None:
        self.tokens = embedding(VOCABULARY, width, rngs)
        starts: Any = {"kernel_init": KERNEL, "recurrent_kernel_init": KERNEL}
        starts["bias_init"] = uniform(width)
        cell = nnx.OptimizedLSTMCell(width, width, rngs=rngs, **starts)
        self.lstm, self.head = nnx.RNN(cell, rngs=rngs), linear(width, VOCABULARY, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens ``(N, T)`` to logits ``(N, T, V)``."""
        hidden: Any = self.lstm(self.tokens(tokens))
        return self.head(hidden)


class Block(nnx.Module):
    """Self-attention and an MLP, each after a layer norm and around a shortcut."""

    def __init__(self, width: int, heads: int, causal: bool, rngs: nnx.Rngs) -> None:
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = layer_norm(width, rngs), layer_norm(width, rngs)
        self.qkv, self.project = linear(width, 3 * width, rngs), linear(width, width, rngs)
        self.up, self.down = linear(width, 4 * width, rngs), linear(4 * width, width, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        qkv = self.qkv(self.norm1(x)).reshape(*x.shape[:2], 3, self.heads, -1)
        q, k, v = jnp.moveaxis(qkv, 2, 0)
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.project(attended.reshape(x.shape))
        return x + self.down(nnx.gelu(self.up(self.norm2(x)), approximate=False))


class GPT(nnx.Module):
    """Four causal blocks of width 128."""

    def __init__(self, rngs: nnx.Rngs, width: int = 128, layers: int = 4, time: int = 128) -> None:
        self.tokens = embedding(VOCABULARY, width, rngs)
        self.positions = embedding(time, width, rngs)
        self.blocks = nnx.List([Block(width, 4, True, rngs) for _ in range(layers)])
        self.norm, self.head = layer_norm(width, rngs), linear(width, VOCABULARY, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens ``(N, T)`` to logits ``(N, T, V)``."""
        x = self.tokens(tokens) + self.positions(jnp.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class ResidualBlock(nnx.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(inputs, outputs, 3, rngs, strides=stride, use_bias=False)
        self.norm1 = batch_norm(outputs, rngs)
        self.conv2 = conv(outputs, outputs, 3, rngs, use_bias=False)
        self.norm2 = batch_norm(outputs, rngs)
        self.shortcut = nnx.List([])
        if stride != 1 or inputs != outputs:
            self.shortcut.append(conv(inputs, outputs, 1, rngs, strides=stride, use_bias=False))
            self.shortcut.append(batch_norm(outputs, rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images to images."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        for layer in self.shortcut:
            x = layer(x)
        return nnx.relu(self.norm2(self.conv2(y)) + x)


class ResNet18(nnx.Module):
    """ResNet-18 with the stem for images of 32x32."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem, self.norm = conv(3, 64, 3, rngs, use_bias=False), batch_norm(64, rngs)
        blocks = []
        for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
            blocks.append(ResidualBlock(inputs, outputs, stride, rngs))
            blocks.append(ResidualBlock(outputs, outputs, 1, rngs))
        self.blocks, self.head = nnx.List(blocks), linear(512, CLASSES, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images ``(N, 3, 32, 32)`` to logits."""
        x = nnx.relu(self.norm(self.stem(jnp.moveaxis(x, 1, -1))))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


class ViT(nnx.Module):
    """ViT-tiny on patches of 4x4, whose tokens are averaged."""

    def __init__(self, rngs: nnx.Rngs, width: int = 192, layers: int = 12) -> None:
        self.patches = conv(3, width, 4, rngs, strides=4, padding="VALID")
        self.positions = nnx.Param(0.02 * jax.random.normal(rngs.params(), (64, width)))
        self.blocks = nnx.List([Block(width, 3, False, rngs) for _ in range(layers)])
        self.norm, self.head = layer_norm(width, rngs), linear(width, CLASSES, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images ``(N, 3, 32, 32)`` to logits."""
        x = self.patches(jnp.moveaxis(x, 1, -1))
        x = x.reshape(len(x), 64, -1) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


MODELS: dict[str, Callable[[nnx.Rngs], nnx.Module]] = {
    "mlp": mlp,
    "deep": deep,
    "cnn": CNN,
    "lstm": LSTMLM,
    "gpt": GPT,
    "resnet": ResNet18,
    "vit": ViT,
}


def train(model: Any, optimizer: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Take one step, which changes the model and the optimizer in place."""

    def loss(model: Any) -> jax.Array:
        output = model(x)
        if y.ndim == output.ndim:
            return jnp.mean(jnp.square(output - y))
        return optax.softmax_cross_entropy_with_integer_labels(output, y).mean()

    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads)
    return value


def make(row: str, x: Any, y: Any, variant: str = "") -> tuple[Callable[[], object], int]:
    """Return one training step that finishes before it returns, and the number of parameters.

    The functional loop is the one that Flax's guide to performance leaves without work in Python at each step;
    the variant ``nnx.jit`` is the usual one.
    """
    model = MODELS[row](nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(LR, weight_decay=WEIGHT_DECAY), wrt=nnx.Param)
    x, y = jnp.asarray(x), jnp.asarray(y)
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    if variant == "nnx.jit":
        usual: Any = nnx.jit(train, donate_argnames=("model", "optimizer"))
        return lambda: jax.block_until_ready(usual(model, optimizer, x, y)), count

    def step(graph: Any, state: Any, x: jax.Array, y: jax.Array) -> Any:
        model, optimizer = nnx.merge(graph, state)
        value = train(model, optimizer, x, y)
        return nnx.state((model, optimizer)), value

    jitted = jax.jit(step, static_argnums=0, donate_argnums=1)
    graph, state = nnx.split((model, optimizer))
    held = [state]

    def run() -> object:
        held[0], value = jitted(graph, held[0], x, y)
        jax.block_until_ready((held, value))
        return value

    return run, count
