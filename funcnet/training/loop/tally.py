"""Tally: sums of a step's metrics that grow on the device and are read when somebody asks."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array

__all__ = ["Tally", "Totals"]


@dataclass(frozen=True)
class Totals:
    """What a tally holds, on the host; the difference of two is what came between them.

    Attributes:
        sums: by name, of finite values times their weights.
        weights: by name, of finite values.
        bad: by name, how many values were not finite.
        first_bad: the first step that had one, or -1.

    Example:
        >>> from funcnet.training.loop.tally import Totals
        >>> (Totals({"loss": 6.0}, {"loss": 3.0}) - Totals({"loss": 2.0}, {"loss": 1.0})).means()
        {'loss': 2.0}
    """

    sums: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    bad: dict[str, float] = field(default_factory=dict)
    first_bad: int = -1

    def __sub__(self, earlier: "Totals") -> "Totals":
        """Return what came since ``earlier``."""
        return Totals(
            _since(self.sums, earlier.sums),
            _since(self.weights, earlier.weights),
            _since(self.bad, earlier.bad),
            self.first_bad,
        )

    def means(self) -> dict[str, float]:
        """Return the means by name: ``nan`` where a value was not finite, or where there was none."""
        return {
            name: total / self.weights[name]
            if self.weights[name] and not self.bad.get(name)
            else math.nan
            for name, total in self.sums.items()
        }


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tally:
    """Sums of named scalars with weights: a pytree of two arrays, added to inside a jitted step.

    The sums are compensated: they are exact for millions of steps, so that the difference of two readings is right.

    Example:
        >>> from funcnet.training.loop.tally import Tally
        >>> tally = Tally.zeros(["loss"]).add({"loss": jnp.array(2.0)}, {"loss": 3}, jnp.array(0))
        >>> tally.read().means()
        {'loss': 2.0}
    """

    rows: Array
    first_bad: Array
    names: tuple[str, ...] = field(metadata={"static": True})

    @classmethod
    def zeros(cls, names: Iterable[str]) -> "Tally":
        """Start with nothing added."""
        names = tuple(sorted(names))
        return cls(jnp.zeros((5, len(names)), jnp.float32), jnp.full((), -1, jnp.int32), names)

    def add(
        self, means: Mapping[str, Any], weights: Mapping[str, Any], step: Array | int = 0
    ) -> "Tally":
        """Add one batch's means, each standing for its weight.

        Args:
            means: by name.
            weights: by name.
            step: which is noted if a mean is not finite.
        """
        mean, weight = self._stacked(means), self._stacked(weights)
        bad = jnp.logical_and(weight > 0, jnp.logical_not(jnp.isfinite(mean)))
        weight = jnp.where(bad, 0, weight)
        term = jnp.where(weight > 0, mean * weight, 0)
        sums, lost = _add_exactly(self.rows[0], self.rows[1], term)
        weights_, lost_weight = _add_exactly(self.rows[2], self.rows[3], weight)
        rows = jnp.stack(
            [sums, lost, weights_, lost_weight, self.rows[4] + bad.astype(jnp.float32)]
        )
        first = jnp.where((self.first_bad < 0) & bad.any(), step, self.first_bad)
        return Tally(rows, first.astype(jnp.int32), self.names)

    def _stacked(self, values: Mapping[str, Any]) -> Array:
        return jnp.stack([jnp.asarray(values[name], jnp.float32) for name in self.names])

    def read(self) -> Totals:
        """Read everything from the device, in one transfer."""
        rows, first = jax.device_get((self.rows, self.first_bad))
        rows = rows.astype(np.float64)
        sums, weights, bad = (
            dict(zip(self.names, row.tolist(), strict=True))
            for row in (rows[0] + rows[1], rows[2] + rows[3], rows[4])
        )
        return Totals(sums, weights, bad, int(first))


def _since(now: dict[str, float], then: dict[str, float]) -> dict[str, float]:
    return {name: value - then.get(name, 0.0) for name, value in now.items()}


def _add_exactly(total: Array, lost: Array, term: Array) -> tuple[Array, Array]:
    """Add, and keep beside the sum what rounding took from it (Knuth's two-sum)."""
    new = total + term
    part = new - total
    return new, lost + ((total - (new - part)) + (term - part))
