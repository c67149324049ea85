"""Lays down what a compiler in another process takes: programs, weights, and what each array is called."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.composites import calls_for_composites
from funcnet.core.jax_internals.portable import lower_portably, portable_text, to_portable
from funcnet.export.compilers.child import read_arrays, write_arrays
from funcnet.export.compilers.processes import run_task
from funcnet.export.flat import FlatFunction, structs
from funcnet.export.programs.building import gradient_function, gradient_record
from funcnet.export.specs import ArraySpec

__all__ = ["Case", "Staged", "run_cases", "stage"]

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Staged:
    """A function under the name that it has in the file.

    Attributes:
        name: of its signature.
        flat: the function.
        sizes: of its open lengths; None leaves them open.
        call: what is lowered, of all weights and inputs, where it is not ``flat.call``.
    """

    name: str
    flat: FlatFunction
    sizes: Sizes | None = None
    call: Callable[..., list[Any]] | None = None


@dataclass(frozen=True)
class Case:
    """Inputs of one signature, and what the function itself gives for them."""

    function: Staged
    sizes: Sizes
    inputs: list[Any]
    outputs: list[Any]


def stage(
    folder: Path, functions: Sequence[Staged], differentiable: bool = False, **settings: Any
) -> None:
    """Write a job for `child`.

    Args:
        folder: empty.
        functions: of one model.
        differentiable: whether to add programs of derivatives.
        **settings: that the task asks for.
    """
    flat = functions[0].flat
    described = [_described(folder, each, differentiable) for each in functions]
    write_arrays(folder / "weights", list(flat.weights.values()))
    weights = [
        {"name": name, "trainable": number < flat.trainable and _is_float(array)}
        for number, (name, array) in enumerate(flat.weights.items())
    ]
    job = {
        "functions": described,
        "weights": weights,
        "differentiable": differentiable,
        "default": "serving_default" not in [each.name for each in functions],
    }
    (folder / "job.json").write_text(json.dumps(job | settings))


def _described(folder: Path, staged: Staged, differentiable: bool) -> dict[str, Any]:
    """Lower a function and describe it."""
    flat, number = staged.flat, len(list(folder.glob("*.mlirbc")))
    weights, inputs = flat.arguments(staged.sizes)
    call = staged.call or _flat_call(flat)
    program = _write_program(folder, f"{number}", call, [*weights, *inputs], staged.name)
    return {
        "name": staged.name,
        "program": program,
        "weights": list(flat.weights),
        "inputs": _arrays(flat.inputs, staged.sizes),
        "outputs": _arrays(flat.outputs, staged.sizes),
        "gradient": _gradient(folder, staged, number) if differentiable else None,
    }


def _gradient(folder: Path, staged: Staged, number: int) -> dict[str, Any]:
    """Lower the derivative of a function and say which arrays it belongs to."""
    flat, record = staged.flat, gradient_record(staged.flat)
    weights, _ = flat.arguments(staged.sizes)
    cotangents = [flat.outputs[place] for place in record.outputs]
    arguments = [*weights, *structs([*flat.inputs, *cotangents], staged.sizes)]
    call = gradient_function(flat)
    names, count = list(flat.weights), len(flat.weights)
    own = [ArraySpec(a.shape, a.dtype, n) for n, a in flat.weights.items() if n in record.weights]
    return {
        "program": _write_program(
            folder, f"{number}_gradient", call, arguments, f"the derivative of {staged.name}"
        ),
        "outputs": _arrays([*own, *(flat.inputs[place] for place in record.inputs)], staged.sizes),
        "of_arrays": [*map(names.index, record.weights), *(count + i for i in record.inputs)],
        "of_outputs": list(record.outputs),
    }


def _flat_call(flat: FlatFunction) -> Callable[..., list[Any]]:
    count = len(flat.weights)
    return lambda *arrays: flat.call(arrays[:count], arrays[count:])


def _write_program(
    folder: Path, name: str, call: Callable[..., list[Any]], arguments: Sequence[Any], what: str
) -> str:
    """Lower a function for any platform, without composites; return the name of its file."""
    program, calls = lower_portably(call, arguments, "cpu")
    if calls:
        raise ExportError(
            f"{what} calls {', '.join(calls)}, which other runtimes have not; export.preflight names the lines"
        )
    plain = to_portable(calls_for_composites(portable_text(program)))
    (folder / f"{name}.mlirbc").write_bytes(plain)
    return f"{name}.mlirbc"


def _arrays(specs: Sequence[ArraySpec], sizes: Sizes | None) -> list[dict[str, Any]]:
    """Describe arrays as TensorFlow does: an open length is None."""
    shapes = [each.shape for each in specs] if sizes is None else _fixed(specs, sizes)
    names = [identifier(str(each.name)) for each in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"two arrays are called {', '.join(twice)} once points are underscores: give each spec a name of its own"
        )
    return [
        {
            "name": name,
            "dtype": np.dtype(each.dtype).name,
            "shape": [None if isinstance(length, str) else int(length) for length in shape],
        }
        for name, each, shape in zip(names, specs, shapes, strict=True)
    ]


def _fixed(specs: Sequence[ArraySpec], sizes: Sizes) -> list[tuple[int, ...]]:
    return [each.shape for each in structs(specs, sizes)]


def identifier(name: str) -> str:
    """Spell a name as an argument of Python.

    >>> from funcnet.export.compilers.staging import identifier
    >>> identifier("cache.0.key")
    'cache_0_key'
    """
    plain = re.sub(r"\W", "_", name)
    return plain if plain.isidentifier() else f"_{plain}"


def _is_float(array: Any) -> bool:
    return bool(jnp.issubdtype(array.dtype, jnp.inexact))


def run_cases(
    folder: Path, task: str, model: Path, cases: Sequence[Case], doing: str
) -> list[list[np.ndarray]]:
    """Have a process run a model on inputs, and read what came out.

    Args:
        folder: for what goes to and fro.
        task: of `child`.
        model: the file or folder that is run.
        cases: what to run.
        doing: for messages.
    """
    for number, case in enumerate(cases):
        write_arrays(folder / f"inputs_{number}", case.inputs)
    asked = [
        {
            "function": case.function.name,
            "inputs": [identifier(str(each.name)) for each in case.function.flat.inputs],
            "outputs": [identifier(str(each.name)) for each in case.function.flat.outputs],
        }
        for case in cases
    ]
    job = {"model": str(model), "cases": asked}
    (folder / "job.json").write_text(json.dumps(job))
    run_task(task, folder, doing)
    return [read_arrays(folder / f"outputs_{number}") for number in range(len(cases))]
