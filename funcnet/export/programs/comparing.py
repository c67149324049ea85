"""Every program is run before it is written, and compared with the function itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.errors import ExportError
from funcnet.export.flat import FlatFunction
from funcnet.export.programs.building import Built, Sizes, gradient_function
from funcnet.export.programs.calling import StoredFunction
from funcnet.export.programs.verification import (
    InputSampler,
    compare_outputs,
    run_at_sizes,
    sizes_to_compare,
)
from funcnet.export.records import FunctionRecord
from funcnet.export.specs import ArraySpec

__all__ = ["compare_programs"]

_BRANCH = (
    ". A branch on a length that is left open (if x.shape[0] % 2: ...) keeps one side of it: write it with jnp.where "
    "or jax.lax.cond on values, or leave no length open: spec((32, 3)) instead of spec(('batch', 3))"
)


def compare_programs(
    name: str,
    flat: FlatFunction,
    record: FunctionRecord,
    built: Sequence[Built],
    all_sizes: Sequence[Sizes],
    sampler: InputSampler,
) -> tuple[Built, ...]:
    """Run all programs of a function that can be run here, at all sizes, beside the function itself.

    Args:
        name: of the function.
        flat: the function.
        record: what is to be said of it.
        built: its programs, and those of its derivative.
        all_sizes: for which there are programs.
        sampler: of inputs.

    Returns:
        The programs; those for other machines, which could not be run, say so.

    Raises:
        ExportError: a program computes something else, or there is nothing to compare.
    """
    run = _Run(name, flat, record, built)
    here = jax.export.default_export_platform()
    runnable = [each for each in built if each.record.portable or each.record.platform == here]
    wanted = sizes_to_compare(flat.symbols, all_sizes)
    for sizes, inputs, expected in run_at_sizes(flat, sampler, wanted, all_sizes):
        run.check_numbers(expected)
        fitting = [each for each in runnable if each.record.sizes in (None, sizes)]
        for each in fitting:
            run.compare(each, sizes, inputs, expected)
    return tuple(
        each if each in runnable else replace(each, record=replace(each.record, checked=False))
        for each in built
    )


class _Run:
    """A function beside its programs."""

    def __init__(
        self, name: str, flat: FlatFunction, record: FunctionRecord, built: Sequence[Built]
    ) -> None:
        self._name, self._flat, self._record = name, flat, record
        self._weights = list(flat.weights.values())
        self._live_gradient = jax.jit(gradient_function(flat))
        specs = [ArraySpec(a.shape, a.dtype, n) for n, a in flat.weights.items()]
        programs = {each.record.file: each.program for each in built}
        self._stored = StoredFunction(name, record, specs, programs.__getitem__)

    def check_numbers(self, expected: Sequence[Any]) -> None:
        """Refuse to compare where there is nothing but NaN and infinities."""
        floats = [a for a in expected if a.size and jnp.issubdtype(a.dtype, jnp.inexact)]
        if floats and not any(bool(jnp.isfinite(a).any()) for a in floats):
            raise ExportError(
                f"{self._name} returns no finite number for inputs drawn at random, so that nothing can be compared: "
                "give it inputs of its kind, examples=(x,)"
            )

    def compare(
        self, built: Built, sizes: Mapping[str, int], inputs: list[Any], expected: list[Any]
    ) -> None:
        """Run one program, and hold it to the function or to its derivative."""
        at = " and ".join(f"{k}={n}" for k, n in sizes.items())
        where = f"{self._name} at {at}" if at else self._name
        gradient = self._record.gradient if built.is_gradient else None
        try:
            if gradient is None:
                names = [str(each.name) for each in self._flat.outputs]
                got = self._stored.forward.run(built.record, [*self._weights, *inputs])
                compare_outputs(where, names, got, expected)
            else:
                names = [
                    *gradient.weights,
                    *(str(self._flat.inputs[i].name) for i in gradient.inputs),
                ]
                cotangents = _cotangents([expected[i] for i in gradient.outputs])
                arrays = [*self._weights, *inputs, *cotangents]
                got = self._stored.gradient.run(built.record, arrays)
                made = self._live_gradient(*arrays)
                compare_outputs(f"the derivative of {where}", names, got, made, together=True)
        except (ExportError, ValueError, RuntimeError) as error:
            if not isinstance(error, ExportError):
                raise _unsettled(where, error) from error
            is_open = built.record.sizes is None and sizes
            raise ExportError(f"{error}{_BRANCH if is_open else ''}") from None


def _unsettled(where: str, error: Exception) -> ExportError:
    """Say that XLA refused a program that could be traced, and in which words."""
    cause = str(error.__cause__ or error).strip().splitlines()[0]
    return ExportError(
        f"XLA does not run the program of {where}: {cause}\n"
        "Where that is for a length that was left open, write programs of fixed lengths: symbolic=False with "
        "sizes=[{'batch': 1}, {'batch': 32}]"
    )


def _cotangents(outputs: Sequence[Any]) -> list[Any]:
    rng = np.random.default_rng(1)
    return [jnp.asarray(rng.standard_normal(a.shape), a.dtype) for a in outputs]
