"""What a run has added up so far, on the device (`Tally`), its readings (`Totals`), and steps that add to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from funcnet.core.aliases import Array, PyTree
from funcnet.core.shardings import leaf_constrained
from funcnet.training.loss_scaling import DynamicLossScale
from funcnet.training.metrics.totals import two_sum
from funcnet.training.named_metrics import NamedMetrics
from funcnet.training.objective import Objective
from funcnet.training.steps import Taken, make_measured_eval_step, make_measured_step
from funcnet.training.train_state import TrainState

__all__ = ["CountedEvaluation", "CountedStep", "Tally", "Totals"]

ODD_KINDS = 3
"""Values that are NaN, infinite, and negative infinite, are counted apart."""


@dataclass(frozen=True)
class Totals:
    """What a `Tally` held when it was read, on the host; the difference of two is what was added between them.

    Attributes:
        names: of what was added up.
        adds_up: the names whose batches add up to a sum, where others are averaged.
        sums: of values times weights.
        weights: of the values that were finite.
        odd: how many were NaN, infinite and negative infinite, ``(3, names)``.
        first_bad: the first step with a value that was not finite, or -1.
    """

    names: tuple[str, ...]
    adds_up: frozenset[str]
    sums: np.ndarray
    weights: np.ndarray
    odd: np.ndarray
    first_bad: int = -1

    def __sub__(self, earlier: "Totals") -> "Totals":
        """Return what was added since an earlier reading, which lacks a name where it was added to since."""
        if (earlier.names, earlier.adds_up) != (self.names, self.adds_up):
            earlier = earlier._under(self)
        rest = (self.sums - earlier.sums, self.weights - earlier.weights)
        # the device counts modulo 2^32
        odd = (self.odd - earlier.odd) % 2**32
        return Totals(self.names, self.adds_up, *rest, odd, self.first_bad)

    def _under(self, other: "Totals") -> "Totals":
        """Return these totals under the names of others; zero where there is none of a name."""
        here, there = _shared(other, self)
        sums, weights, odd = map(np.zeros_like, (other.sums, other.weights, other.odd))
        sums[here], weights[here] = self.sums[there], self.weights[there]
        odd[:, here] = self.odd[:, there]
        return Totals(other.names, other.adds_up, sums, weights, odd, self.first_bad)

    def means(self) -> dict[str, float]:
        """Return each mean, or sum: ``nan`` of nothing, and not finite where a value was not."""
        return {name: self._mean(place, name) for place, name in enumerate(self.names)}

    def _mean(self, place: int, name: str) -> float:
        nan, above, below = self.odd[:, place] > 0
        if nan or (above and below):
            return float("nan")
        if above or below:
            return float("inf") if above else float("-inf")
        if name in self.adds_up:
            return float(self.sums[place])
        weight = float(self.weights[place])
        return float(self.sums[place]) / weight if weight else float("nan")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tally:
    """Sums of named scalars over steps, each value times its weight, packed into two arrays.

    Sums and weights carry their rounding errors along, so that they have twice float32's digits, and the difference
    of two readings is right after any number of steps. A value that is not finite is counted apart and leaves the
    sums as they were. Immutable, and a pytree: `add` inside a jitted step, `read` when the numbers are wanted.

    Args:
        floats: sums, their errors, weights, their errors, ``(4, names)``.
        counts: of values that were not finite, by kind, and the first such step.
        names: of what is added up.
        adds_up: whether a name's batches add up to a sum.

    Example:
        >>> from funcnet.training.loop.tally import Tally
        >>> tally = Tally.zeros(["loss"]).add({"loss": jnp.array(1.0)}, {"loss": 3})
        >>> before = tally.read()
        >>> tally = tally.add({"loss": jnp.array(5.0)}, {"loss": 1})
        >>> tally.read().means(), (tally.read() - before).means()
        ({'loss': 2.0}, {'loss': 5.0})
    """

    floats: Array
    counts: Array
    names: tuple[str, ...] = field(metadata={"static": True})
    adds_up: tuple[str, ...] = field(default=(), metadata={"static": True})

    @classmethod
    def zeros(cls, names: Sequence[str], adds_up: Sequence[str] = ()) -> "Tally":
        """Start with nothing added.

        Args:
            names: of what will be added.
            adds_up: those of them that are sums over a batch, so that an epoch's is the sum of its batches'.
        """
        number = len(names)
        counts = jnp.zeros(ODD_KINDS * number + 1, jnp.int32).at[-1].set(-1)
        return cls(jnp.zeros((4, number), jnp.float32), counts, tuple(names), tuple(adds_up))

    def add(self, values: Mapping[str, Any], weights: Mapping[str, Any], step: Any = 0) -> "Tally":
        """Add one step's values.

        Args:
            values: scalars by name.
            weights: what each stands for: samples, tokens; a value of weight 0 counts for nothing, whatever it is.
                None, or nothing, for those that add up.
            step: the number of the step, an int32 scalar.
        """
        if not self.names:
            return self
        value = _row(values[name] for name in self.names)
        given = (None if name in self.adds_up else weights[name] for name in self.names)
        weight = _row(1 if one is None else one for one in given)
        product, counted = value * weight, weight != 0
        good = counted & jnp.isfinite(product)
        terms = jnp.where(good, jnp.stack([product, weight]), 0)
        totals, errors = two_sum(self.floats[0::2], terms)
        floats = jnp.stack([*two_sum(totals, self.floats[1::2] + errors)], 1).reshape(4, -1)
        counts = self._counted(jnp.where(counted, product, 0), value, step)
        return Tally(floats, counts, self.names, self.adds_up)

    def _counted(self, product: Array, value: Array, step: Any) -> Array:
        """Count what is not finite. A loss that is not makes gradients that are not, whatever its weight."""
        kinds = jnp.stack([jnp.isnan(product), jnp.isposinf(product), jnp.isneginf(product)])
        loss = np.array([name == "loss" for name in self.names])
        bad = kinds.any() | (loss & ~jnp.isfinite(value)).any()
        first = self.counts[-1]
        first = jnp.where((first < 0) & bad, jnp.asarray(step, jnp.int32), first)
        odd = self.counts[:-1] + kinds.astype(jnp.int32).ravel()
        return jnp.concatenate([odd, first[None]])

    def going_on(self, earlier: "Tally") -> "Tally":
        """Return an earlier tally under the names of this empty one; what it lacks begins with nothing added.

        Example:
            >>> from funcnet.training.loop.tally import Tally
            >>> earlier = Tally.zeros(["loss"]).add({"loss": 2.0}, {"loss": 3})
            >>> Tally.zeros(["loss", "mae"]).going_on(earlier).read().means()
            {'loss': 2.0, 'mae': nan}
        """
        if (earlier.names, earlier.adds_up) == (self.names, self.adds_up):
            return earlier
        here, there = _shared(self, earlier)
        old_floats, old_counts = map(np.asarray, jax.device_get((earlier.floats, earlier.counts)))
        floats, counts = (np.zeros(each.shape, each.dtype) for each in (self.floats, self.counts))
        floats[:, here] = old_floats[:, there]
        odd = counts[:-1].reshape(ODD_KINDS, -1)
        odd[:, here] = old_counts[:-1].reshape(ODD_KINDS, -1)[:, there]
        counts[-1] = old_counts[-1]
        return Tally(jnp.asarray(floats), jnp.asarray(counts), self.names, self.adds_up)

    def read(self) -> Totals:
        """Read everything in one transfer; this waits for the device."""
        floats, counts = jax.device_get((self.floats, self.counts))
        wide = np.asarray(floats, np.float64)
        odd = np.asarray(counts[:-1], np.int64).reshape(ODD_KINDS, -1) % 2**32
        sums = (wide[0] + wide[1], wide[2] + wide[3])
        return Totals(self.names, frozenset(self.adds_up), *sums, odd, int(counts[-1]))


def _shared(new: Any, old: Any) -> tuple[list[int], list[int]]:
    """Return the places in two tallies, or totals, of the names that both have, and add up in the same way."""
    names = [n for n in new.names if n in old.names and (n in new.adds_up) == (n in old.adds_up)]
    return [*map(new.names.index, names)], [*map(old.names.index, names)]


def _row(scalars: Any) -> Array:
    return jnp.stack([jnp.asarray(one).astype(jnp.float32).reshape(()) for one in scalars])


class CountedStep:
    """A training step that also adds up what it measured: a plain function, to be jitted by the loop.

    ``step(run, tally, counted, batch) -> (run, tally, counted, taken)``, where ``counted`` is the state of ``metrics``
    and ``taken`` holds the step's gradients and updates, for observers.

    Args:
        objective: see `Objective`.
        optimizer: see `make_train_step`.
        metrics: from `NamedMetrics.of`.
        loss_scale: see `make_train_step`.
        whole: where the tally and the metrics' states lie on a mesh, on every device; None without a mesh.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Any,
        metrics: NamedMetrics,
        loss_scale: DynamicLossScale | None = None,
        whole: NamedSharding | None = None,
    ) -> None:
        self.step = make_measured_step(objective, optimizer, loss_scale=loss_scale)
        self.metrics, self.whole = metrics, whole
        self.weights = _weights(lambda run, batch: self.step(run, batch)[1].found, metrics)

    def __call__(
        self, run: TrainState, tally: Tally, counted: PyTree, batch: Any
    ) -> tuple[TrainState, Tally, PyTree, Taken]:
        """Make a step."""
        before = run.step
        run, taken = self.step(run, batch)
        counted, found = self.metrics.update(counted, taken.found)
        tally = tally.add(found.metrics, found.weights, before)
        tally, counted = _on_every_device((tally, counted), self.whole)
        return run, tally, counted, taken._replace(found=found)

    def start(self, run: TrainState, batch: Any) -> Tally:
        """Return an empty tally for what a batch's step will measure."""
        return _empty(self.weights, run, batch)


