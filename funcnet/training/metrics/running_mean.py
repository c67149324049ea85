"""Means and sums: of named scalars as a loop has them, and of any function of outputs and targets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.training.metrics.base import Metric
from funcnet.training.metrics.classes import row_mask
from funcnet.training.metrics.totals import Count, Total

__all__ = ["Mean", "RunningMean", "Sum"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RunningMean:
    """Means of named scalars over batches, each weighted by its number of samples.

    Sums have twice float32's digits, so that the mean is right after any number of batches. Immutable, and a pytree:
    `add` inside a jitted step, `compute` when the numbers are wanted.

    Example:
        >>> mean = fn.training.RunningMean.zeros(["loss"])
        >>> mean = mean.add({"loss": jnp.array(1.0)}, 3).add({"loss": jnp.array(5.0)}, 1)
        >>> mean.compute()
        {'loss': 2.0}
    """

    totals: dict[str, Total]
    weight: Total

    @classmethod
    def zeros(cls, names: Any) -> "RunningMean":
        """Start with nothing added."""
        return cls({name: Total.zeros() for name in names}, Total.zeros())

    def add(self, metrics: Mapping[str, Array], weight: float | Array) -> "RunningMean":
        """Add one batch's means, each standing for ``weight`` samples."""
        weight = jnp.asarray(weight, jnp.float32)
        # a batch of no weight may have means that are not numbers
        terms = {
            name: jnp.where(weight > 0, jnp.asarray(metrics[name], jnp.float32) * weight, 0)
            for name in self.totals
        }
        totals = {name: total.add(terms[name], ()) for name, total in self.totals.items()}
        return RunningMean(totals, self.weight.add(weight, ()))

    def compute(self) -> dict[str, float]:
        """Read the means; before anything was added they are ``nan``."""
        totals, weight = jax.device_get((self.totals, self.weight))
        divisor = _wide(weight)
        return {
            name: _wide(total) / divisor if divisor else float("nan")
            for name, total in totals.items()
        }


def _wide(total: Total) -> float:
    """Read a total with all its digits."""
    return float(total.sum) + float(total.error)


@dataclass(frozen=True)
class Sum(Metric):
    """The sum of a function over all rows that count.

    Args:
        function: ``function(outputs, targets)`` returns one number for each row ``(N,)``, or for each row and token;
            ``where`` masks these. Outputs and targets are any pytrees.

    Raises:
        ValueError: the function returns a scalar, of which no row can be left out.

    Example:
        >>> metric = fn.training.metrics.Sum(lambda outputs, targets: (outputs > targets).astype(jnp.float32))
        >>> float(metric.measure(jnp.array([1.0, 3.0]), jnp.array([2.0, 2.0])))
        1.0
    """

    function: Callable[[Any, Any], Array]

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        return {"sum": Total.zeros(), "rows": Count.zeros()}

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        each = jnp.asarray(self.function(outputs, targets))
        if not each.ndim:
            raise ValueError(
                f"{type(self).__name__} takes a function that returns one number for each row, (N,), so that "
                f"padded rows can be left out; it returned a scalar: leave out its mean or sum"
            )
        mask = row_mask(type(self).__name__, where, each.shape)
        terms = jnp.where(mask, each.astype(jnp.float32), 0).ravel()
        return {
            "sum": state["sum"].add(terms, (0,)),
            "rows": state["rows"].add(mask.sum(dtype=jnp.int32)),
        }

    def value(self, state: PyTree) -> Array:
        """Return the sum: zero of nothing."""
        return state["sum"].value()


@dataclass(frozen=True)
class Mean(Sum):
    """The mean of a function over all rows that count; ``nan`` before anything was counted.

    Args:
        function: as of `Sum`.

    Example:
        >>> metric = fn.training.metrics.Mean(lambda outputs, targets: jnp.abs(outputs - targets))
        >>> float(metric.measure(jnp.array([1.0, 3.0]), jnp.array([2.0, 7.0]), jnp.array([True, False])))
        1.0
    """

    def value(self, state: PyTree) -> Array:
        """Divide."""
        return state["sum"].value() / state["rows"].value()
