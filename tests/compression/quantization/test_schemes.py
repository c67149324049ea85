"""Schemes against the same written in NumPy: codes, scales, what comes back, and the strange arrays."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from funcnet.compression import NF4, Int4, Int8
from tests.compression.quantization.weight_cases import SCHEMES

SHAPES = [(6, 7), (4, 3, 2, 2), (2, 5, 3), (1, 1), (5,), (), (0, 3), (3, 0)]
DTYPES = ["float32", "bfloat16", "float16"]
PAIRS = list(itertools.product(SHAPES, DTYPES))
SAMPLE = [((6, 7), "float32"), ((4, 3, 2, 2), "bfloat16"), ((5,), "float16"), ((3, 0), "float32")]


@pytest.fixture
def pairs(request):
    """Shapes and dtypes: two of a few, another two for the next scheme, or all with --grid=full."""
    if request.config.getoption("grid") == "full":
        return PAIRS
    start = 2 * (list(SCHEMES).index(request.node.callspec.params["name"]) % 2)
    return SAMPLE[start : start + 2]


@functools.cache
def compiled(scheme):
    """Both ways, each as one program."""
    return jax.jit(scheme.encode), jax.jit(scheme.decode, static_argnums=(1, 2))


def rows_of(array, axis):
    if axis is None or array.ndim < 2:
        return array.reshape(1, -1)
    moved = np.moveaxis(array, axis, 0)
    return moved.reshape(moved.shape[0], int(np.prod(moved.shape[1:])))


def groups_of(row, group):
    """The places of each group of a row."""
    group = group or max(len(row), 1)
    return [slice(start, start + group) for start in range(0, len(row), group)]


def in_the_scales_dtype(number, scheme):
    return np.float32(jnp.asarray(np.float32(number), scheme.scale_dtype))


def written_and_read(scheme, group):
    """What comes back of a group of numbers, and the largest error that may be."""
    low, high = min(group.min(), 0), max(group.max(), 0)
    if isinstance(scheme, NF4):
        scale = in_the_scales_dtype(max(-low, high), scheme) or np.float32(1)
        values = np.asarray(F.nf4_values())
        nearest = np.abs(group[:, None] / scale - values).argmin(1)
        return values[nearest] * scale, scale * np.diff(values).max() / 2
    bits = 8 if isinstance(scheme, Int8) else 4
    if scheme.symmetric:
        most = 2 ** (bits - 1) - 1
        scale = in_the_scales_dtype(max(-low, high) / most, scheme) or np.float32(1)
        codes = np.clip(np.rint(group / scale), -most - (bits == 8), most)
        return codes * scale, scale
    scale = in_the_scales_dtype((high - low) / (2**bits - 1), scheme) or np.float32(1)
    zero = np.rint(-low / scale)
    codes = np.clip(np.rint(group / scale) + zero, 0, 2**bits - 1)
    return (codes - zero) * scale, scale


def drawn(shape, dtype):
    return jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape), dtype)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_is_what_numpy_makes(name, pairs):
    scheme = SCHEMES[name]
    encode, decode = compiled(scheme)
    for shape, dtype in pairs:
        array = drawn(shape, dtype)
        parts = encode(array)
        found = decode(parts, shape, dtype)
        assert (found.shape, found.dtype) == (shape, array.dtype)
        axis = scheme.axis if scheme.axis is None or array.ndim < 2 else scheme.axis % array.ndim
        given = rows_of(np.asarray(array, np.float32), axis)
        back = rows_of(np.asarray(decode(parts, shape, "float32")), axis)
        for row, read in zip(given, back, strict=True):
            for places in groups_of(row, scheme.group):
                expected, most = written_and_read(scheme, row[places])
                if not getattr(scheme, "double", False):
                    # the zero point may be a tie, and one step off
                    np.testing.assert_allclose(read[places], expected, atol=1e-5 * most, rtol=1e-5)
                else:
                    most = most * 1.1
                assert (np.abs(read[places] - row[places]) <= most * 1.01).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_shapes_are_those_of_the_parts(name):
    scheme = SCHEMES[name]
    for shape, dtype in SAMPLE:
        parts = jax.eval_shape(scheme.encode, jax.ShapeDtypeStruct(shape, dtype))
        likes = scheme.shapes(shape, dtype)
        assert next(iter(likes)) == "values"
        assert {k: (v.shape, v.dtype) for k, v in likes.items()} == {
            k: (v.shape, v.dtype) for k, v in parts.items()
        }


@pytest.mark.parametrize("name", ["int8 with zero points", "int4 symmetric", "nf4 twice"])
def test_compiled_and_mapped_it_is_the_same(name):
    scheme, stack = SCHEMES[name], drawn((3, 4, 5), "float32")
    parts = jax.jit(jax.vmap(scheme.encode))(stack)
    read = jax.jit(jax.vmap(lambda each: scheme.decode(each, (4, 5), "float32")))(parts)
    for number, array in enumerate(stack):
        alone = compiled(scheme)[0](array)
        for part in alone:
            np.testing.assert_allclose(
                np.asarray(parts[part][number], np.float32),
                np.asarray(alone[part], np.float32),
                rtol=1e-6,
            )
        np.testing.assert_allclose(
            read[number], compiled(scheme)[1](alone, (4, 5), "float32"), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("name", SCHEMES)
def test_groups_of_one_value(name):
    """Zeros come back as zeros, one value as nearly itself, and what is too small for a scale as zero."""
    scheme = SCHEMES[name]
    encode, decode = compiled(scheme)
    for value in (0.0, 5.0, -0.25, 1e-30, 1e-42):
        array = np.full((4, 12), value, np.float32)
        back = np.asarray(decode(encode(array), (4, 12), "float32"))
        small = scheme.scale_dtype == "float16" and abs(value) < 1e-6
        np.testing.assert_allclose(back, array, rtol=1e-2, atol=1e-8 if small else 1e-37)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_group_that_is_not_finite_is_read_as_nan(name):
    scheme = SCHEMES[name]
    encode, decode = compiled(scheme)
    for value in (np.nan, np.inf, -np.inf):
        array = np.asarray(drawn((4, 12), "float32")).copy()
        array[1, 2] = value
        back = np.asarray(decode(encode(array), (4, 12), "float32"))
        assert np.isnan(back[1, 2])
        if scheme.group and scheme.axis == 0 and not getattr(scheme, "double", False):
            assert np.isfinite(np.delete(back, 1, 0)).all()
            assert np.isfinite(back[1, -scheme.group + 1 :]).all()


@pytest.mark.parametrize(
    ("scheme", "bytes_of_64x64"),
    [
        (Int8(), 64 * 64 + 64 * 4),
        (Int8(symmetric=False), 64 * 64 + 64 * 5),
        (Int4(group=32), 64 * 32 + 64 * 2 * 5),
        (Int4(group=32, symmetric=True, scale_dtype="bfloat16"), 64 * 32 + 64 * 2 * 2),
        (NF4(group=64), 64 * 32 + 64 * 4),
        (NF4(group=64, double=True), 64 * 32 + 64 + 4 + 4),
    ],
    ids=str,
)
def test_bytes(scheme, bytes_of_64x64):
    parts = jax.eval_shape(scheme.encode, drawn((64, 64), "float32"))
    assert sum(p.size * p.dtype.itemsize for p in parts.values()) == bytes_of_64x64


def test_wrong_settings_are_refused():
    for make in (Int8, Int4, NF4):
        with pytest.raises(ValueError, match="group must be greater than zero"):
            make(group=0)
        with pytest.raises(TypeError, match="group must be a whole number"):
            make(group=1.5)
        with pytest.raises(TypeError, match="axis must be a whole number"):
            make(axis="rows")
        with pytest.raises(ValueError, match="scale_dtype must be float32, float16 or bfloat16"):
            make(scale_dtype="int8")
        with pytest.raises(TypeError, match="floating-point"):
            make().encode(jnp.ones((2, 3), jnp.int32))
        assert hash(make(scale_dtype=jnp.bfloat16)) == hash(make(scale_dtype="bfloat16"))
