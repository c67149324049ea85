"""FSDP saves memory: arguments shrink to an n-th, and gathered weights are not kept for the backward pass."""

import re
from collections import Counter
from functools import lru_cache

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet import nn, parallel

WIDTH, BLOCKS, BATCH = 256, 8, 4096
MESH = parallel.mesh(data=-1)
FLOAT = 4
BLOCK = WIDTH * WIDTH * FLOAT + BATCH // 4 * WIDTH * FLOAT
"""Bytes of a block on a device: its weight, and what it returns for this device's part of the batch."""


class Block(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(WIDTH, WIDTH)

    def __call__(self, x):
        return jnp.tanh(self.linear(x))


class Blocks(nn.Module):
    """The same block several times, written out."""

    def __init__(self, wrap=lambda block: block):
        self.blocks = [wrap(Block()) for _ in range(BLOCKS)]

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return x


MODELS = {
    "unrolled": Blocks,
    "unrolled, computed again": lambda: Blocks(nn.Remat),
    "repeated": lambda: nn.Repeat(Block(), BLOCKS),
    "repeated, all again": lambda: nn.Repeat(Block(), BLOCKS, remat=True),
    "repeated, nothing again": lambda: nn.Repeat(Block(), BLOCKS, remat=False),
}


@lru_cache
def compiled(name, fsdp):
    """Compile a training step, with FSDP or with every weight on every device."""
    rules = parallel.fully_sharded() if fsdp else parallel.data_parallel()
    net = parallel.shard(fn.functionalize(MODELS[name]()), MESH, rules)
    params = _placed(jax.eval_shape(net.init, jax.random.key(0))[0], net.placement)
    x = jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.float32, sharding=parallel.batch_sharding(MESH))

    def step(params, x):
        grads = jax.grad(lambda p: (net.apply(p, {}, x)[0] ** 2).mean())(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

    return jax.jit(step, donate_argnums=0).lower(params, x).compile()


def _placed(tree, placement):
    def one(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placement.sharding(name))

    return jax.tree.map_with_path(one, tree)


def collectives(program):
    found = r"= [^=]*? (all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
    return Counter(re.findall(found, program.as_text()))


@pytest.mark.parametrize("name", MODELS)
def test_memory(name):
    whole, parts = (compiled(name, fsdp) for fsdp in (False, True))
    batch = BATCH // 4 * WIDTH * FLOAT
    of_whole, of_parts = (
        p.memory_analysis().argument_size_in_bytes - batch for p in (whole, parts)
    )
    assert of_parts <= 1.05 / 4 * of_whole
    temporaries = [p.memory_analysis().temp_size_in_bytes for p in (whole, parts)]
    assert temporaries[1] <= temporaries[0] + 1.5 * BLOCK
    assert "all-to-all" not in collectives(parts)
    assert collectives(parts)["all-gather"]


@pytest.mark.parametrize("name", MODELS)
def test_no_gathered_weight_is_kept_for_the_backward_pass(name):
    """What goes from the forward to the backward pass is no larger than under data parallelism, weights apart."""

    def kept(fsdp):
        rules = {"*": parallel.fsdp(smallest=1)} if fsdp else {}
        net = parallel.shard(fn.functionalize(MODELS[name]()), MESH, rules)
        params, _ = net.init(jax.random.key(0))
        x = jnp.ones((4, WIDTH))
        _, backward = jax.jit(lambda p: jax.vjp(lambda p: net.apply(p, {}, x)[0], p))(params)
        weights = [leaf for leaf in jax.tree.leaves(backward) if leaf.shape[-2:] == (WIDTH, WIDTH)]
        return [leaf.sharding.is_fully_replicated for leaf in weights]

    assert any(kept(False))
    assert not any(kept(True))
