"""predict: a model's outputs for all samples, in their order."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from funcnet.core.aliases import Array, Params, PyTree, State
from funcnet.core.shardings import leaf_constrained
from funcnet.data.devices.padding import filled
from funcnet.module import Functional
from funcnet.parallel.rules.table import Rules
from funcnet.training.errors import check_batches
from funcnet.training.loop.evaluation import is_first
from funcnet.training.loop.on_mesh import cached, in_step, set_up
from funcnet.training.objective import (
    MarkedBatch,
    Supervised,
    entry_of,
    supervised,
    unmarked,
    valid_rows,
)
from funcnet.training.progress import Progress

__all__ = ["FilledBatches", "inputs_of", "predict", "real_rows"]


def predict(
    net: Functional,
    params: Params,
    state: State,
    batches: Iterable[Any],
    *,
    inputs: str | Callable[[Any], Any] | None = None,
    progress: bool = False,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> PyTree:
    """Return a model's outputs for all samples, in evaluation mode, as NumPy arrays in the samples' order.

    Rows that fill a batch, as ``batch["valid"]`` says, are left out. A batch smaller than the one before it is filled
    here, so that nothing is compiled again for it.

    Args:
        net: from `funcnet.functionalize`.
        params: its parameters, such as ``run.params``.
        state: its buffers, such as ``run.state``.
        batches: an iterable of batches, such as a `funcnet.data.DataLoader` without ``shuffle``, or a generator.
        inputs: the key of a batch's inputs, or a function of the batch; by default what is no dict or tuple as it is, a
            dict's ``"image"``, and a tuple's first item.
        progress: whether to draw a bar.
        mesh: see `fit`. Of several processes each loads its part, and gets the outputs of all.
        rules: likewise.

    Returns:
        A pytree as the model returns it; each array holds all samples along its first axis.

    Raises:
        ValueError: ``batches`` is empty, or an output has no axis of rows.
        TypeError: ``batches`` is one batch, or a dataset of single samples.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> params, state = net.init(jax.random.key(0))
        >>> loader = data.DataLoader(data.ArrayDataset({"x": np.ones((10, 4), np.float32)}), batch_size=4)
        >>> fn.training.predict(net, params, state, loader, inputs="x").shape
        (10, 3)
    """
    check_batches("batches", batches)
    objective = cached(bare_objective, net, inputs if callable(inputs) else None)
    setup = set_up(objective, None, mesh, rules)
    step = cached(_predict_step, setup.objective, setup.whole)
    place = getattr(getattr(setup.objective, "net", net).placement, "kept", setup.place_whole)
    params, state = place(params), place(state)
    source = FilledBatches(batches) if setup.mesh is None else setup.place_batches(batches)
    bar = Progress(source, "predicting", show=progress and is_first())
    given = (
        (batch if callable(inputs) else inputs_of(batch, inputs), valid) for batch, valid in bar
    )
    parts = [*real_rows(in_step(step(params, state, *pair)) for pair in given)]
    if not parts:
        raise ValueError("batches is empty: there is nothing to predict")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@lru_cache(maxsize=16)  # another call compiles nothing again
def bare_objective(net: Functional, inputs: Callable[[Any], Any] | None) -> Supervised:
    """Return an objective that only tells which model is called with what."""
    return supervised(net, _no_loss, inputs=inputs or _as_it_is, targets=_as_it_is)


def _no_loss(outputs: Any, targets: Any) -> Array:
    raise NotImplementedError("predict has no loss")


def _as_it_is(batch: Any) -> Any:
    return batch


def inputs_of(batch: Any, key: str | None) -> Any:
    """Take the inputs out of a batch, which may hold text beside them.

    Example:
        >>> from funcnet.training.predict import inputs_of
        >>> inputs_of((1, 2), None), inputs_of({"image": 3, "label": "three"}, None)
        (1, 3)
    """
    if key is not None or isinstance(batch, Mapping):
        return entry_of("inputs", key or "image")(batch)
    return batch[0] if isinstance(batch, tuple) else batch


@lru_cache(maxsize=16)
def _predict_step(objective: Supervised, whole: NamedSharding | None) -> Any:
    def step(params: Params, state: State, batch: Any, valid: Array) -> tuple[PyTree, Array]:
        outputs = objective.net.apply(params, state, objective.inputs(batch), train=False)[0]
        _check_rows(outputs, valid.shape[0])
        made = (outputs, valid)
        return made if whole is None else leaf_constrained(made, whole)

    return jax.jit(step)


def _check_rows(outputs: Any, rows: int) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(outputs):
        if not leaf.ndim or leaf.shape[0] != rows:
            raise ValueError(
                f"predict joins the outputs of batches along their first axis: outputs{jax.tree_util.keystr(path)} "
                f"has shape {leaf.shape} for a batch of {rows} rows. Leave it out, by a model or method whose outputs "
                "all have a row for each sample"
            )


class FilledBatches:
    """Batches filled to the largest size so far, each with its mask.

    Example:
        >>> from funcnet.training.predict import FilledBatches
        >>> [batch.valid.tolist() for batch in FilledBatches([np.ones((2, 3)), np.ones((1, 3))])]
        [[True, True], [True, False]]
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)  # pyright: ignore[reportArgumentType]

    def __iter__(self) -> Iterator[MarkedBatch]:
        size = 0
        for batch in self.batches:
            rows = {len(leaf) for leaf in jax.tree.leaves(batch) if getattr(leaf, "ndim", 0)}
            if len(rows) != 1:
                raise ValueError(
                    f"a batch's arrays have first axes of {sorted(rows)}, so its number of samples is not known"
                )
            (number,) = rows
            size = max(size, number)
            yield _of_size(batch, number, size if number else 0)


def _of_size(batch: Any, number: int, size: int) -> MarkedBatch:
    """Fill a batch with copies of its rows."""
    mask, batch = valid_rows(batch), unmarked(batch)
    valid = np.zeros(size, bool)
    valid[:number] = True if mask is None else np.asarray(mask)
    return MarkedBatch(jax.tree.map(lambda leaf: _to_size(leaf, size), batch), jnp.asarray(valid))


def _to_size(leaf: Any, size: int) -> Any:
    if not getattr(leaf, "ndim", 0) or len(leaf) == size:
        return leaf
    if isinstance(leaf, jax.Array):
        return jnp.take(leaf, np.arange(size) % len(leaf), axis=0)
    return filled(np.asarray(leaf), size)


def real_rows(made: Iterable[tuple[PyTree, Any]]) -> Iterator[PyTree]:
    """Bring outputs to the host while the device computes the next ones, without the rows that fill.

    Example:
        >>> from funcnet.training.predict import real_rows
        >>> [rows.tolist() for rows in real_rows([(jnp.arange(3), jnp.array([True, True, False]))])]
        [[0, 1]]
    """
    waiting: Any = None
    for ahead in made:
        if waiting is not None:
            yield _on_host(*waiting)
        waiting = ahead
    if waiting is not None:
        yield _on_host(*waiting)


def _on_host(outputs: PyTree, valid: Any) -> PyTree:
    keep = np.asarray(valid)
    cut = slice(None) if keep.all() else keep
    return jax.tree.map(lambda leaf: np.asarray(leaf)[cut], outputs)
