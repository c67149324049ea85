"""Every row of layers and functions as a function of arrays, ready to be exported."""

import importlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from tests.functional.rows.calls import CALLS
from tests.parity.inputs import arrays, flat, is_array, is_float, merge
from tests.parity.ours import apply_of, drawn, module_of

TESTS = Path(__file__).parents[2]
NARROW = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}


@dataclass(frozen=True, eq=False)
class Case:
    """One row: ``make`` gives a function of (params, state, arrays), its params and state, and the arrays."""

    name: str
    make: Any

    def __str__(self):
        return self.name


def all_cases():
    """Every row of every family, and one call of every public function."""
    cases = []
    for room in ("nn", "functional"):
        for path in sorted((TESTS / room / "rows").glob("*.py")):
            family = importlib.import_module(f"tests.{room}.rows.{path.stem}")
            rows = [row for row in getattr(family, "ROWS", []) if row.error is None]
            cases += [Case(f"{room}.{row}", lambda row=row: of_row(row)) for row in rows]
    return cases + [Case(f"call.{name}", lambda name=name: of_call(name)) for name in CALLS]


def some_cases(count):
    """A sample that is the same in every run: those whose names have the smallest hashes."""
    return sorted(all_cases(), key=lambda case: zlib.crc32(case.name.encode()))[:count]


def narrow(array):
    return array.astype(NARROW.get(array.dtype, array.dtype))


def of_row(row):
    module = module_of(row)
    params, state = jax.tree.map(
        lambda a: narrow(np.asarray(a)), drawn(row, module) if not is_plain(module) else ({}, {})
    )
    apply = apply_of(row, module, train=False)
    leaves = [narrow(leaf) for leaf in flat(arrays(row, 0)) if is_array(leaf)]
    floats = [is_float(leaf) for leaf in leaves]

    def call(params, state, *given):
        others = [leaf for leaf, real in zip(given, floats, strict=True) if not real]
        reals = [leaf for leaf, real in zip(given, floats, strict=True) if real]
        outputs, _ = apply(params, state, *merge(row, others, reals))
        return outputs, state

    return call, params, state, leaves


def is_plain(module):
    return not jax.tree.leaves(jax.eval_shape(fn.functionalize(module).init, jax.random.key(0)))


def of_call(name):
    call = CALLS[name]
    given = {key: narrow(array) for key, array in call.arrays().items()}

    def run(params, state, *values):
        result = call.run(name, dict(zip(given, values, strict=True)))
        return [leaf for leaf in jax.tree.leaves(result) if leaf is not None], state

    return run, {}, {}, list(given.values())


def export_case(case, path, **settings):
    """Export a row with the inputs that it has, which are what it is compared on too."""
    call, params, state, leaves = case.make()
    specs = [fn.export.spec(a.shape, a.dtype, f"x{i}") for i, a in enumerate(leaves)]
    given = [jnp.asarray(a) for a in leaves]
    return fn.export.onnx(path, call, params, state, *specs, examples=[given], **settings)
