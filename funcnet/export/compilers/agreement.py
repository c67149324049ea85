"""Runs what was made beside the function itself, and says how far they differ."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from funcnet.export.compilers.staging import Case, Staged, run_cases
from funcnet.export.programs.verification import (
    InputSampler,
    compare_outputs,
    run_at_sizes,
    sizes_to_compare,
)

__all__ = ["CompilerReport", "compared"]


@dataclass(frozen=True)
class Compared:
    """One comparison: of which signature, at which sizes of open lengths, and the largest relative difference."""

    function: str
    sizes: Mapping[str, int]
    error: float


@dataclass(frozen=True)
class CompilerReport:
    """What was written.

    Attributes:
        path: the file or folder.
        bytes: of all of it.
        checks: every comparison with the function itself; empty with ``verify=False``.
    """

    path: Path
    bytes: int
    checks: tuple[Compared, ...]

    @property
    def error(self) -> float | None:
        """The largest difference relative to the largest output; None if nothing was compared."""
        return max((each.error for each in self.checks), default=None)

    def __str__(self) -> str:
        """Say it in a few lines."""
        lines = [f"{self.path}: {self.bytes:,} bytes"]
        for check in self.checks:
            sizes = ", ".join(f"{name} = {size}" for name, size in check.sizes.items())
            lines.append(
                f"  {check.function}{f' at {sizes}' if sizes else ''}: differs by {check.error:.1e}"
            )
        return "\n".join(lines)


def compared(
    task: str,
    model: Path,
    functions: Sequence[Staged],
    examples: Mapping[str, Any],
    what: str,
    exact: bool = True,
) -> tuple[Compared, ...]:
    """Run a model in a process of its own and compare.

    Args:
        task: of `child`, that runs it.
        model: the file or folder.
        functions: its signatures.
        examples: by signature, a tuple of inputs to compare at; where there is none, random ones are drawn.
        what: it is, for messages.
        exact: whether a difference is an error; else it is only measured, as for weights of fewer bits.

    Raises:
        ExportError: it does not compute what the function does.
    """
    cases = [case for each in functions for case in _cases(each, examples.get(each.name))]
    with tempfile.TemporaryDirectory() as folder:
        outputs = run_cases(Path(folder), task, model, cases, f"running {what}")
    found = []
    for case, got in zip(cases, outputs, strict=True):
        name = case.function.name
        at = ", ".join(f"{symbol} = {size}" for symbol, size in case.sizes.items())
        names = [str(each.name) for each in case.function.flat.outputs]
        if exact:
            compare_outputs(f"{what}, {name}{f' at {at}' if at else ''},", names, got, case.outputs)
        found.append(Compared(name, case.sizes, _error(got, case.outputs)))
    return tuple(found)


def _cases(staged: Staged, examples: Any) -> list[Case]:
    flat = staged.flat
    leaves = None if examples is None else jax.tree.leaves(examples)
    sampler = InputSampler(flat.inputs, leaves)
    asked = _sizes(flat.symbols) if staged.sizes is None else [staged.sizes]
    fixed = [] if staged.sizes is None else asked
    return [
        Case(staged, sizes, inputs, outputs)
        for sizes, inputs, outputs in run_at_sizes(flat, sampler, asked, fixed)
    ]


def _sizes(symbols: Sequence[str]) -> list[Mapping[str, int]]:
    """At 1, an odd and an even size, and 32 of a lone symbol."""
    larger = [{symbols[0]: 32}] if len(symbols) == 1 else []
    return [*sizes_to_compare(symbols, [None]), *larger]


def _error(got: Sequence[np.ndarray], expected: Sequence[Any]) -> float:
    return max((_difference(*pair) for pair in zip(got, expected, strict=True)), default=0.0)


def _difference(got: np.ndarray, expected: Any) -> float:
    ours = np.asarray(expected)
    if ours.dtype.kind in "biu":
        return float((got != ours).any())
    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    one, other = got.astype(wide), ours.astype(wide)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    largest = np.abs(other[np.isfinite(other)]).max(initial=0.0) or 1.0
    return float(np.abs(one - other)[~same].max(initial=0.0) / largest)
