"""Each program's main against the arrays that the manifest says it takes and returns."""

from collections.abc import Mapping, Sequence

import numpy as np

from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.portable import read_signature
from funcnet.export.lengths import evaluate_length, symbols_of
from funcnet.export.records import FunctionRecord, ProgramRecord, dtype_name
from funcnet.export.specs import ArraySpec

__all__ = ["check_programs"]

_ELEMENTS = {
    "BOOL": "i1",
    **{f"I{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"ui{bits}" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"f{bits}" for bits in (16, 32, 64)},
    "BF16": "bf16",
    "C64": "complex<f32>",
    "F8_E4M3": "f8E4M3FN",
    "F8_E4M3FNUZ": "f8E4M3FNUZ",
    "F8_E5M2": "f8E5M2",
    "F8_E5M2FNUZ": "f8E5M2FNUZ",
    "F8_E8M0": "f8E8M0FNU",
}
"""What StableHLO calls the dtypes."""

_LIBRARIES = (
    "lapack_",
    "cusolver_",
    "cublas_",
    "hipsolver_",
    "cu_threefry2x32",
    "hip_threefry2x32",
)
"""Whose custom calls JAX promises to keep, and which take arrays alone."""

_Array = tuple[str, tuple[int | None, ...]]


def check_programs(
    name: str,
    function: FunctionRecord,
    weights: Mapping[str, np.ndarray],
    programs: Mapping[str, memoryview],
) -> None:
    """Hold each program of a function to the arrays that the manifest says it takes and returns.

    Raises:
        ExportError: a program is none, or takes or returns something else.
    """
    unknown = [each for each in function.weights if each not in weights]
    if unknown:
        raise ExportError(f"{name} takes weights that are not there: {', '.join(unknown[:8])}")
    own = {each: ArraySpec(weights[each].shape, weights[each].dtype) for each in function.weights}
    takes = [*own.values(), *function.inputs]
    for program in function.programs:
        _check_program(program, programs[program.file], takes, function.outputs)
    gradient = function.gradient
    if gradient is not None:
        takes += [function.outputs[i] for i in gradient.outputs]
        made = [own[each] for each in gradient.weights]
        made += [function.inputs[i] for i in gradient.inputs]
        for program in gradient.programs:
            _check_program(program, programs[program.file], takes, made)


def _check_program(
    record: ProgramRecord,
    program: memoryview,
    takes: Sequence[ArraySpec],
    returns: Sequence[ArraySpec],
) -> None:
    try:
        signature = read_signature(bytes(program))
    except ValueError as error:
        raise ExportError(f"{record.file}: {error}") from None
    _check_calls(record, signature.calls)
    pairs = (("takes", signature.inputs, takes), ("returns", signature.outputs, returns))
    for verb, found, expected in pairs:
        told = [_array(each, record.sizes) for each in expected]
        if list(found) != told:
            differing = [
                i for i, pair in enumerate(zip(found, told, strict=False)) if pair[0] != pair[1]
            ]
            place = differing[0] if differing else min(len(found), len(told))
            raise ExportError(
                f"{record.file} {verb} {len(found)} arrays, the manifest says {len(told)}; the first that differs is "
                f"number {place}: {_shown(found, place)} instead of {_shown(told, place)}"
            )


def _check_calls(record: ProgramRecord, calls: Sequence[str]) -> None:
    """Refuse what is outside of StableHLO, but for libraries that JAX brings along: a call may be of any code."""
    unknown = [name for name in calls if not name.startswith(_LIBRARIES)]
    if unknown or (calls and record.portable):
        raise ExportError(
            f"{record.file} calls code outside of StableHLO: {', '.join(calls)[:200]}"
        )


def _array(spec: ArraySpec, sizes: Mapping[str, int] | None) -> _Array:
    lengths = tuple(
        evaluate_length(n, sizes or {}) if sizes is not None or not symbols_of([n]) else None
        for n in spec.shape
    )
    return _ELEMENTS[dtype_name(spec.dtype, str(spec.name))], lengths


def _shown(arrays: Sequence[_Array], place: int) -> str:
    if place >= len(arrays):
        return "nothing"
    element, lengths = arrays[place]
    return f"{element}[{', '.join('?' if n is None else str(n) for n in lengths)}]"
