"""Training: a step compiled once, and what it moves."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding

from funcnet.core.aliases import Array, PyTree
from funcnet.core.shardings import leaf_constrained
from funcnet.training.loop.evaluation import values_of
from funcnet.training.loop.on_mesh import Setup, cached, in_step
from funcnet.training.loop.tally import CountedStep, Tally
from funcnet.training.loss_scaling import DynamicLossScale
from funcnet.training.named_metrics import NamedMetrics
from funcnet.training.objective import Objective
from funcnet.training.steps import Taken
from funcnet.training.train_state import TrainState

__all__ = ["Measure", "Training"]

Measure = tuple[Callable[..., Mapping[str, Array]], int]
"""What an observer measures within a step, and after how many steps."""


@lru_cache(maxsize=16)
def _train_functions(
    objective: Objective,
    optimizer: Any,
    metrics: NamedMetrics,
    loss_scale: DynamicLossScale | None,
    whole: NamedSharding | None,
    measures: tuple[Measure, ...],
) -> tuple[CountedStep, Any, Any, Any, set[Any]]:
    step = CountedStep(objective, optimizer, metrics, loss_scale, whole)

    def values(run: TrainState, batch: Any) -> list[Mapping[str, Array]]:
        taken = step.step(run, batch)[1]
        return [measure(run, taken.grads, taken.updates) for measure, _ in measures]

    def moved(
        run: TrainState, tally: Tally, counted: PyTree, measured: Sequence[Array], batch: Any
    ) -> tuple[TrainState, Tally, PyTree, Sequence[Array]]:
        after, tally, counted, taken = step(run, tally, counted, batch)
        measured = [
            _measured(measure, every, old, run, taken)
            for (measure, every), old in zip(measures, measured, strict=True)
        ]
        measured = measured if whole is None else leaf_constrained(measured, whole)
        return after, tally, counted, measured

    compiled = jax.jit(moved, donate_argnums=(0, 1, 2, 3))
    return step, compiled, values, jax.jit(metrics.init), set()


def _alike(one: PyTree, other: PyTree) -> bool:
    """Tell whether two states are of one kind."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in leaves)


def _measured(measure: Any, every: int, old: Array, before: TrainState, taken: Taken) -> Array:
    """Measure a step if its turn has come, else return what was measured last."""
    due = (before.step + 1) % every == 0
    return lax.cond(due, lambda: _row(measure(before, taken.grads, taken.updates)), lambda: old)


def _row(values: Mapping[str, Any]) -> Array:
    """Pack an observer's scalars, in the order of their names."""
    for name, value in values.items():
        if jnp.ndim(value):
            raise ValueError(
                f"measure returns scalars by name; {name!r} has shape {jnp.shape(value)}: take its mean, its norm, or "
                "give each part a name"
            )
    return jnp.array([jnp.asarray(values[name]).astype(jnp.float32) for name in sorted(values)])


