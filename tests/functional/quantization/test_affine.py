"""Whole numbers of few bits: equal to PyTorch's, and to the same in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F

RANGES = list(itertools.product((2, 4, 8), (False, True), (False, True)))
PLACES = list(itertools.product((None, 0, 1, -1), (None, 2, 3, 7), ("float32", "bfloat16")))


def pytest_generate_tests(metafunc):
    """Give every third place, or all with --grid=full."""
    if "block" in metafunc.fixturenames:
        full = metafunc.config.getoption("grid") == "full"
        metafunc.parametrize(("axis", "block", "dtype"), PLACES if full else PLACES[::3])


def numbers(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype) * 3


@pytest.mark.parametrize(("bits", "signed", "symmetric"), RANGES)
def test_scales_cover_the_range(bits, signed, symmetric):
    low, high = -np.abs(numbers((50,))), np.abs(numbers((50,), 1))
    keywords = {"bits": bits, "signed": signed}
    scale, zero = F.scale_and_zero_point(low, high, symmetric=symmetric, **keywords)
    assert zero.dtype == (jnp.int8 if signed else jnp.uint8)
    for value in (low, high):
        codes = F.quantize_linear(jnp.asarray(value), scale, zero, axis=0, **keywords)
        least, largest = F.code_range(bits, signed)
        assert int(codes.min()) >= least
        assert int(codes.max()) <= largest
        back = F.dequantize_linear(codes, scale, zero, axis=0)
        # a zero point that was rounded moves the range by half a step, and the number is rounded as well
        assert (np.abs(back - value) <= 1.001 * np.asarray(scale)).all()
    zeros = F.quantize_linear(jnp.zeros(50), scale, zero, axis=0, **keywords)
    assert (F.dequantize_linear(zeros, scale, zero, axis=0) == 0).all()


def test_scales_along_axes_and_in_blocks(axis, block, dtype):
    x = jnp.asarray(numbers((4, 6, 5)), dtype)
    if axis is None and block is not None:
        with pytest.raises(ValueError, match="needs axis"):
            F.quantize_linear(x, 1.0, block=block)
        return
    shape = () if axis is None else (x.shape[axis],)
    if block is not None:
        shape = list(x.shape)
        shape[axis] = -(-x.shape[axis] // block)
    rng = np.random.default_rng(1)
    scale = jnp.asarray(rng.uniform(0.05, 0.2, tuple(shape)), jnp.float32)
    zero = jnp.asarray(rng.integers(-20, 20, tuple(shape)), jnp.int8)
    wide_scale, wide_zero = np.asarray(scale), np.asarray(zero, np.float32)
    if axis is not None and block is None:
        lines = [-1 if i == axis % 3 else 1 for i in range(3)]
        wide_scale, wide_zero = wide_scale.reshape(lines), wide_zero.reshape(lines)
    elif block is not None:
        keep = np.arange(x.shape[axis]) // block
        wide_scale = np.take(wide_scale, keep, axis)
        wide_zero = np.take(wide_zero, keep, axis)
    codes = F.quantize_linear(x, scale, zero, axis=axis, block=block)
    expected = np.clip(np.rint(np.asarray(x, np.float32) / wide_scale) + wide_zero, -128, 127)
    np.testing.assert_array_equal(codes, expected)
    back = F.dequantize_linear(codes, scale, zero, axis=axis, block=block, dtype=dtype)
    assert back.dtype == x.dtype
    exact = jnp.asarray((expected - wide_zero) * wide_scale, dtype)
    np.testing.assert_allclose(
        np.asarray(back, np.float32), np.asarray(exact, np.float32), rtol=1e-6
    )


def test_nan_and_infinities():
    x = jnp.array([np.nan, np.inf, -np.inf, 1.0])
    codes = jax.jit(lambda x: F.quantize_linear(x, 0.5, 3))(x)
    assert codes.tolist() == [3, 127, -128, 5]
    scale, _ = F.scale_and_zero_point(jnp.array([0.0, np.nan, 0.0]), jnp.array([1.0, 1.0, np.inf]))
    assert np.isnan(np.asarray(scale)).tolist() == [False, True, True]
    assert float(F.scale_and_zero_point(0.0, 0.0)[0]) == 1


def test_two_in_a_byte():
    for length in (0, 1, 2, 5, 8):
        codes = np.random.default_rng(0).integers(0, 16, (3, length)).astype(np.uint8)
        packed = F.pack_int4(jnp.asarray(codes))
        assert packed.shape == (3, (length + 1) // 2)
        np.testing.assert_array_equal(F.unpack_int4(packed, length), codes)
    mapped = jax.vmap(lambda p: F.unpack_int4(p, 5))(packed[:, :3])
    assert mapped.shape == (3, 5)
    with pytest.raises(ValueError, match="length must be 7 or 8 for 4 bytes"):
        F.unpack_int4(packed, 6)
    with pytest.raises(TypeError, match="pack_int4 takes uint8; got int32"):
        F.pack_int4(jnp.ones((2, 2), jnp.int32))
    with pytest.raises(ValueError, match="one axis at least"):
        F.pack_int4(jnp.uint8(1))


def test_normal_floats_are_quantiles_of_a_normal_distribution():
    """Appendix E of the paper: 8 quantiles of the lower half and 9 of the upper, which share 0, scaled to -1 and 1."""
    statistics = pytest.importorskip("scipy.stats")
    edge = 0.5 * ((1 - 1 / 30) + (1 - 1 / 32))
    upper = statistics.norm.ppf(np.linspace(0.5, edge, 9))
    lower = -statistics.norm.ppf(np.linspace(0.5, edge, 8))[::-1]
    expected = np.concatenate([lower[:-1], upper]) / upper[-1]
    np.testing.assert_allclose(F.nf4_values(), expected, atol=1e-6)


def test_the_nearest_normal_float():
    x = np.linspace(-1.2, 1.2, 1001).astype(np.float32)
    values = np.asarray(F.nf4_values())
    expected = np.abs(x[:, None] - values).argmin(1)
    np.testing.assert_array_equal(F.quantize_nf4(jnp.asarray(x)), expected)
    np.testing.assert_array_equal(
        F.dequantize_nf4(F.quantize_nf4(jnp.asarray(x))), values[expected]
    )
    assert F.quantize_nf4(jnp.zeros((0, 3))).shape == (0, 3)


def test_mistakes():
    x = jnp.ones((2, 3))
    for call, error, words in (
        (
            lambda: F.quantize_linear(x, jnp.ones(2), axis=1),
            ValueError,
            r"scale must have shape \(3,\)",
        ),
        (lambda: F.quantize_linear(x, jnp.ones(2)), ValueError, r"scale must have shape \(\)"),
        (lambda: F.quantize_linear(x, 1.0, jnp.ones(2)), ValueError, r"zero_point must have shape"),
        (
            lambda: F.quantize_linear(x, 1.0, axis=2),
            ValueError,
            "axis must be one of an array of 2",
        ),
        (lambda: F.quantize_linear(x, 1.0, bits=9), ValueError, "bits must be one of"),
        (lambda: F.quantize_linear(x.astype(int), 1.0), TypeError, "floating-point"),
        (lambda: F.dequantize_linear(x, 1.0), TypeError, "takes int8 or uint8; got float32"),
    ):
        with pytest.raises(error, match=words):
            call()


# ---- PyTorch -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # PyTorch says where its quantization moves to
@pytest.mark.parametrize("signed", [True, False])
def test_pytorch_quantizes_the_same(signed):
    torch = pytest.importorskip("torch")
    kind = torch.qint8 if signed else torch.quint8
    zero = -5 if signed else 120
    x = numbers((6, 7, 3))
    x.reshape(-1)[:3] = 1e4, -1e4, 0
    theirs = torch.quantize_per_tensor(torch.tensor(x), 0.0625, zero, kind)
    codes = F.quantize_linear(jnp.asarray(x), 0.0625, zero, signed=signed)
    np.testing.assert_array_equal(codes, theirs.int_repr().numpy())
    back = F.dequantize_linear(codes, 0.0625, zero)
    np.testing.assert_array_equal(back, theirs.dequantize().numpy())
    scales = 2.0 ** -np.arange(1, 8)
    zeros = np.arange(7) * 3 + zero
    theirs = torch.quantize_per_channel(
        torch.tensor(x), torch.tensor(scales), torch.tensor(zeros), 1, kind
    )
    scale = jnp.asarray(scales, jnp.float32)
    codes = F.quantize_linear(jnp.asarray(x), scale, zeros, axis=1, signed=signed)
    np.testing.assert_array_equal(codes, theirs.int_repr().numpy())
    np.testing.assert_allclose(
        F.dequantize_linear(codes, scale, zeros, axis=1), theirs.dequantize().numpy(), rtol=1e-6
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("bits", "signed", "symmetric"), RANGES[4:])
def test_pytorch_chooses_the_same_scales(bits, signed, symmetric):
    torch = pytest.importorskip("torch")
    if symmetric and not signed:
        return  # PyTorch's middle of unsigned numbers is 128 of 256, and its scale one of 255 numbers
    schemes = (torch.per_channel_affine, torch.per_channel_symmetric)
    least, largest = F.code_range(bits, signed, symmetric)
    observer = torch.ao.quantization.PerChannelMinMaxObserver(
        ch_axis=0,
        dtype=torch.qint8 if signed else torch.quint8,
        qscheme=schemes[symmetric],
        quant_min=least,
        quant_max=largest,
    )
    x = numbers((20, 9))
    x[0], x[1], x[2] = np.abs(x[0]), -np.abs(x[1]), 0
    observer(torch.tensor(x))
    scale, zero = observer.calculate_qparams()
    found = F.scale_and_zero_point(
        x.min(1), x.max(1), bits=bits, signed=signed, symmetric=symmetric
    )
    several = np.arange(20) != 2  # a row of zeros has the least scale there, and 1 here
    np.testing.assert_allclose(found[0][several], scale.numpy()[several], rtol=1e-6)
    np.testing.assert_array_equal(found[1][several], zero.numpy()[several])