class CountedEvaluation:
    """An evaluation step that adds up: ``step(run, tally, counted, batch) -> (tally, counted)``.

    Args:
        objective: see `Objective`.
        metrics: from `NamedMetrics.of`.
        whole: see `CountedStep`.
    """

    def __init__(
        self, objective: Objective, metrics: NamedMetrics, whole: NamedSharding | None = None
    ) -> None:
        self.step = make_measured_eval_step(objective)
        self.metrics, self.whole = metrics, whole
        self.weights = _weights(self.step, metrics)

    def __call__(
        self, run: TrainState, tally: Tally, counted: PyTree, batch: Any
    ) -> tuple[Tally, PyTree]:
        """Measure a batch."""
        counted, found = self.metrics.update(counted, self.step(run, batch))
        tally = tally.add(found.metrics, found.weights, run.step)
        return _on_every_device((tally, counted), self.whole)

    def start(self, run: TrainState, batch: Any) -> Tally:
        """Return an empty tally for what a batch's step will measure."""
        return _empty(self.weights, run, batch)


def _weights(step: Any, metrics: NamedMetrics) -> Any:
    """Return a function that tells what each mean stands for: one object, which JAX traces once."""

    def weights(run: TrainState, batch: Any) -> dict[str, Any]:
        return metrics.update(metrics.init(), step(run, batch))[1].weights

    return weights


def _empty(weights: Any, run: TrainState, batch: Any) -> Tally:
    """Learn names, and which of them add up, from shapes."""
    found = jax.eval_shape(weights, run, batch)
    return Tally.zeros([*found], [name for name, weight in found.items() if weight is None])


def _on_every_device(tree: Any, whole: NamedSharding | None) -> Any:
    """Keep small totals whole, where XLA might spread them."""
    return tree if whole is None else leaf_constrained(tree, whole)
