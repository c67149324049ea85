"""How arrays are spread over devices: the few lines that every use of a sharding needs."""

from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding

from funcnet.core.aliases import PyTree

__all__ = ["bytes_per_device", "constrained", "gathered", "leaf_constrained", "put_on"]


def constrained(array: Any, sharding: NamedSharding) -> Any:
    """Have an array spread as a sharding says, whether it is traced or not.

    Nothing is done to what is no array; nor inside `jax.shard_map`, where an array is one device's part, unless only
    other axes of the mesh are divided by it.

    Args:
        array: or any other value.
        sharding: on a mesh with automatic or explicit axes.

    Example:
        >>> from funcnet.core.shardings import constrained
        >>> sharding = jax.sharding.NamedSharding(fn.parallel.mesh(data=-1), jax.sharding.PartitionSpec())
        >>> constrained(jnp.ones(3), sharding).sharding == sharding
        True
    """
    if not isinstance(array, jax.Array) or _in_parts(sharding):
        return array
    if not isinstance(array, jax.core.Tracer):
        if array.sharding.is_equivalent_to(sharding, array.ndim):
            return array
        return put_on(array, sharding)
    around = jax.sharding.get_abstract_mesh()
    if around.manual_axes:
        # the mesh as `jax.shard_map` leaves it: arrays whose types name different meshes do not go together
        sharding = NamedSharding(around, sharding.spec)
    if AxisType.Explicit in sharding.mesh.axis_types:
        return jax.sharding.reshard(array, sharding)
    return jax.lax.with_sharding_constraint(array, sharding)


def put_on(array: Any, sharding: NamedSharding) -> jax.Array:
    """Put an array where a sharding says, also on devices of other processes, which all hold the same array.

    Args:
        array: on devices of this process, or spread over those of several already.
        sharding: where it goes.

    Example:
        >>> from funcnet.core.shardings import put_on
        >>> sharding = jax.sharding.NamedSharding(fn.parallel.mesh(data=-1), jax.sharding.PartitionSpec())
        >>> put_on(jax.random.key(0), sharding).sharding == sharding
        True
    """
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    if not getattr(array, "is_fully_addressable", True):
        # device_put has no way for keys that lie on several processes already
        if is_key:
            return jax.jit(_unchanged, out_shardings=sharding)(array)
        return jax.device_put(array, sharding)
    # what is committed to one process's devices, and keys, JAX does not put on those of others
    if is_key:
        numbers = put_on(jax.random.key_data(array), sharding)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(array))
    return jax.device_put(np.asarray(array), sharding)


def _unchanged(array: Any) -> Any:
    return array


def _in_parts(sharding: NamedSharding) -> bool:
    """Say whether `jax.shard_map` divides an axis that a sharding names, or all of the mesh."""
    manual = set(jax.sharding.get_abstract_mesh().manual_axes)
    entries = (entry if isinstance(entry, tuple) else (entry,) for entry in sharding.spec)
    named = {name for entry in entries for name in entry}
    return bool(manual & named) or (bool(manual) and manual.issuperset(sharding.mesh.axis_names))


def leaf_constrained(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Have every array of a tree spread alike.

    Example:
        >>> from funcnet.core.shardings import leaf_constrained
        >>> whole = jax.sharding.NamedSharding(fn.parallel.mesh(data=-1), jax.sharding.PartitionSpec())
        >>> leaf_constrained({"a": jnp.ones(3)}, whole)["a"].sharding.is_fully_replicated
        True
    """
    return jax.tree.map(lambda leaf: constrained(leaf, sharding), tree)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _gathered(array: Any, stored: NamedSharding, whole: NamedSharding) -> Any:
    return constrained(array, whole)


@_gathered.defjvp
def _gathered_jvp(
    stored: NamedSharding, whole: NamedSharding, primals: tuple[Any], tangents: tuple[Any]
) -> tuple[Any, Any]:
    # The transpose of the second constraint spreads the gradient as the array is stored. Were it the transpose
    # of the first, every device would hold the whole gradient.
    return constrained(primals[0], whole), constrained(tangents[0], stored)


def gathered(array: Any, stored: NamedSharding, whole: NamedSharding) -> Any:
    """Gather an array that is stored in parts; its gradient comes back in parts.

    Args:
        array: spread as ``stored`` says.
        stored: how it is kept, and how its gradient is.
        whole: how the computation takes it.

    Example:
        >>> from funcnet.core.shardings import gathered
        >>> mesh, spec = fn.parallel.mesh(data=-1), jax.sharding.PartitionSpec
        >>> parts, whole = (jax.sharding.NamedSharding(mesh, spec(*axes)) for axes in (("data",), ()))
        >>> gathered(jax.device_put(jnp.ones(8), parts), parts, whole).sharding.is_fully_replicated
        True
    """
    if not isinstance(array, jax.Array) or not jnp.issubdtype(array.dtype, jnp.inexact):
        return constrained(array, whole)
    return _gathered(array, stored, whole)


def bytes_per_device(shape: tuple[int, ...], dtype: Any, sharding: NamedSharding) -> int:
    """Return how many bytes of an array a device holds.

    Example:
        >>> from funcnet.core.shardings import bytes_per_device
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        >>> bytes_per_device((8, 2), jnp.float32, sharding) == 64 // mesh.size
        True
    """
    part = sharding.shard_shape(shape)
    size = 1
    for length in part:
        size *= length
    return size * jnp.dtype(dtype).itemsize
