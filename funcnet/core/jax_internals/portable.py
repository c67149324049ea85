"""Programs in portable StableHLO: written for runtimes that are older or newer, and called again.

Why: `jax.export`'s own files expire after six months, and older JAX refuses newer ones. The StableHLO in them does
not: OpenXLA promises five years. So the program alone is stored, serialized for a version of StableHLO
(`jax.extend.mlir`), and handed to the JAX at hand in an `Exported` of its own making.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.extend import mlir
from jax.interpreters import mlir as lowering

__all__ = ["as_exported", "portable_text", "to_portable"]

_VERSION = "1.13.0"
"""Of StableHLO: the oldest runtime that was tried takes it, and JAX 0.12 can still write it."""


def to_portable(text: str, version: str = _VERSION) -> bytes:
    """Serialize a module's text for that version of StableHLO, without names of files and lines.

    >>> from funcnet.core.jax_internals.portable import to_portable
    >>> b"StableHLO_v1.13" in to_portable(jax.jit(jnp.sin).lower(1.0).as_text())
    True
    """
    with lowering.make_ir_context():
        module = lowering.ir.Module.parse(text)
        bare: Any = module.operation.get_asm(enable_debug_info=False)
        return mlir.serialize_portable_artifact(lowering.ir.Module.parse(bare), version)


def portable_text(program: bytes) -> str:
    """Read a serialized program as text."""
    with lowering.make_ir_context():
        return mlir.deserialize_portable_artifact(program)


def as_exported(
    program: bytes, inputs: Sequence[Any], outputs: Sequence[Any], platform: str
) -> jax.export.Exported:
    """Make what `jax.export` would have read from a file of its own.

    Args:
        program: a module that takes all of ``inputs``, in portable StableHLO.
        inputs: shapes and dtypes; symbolic lengths in one scope.
        outputs: likewise, in the same scope.
        platform: that it was lowered for.
    """
    shapes = [tuple(each.shape) for each in outputs]

    def stand_in(*_: Any) -> list[Any]:
        return [jax.numpy.zeros(s, o.dtype) for s, o in zip(shapes, outputs, strict=True)]

    made = jax.export.export(jax.jit(stand_in, keep_unused=True), platforms=[platform])(*inputs)
    return dataclasses.replace(made, mlir_module_serialized=program)
