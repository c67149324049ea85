"""One function on its way into an artifact: traced, lowered, run and compared."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax

from funcnet.core.aliases import Params, State
from funcnet.core.errors import ExportError
from funcnet.export.flat import FlatFunction, flatten_entry
from funcnet.export.preflight.check import check_exportable
from funcnet.export.preflight.sites import line_of_error
from funcnet.export.programs.building import (
    Built,
    build_gradients,
    build_programs,
    gradient_record,
    has_derivative,
    is_traceable,
    possible_sizes,
    resolve_sizes,
)
from funcnet.export.programs.comparing import compare_programs
from funcnet.export.programs.verification import InputSampler
from funcnet.export.records import FunctionRecord
from funcnet.export.specs import Entry
from funcnet.export.trees import describe_tree, list_leaves

__all__ = ["ExportedFunction", "Request", "export_function"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Request:
    """How functions are exported: the arguments of `save`."""

    sizes: Sequence[Mapping[str, int]] | None = None
    symbolic: bool = True
    platforms: Sequence[str] = ("cpu",)
    differentiable: bool = False


@dataclass(frozen=True)
class ExportedFunction:
    """A function, its record in the manifest, and its programs."""

    flat: FlatFunction
    record: FunctionRecord
    built: tuple[Built, ...]


def export_function(
    name: str,
    entry: Entry,
    params: Params,
    state: State,
    request: Request,
    examples: Any = None,
) -> ExportedFunction:
    """Trace, lower, run and compare a function.

    Args:
        name: of the function.
        entry: of trees.
        params: arrays of the model.
        state: likewise.
        request: how.
        examples: inputs to compare at.

    Raises:
        ExportError: it cannot be traced or lowered, or its programs compute something else.
    """
    fixed = None if request.symbolic else _needed_sizes(request.sizes)
    flat = _told(entry, params, state, lambda: flatten_entry(entry, params, state, fixed))
    for finding in check_exportable(flat, name, "stablehlo", fixed[0] if fixed else None):
        warnings.warn(f"{name}: {finding}", stacklevel=5)
    if not has_derivative(flat):
        request = replace(request, differentiable=False)
    sizes = resolve_sizes(flat.symbols, request.sizes, request.symbolic)
    sizes = possible_sizes(flat, sizes, asked=request.sizes is not None)
    built = _told(entry, params, state, lambda: _build(name, flat, sizes, request))
    record = _recorded(flat, entry, built, request.differentiable)
    sampler = InputSampler(flat.inputs, _examples(name, record, examples))
    programs = compare_programs(name, flat, record, built, sizes, sampler)
    _warn_of_unchecked(name, programs)
    return ExportedFunction(flat, replace_programs(record, programs), programs)


def _warn_of_unchecked(name: str, programs: Sequence[Built]) -> None:
    """Say which programs no device here could run."""
    unchecked = sorted({each.record.platform for each in programs if not each.record.checked})
    if unchecked:
        warnings.warn(
            f"the programs of {name} for {', '.join(unchecked)} were not run: there is no such device here. Save it on "
            "one, or run and compare it there before it is relied on",
            stacklevel=6,
        )


def _needed_sizes(sizes: Sequence[Mapping[str, int]] | None) -> Sequence[Mapping[str, int]]:
    if not sizes:
        raise ValueError("symbolic=False needs sizes, such as sizes=[{'batch': 1}, {'batch': 32}]")
    return sizes


def _told(entry: Entry, params: Params, state: State, do: Callable[[], _T]) -> _T:
    """Do something with symbols, and say so where only symbols are in its way."""
    try:
        return do()
    except ExportError:
        raise
    except Exception as error:
        if not is_traceable(entry, params, state):
            raise
        line = line_of_error(error)
        raise ExportError(
            f"the function cannot be traced with lengths left open{f', at {line}' if line else ''}: "
            f"{str(error).strip().splitlines()[0]}\n"
            "Write it so that it does not depend on their numbers, or give them: symbolic=False with "
            "sizes=[{'batch': 1}, {'batch': 32}] writes programs of these sizes alone, "
            "and spec((32, 3)) one of fixed lengths"
        ) from error


def _build(
    name: str, flat: FlatFunction, sizes: Sequence[Mapping[str, int] | None], request: Request
) -> list[Built]:
    made = build_programs(name, flat, sizes, request.platforms)
    if request.differentiable:
        made += build_gradients(name, flat, sizes, request.platforms)
    return made


def _recorded(
    flat: FlatFunction, entry: Entry, built: Sequence[Built], differentiable: bool
) -> FunctionRecord:
    inputs = jax.tree.unflatten(flat.inputs_tree, flat.inputs)
    outputs = jax.tree.unflatten(flat.outputs_tree, flat.outputs)
    made = FunctionRecord(
        weights=tuple(flat.weights),
        trainable=flat.trainable,
        inputs=flat.inputs,
        outputs=flat.outputs,
        symbols=flat.symbols,
        inputs_tree=describe_tree(inputs, "an input"),
        outputs_tree=describe_tree(outputs, "the output"),
        returns_state=entry.returns_state,
        programs=(),
        gradient=gradient_record(flat) if differentiable else None,
    )
    return replace_programs(made, built)


def replace_programs(record: FunctionRecord, built: Sequence[Built]) -> FunctionRecord:
    """Name these programs in a function's record."""
    programs = tuple(each.record for each in built if not each.is_gradient)
    made = replace(record, programs=programs)
    if record.gradient is None:
        return made
    gradients = tuple(each.record for each in built if each.is_gradient)
    return replace(made, gradient=replace(record.gradient, programs=gradients))


def _examples(name: str, record: FunctionRecord, examples: Any) -> list[Any] | None:
    if examples is None:
        return None
    given = tuple(examples) if isinstance(examples, list | tuple) else (examples,)

    def refuse(text: str) -> Exception:
        return TypeError(f"examples of {name}: {text}")

    return [leaf for _, leaf in list_leaves(record.inputs_tree, given, "inputs", refuse)]
