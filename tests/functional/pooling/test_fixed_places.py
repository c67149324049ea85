"""Windows of uneven lengths and unpooling: their gradients are gathers, in every mode of differentiation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from funcnet import functional as F
from funcnet.functional.pooling import unpool

RATIOS = [(7, 3), (5, 4), (3, 7), (1, 4), (5, 1), (40, 3), (58, 3)]
"""Sizes and outputs: windows that overlap or do not, of many elements or one, and more windows than elements."""

POOLS = {"avg": (F.adaptive_avg_pool1d, np.mean), "max": (F.adaptive_max_pool1d, np.max)}


def windows(size: int, outputs: int) -> list[slice]:
    return [slice(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)]


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def jacobian(kind: str, x: np.ndarray, outputs: int) -> np.ndarray:
    """The derivatives of pooling by its definition: an element's part in a mean, or whether it is the maximum."""
    matrix = np.zeros((outputs, len(x)))
    for row, window in zip(matrix, windows(len(x), outputs), strict=True):
        part = x[window]
        row[window] = 1 / len(part) if kind == "avg" else part == part.max()
    return matrix


@pytest.mark.parametrize(("size", "outputs"), RATIOS)
@pytest.mark.parametrize("kind", POOLS)
def test_adaptive_pooling_and_its_derivatives_by_definition(kind, size, outputs):
    pool, reduce = POOLS[kind]

    def of_vector(x):
        return pool(x[None], outputs)[0]

    x = draw(size)
    np.testing.assert_allclose(
        of_vector(x), [reduce(x[window]) for window in windows(size, outputs)], rtol=1e-6, atol=1e-7
    )
    expected = jacobian(kind, x, outputs)
    for mode in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(jax.jit(mode(of_vector))(x), expected, rtol=1e-6)


@pytest.mark.parametrize("inner", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("kind", POOLS)
def test_second_derivatives_of_adaptive_pooling(kind, inner, outer):
    pool, _ = POOLS[kind]
    x = draw(7)
    curvature = outer(inner(lambda x: jnp.sum(pool(x[None], 3) ** 2) / 2))
    expected = jacobian(kind, x, 3)
    np.testing.assert_allclose(jax.jit(curvature)(x), expected.T @ expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("size", "outputs"), [(7, 3), (3, 7)])
def test_a_bad_number_reaches_the_windows_that_hold_it_alone(bad, size, outputs):
    """Forward an element of the input, backward one of the output's gradient."""
    pool = partial(F.adaptive_avg_pool2d, output_size=(outputs, outputs))
    touched = jacobian("avg", draw(size), outputs) > 0
    for place in range(size):
        output = pool(jnp.ones((1, size, size)).at[0, place, 0].set(bad))
        expected = np.outer(touched[:, place], touched[:, 0])
        np.testing.assert_array_equal(~np.isfinite(output[0]), expected)
    _, pull = jax.vjp(pool, jnp.ones((1, size, size)))
    for place in range(outputs):
        (gradient,) = pull(jnp.ones((1, outputs, outputs)).at[0, place, 0].set(bad))
        expected = np.outer(touched[place], touched[0])
        np.testing.assert_array_equal(~np.isfinite(gradient[0]), expected)


def test_the_gradient_of_adaptive_averages_scatters_nothing():
    gradient = jax.grad(lambda x: jnp.sum(F.adaptive_avg_pool2d(x, 7)))
    program = jax.jit(gradient).lower(jnp.ones((1, 32, 32))).as_text()
    assert "gather" in program
    assert "scatter" not in program


def in_order(values: np.ndarray, indices: np.ndarray, size: int) -> np.ndarray:
    output = np.zeros((len(values), size), values.dtype)
    for row, places, line in zip(output, indices, values, strict=True):
        for place, value in zip(places, line, strict=True):
            if 0 <= place < size:
                row[place] = value
    return output


@pytest.fixture(params=["in order", "in any order"])
def either_form(request, monkeypatch):
    """The form of CPUs, and that of machines that write in no fixed order."""
    if request.param == "in any order":
        platforms = lambda *arrays, cpu, default: default(*arrays)
        monkeypatch.setattr(unpool.lax, "platform_dependent", platforms)


@pytest.mark.usefixtures("either_form")
@pytest.mark.parametrize("dtype", [np.float32, "bfloat16"])
def test_the_last_of_several_values_for_one_place_is_kept(dtype):
    values = draw(3, 20)
    indices = np.random.default_rng(1).integers(-2, 12, (3, 20)).astype(np.int32)

    @jax.jit
    def put(values, indices):
        return F.max_unpool1d(values, indices, 1)

    values = jnp.asarray(values, dtype)
    expected = in_order(np.asarray(values), indices, 20)
    np.testing.assert_array_equal(put(values, indices), expected)


@pytest.mark.usefixtures("either_form")
def test_unpooling_sends_gradients_to_each_value_and_tangents_to_the_last():
    values, indices = jnp.asarray(draw(1, 4)), jnp.array([[5, 2, 5, 9]])

    def put(values):
        return F.max_unpool1d(values, indices, 2, output_size=(10,), stride=3)

    written = np.zeros((10, 4))
    written[[2, 5, 9], [1, 2, 3]] = 1
    read = np.zeros((10, 4))
    read[[5, 2, 5, 9], range(4)] = 1
    np.testing.assert_array_equal(jax.jacfwd(put)(values)[0, :, 0], written)
    np.testing.assert_array_equal(jax.jacrev(put)(values)[0, :, 0], read)
    both = jnp.stack([values, 2 * values])
    np.testing.assert_array_equal(jax.vmap(put)(both)[1], 2 * put(values))


def test_both_forms_of_unpooling_are_one_program_for_each_platform():
    lowered = jax.jit(partial(F.max_unpool1d, kernel_size=2)).trace(
        jnp.ones((1, 3)), jnp.arange(3)[None]
    )
    assert lax.platform_dependent is unpool.lax.platform_dependent
    texts = [lowered.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda")]
    assert ["stablehlo.maximum" in text for text in texts] == [False, True]
