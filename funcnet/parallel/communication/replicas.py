"""Replicas of a run: one for each device, of which each may differ from the others."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import at_least_float32, is_float
from funcnet.core.keys import is_key
from funcnet.parallel.communication.axes import MeshAxes, axis_names, require_mesh_axis

__all__ = ["make_replicas", "merge_replicas"]


def make_replicas(run: PyTree, mesh: Mesh, axis: MeshAxes = "data") -> PyTree:
    """Make one replica of a run for each device of a mesh axis, for `local_step`.

    Each array gets a leading axis of replicas, which is spread over the devices: a device holds its own
    replica and no other, as much as it would hold of a run that is whole everywhere. Random keys are
    folded with the replica's number, so that replicas draw different numbers.

    Saved and loaded as any tree, with ``like=`` the replicas of a new run, training goes on exactly. With another
    number of devices, make replicas of what `merge_replicas` returns.

    Args:
        run: params, optimizer state and whatever else a step changes, such as a `TrainState`.
        mesh: the devices.
        axis: the mesh axis, or several. What is spread over others stays so.

    Returns:
        A tree of the same structure.

    Raises:
        ValueError: the mesh has no such axis.

    Example:
        >>> replicas = fn.parallel.make_replicas({"w": jnp.ones(3)}, fn.parallel.mesh(data=-1))
        >>> replicas["w"].shape == (len(jax.devices()), 3)
        True
    """
    count = require_mesh_axis(mesh, axis)
    run = jax.tree.map(lambda x: x if isinstance(x, jax.Array) else jnp.asarray(x), run)
    shardings = jax.tree.map(lambda x: _spread(x, mesh, axis), run)

    def copies(leaf: Array) -> Array:
        if is_key(leaf):
            return jax.vmap(lambda i: jax.random.fold_in(leaf, i))(jnp.arange(count))
        return jnp.broadcast_to(leaf[None], (count, *leaf.shape))

    return jax.jit(lambda run: jax.tree.map(copies, run), out_shardings=shardings)(run)


def merge_replicas(replicas: PyTree) -> PyTree:
    """Make one run of its replicas: floats are averaged, of integers the largest is taken.

    What is the same in all replicas stays exactly as it is. Of random keys the first replica's is taken.

    Args:
        replicas: from `make_replicas`, or of a step made by `local_step`.

    Returns:
        A run without the axis of replicas, to evaluate, to save, or to make replicas of for another mesh.

    Example:
        >>> fn.parallel.merge_replicas({"w": jnp.array([[1.0, 2.0], [3.0, 2.0]])})["w"].tolist()
        [2.0, 2.0]
    """
    return jax.jit(lambda tree: jax.tree.map(_merged, tree))(replicas)


def _merged(leaf: Array) -> Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf[0]
    if not is_float(leaf, complex=True):
        return leaf.max(0)
    mean = leaf.astype(at_least_float32(leaf.dtype)).mean(0).astype(leaf.dtype)
    return jnp.where((leaf == leaf[:1]).all(0), leaf[0], mean)


def _spread(leaf: Array, mesh: Mesh, axis: MeshAxes) -> NamedSharding:
    """Spread replicas over one axis of the mesh, and each over others as it was."""
    own: list[Any] = []
    sharding = getattr(leaf, "sharding", None)
    if isinstance(sharding, NamedSharding) and sharding.mesh == mesh:
        own = [_without(entry, axis_names(axis)) for entry in sharding.spec]
    return NamedSharding(mesh, PartitionSpec(axis, *own))


def _without(entry: Any, taken: tuple[str, ...]) -> Any:
    names = (entry,) if isinstance(entry, str) else tuple(entry or ())
    return tuple(name for name in names if name not in taken) or None
