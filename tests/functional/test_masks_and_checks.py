"""What is masked cannot poison a gradient; what does not fit is refused where it is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

NAN = jnp.nan


def all_finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


# ---- masks ---------------------------------------------------------------------------------------

PADDING = jnp.array([[False, False, False, True, True], [False, False, False, False, True]])


def _as_floats(padding):
    return jnp.where(padding, -jnp.inf, 0.0)


LAYERS = {
    "MultiheadAttention": (
        nn.MultiheadAttention(8, 2, batch_first=True),
        lambda net, p, x: net.apply(p, {}, x, x, x, key_padding_mask=PADDING)[0][0],
    ),
    "MultiheadAttention, fast": (
        nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True),
        lambda net, p, x: net.apply(p, {}, x, x, x, key_padding_mask=PADDING, need_weights=False)[
            0
        ][0],
    ),
    "MultiheadAttention over a memory": (
        nn.MultiheadAttention(8, 2, batch_first=True),
        lambda net, p, x: net.apply(
            p, {}, jnp.ones_like(x), x, x, key_padding_mask=_as_floats(PADDING)
        )[0][0],
    ),
    "TransformerEncoderLayer": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True),
        lambda net, p, x: net.apply(p, {}, x, src_key_padding_mask=PADDING)[0],
    ),
    "TransformerDecoderLayer": (
        nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
        lambda net, p, x: net.apply(
            p, {}, x, x, tgt_key_padding_mask=PADDING, memory_key_padding_mask=PADDING
        )[0],
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_padding_of_nan_reaches_no_gradient(name, rng):
    layer, call = LAYERS[name]
    net = fn.functionalize(layer)
    params, _ = net.init(jax.random.key(0))
    x = jnp.asarray(rng.standard_normal((2, 5, 8)), jnp.float32)

    def loss(params, x):
        return jnp.where(PADDING[..., None], 0.0, call(net, params, x)).sum()

    value = jax.jit(jax.value_and_grad(loss, (0, 1)))
    zeros, zero_grads = value(params, jnp.where(PADDING[..., None], 0.0, x))
    poisoned, grads = value(params, jnp.where(PADDING[..., None], NAN, x))
    assert all_finite(grads)
    np.testing.assert_allclose(poisoned, zeros, rtol=1e-6)
    for own, other in zip(jax.tree.leaves(grads[0]), jax.tree.leaves(zero_grads[0]), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)  # the same sums in float32


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("heads", [4, 2])
def test_what_nothing_attends_to_is_not_computed_with(floats, heads, rng):
    q = jnp.asarray(rng.standard_normal((2, 4, 5, 8)), jnp.float32).at[:, :, 2].set(NAN)
    k, v = (jnp.asarray(rng.standard_normal((2, heads, 5, 8)), jnp.float32) for _ in range(2))
    k, v = k.at[0, :, 3].set(NAN), v.at[0, :, 3].set(jnp.inf)
    mask = jnp.ones((2, 1, 5, 5), bool).at[0, :, :, 3].set(False).at[:, :, 2].set(False)
    given = _as_floats(~mask) if floats else mask

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, given, enable_gqa=heads < 4)

    output = attend(q, k, v)
    assert all_finite(output)
    assert not output[:, :, 2].any()  # may attend to nothing
    grads = jax.grad(lambda *a: attend(*a).sum(), (0, 1, 2))(q, k, v)
    assert all_finite(grads)
    assert not grads[0][:, :, 2].any()
    assert not grads[1][0, :, 3].any()


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_query_with_nothing_to_attend_to_is_zero(need_weights):
    x, w = jnp.ones((3, 1, 4)), jnp.ones((12, 4))
    mask = jnp.zeros((3, 3), bool).at[1].set(True)

    def attend(x):
        return F.multi_head_attention_forward(
            x, x, x, 4, 2, w, None, None, None, False, 0.0, jnp.eye(4), None,
            attn_mask=mask, need_weights=need_weights,
        )  # fmt: skip

    output, weights = attend(x)
    assert not output[1].any()
    assert weights is None or not weights[0, 1].any()
    assert all_finite(jax.grad(lambda x: attend(x)[0].sum())(x))


@pytest.mark.parametrize("joined", [False, True])
def test_bags_never_look_at_what_is_padding(joined):
    table = jnp.arange(8.0).reshape(4, 2).at[3].set(NAN)
    index, factors = (
        jnp.array([[0, 3, 1], [3, 2, 3]]),
        jnp.array([[1.0, NAN, 2.0], [NAN, 3.0, NAN]]),
    )

    def total(table, factors):
        if joined:
            return F.embedding_bag(
                index.ravel(), table, jnp.array([0, 3]), mode="sum",
                per_sample_weights=factors.ravel(), padding_idx=3,
            ).sum()  # fmt: skip
        return F.embedding_bag(
            index, table, mode="sum", per_sample_weights=factors, padding_idx=3
        ).sum()

    value, grads = jax.value_and_grad(total, (0, 1))(table, factors)
    assert value == 1 * (0 + 1) + 2 * (2 + 3) + 3 * (4 + 5)
    assert all_finite(grads)
    assert not grads[0][3].any()
    assert grads[1].tolist() == [[1.0, 0.0, 5.0], [0.0, 9.0, 0.0]]


# ---- choices that are not PyTorch's on every device ---------------------------------------------


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_a_bags_gradient_is_divided_by_each_rows_own_frequency(mode):
    """PyTorch's kernel for CPUs divides by the frequency of another row; the one for GPUs does as we do."""
    index, offsets = jnp.array([0, 0, 1, 0, 2, 1]), jnp.array([0, 3])

    def grad(by_frequency):
        return jax.grad(
            lambda w: F.embedding_bag(
                index, w, offsets, mode=mode, scale_grad_by_freq=by_frequency
            ).sum()
        )(jnp.ones((4, 1)))

    expected = grad(False)[:, 0] / jnp.array([3.0, 2.0, 1.0, 1.0])
    np.testing.assert_allclose(grad(True)[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 1.05, 1.1, 1.9, 2.0, 2.01, 2.1, 0.6])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_elements_are_those_of_pytorch(axes, scale, mode, rng):
    torch = pytest.importorskip("torch")
    for size in (2, 3, 7):
        x = rng.standard_normal((1, 1) + (size,) * axes).astype(np.float32)
        theirs = torch.nn.functional.interpolate(torch.from_numpy(x), scale_factor=scale, mode=mode)
        np.testing.assert_array_equal(F.interpolate(x, scale_factor=scale, mode=mode), theirs)


