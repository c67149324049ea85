"""Running means of metrics, kept on the device so that no step waits for a number to be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array

__all__ = ["RunningMean"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RunningMean:
    """Means of named scalars over batches, each weighted by its number of samples.

    Immutable, and a pytree: `add` inside a jitted step, `compute` when the numbers are wanted.

    Example:
        >>> mean = fn.training.RunningMean.zeros(["loss"])
        >>> mean = mean.add({"loss": jnp.array(1.0)}, 3).add({"loss": jnp.array(5.0)}, 1)
        >>> mean.compute()
        {'loss': 2.0}
    """

    totals: dict[str, Array]
    weight: Array

    @classmethod
    def zeros(cls, names: Any) -> "RunningMean":
        """Start with nothing added."""
        return cls({name: jnp.zeros((), jnp.float32) for name in names}, jnp.zeros((), jnp.float32))

    def add(self, metrics: Mapping[str, Array], weight: float | Array) -> "RunningMean":
        """Add one batch's means, each standing for ``weight`` samples."""
        weight = jnp.asarray(weight, jnp.float32)
        # a batch of no weight may have means that are not numbers
        totals = {
            name: total + jnp.where(weight > 0, jnp.asarray(metrics[name], jnp.float32) * weight, 0)
            for name, total in self.totals.items()
        }
        return RunningMean(totals, self.weight + weight)

    def compute(self) -> dict[str, float]:
        """Read the means; before anything was added they are ``nan``."""
        weight = float(self.weight)
        return {
            name: float(total) / weight if weight else float("nan")
            for name, total in self.totals.items()
        }
