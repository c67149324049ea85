"""Objectives: the function of params and a batch that training makes small."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, Params, State
from funcnet.core.checks import check_positive
from funcnet.data.devices.padding import mark_rows
from funcnet.functional.losses.reductions import reduced
from funcnet.module import Functional
from funcnet.training.averages import Outcome, as_function, number_of_rows, weighed
from funcnet.training.metrics.base import Metric

__all__ = ["MarkedBatch", "Objective", "Supervised", "accuracy", "supervised", "with_rows"]

Metrics = dict[str, Array]


class Objective(Protocol):
    """``objective(params, state, batch, key, train) -> (loss, (metrics, state))``.

    ``loss`` is a scalar mean over the batch, ``metrics`` a flat dict of such means to report (of an empty one the loss
    is reported), ``state`` the model's new buffers. `supervised` makes one; a function written by hand will do as
    well. An object may also have a method ``weight(batch)``: how much the means stand for, such as a number of tokens,
    or a dict of such numbers by the metrics' names (default: the batch's rows that are real).

    Example:
        >>> def objective(params, state, batch, key, train):
        ...     errors = params["slope"] * batch["x"] - batch["y"]
        ...     return (errors**2).mean(), ({"largest": jnp.abs(errors).max()}, state)
        >>> batch = {"x": jnp.arange(3.0), "y": 2 * jnp.arange(3.0)}
        >>> loss, (metrics, state) = objective({"slope": jnp.float32(1)}, {}, batch, None, True)
        >>> float(metrics["largest"])
        2.0
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
    weight: str | Callable[[Any], Any] | None = None,
    microbatches: int = 1,
) -> "Supervised":
    """Make the objective of a model that predicts targets from inputs.

    Where a batch says which of its rows are real (``batch["valid"]``, as a loader with ``pad_last=True``
    does), the others count neither for the loss nor for the metrics, in training and in evaluation: a
    function that takes ``where=`` is given the mask ``(N,)``; any other is called on the whole batch if all rows
    are real, else on each row alone, and put together by what each row stands for. Of a loss that the model computed
    itself rows cannot be left out: it is ``nan`` where some are not real.

    The mean over batches that `fit` and `evaluate` report weighs each batch by what its loss is the mean of, so that
    it is the loss of all samples at once. A loss of funcnet that is returned as it is says so itself: elements,
    tokens that are not ignored, weights of classes; with ``reduction="sum"`` batches add up. A loss that is computed
    further, written by hand or jitted stands for its rows, unless ``weight`` says otherwise.

    Args:
        net: from `funcnet.functionalize`.
        loss: ``loss(outputs, targets) -> scalar``, the mean over the batch, such as ``F.cross_entropy``, or a layer
            such as ``nn.CrossEntropyLoss()``.
        inputs: the key of a batch's inputs, or a function from a batch to them (to scale images, say).
        targets: likewise for the targets.
        metrics: names to functions ``metric(outputs, targets) -> scalar``; each weighs as a loss does.
        weight: what each row of a batch stands for in the loss, and in metrics that do not say so themselves: the key
            of a batch's array ``(N,)``, or of one for each token ``(N, T)`` such as a mask, or a function from a batch
            to it.
        microbatches: in how many parts a training step computes the gradient, one after another, for less memory: it
            is that of the whole batch, also where one part has more tokens than another. Layers that look at all rows,
            such as ``nn.BatchNorm1d``, see a part.

    Returns:
        An `Objective`.

    Raises:
        TypeError: ``net`` is a model, or a metric is one that adds up over batches by itself.
        ValueError: the loss is a layer with parameters, or ``microbatches`` is below 1.

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
    check_positive("microbatches", microbatches)
    for name, metric in (metrics or {}).items():
        if isinstance(metric, Metric):
            raise TypeError(
                f"metrics of an objective are functions (outputs, targets) -> scalar; {name!r} is a "
                f"{type(metric).__name__}, which adds up over batches: pass it to fit(..., metrics=[...]) and "
                "evaluate(..., metrics=[...])"
            )
    return Supervised(
        net,
        as_function(loss),
        entry_of("inputs", inputs),
        entry_of("targets", targets),
        {name: as_function(metric) for name, metric in (metrics or {}).items()},
        None if weight is None else entry_of("weight", weight),
        microbatches,
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


class Measured(NamedTuple):
    """What an objective found in a batch.

    Attributes:
        metrics: scalars by name.
        weights: what each stands for; None of a sum, which adds up over batches.
        rows: what the model gave and what was true; None of an objective written by hand.
    """

    metrics: Metrics
    weights: dict[str, Any]
    rows: Outcome | None = None


@dataclass(frozen=True, eq=False)
class Supervised:
    """What `supervised` makes: an `Objective` that knows how many samples a batch holds."""

    net: Functional
    loss: Callable[..., Array]
    inputs: Callable[[Any], Any]
    targets: Callable[[Any], Any]
    metrics: Mapping[str, Callable[..., Array]] = field(default_factory=dict)
    row_weights: Callable[[Any], Any] | None = None
    microbatches: int = 1

    def __call__(
        self, params: Params, state: State, batch: Any, key: Key | None, train: bool
    ) -> tuple[Array, tuple[Metrics, State]]:
        """Compute the loss, the metrics and the new buffers."""
        value, (found, state) = self.measure(params, state, batch, key, train)
        return value, (found.metrics, state)

    def measure(
        self, params: Params, state: State, batch: Any, key: Key | None, train: bool
    ) -> tuple[Array, tuple[Measured, State]]:
        """Compute what a call does, with what each mean stands for, and what the model gave."""
        valid, batch = valid_rows(batch), unmarked(batch)
        outputs, state = self.net.apply(params, state, self.inputs(batch), key=key, train=train)
        rows = Outcome(outputs, self.targets(batch), valid, self._weights(batch))
        value, weight = weighed(self.loss, rows, by_rows=self.row_weights is not None)
        if value.ndim:
            raise ValueError(
                f"the loss must be a scalar, the mean over the batch; got shape {value.shape}: use reduction='mean'"
            )
        found = Measured({"loss": value}, {"loss": weight}, rows)
        for name, metric in self.metrics.items():
            found.metrics[name], found.weights[name] = weighed(metric, rows)
        return value, (found, state)

    def weight(self, batch: Any) -> Array | int:
        """Return how many samples of a batch are real, or what ``weight`` says of them together."""
        valid, batch = valid_rows(batch), unmarked(batch)
        targets, weights = self.targets(batch), self._weights(batch)
        if weights is None and valid is None:
            return number_of_rows(targets)
        if weights is None:
            return jnp.asarray(valid).sum()
        return Outcome(None, targets, valid, weights).number()

    def _weights(self, batch: Any) -> Array | None:
        if self.row_weights is None:
            return None
        weights = jnp.asarray(self.row_weights(batch))
        if not weights.ndim:
            raise ValueError(
                "weight= takes one number for each row of a batch, (N,), or for each row and token, (N, T), so that "
                "padded rows can be left out; got a scalar: leave out its sum"
            )
        return weights.astype(jnp.float32).reshape(weights.shape[0], -1).sum(1)


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
    if where is None:
        return reduced(right.sum(dtype=jnp.float32), right.size, jnp.float32)
    where = jnp.asarray(where, bool)
    counts = jnp.broadcast_to(
        where.reshape(*where.shape, *(1,) * (right.ndim - where.ndim)), right.shape
    )
    total = (right & counts).sum(dtype=jnp.float32)
    return reduced(total, counts.sum(dtype=jnp.float32), jnp.float32)


def entry_of(name: str, source: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function that takes a part of a batch, from its key or as it is.

    Args:
        name: of the argument, for messages.
        source: a key, or a function of the batch.

    Example:
        >>> from funcnet.training.objective import entry_of
        >>> entry_of("inputs", "x")({"x": 1, "y": 2})
        1
    """
    if callable(source):
        return source

    def take(batch: Any) -> Any:
        try:
            return batch[source]
        except (KeyError, IndexError, TypeError) as error:
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


