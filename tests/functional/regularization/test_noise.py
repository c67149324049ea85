"""Stochastic depth and DropBlock: rates, shapes of what is dropped, scales, keys."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn
from funcnet.core.errors import MissingKeyError
from funcnet.functional.regularization.drop_block import block_rate

BLOCKS = {1: F.drop_block1d, 2: F.drop_block2d, 3: F.drop_block3d}
LAYERS = {1: nn.DropBlock1d, 2: nn.DropBlock2d, 3: nn.DropBlock3d}
KEY = jax.random.key(3)


@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("mode", ["batch", "row"])
def test_a_branch_is_dropped_as_a_whole(mode, shape):
    keys = jax.random.split(KEY, 400)
    drop = jax.jit(jax.vmap(lambda key: F.stochastic_depth(jnp.ones(shape), 0.25, mode, key=key)))
    found = np.asarray(drop(keys)).reshape(400, 6, -1)
    np.testing.assert_allclose(np.unique(found), [0, 1 / 0.75], rtol=1e-6)
    assert (np.ptp(found, 2) == 0).all()
    assert (np.ptp(found, 1).max() == 0) == (mode == "batch")
    decisions = found[:, 0, 0] if mode == "batch" else found[:, :, 0]
    deviation = np.sqrt(0.25 * 0.75 / decisions.size)
    assert abs((decisions == 0).mean() - 0.25) < 4 * deviation


@pytest.mark.parametrize("mode", ["batch", "row"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_ends_of_stochastic_depth(mode, dtype):
    x = jax.random.normal(KEY, (4, 3)).astype(dtype)
    assert (F.stochastic_depth(x, 0.5, mode, False) == x).all()
    assert (F.stochastic_depth(x, 0.0, mode) == x).all()
    assert (F.stochastic_depth(x, 1.0, mode) == 0).all()
    assert F.stochastic_depth(x, 0.5, mode, key=KEY).dtype == dtype
    assert F.stochastic_depth(x[:0], 0.5, mode, key=KEY).shape == (0, 3)


def dilated(seeds, block, sides):
    """Mark blocks by hand, from the places of their first corners."""
    marks = np.zeros(seeds.shape[:2] + sides, bool)
    for place in np.argwhere(seeds):
        marks[(*place[:2], *(slice(at, at + block) for at in place[2:]))] = True
    return marks


@pytest.mark.parametrize(("axes", "block"), [(1, 20), (2, 1), (2, 4), (3, 3)])
def test_blocks_are_whole_and_the_mean_of_the_mask_is_one(axes, block):
    sides = (9, 7, 5)[:axes]
    x = jnp.ones((4, 3, *sides))
    found = np.asarray(jax.jit(partial(BLOCKS[axes], p=0.3, block_size=block, key=KEY))(x))
    dropped = found == 0
    size = min(block, *sides)
    # each place that is dropped lies in a block that is dropped whole
    whole = np.zeros_like(dropped)
    for corner in np.ndindex(*(side - size + 1 for side in sides)):
        window = (..., *(slice(at, at + size) for at in corner))
        part = dropped[window].all(tuple(range(-axes, 0)), keepdims=True)
        whole[window] |= part
    np.testing.assert_array_equal(whole, dropped)
    kept = found[~dropped]
    np.testing.assert_allclose(kept, dropped.size / (~dropped).sum(), rtol=1e-5)
    assert 0 < dropped.mean() < 1


@pytest.mark.parametrize(("axes", "block"), [(1, 3), (2, 3)])
def test_the_share_is_that_of_the_paper(axes, block):
    sides = (12, 11, 10)[:axes]
    expected = 0.1 * np.prod(sides) / block**axes / np.prod([side - block + 1 for side in sides])
    rate = block_rate(0.1, block, sides)
    assert rate == pytest.approx(expected)
    x = jnp.ones((60, 40, *sides))
    dropped = np.asarray(jax.jit(partial(BLOCKS[axes], p=0.1, block_size=block, key=KEY))(x)) == 0
    # the middle of the map is covered by every place of a block
    middle = (..., *(side // 2 for side in sides))
    chance = 1 - (1 - rate) ** (block**axes)
    assert abs(dropped[middle].mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / 2400)


def test_drop_block_is_what_torchvision_writes():
    """Its formula, with max pooling of a padded mask, on the same seeds."""
    torch = pytest.importorskip("torch")
    x, block = jax.random.normal(KEY, (2, 3, 8, 9)), 3
    found = np.asarray(F.drop_block2d(x, 0.4, block, key=KEY))
    from funcnet.functional.dropout import keep_mask

    seeds = ~np.asarray(keep_mask(KEY, (2, 3, 6, 7), block_rate(0.4, block, (8, 9))))
    noise = torch.nn.functional.pad(torch.tensor(seeds.astype("f4")), [block // 2] * 4)
    noise = 1 - torch.nn.functional.max_pool2d(noise, block, stride=1, padding=block // 2)
    expected = torch.tensor(np.asarray(x)) * noise * (noise.numel() / (1e-6 + noise.sum()))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(dilated(seeds, block, (8, 9)), noise.numpy() == 0)


@pytest.mark.parametrize(("axes", "dtype"), [(1, jnp.bfloat16), (2, jnp.float16)])
def test_ends_of_drop_block(axes, dtype):
    x = jax.random.normal(KEY, (4, 3, *(6,) * axes)).astype(dtype)
    drop = BLOCKS[axes]
    assert (drop(x, 0.5, 3, training=False) == x).all()
    assert (drop(x, 0.0, 3) == x).all()
    assert (drop(x, 1.0, 1) == 0).all()
    assert jax.eval_shape(lambda x: drop(x, 0.2, 3, key=KEY), x).dtype == dtype
    assert drop(x[:0], 0.2, 3, key=KEY).shape == x[:0].shape
    assert jax.eval_shape(lambda x: drop(x, 0.2, 3, key=KEY), x[0]).shape == x[0].shape


LAYER_ROWS = {
    "StochasticDepth batch": (lambda: nn.StochasticDepth(0.5, "batch"), (4, 3)),
    "StochasticDepth row": (lambda: nn.StochasticDepth(0.5, "row"), (4, 3)),
    **{
        f"DropBlock{axes}d": (lambda axes=axes: LAYERS[axes](0.3, 3), (4, 3, *(6,) * axes))
        for axes in LAYERS
    },
}


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        *((name, "alone") for name in LAYER_ROWS),
        ("StochasticDepth row", "Repeat"),
        ("DropBlock2d", "Repeat"),
        ("StochasticDepth batch", "Remat"),
    ],
)
def test_layers_draw_keys_in_training_only(name, inside):
    make, shape = LAYER_ROWS[name]
    wrapped = {"Repeat": lambda: nn.Repeat(make(), 2), "Remat": lambda: nn.Remat(make())}
    net = fn.functionalize(wrapped.get(inside, make)())
    x = jnp.ones(shape)

    def run(key, train=True):
        return net.apply({}, {}, x, key=key, train=train)[0]

    found = jax.jit(jax.vmap(run))(jax.random.split(KEY, 30))
    assert len({bytes(each) for each in np.asarray(found)}) > 1
    assert (net.apply({}, {}, x)[0] == x).all()
    with pytest.raises(MissingKeyError):
        run(None)


REFUSED = {
    "mode": (
        lambda: nn.StochasticDepth(0.5, "rows"),
        ValueError,
        "mode must be one of 'batch', 'row'",
    ),
    "p": (lambda: nn.StochasticDepth(1.5, "row"), ValueError, "p is a probability"),
    "scalar": (
        lambda: F.stochastic_depth(jnp.ones(()), 0.5, "row", key=KEY),
        ValueError,
        "axis of rows",
    ),
    "integers": (
        lambda: F.stochastic_depth(jnp.ones(3, int), 0.5, "row", key=KEY),
        TypeError,
        "floating",
    ),
    "block": (lambda: nn.DropBlock2d(0.5, 0), ValueError, "block_size"),
    "half a block": (lambda: nn.DropBlock2d(0.5, 2.5), TypeError, "block_size"),
    "axes": (
        lambda: F.drop_block2d(jnp.ones((2, 3)), 0.5, 3, key=KEY),
        ValueError,
        r"\(N, C, H, W\)",
    ),
    "no key": (
        lambda: F.drop_block2d(jnp.ones((2, 3, 3)), 0.5, 3),
        MissingKeyError,
        "drop_block2d",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
