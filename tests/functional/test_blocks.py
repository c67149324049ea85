"""Activations, normalization and attention as functions, against PyTorch and by definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from tests.functional.rows import blocks as rows_blocks
from tests.parity import check, check_raises, rows


@pytest.mark.parametrize("row", rows(rows_blocks.ROWS), ids=str)
def test_row(row):
    check(row)


@pytest.mark.parametrize("row", rows_blocks.RAISES, ids=str)
def test_raises(row):
    check_raises(row)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_cross_map_lrn_equals_pytorch(size, channels, rng, x64):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, channels, 2, 3))
    theirs = torch.nn.CrossMapLRN2d(size, 0.1, 0.6, 2.0)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(
        # float64, rounded a few times
        F.cross_map_lrn2d(jnp.asarray(x), size, 0.1, 0.6, 2.0),
        theirs,
        rtol=1e-12,
    )


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
def test_cross_map_lrn_has_the_gradient_of_pytorch(size, rng, x64):
    # its backward pass sums over a shifted window and is not quite the derivative of its output
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 6, 2, 2))
    theirs = torch.from_numpy(x).requires_grad_()
    torch.nn.CrossMapLRN2d(size, 0.5)(theirs).sin().sum().backward()
    ours = jax.grad(lambda x: jnp.sin(F.cross_map_lrn2d(x, size, 0.5)).sum())(jnp.asarray(x))
    # float64: powers and sums of seven terms
    np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-11)


def test_second_derivatives(x64):
    """Whatever was rewritten for speed is differentiable twice, forwards and backwards."""
    x = jnp.asarray(np.linspace(-3.0, 3.0, 24).reshape(2, 4, 3) + 0.1)
    functions = [
        F.softplus,
        F.logsigmoid,
        F.mish,
        F.gelu,
        F.elu,
        lambda x: F.layer_norm(x, (3,)),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.normalize(x),
        lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    ]
    total = jax.jit(lambda x: sum(jnp.sum(jnp.sin(function(x))) for function in functions))
    grad = jax.jit(jax.grad(total))
    direction = jnp.asarray(np.random.default_rng(0).standard_normal(x.shape))
    slope, bend = jax.jit(
        lambda x: (jax.jvp(total, (x,), (direction,))[1], jax.jvp(grad, (x,), (direction,))[1])
    )(x)
    step = 1e-5 * direction  # central differences: 1e-10 of curvature, 1e-11 of rounding
    np.testing.assert_allclose(slope, jnp.vdot(grad(x), direction), rtol=1e-10)
    np.testing.assert_allclose(slope, (total(x + step) - total(x - step)) / 2e-5, rtol=1e-6)
    expected = (grad(x + step) - grad(x - step)) / 2e-5
    np.testing.assert_allclose(bend, expected, rtol=1e-6, atol=1e-6)


def test_softmax_takes_pytorchs_axis_by_default_and_a_dtype():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4)), jnp.float32)
    # float32, rounded once or twice
    np.testing.assert_allclose(F.softmax(x).sum(0), np.ones((3, 4)), rtol=1e-6)
    # float32, rounded once or twice
    np.testing.assert_allclose(F.softmax(x[0]).sum(1), np.ones(3), rtol=1e-6)
    half = x.astype(jnp.bfloat16)
    assert F.softmax(half, -1, dtype=jnp.float32).dtype == jnp.float32
    assert F.log_softmax(half, -1).dtype == jnp.bfloat16


def test_16_bit_norms_and_attention_compute_in_32_bits():
    x = jnp.full((4, 256), 300.0, jnp.float16) + jnp.arange(256, dtype=jnp.float16)
    for function in (lambda x: F.layer_norm(x, (256,)), lambda x: F.rms_norm(x, (256,))):
        output = function(x)  # squares of 300 overflow in float16
        assert output.dtype == jnp.float16
        assert jnp.isfinite(output).all()
    q = jnp.full((1, 8, 64), 60.0, jnp.float16)
    assert jnp.isfinite(F.scaled_dot_product_attention(q, q, q)).all()


def test_grouped_queries_never_repeat_keys():
    q, k = jnp.ones((2, 8, 16, 4)), jnp.ones((2, 2, 64, 4))
    jaxpr = str(
        jax.make_jaxpr(lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True))(q, k)
    )
    assert "8,64,4]" not in jaxpr
    assert "transpose" not in jaxpr


def test_cross_map_lrn_goes_forwards_too(x64):
    """Its slope is PyTorch's and no true derivative, so a product with its Hessian has two values."""
    x, direction = np.random.default_rng(0).standard_normal((2, 2, 6, 2, 2))
    loss = lambda x: jnp.sum(jnp.sin(F.cross_map_lrn2d(x, 3, 0.5)))
    slope = jax.jvp(loss, (x,), (direction,))[1]
    np.testing.assert_allclose(slope, jnp.vdot(jax.grad(loss)(x), direction), rtol=1e-10)
    assert jnp.isfinite(jax.jvp(jax.grad(loss), (x,), (direction,))[1]).all()
