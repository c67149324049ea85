"""plan: what a step needs on each device and sends between devices, before it runs."""

import re
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from funcnet.parallel.plans.collectives import find_collectives
from funcnet.parallel.plans.program_text import ProgramText
from funcnet.parallel.plans.report import Plan
from funcnet.parallel.plans.suspicions import suspicions

__all__ = ["plan"]

_GROUP = re.compile(r"(?:args\[\d+\]|kwargs\['\w+'\]|\w+)(?:\.\w+)?")


def plan(step: Callable[..., Any], *args: Any, **kwargs: Any) -> Plan:
    """Compile a step and say what it needs on each device; nothing runs, no memory is taken.

    Args:
        step: a function, or one that is jitted: what that donates is donated.
        *args: its arguments: arrays, or ``jax.ShapeDtypeStruct`` with shardings, in trees.
        **kwargs: likewise.

    Returns:
        The numbers; print them.

    Raises:
        TypeError: ``step`` cannot be called.

    Example:
        >>> step = jax.jit(lambda weight, x: weight - 0.1 * (x.T @ x), donate_argnums=0)
        >>> x = jax.ShapeDtypeStruct((8, 4), jnp.float32)
        >>> plan = fn.parallel.plan(step, jax.ShapeDtypeStruct((4, 4), jnp.float32), x)
        >>> plan.arguments, plan.outputs, plan.aliased, len(plan.collectives)
        ({'weight': 64, 'x': 128}, 64, 64, 0)

    Reference: https://docs.jax.dev/en/latest/aot.html
    """
    if not callable(step):
        raise TypeError(f"plan needs a step, a function or a jitted one; got {type(step).__name__}")
    jitted: Any = step if hasattr(step, "lower") else jax.jit(step)
    compiled = jitted.lower(*args, **kwargs).compile()
    program = ProgramText(compiled.as_text() or "")
    mesh = _mesh_of(compiled)
    memory = compiled.memory_analysis()
    name = getattr(getattr(step, "__wrapped__", step), "__qualname__", "")
    collectives = find_collectives(program, mesh, name)
    return Plan(
        devices=program.devices,
        mesh=mesh,
        arguments=_arguments(program),
        outputs=_bytes(memory, "output_size_in_bytes"),
        aliased=_bytes(memory, "alias_size_in_bytes"),
        temporaries=_bytes(memory, "temp_size_in_bytes"),
        program=_bytes(memory, "generated_code_size_in_bytes"),
        collectives=collectives,
        warnings=suspicions(compiled, program, collectives),
        compiled=compiled,
    )


def _bytes(memory: Any, name: str) -> int:
    """Read a number of the backend's, 0 where it gives none."""
    return int(getattr(memory, name, 0) or 0)


def _mesh_of(compiled: Any) -> Mesh | None:
    """Find the mesh over which arguments, or else results, are spread."""
    for tree in (compiled.input_shardings, compiled.output_shardings):
        for sharding in jax.tree.leaves(tree):
            if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
                return sharding.mesh if isinstance(sharding.mesh, Mesh) else None
    return None


def _arguments(program: ProgramText) -> dict[str, int]:
    """Add up the bytes of arguments by name; those that the step does not use are not there."""
    sizes: dict[str, int] = {}
    for parameter in program.parameters():
        found = _GROUP.match(parameter.attribute("op_name"))
        name = found[0] if found else "other"
        sizes[name] = sizes.get(name, 0) + sum(array.nbytes for array in parameter.arrays)
    return sizes
