"""Products of 8-bit integers: exact sums, PyTorch's dynamic layer, and gradients of the float product."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from funcnet.functional.convolution.settings import resolve_settings
from funcnet.functional.quantization.integer_products import dynamic_scale, integer_convolve


def _int8(rng, *shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("inner", [1, 7, 3000])
def test_sums_are_exact(leading, inner, rng):
    a, b = _int8(rng, *leading, 2, inner), _int8(rng, inner, 5)
    exact = a.astype(np.int64) @ b.astype(np.int64)
    made = F.integer_matmul(jnp.asarray(a), jnp.asarray(b))
    assert made.dtype == jnp.int32
    np.testing.assert_array_equal(made, exact)


def test_a_product_equals_pytorch(rng):
    torch = pytest.importorskip("torch")
    a, b = _int8(rng, 32, 64), _int8(rng, 64, 16)
    theirs = torch._int_mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(F.integer_matmul(jnp.asarray(a), jnp.asarray(b)), theirs)


@pytest.mark.parametrize("zero", [None, -128, 37])
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("one", [False, True], ids=["channels", "one scale"])
def test_a_linear_map_is_that_of_the_numbers_that_integers_stand_for(zero, kind, one, rng):
    x = jnp.asarray(rng.normal(size=(3, 40)), kind)
    values = jnp.asarray(_int8(rng, 6, 40))
    scales = jnp.asarray(rng.uniform(0.001, 0.01, () if one else 6), jnp.float32)
    bias = jnp.asarray(rng.normal(size=6), kind)
    how = {"input_scale": 0.02} | ({} if zero is None else {"input_zero_point": zero})
    made = jax.jit(F.integer_linear)(x, values, scales, bias, **how)
    given = np.clip(np.round(np.asarray(x, np.float32) / np.float32(0.02)) + (zero or 0), -128, 127)
    given = (given - (zero or 0)) * 0.02
    exact = given @ (np.asarray(values, float) * np.reshape(scales, (-1, 1))).T + np.asarray(
        bias, float
    )
    assert made.dtype == kind
    # three roundings in the dtype of the result, of sums up to a few tens
    tolerance = 4 * float(jnp.finfo(kind).eps)
    np.testing.assert_allclose(np.asarray(made, float), exact, rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("dynamic", ["row", "tensor"])
def test_scales_come_from_the_input(dynamic, rng):
    x = jnp.asarray(rng.normal(size=(2, 3, 40)) * [[[1.0], [10.0], [0.0]]], jnp.float32)
    weight = rng.normal(size=(6, 40)).astype(np.float32)
    scales = jnp.asarray(np.abs(weight).max(1) / 127)
    values = jnp.asarray(np.round(weight / scales[:, None]), jnp.int8)
    made = jax.jit(partial(F.integer_linear, dynamic=dynamic))(x, values, scales)
    exact = np.asarray(x) @ (np.asarray(values, np.float32) * np.asarray(scales)[:, None]).T
    largest = np.abs(x).max(-1, keepdims=True) if dynamic == "row" else np.abs(x).max()
    # each of 40 inputs is off by half a step at most
    bound = 0.5 / 127 * largest * np.abs(weight).sum(1) * 1.02 + 1e-6
    assert (np.abs(made - exact) <= bound).all()
    assert not made[:, 2].any()


def test_the_dynamic_layer_of_pytorch(rng):
    """PyTorch has one scale and a zero point for the input, and uses 7 of its 8 bits on some processors."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():  # PyTorch moves these names to another package
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(
            torch.nn.Sequential(torch.nn.Linear(64, 16)), {torch.nn.Linear}, dtype=torch.qint8
        )
        layer = model[0]
    weight, bias = layer._weight_bias()
    scale = weight.q_scale()
    values = jnp.asarray(weight.int_repr().numpy())
    x = rng.normal(size=(8, 64)).astype(np.float32)
    theirs = model(torch.from_numpy(x)).detach().numpy()
    ours = F.integer_linear(
        jnp.asarray(x),
        values,
        jnp.float32(scale),
        jnp.asarray(bias.detach().numpy()),
        dynamic="tensor",
    )
    # each of 64 inputs is off by half a step: of 1/127 of the largest here, of twice that there
    step = np.abs(x).max() / 127
    bound = 1.5 * step * np.abs(np.asarray(values, float) * scale).sum(1)
    assert (np.abs(ours - theirs) <= bound).all()
    assert np.abs(ours - theirs).mean() < 0.02 * np.abs(theirs).mean() + 0.01


