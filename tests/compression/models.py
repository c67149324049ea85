"""Small models of many kinds, for all that makes a model smaller or other.

Each is built anew, takes a batch of four (a mesh of four devices shares it out), and has arrays that are not those
of a beginning: biases and running statistics are drawn, so that none is zero or one by chance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import nn

ROWS = 4
WIDTH = 8


class Tied(nn.Module):
    """An embedding whose table is the head's weight, too."""

    def __init__(self):
        self.embedding = nn.Embedding(16, WIDTH)
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 16, bias=False)
        self.head.weight = self.embedding.weight

    def __call__(self, tokens):
        return self.head(jnp.tanh(self.inner(self.embedding(tokens))))


class Attending(nn.Module):
    """Attention reads the weight of its output projection without calling it."""

    def __init__(self):
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.head = nn.Linear(WIDTH, 4)

    def __call__(self, x):
        return self.head(x + self.attention(x, x, x)[0])


class Recurrent(nn.Module):
    """An LSTM has four weights of one shape, none called ``weight``."""

    def __init__(self):
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, 4)

    def __call__(self, x):
        return self.head(self.lstm(x)[0])


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width=WIDTH):
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width, bias=False)

    def __call__(self, x):
        return x + self.down(jnp.tanh(self.up(self.norm(x))))


def linear():
    return nn.Sequential(nn.Linear(WIDTH, 16), nn.Tanh(), nn.Linear(16, 4))


def conv():
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, bias=False),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


def grouped():
    return nn.Sequential(nn.Conv1d(4, 8, 3, groups=4), nn.Tanh(), nn.Conv1d(8, 8, 1))


def transposed():
    return nn.Sequential(nn.ConvTranspose2d(2, 8, 2, stride=2), nn.Tanh(), nn.Conv2d(8, 2, 1))


def repeated():
    return nn.Sequential(nn.Repeat(Block(), 2), nn.Linear(WIDTH, 4))


def adapted():
    return nn.lora(linear(), "*", rank=2)


@dataclass(frozen=True)
class Example:
    """A kind of model.

    Attributes:
        make: the description.
        shape: of an input without its rows; None of a batch that is tokens.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    tokens: bool = False

    def input(self, rows: int = ROWS, seed: int = 0) -> Any:
        """Draw a batch."""
        rng = np.random.default_rng(seed)
        if self.tokens:
            return jnp.asarray(rng.integers(0, 16, (rows, *self.shape)), jnp.int32)
        return jnp.asarray(rng.normal(size=(rows, *self.shape)), jnp.float32)

    def arrays(self, module: nn.Module) -> tuple[Any, Any]:
        """Draw params and state; variances stay positive."""
        trees = fn.functionalize(module).init(jax.random.key(3))
        rng = np.random.default_rng(7)

        def moved(leaf):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            return leaf + jnp.asarray(0.2 * np.abs(rng.normal(size=leaf.shape)), leaf.dtype)

        return jax.tree.map(moved, trees)


EXAMPLES = {
    "linear": Example(linear, (WIDTH,)),
    "conv": Example(conv, (2, 4, 4)),
    "grouped": Example(grouped, (4, 6)),
    "transposed": Example(transposed, (2, 3, 3)),
    "tied": Example(Tied, (5,), tokens=True),
    "attention": Example(Attending, (5, WIDTH)),
    "recurrent": Example(Recurrent, (5, WIDTH)),
    "repeated": Example(repeated, (WIDTH,)),
    "lora": Example(adapted, (WIDTH,)),
}
