"""The functions of an artifact, compiled ahead for shapes that are chosen: a call never compiles."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import numpy as np

from funcnet.export.artifact import Artifact, load
from funcnet.export.flat import structs
from funcnet.export.programs.calling import ProgramSet
from funcnet.export.records import ArtifactManifest, FunctionRecord
from funcnet.export.serving.limits import ServerLimits
from funcnet.export.serving.programs import Compiled, ServedFunction, batches_of, other_sizes
from funcnet.export.serving.signature import FunctionSignature
from funcnet.export.specs import ArraySpec

__all__: list[str] = []


def served_functions(
    path: str | os.PathLike[str], limits: ServerLimits
) -> tuple[dict[str, ServedFunction], dict[str, list[dict[str, int]]], ArtifactManifest]:
    """Load an artifact: its functions, the sizes that each is prepared for, and the manifest.

    A file of which the parser or the compiler dies ends a process apart, and is refused here.
    """
    artifact = load(path, apart=True)
    functions, sizes = {}, {}
    for name, record in artifact.manifest.functions.items():
        signature = FunctionSignature.of(name, record)
        batches = batches_of(record, signature.batch, limits.batches)
        compile_for = compiler_of(artifact, name)
        functions[name] = ServedFunction(signature, compile_for, batches, int(limits.programs))
        sizes[name] = other_sizes(record, signature.batch)
    return functions, sizes, artifact.manifest


def compiler_of(artifact: Artifact, name: str) -> Callable[[Mapping[str, int]], Compiled]:
    """Return what compiles a function for lengths; the weights lie on the device once, for all of them."""
    record = artifact.manifest.functions[name]
    stored = artifact.weights_of(record)
    specs = [ArraySpec(each.shape, each.dtype, key) for key, each in stored.items()]
    programs = ProgramSet(
        name, record.programs, artifact.program, [*specs, *record.inputs], record.outputs
    )
    flat = jax.jit(lambda weights, inputs: programs(*weights, *inputs))
    weights: list[Any] = []

    def compile_for(sizes: Mapping[str, int]) -> Compiled:
        with _widths(record, specs):
            if not weights:
                weights.extend(jax.device_put(each) for each in stored.values())
            program = flat.lower(weights, structs(record.inputs, sizes)).compile()

        def call(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            with _widths(record, specs):
                return [np.asarray(each) for each in program(weights, list(arrays))]

        return call

    return compile_for


def _widths(record: FunctionRecord, weights: Sequence[ArraySpec]) -> AbstractContextManager[Any]:
    """Let a function of 64-bit arrays have them."""
    arrays = (*record.inputs, *record.outputs, *weights)
    wide = any(np.dtype(each.dtype).name in {"int64", "uint64", "float64"} for each in arrays)
    return jax.enable_x64(True) if wide else nullcontext()
