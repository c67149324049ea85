"""A training step that each device runs for itself, on its own replica and its own rows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from funcnet.core.aliases import Array, PyTree
from funcnet.core.paths import leaves_with_paths
from funcnet.parallel.communication.averages import average_aux
from funcnet.parallel.communication.axes import MeshAxes, axis_names, require_mesh_axis, spread_rows
from funcnet.parallel.communication.reduced_gradient import check_rows

__all__ = ["local_step"]


def local_step(
    step: Callable[..., tuple[Any, Any]],
    mesh: Mesh,
    axis: MeshAxes = "data",
    weight: Callable[..., Any] | None = None,
) -> Callable[..., tuple[Any, Any]]:
    """Turn a step for one device into one that each device runs on its own rows of the batch.

    Nothing is communicated for the step itself: what devices tell each other is up to its optimizer, which is one of
    ``chain(average_gradients(), …)`` (as data-parallel training), ``chain(powersgd(), …)`` or
    `diloco`. Without any of them each device trains a model of its own.

    Args:
        step: ``step(run, *batch) -> (run, metrics)``, such as `training.make_train_step` returns. Inside it
            ``axis`` is a name that collectives know.
        mesh: the devices.
        axis: the mesh axis over which rows are spread, or several. Other axes are left to XLA.
        weight: ``weight(*batch)`` is how many rows of a device's part are real, for metrics.

    Returns:
        A step of the same arguments, to be jitted, donating the first: the run is what `make_replicas`
        makes of it; metrics, which are means over rows, are averaged.

    Raises:
        ValueError: the mesh has no such axis; the run has no axis of replicas; devices do not divide
            the rows of the batch.
        TypeError: a metric is an integer.

    Example:
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> optimizer = optim.chain(fn.parallel.average_gradients(), optim.sgd(0.125))
        >>> def step(run, batch):
        ...     params, state = run
        ...     loss, grads = jax.value_and_grad(lambda p: jnp.mean((batch @ p) ** 2))(params)
        ...     updates, state = optimizer.update(grads, state, params)
        ...     return (optim.apply_updates(params, updates), state), {"loss": loss}
        >>> params = jnp.ones(2)
        >>> run = fn.parallel.make_replicas((params, optimizer.init(params)), mesh)
        >>> step = jax.jit(fn.parallel.local_step(step, mesh), donate_argnums=0)
        >>> run, metrics = step(run, jnp.ones((8, 2)))
        >>> float(metrics["loss"]), fn.parallel.merge_replicas(run)[0].tolist()
        (4.0, [0.5, 0.5])

    Reference: `diloco`, `powersgd`
    """
    count = require_mesh_axis(mesh, axis)

    def on_one_device(replica: PyTree, batch: tuple[Any, ...]) -> tuple[Any, Any]:
        run, metrics = step(jax.tree.map(lambda x: x[0], replica), *batch)
        share: Array | float = 1 / count
        if weight is not None:
            own = jnp.asarray(weight(*batch)).astype(float)
            share = own / lax.psum(own, axis)
        metrics = average_aux(metrics, axis, share, "metrics")
        return jax.tree.map(lambda x: x[None], run), metrics

    # without types that say what varies: see `reduced_value_and_grad`
    mapped = jax.shard_map(
        on_one_device,
        mesh=mesh,
        in_specs=PartitionSpec(axis),
        out_specs=(PartitionSpec(axis), PartitionSpec()),
        axis_names=set(axis_names(axis)),
        check_vma=False,
    )

    def on_all_devices(replicas: PyTree, *batch: Any) -> tuple[Any, Any]:
        _check_replicas(replicas, count)
        check_rows("the batch", batch, count)
        return mapped(replicas, spread_rows(batch, mesh, axis))

    return on_all_devices


def _check_replicas(replicas: PyTree, count: int) -> None:
    for path, leaf in leaves_with_paths(replicas):
        shape = jnp.shape(leaf)
        if not shape or shape[0] != count:
            raise ValueError(
                f"local_step takes replicas of a run, whose arrays have a leading axis of {count}; {path or 'the run'} "
                f"has shape {shape}. Write run = parallel.make_replicas(run, mesh) before the first step"
            )
