"""Small models of many kinds, alone and sharded, and what is asked of both."""

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import nn, parallel
from funcnet.core.paths import leaves_with_paths

KEY = jax.random.key(3)
MESH = parallel.mesh(data=-1)
SMALL = parallel.fsdp(smallest=1)


class Block(nn.Module):
    """A residual block with a norm, two linear maps and dropout."""

    def __init__(self, width=8, rate=0.0):
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(rate)

    def __call__(self, x):
        return x + self.dropout(self.down(jnp.tanh(self.up(self.norm(x)))))


MODELS = {
    "unrolled": lambda: nn.Sequential(Block(), Block()),
    "unrolled with dropout": lambda: nn.Sequential(
        Block(rate=0.5), nn.BatchNorm1d(8), Block(rate=0.5)
    ),
    "repeated": lambda: nn.Repeat(Block(rate=0.5), 2),
    "repeated, all again": lambda: nn.Repeat(Block(), 2, remat=True),
    "repeated, nothing again": lambda: nn.Repeat(Block(rate=0.5), 2, remat=False),
    "repeated, everything kept": lambda: nn.Repeat(Block(), 2, remat="everything"),
    "remat": lambda: nn.Sequential(nn.Remat(Block(rate=0.5)), nn.Remat(Block(), policy="costly")),
    "repeat of repeat": lambda: nn.Repeat(nn.Repeat(Block(), 2), 2),
    "vmapped": lambda: nn.Sequential(nn.Vmap(Block(), 4, in_axes=0)),
    "tied": lambda: nn.Sequential(shared := nn.Linear(8, 8), nn.Tanh(), shared),
    "lora": lambda: nn.lora(
        nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)), "*", rank=4
    ),
    "weight norm": lambda: nn.Sequential(nn.weight_norm(nn.Linear(8, 8)), nn.Tanh()),
    "attention": lambda: Attending(),
    "recurrent": lambda: Recurrent(),
}

SAMPLE = {"unrolled with dropout", "repeated", "attention"}


class Attending(nn.Module):
    """Attention reads the weights of its output projection without calling it."""

    def __init__(self):
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.5)

    def __call__(self, x):
        return self.attention(x[None], x[None], x[None])[0][0]


class Recurrent(nn.Module):
    """A cell that nn.Scan runs over the rows."""

    def __init__(self):
        self.scan = nn.Scan(Cell())

    def __call__(self, x):
        return self.scan(jnp.zeros(8), x)[1]


class Cell(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(8, 8)

    def __call__(self, carry, x):
        carry = jnp.tanh(self.linear(carry + x))
        return carry, carry


def both(model):
    net = fn.functionalize(model)
    return net, parallel.shard(net, MESH, {"*": SMALL})


def same(ours, theirs, **tolerance):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, **{"atol": 1e-5, "rtol": 1e-5, **tolerance})


def lies(tree, placement):
    for path, array in leaves_with_paths(tree):
        assert array.sharding.is_equivalent_to(placement.sharding(path), array.ndim), path


INPUT = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)


def value_and_grad(net):
    """Loss, gradient and state of a training step, under jit."""

    @jax.jit
    def run(params, state, x):
        def loss(params):
            output, left = net.apply(params, state, x, key=jax.random.key(1), train=True)
            return (output**2).mean(), left

        return jax.value_and_grad(loss, has_aux=True)(params)

    return run
