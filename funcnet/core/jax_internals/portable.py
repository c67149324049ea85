"""Programs in portable StableHLO: written for runtimes that are older or newer, and called again.

Why: `jax.export`'s own files expire after six months, and older JAX refuses newer ones. The StableHLO in them does
not: OpenXLA promises five years. So the program alone is stored, serialized for a version of StableHLO
(`jax.extend.mlir`), and handed to the JAX at hand in an `Exported` of its own making. If `Exported` no longer has
a field ``mlir_module_serialized``, look for what its ``call`` lowers.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import mlir
from jax.interpreters import mlir as lowering

__all__ = [
    "PORTABLE_VERSION",
    "Signature",
    "foreign_calls",
    "lower_portably",
    "portable_text",
    "read_signature",
    "restored_call",
    "to_portable",
]

PORTABLE_VERSION = "1.13.0"
"""Of StableHLO: the oldest runtime that was tried takes it, and JAX 0.12 can still write it."""

_MAGIC = b"ML\xefR\rStableHLO_v"
"""How a serialized program begins: MLIR's bytecode, and who wrote it."""

_ASSERTION = "shape_assertion"
"""A custom call that holds a symbolic length to what was promised of it; JAX resolves it before anything runs."""


class Signature(NamedTuple):
    """What a program's ``main`` takes and returns: ``(element type, lengths)``, None for a length left open."""

    inputs: tuple[tuple[str, tuple[int | None, ...]], ...]
    outputs: tuple[tuple[str, tuple[int | None, ...]], ...]
    calls: tuple[str, ...] = ()
    """The names of its custom calls, which only some runtimes know."""


def lower_portably(
    function: Callable[..., Any], arguments: Sequence[Any], platform: str
) -> tuple[bytes, list[str]]:
    """Lower a function of arrays to a portable program that takes every argument, also unused ones.

    Args:
        function: of positional arrays, returning a list of arrays.
        arguments: shapes and dtypes; symbolic lengths in one scope.
        platform: for which it is lowered.

    Returns:
        The serialized program, and the names of the custom calls in it.

    Raises:
        ValueError: it calls what JAX does not promise to keep, such as Python; JAX's own errors of tracing.

    >>> from funcnet.core.jax_internals.portable import lower_portably
    >>> program, calls = lower_portably(lambda x: [x + 1], [jax.ShapeDtypeStruct((3,), jnp.float32)], "cpu")
    >>> b"StableHLO_v1.13" in program, calls
    (True, [])
    """
    jitted = jax.jit(function, keep_unused=True)
    made = jax.export.export(jitted, platforms=[platform])(*arguments)
    program = to_portable(made.mlir_module())
    return program, foreign_calls(program)


def to_portable(text: str, version: str = PORTABLE_VERSION) -> bytes:
    """Serialize a module's text for that version of StableHLO, without names of files and lines.

    >>> from funcnet.core.jax_internals.portable import to_portable
    >>> b"StableHLO_v1.13" in to_portable(jax.jit(jnp.sin).lower(1.0).as_text())
    True
    """
    with lowering.make_ir_context():
        module = lowering.ir.Module.parse(text)
        bare: Any = module.operation.get_asm(enable_debug_info=False)
        return mlir.serialize_portable_artifact(lowering.ir.Module.parse(bare), version)


def _parsed(program: bytes) -> Any:
    """Parse a serialized program within the context of the caller."""
    if not program.startswith(_MAGIC):
        raise ValueError("it is no portable StableHLO: it does not begin as such programs do")
    try:
        return mlir.deserialize_portable_artifact(program)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"it is no portable StableHLO that this JAX reads ({error})") from None


def portable_text(program: bytes) -> str:
    """Read a serialized program as text.

    >>> from funcnet.core.jax_internals.portable import portable_text, to_portable
    >>> "stablehlo.sine" in portable_text(to_portable(jax.jit(jnp.sin).lower(1.0).as_text()))
    True
    """
    with lowering.make_ir_context():
        return str(_parsed(program))


def foreign_calls(program: bytes) -> list[str]:
    """List the custom calls of a program, which only some runtimes know, each once; shape assertions are none.

    Raises:
        ValueError: the bytes are no portable program.
    """
    with lowering.make_ir_context():
        return _calls(_parsed(program))


def _calls(module: Any) -> list[str]:
    found: dict[str, None] = {}

    def visit(operation: Any) -> Any:
        if operation.name == "stablehlo.custom_call":
            found[operation.attributes["call_target_name"].value] = None
        return lowering.ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return [name for name in found if name != _ASSERTION and not name.startswith("stablehlo.")]


def read_signature(program: bytes) -> Signature:
    """Read what ``main`` of a program takes and returns.

    Raises:
        ValueError: the bytes are no portable program, or it has no ``main``.

    >>> from funcnet.core.jax_internals.portable import read_signature, to_portable
    >>> read_signature(to_portable(jax.jit(jnp.sin).lower(jnp.ones((2, 3))).as_text())).outputs
    (('f32', (2, 3)),)
    """
    with lowering.make_ir_context():
        module = _parsed(program)
        for function in module.body.operations:
            named = function.attributes
            if "function_type" in named and named["sym_name"].value == "main":
                kind = named["function_type"].value
                arrays = tuple(map(_array, kind.inputs)), tuple(map(_array, kind.results))
                return Signature(*arrays, tuple(_calls(module)))
    raise ValueError("it has no function main")


def _array(kind: Any) -> tuple[str, tuple[int | None, ...]]:
    try:
        open_axes = [kind.is_dynamic_dim(axis) for axis in range(kind.rank)]
        lengths = zip(kind.shape, open_axes, strict=True)
        return str(kind.element_type), tuple(None if is_open else n for n, is_open in lengths)
    except (AttributeError, ValueError, RuntimeError):  # a token, a tuple, an array of unknown rank
        raise ValueError(f"its main takes or returns {kind}, which is no array") from None


def restored_call(
    program: bytes,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    platform: str,
    anywhere: bool = False,
) -> Callable[..., list[Any]]:
    """Make a function of a serialized program: of all inputs, returning the list of outputs.

    It has no derivative: whoever differentiates it puts a rule around it. (`Exported` would take that of the
    stand-in that it is made of, in silence.)

    Args:
        program: a module that takes all of ``inputs``, in portable StableHLO.
        inputs: shapes and dtypes; symbolic lengths in one scope.
        outputs: likewise, in the same scope.
        platform: that it was lowered for.
        anywhere: whether it may run on other platforms.
    """
    shapes = [tuple(each.shape) for each in outputs]

    def stand_in(*_: Any) -> list[Any]:
        return [jax.numpy.zeros(s, o.dtype) for s, o in zip(shapes, outputs, strict=True)]

    checks = [jax.export.DisabledSafetyCheck.platform()] if anywhere else []
    jitted = jax.jit(stand_in, keep_unused=True)
    made = jax.export.export(jitted, platforms=[platform], disabled_checks=checks)(*inputs)
    call: Any = dataclasses.replace(made, mlir_module_serialized=program).call
    return call