CONVOLUTIONS = [
    (1, (2, 3, 20), (4, 3, 5), {"stride": 2, "padding": 3}),
    (2, (2, 6, 7, 8), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    (2, (3, 7, 8), (4, 3, 3, 3), {"dilation": 2, "padding": "same"}),
    (2, (2, 200, 5, 5), (3, 200, 3, 3), {}),
    (3, (1, 2, 4, 4, 4), (3, 2, 2, 2, 2), {"padding": 1}),
    (2, (2, 5, 5, 6), (4, 6, 3, 3), {"channels_last": True}),
]


@pytest.mark.parametrize("zero", [None, -128])
@pytest.mark.parametrize(("axes", "shape", "filters", "how"), CONVOLUTIONS, ids=str)
def test_a_convolution_is_that_of_the_numbers_that_integers_stand_for(
    axes, shape, filters, how, zero, rng, x64
):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    values = jnp.asarray(_int8(rng, *filters))
    scales = jnp.asarray(rng.uniform(0.001, 0.01, filters[0]), jnp.float32)
    bias = jnp.asarray(rng.normal(size=filters[0]), jnp.float32)
    how = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "channels_last": False} | how
    settings = resolve_settings(axes, **how)
    run = jax.jit(partial(integer_convolve, settings=settings))
    made = run(x, values, scales, bias, input_scale=0.02, input_zero_point=zero)
    codes = np.clip(np.round(np.asarray(x) * np.float32(1 / 0.02)) + (zero or 0), -128, 127)
    given = jnp.asarray((codes - (zero or 0)) * 0.02, jnp.float64)
    wide = values.astype(jnp.float64) * scales.astype(jnp.float64).reshape(-1, *[1] * (axes + 1))
    plain = getattr(F, f"conv{axes}d")
    exact = jax.jit(partial(plain, **how))(given, wide, bias.astype(jnp.float64))
    # sums are exact; a product with two scales and a sum with the bias are rounded to float32
    np.testing.assert_allclose(made, exact, rtol=1e-6, atol=1e-5)


def test_gradients_are_those_of_the_float_product(rng):
    x = jnp.asarray(rng.normal(size=(3, 8)), jnp.float32)
    values, scales = jnp.asarray(_int8(rng, 4, 8)), jnp.full(4, 0.01)
    bias = jnp.zeros(4)

    def few(x, bias):
        return jnp.sum(
            jnp.sin(jax.lax.stop_gradient(x[0, 0]) + F.integer_linear(x, values, scales, bias))
        )

    def floats(x, bias, output):
        weight = values.astype(jnp.float32) * scales[:, None]
        return jnp.sum(jnp.cos(output) * F.linear(x, weight, bias))

    output = x[0, 0] + F.integer_linear(x, values, scales, bias)
    mine = jax.jit(jax.grad(few, (0, 1)))(x, bias)
    for a, b in zip(mine, jax.jit(jax.grad(floats, (0, 1)))(x, bias, output), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # float32, in another order


def test_mapped_over_inputs_and_over_layers(rng):
    x = jnp.asarray(rng.normal(size=(3, 4, 8)), jnp.float32)
    values, scales = jnp.asarray(_int8(rng, 3, 5, 8)), jnp.asarray(rng.uniform(0.01, 0.02, (3, 5)))
    scales = scales.astype(jnp.float32)
    one = jax.jit(F.integer_linear)
    each = [one(*arrays) for arrays in zip(x, values, scales, strict=True)]
    np.testing.assert_allclose(jax.vmap(one)(x, values, scales), each, rtol=1e-6)


def test_the_scale_of_nothing_is_one():
    assert dynamic_scale(jnp.zeros((2, 3)), (-1,)).tolist() == [[1.0], [1.0]]
    assert dynamic_scale(jnp.zeros((0, 3)), None).tolist() == 1.0
    empty = F.integer_linear(jnp.zeros((0, 3)), jnp.ones((2, 3), jnp.int8), jnp.ones(2))
    assert empty.shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, q: F.integer_linear(x, q.astype(jnp.int32), 1.0), TypeError, "int8 matrix"),
        (lambda x, q: F.integer_linear(x[:, :2], q, 1.0), ValueError, "last axis of input"),
        (lambda x, q: F.integer_linear(x, q, jnp.ones(3)), ValueError, "one for each output"),
        (
            lambda x, q: F.integer_linear(x, q, 1.0, input_zero_point=3),
            ValueError,
            "without input_scale",
        ),
        (
            lambda x, q: F.integer_linear(x, q, 1.0, dynamic="rows"),
            ValueError,
            "dynamic must be one of",
        ),
        (lambda x, q: F.integer_linear(q, q, 1.0), TypeError, "input"),
        (lambda x, q: F.integer_matmul(x, q), TypeError, "a must hold int8"),
        (lambda x, q: F.integer_matmul(q, q), ValueError, "same k"),
    ],
    ids=["dtype", "features", "scales", "zero point", "choice", "integers", "floats", "shapes"],
)
def test_wrong_arguments_are_met_with_a_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call(jnp.ones((2, 3)), jnp.ones((4, 3), jnp.int8))
