"""Rules for reductions, running sums, windows and orders: NaN, infinities, ties, ends of ranges, nothing at all."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.export.operators.running import Case, failures, refusal
from tests.export.operators.values import ALL, FLOATS, NUMBERS, WHOLE, array, awkward, with_strange

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def rough(dtype):
    """XLA sums 16 bits in 16 bits here and there."""
    return 0.03 if jnp.dtype(dtype).itemsize == 2 else 1e-5


def chosen(request, dtypes, number, count=1):
    if request.config.getoption("grid") == "full":
        return dtypes
    return [dtypes[(number + 5 * step) % len(dtypes)] for step in range(min(count, len(dtypes)))]


def shapes_and_axes():
    for shape in ((), (4,), (0,), (3, 5), (2, 0, 3), (2, 3, 4), (17, 9)):
        yield shape, ()
        yield shape, tuple(range(len(shape)))
        for axis in range(len(shape)):
            yield shape, (axis,)
    yield (2, 3, 4), (0, 2)


REDUCTIONS = {
    lax.reduce_sum: NUMBERS,
    lax.reduce_prod: NUMBERS,
    lax.reduce_max: ALL,
    lax.reduce_min: ALL,
    lax.reduce_and: ("bool",),
    lax.reduce_or: ("bool",),
    lax.reduce_xor: ("bool",),
}


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=lambda each: each.__name__)
def test_reductions(reduction, request, rng, x64):
    cases = []
    for number, (shape, axes) in enumerate(shapes_and_axes()):
        for dtype in chosen(request, REDUCTIONS[reduction], number):
            x = with_strange(rng, shape, dtype)
            cases.append(
                Case(
                    f"{dtype} {shape} {axes}",
                    lambda x, a=axes: reduction(x, a),
                    (x,),
                    rough(dtype),
                    1.0,
                )
            )
    assert not failures(cases)


@pytest.mark.parametrize(
    "reduction", [lax.reduce_max, lax.reduce_min], ids=lambda each: each.__name__
)
def test_extremes_of_awkward_numbers(reduction, x64):
    cases = [
        Case(
            f"{dtype} {strange}",
            lambda x: reduction(x, (0,)),
            (np.array(awkward(dtype, strange), jnp.dtype(dtype)),),
        )
        for dtype in ALL
        for strange in (False, True)
    ]
    assert not failures(cases)


@pytest.mark.parametrize(
    "reduction",
    [lax.reduce_sum, lax.reduce_prod, lax.cumsum, lax.cumprod],
    ids=lambda each: each.__name__,
)
def test_whole_numbers_wrap(reduction, x64):
    over = 0 if "cum" in reduction.__name__ else (0,)
    cases = [
        Case(
            dtype,
            lambda x: reduction(x, over),
            (np.array([n for n in awkward(dtype) if n], dtype),),
        )
        for dtype in WHOLE
    ]
    assert not failures(cases)


RUNNING = (lax.cumsum, lax.cumprod, lax.cummax, lax.cummin, lax.cumlogsumexp)


@pytest.mark.parametrize("running", RUNNING, ids=lambda each: each.__name__)
def test_running_ones(running, request, rng, x64):
    dtypes = FLOATS if running is lax.cumlogsumexp else NUMBERS
    cases = []
    for number, shape in enumerate(((1,), (0, 3), (7,), (2, 5), (5, 2, 3), (9, 4))):
        for axis in range(len(shape)):
            for reverse in (False, True):
                for dtype in chosen(request, dtypes, number + axis):
                    x = array(rng, shape, dtype, 1.0)
                    if running in (lax.cummax, lax.cummin, lax.cumlogsumexp):
                        x = with_strange(rng, shape, dtype, 0.1)
                    cases.append(
                        Case(
                            f"{dtype} {shape} {axis} {reverse}",
                            lambda x, a=axis, r=reverse: running(x, a, r),
                            (x,),
                            2e-5,
                            1.0,
                        )
                    )
    assert not failures(cases)


def windows():
    """Lengths, steps, padding, spreading of the input and of the window."""
    yield (7,), (3,), (1,), [(0, 0)], (1,), (1,)
    yield (7,), (2,), (2,), [(1, 1)], (1,), (2,)
    yield (6, 5), (2, 3), (2, 1), [(0, 0), (1, 1)], (1, 1), (1, 1)
    yield (
        (1, 6, 5, 2),
        (1, 2, 2, 1),
        (1, 2, 2, 1),
        [(0, 0), (0, 1), (1, 0), (0, 0)],
        (1,) * 4,
        (1,) * 4,
    )
    yield (
        (2, 3, 7, 8),
        (1, 1, 3, 3),
        (1, 1, 2, 2),
        [(0, 0), (0, 0), (1, 1), (1, 1)],
        (1,) * 4,
        (1,) * 4,
    )
    yield (5, 4), (2, 2), (1, 1), [(0, 0), (0, 0)], (2, 3), (1, 2)
    yield (5, 4), (2, 2), (3, 1), [(-1, 2), (1, -1)], (1, 2), (1, 1)
    yield (4, 4), (1, 1), (2, 3), [(0, 0), (0, 0)], (1, 1), (1, 1)
    yield (2, 4), (1, 6), (1, 1), [(0, 0), (0, 0)], (1, 1), (1, 1)
    yield (0, 4), (1, 2), (1, 1), [(0, 0), (0, 0)], (1, 1), (1, 1)


WINDOWS = {"sum": lax.add, "max": lax.max, "min": lax.min}


@pytest.mark.parametrize("kind", WINDOWS)
def test_windows(kind, request, rng, x64):
    join = WINDOWS[kind]

    def first(dtype):
        if kind == "sum":
            return np.zeros((), dtype)[()]
        if jnp.issubdtype(dtype, jnp.floating):
            return np.asarray(-np.inf if kind == "max" else np.inf, dtype)[()]
        info = jnp.iinfo(dtype)
        return np.asarray(info.min if kind == "max" else info.max, dtype)[()]

    cases = []
    for number, (shape, *settings) in enumerate(windows()):
        for dtype in chosen(request, NUMBERS, number):
            x = array(rng, shape, dtype) if kind == "sum" else with_strange(rng, shape, dtype)
            cases.append(
                Case(
                    f"{dtype} {shape} {settings}",
                    lambda x, s=settings, d=dtype: lax.reduce_window(
                        x, first(jnp.dtype(d)), join, *s
                    ),
                    (x,),
                    rough(dtype),
                    1.0,
                )
            )
    assert not failures(cases)


# ---- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [lax.argmax, lax.argmin], ids=lambda each: each.__name__)
def test_places_of_extremes(place, request, rng, x64):
    cases = []
    for number, shape in enumerate(((1,), (9,), (3, 5), (2, 3, 4), (40, 3))):
        for axis in range(len(shape)):
            for dtype in chosen(request, ALL, number + axis):
                x = with_strange(rng, shape, dtype, 0.05)
                cases.append(
                    Case(f"{dtype} {shape} {axis}", lambda x, a=axis: place(x, a, jnp.int32), (x,))
                )
    assert not failures(cases)


@pytest.mark.parametrize("keys", [1, 2])
def test_sorting(keys, request, rng, x64):
    cases = []
    for number, shape in enumerate(((1,), (0,), (30,), (4, 9), (9, 4), (2, 3, 4))):
        for axis in range(len(shape)):
            for dtype in chosen(request, ALL, number + axis):
                x = with_strange(rng, shape, dtype, 0.2)
                if keys == 2:
                    x = (rng.integers(0, 2, shape)).astype(x.dtype)
                other = with_strange(rng, shape, "float32", 0.2)
                third = np.arange(x.size, dtype=np.int32).reshape(shape)
                cases.append(
                    Case(
                        f"{dtype} {shape} {axis}",
                        lambda *xs, a=axis: lax.sort(xs, dimension=a, num_keys=keys),
                        (x, other, third),
                    )
                )
    assert not failures(cases)


def test_the_largest_few(request, rng, x64):
    cases = []
    for number, (shape, k) in enumerate(
        (((5,), 2), ((1,), 1), ((30,), 30), ((3, 9), 4), ((2, 3, 8), 0))
    ):
        for dtype in chosen(request, NUMBERS, number):
            x = with_strange(rng, shape, dtype, 0.1)
            cases.append(Case(f"{dtype} {shape}", lambda x, k=k: lax.top_k(x, k), (x,)))
    assert not failures(cases)


def test_order_of_all_floats():
    numbers = np.array([*awkward("float32"), 2.0, -3.0], np.float32)
    left, right = (each.reshape(-1) for each in np.meshgrid(numbers, numbers))
    cases = [
        Case(
            "searched",
            lambda a, v: jnp.searchsorted(jnp.sort(a), v),
            (numbers, numbers[::-1].copy()),
        )
    ]
    cases += [Case("median", lambda x: jnp.median(x), (numbers[:14],))]
    cases += [Case("ranks", lambda x: jnp.argsort(x), (np.where(left > 0, left, right),))]
    assert not failures(cases)


def test_what_onnx_cannot_say_is_refused():
    assert "truth values" in refusal(lambda x: lax.reduce_and(x, (0,)), jnp.ones(3, jnp.int32))
