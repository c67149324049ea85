"""Run everything that a row stands for."""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from tests.parity import ours, pytorch
from tests.parity.inputs import cast, is_float, split, weights
from tests.parity.table import Layer, Row
from tests.parity.tolerance import RELATIVE_32, RELATIVE_BF16, close, close_gradients

TORCH = importlib.util.find_spec("torch") is not None

COMPARISON_ALONE = False
"""Whether to leave out what needs no PyTorch (``--only-skipped``): it was tested without it."""


def check(row: Row) -> None:
    """Compare with PyTorch where it is installed; test the rest in any case."""
    with jax.enable_x64(True):
        module = ours.module_of(row)
        for train in (False, True) if row.train and isinstance(row, Layer) else (False,):
            step = ours.step_of(row, module, train)
            if TORCH:
                params, state = _check_theirs(row, module, step, train)
            else:
                params, state = ours.drawn(row, module)
                step(params, state, *split(row, 0))
            if COMPARISON_ALONE:
                continue
            if row.differences:
                _check_differences(row, step, params, state)
            if row.dtypes:
                _check_dtypes(row, step, params, state)
            if train:
                continue
            _check_state_dict(module, params, state)
            if row.vmap:
                _check_vmap(row, module, step, params, state)


def _check_theirs(row: Row, module: Any, step: Callable[..., Any], train: bool) -> tuple[Any, Any]:
    """Outputs, gradients and state of PyTorch; return the weights it starts with."""
    mode = "training" if train else "evaluation"
    # two steps in evaluation: the examples that vmap sees together
    initial, records = pytorch.record(row, train, 3 if train else 1 + bool(row.vmap))
    params, state = start = fn.load_state_dict(module, initial)
    _check_init(row, module, initial)
    for seed, theirs in enumerate(records):
        outputs, state, gradients = step(params, state, *split(row, seed))
        where = f"{mode}, step {seed}"
        count = len(theirs.outputs)
        assert len(outputs) == count, f"{len(outputs)} outputs, PyTorch has {count}"
        for i, (a, b) in enumerate(zip(outputs, theirs.outputs, strict=True)):
            close(a, b, row.relative, f"{where}: output {i}")
        if theirs.gradients is not None:
            _check_gradients(row, module, gradients, theirs.gradients, where)
        named = fn.state_dict(module, params, state)
        for name, value in theirs.state.items():
            close(named[name], value, row.relative, f"{where}: state {name}")
    return start


def _check_init(row: Row, module: Any, initial: dict[str, np.ndarray]) -> None:
    """A fresh init has PyTorch's names and shapes."""
    params, state = jax.eval_shape(fn.functionalize(module).init, jax.random.key(0))
    named = fn.state_dict(module, params, state)
    assert {name: tuple(array.shape) for name, array in named.items()} == {
        name: array.shape for name, array in initial.items()
    }


def _check_gradients(row: Row, module: Any, ours: Any, theirs: Any, mode: str) -> None:
    named = fn.state_dict(module, ours[0]) if theirs[1] else {}
    names = [f"{mode}: gradient of float input {i}" for i in range(len(theirs[0]))]
    close_gradients(
        [*ours[1], *(named[name] for name in theirs[1])],
        [*theirs[0], *theirs[1].values()],
        [*names, *(f"{mode}: gradient of {name}" for name in theirs[1])],
        row.relative,
        jnp.float64,
    )


def _check_state_dict(module: Any, params: Any, state: Any) -> None:
    """What is saved by name comes back in its place, bit for bit."""
    back = fn.load_state_dict(module, fn.state_dict(module, params, state))
    jax.tree.map(np.testing.assert_array_equal, back, (params, state))


def _check_vmap(row: Row, module: Any, step: Callable[..., Any], params: Any, state: Any) -> None:
    """Two whole calls as one give each its own answer."""
    calls = [split(row, seed) for seed in (0, 1)]
    if not jax.tree.leaves(calls):
        return
    batched = ours.vmapped(row, module)(
        params, state, *jax.tree.map(lambda *each: jnp.stack(each), *calls)
    )
    for i, call in enumerate(calls):
        alone = step(params, state, *call)[0]
        for j, (a, b) in enumerate(zip(batched, alone, strict=True)):
            close(a[i], b, row.relative, f"vmap: output {j} of example {i}")


STEP = 1e-5
"""Central differences err by STEP² = 1e-10 of the third derivative, and by 1e-16 / STEP of the value."""


def _check_differences(row: Row, step: Callable[..., Any], params: Any, state: Any) -> None:
    """The slope along one random direction in all inputs and parameters is what the gradients say."""
    others, floats = split(row, 0)
    rng = np.random.default_rng(0)
    point = (params, floats)
    direction = jax.tree.map(lambda x: rng.standard_normal(x.shape), point)

    def total(length: float) -> tuple[float, float]:
        moved = jax.tree.map(lambda x, d: x + length * d, point, direction)
        terms = [
            o * weights(o.shape) for o in step(moved[0], state, others, moved[1])[0] if is_float(o)
        ]
        return sum(float(t.sum()) for t in terms), sum(float(abs(t).sum()) for t in terms)

    (above, size), (below, _) = total(STEP), total(-STEP)
    products = jax.tree.map(lambda g, d: g * d, step(params, state, others, floats)[2], direction)
    terms = jax.tree.leaves(products)
    slope = sum(float(t.sum()) for t in terms)
    scale = sum(float(abs(t).sum()) for t in terms)
    # 1e-6: third derivatives up to 1e4 times the first; 1e-10: ten roundings of the value by STEP
    np.testing.assert_allclose(
        (above - below) / (2 * STEP), slope, rtol=0, atol=1e-6 * scale + 1e-10 * size,
        err_msg="finite differences",
    )  # fmt: skip


def _check_dtypes(row: Row, step: Callable[..., Any], params: Any, state: Any) -> None:
    """Float32 and bfloat16 in, the same out, near what float64 makes of the same rounded numbers."""
    others, floats = split(row, 0)
    for dtype, relative in ((jnp.float32, RELATIVE_32), (jnp.bfloat16, RELATIVE_BF16)):
        narrow = cast((params, state, floats), dtype)
        wide = cast(narrow, jnp.float64)
        outputs, _, gradients = step(narrow[0], narrow[1], others, narrow[2])
        exact, _, slopes = step(wide[0], wide[1], others, wide[2])
        for i, (a, b) in enumerate(zip(outputs, exact, strict=True)):
            name = f"{dtype.__name__}: output {i}"
            assert a.dtype == (dtype if is_float(b) else b.dtype), f"{name} has dtype {a.dtype}"
            if is_float(b):
                close(a, b, relative, name)
        ours_, theirs = jax.tree.leaves(gradients), jax.tree.leaves(slopes)
        names = [f"{dtype.__name__}: gradient {i}" for i in range(len(theirs))]
        close_gradients(ours_, theirs, names, relative, dtype)


def check_raises(row: Row) -> None:
    """PyTorch refuses these arguments or inputs; so do we, with the error that the row names."""
    assert row.error, f"{row} does not say which error: Row.raises"
    if TORCH:
        with pytest.raises(Exception):  # noqa: B017 - torch raises many kinds
            pytorch.record(row, False, 1)
    error, message = row.error
    with pytest.raises(error) as caught:
        ours.refused(row)
    assert caught.type is error, f"{caught.type.__name__}, not {error.__name__}: {caught.value}"
    assert message in str(caught.value), f"not {message!r}: {caught.value}"
