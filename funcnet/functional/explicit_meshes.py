"""Operations that JAX cannot place by itself on a mesh with explicit axes, its default kind.

There an array's type says how the array is spread over devices, and an operation whose result could be spread
in several ways raises. Who writes it inside `let_xla_place` leaves that choice to XLA. Inside `jax.shard_map` a
type says over which devices an array varies. What a loop carries must keep one type from start to end.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet.core.aliases import Array

__all__ = ["let_xla_place", "on_mesh_of", "spread_like"]


def _explicit_sharding(array: Any) -> Any:
    """Return how an array is spread over a mesh with explicit axes; None if it does not lie on one."""
    sharding = None if array is None else getattr(jax.typeof(array), "sharding", None)
    if sharding is None or AxisType.Explicit not in (sharding.mesh.axis_types or ()):
        return None
    return sharding


def let_xla_place(function: Callable[..., Any], *arrays: Any, kept: int | tuple[int, ...]) -> Any:
    """Call a function, and let XLA decide inside how arrays are spread over a mesh with explicit axes.

    Args:
        function: of the arrays.
        *arrays: what it is called with; some may be None.
        kept: how many leading axes its output shares with the first array, or which axes of that one its
            leading axes are: along these it is spread as that one, and along no others.

    Example:
        >>> let_xla_place(lambda x: x.reshape(4, 6), jnp.ones((4, 2, 3)), kept=1).shape
        (4, 6)
    """
    found = [_explicit_sharding(array) for array in arrays]
    mesh = next((sharding.mesh for sharding in found if sharding is not None), None)
    if mesh is None:
        return function(*arrays)
    types = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = tuple(name for name, kind in types if kind is AxisType.Explicit)
    kept = tuple(range(kept)) if isinstance(kept, int) else kept
    spec = () if found[0] is None else (found[0].spec[axis] for axis in kept)
    placed = jax.sharding.auto_axes(
        function, axes=explicit, out_sharding=NamedSharding(mesh, PartitionSpec(*spec))
    )
    return placed(*arrays)


def spread_like(array: Array, other: Array, axes: dict[int, int] | None = None) -> Array:
    """Spread an array over devices as another is: what a loop carries keeps one type.

    On a mesh with explicit axes that is along the axes named; inside `jax.shard_map`, where an array varies over
    devices or does not, it varies wherever the other does.

    Args:
        array: made inside a function, and so the same on every device.
        other: an array that is spread.
        axes: for axes of the first, which axes of the other they are, both rising.

    Example:
        >>> spread_like(jnp.zeros((2, 3)), jnp.ones((5, 2, 3)), {0: 1}).shape
        (2, 3)
    """
    manual = jax.sharding.get_abstract_mesh().manual_axes
    if not manual and _explicit_sharding(other) is None:
        return array
    axes = axes or {}
    summed = [axis + 1 for axis in range(other.ndim) if axis not in axes.values()]
    # A sum of nothing has the type that is wanted, and is zero whatever the other holds.
    nothing = jnp.sum(other[None][:0], (0, *summed)).astype(array.dtype)
    return array + jnp.expand_dims(nothing, [n for n in range(array.ndim) if n not in axes])


def on_mesh_of(array: Array, other: Array) -> Array:
    """Put an array on another's mesh with explicit axes, spread as it is already, or not at all.

    Inside of a loop this says how to spread the sum of the array's gradients, which JAX does not always know.

    Args:
        array: a weight, say.
        other: an array that is spread.

    Example:
        >>> on_mesh_of(jnp.ones((2, 3)), jnp.ones((5, 2))).shape
        (2, 3)
    """
    sharding = _explicit_sharding(other)
    if sharding is None:
        return array
    own = _explicit_sharding(array)
    spec = PartitionSpec() if own is None else own.spec
    return jax.sharding.reshard(array, NamedSharding(sharding.mesh, spec))
