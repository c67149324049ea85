"""update_batch_norm: the running statistics of batch norms, measured anew for parameters that were not trained so."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from funcnet.core.aliases import Array, Key, Params, State
from funcnet.core.paths import flatten, nest
from funcnet.module import Functional, Module
from funcnet.module.description import layout_of, replaced, snapshot
from funcnet.nn.normalization.batch import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    LazyBatchNorm1d,
    LazyBatchNorm2d,
    LazyBatchNorm3d,
    SyncBatchNorm,
)
from funcnet.parallel.rules.table import Rules
from funcnet.training.errors import check_batches
from funcnet.training.loop.evaluation import is_first
from funcnet.training.loop.on_mesh import cached, in_step, set_up
from funcnet.training.objective import unmarked, valid_rows
from funcnet.training.predict import bare_objective, inputs_of
from funcnet.training.progress import Progress

__all__ = ["update_batch_norm"]

BATCH_NORMS = (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    LazyBatchNorm1d,
    LazyBatchNorm2d,
    LazyBatchNorm3d,
    SyncBatchNorm,
)


def update_batch_norm(
    net: Functional,
    params: Params,
    state: State,
    batches: Iterable[Any],
    *,
    key: Key | None = None,
    inputs: str | Callable[[Any], Any] | None = None,
    progress: bool = False,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> State:
    """Measure the running statistics of all batch norms anew, as the plain mean over some batches.

    They belong to the parameters with which they were measured, so that an average of parameters needs its own:

        mean = run.opt_state.average
        state = training.update_batch_norm(net, mean, run.state, loader)
        training.evaluate(objective, replace(run, params=mean, state=state), held_out)

    The model runs in training, as PyTorch's does: dropout drops, and other buffers go on too. Rows that fill a batch,
    as ``batch["valid"]`` says, are left out. Each batch counts the same, whatever its size.

    Args:
        net: from `funcnet.functionalize`, `funcnet.parallel.shard` or `funcnet.mixed_precision`.
        params: its parameters, such as ``run.opt_state.average``.
        state: its buffers.
        batches: an iterable of batches, such as a `funcnet.data.DataLoader`; one pass is made.
        key: a random key, for a model that draws in training; each batch has one of its own.
        inputs: the key of a batch's inputs, or a function of the batch; by default what is no dict or tuple as it is, a
            dict's ``"image"``, and a tuple's first item.
        progress: whether to draw a bar.
        mesh: see `fit`. Of several processes each loads its part, and gets the statistics of all.
        rules: likewise.

    Returns:
        The new state; the same where the model has no batch norm with running statistics.

    Raises:
        ValueError: ``batches`` is empty.
        TypeError: ``batches`` is one batch, or a dataset of single samples; a module in place of ``net``.
        MissingKeyError: the model draws in training, and there is no ``key``.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3)))
        >>> params, state = net.init(jax.random.key(0))
        >>> batches = [jnp.array([[0.0, 1.0], [2.0, 1.0]]), jnp.array([[4.0, 1.0], [6.0, 1.0]])]
        >>> state = fn.training.update_batch_norm(net, params, state, batches)
        >>> state["0"]["running_mean"].tolist(), int(state["0"]["num_batches_tracked"])
        ([3.0, 1.0], 2)

    Reference: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018;
    ``torch.optim.swa_utils.update_bn``
    """
    if isinstance(net, Module):
        raise TypeError(
            f"update_batch_norm takes what fn.functionalize returned; got the module itself, {type(net).__name__}: "
            "write fn.functionalize(module)"
        )
    check_batches("batches", batches)
    statistics = _statistics(net)
    if not statistics:
        return state
    setup = set_up(cached(bare_objective, net, None), None, mesh, rules)
    net = getattr(setup.objective, "net", net)
    place = getattr(net.placement, "kept", setup.place_whole)
    params, state = place(params), place(_reset(state, statistics))
    step = cached(_cumulative_step, net)
    number = 0
    for batch in Progress(setup.place_batches(batches), "batch norm", show=progress and is_first()):
        batch = _real_rows(batch, setup.whole)
        if batch is not None:
            own = None if key is None else jax.random.fold_in(key, number)
            given = inputs(batch) if callable(inputs) else inputs_of(batch, inputs)
            state = in_step(step(params, state, given, own))
            number += 1
    if number == 0:
        raise ValueError("batches is empty: there is nothing to measure")
    return state


def _statistics(net: Functional) -> dict[str, float]:
    """Return the paths of what batch norms remember, and what each begins with."""
    layout, found = layout_of(net.module), {}
    for module in layout.modules.values():
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                found[layout.path_of(vars(module)[name])] = float(name == "running_var")
    return found


def _reset(state: State, statistics: dict[str, float]) -> State:
    return nest(
        {
            path: jnp.full_like(array, statistics[path]) if path in statistics else array
            for path, array in flatten(state).items()
        }
    )


@lru_cache(maxsize=16)  # another call compiles nothing again
def _cumulative_step(net: Functional) -> Any:
    """Return a jitted step of training without a loss, in which batch norms take the mean of all batches."""

    def cumulative(old: Any, new: Any) -> Any:
        if isinstance(old, BATCH_NORMS):
            vars(new)["momentum"] = None
        return new

    model = replace(net.observable, node=snapshot(replaced(net.module, cumulative)))

    def step(params: Params, state: State, given: Any, key: Key | None) -> State:
        return model.apply(params, state, given, key=key, train=True)[1]

    return jax.jit(step)


def _real_rows(batch: Any, whole: NamedSharding | None) -> Any:
    """Return a batch without the rows that fill it; None if there is no other."""
    valid, batch = valid_rows(batch), unmarked(batch)
    if valid is None:
        return batch
    kept = np.asarray(_on_host(valid, whole))
    if kept.all():
        return batch
    rows = np.flatnonzero(kept)

    def cut(leaf: Any) -> Any:
        fits = getattr(leaf, "ndim", 0) and len(leaf) == len(kept)
        return np.asarray(_on_host(leaf, whole))[rows] if fits else leaf

    return jax.tree.map(cut, batch) if rows.size else None


def _on_host(leaf: Any, whole: NamedSharding | None) -> Any:
    """Return an array that this process can read, of which it may have had a part."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return leaf
    return jax.jit(_same, out_shardings=whole)(leaf)


def _same(leaf: Array) -> Array:
    return leaf
