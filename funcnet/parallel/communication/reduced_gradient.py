"""A gradient that devices compute alone, part after part of their batch, and add up once."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from funcnet.core.aliases import Array, PyTree
from funcnet.core.paths import leaves_with_paths
from funcnet.parallel.communication.averages import average_aux, average_changes, mean_of_parts
from funcnet.parallel.communication.axes import MeshAxes, axis_names, require_mesh_axis, spread_rows
from funcnet.parallel.communication.reductions import check_reduce_dtype, shared, sum_over
from funcnet.transforms.arguments import pick, wraps
from funcnet.transforms.derivatives.grad import value_and_grad
from funcnet.transforms.derivatives.microbatches import Accumulation, CallArguments
from funcnet.transforms.differentiable_leaves import Selection, is_typed_key, split

__all__ = ["check_rows", "reduced_value_and_grad"]


def reduced_value_and_grad(
    fun: Callable[..., Any],
    mesh: Mesh,
    *,
    axis: MeshAxes = "data",
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    wrt: Selection | None = None,
    microbatches: int = 1,
    batched: int | str | Sequence[int | str] | None = None,
    threaded: int | str | None = None,
    weight: Callable[[Any], Any] | None = None,
    reduction: str = "mean",
    reduce_dtype: Any | None = None,
) -> Callable[..., tuple[Any, Any]]:
    r"""Turn ``fun`` into a function of its value and gradient for which devices communicate once.

    .. math:: g = \sum_d s_d \, g_d, \qquad
              g_d = \sum_i w_{di} \, \nabla \ell_{di} \Big/ \sum_i w_{di}, \qquad
              s_d = \sum_i w_{di} \Big/ \sum_{di} w_{di}

    Each device takes its own rows of the batch, divides them into microbatches, adds their gradients up by
    itself in 32 bits at least, and all gradients are added up over devices once, at the end. What
    ``jax.jit`` makes of `value_and_grad` with ``microbatches`` adds up over devices after each of them.

    The function takes and returns global arrays, as `value_and_grad` does, and belongs in a jitted step
    in its place. Inside ``fun`` arrays of the batch are one device's, and ``axis`` is a name that
    collectives know. Parameters may be spread over other axes of the mesh, which are left to XLA; those that are
    spread over ``axis`` itself are gathered for the whole call, and their gradients come back whole. Means over the
    batch inside the model (batch norm's) are each device's own.

    Args:
        fun: returns a real scalar, the mean over its rows, or ``(scalar, aux)`` if ``has_aux``.
        mesh: the devices.
        axis: the mesh axis over which the batch is spread, or several.
        argnums: the positional argument, or arguments, to differentiate.
        has_aux: whether ``fun`` also returns means over its rows, such as metrics: the result has those of the
            whole batch.
        wrt: which leaves to differentiate, see `value_and_grad`.
        microbatches: into how many parts each device divides its rows.
        batched: names or numbers of the arguments to divide; the one named ``batch`` by default. The
            other arguments are the same everywhere, except that random keys of JAX's own type are folded
            with the number of the device along ``axis``, and of the part.
        threaded: the argument (a model's state) that each part takes from the part before; ``fun`` returns it
            as its ``aux``, or as the first entry of it. Devices' changes of it are averaged; of integers, such as
            counts of batches, the largest is taken.
        weight: ``weight(aux)`` is the weight of a part's mean, where parts do not have as many real
            rows as each other: devices count for as much as all of their parts.
        reduction: ``"sum"`` for a loss that sums over its batch rather than averages.
        reduce_dtype: in which dtype gradients travel, such as ``jnp.bfloat16``; ``None``: in 32 bits
            at least. What devices add up alone is not rounded to it.

    Returns:
        A function of the arguments of ``fun`` that returns ``(value, gradient)``, with ``(value, aux)`` in
        place of ``value`` if ``has_aux``: the same on every device of the axis.

    Raises:
        ValueError: the mesh has no such axis; rows that devices and microbatches do not divide.
        TypeError: ``aux`` holds integers beside the threaded state; ``reduce_dtype`` is not one of floats.

    Example:
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> def loss(params, batch):
        ...     return jnp.mean((batch @ params["w"]) ** 2)
        >>> gradient = fn.parallel.reduced_value_and_grad(
        ...     loss, mesh, microbatches=2, reduce_dtype=jnp.bfloat16)
        >>> value, grads = jax.jit(gradient)({"w": jnp.ones(1)}, jnp.ones((8, 1)))
        >>> float(value), grads["w"].tolist()
        (1.0, [2.0])

        A step of training, with the model's state, metrics, and rows that are padding (``batch["valid"]``):

        >>> net, optimizer = fn.functionalize(nn.Linear(4, 3)), optim.adam(0.1)
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> def loss(params, state, batch, key):
        ...     value, (metrics, state) = objective(params, state, batch, key, True)
        ...     return value, (state, metrics, objective.weight(batch) * 1.0)
        >>> gradient = fn.parallel.reduced_value_and_grad(
        ...     loss, mesh, has_aux=True, threaded="state", weight=lambda aux: aux[2], microbatches=2)
        >>> def step(run, batch):
        ...     key = jax.random.fold_in(run.key, run.step)
        ...     (_, (state, metrics, _)), grads = gradient(run.params, run.state, batch, key)
        ...     updates, opt_state = optimizer.update(grads, run.opt_state, run.params)
        ...     params = optim.apply_updates(run.params, updates)
        ...     return fn.training.TrainState(params, state, opt_state, run.step + 1, run.key), metrics
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> batch = {"x": jnp.ones((8, 4)), "y": jnp.zeros(8, int), "valid": jnp.arange(8) < 5}
        >>> run, metrics = jax.jit(step)(run, batch)
        >>> int(run.step), sorted(metrics)
        (1, ['loss'])

    Reference: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB
    2020, section 3.2.4 (``no_sync``)
    """
    count = require_mesh_axis(mesh, axis)
    check_reduce_dtype(reduce_dtype)
    plan = Accumulation(microbatches, batched, threaded, weight, reduction)
    plan.check(has_aux)

    @wraps(fun)
    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        pattern, _, _ = split(pick(args, argnums), wrt)
        call = CallArguments(fun, args, kwargs)
        divided = {call.position(which) for which in plan.batched_arguments(call)}
        for at in divided:
            check_rows(call.name(at), call.get(at), count, microbatches)
        state = None if threaded is None else call.value(threaded)
        local = value_and_grad(
            _weighed(fun, has_aux, weight, None if threaded is None else jax.tree.structure(state)),
            argnums,
            has_aux=True,
            wrt=wrt,
            microbatches=microbatches,
            batched=batched,
            threaded=threaded,
            weight=lambda aux: aux[-1],
            reduction=reduction,
        )

        def on_one_device(args: Any, kwargs: Any) -> tuple[Any, Any, list[Array]]:
            (value, (*aux, weights)), grads = local(*args, **kwargs)
            # without a weight all parts and devices count alike, and need not ask each other
            share: Array | float = 1 / count
            parts = jnp.full(microbatches, 1 / microbatches)
            if weight is not None:
                total = weights.sum()
                share, parts = total / lax.psum(total, axis), weights / total
            means = jax.tree.map(lambda leaf: mean_of_parts(leaf, parts), aux[-1])
            means = average_aux(means, axis, share, "aux")
            if threaded is not None:
                old = CallArguments(fun, args, kwargs).value(threaded)
                means = (average_changes(old, aux[0], axis, share), means)
            of_sum = share if reduction == "mean" else 1.0
            value = average_aux(value, axis, of_sum, "the loss")
            moving = pattern.take(grads)
            sums = sum_over([shared(g, of_sum) for g in moving], axis, reduce_dtype, like=moving)
            return value, means, sums

        value, aux, sums = _on_each_device(on_one_device, mesh, axis, divided, args, kwargs)
        if threaded is not None:
            aux = aux[0] if aux[1] is None else (aux[0], *aux[1])
        return (value, aux) if has_aux else value, pattern.fill(sums)

    return value_and_gradient


def check_rows(name: str, value: PyTree, devices: int, parts: int = 1) -> None:
    """Raise ``ValueError`` unless devices, and parts of each, divide the leading axis of arrays.

    Example:
        >>> check_rows("batch", jnp.ones((8, 2)), devices=4, parts=2)
    """
    for path, leaf in leaves_with_paths(value):
        shape = jnp.shape(leaf)
        if not shape or shape[0] % (devices * parts):
            each = f" times {parts} microbatches" if parts > 1 else ""
            raise ValueError(
                f"{name} must have a leading axis that {devices} devices{each} divide; got {path or 'an array'} "
                f"of shape {shape}. Drop or pad the last batch of an epoch: DataLoader(drop_last=True)"
            )


def _on_each_device(
    function: Callable[[Any, Any], Any],
    mesh: Mesh,
    axis: MeshAxes,
    divided: set[int | str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run a function of a call's arguments on each device's rows; its result is the same everywhere."""
    named = [*enumerate(args), *sorted(kwargs.items())]  # in the order of the leaves
    spread = [at in divided for at, arg in named for _ in jax.tree.leaves(arg)]
    leaves, treedef = jax.tree.flatten((args, kwargs))
    is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    arrays = {i: jnp.asarray(leaf) for i, leaf in enumerate(leaves) if is_array[i]}
    arrays = {i: spread_rows(x, mesh, axis) if spread[i] else x for i, x in arrays.items()}

    def one(arrays: dict[int, Array]) -> Any:
        number = lax.axis_index(axis_names(axis))
        own = {i: x if spread[i] else _folded(x, number) for i, x in arrays.items()}
        args, kwargs = treedef.unflatten([own.get(i, leaf) for i, leaf in enumerate(leaves)])
        return function(args, kwargs)

    # Without types that say what varies over devices: gradients stay local, and a model's loops may begin
    # with zeros, which do not vary, and go on with what does.
    return jax.shard_map(
        one,
        mesh=mesh,
        in_specs=({i: PartitionSpec(axis) if spread[i] else PartitionSpec() for i in arrays},),
        out_specs=PartitionSpec(),
        axis_names=set(axis_names(axis)),
        check_vma=False,
    )(arrays)


def _folded(leaf: Array, number: Array) -> Array:
    is_one_key = is_typed_key(leaf) and not leaf.ndim
    return jax.random.fold_in(leaf, number) if is_one_key else leaf


def _weighed(
    fun: Callable[..., Any], has_aux: bool, weight: Callable[[Any], Any] | None, state: Any
) -> Callable[..., Any]:
    """Let a function return ``(loss, (means, weight))``, or ``(loss, (state, means, weight))``."""

    @wraps(fun)
    def weighed(*args: Any, **kwargs: Any) -> tuple[Any, tuple[Any, ...]]:
        out = fun(*args, **kwargs)
        value, aux = out if has_aux else (out, ())
        size = jnp.ones(()) if weight is None else jnp.asarray(weight(aux)).astype(float)
        if state is None:
            return value, (aux, size)
        if jax.tree.structure(aux) != state and isinstance(aux, tuple) and aux:
            return value, (aux[0], aux[1:], size)
        return value, (aux, None, size)

    return weighed
