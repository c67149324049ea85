"""Rules that move numbers: shapes, parts, padding, joins, also of no length; each in every dtype."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.export.operators.running import Case, failures
from tests.export.operators.values import ALL, array

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SHAPES = ((), (1,), (0,), (5,), (2, 3), (3, 0, 2), (1, 4, 1), (2, 3, 4), (2, 1, 3, 2))


def dtypes_of(request, number):
    """All dtypes; in CI one that changes from case to case."""
    if request.config.getoption("grid") == "full":
        return ALL
    return [ALL[number % len(ALL)]]


def cases_of(request, rng, made):
    """Cases of each function and shape, in some dtypes."""
    for number, (name, function, *shapes) in enumerate(made):
        for dtype in dtypes_of(request, number):
            arrays = tuple(array(rng, shape, dtype) for shape in shapes)
            yield Case(f"{name} {dtype} {shapes}", function, arrays)


def shapes_in_another_order():
    for shape in SHAPES:
        yield "flat", lambda x: lax.reshape(x, (x.size,)), shape
        yield "more axes", lambda x: lax.expand_dims(x, (0, x.ndim + 1)), shape
        yield "reversed axes", lambda x: lax.transpose(x, range(x.ndim)[::-1]), shape
        yield (
            "rolled axes",
            lambda x: lax.transpose(x, np.roll(np.arange(x.ndim), 1).tolist()),
            shape,
        )
        yield "reversed", lambda x: lax.rev(x, range(x.ndim)), shape
        yield "fewer", lambda x: jnp.squeeze(x), shape
        yield "first reversed", lambda x: lax.rev(x, (0,)) if x.ndim else x, shape
        yield "last reversed", lambda x: lax.rev(x, (x.ndim - 1,)) if x.ndim else x, shape


def test_shapes_and_orders(request, rng, x64):
    assert not failures(cases_of(request, rng, shapes_in_another_order()))


def repeated():
    for shape in SHAPES:
        yield "in front", lambda x: lax.broadcast(x, (2, 1, 3)), shape
        yield "none", lambda x: lax.broadcast(x, (0,)), shape
        yield "tiled", lambda x: jnp.tile(x, (2,) * x.ndim), shape
        yield "behind", lambda x: lax.broadcast_in_dim(x, (*x.shape, 3), range(x.ndim)), shape
    yield "between", lambda x: lax.broadcast_in_dim(x, (2, 5, 3), (0, 2)), (2, 3)
    yield "ones", lambda x: lax.broadcast_in_dim(x, (4, 6, 3), (0, 2)), (1, 3)


def test_repeats(request, rng, x64):
    assert not failures(cases_of(request, rng, repeated()))


def joined_and_cut():
    for shape in [s for s in SHAPES if s]:
        for axis in range(len(shape)):
            yield "join", lambda x, y, a=axis: lax.concatenate([x, y, x], a), shape, shape
            yield "join one", lambda x, a=axis: lax.concatenate([x], a), shape
            yield "stack", lambda x, y, a=axis: jnp.stack([x, y], a), shape, shape
            yield "unstack", lambda x, a=axis: [*jnp.unstack(x, axis=a)], shape
            if shape[axis] > 1:
                sizes = (1, shape[axis] - 1)
                yield "split", lambda x, a=axis, s=sizes: lax.split(x, s, a), shape
                yield "split none", lambda x, a=axis, n=shape[axis]: lax.split(x, (0, n), a), shape


def test_joins_and_cuts(request, rng, x64):
    assert not failures(cases_of(request, rng, joined_and_cut()))


def sliced():
    for start, stop, step in (
        (0, 7, 1),
        (2, 6, 1),
        (1, 7, 2),
        (0, 7, 3),
        (3, 3, 1),
        (0, 0, 2),
        (6, 7, 9),
    ):
        for shape in ((7,), (2, 7), (7, 2), (2, 7, 3)):
            axis = shape.index(7)
            yield "slice", lambda x, s=(start, stop, step, axis): lax.slice_in_dim(x, *s), shape
    yield "two axes", lambda x: x[1:4, ::2], (5, 6)


def test_slices(request, rng, x64):
    assert not failures(cases_of(request, rng, sliced()))


PADS = (
    (0, 0, 0),
    (1, 2, 0),
    (-1, 0, 0),
    (0, -2, 0),
    (3, -1, 0),
    (-2, 4, 0),
    (0, 0, 1),
    (1, 2, 2),
    (-1, -1, 3),
    (-3, 3, 1),
)


def test_padding_of_every_kind(request, rng, x64):
    def made():
        for pad, length in itertools.product(PADS, (0, 1, 3, 4)):
            low, high, between = pad
            if length + max(length - 1, 0) * between + low + high < 0:
                continue
            for shape in ((length,), (2, length), (length, 3)):
                axis = shape.index(length)
                config = [pad if i == axis else (0, 0, 0) for i in range(len(shape))]
                yield f"{pad}", lambda x, v, c=config: lax.pad(x, v, c), shape, ()
        yield (
            "all axes",
            lambda x, v: lax.pad(x, v, [(1, -1, 1), (-1, 2, 2), (0, 1, 0)]),
            (3, 2, 2),
            (),
        )

    assert not failures(cases_of(request, rng, made()))


@pytest.mark.parametrize("index_dtype", ["int32", "uint8", "int64"])
def test_slices_at_computed_places_are_moved_inside(index_dtype, request, rng, x64):
    places = (-3, 0, 1, 4, 100)
    cases = []
    for number, place in enumerate(places):
        start = jnp.asarray(place % 256 if index_dtype == "uint8" else place, index_dtype)
        for dtype in dtypes_of(request, number):
            x, one, two = (array(rng, s, dtype) for s in ((6, 5), (2, 5), (3, 2)))
            zero = jnp.zeros((), index_dtype)
            cases += [
                Case(
                    f"take {place} {dtype}",
                    lambda x, i, z: lax.dynamic_slice(x, (i, z), (2, 5)),
                    (x, start, zero),
                ),
                Case(
                    f"take two {place} {dtype}",
                    lambda x, i: lax.dynamic_slice(x, (i, i), (4, 3)),
                    (x, start),
                ),
                Case(
                    f"put {place} {dtype}",
                    lambda x, u, i, z: lax.dynamic_update_slice(x, u, (i, z)),
                    (x, one, start, zero),
                ),
                Case(
                    f"put two {place} {dtype}",
                    lambda x, u, i: lax.dynamic_update_slice(x, u, (i, i)),
                    (x, two, start),
                ),
                Case(
                    f"put known {place} {dtype}",
                    lambda x, u, p=place: lax.dynamic_update_slice(x, u, (p, 1)),
                    (x, two),
                ),
                Case(
                    f"put all {dtype}",
                    lambda x, u, i: lax.dynamic_update_slice(x, u, (i, i)),
                    (x, x[::-1].copy(), start),
                ),
            ]
    assert not failures(cases)


def test_numbers_that_count(request, x64):
    cases = [
        Case(
            f"iota {dtype} {axis}",
            lambda x, d=dtype, a=axis: lax.broadcasted_iota(d, (3, 4), a) + x,
            (np.ones((), dtype),),
        )
        for dtype in ALL[:-1]
        for axis in (0, 1)
    ]
    assert not failures(cases)


def test_repeated_arrays_meet_as_they_are(x64, rng):
    """Elementwise rules take arrays before axes of length 1 are repeated: alone, or beside each other."""
    x, row, column = (array(rng, shape, "float32") for shape in ((2, 3, 4), (4,), (2, 1)))

    def mixed(x, row, column):
        wide = jnp.broadcast_to(row[None, None], (2, 3, 4))
        tall = jnp.broadcast_to(column[:, :, None], (2, 3, 4))
        return (
            x + wide,
            wide * tall,
            jnp.exp(tall),
            wide,
            tall.reshape(-1),
            jnp.where(tall > 0, wide, 2.0),
            tall.sum(),
        )

    def scalars(row):
        one = jnp.broadcast_to(row[0], (3,))
        return one + 1, jnp.broadcast_to(one[:, None], (3, 5)) * 2, jnp.clip(one, 0, 1)

    assert not failures([Case("mixed", mixed, (x, row, column)), Case("scalars", scalars, (row,))])
