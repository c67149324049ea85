"""Penalties by singular values, against NumPy's, and their gradients against differences."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from tests.sampling import sampled

SHAPES = [(4, 4), (3, 5), (5, 3), (4, 2, 3), (2, 3, 2, 2), (1, 6)]
KINDS = ["soft", "double", "coherence", "restricted", "spectral"]


def penalty(kind):
    if kind == "spectral":
        return F.spectral_penalty
    return lambda weight: F.orthogonal_penalty(weight, kind)


def by_numpy(kind, weight):
    matrix = np.asarray(weight, "f8").reshape(len(weight), -1)
    sizes = np.linalg.svd(matrix, compute_uv=False)
    if kind == "spectral":
        return sizes[0] ** 2
    if kind == "restricted":
        return abs(sizes**2 - 1).max()
    rows, columns = (m @ m.T - np.eye(len(m)) for m in (matrix, matrix.T))
    small, large = sorted((rows, columns), key=len)
    if kind == "coherence":
        return abs(small).sum(1).max()
    return (small**2).sum() + (kind == "double") * (large**2).sum()


PRODUCTS = list(product(KINDS, SHAPES))


@pytest.mark.parametrize(
    "number", range(len(PRODUCTS)), ids=lambda n: "-".join(map(str, PRODUCTS[n]))
)
def test_values_and_gradients(number, request):
    sampled(request, number % 4 == 0)
    kind, shape = PRODUCTS[number]
    weight = jax.random.normal(jax.random.key(1), shape)
    value, gradient = jax.jit(jax.value_and_grad(penalty(kind)))(weight)
    np.testing.assert_allclose(value, by_numpy(kind, weight), rtol=1e-5)
    exact, step = np.asarray(weight, "f8"), 1e-5
    for place in list(np.ndindex(*shape))[:4]:
        moved = [exact.copy(), exact.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        slope = (by_numpy(kind, moved[0]) - by_numpy(kind, moved[1])) / (2 * step)
        np.testing.assert_allclose(gradient[place], slope, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    list(
        zip(KINDS, [jnp.bfloat16, jnp.float16, jnp.float32, jnp.bfloat16, jnp.float16], strict=True)
    ),
)
def test_dtypes_and_stacks(kind, dtype):
    weights = jax.random.normal(jax.random.key(1), (3, 4, 5)).astype(dtype)
    found = jax.jit(jax.vmap(penalty(kind)))(weights)
    assert found.dtype == dtype
    expected = [by_numpy(kind, weight.astype("f4")) for weight in weights]
    np.testing.assert_allclose(
        found.astype("f4"), expected, rtol=max(1e-5, float(jnp.finfo(dtype).eps))
    )


@pytest.mark.parametrize("kind", KINDS[:4])
def test_orthonormal_weights_cost_nothing_and_descent_leads_there(kind):
    turned = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (6, 4)))[0]
    excess = 2 if kind == "double" else 0  # its larger matrix cannot be the identity
    assert float(jax.jit(penalty(kind))(turned)) == pytest.approx(excess, abs=1e-5)
    gradient = jax.jit(jax.grad(penalty(kind)))(turned)
    assert bool(jnp.isfinite(gradient).all())


def test_descent_makes_rows_orthonormal():
    weight = 0.5 * jax.random.normal(jax.random.key(0), (4, 3, 2))
    step = jax.jit(lambda w: w - 0.05 * jax.grad(F.orthogonal_penalty)(w))
    for _ in range(300):
        weight = step(weight)
    rows = weight.reshape(4, -1)
    np.testing.assert_allclose(rows @ rows.T, np.eye(4), atol=1e-3)


@pytest.mark.parametrize("function", [F.orthogonal_penalty, F.spectral_penalty])
def test_refused(function):
    with pytest.raises(ValueError, match="takes a matrix or a kernel"):
        function(jnp.ones(3))
    with pytest.raises(TypeError, match="floating"):
        function(jnp.ones((3, 3), int))
    with pytest.raises(ValueError, match="kind must be one of"):
        F.orthogonal_penalty(jnp.ones((3, 3)), "hard")


@pytest.mark.parametrize("mesh_kind", ["Auto", "Explicit"])
@pytest.mark.parametrize("kind", ["soft", "spectral"])
def test_of_a_weight_that_is_spread(kind, mesh_kind):
    kinds = (getattr(jax.sharding.AxisType, mesh_kind),)
    mesh = jax.make_mesh((4,), ("data",), axis_types=kinds)
    weight = jax.random.normal(jax.random.key(0), (8, 3))
    gradient = jax.jit(jax.grad(penalty(kind)))
    expected = gradient(weight)
    with jax.set_mesh(mesh):
        place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        found = gradient(jax.device_put(weight, place))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
