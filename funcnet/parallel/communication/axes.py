"""The mesh axes that a reduction runs over: that they exist, and that rows are spread along them."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from funcnet.core.aliases import PyTree

__all__ = [
    "MeshAxes",
    "axis_names",
    "require_bound_axis",
    "require_local",
    "require_mesh_axis",
    "spread_rows",
]

MeshAxes: TypeAlias = str | tuple[str, ...]
"""One axis of a mesh, or several that count as one."""


def axis_names(axis: MeshAxes) -> tuple[str, ...]:
    """Give one axis or several as a tuple.

    Example:
        >>> axis_names("data")
        ('data',)
    """
    return (axis,) if isinstance(axis, str) else tuple(axis)


def require_mesh_axis(mesh: Mesh, axis: MeshAxes) -> int:
    """Return the number of devices along an axis of a mesh.

    Raises:
        ValueError: the mesh has no such axis.

    Example:
        >>> require_mesh_axis(fn.parallel.mesh(data=-1), "data") == len(jax.devices())
        True
    """
    names = axis_names(axis)
    missing = [name for name in names if name not in mesh.shape]
    if missing or not names:
        raise ValueError(
            f"axis={axis!r}: the mesh has no such axis; it has {', '.join(mesh.shape)}. "
            f"Pass axis= one of them, or make the mesh with it: parallel.mesh({(*missing, 'data')[0]}=-1)"
        )
    return math.prod(mesh.shape[name] for name in names)


def spread_rows(batch: PyTree, mesh: Mesh, axis: MeshAxes) -> PyTree:
    """Spread leading axes where a mesh has explicit axes, on which `jax.shard_map` moves nothing.

    Example:
        >>> spread_rows(jnp.ones(8), fn.parallel.mesh(data=-1), "data").shape
        (8,)
    """
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    if all(types[name] is not AxisType.Explicit for name in axis_names(axis)):
        return batch
    rows = NamedSharding(mesh, PartitionSpec(axis))
    return jax.tree.map(lambda x: jax.sharding.reshard(x, rows), batch)


def require_bound_axis(function: str, axis: MeshAxes) -> int:
    """Return the number of devices along an axis, inside a function that runs on each of them.

    Args:
        function: the name of what the user called, for the message.
        axis: over which it communicates.

    Raises:
        ValueError: no device runs this for itself, so that there is nobody to communicate with.

    Example:
        >>> parts = jax.shard_map(
        ...     lambda x: x * require_bound_axis("example", "data"), mesh=fn.parallel.mesh(data=-1),
        ...     in_specs=jax.P("data"), out_specs=jax.P("data"))
        >>> int(parts(jnp.ones(len(jax.devices())))[0]) == len(jax.devices())
        True
    """
    try:
        return math.prod(lax.axis_size(name) for name in axis_names(axis))
    except NameError as error:
        raise ValueError(
            f"{function} communicates over the mesh axis {axis!r}, and is not running on each device of it: "
            "make the step with parallel.local_step(step, mesh, axis=...), or call update inside "
            "jax.shard_map over a mesh that has this axis"
        ) from error


def require_local(function: str, gradients: Sequence[Any], axis: MeshAxes) -> None:
    """Raise ``ValueError`` if JAX has added gradients up over devices before we could.

    It does so inside of a `jax.shard_map` that checks types, where parameters do not vary over the axis.

    Example:
        >>> require_local("example", [], "data")
    """
    wanted = frozenset(axis_names(axis))
    # where types are not checked, nothing is known to vary, the device's own number neither
    if not gradients or not _varies_over(lax.axis_index(axis_names(axis))):
        return
    if any(not wanted <= _varies_over(leaf) for leaf in gradients):
        raise ValueError(
            f"{function} was given gradients that are the same on all devices of {axis!r}: JAX has added them up, "
            "because the parameters do not vary over the axis. Use parallel.local_step, or write "
            f"params = jax.lax.pcast(params, {axis!r}, to='varying') before differentiating"
        )


def _varies_over(array: Any) -> frozenset[str]:
    return jax.typeof(array).manual_axis_type.varying
