"""Fake quantization against PyTorch's: values and gradients, of inputs, scales and zero points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F

RANGES = ((-128, 127), (0, 255), (-8, 7), (-127, 127))
KINDS = ("float32", "bfloat16", "float16")


def _given(rng, kind, spread=3.0):
    """Numbers inside and outside of the range, halves between neighbours among them."""
    x = np.concatenate([rng.normal(size=60) * spread, np.arange(-20, 20) * 0.05, [0.0, 1e4, -1e4]])
    return jnp.asarray(x.reshape(1, -1), kind)


def _tensor(array):
    torch = pytest.importorskip("torch")
    wide = torch.from_numpy(np.asarray(array, np.float32).copy())
    return wide.to(getattr(torch, array.dtype.name)).requires_grad_()


def _both(ours, theirs, x):
    """Values, and gradients for the same cotangent, of both sides; as float32."""
    output, pull = jax.vjp(jax.jit(ours), x)
    cotangent = np.linspace(-1, 1, output.size).reshape(output.shape)
    cotangent = jnp.asarray(cotangent, output.dtype)
    tensor = _tensor(x)
    made = theirs(tensor)
    made.backward(_tensor(cotangent).detach())
    assert output.dtype == x.dtype
    mine = [np.asarray(a, np.float32) for a in (output, pull(cotangent)[0])]
    return mine, [t.detach().float().numpy() for t in (made, tensor.grad)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ends", RANGES, ids=str)
def test_one_scale_equals_pytorch(kind, ends, rng):
    torch = pytest.importorskip("torch")
    zero, scale = (ends[0] + ends[1]) // 3, 0.1 if ends[0] == -8 else 0.013
    mine, theirs = _both(
        lambda x: F.fake_quantize_per_tensor_affine(x, scale, zero, *ends),
        lambda x: torch.fake_quantize_per_tensor_affine(x, scale, zero, *ends),
        _given(rng, kind),
    )
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("ends", RANGES[1:3], ids=str)
def test_a_scale_for_each_channel_equals_pytorch(axis, whole, ends, rng):
    torch = pytest.importorskip("torch")
    x = jnp.asarray(rng.normal(size=(4, 5, 6)) * 3, jnp.float32)
    count = x.shape[axis]
    scale = rng.uniform(0.01, 0.5, count).astype(np.float32)
    zero = rng.uniform(*ends, count).astype(np.int32 if whole else np.float32)
    mine, theirs = _both(
        lambda x: F.fake_quantize_per_channel_affine(x, scale, zero, axis, *ends),
        lambda x: torch.fake_quantize_per_channel_affine(
            x, torch.from_numpy(scale), torch.from_numpy(zero), axis % 3, *ends
        ),
        x,
    )
    # a code less a broken zero point is rounded once more on one side: one unit in the last place of 255
    np.testing.assert_allclose(mine[0], theirs[0], rtol=0, atol=2e-5)
    np.testing.assert_array_equal(mine[1], theirs[1])


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("factor", [1.0, 0.3])
@pytest.mark.parametrize("ends", RANGES[2:3], ids=str)
def test_learned_scales_have_the_gradients_of_pytorch(axis, factor, ends, rng):
    torch = pytest.importorskip("torch")
    count = 1 if axis is None else 5
    x = rng.normal(size=(5, 40)).astype(np.float32) * 3
    scale = rng.uniform(0.05, 0.5, count).astype(np.float32)
    zero = rng.uniform(*ends, count).astype(np.float32)
    cotangent = rng.normal(size=x.shape).astype(np.float32)
    given = [torch.from_numpy(a).requires_grad_() for a in (x, scale, zero)]
    if axis is None:
        theirs = torch._fake_quantize_learnable_per_tensor_affine(*given, *ends, factor)

        def ours(x, scale, zero):
            one = (scale[0], zero[0])
            return F.fake_quantize_per_tensor_affine(x, *one, *ends, grad_factor=factor)
    else:
        theirs = torch._fake_quantize_learnable_per_channel_affine(*given, axis, *ends, factor)

        def ours(x, scale, zero):
            how = (axis, *ends)
            return F.fake_quantize_per_channel_affine(x, scale, zero, *how, grad_factor=factor)

    theirs.backward(torch.from_numpy(cotangent))
    output, pull = jax.vjp(jax.jit(ours), *map(jnp.asarray, (x, scale, zero)))
    np.testing.assert_array_equal(output, theirs.detach().numpy())
    for mine, tensor in zip(pull(jnp.asarray(cotangent)), given, strict=True):
        # sums of 200 float32 of either sign, in another order
        np.testing.assert_allclose(mine, tensor.grad.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factor", [None, 0.5])
def test_jit_and_vmap_change_nothing(factor, rng):
    x = jnp.asarray(rng.normal(size=(3, 4, 5)), jnp.float32)
    scale = jnp.asarray([0.1, 0.2, 0.3])

    def one(x, scale):
        return F.fake_quantize_per_tensor_affine(x, scale, 0, -8, 7, grad_factor=factor)

    expected = [jax.jit(one)(each, s) for each, s in zip(x, scale, strict=True)]
    np.testing.assert_array_equal(jax.jit(jax.vmap(one))(x, scale), expected)
    slope = jax.jit(jax.grad(lambda x, s: one(x, s).sum()))
    slopes = [slope(each, s) for each, s in zip(x, scale, strict=True)]
    mapped = jax.vmap(slope)(x, scale)
    np.testing.assert_array_equal(mapped, slopes)


def test_hostile_numbers():
    x = jnp.asarray([jnp.nan, jnp.inf, -jnp.inf])
    output = F.fake_quantize_per_tensor_affine(x, 1.0, 0, -8, 7)
    assert jnp.isnan(output[0])
    assert output[1:].tolist() == [7.0, -8.0]
    slopes = jax.grad(lambda x: F.fake_quantize_per_tensor_affine(x, 1.0, 0, -8, 7).sum())(x)
    assert slopes.tolist() == [0.0, 0.0, 0.0]
    assert F.fake_quantize_per_tensor_affine(jnp.zeros((0, 3)), 1.0, 0, -8, 7).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: F.fake_quantize_per_tensor_affine(jnp.ones(2), 0.1, 9, -8, 7),
            ValueError,
            "between quant_min",
        ),
        (
            lambda: F.fake_quantize_per_tensor_affine(jnp.ones(2), 0.1, 0, 7, -8),
            ValueError,
            "not be above",
        ),
        (
            lambda: F.fake_quantize_per_tensor_affine(jnp.ones(2), -0.1, 0, -8, 7),
            ValueError,
            "scale must be",
        ),
        (
            lambda: F.fake_quantize_per_tensor_affine(jnp.ones(2), 0.1, 0, -8.5, 7),
            TypeError,
            "quant_min must be",
        ),
        (
            lambda: F.fake_quantize_per_tensor_affine(jnp.ones(2, int), 0.1, 0, -8, 7),
            TypeError,
            "input",
        ),
        (
            lambda: F.fake_quantize_per_tensor_affine(jnp.ones(2), jnp.ones(2), 0, -8, 7),
            ValueError,
            "fake_quantize_per_channel_affine",
        ),
        (
            lambda: F.fake_quantize_per_channel_affine(
                jnp.ones((2, 3)), jnp.ones(3), jnp.zeros(2), 0, -8, 7
            ),
            ValueError,
            "scale must have shape",
        ),
        (
            lambda: F.fake_quantize_per_channel_affine(
                jnp.ones((2, 3)), jnp.ones(3), jnp.zeros(3), 2, -8, 7
            ),
            ValueError,
            "axis 2",
        ),
    ],
    ids=["zero point", "range", "scale", "end", "integers", "scales", "channels", "axis"],
)
def test_wrong_arguments_are_met_with_a_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call()
