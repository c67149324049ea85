"""Schemes, and layers whose weights are written by them."""

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import nn
from funcnet.compression import NF4, Int4, Int8

SCHEMES = {
    "int8": Int8(),
    "int8 with zero points": Int8(symmetric=False),
    "int8 in groups": Int8(group=3),
    "int8 of one scale": Int8(axis=None),
    "int8 by columns": Int8(axis=-1, scale_dtype="bfloat16"),
    "int4": Int4(group=4),
    "int4 symmetric": Int4(group=5, symmetric=True, scale_dtype="float16"),
    "int4 by rows": Int4(group=None),
    "int4 of one row": Int4(axis=None, group=7),
    "nf4": NF4(group=4),
    "nf4 twice": NF4(group=3, double=True),
    "nf4 of one row": NF4(axis=None, group=8),
}


class Shared(nn.Module):
    """An embedding whose table is also the last layer's weight."""

    def __init__(self):
        self.table = nn.Embedding(9, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.table.weight

    def __call__(self, input):
        return self.head(self.norm(self.table(input)))


class SelfAttention(nn.Module):
    """Attention of a sequence to itself."""

    def __init__(self, **settings):
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True, **settings)

    def __call__(self, input):
        return self.attention(input, input, input, need_weights=False)[0]


class Halves(nn.Module):
    """A bilinear form of both halves of its input."""

    def __init__(self):
        self.form = nn.Bilinear(3, 3, 5)

    def __call__(self, input):
        return self.form(input[..., :3], input[..., 3:])


LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (3, 6)),
    "linear alone": (lambda: nn.Linear(6, 1, bias=False), (6,)),
    "bilinear": (Halves, (2, 6)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, padding=1), (2, 3, 8)),
    "conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), groups=2), (1, 4, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), (1, 3, 4, 4)),
    "transposed in groups": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 5)),
    "embedding": (lambda: nn.Embedding(9, 5, padding_idx=2), 9),
    "bag": (lambda: nn.EmbeddingBag(9, 5), 9),
    "attention": (SelfAttention, (2, 3, 4)),
    "attention of other widths": (lambda: SelfAttention(kdim=4, bias=False), (2, 3, 4)),
    "lstm": (lambda: nn.LSTM(4, 3, 2, bidirectional=True, proj_size=2), (5, 2, 4)),
    "gru cell": (lambda: nn.GRUCell(4, 3), (2, 4)),
    "experts": (lambda: nn.MixtureOfExperts(nn.Linear(4, 4), 4, 3, top_k=2), (2, 3, 4)),
    "repeat": (lambda: nn.Repeat(nn.Linear(4, 4), 3), (2, 4)),
    "vmap": (lambda: nn.Vmap(nn.Linear(4, 3), 2, in_axes=None), (2, 4)),
    "shared": (Shared, 9),
}
"""How a layer is made, and the shape of its input; a number for indices of a table of so many rows."""


def model_and_input(name, seed=0, dtype=jnp.float32):
    """A layer, its arrays drawn by NumPy, and an input."""
    make, shape = LAYERS[name]
    module, rng = make(), np.random.default_rng(seed)
    params, state = jax.eval_shape(fn.functionalize(module).init, jax.random.key(0))

    def draw(like):
        return jnp.asarray(rng.standard_normal(like.shape), dtype)

    params, state = jax.tree.map(draw, (params, state))
    if isinstance(shape, int):
        return module, params, state, jnp.asarray(rng.integers(0, shape, (2, 3)))
    return module, params, state, jnp.asarray(rng.standard_normal(shape), dtype)


def same_trees(found, expected, **tolerance):
    """Trees of the same structure, shapes and dtypes, and near numbers."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(
            np.asarray(one, np.float32), np.asarray(other, np.float32), **tolerance
        )


def sampled(metafunc, names, pairs, step):
    """Give a test pairs of names: each ``step``-th, or all with --grid=full."""
    if set(names) <= set(metafunc.fixturenames):
        full = metafunc.config.getoption("grid") == "full"
        metafunc.parametrize(names, pairs if full else pairs[::step])
