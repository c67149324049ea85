"""Loops and choices: equal in ONNX Runtime whatever they carry, share, turn over and end with."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import funcnet as fn
from funcnet.core.errors import ExportError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def export(tmp_path):
    def run(function, *shapes, **settings):
        call = lambda params, state, *inputs: (function(*inputs), state)
        specs = [fn.export.spec(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
        return fn.export.onnx(tmp_path / "made.onnx", call, {}, {}, *specs, **settings)

    return run


# what a scan may be made of, all together
CARRIES = {
    "one": lambda x: x[0],
    "none": lambda x: (),
    "two": lambda x: (jnp.int32(0), {"a": x[0], "b": x.sum()}),
}
ROWS = {"rows": lambda x: x, "two": lambda x: (x, x[:, :1] > 0), "counts": lambda x: None}
LENGTHS = {"open": ("time", 3), "one": (1, 3), "five": (5, 3)}


SCANS = [
    each
    for each in itertools.product(CARRIES, ROWS, LENGTHS, ["forward", "reverse"])
    if each[1:3] != ("counts", "open") and each[:2] != ("none", "counts")
]


def pytest_generate_tests(metafunc):
    if "scan" in metafunc.fixturenames:
        full = metafunc.config.getoption("grid") == "full"
        metafunc.parametrize("scan", SCANS if full else SCANS[::3], ids="-".join)


def test_scans(export, scan):
    carry, rows, length, direction = scan

    def scanned(x, shared):
        def body(carried, row):
            leaves = [jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves((carried, row))]
            added = jnp.tanh(sum(leaves, start=jnp.float32(0)) + shared.mean())
            step = lambda leaf: leaf + (1 if leaf.dtype == jnp.int32 else added)
            return jax.tree.map(step, carried), (added, shared * added)

        given = ROWS[rows](x)
        count = None if given is not None else LENGTHS[length][0]
        return lax.scan(
            body, CARRIES[carry](x), given, length=count, reverse=direction == "reverse"
        )

    operators = export(scanned, LENGTHS[length], (2,)).operators
    assert operators["Scan"] == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_without_rows(export, reverse):
    """ONNX Runtime's Scan fails on no rows at all: a length that may be 0 becomes a Loop, a 0 nothing."""

    def scanned(x):
        rows = lax.slice_in_dim(x, 1, None)
        return lax.scan(lambda c, r: (c + r, c * r), jnp.sum(x, 0), rows, reverse=reverse)

    report = export(scanned, ("time", "batch"))
    assert report.operators["Loop"] == 1
    assert report.checks[0].sizes == {"time": 1, "batch": 1}
    fixed = export(scanned, (1, 3))
    assert not {"Loop", "Scan"} & fixed.operators.keys()


def test_nested_scans(export):
    def scanned(x, y):
        inner = lambda c, r: lax.scan(lambda d, s: (jnp.tanh(d + s * r.sum()), d * y), c, x)
        return lax.scan(inner, y, x, reverse=True)

    assert export(scanned, ("time", 2), (2,)).operators["Scan"] == 2


@pytest.mark.parametrize("turns", [0, 1, 7])
def test_whiles(export, turns):
    def looped(x, y):
        goes_on = lambda state: (state[0] < turns) & (y.sum() < 1e6)
        return lax.while_loop(goes_on, lambda s: (s[0] + 1, jnp.tanh(s[1] + y)), (0, x))

    assert export(looped, ("batch", 2), (2,)).operators["Loop"] == 1


def test_a_while_whose_turns_depend_on_data(export):
    def looped(x):
        return lax.while_loop(lambda s: jnp.abs(s).sum() < 100, lambda s: s * 2 + 1, x)

    export(looped, ("batch",))


@pytest.mark.parametrize(("count", "index"), [(2, -1), (2, 1), (3, 0), (3, 1), (3, 2), (4, 9)])
def test_choices(export, count, index):
    branches = [lambda x, i=i: (x * i + 1, x.sum() - i) for i in range(count)]

    def chosen(x):
        which = jnp.int32(index) + (x.sum() * 0).astype(jnp.int32)
        return lax.switch(which, branches, x)

    assert export(chosen, ("batch",)).operators["If"] == count - 1


def test_a_choice_that_is_known_is_made(export):
    report = export(lambda x: lax.cond(jnp.arange(3).sum() > 2, jnp.sin, jnp.cos, x), ("batch",))
    assert report.operators == {"Sin": 1}


def test_the_default_of_platforms_is_taken(export):
    run = lambda x: lax.platform_dependent(x, tpu=jnp.cos, default=jnp.sin)
    assert export(run, (3,)).operators == {"Sin": 1}


def test_loops_in_choices_in_loops(export):
    def run(x):
        def body(carried, row):
            twice = lambda c: lax.fori_loop(0, 2, lambda i, d: d + i * row, c)
            return lax.cond(row.sum() > 0, twice, lambda c: c * 0.5, carried), carried.sum()

        return lax.scan(body, x[0], x)

    export(run, ("time", 3))


def test_calls_are_entered(export):
    run = jax.jit(jax.checkpoint(lambda x: jax.nn.relu(jax.nn.silu(x))))
    assert "Relu" in export(run, ("batch",)).operators


def test_the_first_branch_of_an_odd_batch_is_found(export, tmp_path):
    with pytest.raises(ExportError, match="batch = 2 is not what the function computes"):
        export(lambda x: x * 2 if x.shape[0] % 2 else x * 3, ("batch",))
    assert list(tmp_path.iterdir()) == []


LENGTH_TEXTS = ["batch", "batch + 3", "2*batch + 1"]


@pytest.mark.parametrize("text", LENGTH_TEXTS)
def test_lengths_are_computed(export, text):
    def run(x, y):
        n, m = x.shape[0], y.shape[0]
        numbers = [n // 2, n % 3, n * m, n - m, -n // 2, n**2 // m, -n % 3, 7]
        numbers += [jax.core.max_dim(n, m), jax.core.min_dim(n, 4)]
        parts = jnp.concatenate([x, y, x]).reshape(-1, 1)
        return parts, [x.sum() * number for number in numbers], jnp.zeros((n * m, 2)) + y[0]

    export(run, (text,), ("other",))
