"""What a metric is: settings, and four pure functions of a state that adds up; and several metrics as one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.training.metrics.totals import AxisName, concrete

__all__ = ["Metric", "Metrics"]


@dataclass(frozen=True)
class Metric(ABC):
    """Settings of a metric, hashable, and the functions of its state, a pytree of arrays.

    All of them are pure and work under `jax.jit`, `jax.vmap`, `jax.lax.scan` and, for batches that are spread over
    a mesh, under `jax.jit` as on one device. Outputs of 16 bits are counted in 32. ``where`` marks the rows, or
    rows and tokens, that count; the others may hold anything.

    What a metric cannot count is never counted as right or as wrong. A row whose outputs hold NaN makes the
    value ``nan``. Outputs or targets that do not fit the settings (a class that there is not, probabilities where
    logits are meant) make it ``nan`` inside a traced function, and `compute` called on arrays raises
    ``ValueError`` that says what they were; so does `problems`, without raising.

    Example:
        >>> metric = fn.training.metrics.Accuracy()
        >>> state = metric.init()
        >>> for outputs, targets in [([[2.0, 1.0]], [0]), ([[0.0, 1.0]], [0])]:
        ...     state = jax.jit(metric.update)(state, jnp.array(outputs), jnp.array(targets))
        >>> float(metric.compute(state))
        0.5
    """

    @abstractmethod
    def init(self) -> PyTree:
        """Return the state of nothing counted."""

    @abstractmethod
    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch: what the model gave, what was true, which rows (or rows and tokens) count."""

    @abstractmethod
    def value(self, state: PyTree) -> Any:
        """Return the value without a look at what was refused: `compute` is what to call."""

    def refused(self, state: PyTree) -> Array:
        """Return how many rows make the value ``nan``, by the reason, ``(reasons,)``."""
        return jnp.zeros((0,), jnp.float32)

    def reasons(self) -> tuple[str | None, ...]:
        """Say for each reason what to write instead; None if it is no mistake."""
        return ()

    def merge(self, state: PyTree, other: PyTree) -> PyTree:
        """Add up the states of two parts of an epoch, of two devices or processes, in any order."""
        return {name: part.merge(other[name]) for name, part in state.items()}

    def reduce(self, state: PyTree, axis_name: AxisName) -> PyTree:
        """Add up the states of the devices along a mesh's axis, inside `jax.shard_map`: all get the sum.

        Example:
            >>> from jax.sharding import PartitionSpec as P
            >>> metric = fn.training.metrics.Accuracy()
            >>> mesh = fn.parallel.mesh(data=1, devices=jax.devices()[:1])
            >>> @jax.shard_map(mesh=mesh, in_specs=P("data"), out_specs=P())
            ... def count(outputs, targets):
            ...     return metric.reduce(metric.update(metric.init(), outputs, targets), "data")
            >>> float(metric.compute(count(jnp.eye(4), jnp.arange(4))))
            1.0
        """
        return {name: part.reduce(axis_name) for name, part in state.items()}

    def compute(self, state: PyTree) -> Any:
        """Return the metric's value: an array, or a dict of arrays; ``nan`` where it is not defined.

        Raises:
            ValueError: outputs or targets did not fit the settings, or a buffer overflowed (inside a traced
                function the value is ``nan`` instead).
        """
        value, refused = _evaluate(self, state)
        mistakes = [(i, reason) for i, reason in enumerate(self.reasons()) if reason is not None]
        if concrete(refused) and (told := _sentences(mistakes, refused)):
            raise ValueError(f"{type(self).__name__}: " + "; ".join(told))
        return value

    def problems(self, state: PyTree) -> list[str]:
        """Read why the value is ``nan``, or will raise: a sentence for each reason; of arrays, not while traced."""
        nan = "the outputs or targets of {} rows hold NaN"
        return _sentences(
            [(i, reason or nan) for i, reason in enumerate(self.reasons())], self.refused(state)
        )

    def measure(self, outputs: Any, targets: Any, where: Any = None) -> Any:
        """Return the value for one batch alone.

        Example:
            >>> metric = fn.training.metrics.Accuracy()
            >>> float(metric.measure(jnp.array([[2.0, 1.0], [0.0, 1.0]]), jnp.array([0, 0])))
            0.5
        """
        return self.compute(_first_state(self, outputs, targets, where))


@partial(jax.jit, static_argnums=0)
def _evaluate(metric: Metric, state: PyTree) -> tuple[Any, Array]:
    """Compute the value, and why it is none, in one program."""
    value, refused = metric.value(state), metric.refused(state)
    bad = (refused > 0).any()
    return jax.tree.map(lambda leaf: _invalid_where(bad, leaf), value), refused


