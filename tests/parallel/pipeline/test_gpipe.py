"""GPipe: what holds of a model whose Repeat is pipelined, besides equal gradients."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, parallel
from tests.parallel.pipeline.models import MESHES, MLPBlock, initialized, make_batch, pipelined

TWO = {"data": 2, "stage": 2}


class Drop(nn.Module):
    """Dropout in place of a block: what comes out is the product of all masks."""

    def __init__(self):
        self.dropout = nn.Dropout(0.5)

    def __call__(self, x):
        return self.dropout(x)


class Normalized(nn.Module):
    """A block that remembers."""

    def __init__(self):
        self.linear = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)

    def __call__(self, x):
        return self.norm(self.linear(x))


class Pair(nn.Module):
    """A block of several inputs: a tree, flags, arrays that are meant for all rows or for each."""

    def __init__(self):
        self.linear = nn.Linear(3, 3)

    def __call__(self, x, shift, scale=None, *, negative=False):
        a, b = x
        a = jnp.tanh(self.linear(a)) * (1.0 if scale is None else scale) + shift
        return (b, -a if negative else a)


class Around(nn.Module):
    def __init__(self, block, n=4, remat="costly"):
        self.blocks = nn.Repeat(block, n, remat=remat)

    def __call__(self, *args, **kwargs):
        return self.blocks(*args, **kwargs)


def nets(block, axes=None, microbatches=4, **options):
    net = fn.functionalize(Around(block))
    params, state = net.init(jax.random.key(0))
    return net, pipelined(net, axes or TWO, microbatches, **options), params, state


def test_names_and_initial_values_are_those_of_the_model():
    net, divided, params, state = nets(Normalized())
    again = divided.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, again, (params, state))
    names = fn.state_dict(divided.module, params, state)
    assert names.keys() == fn.state_dict(net.module, params, state).keys()
    assert isinstance(parallel.pipeline(
        net.module, parallel.mesh(**TWO), "blocks", microbatches=2
    ), Around)  # fmt: skip


def test_masks_differ_between_microbatches_blocks_and_stages(key):
    _, divided, params, state = nets(Drop())
    x = jnp.ones((64, 32))
    kept = jax.jit(lambda x: divided.apply(params, state, x, key=key, train=True)[0])(x) != 0
    assert 0.03 < kept.mean() < 0.1  # half of the half, four times: if blocks shared masks, half
    rows = np.asarray(kept).reshape(16, 4, 32)  # by microbatch
    assert len({rows[:, i].tobytes() for i in range(4)}) == 4
    np.testing.assert_array_equal(divided.apply(params, state, x)[0], x)  # evaluation drops nothing


def test_parts_of_rows_have_masks_of_their_own(key):
    _, divided, params, state = nets(Drop(), rows="data")
    drop = jax.jit(lambda x: divided.apply(params, state, x, key=key, train=True)[0])
    rows = np.asarray(drop(jnp.ones((8, 64)))) != 0  # one row a part of a microbatch
    assert len({row.tobytes() for row in rows}) == 8


def test_state_goes_from_microbatch_to_microbatch(rng):
    net, divided, params, state = nets(Normalized())
    x = jnp.asarray(rng.normal(size=(24, 3)), jnp.float32)
    found, left = jax.jit(lambda x: divided.apply(params, state, x, train=True))(x)
    for i in range(4):
        expected, state = net.apply(params, state, x[i::4], train=True)
        np.testing.assert_allclose(found[i::4], expected, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), left, state)


def test_further_arguments_are_cut_shared_or_static(rng):
    net, divided, params, state = nets(Pair(), batched="shift", shared=("scale",))
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    x, shift, scale = (draw(8, 3), draw(8, 3)), draw(8, 3), draw(1, 3)

    def loss(net, params, x, shift, scale):
        (a, b), _ = net.apply(params, state, x, shift, scale=scale, negative=True)
        return (a * b).sum()

    for_all = lambda net: jax.value_and_grad(lambda *args: loss(net, *args), (0, 1, 2, 3))
    found = jax.jit(for_all(divided))(params, x, shift, scale)
    expected = for_all(net)(params, x, shift, scale)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected)


def test_remat_of_the_repeat_is_kept():
    """What stays for the backward pass: values between blocks, what is costly too, or everything."""
    x, mask = jnp.ones((8, 6, 8)), jnp.ones((8, 6), bool)

    def kept(remat):
        net = fn.functionalize(Around(MLPBlock(), remat=remat))
        params, state = net.init(jax.random.key(0))
        divided = pipelined(net, {"stage": 4}, 4, batched=("mask",))
        of_params = lambda p: divided.apply(p, state, x, mask)[0].sum()
        residuals = jax.eval_shape(lambda p: jax.vjp(of_params, p)[1], params)
        return sum(leaf.size for leaf in jax.tree.leaves(residuals))

    assert kept(True) < kept("costly") < kept(False)


def test_what_is_observed_runs_undivided(rng):
    net, params = initialized(MLPBlock())
    batch = make_batch(rng, 8)
    divided = pipelined(net, TWO, 4, batched=("mask",))
    seen = fn.capture(divided, "blocks*").apply(params, {}, batch["tokens"], batch["mask"])[0][1]
    expected = fn.capture(net, "blocks*").apply(params, {}, batch["tokens"], batch["mask"])[0][1]
    assert seen.keys() == expected.keys()
    jax.tree.map(np.testing.assert_array_equal, seen, expected)


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"path": "head"},
            "'head' is a Linear: a pipeline divides an nn.Repeat; this model has 'blocks'",
        ),
        ({"path": "nothing"}, "'nothing' is no module"),
        ({"axis": "pipe"}, "the mesh has no axis 'pipe', only data, stage"),
        ({"axes": {"stage": 4}, "n": 6}, "blocks has 6 blocks, which 4 stages"),
        ({"rows": "batch"}, "the mesh has no axis 'batch', only data, stage"),
        ({"rows": "stage"}, "axis 'stage' holds the stages"),
        ({"microbatches": 0}, "microbatches must be greater than zero"),
        ({"batched": ("masks",)}, "masks: no argument of MLPBlock; its arguments are x, mask"),
        ({"batched": ("mask",), "shared": ("mask",)}, "mask: both batched and shared"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused(options, message):
    net, _ = initialized(MLPBlock(), n=options.pop("n", 4))
    axes = options.pop("axes", TWO)
    with pytest.raises(ValueError, match=re.escape(message)):
        pipelined(net, axes, **({"microbatches": 4} | options))


def test_explicit_axes_are_refused():
    net, _ = initialized(MLPBlock())
    with pytest.raises(ValueError, match="needs a mesh with automatic axes"):
        parallel.pipeline(net, parallel.mesh(explicit=True, stage=4), "blocks", microbatches=2)


def test_a_model_without_repeat_is_told_how_to_have_one():
    with pytest.raises(ValueError, match=r"write nn\.Repeat\(block, n\)"):
        pipelined(fn.functionalize(nn.Sequential(nn.Linear(2, 2))), TWO, 2, path="0")


def test_one_pipeline_a_model():
    net, _ = initialized(MLPBlock())
    once = pipelined(net, TWO, 2)
    with pytest.raises(ValueError, match="'blocks' is pipelined already"):
        pipelined(once, TWO, 2)
    nested = fn.functionalize(nn.Repeat(Around(MLPBlock()), 2))
    with pytest.raises(ValueError, match="inside another stack"):
        pipelined(nested, TWO, 2, path="module.blocks")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (6, {"batched": ("mask",)}, r"6 rows, which 4 microbatches do not divide.*\[1, 2, 3, 6\]"),
        (8, {}, r"argument 'mask' of shape \(8, 6\) may have a row for each.*batched=\('mask',\)"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(rng, rows, options, message):
    net, params = initialized(MLPBlock())
    divided, batch = pipelined(net, TWO, 4, **options), make_batch(rng, rows)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(divided.apply, params, {}, batch["tokens"], batch["mask"])


def test_parts_of_rows_are_whole(rng):
    net, params = initialized(MLPBlock())
    divided, batch = pipelined(net, TWO, 4, rows="data", shared=("mask",)), make_batch(rng, 12)
    with pytest.raises(
        ValueError, match=r"12 rows, which 4 microbatches of 2 parts.*\[1, 2, 3, 6\]"
    ):
        jax.eval_shape(divided.apply, params, {}, batch["tokens"], batch["mask"])


def test_parts_of_rows_leave_no_state():
    with pytest.raises(ValueError, match="would leave otherwise"):
        nets(Normalized(), rows="data")


def test_what_is_named_batched_has_the_batch_s_rows(rng):
    net, params = initialized(MLPBlock())
    divided, batch = pipelined(net, TWO, 4, batched=("mask",)), make_batch(rng, 8)
    with pytest.raises(ValueError, match="named in batched=, so its leading axis must have 8 rows"):
        jax.eval_shape(divided.apply, params, {}, batch["tokens"], batch["mask"][:4])


@pytest.mark.parametrize("axes", ["data=2,stage=2", "stage=2,rows=2"])
def test_gradients_of_sixteen_bits_beside_other_axes(axes):
    """Devices share inputs, and with rows= parameters: their gradients are sums, which XLA must survive."""
    net = fn.functionalize(nn.Repeat(nn.Linear(4, 4), 2))
    params, _ = net.init(jax.random.key(0))
    given = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, jnp.ones((4, 4))))
    divided = pipelined(net, MESHES[axes], 2, path="")

    def loss(net, both):
        return net.apply(both[0], {}, both[1])[0].astype(jnp.float32).mean()

    found, expected = (jax.jit(jax.grad(partial(loss, one)))(given) for one in (divided, net))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == jnp.bfloat16
        one, other = (np.asarray(array, np.float32) for array in (one, other))
        # each rounding costs up to 2^-9 of a number; parts are summed in another order
        np.testing.assert_allclose(one, other, rtol=0, atol=2**-6 * np.abs(other).max())