# ---- refusals ------------------------------------------------------------------------------------

X, W, TABLE = jnp.ones((2, 3)), jnp.ones((1, 3)), jnp.ones((3, 2))
FOUR = jnp.zeros(4, jnp.int32)


def bag(offsets, **kwargs):
    return F.embedding_bag(FOUR, TABLE, jnp.array(offsets, jnp.int32), **kwargs)


def unpool(index):
    return F.max_unpool1d(jnp.ones((1, 2)), jnp.array([[0, index]]), 2)


STATISTICS = {"running_mean": jnp.zeros(3), "running_var": jnp.ones(2)}
IMAGE = jnp.ones((2, 3, 4))

REFUSED = {
    "statistics of other channels, in training": (
        lambda: F.batch_norm(IMAGE, **STATISTICS, training=True), ValueError, "has 3 channels",
    ),
    "statistics to update": (
        lambda: F.batch_norm_update(IMAGE, jnp.zeros(1), jnp.ones(1)), ValueError, "has 3 channels",
    ),
    "statistics that are not used": (
        lambda: F.instance_norm(IMAGE, **STATISTICS), ValueError, "each of the 3 channels",
    ),
    "statistics of instances": (
        lambda: F.instance_norm_update(IMAGE, jnp.zeros(1), jnp.ones(1)), ValueError, "each of the 3 channels",
    ),
    "bias that enlarges": (lambda: F.linear(X, W, jnp.ones(4)), ValueError, "bias must have shape"),
    "bias of another width": (lambda: F.linear(X, jnp.ones((4, 3)), jnp.ones(3)), ValueError, "bias"),
    "bias with an axis": (lambda: F.linear(jnp.ones(3), W[0], jnp.ones(1)), ValueError, "bias"),
    "bias of bilinear": (
        lambda: F.bilinear(X, X, jnp.ones((4, 3, 3)), jnp.ones(1)), ValueError, "bias must have shape",
    ),
    "offsets beyond": (lambda: bag([0, 5]), ValueError, "rise from 0 to at most 4"),
    "offsets that fall": (lambda: bag([0, 3, 2]), ValueError, "rise from 0"),
    "offsets not from 0": (lambda: bag([1, 2]), ValueError, "rise from 0"),
    "negative offsets": (lambda: bag([0, -1]), ValueError, "rise from 0"),
    "no offsets": (lambda: bag([], include_last_offset=True), ValueError, "must not be empty"),
    "offsets of floats": (
        lambda: F.embedding_bag(FOUR, TABLE, jnp.zeros(1)), TypeError, "offsets must hold integers",
    ),
    "unpooling beyond": (lambda: unpool(99), IndexError, r"indices must lie in \[0, 3\]"),
    "unpooling before": (lambda: unpool(-1), IndexError, "indices must lie in"),
    "padding by half": (lambda: F.pad(X, (2.5, 1)), TypeError, "whole numbers"),
    "index known in jit": (
        lambda: jax.jit(lambda w: F.embedding(np.array([0, 9]), w))(TABLE), IndexError, "input must lie in",
    ),
    "attention of other widths": (
        lambda: F.scaled_dot_product_attention(X, jnp.ones((2, 4)), X), ValueError, "as many features",
    ),
    "attention of other batches": (
        lambda: F.scaled_dot_product_attention(jnp.ones((2, 3, 4)), jnp.ones((3, 3, 4)), jnp.ones((3, 3, 4))),
        ValueError, "leading axes of query and key must broadcast",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("bias", [(4,), (1,), (), (2, 4), (1, 4)])
def test_a_bias_may_broadcast_to_the_output(bias):
    output = F.linear(X, jnp.ones((4, 3)), jnp.ones(bias))
    assert output.shape == (2, 4)
    assert (output == 4).all()


def test_traced_offsets_that_do_not_rise_give_nan():
    reduce_bags = jax.jit(lambda offsets: F.embedding_bag(FOUR, TABLE, offsets, mode="sum"))
    assert reduce_bags(jnp.array([0, 1])).tolist() == [[1.0, 1.0], [3.0, 3.0]]
    for wrong in ([0, 5], [1, 2], [3, 0], [0, -1]):
        assert jnp.isnan(reduce_bags(jnp.array(wrong))).all()


def test_traced_positions_outside_are_dropped():
    put = jax.jit(lambda where: F.max_unpool1d(jnp.ones((1, 2)), where, 2))
    assert put(jnp.array([[1, 99]])).tolist() == [[0.0, 1.0, 0.0, 0.0]]
    assert put(jnp.array([[1, -1]])).tolist() == [[0.0, 1.0, 0.0, 0.0]]


def test_known_indices_are_known_inside_of_jit():
    closed = jnp.array([0, 2])
    assert jax.jit(lambda: F.one_hot(closed))().shape == (2, 3)
    assert jax.jit(lambda: F.one_hot([0, 4]))().shape == (2, 5)
    with pytest.raises(ValueError, match="pass it, or give the indices as a NumPy array"):
        jax.jit(F.one_hot)(closed)
