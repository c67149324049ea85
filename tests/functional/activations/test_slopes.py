"""Slopes of activations where a slope has no digits unless it is computed from the input itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F

X = np.concatenate([-np.logspace(-6, 1.9, 60), [0.0], np.logspace(-6, 1.9, 60)]).astype(np.float32)


def _nth(function, order):
    for _ in range(order):
        function = jax.grad(function)
    return jax.jit(jax.vmap(function))


@pytest.mark.parametrize("function", [F.tanh, F.sigmoid, F.elu, F.selu, F.celu])
@pytest.mark.parametrize("order", [1, 2])
def test_relative_error_of_slopes_is_small_everywhere(function, order):
    """Far out too, where ``1 - tanh(x)²`` is zero and ``exp(x) - 1 + 1`` has lost what exp had."""
    with jax.enable_x64(True):
        exact = np.asarray(_nth(function, order)(X.astype(np.float64)))
    ours = np.asarray(_nth(function, order)(X), np.float64)
    normal = np.abs(exact) > 1e-30
    np.testing.assert_allclose(
        ours[normal], exact[normal], rtol=2e-5
    )  # exp(80) has an error of 80 ulp
    assert (np.abs(ours[~normal]) < 1e-29).all()


@pytest.mark.parametrize("function", [F.mish, F.silu, F.gelu, F.softplus, F.logsigmoid, F.softsign])
def test_slopes_of_gates_have_all_their_digits(function):
    """Where a slope is a difference of two quotients, it has the error of the larger one."""
    near = X[np.abs(X) < 12]
    with jax.enable_x64(True):
        exact = np.asarray(_nth(function, 1)(near.astype(np.float64)))
    ours = np.asarray(_nth(function, 1)(near), np.float64)
    # eight units in the last place of numbers near one
    np.testing.assert_allclose(ours, exact, rtol=0, atol=8 * 1.2e-7)


@pytest.mark.parametrize("function", [F.tanh, F.sigmoid])
def test_derivatives_of_every_order_and_direction(function, x64):
    """The closed forms are differentiated in their turn: at zero too, where some use ``|x|``."""
    known = {F.tanh: [1, 0, -2, 0, 16], F.sigmoid: [1 / 4, 0, -1 / 8, 0, 1 / 4]}[function]
    derivative = function
    for expected in known:
        forward = jax.jvp(derivative, (0.0,), (1.0,))[1]
        derivative = jax.grad(derivative)
        np.testing.assert_allclose([forward, derivative(0.0)], expected, atol=1e-12)


def test_the_slope_of_tanh_at_eight():
    np.testing.assert_allclose(jax.grad(F.tanh)(8.0), 4.50140598e-07, rtol=1e-6)


def test_an_infinity_above_zero_is_no_part_of_a_learned_slope():
    x = jnp.array([[jnp.inf, -2.0]])
    grad = jax.grad(lambda w: jnp.sum(F.prelu(x, w)[:, 1:]))(jnp.array(0.25))
    assert grad == -2
    assert jax.grad(F.hardswish)(jnp.inf) == 1
    assert jax.grad(F.hardswish)(-jnp.inf) == 0


def test_a_learned_slope_in_16_bits_is_a_sum_of_32():
    x = jnp.full((4096, 1), -1.0, jnp.bfloat16)
    loss = lambda w: jnp.sum(F.prelu(x, w).astype(jnp.float32))
    assert jax.jit(jax.grad(loss))(jnp.array([0.25], jnp.bfloat16)) == -4096


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_no_activation_overflows_inside(dtype):
    x = jnp.asarray([-60.0, -12, -6, 6, 12, 60], dtype)
    for function in (F.mish, F.gelu, lambda x: F.gelu(x, "tanh"), F.softplus, F.logsigmoid, F.silu):
        value, grad = function(x), jax.vmap(jax.grad(function))(x)
        assert value.dtype == grad.dtype == x.dtype
        assert jnp.isfinite(value).all()
        assert jnp.isfinite(grad).all()
        np.testing.assert_allclose(
            jnp.abs(value[3:]), jnp.where(value[3:] < 1, 0, x[3:]), atol=0.02
        )


def test_integers_keep_their_dtype_where_elements_are_kept_whole():
    x = jnp.array([-3, 4, 9], jnp.int8)
    assert F.relu(x).tolist() == [0, 4, 9]
    assert F.relu6(x).tolist() == [0, 4, 6]
    assert F.threshold(x, 4.5, -1).tolist() == [-1, -1, 9]
    assert F.relu(x).dtype == F.relu6(x).dtype == F.threshold(x, 4.5, -1).dtype == jnp.int8
    with pytest.raises(TypeError, match=r"0\.5 is no integer"):
        F.threshold(x, 1, 0.5)
    for function in (F.relu, F.relu6, F.elu, F.softmax):
        with pytest.raises(TypeError, match="has dtype bool"):
            function(jnp.array([True]))
    assert F.softmax(jnp.array([1, 1]), 0, dtype=jnp.float32).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("function", [F.log_softmax, F.softmax])
def test_second_derivatives_of_softmax_at_minus_infinity(function):
    x, weight = jnp.array([0.0, 1.0, -jnp.inf]), jnp.array([1.0, 2.0, 3.0])
    loss = lambda x: jnp.sum(jnp.exp(function(x, 0)) * weight)
    for outer in (jax.jacfwd, jax.jacrev):
        for inner in (jax.jacfwd, jax.jacrev):
            bend = outer(inner(loss))(x)
            assert jnp.isfinite(bend).all()
            kept = outer(inner(lambda x: jnp.sum(jnp.exp(function(x, 0)) * weight[:2])))(x[:2])
            np.testing.assert_allclose(bend[:2, :2], kept, rtol=1e-5, atol=1e-6)


def test_complex_numbers_where_pytorch_takes_them():
    torch = pytest.importorskip("torch")
    z = np.array([0.3 - 0.5j, -1 + 2j, 0.1j], np.complex64)
    for name in ("sigmoid", "tanh", "silu", "softsign", "tanhshrink"):
        theirs = getattr(torch.nn.functional, name)(torch.tensor(z))
        np.testing.assert_allclose(getattr(F, name)(jnp.asarray(z)), theirs, rtol=1e-5)
    np.testing.assert_allclose(
        F.normalize(jnp.asarray(z), dim=0),
        torch.nn.functional.normalize(torch.tensor(z), dim=0),
        rtol=1e-6,
    )
    with pytest.raises(TypeError, match="gelu takes floating-point numbers"):
        F.gelu(jnp.asarray(z))


@pytest.mark.parametrize(
    "name", ["softsign", "tanhshrink", "tanh", "sigmoid", "silu", "mish", "gelu", "softplus"]
)
def test_second_slopes_at_zero_are_those_of_pytorch(name, x64):
    """A kink of the magnitude inside a formula is none of the function."""
    torch = pytest.importorskip("torch")
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(getattr(torch.nn.functional, name)(zero), zero, create_graph=True)[
        0
    ]
    expected = torch.autograd.grad(slope, zero)[0]
    np.testing.assert_allclose(jax.grad(jax.grad(getattr(F, name)))(0.0), expected[0], atol=1e-15)
