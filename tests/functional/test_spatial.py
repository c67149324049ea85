"""Spatial functions against PyTorch, and what they do beyond it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet.functional as F
from tests.functional.rows.spatial import RAISES, ROWS
from tests.parity import check, check_raises, rows


@pytest.mark.parametrize("row", rows(ROWS), ids=str)
def test_row(row):
    check(row)


@pytest.mark.parametrize("row", RAISES, ids=str)
def test_raises(row):
    check_raises(row)


def _last(x, axes):
    return jnp.moveaxis(x, -axes - 1, -1)


CHANNELS_LAST = [
    (F.conv1d, 1, (3, 2, 3), {"padding": 1, "stride": 2}),
    (F.conv2d, 2, (6, 1, 3, 2), {"groups": 2, "dilation": 2, "padding": (2, 1)}),
    (F.conv3d, 3, (3, 2, 2, 2, 2), {"padding": "same"}),
    (F.conv_transpose1d, 1, (2, 3, 3), {"stride": 2, "output_padding": 1}),
    (F.conv_transpose2d, 2, (2, 3, 3, 2), {"groups": 2, "padding": 1}),
    (F.conv_transpose3d, 3, (2, 3, 2, 2, 2), {"stride": 2}),
    (F.max_pool1d, 1, None, {"kernel_size": 3, "stride": 1, "padding": 1}),
    (F.max_pool2d, 2, None, {"kernel_size": 2, "return_indices": True, "ceil_mode": True}),
    (F.max_pool3d, 3, None, {"kernel_size": 2, "stride": 1}),
    (F.avg_pool1d, 1, None, {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
    (F.avg_pool2d, 2, None, {"kernel_size": 2, "ceil_mode": True}),
    (F.avg_pool3d, 3, None, {"kernel_size": 2}),
    (F.adaptive_avg_pool1d, 1, None, {"output_size": 2}),
    (F.adaptive_avg_pool2d, 2, None, {"output_size": (3, None)}),
    (F.adaptive_avg_pool3d, 3, None, {"output_size": 2}),
    (F.adaptive_max_pool1d, 1, None, {"output_size": 2}),
    (F.adaptive_max_pool2d, 2, None, {"output_size": (3, 2), "return_indices": True}),
    (F.adaptive_max_pool3d, 3, None, {"output_size": 2}),
]


@pytest.mark.parametrize(
    ("function", "axes", "weight", "kwargs"),
    CHANNELS_LAST,
    ids=lambda v: getattr(v, "__name__", None),
)
def test_channels_last_is_a_transposition(function, axes, weight, kwargs, rng):
    """With channels last, and two batch axes, the numbers are those of PyTorch's layout."""
    x = jnp.asarray(rng.standard_normal((2, 3, 2, *(5, 4, 5)[:axes])), jnp.float32)
    rest = () if weight is None else (jnp.asarray(rng.standard_normal(weight), jnp.float32),)

    @jax.jit
    def both(x):
        first = function(x.reshape(6, *x.shape[2:]), *rest, **kwargs)
        last = function(_last(x, axes), *rest, **kwargs, channels_last=True)
        return first, last

    for a, b in zip(*map(jax.tree.leaves, both(x)), strict=True):
        # float32: sums in another order
        np.testing.assert_allclose(_last(a, axes).reshape(b.shape), b, rtol=1e-5, atol=1e-5)


def test_nan_and_minus_infinity_are_pooled_as_in_pytorch():
    torch = pytest.importorskip("torch")
    x = np.full((1, 4, 5), -np.inf, np.float32)
    x[0, 1, 1] = np.nan
    x[0, 3, 4] = 2.0
    ours = jax.jit(lambda x: F.max_pool2d(x, 3, 1, 1, return_indices=True))(x)
    theirs = torch.nn.functional.max_pool2d(torch.from_numpy(x), 3, 1, 1, return_indices=True)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


@pytest.mark.parametrize("kernel", [3, 20])
def test_wide_windows_compile_and_agree(kernel, rng):
    """Few taps, windows apart, and windows that overlap take different ways to the same maximum."""
    x = rng.standard_normal((2, 40)).astype(np.float32)
    strides = (1, kernel, kernel + 1)

    @jax.jit
    def pool(x):
        return [
            (*F.max_pool1d(x, kernel, stride, return_indices=True), F.avg_pool1d(x, kernel, stride))
            for stride in strides
        ]

    for stride, (values, where, mean) in zip(strides, pool(x), strict=True):
        views = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=1)[:, ::stride]
        np.testing.assert_array_equal(values, views.max(-1))
        np.testing.assert_array_equal(where, views.argmax(-1) + np.arange(views.shape[1]) * stride)
        # float32 sums of 20 terms in another order
        np.testing.assert_allclose(mean, views.mean(-1), rtol=1e-5, atol=1e-6)


def test_fold_is_the_transpose_of_unfold(rng, x64):
    x = jnp.asarray(rng.standard_normal((2, 3, 5, 6)))
    settings = {"kernel_size": (2, 3), "dilation": (2, 1), "padding": 1, "stride": (1, 2)}
    columns = F.unfold(x, **settings)
    y = jnp.asarray(rng.standard_normal(columns.shape))
    image = F.fold(y, (5, 6), **settings)
    # float64: sums of some hundred terms
    np.testing.assert_allclose(jnp.vdot(columns, y), jnp.vdot(x, image), rtol=1e-12)


def test_forward_mode_and_second_derivatives(rng, x64):
    """No custom rule stands in the way of forward mode or of derivatives of derivatives."""
    x = jnp.asarray(rng.standard_normal((1, 2, 4, 4)))
    w = jnp.asarray(rng.standard_normal((2, 2, 3, 3)))

    def loss(x):
        y = F.conv2d(x, w, padding=1)
        y = F.max_pool2d(y, 2, 1) ** 3 + F.avg_pool2d(y, 2, 1) ** 2
        return jnp.sum(F.interpolate(y, scale_factor=2, mode="bilinear") ** 2)

    v = jnp.asarray(rng.standard_normal(x.shape))
    forward = jax.jit(lambda x: jax.jvp(jax.grad(loss), (x,), (v,))[1])(x)
    step, gradient = 1e-5, jax.jit(jax.grad(loss))
    numeric = (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)
    # central differences of this cubic: their error is of the order step^2, 1e-10, times third derivatives
    np.testing.assert_allclose(forward, numeric, rtol=1e-5, atol=1e-5)


def test_fractional_pooling_needs_a_key_and_lies_within():
    x = jnp.arange(81.0).reshape(1, 9, 9)
    with pytest.raises(ValueError, match="key"):
        F.fractional_max_pool2d(x, 2, output_size=4)
    pool = jax.jit(lambda key: F.fractional_max_pool2d(x, 2, 4, return_indices=True, key=key))
    for seed in range(3):
        values, where = pool(jax.random.key(seed))
        np.testing.assert_array_equal(values.ravel(), x.ravel()[where.ravel()])
        assert values.max() == 80