@partial(jax.jit, static_argnums=0)
def _first_state(metric: Metric, outputs: Any, targets: Any, where: Any) -> PyTree:
    return metric.update(metric.init(), outputs, targets, where)


def _sentences(reasons: Sequence[tuple[int, str]], refused: Array) -> list[str]:
    """Fill in how many rows each reason refused, where any."""
    numbers = np.asarray(refused)
    return [text.format(int(numbers[place])) for place, text in reasons if numbers[place]]


def _invalid_where(bad: Array, value: Array) -> Array:
    """Return NaN, or of whole numbers -1, where a value is not one."""
    nothing = jnp.nan if jnp.issubdtype(value.dtype, jnp.inexact) else -1
    return jnp.where(bad, jnp.asarray(nothing, value.dtype), value)


NAN, OUTSIDE, NO_PROBABILITIES = range(3)
"""The places of a ``refused`` count: why a row of outputs or targets was not counted."""


def class_reasons(classes: int | None) -> tuple[str | None, ...]:
    """Say what was wrong with rows of outputs and targets: `Metric.reasons` of metrics of classes.

    >>> len(class_reasons(10))
    3
    """
    expected = f"classes from 0 to {classes - 1}" if classes else "classes that the outputs have"
    return (
        None,
        f"the targets (or predictions) of {{}} rows are not {expected} (or zeros and ones, where a target has one "
        "output): if negative ones mark padding, give where=targets >= 0",
        "{} rows of outputs are no probabilities, which lie in [0, 1] and sum to one: write from_logits=True for "
        "logits",
    )


@dataclass(frozen=True, init=False)
class Metrics(Metric):
    """Several metrics as one: its state and value are dicts of theirs, or tuples.

    Each metric has a state of its own; nothing is shared. A metric may be another `Metrics`.

    Args:
        metrics: names to metrics, or a sequence of metrics.

    Example:
        >>> M = fn.training.metrics
        >>> metric = M.Metrics({"acc": M.Accuracy(), "f1": M.FBeta(2)})
        >>> value = metric.measure(jnp.array([[2.0, 1.0], [0.0, 1.0]]), jnp.array([0, 1]))
        >>> {name: float(number) for name, number in value.items()}
        {'acc': 1.0, 'f1': 1.0}
    """

    names: tuple[str, ...] | None
    metrics: tuple[Metric, ...]

    def __init__(self, metrics: Mapping[str, Metric] | Sequence[Metric]) -> None:
        named = isinstance(metrics, Mapping)
        # frozen: settings are set once, here
        object.__setattr__(self, "names", tuple(metrics) if named else None)
        object.__setattr__(self, "metrics", tuple(metrics.values() if named else metrics))
        for metric in self.metrics:
            if not isinstance(metric, Metric):
                raise TypeError(
                    f"Metrics takes metrics such as Accuracy(); got {metric!r}. For a function of outputs and targets "
                    "that returns a value for each row write metrics.Mean(function)"
                )

    def _joined(self, values: Iterator[Any]) -> Any:
        return tuple(values) if self.names is None else dict(zip(self.names, values, strict=True))

    def _split(self, state: Any) -> Iterator[tuple[Metric, Any]]:
        keys = range(len(self.metrics)) if self.names is None else self.names
        return ((metric, state[key]) for metric, key in zip(self.metrics, keys, strict=True))

    def init(self) -> PyTree:
        """Return the states of nothing counted."""
        return self._joined(metric.init() for metric in self.metrics)

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Have each metric count a batch."""
        return self._joined(
            metric.update(part, outputs, targets, where) for metric, part in self._split(state)
        )

    def merge(self, state: PyTree, other: PyTree) -> PyTree:
        """Add up each metric's states."""
        pairs = zip(self._split(state), self._split(other), strict=True)
        return self._joined(metric.merge(part, more) for (metric, part), (_, more) in pairs)

    def reduce(self, state: PyTree, axis_name: AxisName) -> PyTree:
        """Add up each metric's states over a mesh's axis."""
        return self._joined(metric.reduce(part, axis_name) for metric, part in self._split(state))

    def value(self, state: PyTree) -> Any:
        """Return each metric's value."""
        return self._joined(metric.value(part) for metric, part in self._split(state))

    def compute(self, state: PyTree) -> Any:
        """Return each metric's value, under its name or in its place."""
        return self._joined(metric.compute(part) for metric, part in self._split(state))

    def problems(self, state: PyTree) -> list[str]:
        """Read each metric's problems."""
        return [text for metric, part in self._split(state) for text in metric.problems(part)]
