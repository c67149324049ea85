"""What errors within a run say: the shapes of a batch, and why there was none."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from funcnet.data import ArrayDataset
from funcnet.data.datasets.base import DerivedDataset
from funcnet.training.train_state import TrainState

__all__ = [
    "check_batches",
    "check_run",
    "nothing_to_evaluate_on",
    "nothing_to_train_on",
    "shapes_of",
]


class _Shape:
    """An array, written as its dtype and shape."""

    def __init__(self, leaf: Any) -> None:
        self.leaf = leaf

    def __repr__(self) -> str:
        if not hasattr(self.leaf, "shape"):
            return type(self.leaf).__name__
        return f"{self.leaf.dtype}{[*self.leaf.shape]}"


def check_batches(name: str, batches: Any) -> None:
    """Meet one batch, or samples, where batches are asked for.

    Args:
        name: of the argument.
        batches: what was given.

    Raises:
        TypeError: it is a batch, an array, a dataset of single samples, or nothing to iterate over.

    Example:
        >>> from funcnet.training.errors import check_batches
        >>> check_batches("batches", [{"x": jnp.ones((4, 3))}])
    """
    if isinstance(batches, Mapping | np.ndarray | jax.Array | str):
        said = "a dict" if isinstance(batches, Mapping) else f"a {type(batches).__name__}"
        raise TypeError(
            f"{name} is iterated over, batch by batch, and got {said}: for one batch write [batch], for whole arrays "
            'data.DataLoader(data.ArrayDataset({"image": images, "label": labels}), batch_size=32)'
        )
    if isinstance(batches, ArrayDataset | DerivedDataset):
        raise TypeError(
            f"{name} is a dataset, {type(batches).__name__}, of single samples: write data.DataLoader(dataset, "
            "batch_size=32), or batch_size=None if each of its samples is a batch"
        )
    if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
        raise TypeError(f"{name} is an iterable of batches, such as a DataLoader; got {batches!r}")


def check_run(run: Any) -> None:
    """Meet parameters where a run is asked for.

    Raises:
        TypeError: it is no `TrainState`.

    Example:
        >>> from funcnet.training.errors import check_run
        >>> check_run(fn.training.TrainState({}, {}, {}, jnp.array(0), jax.random.key(0)))
    """
    if not isinstance(run, TrainState):
        raise TypeError(
            "a run is made by training.TrainState.create(net, optimizer, jax.random.key(0)), with params= and state= "
            f"if there are some; got a {type(run).__name__}"
        )


def shapes_of(batch: Any) -> str:
    """Write a batch with shapes in place of arrays.

    Example:
        >>> from funcnet.training.errors import shapes_of
        >>> shapes_of({"image": np.zeros((128, 28, 28), np.uint8), "label": np.zeros(128, np.int32)})
        "{'image': uint8[128, 28, 28], 'label': int32[128]}"
    """
    return repr(jax.tree.map(_Shape, batch))


def nothing_to_train_on(batches: Any, epoch: int, steps: int) -> str:
    """Say why an epoch had no batch.

    Example:
        >>> from funcnet.training.errors import nothing_to_train_on
        >>> nothing_to_train_on([], 1, 0)
        'batches is empty: there is nothing to train on'
    """
    if epoch == 1:
        return "batches is empty: there is nothing to train on"
    return (
        f"batches ({type(batches).__name__}) ended after {steps} steps and has nothing for epoch {epoch}, as an "
        "iterator that is used up: pass something that can be iterated over again, such as a DataLoader or a list, or "
        "batches without an end"
    )


def nothing_to_evaluate_on(evaluation: Any, name: str = "evaluation") -> str:
    """Say why an evaluation had no batch.

    Args:
        evaluation: what was iterated over.
        name: of the argument.

    Example:
        >>> from funcnet.training.errors import nothing_to_evaluate_on
        >>> nothing_to_evaluate_on([])
        'evaluation is empty: there is nothing to evaluate on'
    """
    if isinstance(evaluation, Iterator):
        return (
            f"{name} is an iterator ({type(evaluation).__name__}) and was empty, as after a first evaluation: pass "
            "something that can be iterated over again, such as a DataLoader or a list"
        )
    return f"{name} is empty: there is nothing to evaluate on"
