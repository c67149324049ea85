"""Objectives: the function of params and a batch that training makes small."""

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, Params, State
from funcnet.data.devices.padding import mark_rows
from funcnet.module import Functional
from funcnet.nn.losses.base import LossLayer

__all__ = ["MarkedBatch", "Objective", "Supervised", "accuracy", "supervised", "with_rows"]

Metrics = dict[str, Array]


class Objective(Protocol):
    """``objective(params, state, batch, key, train) -> (loss, (metrics, state))``.

    ``loss`` is a scalar mean over the batch, ``metrics`` a flat dict of such means to report, ``state`` the
    model's new buffers. `supervised` makes one; a function written by hand will do as well. An object may
    also have a method ``weight(batch)``: how many samples the means stand for (default: the batch's rows).
    """

    def __call__(
        self, params: Params, state: State, batch: Any, key: Key | None, train: bool
    ) -> tuple[Array, tuple[Metrics, State]]:
        """Compute the loss, the metrics and the new buffers."""
        ...


def supervised(
    net: Functional,
    loss: Callable[..., Array],
    *,
    inputs: str | Callable[[Any], Any] = "image",
    targets: str | Callable[[Any], Any] = "label",
    metrics: Mapping[str, Callable[..., Array]] | None = None,
) -> "Supervised":
    """Make the objective of a model that predicts targets from inputs.

    Where a batch says which of its rows are real (``batch["valid"]``, as a loader with ``pad_last=True``
    does), the others count neither for the loss nor for the metrics, in training and in evaluation: a
    function that takes ``where=`` is given the mask ``(N,)``; any other is called on the whole batch if all rows
    are real, else on each row alone, which is the mean if it is one over rows.

    Args:
        net: from `funcnet.functionalize`.
        loss: ``loss(outputs, targets) -> scalar``, the mean over the batch, such as ``F.cross_entropy``.
        inputs: the key of a batch's inputs, or a function from a batch to them (to scale images, say).
        targets: likewise for the targets.
        metrics: names to functions ``metric(outputs, targets) -> scalar``.

    Returns:
        An `Objective`.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> params, state = net.init(jax.random.key(0))
        >>> objective = fn.training.supervised(
        ...     net, F.cross_entropy, inputs="x", targets="y", metrics={"accuracy": fn.training.accuracy})
        >>> batch = {"x": jnp.ones((2, 4)), "y": jnp.array([0, 1])}
        >>> loss, (metrics, state) = objective(params, state, batch, None, False)
        >>> sorted(metrics)
        ['accuracy', 'loss']
    """
    if not isinstance(net, Functional):
        raise TypeError(
            f"supervised takes net = fn.functionalize(model) first, and then the loss; got {type(net).__name__}"
        )
    return Supervised(
        net, loss, _getter("inputs", inputs), _getter("targets", targets), dict(metrics or {})
    )


class MarkedBatch(NamedTuple):
    """A batch that `fit` filled, with which of its rows are real beside it: functions of a batch see it as it came."""

    batch: Any
    valid: Array


def with_rows(batch: Any, valid: Any, marked: bool) -> "MarkedBatch":
    """Set which rows are real beside a batch, and in it where it says so itself.

    Example:
        >>> from funcnet.training.objective import with_rows
        >>> with_rows({"x": 1}, 2, False)
        MarkedBatch(batch={'x': 1}, valid=2)
    """
    return MarkedBatch(mark_rows(batch, valid, marked) if marked else batch, valid)


@dataclass(frozen=True, eq=False)
class Supervised:
    """What `supervised` makes: an `Objective` that knows how many samples a batch holds."""

    net: Functional
    loss: Callable[..., Array]
    inputs: Callable[[Any], Any]
    targets: Callable[[Any], Any]
    metrics: Mapping[str, Callable[..., Array]] = field(default_factory=dict)

    def __call__(
        self, params: Params, state: State, batch: Any, key: Key | None, train: bool
    ) -> tuple[Array, tuple[Metrics, State]]:
        """Compute the loss, the metrics and the new buffers."""
        valid = valid_rows(batch)
        batch = batch.batch if isinstance(batch, MarkedBatch) else batch
        outputs, state = self.net.apply(params, state, self.inputs(batch), key=key, train=train)
        wanted = self.targets(batch)
        value = _mean(self.loss, outputs, wanted, valid)
        if value.ndim:
            raise ValueError(
                f"the loss must be a scalar, the mean over the batch; got shape {value.shape}: use reduction='mean'"
            )
        reported = {"loss": value}
        for name, metric in self.metrics.items():
            reported[name] = _mean(metric, outputs, wanted, valid)
        return value, (reported, state)

    def weight(self, batch: Any) -> Array | int:
        """Return how many samples of a batch are real."""
        valid = valid_rows(batch)
        return rows_of(self.targets(batch)) if valid is None else valid.sum()


