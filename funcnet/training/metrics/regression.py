"""How near numbers are to the true ones: squared and absolute errors, R², correlations."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.training.metrics.base import Metric
from funcnet.training.metrics.classes import as_arrays, row_mask
from funcnet.training.metrics.kept_scores import (
    Kept,
    check_capacity,
    overflow,
    overflow_reason,
    ranks,
)
from funcnet.training.metrics.totals import Count, Moments, Total

__all__ = ["MAE", "MSE", "NumberPairs", "Pearson", "R2", "RMSE", "Spearman"]


@dataclass(frozen=True)
class NumberPairs(Metric):
    """A metric of pairs of numbers, an output and what is true.

    Example:
        >>> issubclass(fn.training.metrics.MAE, fn.training.metrics.regression.NumberPairs)
        True
    """

    columns: int | None = None

    def pairs(self, outputs: Any, targets: Any, where: Any) -> tuple[Array, Array, Array]:
        """Return outputs and targets ``(N, columns)`` in float32, zero where they do not count, and the mask."""
        name = type(self).__name__
        outputs, targets = as_arrays(name, outputs, targets)
        if outputs.shape != targets.shape:
            hint = ""
            if outputs.shape in (*_with_column(targets.shape),):
                hint = ": write outputs[..., 0]"
            elif targets.shape in (*_with_column(outputs.shape),):
                hint = ": write targets[..., 0]"
            raise ValueError(
                f"{name} takes outputs and targets of one shape; got {outputs.shape} and {targets.shape}{hint}"
            )
        shape = outputs.shape
        if self.columns is None:
            mask = row_mask(name, where, shape).ravel()
        elif not shape or shape[-1] != self.columns:
            raise ValueError(
                f"{name} was made for columns={self.columns}; outputs have shape {shape}"
            )
        else:
            mask = row_mask(name, where, shape[:-1]).ravel()
        flat = [array.reshape(-1, self.columns or 1) for array in (outputs, targets)]
        x, y = (jnp.where(mask[:, None], array.astype(jnp.float32), 0) for array in flat)
        return x, y, mask

    def shaped(self, value: Array) -> Array:
        """Return one number for each column; a scalar where all numbers are of one kind."""
        return value[0] if self.columns is None else value


def _with_column(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [(*shape, 1)]


def _each(mask: Array, columns: int | None) -> Array:
    """Return a mask of rows for each of their columns."""
    return jnp.broadcast_to(mask[:, None], (mask.shape[0], columns or 1))


@dataclass(frozen=True)
class MSE(NumberPairs):
    """The mean of squared errors: ``Σ (output - target)² / n``.

    Outputs and targets have one shape, any; ``where`` marks elements, or rows of them. ``nan`` before anything was
    counted, and if a number that counts is NaN.

    Args:
        columns: None: all numbers are of one kind, and the value is a scalar; or the length of the last axis, to
            have a value for each of its places. scikit-learn's average over several outputs is their mean.

    Example:
        >>> metric = fn.training.metrics.MSE()
        >>> float(metric.measure(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        2.0

    Reference: ``mean_squared_error`` of scikit-learn.
    """

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        return {"error": Total.zeros((self.columns or 1,)), "rows": Count.zeros()}

    def error(self, apart: Array) -> Array:
        """Return what is averaged, of the differences."""
        return jnp.square(apart)

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        x, y, mask = self.pairs(outputs, targets, where)
        return {
            "error": state["error"].add(self.error(x - y), (0,)),
            "rows": state["rows"].add(mask.sum(dtype=jnp.int32)),
        }

    def value(self, state: PyTree) -> Array:
        """Divide."""
        return self.shaped(state["error"].value() / state["rows"].value())


@dataclass(frozen=True)
class RMSE(MSE):
    """The root of the mean of squared errors. Arguments and what is ``nan``: as of `MSE`.

    Example:
        >>> metric = fn.training.metrics.RMSE()
        >>> float(metric.measure(jnp.array([1.0, 2.0]), jnp.array([5.0, 6.0])))
        4.0

    Reference: ``root_mean_squared_error`` of scikit-learn.
    """

    def value(self, state: PyTree) -> Array:
        """Divide, and take the root."""
        return jnp.sqrt(super().value(state))


@dataclass(frozen=True)
class MAE(MSE):
    """The mean of absolute errors: ``Σ |output - target| / n``. Arguments and what is ``nan``: as of `MSE`.

    Example:
        >>> metric = fn.training.metrics.MAE()
        >>> float(metric.measure(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        1.0

    Reference: ``mean_absolute_error`` of scikit-learn.
    """

    def error(self, apart: Array) -> Array:
        """Return what is averaged, of the differences."""
        return jnp.abs(apart)


@dataclass(frozen=True)
class R2(NumberPairs):
    """The share of the targets' variance that outputs explain: ``1 - Σ (target - output)² / Σ (target - mean)²``.

    Of targets that are all equal it is 1 if outputs are too, else 0, as scikit-learn has it. ``nan`` of fewer than two
    rows, and if a number that counts is NaN. The variance is merged around means, so that an offset costs no digits.

    Args:
        columns: as of `MSE`.

    Example:
        >>> metric = fn.training.metrics.R2()
        >>> round(float(metric.measure(jnp.array([2.5, 0.0, 2.0, 8.0]), jnp.array([3.0, -0.5, 2.0, 7.0]))), 4)
        0.9486

    Reference: ``r2_score`` of scikit-learn.
    """

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        return {
            "error": Total.zeros((self.columns or 1,)),
            "targets": Moments.zeros(1, self.columns or 1),
        }

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        x, y, mask = self.pairs(outputs, targets, where)
        return {
            "error": state["error"].add(jnp.square(x - y), (0,)),
            "targets": state["targets"].add(y[:, None], _each(mask, self.columns)),
        }

    def value(self, state: PyTree) -> Array:
        """Divide."""
        error, moments = state["error"].value(), state["targets"]
        variance = moments.products.value()[0, 0]
        share = 1 - error / jnp.where(variance == 0, 1, variance)
        share = jnp.where(
            variance == 0, jnp.where(error == 0, 1, jnp.where(jnp.isnan(error), error, 0)), share
        )
        return self.shaped(jnp.where(moments.count.value() < 2, jnp.nan, share))


@dataclass(frozen=True)
class Pearson(NumberPairs):
    """The linear correlation of outputs and targets: ``cov(x, y) / (σ_x σ_y)``.

    ``nan`` of fewer than two rows, if either is constant, and if a number that counts is NaN.

    Args:
        columns: as of `MSE`.

    Example:
        >>> metric = fn.training.metrics.Pearson()
        >>> round(float(metric.measure(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 3.0, 2.0]))), 4)
        0.5

    Reference: ``scipy.stats.pearsonr``; Pearson, Notes on Regression and Inheritance, 1895.
    """

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        return {"moments": Moments.zeros(2, self.columns or 1)}

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        x, y, mask = self.pairs(outputs, targets, where)
        both = jnp.stack([x, y], axis=1)
        return {"moments": state["moments"].add(both, _each(mask, self.columns))}

    def value(self, state: PyTree) -> Array:
        """Divide."""
        return self.shaped(correlation(state["moments"].products.value()))


def correlation(products: Array) -> Array:
    """Return the correlation of two variables from the sums of their products ``(2, 2, columns)``.

    >>> float(correlation(jnp.array([[4.0, 2.0], [2.0, 4.0]])[:, :, None])[0])
    0.5
    """
    # each root alone: the product of both variances could leave float32
    found = products[0, 1] / (jnp.sqrt(products[0, 0]) * jnp.sqrt(products[1, 1]))
    return jnp.clip(found, -1, 1)


@dataclass(frozen=True)
class Spearman(NumberPairs):
    """The correlation of ranks, equal numbers sharing their mean rank: exact, in a buffer of rows.

    More rows than ``capacity`` raise ``ValueError`` in `compute` (traced: ``nan``). Else ``nan`` as `Pearson`.

    Args:
        columns: as of `MSE`.
        capacity: how many rows to keep.

    Example:
        >>> metric = fn.training.metrics.Spearman(capacity=100)
        >>> round(float(metric.measure(jnp.array([1.0, 2.0, 30.0]), jnp.array([1.0, 3.0, 2.0]))), 4)
        0.5

    Reference: ``scipy.stats.spearmanr``.
    """

    capacity: int = 0

    def __post_init__(self) -> None:
        check_capacity("Spearman", self.capacity)

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        width = (self.columns or 1, jnp.float32)
        return {"kept": Kept.empty(self.capacity, outputs=width, targets=width)}

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Keep a batch."""
        x, y, mask = self.pairs(outputs, targets, where)
        return {"kept": state["kept"].add({"outputs": x, "targets": y}, mask)}

    def refused(self, state: PyTree) -> Array:
        """Return how many rows hold NaN, and how many were to be kept if there were too many."""
        kept = state["kept"]
        nan = jnp.isnan(kept.rows["outputs"]) | jnp.isnan(kept.rows["targets"])
        number = (nan & kept.filled()[:, None]).any(1).sum(dtype=jnp.int32)
        return jnp.stack([number.astype(jnp.float32), overflow(kept)])

    def reasons(self) -> tuple[str | None, ...]:
        """Say what to write instead."""
        return None, overflow_reason(self.capacity)

    def value(self, state: PyTree) -> Array:
        """Rank, and correlate."""
        kept = state["kept"]
        filled = kept.filled()
        number = filled.sum(dtype=jnp.int32).astype(jnp.float32)

        def centred(values: Array) -> Array:
            return jnp.where(filled, ranks(values, filled) - (number + 1) / 2, 0)

        x, y = (
            jnp.stack([centred(column) for column in kept.rows[name].T])
            for name in ("outputs", "targets")
        )
        both = jnp.stack([x, y])
        return self.shaped(correlation(Total.of(both[:, None] * both[None], (3,)).value()))
