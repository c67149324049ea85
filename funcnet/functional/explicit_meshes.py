"""Operations that JAX cannot place by itself on a mesh with explicit axes, its default kind.

There an array's type says how the array is spread over devices, and an operation whose result could be spread
in several ways raises. Who writes it inside `let_xla_place` leaves that choice to XLA.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet.core.aliases import Array

__all__ = ["let_xla_place", "spread_like"]


def _explicit_sharding(array: Any) -> Any:
    """Return how an array is spread over a mesh with explicit axes; None if it does not lie on one."""
    sharding = None if array is None else getattr(jax.typeof(array), "sharding", None)
    if sharding is None or AxisType.Explicit not in (sharding.mesh.axis_types or ()):
        return None
    return sharding


def let_xla_place(function: Callable[..., Any], *arrays: Array | None, kept: int) -> Any:
    """Call a function, and let XLA decide inside how arrays are spread over a mesh with explicit axes.

    Args:
        function: of the arrays.
        *arrays: what it is called with; some may be None.
        kept: how many leading axes its output shares with the first array: along these, it is spread as
            that one, and along no others.

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
    first = PartitionSpec() if found[0] is None else PartitionSpec(*found[0].spec[:kept])
    placed = jax.sharding.auto_axes(
        function, axes=explicit, out_sharding=NamedSharding(mesh, first)
    )
    return placed(*arrays)


def spread_like(array: Array, other: Array, axes: dict[int, int]) -> Array:
    """Spread an array over a mesh with explicit axes as another is: what a loop carries keeps one type.

    Args:
        array: made inside a function, and so on every device as a whole.
        other: an array that is spread.
        axes: for axes of the first, which axes of the other they are.

    Example:
        >>> spread_like(jnp.zeros((2, 3)), jnp.ones((5, 2, 3)), {0: 1}).shape
        (2, 3)
    """
    sharding = _explicit_sharding(other)
    if sharding is None:
        return array
    spec = [None] * array.ndim
    for own, others in axes.items():
        spec[own] = sharding.spec[others]
    return jax.sharding.reshard(array, NamedSharding(sharding.mesh, PartitionSpec(*spec)))