def accuracy(logits: Array, targets: Array, *, where: Array | None = None) -> Array:
    """Return the share of rows whose prediction is the target.

    Args:
        logits: ``(N, C)``, one score a class: the largest is the prediction; or ``(N,)``, one score a row:
            the prediction is whether it is positive.
        targets: for ``(N, C)``: class indices ``(N,)``, or one-hot rows or probabilities ``(N, C)``; for
            ``(N,)``: zeros and ones ``(N,)``.
        where: ``(N,)``, which rows count.

    Raises:
        ValueError: shapes that do not belong together.

    Example:
        >>> float(fn.training.accuracy(jnp.array([[2.0, 1.0], [0.0, 1.0]]), jnp.array([0, 0])))
        0.5
    """
    logits, targets = jnp.asarray(logits), jnp.asarray(targets)
    if logits.ndim and targets.shape == logits.shape:
        if logits.ndim == 1:
            right = (logits > 0) == (targets.astype(jnp.float32) > 0.5)
        elif logits.shape[-1] > 1:
            right = jnp.argmax(logits, axis=-1) == jnp.argmax(targets, axis=-1)
        else:
            right = ((logits > 0) == (targets.astype(jnp.float32) > 0.5))[..., 0]
    elif logits.ndim > 1 and logits.shape[-1] > 1 and targets.shape == logits.shape[:-1]:
        if jnp.issubdtype(targets.dtype, jnp.inexact):
            raise ValueError(
                f"accuracy takes class indices as integers; targets has dtype {targets.dtype.name}: write "
                "targets.astype(jnp.int32)"
            )
        right = jnp.argmax(logits, axis=-1) == targets
    else:
        raise ValueError(
            f"accuracy takes logits (N, C) with class indices (N,) or one-hot rows (N, C), or logits (N,) with zeros "
            f"and ones (N,); got logits {logits.shape} and targets {targets.shape}. For targets (N, 1) write "
            "targets[:, 0]; for logits (N, 1) of one class write logits[:, 0]"
        )
    right = right.astype(jnp.float32)
    if where is None:
        return right.mean()
    count = jnp.broadcast_to(_column(where, right.ndim), right.shape).astype(jnp.float32)
    return (right * count).sum() / jnp.maximum(count.sum(), 1)


def _mean(function: Callable[..., Array], outputs: Any, targets: Any, valid: Array | None) -> Array:
    """Return the mean that a loss or metric takes over the rows that are real."""
    if valid is None:
        return function(outputs, targets)
    taken = _arguments(function)
    if "where" in taken and (terms := _terms(function, outputs, targets, taken)) is not None:
        mask = jnp.broadcast_to(_column(valid, terms.ndim), terms.shape)
        return function(outputs, targets, where=mask)
    if "where" in taken:
        return function(outputs, targets, where=valid)

    def one(output: Any, target: Any) -> Array:
        row = jax.tree.map(lambda leaf: leaf[None], (output, target))
        return function(*row)

    def by_rows() -> Array:
        # a padded row is a copy of a real one, so nothing it computes is not finite unless theirs is
        each = jax.vmap(one)(outputs, targets)
        count = valid.astype(each.dtype)
        return jnp.where(valid, each, 0).sum() / jnp.maximum(count.sum(), 1)

    # most batches have no padding: what looks at all rows together is then given all of them
    return jax.lax.cond(valid.all(), lambda: function(outputs, targets), by_rows)


def _terms(function: Any, outputs: Any, targets: Any, taken: set[str]) -> Any:
    """Return the shape of what a loss of funcnet takes the mean of: its mask has a value for each; None of others."""
    if "reduction" in taken:
        return jax.eval_shape(lambda: function(outputs, targets, reduction="none"))
    if not isinstance(function, LossLayer):
        return None
    unreduced: Any = copy.copy(function)
    unreduced.reduction = "none"
    return jax.eval_shape(lambda: unreduced(outputs, targets))


def _column(valid: Array, axes: int) -> Array:
    """Give a mask of rows as many axes as what it masks."""
    return valid.reshape(valid.shape[0], *(1,) * (axes - 1))


def _arguments(function: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _getter(name: str, source: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    if callable(source):
        return source

    def take(batch: Any) -> Any:
        try:
            return batch[source]
        except (KeyError, TypeError) as error:
            entries = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
            raise KeyError(
                f"a batch has no entry {source!r}: it has {entries}; pass {name}= a key, or a function of the batch"
            ) from error

    return take


def valid_rows(batch: Any) -> Array | None:
    """Return which rows of a batch are real, if it says so: its ``"valid"``, or a tuple's last item.

    Example:
        >>> from funcnet.training.objective import valid_rows
        >>> valid_rows({"x": jnp.ones(2), "valid": jnp.array([True, False])}).tolist()
        [True, False]
    """
    mask = None
    if isinstance(batch, MarkedBatch):
        mask = batch.valid
    elif isinstance(batch, Mapping):
        mask = batch.get("valid")
    elif isinstance(batch, tuple) and len(batch) > 1 and not hasattr(batch, "_fields"):
        mask = batch[-1]
    if mask is None or getattr(mask, "ndim", 0) != 1 or not jnp.issubdtype(mask.dtype, jnp.bool_):
        return None
    return jnp.asarray(mask)


def rows_of(tree: Any) -> int:
    """Return the number of samples of a batch: the length of its arrays' first axis.

    Raises:
        ValueError: the arrays do not agree.
    """
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(tree) if getattr(leaf, "ndim", 0)}
    if len(lengths) > 1:
        raise ValueError(
            f"a batch's arrays have first axes of {sorted(lengths)}, so its number of samples is not known: let them "
            "agree, or give the objective a method weight(batch), as training.supervised's has"
        )
    return lengths.pop() if lengths else 1


def weight_of(objective: Objective, batch: Any) -> Array | int:
    """Return how many samples an objective's means over a batch stand for."""
    if isinstance(objective, Supervised):
        return objective.weight(batch)
    weight = getattr(objective, "weight", None)  # optional: a function has none
    if callable(weight):
        return weight(batch)  # pyright: ignore[reportReturnType]
    valid = valid_rows(batch)
    return rows_of(batch) if valid is None else valid.sum()
