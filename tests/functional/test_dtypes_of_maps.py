"""Dtypes of maps, convolutions, tables, attention, pooling and images: what is refused, and what comes out.

Each function is called with data of each dtype beside parameters of each: data decide what comes out, and
integers are taken where the sum or the move is exact.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F

INTEGERS, BOOLEANS = ("int32", "uint8"), ("bool",)
FLOATS = ("float32", "bfloat16", "float16")

WITH_PARAMETERS = {
    "linear": ([(2, 3)], [(4, 3), (4,)], {}),
    "bilinear": ([(2, 3), (2, 2)], [(4, 3, 2), (4,)], {}),
    "conv1d": ([(2, 4, 5)], [(4, 4, 2), (4,)], {}),
    "conv2d": ([(2, 4, 5, 5)], [(4, 1, 2, 2), (4,)], {"groups": 4}),
    "conv3d": ([(2, 4, 5, 5, 5)], [(4, 4, 2, 2, 2), (4,)], {}),
    "conv_transpose1d": ([(2, 4, 5)], [(4, 4, 2), (4,)], {}),
    "conv_transpose2d": ([(2, 4, 5, 5)], [(4, 4, 2, 2), (4,)], {"stride": 2}),
    "conv_transpose3d": ([(2, 4, 3, 3, 3)], [(4, 4, 2, 2, 2), (4,)], {}),
}

FLOATS_ALONE = {
    "adaptive_avg_pool1d": ([(2, 6)], (2,)),
    "adaptive_avg_pool2d": ([(2, 6, 6)], (2,)),
    "adaptive_avg_pool3d": ([(2, 6, 6, 6)], (2,)),
    "affine_grid": ([(1, 2, 3)], ((1, 1, 2, 2),)),
    "grid_sample": ([(1, 1, 3, 3), (1, 2, 2, 2)], ()),
    "interpolate": ([(1, 1, 4, 4)], (None, 2.0, "bilinear")),
    "lp_pool1d": ([(2, 6)], (2.0, 2)),
    "lp_pool2d": ([(2, 6, 6)], (2.0, 2)),
    "lp_pool3d": ([(2, 6, 6, 6)], (2.0, 2)),
    "rotary_embedding": ([(2, 5, 4)], ()),
    "scaled_dot_product_attention": ([(2, 3, 4)] * 3, ()),
    "upsample_bilinear": ([(1, 1, 4, 4)], (None, 2)),
}

ORDERED = {
    "adaptive_max_pool1d": ([(2, 6)], (2,)),
    "adaptive_max_pool2d": ([(2, 6, 6)], (4,)),
    "avg_pool1d": ([(2, 6)], (2,)),
    "avg_pool2d": ([(2, 6, 6)], (2,)),
    "max_pool1d": ([(2, 6)], (2,)),
    "max_pool2d": ([(2, 6, 6)], (3, 1)),
    "max_pool3d": ([(2, 6, 6, 6)], (2,)),
}

MOVED = {
    "channel_shuffle": ([(1, 4, 2)], (2,)),
    "interpolate": ([(1, 1, 4)], (None, 2.0)),
    "pad": ([(2, 3)], ((1, 2),)),
    "pixel_shuffle": ([(1, 4, 2, 2)], (2,)),
    "pixel_unshuffle": ([(1, 1, 4, 4)], (2,)),
    "unfold": ([(1, 2, 4, 4)], (2,)),
    "upsample_nearest": ([(1, 1, 4)], (None, 2)),
}


def ones(shape, dtype):
    return jnp.ones(shape, dtype)


def run(name, shapes, dtypes, *args, **kwargs):
    """Call a function, as one program."""
    arrays = [ones(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    return jax.jit(lambda *arrays: getattr(F, name)(*arrays, *args, **kwargs))(*arrays)


@functools.cache
def exact(name):
    shapes, parameters, kwargs = WITH_PARAMETERS[name]
    both = shapes + parameters
    return np.asarray(run(name, both, ["float32"] * len(both), **kwargs))


@pytest.mark.parametrize("name", WITH_PARAMETERS)
@pytest.mark.parametrize("data", FLOATS)
@pytest.mark.parametrize("parameter", FLOATS)
def test_data_decide_and_parameters_do_not(name, data, parameter):
    shapes, parameters, kwargs = WITH_PARAMETERS[name]
    dtypes = [data] * len(shapes) + [parameter] * len(parameters)
    output = run(name, shapes + parameters, dtypes, **kwargs)
    assert output.dtype == data
    # small whole numbers
    np.testing.assert_array_equal(np.asarray(output).astype(np.float32), exact(name))


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_integers_are_exact_among_themselves_alone(name):
    shapes, parameters, kwargs = WITH_PARAMETERS[name]
    for dtype in INTEGERS:
        output = run(name, shapes + parameters, [dtype] * len(shapes + parameters), **kwargs)
        assert output.dtype == dtype
        mixed = [dtype] * len(shapes) + ["float32"] * len(parameters)
        with pytest.raises(TypeError, match=rf"{name} takes floating-point .* has dtype {dtype}"):
            run(name, shapes + parameters, mixed, **kwargs)
    with pytest.raises(TypeError, match=f"{name} takes floating-point .* has dtype bool"):
        run(name, shapes + parameters, ["bool"] * len(shapes + parameters), **kwargs)


def test_a_complex_weight_makes_the_output_complex():
    output = F.linear(ones((2, 3), "float32"), ones((4, 3), "complex64") * 1j)
    assert output.dtype == jnp.complex64
    assert (output == 3j).all()


@pytest.mark.parametrize("name", FLOATS_ALONE)
def test_what_is_meant_for_floats_takes_floats(name):
    shapes, args = FLOATS_ALONE[name]
    for dtype in FLOATS:
        assert run(name, shapes, [dtype] * len(shapes), *args).dtype == dtype
    for dtype in (*INTEGERS, *BOOLEANS, "complex64"):
        with pytest.raises(TypeError, match=f"takes floating-point numbers; .* has dtype {dtype}"):
            run(name, shapes, [dtype] * len(shapes), *args)


@pytest.mark.parametrize("name", [n for n, (shapes, _) in FLOATS_ALONE.items() if len(shapes) > 1])
def test_data_of_two_dtypes_are_promoted_together(name):
    shapes, args = FLOATS_ALONE[name]
    mixed = ["bfloat16"] + ["float16"] * (len(shapes) - 1)
    assert run(name, shapes, mixed, *args).dtype == "float32"


@pytest.mark.parametrize("name", ORDERED)
def test_what_compares_or_averages_takes_numbers_with_an_order(name):
    shapes, args = ORDERED[name]
    for dtype in (*FLOATS, *INTEGERS):
        assert run(name, shapes, [dtype], *args).dtype == dtype
    for dtype in (*BOOLEANS, "complex64"):
        with pytest.raises(TypeError, match=f"{name} takes floating-point numbers; input has"):
            run(name, shapes, [dtype], *args)


@pytest.mark.parametrize("name", MOVED)
def test_what_moves_elements_takes_any(name):
    shapes, args = MOVED[name]
    for dtype in (*FLOATS, *INTEGERS, *BOOLEANS, "complex64"):
        assert run(name, shapes, [dtype], *args).dtype == dtype


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, *BOOLEANS, "complex64"])
def test_a_table_gives_rows_of_its_dtype(dtype):
    index = jnp.array([[0, 1]])
    assert F.embedding(index, ones((3, 2), dtype)).dtype == dtype
    if dtype in FLOATS:
        assert F.embedding_bag(index, ones((3, 2), dtype)).dtype == dtype
        weighted = F.embedding_bag(
            index, ones((3, 2), dtype), mode="sum", per_sample_weights=jnp.ones((1, 2))
        )
        assert weighted.dtype == dtype
    else:
        with pytest.raises(TypeError, match="embedding_bag takes floating-point numbers; weight"):
            F.embedding_bag(index, ones((3, 2), dtype))


def test_gradients_of_two_dtypes_are_those_of_the_arguments():
    def total(x, w, b):
        return F.conv2d(x, w, b).astype(jnp.float32).sum()

    arrays = ones((2, 3, 5, 5), "bfloat16"), ones((4, 3, 2, 2), "float32"), ones((4,), "float16")
    grads = jax.grad(total, (0, 1, 2))(*arrays)
    assert [g.dtype.name for g in grads] == ["bfloat16", "float32", "float16"]
