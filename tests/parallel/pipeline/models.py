"""Small models whose blocks are an nn.Repeat; products of stages, microbatches and schedules."""

from itertools import product

import jax
import jax.numpy as jnp

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, parallel

VOCABULARY, LENGTH, WIDTH = 11, 6, 8

MESHES = {
    "stage=4": {"stage": 4},
    "data=2,stage=2": {"data": 2, "stage": 2},
    "stage=2,rows=2": {"stage": 2, "data": 2, "rows": "data"},
}


class MLPBlock(nn.Module):
    """A residual layer; takes a padding mask too, which it multiplies with."""

    def __init__(self, dropout=0.0):
        self.norm = nn.LayerNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def __call__(self, x, mask):
        y = self.dropout(jnp.tanh(self.linear(self.norm(x))))
        return x + y * mask[..., None].astype(x.dtype)


class TransformerBlock(nn.Module):
    """Causal attention that does not look at padding, and a feed-forward layer."""

    def __init__(self, dropout=0.0):
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)  # softmax ignores a bias of keys
        self.mlp = MLPBlock(dropout)

    def __call__(self, x, mask):
        q, k, v = jnp.split(self.qkv(self.norm(x))[:, None], 3, -1)
        causal = jnp.tril(jnp.ones((x.shape[1],) * 2, bool))
        allowed = causal & mask[:, None, None]
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)[:, 0]
        return self.mlp(x, mask)


BLOCKS = {"mlp": MLPBlock, "transformer": TransformerBlock}


class Language(nn.Module):
    """Tokens to logits, in the manner of GPT-2: positions, a shortcut around the blocks, tied embeddings."""

    def __init__(self, block, n=4, remat="costly"):
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Repeat(block, n, remat=remat)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def __call__(self, tokens, mask):
        x = self.tokens(tokens) + self.positions(jnp.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x, mask) + x))


def language_loss(net, params, batch, key=None):
    """The mean over tokens that are no padding, and how many there are."""
    logits, _ = net.apply(params, {}, batch["tokens"], batch["mask"], key=key, train=True)
    real = batch["mask"].astype(jnp.float32)
    losses = F.cross_entropy(jnp.moveaxis(logits, -1, 1), batch["next"], reduction="none")
    count = real.sum()
    return (losses * real).sum() / jnp.maximum(count, 1), count


def make_batch(rng, rows):
    """Texts of different lengths: the mean over tokens is not that over microbatches."""
    tokens = rng.integers(0, VOCABULARY, (rows, LENGTH + 1)).astype("int32")
    lengths = rng.integers(1, LENGTH + 1, (rows, 1))
    batch = {
        "tokens": tokens[:, :-1],
        "next": tokens[:, 1:],
        "mask": jnp.arange(LENGTH) < lengths,
    }
    return jax.tree.map(jnp.asarray, batch)


def pipelined(net, axes, microbatches, path="blocks", **options):
    """The net on a mesh, and how it is written for a test's id."""
    options |= {"rows": axes["rows"]} if "rows" in axes else {}
    mesh = parallel.mesh(**{name: size for name, size in axes.items() if name != "rows"})
    return parallel.pipeline(net, mesh, path, microbatches=microbatches, **options)


PRODUCTS = list(product(BLOCKS, MESHES, (1, 2, 4, 8), ("gpipe", "1f1b", "eager-1f1b")))


def initialized(block, **options):
    net = fn.functionalize(Language(block, **options))
    return net, net.init(jax.random.key(0))[0]
