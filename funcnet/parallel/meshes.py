"""Meshes: the devices of all processes as a grid whose axes have names."""

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

__all__ = ["mesh"]


def mesh(*, explicit: bool = False, devices: Sequence[Any] | None = None, **axes: int) -> Mesh:
    """Arrange devices in a grid with named axes.

    Axes are automatic: XLA decides how values within a computation are spread, from how its arguments
    are and from the rules of `shard`, so that every layer works. With ``explicit=True`` an array's type
    says how it is spread (``jax.make_mesh``'s default), and layers that cannot tell raise.

    Args:
        explicit: whether axes are explicit.
        devices: which devices; all of all processes by default.
        **axes: sizes by name, outermost first, such as ``data=-1, model=2``. One may be -1: what is left.

    Returns:
        A ``jax.sharding.Mesh``. Devices that communicate most should share the last axis: neighbours in it
        are neighbours in the machine.

    Raises:
        ValueError: no axis, sizes that the number of devices does not divide into, or more than one -1.

    Example:
        >>> fn.parallel.mesh(data=-1).axis_names
        ('data',)

    Reference: https://docs.jax.dev/en/latest/notebooks/explicit-sharding.html
    """
    found = jax.devices() if devices is None else devices
    sizes = _filled(axes, len(found))
    kind = AxisType.Explicit if explicit else AxisType.Auto
    return jax.make_mesh(sizes, tuple(axes), (kind,) * len(axes), devices=found)


def _filled(axes: dict[str, int], count: int) -> tuple[int, ...]:
    """Return the sizes with -1 replaced by what is left of the devices."""
    asked = ", ".join(f"{name}={size}" for name, size in axes.items())
    if not axes:
        raise ValueError("a mesh needs an axis: write parallel.mesh(data=-1)")
    unknown = [name for name, size in axes.items() if size == -1]
    if len(unknown) > 1:
        raise ValueError(f"only one axis of a mesh may be -1 (what is left); got {asked}")
    wrong = [size for size in axes.values() if size != -1 and (size < 1 or size != int(size))]
    known = math.prod(size for size in axes.values() if size != -1)
    if wrong or (count % known if unknown else known != count):
        raise ValueError(
            f"a mesh of {asked} does not fit {count} device{'s' * (count != 1)}: the product of its axes has to be "
            f"{count}, and one may be -1. Fewer devices: devices=jax.devices()[:n]; simulated ones on CPU: "
            "JAX_NUM_CPU_DEVICES=4 before Python starts"
        )
    return tuple(count // known if size == -1 else size for size in axes.values())
