"""The models of `benchmarks.models` in funcnet, as a user writes them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import funcnet as fn
from benchmarks.models_data import CLASSES, LR, VOCABULARY, WEIGHT_DECAY
from funcnet import functional as F
from funcnet import nn, optim


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, CLASSES)
    )


def deep() -> nn.Module:
    return nn.Sequential(*(part for _ in range(100) for part in (nn.Linear(64, 64), nn.ReLU())))


class CNN(nn.Module):
    """Two convolutions with batch norm, each followed by pooling, and a linear head."""

    def __init__(self, channels_last: bool = False) -> None:
        where: Any = {"channels_last": channels_last}
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, **where),
            nn.BatchNorm2d(32, **where),
            nn.ReLU(),
            nn.MaxPool2d(2, **where),
            nn.Conv2d(32, 64, 3, padding=1, **where),
            nn.BatchNorm2d(64, **where),
            nn.ReLU(),
            nn.MaxPool2d(2, **where),
        )
        self.head = nn.Linear(64 * 7 * 7, CLASSES)
        self.channels_last = channels_last

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images ``(N, 1, 28, 28)`` to logits."""
        x = jnp.moveaxis(x, 1, -1) if self.channels_last else x
        x = self.body(x)
        return self.head(x.reshape(x.shape[0], -1))


class LSTMLM(nn.Module):
    """An embedding, one LSTM and a linear head."""

    def __init__(self, width: int = 256) -> None:
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, VOCABULARY)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens ``(N, T)`` to logits ``(N, T, V)``."""
        return self.head(self.lstm(self.tokens(tokens))[0])


class Block(nn.Module):
    """Self-attention and an MLP, each after a layer norm and around a shortcut."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        batch, time, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, time, 3, self.heads, -1)
        q, k, v = jnp.moveaxis(qkv, (2, 3), (0, 2))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.project(jnp.moveaxis(attended, 1, 2).reshape(batch, time, width))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Four causal blocks of width 128."""

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 4, time: int = 128) -> None:
        self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(time, width)
        self.blocks = [Block(width, heads, causal=True) for _ in range(layers)]
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens ``(N, T)`` to logits ``(N, T, V)``."""
        x = self.tokens(tokens) + self.positions(jnp.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, where: Any) -> None:
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False, **where)
        self.norm1 = nn.BatchNorm2d(outputs, **where)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False, **where)
        self.norm2 = nn.BatchNorm2d(outputs, **where)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False, **where)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs, **where))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images to images."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 with the stem for images of 32x32."""

    def __init__(self, channels_last: bool = False) -> None:
        self.channels_last = channels_last
        where: Any = {"channels_last": channels_last}
        self.stem = nn.Conv2d(3, 64, 3, padding=1, bias=False, **where)
        self.norm = nn.BatchNorm2d(64, **where)
        widths = (64, 64, 128, 256, 512)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(widths[i] if first else widths[i + 1], widths[i + 1], stride, where)
                for i in range(4)
                for first, stride in ((True, 1 if i == 0 else 2), (False, 1))
            )
        )
        self.head = nn.Linear(512, CLASSES)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images ``(N, 3, 32, 32)`` to logits."""
        x = jnp.moveaxis(x, 1, -1) if self.channels_last else x
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.head(x.mean((1, 2) if self.channels_last else (2, 3)))


class ViT(nn.Module):
    """ViT-tiny on patches of 4x4, whose tokens are averaged."""

    def __init__(self, width: int = 192, layers: int = 12, heads: int = 3) -> None:
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.positions = fn.Parameter((64, width), nn.init.normal(std=0.02))
        self.blocks = [Block(width, heads, causal=False) for _ in range(layers)]
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images ``(N, 3, 32, 32)`` to logits."""
        x = self.patches(x)
        x = jnp.moveaxis(x.reshape(*x.shape[:2], -1), 1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


MODELS = {
    "mlp": mlp,
    "deep": deep,
    "cnn": CNN,
    "lstm": LSTMLM,
    "gpt": GPT,
    "resnet": ResNet18,
    "vit": ViT,
}


def make(
    row: str, x: Any, y: Any, variant: str = "", settings: dict[str, Any] | None = None
) -> tuple[Callable[[], object], int]:
    """Return one training step that finishes before it returns, and the number of parameters."""
    arguments = {"channels_last": True} if variant == "channels last" else {}
    net = fn.functionalize(MODELS[row](**arguments))
    params, state = net.init(jax.random.key(0))
    optimizer = optim.adamw(LR, weight_decay=WEIGHT_DECAY)
    optimizer = optim.packed(optimizer) if variant == "packed" else optimizer
    x, y = jnp.asarray(x), jnp.asarray(y)

    def loss(params: Any, state: Any, x: jax.Array, y: jax.Array) -> Any:
        output, state = net.apply(params, state, x, train=True)
        if y.ndim == output.ndim:
            return F.mse_loss(output, y), state
        return F.cross_entropy(output.reshape(-1, output.shape[-1]), y.reshape(-1)), state

    def step(params: Any, state: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> Any:
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), state, opt_state, value

    jitted = jax.jit(step, donate_argnums=(0, 1, 2), compiler_options=settings)
    held = [params, state, optimizer.init(params)]

    def run() -> object:
        *held[:], value = jitted(*held, x, y)
        jax.block_until_ready((held, value))
        return value

    return run, sum(leaf.size for leaf in jax.tree.leaves(params))
