"""abstract: what a function would return, as shapes that know how they are spread."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["abstract"]


def abstract(make: Callable[..., Any], *args: Any) -> Any:
    """Return the shapes, dtypes and shardings of what a function would return; nothing runs, no memory is taken.

    ``jax.eval_shape`` does not tell shardings. So the function is compiled, and the compiler asked.

    Args:
        make: a function of arrays, such as one that makes a `TrainState`.
        *args: its arguments: arrays, or ``jax.ShapeDtypeStruct``, in trees.

    Returns:
        A tree of ``jax.ShapeDtypeStruct``, as `plan` takes it.

    Example:
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> net = fn.parallel.shard(fn.functionalize(nn.Linear(64, 64)), mesh, {"weight": "fsdp"})
        >>> optimizer = fn.parallel.shard_optimizer(optim.adam(1e-3), net)
        >>> run = fn.parallel.abstract(
        ...     lambda key: fn.training.TrainState.create(net, optimizer, key), jax.random.key(0))
        >>> run.params["weight"].sharding.spec
        P('data',)
    """
    jitted: Any = jax.jit(make)
    compiled = jitted.lower(*args).compile()
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        compiled.out_info,
        compiled.output_shardings,
    )
