"""One function on its way into an artifact: traced, lowered, run and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from funcnet.core.aliases import Params, State
from funcnet.core.errors import ExportError
from funcnet.export.flat import FlatFunction, flatten_entry
from funcnet.export.programs.building import (
    Built,
    build_gradients,
    build_programs,
    gradient_record,
    resolve_sizes,
)
from funcnet.export.programs.calling import ProgramSet
from funcnet.export.programs.verification import (
    InputSampler,
    compare_outputs,
    run_at_sizes,
    sizes_to_compare,
)
from funcnet.export.records import FunctionRecord
from funcnet.export.specs import ArraySpec, Entry
from funcnet.export.trees import describe_tree, list_leaves

__all__ = ["ExportedFunction", "export_function"]

_BRANCH = (
    ". A branch on a length that is left open (if x.shape[0] % 2: ...) keeps one side of it: write it with jnp.where "
    "or jax.lax.cond on values, or leave no length open: spec((32, 3)) instead of spec(('batch', 3))"
)


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
    sizes: Sequence[Mapping[str, int]] | None,
    platforms: Sequence[str],
    differentiable: bool,
    examples: Any,
) -> ExportedFunction:
    """Trace, lower, run and compare a function."""
    flat = flatten_entry(entry, params, state)
    inputs_tree = describe_tree(jax.tree.unflatten(flat.inputs_tree, flat.inputs), "an input")
    outputs_tree = describe_tree(jax.tree.unflatten(flat.outputs_tree, flat.outputs), "the output")
    all_sizes = resolve_sizes(flat.symbols, sizes)
    programs = build_programs(name, flat, all_sizes, platforms)
    gradients = build_gradients(name, flat, all_sizes, platforms) if differentiable else []
    record = FunctionRecord(
        weights=tuple(flat.weights),
        trainable=flat.trainable,
        inputs=flat.inputs,
        outputs=flat.outputs,
        symbols=flat.symbols,
        inputs_tree=inputs_tree,
        outputs_tree=outputs_tree,
        returns_state=entry.returns_state,
        programs=tuple(each.record for each in programs),
    )
    if differentiable:
        made = tuple(each.record for each in gradients)
        record = replace(record, gradient=replace(gradient_record(flat), programs=made))
    sampler = InputSampler(flat.inputs, _examples(name, record, examples))
    _verify(name, flat, record, [*programs, *gradients], all_sizes, sampler)
    return ExportedFunction(flat, record, (*programs, *gradients))


def _examples(name: str, record: FunctionRecord, examples: Any) -> list[Any] | None:
    if examples is None:
        return None
    if not isinstance(examples, list | tuple):
        examples = (examples,)
    refuse = lambda text: TypeError(f"examples of {name}: {text}")  # noqa: E731
    return [leaf for _, leaf in list_leaves(record.inputs_tree, tuple(examples), "", refuse)]


def _verify(
    name: str,
    flat: FlatFunction,
    record: FunctionRecord,
    built: Sequence[Built],
    all_sizes: Sequence[Mapping[str, int] | None],
    sampler: InputSampler,
) -> None:
    """Run every program at its sizes, and compare."""
    weights = list(flat.weights.values())
    specs = [ArraySpec(a.shape, a.dtype, n) for n, a in flat.weights.items()]
    programs = {each.record.file: each.program for each in built}
    runner = ProgramSet(
        name, record.programs, programs.__getitem__, [*specs, *flat.inputs], flat.outputs
    )
    names = [str(each.name) for each in flat.outputs]
    for sizes, inputs, expected in run_at_sizes(
        flat, sampler, sizes_to_compare(flat.symbols, all_sizes), all_sizes
    ):
        for program in record.programs:
            if program.sizes is None or program.sizes == sizes:
                at = " and ".join(f"{k}={n}" for k, n in sizes.items())
                what = f"{name} at {at}" if at else name
                try:
                    got = runner.restored(program)(*weights, *inputs)
                    compare_outputs(what, names, got, expected)
                except ExportError as error:
                    raise ExportError(
                        f"{error}{_BRANCH if program.sizes is None and sizes else ''}"
                    ) from None