class Training:
    """A training step compiled once, and what it moves.

    Args:
        setup: of the objective and the optimizer.
        run: to begin with; it stays whole.
        metrics: that add up until they are read.
        loss_scale: of the step.

    Attributes:
        run: after the last step.
        steps: how many it has made.
        tally: of the means of all steps; None before the first.
        counted: the state of the metrics since their last reading.
        measured: what each observer measured last, packed.
        measures: what observers measure; to be set before the first step.
    """

    def __init__(
        self,
        setup: Setup,
        run: TrainState,
        metrics: NamedMetrics,
        loss_scale: DynamicLossScale | None = None,
    ) -> None:
        self.setup, self.metrics, self.loss_scale = setup, metrics, loss_scale
        self.run = jax.tree.map(jnp.copy, run)  # the steps donate it; the caller's stays whole
        self.steps = int(run.step)
        self.tally: Tally | None = None
        self.counted: PyTree = None
        self.measured: Sequence[Array] = ()
        self.measures: tuple[Measure, ...] = ()
        self._compiled: Any = None
        self._together = False
        self._names: list[list[str]] = []
        self._since = self.steps
        self._read: tuple[int, Any] = (-1, None)
        self._values: tuple[int, list[tuple[int, dict[str, float]]]] = (-1, [])
        self._warned = False

    def restore(self, tally: Tally | None, counted: PyTree, measured: Sequence[Array]) -> None:
        """Go on from what a checkpoint kept."""
        self.tally, self.counted, self.measured = tally, counted, measured

    def step(self, call: Callable[..., Any], batch: Any) -> None:
        """Make a step.

        Args:
            call: `Progress.call`.
            batch: to train on.
        """
        if self._compiled is None:
            self._begin(batch)
        self.run, self.tally, self.counted, self.measured = call(
            self._compiled, self.run, self.tally, self.counted, self.measured,
            batch=batch, known=self._known,
        )  # fmt: skip
        if self._together:
            in_step(self.tally)
        self.steps += 1

    def _begin(self, batch: Any) -> None:
        """Make the step, and what it adds to, for batches like this one."""
        setup = self.setup
        plain, compiled, values, self._init, self._known = cached(
            _train_functions, setup.objective, setup.optimizer, self.metrics, self.loss_scale,
            setup.whole, self.measures,
        )  # fmt: skip
        tally, counted = plain.start(self.run, batch), self._init()
        if self.tally is not None:  # of a checkpoint, whose call may have had other metrics
            tally = tally.going_on(self.tally)
            counted |= {
                n: old for n, old in (self.counted or {}).items() if _alike(old, counted.get(n))
            }

        found = jax.eval_shape(values, self.run, batch) if self.measures else []
        self._names = [sorted(one) for one in found]
        if [len(names) for names in self._names] == [len(one) for one in self.measured]:
            self._since = -1
            measured = [jnp.asarray(one) for one in self.measured]
        else:
            measured = [jnp.zeros(len(names), jnp.float32) for names in self._names]
        self.tally, self.counted, self.measured = setup.place_whole((tally, counted, measured))
        self._compiled = compiled
        self._together = len(self.run.step.sharding.device_set) > 1

    def read(self) -> Tally | None:
        """Bring the tally to the host, waiting for the device; None before the first step."""
        if self.tally is not None and self._read[0] != self.steps:
            self._read = (self.steps, jax.device_get(self.tally))
            self._warn(self._read[1].read().first_bad)
        return self._read[1]

    def read_measured(self) -> list[tuple[int, dict[str, float]]]:
        """Read what each observer measured last, with the step at which it did so; what is older comes first."""
        if not self._names:
            return []
        if self._values[0] != self.steps:
            self._values = (self.steps, self._measured_now())
        return self._values[1]

    def _measured_now(self) -> list[tuple[int, dict[str, float]]]:
        found: list[tuple[int, dict[str, float]]] = []
        rows = jax.device_get(self.measured)
        for (_, every), names, row in zip(self.measures, self._names, rows, strict=True):
            when = self.steps - self.steps % every
            if when > self._since:
                found.append((when, dict(zip(names, row.tolist(), strict=True))))
        return sorted(found, key=lambda one: one[0])

    def read_counted(self) -> dict[str, Any]:
        """Return the values of the metrics since they were read last, and begin anew."""
        if self._compiled is None or not self.metrics.objects:
            return {}
        values = values_of(self.metrics, self.counted)
        self.counted = self.setup.place_whole(self._init())
        return values

    def _warn(self, step: int) -> None:
        if step >= 0 and not self._warned:
            self._warned = True
            warnings.warn(
                f"a metric was not finite at step {step}, so means of this run may be nan there: lower the "
                "learning rate, clip (optim.clip_by_global_norm), skip such steps (optim.skip_nonfinite), or find "
                "the layer with fn.nan_guard",
                RuntimeWarning,
                stacklevel=6,
            )