def unmarked(batch: Any) -> Any:
    """Return a batch as it came, without the mask that `fit` put beside it.

    Example:
        >>> from funcnet.training.objective import MarkedBatch, unmarked
        >>> unmarked(MarkedBatch({"x": 1}, 2)), unmarked({"x": 1})
        ({'x': 1}, {'x': 1})
    """
    return batch.batch if isinstance(batch, MarkedBatch) else batch


def measured(
    objective: Objective,
    params: Params,
    state: State,
    batch: Any,
    key: Key | None,
    train: bool,
    weighed: bool = True,
) -> tuple[Array, tuple[Measured, State]]:
    """Call an objective; say what each of its means stands for.

    A step that adds no means up has no need to know: without ``weighed``, a batch may be any pytree to an objective
    written by hand.

    Example:
        >>> from funcnet.training.objective import measured
        >>> objective = lambda params, state, batch, key, train: (params, ({"loss": params}, state))
        >>> _, (found, _) = measured(objective, 2.0, {}, jnp.ones((4, 3)), None, False)
        >>> found.metrics, found.weights
        ({'loss': 2.0}, {'loss': 4})
    """
    if isinstance(objective, Supervised):
        return objective.measure(params, state, batch, key, train)
    loss, metrics, state = _taken_apart(objective(params, state, batch, key, train))
    if not weighed:
        return loss, (Measured(dict(metrics), {}), state)
    weight = weight_of(objective, batch)
    if not isinstance(weight, Mapping):
        weight = dict.fromkeys(metrics, weight)
    missing = sorted(metrics.keys() - weight.keys())
    if missing:
        raise KeyError(
            f"weight(batch) of the objective gives a dict without {', '.join(missing)}: name all metrics, or return "
            "one number for all"
        )
    return loss, (Measured(dict(metrics), {name: weight[name] for name in metrics}), state)


