"""Cases of operations: many go into one file of ONNX, which is run once and compared with JAX result by result."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.errors import ExportError
from funcnet.export.flat import flatten_entry
from funcnet.export.specs import entry, spec


@dataclass(frozen=True)
class Case:
    """One function of arrays.

    ``tolerance`` is relative to each number: a few roundings of float32; ``least``: numbers that are smaller count
    as large as that, where sums cancel.
    """

    name: str
    function: Callable[..., Any]
    arrays: tuple[Any, ...]
    tolerance: float = 2e-6
    least: float | None = None

    def __str__(self):
        return self.name


def together(cases):
    """One function of the arrays of all cases, with a list of results for each."""

    def function(params, state, *arrays):
        del params
        made, rest = [], list(arrays)
        for case in cases:
            count = len(case.arrays)
            made.append(jax.tree.leaves(case.function(*rest[:count])))
            rest = rest[count:]
        return made, state

    return function


def run_in_onnx(cases, symbols=None):
    """Return what ONNX Runtime computes: for each case a list of arrays."""
    import onnx

    from funcnet.export.onnx.exporting import build_graph
    from funcnet.export.onnx.model_file import write_model
    from funcnet.export.onnx.runtime import run_model
    from funcnet.export.operators import RULES

    arrays = [array for case in cases for array in case.arrays]
    shapes = symbols or [array.shape for array in arrays]
    specs = [
        spec(shape, array.dtype, f"x{number}")
        for number, (shape, array) in enumerate(zip(shapes, arrays, strict=True))
    ]
    flat = flatten_entry(entry(together(cases), *specs), {}, {})
    graph = build_graph(flat, RULES)
    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_model(graph, Path(folder), "case.onnx", opset=20)
        onnx.checker.check_model(str(path), full_check=True)
        given = {f"x{number}": array for number, array in enumerate(arrays)}
        (results,) = run_model(path, [given])
    taken, made = 0, []
    for expected in jax.eval_shape(together(cases), {}, {}, *arrays)[0]:
        made.append(results[taken : taken + len(expected)])
        taken += len(expected)
    return made


def failures(cases, symbols=None):
    """Say what is wrong, case by case; a file that fails as a whole is split into its cases."""
    cases = list(cases)
    expected = jax.jit(together(cases))({}, {}, *(a for case in cases for a in case.arrays))[0]
    try:
        got = run_in_onnx(cases, symbols)
    except Exception as error:
        if len(cases) > 1 and symbols is None:
            half = len(cases) // 2
            return failures(cases[:half]) + failures(cases[half:])
        return [f"{cases[0].name}: {type(error).__name__}: {str(error)[:300]}"]
    found = []
    for case, wanted, results in zip(cases, expected, got, strict=True):
        for number, (want, have) in enumerate(zip(wanted, results, strict=True)):
            text = difference(np.asarray(want), have, case.tolerance, case.least)
            if text:
                found.append(f"{case.name} [{number}]: {text}")
    return found


def difference(want, have, tolerance, least=None):
    """Say how two arrays differ, None if they do not."""
    if want.shape != have.shape or want.dtype != have.dtype:
        return f"{have.dtype}{have.shape} for {want.dtype}{want.shape}"
    if not jnp.issubdtype(want.dtype, jnp.floating):
        wrong = want != have
    else:
        if want.dtype.itemsize == 2:
            tolerance = max(tolerance, 1.5 * float(jnp.finfo(want.dtype).eps))
        left, right = (np.asarray(each, np.float64) for each in (want, have))
        with np.errstate(invalid="ignore"):
            far = np.abs(left - right) > tolerance * np.maximum(
                np.abs(left), least or tiny_of(want.dtype)
            )
        special = ~np.isfinite(left) | ~np.isfinite(right)
        wrong = np.where(special, ~((left == right) | (np.isnan(left) & np.isnan(right))), far)
    if not wrong.any():
        return None
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} of {wrong.size} differ; at {place} {have[place]!r} for {want[place]!r}"
    )


def tiny_of(dtype):
    """Below this a difference is measured absolutely: XLA turns what is smaller into 0."""
    return 1.0 if dtype.itemsize == 2 else float(jnp.finfo(dtype).tiny) * 1e6


def refusal(function, *arrays):
    """Return the error with which an export is refused."""
    try:
        run_in_onnx([Case("refused", function, arrays)])
    except ExportError as error:
        return str(error)
    return None
