"""Rules for gather and scatter: through NumPy's indexing and JAX's own, inside and outside, with indices twice."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.export.operators.running import Case, failures, refusal
from tests.export.operators.values import ALL, FLOATS, NUMBERS, array, with_strange

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

MODES = ("clip", "fill", "promise_in_bounds")


def dtypes_of(request, number, dtypes=ALL):
    if request.config.getoption("grid") == "full":
        return dtypes
    return [dtypes[(5 * number) % len(dtypes)]]


def indices(rng, shape, length, mode, dtype="int32"):
    """Some outside on both sides, unless it is promised that none is."""
    over = 0 if mode == "promise_in_bounds" else 3
    return np.asarray(rng.integers(-over, length + over, shape)).astype(dtype)


TAKES = {
    "rows": lambda x, i, m: x.at[i].get(mode=m),
    "middle": lambda x, i, m: x.at[:, i].get(mode=m),
    "last": lambda x, i, m: x.at[..., i].get(mode=m),
    "two in step": lambda x, i, m: x.at[i, i].get(mode=m),
    "two apart": lambda x, i, m: x.at[i, :, i].get(mode=m),
    "three": lambda x, i, m: x.at[i, i, i].get(mode=m),
    "new axes": lambda x, i, m: x.at[:, None, i].get(mode=m),
    "along": lambda x, i, m: jnp.take_along_axis(
        x, jnp.broadcast_to(i.reshape(-1)[:1], (3, 1, 5)), 1, mode=m
    ),
    "take": lambda x, i, m: jnp.take(x, i, axis=1, mode="clip" if m[0] == "p" else m),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("known", [False, True], ids=["computed", "known"])
def test_takes(mode, known, request, rng, x64):
    cases = []
    for number, ((name, take), shape) in enumerate(
        itertools.product(TAKES.items(), ((), (4,), (2, 3)))
    ):
        if request.config.getoption("grid") != "full" and (number + known) % 2:
            continue
        for dtype in dtypes_of(request, number):
            x = array(rng, (3, 4, 5), dtype)
            i = indices(
                rng,
                shape,
                3,
                mode,
                ("int32", "int64", "uint8")[number % 3] if mode != "clip" else "int32",
            )
            if known:
                cases.append(
                    Case(f"{name} {shape} {dtype}", lambda x, t=take, i=i: t(x, i, mode), (x,))
                )
            else:
                cases.append(
                    Case(f"{name} {shape} {dtype}", lambda x, i, t=take: t(x, i, mode), (x, i))
                )
    assert not failures(cases)


def windows():
    """Dimension numbers of gathers that NumPy has no word for: of operand (4, 5, 6) and indices of a shape."""
    numbers = lax.GatherDimensionNumbers
    yield numbers((1, 2, 3), (), (0,)), (2, 3, 6), (7, 1)
    yield numbers((0, 1, 2), (), (1, 2)), (4, 2, 3), (3, 2)
    yield numbers((1, 2), (1,), (2, 1)), (3, 1, 2), (2, 2)
    yield numbers((0, 3), (2,), (0, 1, 2)), (2, 2, 1), (3, 2, 3)
    yield numbers((2,), (1,), (1, 2), (0,), (0,)), (1, 1, 3), (4, 2, 2)
    yield numbers((0,), (1,), (1,), (2,), (1,)), (4, 1, 1), (3, 6, 1)
    yield numbers((), (1,), (1,), (0, 2), (1, 0)), (1, 1, 1), (6, 4, 1)
    yield numbers((0, 1), (0,), (0,)), (1, 5, 6), (1,)
    yield numbers((0, 1, 2), (), ()), (4, 2, 3), (0,)


GATHER_MODES = (lax.GatherScatterMode.CLIP, lax.GatherScatterMode.FILL_OR_DROP)


@pytest.mark.parametrize("mode", GATHER_MODES, ids=str)
def test_gathers_of_windows(mode, request, rng, x64):
    cases = []
    for number, (numbers, sizes, shape) in enumerate(windows()):
        for dtype in dtypes_of(request, number):
            x, i = array(rng, (4, 5, 6), dtype), indices(rng, shape, 3, "clip")
            cases.append(
                Case(
                    f"{dtype} {numbers}",
                    lambda x, i, n=numbers, s=sizes: lax.gather(x, i, n, s, mode=mode),
                    (x, i),
                )
            )
            cases.append(
                Case(
                    f"{dtype} {numbers} 1",
                    lambda x, i, n=numbers, s=sizes: lax.gather(
                        x, i, n, s, mode=mode, fill_value=1
                    ),
                    (x, i),
                )
            )
    assert not failures(cases)


# ---- scatter -------------------------------------------------------------------------------------

PLACES = {
    "rows": lambda x, i: x.at[i],
    "middle": lambda x, i: x.at[:, i],
    "last": lambda x, i: x.at[..., i],
    "two in step": lambda x, i: x.at[i, i],
    "two apart": lambda x, i: x.at[i, :, i],
    "three": lambda x, i: x.at[i, i, i],
}
WAYS = ("set", "add", "multiply", "min", "max", "subtract")


@pytest.mark.parametrize("way", WAYS)
def test_puts(way, request, rng, x64):
    cases = []
    product = itertools.product(PLACES.items(), ((), (4,), (2, 3)), MODES)
    for number, ((name, place), shape, mode) in enumerate(product):
        if request.config.getoption("grid") != "full" and number % 3:
            continue
        for dtype in dtypes_of(request, number, NUMBERS):
            x = array(rng, (3, 4, 5), dtype, 1.0)
            i = indices(rng, shape, 3, mode)
            if way == "set":  # of several updates of one number JAX takes any
                i = np.resize(
                    rng.permutation(8)[: i.size] - (2 if mode == "fill" else 0), i.shape
                ).astype("int32")
                i = i % 3 if shape == () else i
                if mode != "fill" and i.size > 1:
                    continue
            wanted = place(x_like(x), i).get(mode="clip").shape
            updates = array(rng, wanted, dtype, 1.0)
            if way in ("min", "max") and dtype in FLOATS:
                updates = with_strange(rng, wanted, dtype, 0.1)
            cases.append(
                Case(
                    f"{name} {shape} {mode} {dtype}",
                    lambda x, i, u, p=place, m=mode: getattr(p(x, i), way)(u, mode=m),
                    (x, i, updates),
                    0.05 if jnp.dtype(dtype).itemsize == 2 else 1e-5,
                    1.0,
                )
            )
    assert not failures(cases)


def x_like(x):
    return jnp.zeros(x.shape, jnp.float32)


def scatters():
    """Dimension numbers of scatters: of operand (4, 5, 6), indices and updates of shapes."""
    numbers = lax.ScatterDimensionNumbers
    yield numbers((1, 2, 3), (), (0,)), (7, 1), (7, 2, 3, 6)
    yield numbers((1, 2), (1,), (2, 1)), (2, 2), (2, 3, 2)
    yield numbers((0,), (1,), (1,), (2,), (1,)), (3, 6, 1), (4, 3, 6)
    yield numbers((), (1,), (1,), (0, 2), (1, 0)), (6, 4, 1), (6, 4)
    yield numbers((0, 1), (0,), (0,)), (1,), (5, 6)


@pytest.mark.parametrize("mode", GATHER_MODES, ids=str)
def test_scatters_of_windows(mode, request, rng, x64):
    cases = []
    for number, (numbers, places, shape) in enumerate(scatters()):
        for dtype in dtypes_of(request, number, NUMBERS):
            x, u = array(rng, (4, 5, 6), dtype, 1.0), array(rng, shape, dtype, 1.0)
            i = indices(rng, places, 3, "clip")
            for scatter in (lax.scatter_add, lax.scatter_mul, lax.scatter_max):
                cases.append(
                    Case(
                        f"{dtype} {numbers} {scatter.__name__}",
                        lambda x, i, u, f=scatter, n=numbers: f(x, i, u, n, mode=mode),
                        (x, i, u),
                        0.05 if jnp.dtype(dtype).itemsize == 2 else 1e-5,
                        1.0,
                    )
                )
    assert not failures(cases)


def test_of_updates_of_one_place_the_last_stays(rng):
    """XLA leaves the order open; on CPUs it is that of the updates, and so it is here."""
    x, u, i = (
        np.zeros(5, np.float32),
        np.arange(8, dtype=np.float32),
        np.array([1, 1, 3, 1, 3, 0, 0, 4]),
    )
    assert not failures([Case("set", lambda x, i, u: x.at[i].set(u), (x, i.astype(np.int32), u))])


def test_nothing_to_take_or_put(rng):
    none = np.zeros((0, 3), np.float32)
    some, i, places = (
        np.ones((2, 3), np.float32),
        np.zeros((2,), np.int32),
        np.zeros((0,), np.int32),
    )
    cases = [
        Case("nothing", lambda x, i: x[i], (some, places)),
        Case("into nothing", lambda x, i: x.at[i].add(1.0), (none, i)),
        Case("put nothing", lambda x, i: x.at[i].add(1.0), (some, places)),
    ]
    assert not failures(cases)


def test_a_function_of_ones_own_is_refused():
    assert "function" in refusal(lambda x: x.at[np.array([1])].apply(jnp.sin), jnp.ones(3))
