"""What functions ask of the mesh on which an array lies, and operations that JAX cannot place there by itself.

An array's type names its mesh. Where XLA decides how arrays are spread, the type says no more: `devices_of`.

On a mesh with explicit axes, JAX's default kind, it also says how the array is spread, and an operation whose
result could be spread in several ways raises. Who writes it inside `let_xla_place` leaves that choice to XLA. Inside
`jax.shard_map` a type says over which devices an array varies. What a loop carries must keep one type from start to
end.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet.core.aliases import Array
from funcnet.core.jax_internals.varying_axes import varying_axes

__all__ = [
    "devices_of",
    "let_xla_place",
    "let_xla_place_each",
    "on_mesh_of",
    "spread_like",
    "varying_like",
]


def devices_of(array: Any) -> int:
    """Return over how many devices XLA may spread an array: those of its mesh, 1 if it lies on none.

    Inside `jax.shard_map` an array is what one device holds. What is read here chooses among forms of one
    result: which of them XLA shares out among devices.

    Example:
        >>> devices_of(jnp.ones(3))
        1
    """
    mesh = getattr(getattr(jax.typeof(array), "sharding", None), "mesh", None)
    if mesh is None or not mesh.axis_names:
        return 1
    kinds = zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    return math.prod(size for size, kind in kinds if kind is not AxisType.Manual)


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
    kept = tuple(range(kept)) if isinstance(kept, int) else kept
    spec = () if found[0] is None else (found[0].spec[axis] for axis in kept)
    placed = jax.sharding.auto_axes(
        function, axes=_explicit_axes(mesh), out_sharding=NamedSharding(mesh, PartitionSpec(*spec))
    )
    return placed(*arrays)


def let_xla_place_each(
    function: Callable[..., dict[str, Array]], arrays: Mapping[str, Array], *more: Any
) -> dict[str, Array]:
    """Call a function as `let_xla_place` does, which makes an array for each that it is given by name.

    Args:
        function: of the arrays and what else there is. What it returns has their names and shapes, and is spread as
            they are.
        arrays: by name.
        *more: other trees of arrays.

    Example:
        >>> flipped = let_xla_place_each(lambda arrays: {"a": arrays["a"][::-1]}, {"a": jnp.arange(3)})
        >>> flipped["a"].tolist()
        [2, 1, 0]
    """
    found = {name: _explicit_sharding(array) for name, array in arrays.items()}
    mesh = next((sharding.mesh for sharding in found.values() if sharding is not None), None)
    if mesh is None:
        return function(arrays, *more)
    where = {name: one or NamedSharding(mesh, PartitionSpec()) for name, one in found.items()}
    placed = jax.sharding.auto_axes(function, axes=_explicit_axes(mesh), out_sharding=where)
    # Outside of jit, constants would lie on one device, as would all if no array were used.
    return jax.jit(placed, keep_unused=True)(dict(arrays), *more)


def _explicit_axes(mesh: Any) -> tuple[str, ...]:
    types = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, kind in types if kind is AxisType.Explicit)


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


def varying_like(constant: Any, array: Array) -> Any:
    """Let a constant vary over the devices over which an array does, inside `jax.shard_map`.

    JAX does so wherever the two meet, except of constants of functions that it calls by another name, as
    `jax.lax.custom_linear_solve` does: since 0.12 it then does it twice, and raises.

    Args:
        constant: an array of JAX or of NumPy.
        array: what it will meet.

    Example:
        >>> varying_like(np.ones(2), jnp.ones(3)).tolist()
        [1.0, 1.0]
    """
    axes = tuple(varying_axes(array) - varying_axes(constant))
    return jax.lax.pcast(constant, axes, to="varying") if axes else constant


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
