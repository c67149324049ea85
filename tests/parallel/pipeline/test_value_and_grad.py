"""1F1B: what a loss may do, and what it is told when it may not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, parallel
from tests.parallel.pipeline.models import (
    MLPBlock,
    initialized,
    language_loss,
    make_batch,
    pipelined,
)
from tests.parallel.pipeline.test_gradients import assert_close

TWO = {"data": 2, "stage": 2}


class Shifted(nn.Module):
    """A block that drops, is told a flag, and is given an array that comes of parameters."""

    def __init__(self):
        self.linear = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.3)

    def __call__(self, x, shift, flag):
        assert flag is True
        return x + self.dropout(jnp.tanh(self.linear(x))) + shift


class Tied(nn.Module):
    """Parameters used before and after the blocks and by all of them; values that pass around them."""

    def __init__(self, block=Shifted):
        self.first = nn.Linear(3, 4)
        self.shift = fn.Parameter((4,), nn.init.normal())
        self.count = fn.Parameter(jnp.arange(2))  # a constant among parameters
        self.blocks = nn.Repeat(block(), 4)

    def __call__(self, x):
        y = self.first(x)
        return (self.blocks(y, self.shift, True) + y) @ self.first.weight


def tied_loss(net, params, batch, key):
    y, _ = net.apply(params, {}, batch["x"], key=key, train=True)
    weight = batch["weight"].sum()
    value = ((y**2).mean(1) * batch["weight"]).sum() / weight
    return value, {"weight": weight, "rows": jnp.int32(y.shape[0])}


def tied_batch(rng, rows=8):
    weight = rng.uniform(size=rows).astype("float32")
    weight[1::4] = 0  # of microbatch 1 nothing counts, and its mean is NaN
    x = rng.normal(size=(rows, 3)).astype("float32")
    return {"x": jnp.asarray(x), "weight": jnp.asarray(weight)}


def test_results_are_those_of_gradient_accumulation(rng, key):
    """Masks, weights, aux, ties, shortcuts, gradients through further arguments, constants."""
    net = fn.functionalize(Tied())
    params, batch = net.init(jax.random.key(0))[0], tied_batch(rng)
    options = {"has_aux": True, "weight": lambda aux: aux["weight"]}
    plain = fn.value_and_grad(partial(tied_loss, net), microbatches=4, **options)
    expected = jax.jit(plain)(params, batch, key)
    divided = pipelined(net, TWO, 4)
    found = jax.jit(parallel.pipeline_value_and_grad(tied_loss, divided, **options))(
        params, batch, key
    )
    np.testing.assert_array_equal(found[1].pop("count"), expected[1].pop("count"))
    assert_close(found, expected)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    types = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (found, expected)]
    assert types[0] == types[1]


def test_a_sum_and_sixteen_bits(rng):
    """Gradients have the dtypes of the parameters, and are added up in 32 bits."""
    net = fn.functionalize(nn.Sequential(nn.Repeat(nn.Linear(4, 4), 4)))
    half = lambda tree: jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree)
    params = half(net.init(jax.random.key(0))[0])
    batch = half(jnp.asarray(rng.normal(size=(32, 4)), jnp.float32))
    loss = lambda net, params, batch: (net.apply(params, {}, batch)[0] ** 2).sum()
    divided = pipelined(net, {"stage": 4}, 16, path="0")
    value, grads = jax.jit(parallel.pipeline_value_and_grad(loss, divided, reduction="sum"))(
        params, batch
    )
    plain = fn.value_and_grad(partial(loss, net), microbatches=16, batched="batch", reduction="sum")
    expected, expected_grads = jax.jit(plain)(params, batch)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((value, grads))} == {"bfloat16"}
    wide = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float32), tree)
    np.testing.assert_allclose(wide(value), wide(expected), rtol=0.01)
    assert_close(wide(grads), wide(expected_grads), 0.02)  # bfloat16 has 8 bits


# ---- what is refused


def refused(loss, net=None, error=ValueError, match="", **options):
    """Trace a value and gradient, and expect an error."""
    made, params = initialized(MLPBlock())
    net = pipelined(made, TWO, 2) if net is None else net
    batch = make_batch(np.random.default_rng(0), 4)
    with pytest.raises(error, match=match):
        jax.eval_shape(parallel.pipeline_value_and_grad(loss, net, **options), params, batch)


def logits(net, params, batch):
    return net.apply(params, {}, batch["tokens"], batch["mask"])[0]


LOSSES = {
    "never": (lambda net, params, batch: jnp.float32(0), ValueError, "it did 0 times"),
    "twice": (
        lambda net, params, batch: sum(logits(net, params, batch).sum() for _ in range(2)),
        ValueError,
        "once; it did 2 times: use jax.value_and_grad",
    ),
    "in a transform": (
        lambda net, params, batch: jax.jit(partial(logits, net))(params, batch).sum(),
        ValueError,
        r"blocks\.module\..* as an argument of a function under jit",
    ),
    "in a transform that closes over params": (
        lambda net, params, batch: jax.checkpoint(lambda b: logits(net, params, b))(batch).sum(),
        ValueError,
        "inside a transform",
    ),
    "weight decay": (
        lambda net, params, batch: (
            logits(net, params, batch).sum()
            + (params["blocks"]["module"]["linear"]["weight"] ** 2).sum()
        ),
        ValueError,
        r"reads the parameter blocks\.module\.linear\.weight outside of the pipelined",
    ),
    "weight decay by jnp": (
        lambda net, params, batch: (
            logits(net, params, batch).sum()
            + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))
        ),
        ValueError,
        r"reads the parameter blocks\.module",
    ),
    "no scalar": (logits, TypeError, r"real scalar.*float32 of shape \(2, 6, 11\)"),
    "another name": (
        lambda net, params, texts: logits(net, params, texts).sum(),
        ValueError,
        "'batch' into microbatches, and this call has none; it has texts",
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_cannot_be_severed_is_refused(name):
    loss, error, match = LOSSES[name]
    refused(loss, error=error, match=match)


def test_settings_that_contradict_each_other_are_refused():
    net, _ = initialized(MLPBlock())
    divided = pipelined(net, TWO, 2)
    with pytest.raises(ValueError, match="schedule must be one of '1f1b', 'eager-1f1b'"):
        parallel.pipeline_value_and_grad(language_loss, divided, schedule="gpipe")
    with pytest.raises(ValueError, match="has_aux=True"):
        parallel.pipeline_value_and_grad(language_loss, divided, weight=lambda aux: aux)
    with pytest.raises(ValueError, match=r"takes a net from parallel\.pipeline"):
        parallel.pipeline_value_and_grad(language_loss, net)
    with pytest.raises(ValueError, match="cannot see into capture"):
        parallel.pipeline_value_and_grad(language_loss, fn.capture(divided, "norm"))


def test_blocks_that_remember_are_refused():
    net = fn.functionalize(nn.Sequential(nn.Repeat(nn.BatchNorm1d(3), 2)))
    divided = pipelined(net, TWO, 2, path="0")
    with pytest.raises(ValueError, match="the blocks of '0' have buffers"):
        parallel.pipeline_value_and_grad(language_loss, divided)


def test_integers_are_no_input_of_the_blocks():
    net = fn.functionalize(nn.Repeat(nn.Identity(), 2))
    divided = pipelined(net, TWO, 2, path="")
    loss = lambda net, params, batch: net.apply(params, {}, batch)[0].sum()
    with pytest.raises(TypeError, match="needs floats"):
        jax.eval_shape(parallel.pipeline_value_and_grad(loss, divided), {}, jnp.arange(4))
