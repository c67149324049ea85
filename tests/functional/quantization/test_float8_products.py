"""Products of 8-bit floats: PyTorch's, what rounding says, and gradients that are rounded to a wider range."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F

E4M3, E5M2 = jnp.float8_e4m3fn, jnp.float8_e5m2


@pytest.mark.parametrize("kind", [E4M3, E5M2])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("given", ["float32", "bfloat16"])
def test_the_largest_number_is_the_largest_of_few_bits(kind, size, given, rng):
    x = jnp.asarray(rng.normal(size=(5, 7)) * size, given)
    values, scale = F.to_float8(x, kind)
    wide = np.asarray(values, np.float32)
    assert np.abs(wide).max() == float(jnp.finfo(kind).max)
    steps = 2.0 ** -(jnp.finfo(kind).nmant + 1)  # half a unit in the last place
    tiny = float(jnp.finfo(kind).smallest_subnormal) * float(scale)
    np.testing.assert_allclose(
        wide * float(scale), np.asarray(x, np.float32), rtol=steps * 1.001, atol=tiny
    )


def test_nothing_has_the_scale_one():
    values, scale = F.to_float8(jnp.zeros((0, 2)))
    assert (values.shape, float(scale)) == ((0, 2), 1.0)
    assert not F.to_float8(jnp.zeros(3))[0].astype(jnp.float32).any()


@pytest.mark.parametrize("kinds", [(E4M3, E4M3), (E5M2, E4M3)], ids=["e4m3", "e5m2"])
@pytest.mark.parametrize("out", ["float32", "bfloat16"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_equals_pytorch(kinds, out, bias, rng):
    torch = pytest.importorskip("torch")
    names = [jnp.dtype(kind).name for kind in kinds]
    a = jnp.asarray(rng.normal(size=(16, 32)), kinds[0])
    b = jnp.asarray(rng.normal(size=(16, 32)), kinds[1])
    added = rng.normal(size=16).astype(np.float32) if bias else None

    def tensor(array, name):
        return torch.from_numpy(np.asarray(array, np.float32)).to(getattr(torch, name))

    theirs = torch._scaled_mm(
        tensor(a, names[0]),
        tensor(b, names[1]).t(),
        torch.tensor(0.5),
        torch.tensor(3.0),
        bias=None if added is None else torch.from_numpy(added).to(getattr(torch, out)),
        out_dtype=getattr(torch, out),
    )
    given = None if added is None else jnp.asarray(added, out)
    ours = F.float8_matmul(a, b.T, 0.5, 3.0, given, out_dtype=out)
    # sums of 32 exact products in float32, and one or two roundings to the result's dtype
    tolerance = 2 * float(jnp.finfo(out).eps)
    np.testing.assert_allclose(
        np.asarray(ours, np.float32), theirs.float().numpy(), rtol=tolerance, atol=1e-4
    )


@partial(jax.jit, static_argnums=1)
def _rounded(x, kind):
    values, scale = F.to_float8(x, kind)
    return values.astype(jnp.float32) * scale


@jax.jit
def _with_gradients(x, weight, bias, cotangent):
    output, pull = jax.vjp(F.float8_linear, x, weight, bias)
    return output, *pull(cotangent)[:2]


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_linear_map_and_its_gradients(leading, kind, rng):
    x = jnp.asarray(rng.normal(size=(*leading, 8)), kind)
    weight, bias = jnp.asarray(rng.normal(size=(5, 8)), kind), jnp.asarray(rng.normal(size=5), kind)
    cotangent = jnp.asarray(rng.normal(size=(*leading, 5)), kind)
    output, by_x, by_weight = _with_gradients(x, weight, bias, cotangent)
    few_x, few_weight = _rounded(x, E4M3), _rounded(weight, E4M3)
    few_grad = _rounded(cotangent, E5M2)
    few_x, few_weight, few_grad = map(np.asarray, (few_x, few_weight, few_grad))
    exact = jnp.asarray(few_x @ few_weight.T, kind) + bias
    rows = few_grad.reshape(-1, 5)
    expected = (few_grad @ few_weight, rows.T @ few_x.reshape(-1, 8))
    assert output.dtype == kind
    tolerance = 4 * float(jnp.finfo(kind).eps)  # sums in float32, rounded to the dtype
    pairs = [(output, exact), *zip((by_x, by_weight), expected, strict=True)]
    for mine, other in pairs:
        assert mine.dtype == kind
        np.testing.assert_allclose(
            np.asarray(mine, np.float32), np.asarray(other, np.float32), rtol=tolerance, atol=1e-5
        )


def test_mapped_over_layers(rng):
    x, weight = (jnp.asarray(rng.normal(size=(3, n, 8)), jnp.float32) for n in (4, 5))
    one = jax.jit(F.float8_linear)
    each = [one(*arrays) for arrays in zip(x, weight, strict=True)]
    np.testing.assert_allclose(jax.vmap(one)(x, weight), each, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, q: F.float8_matmul(x, q, 1.0, 1.0), TypeError, "a must hold float8"),
        (lambda x, q: F.float8_matmul(q, q, 1.0, 1.0), ValueError, "same k"),
        (lambda x, q: F.to_float8(x, jnp.bfloat16), TypeError, "float8_e4m3fn or float8_e5m2"),
        (lambda x, q: F.to_float8(jnp.ones(2, int)), TypeError, "input"),
        (lambda x, q: F.float8_linear(x, x[:, :2]), ValueError, "a weight"),
    ],
    ids=["floats", "shapes", "dtype", "integers", "features"],
)
def test_wrong_arguments_are_met_with_a_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call(jnp.ones((2, 3)), jnp.ones((2, 3), E4M3))