def _taken_apart(made: Any) -> tuple[Any, Mapping[str, Any], State]:
    """Take apart what an objective written by hand returned.

    Raises:
        TypeError: it is something else.
        ValueError: a number is no scalar.
    """
    match made:
        case (loss, (Mapping() as metrics, state)):
            pass
        case _:
            raise TypeError(
                "an objective returns (loss, (metrics, state)): the loss, a dict of means to report, and the model's "
                f'new buffers, such as (loss, ({{"loss": loss}}, state)); got {_outlined(made)}'
            )
    for name, number in (("the loss", loss), *((f"metrics[{n!r}]", m) for n, m in metrics.items())):
        if isinstance(number, Mapping | list | tuple) or jnp.ndim(number):
            raise ValueError(
                f"{name} of an objective must be a scalar, a mean over the batch; got {_outlined(number)}"
            )
    return loss, metrics or {"loss": loss}, state


def _outlined(value: Any) -> str:
    """Write a value as its kinds, without its numbers."""
    if isinstance(value, tuple | list):
        inner = ", ".join(map(_outlined, value))
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    shape = f" of shape {value.shape}" if getattr(value, "shape", ()) else ""
    return ("a dict" if isinstance(value, Mapping) else f"a {type(value).__name__}") + shape


def weight_of(objective: Objective, batch: Any) -> Any:
    """Return how many samples an objective's means over a batch stand for, or a dict of that by name."""
    if isinstance(objective, Supervised):
        return objective.weight(batch)
    weight = getattr(objective, "weight", None)  # optional: a function has none
    if callable(weight):
        return weight(batch)
    valid = valid_rows(batch)
    return number_of_rows(batch) if valid is None else valid.sum()
