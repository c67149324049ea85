"""Training: a step compiled once, and the state that it moves through an epoch."""

import time
import warnings
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.training.loop.interruption import Interruption
from funcnet.training.loop.on_mesh import Setup, cached, in_step
from funcnet.training.loop.progress import Progress
from funcnet.training.loop.resuming import FitPosition, Keeper
from funcnet.training.metrics.running_mean import RunningMean
from funcnet.training.objective import Objective, weight_of
from funcnet.training.steps import make_train_step
from funcnet.training.train_state import TrainState

__all__ = ["Training"]


@lru_cache(maxsize=16)
def _train_functions(objective: Objective, optimizer: Any) -> tuple[Any, Any, set[Any]]:
    plain = make_train_step(objective, optimizer)

    def accumulate(
        run: TrainState, mean: RunningMean, first_bad: Array, batch: Any
    ) -> tuple[TrainState, RunningMean, Array]:
        before = run.step
        run, metrics = plain(run, batch)
        bad = jnp.logical_not(
            jnp.isfinite(jnp.stack([*metrics.values()]).astype(jnp.float32))
        ).any()
        first_bad = jnp.where((first_bad < 0) & bad, before, first_bad)
        return run, mean.add(metrics, weight_of(objective, batch)), first_bad

    return plain, jax.jit(accumulate, donate_argnums=(0, 1)), set()


class Training:
    """A training step compiled once, and the state that it moves."""

    def __init__(self, setup: Setup, run: TrainState) -> None:
        self.plain, self.step, self.known = cached(
            _train_functions, setup.objective, setup.optimizer
        )
        self.place = setup.place_whole
        self.run = jax.tree.map(jnp.copy, run)  # the steps donate it; the caller's stays whole
        self.steps = int(run.step)
        self.names: Any = None
        self.warned = False

    def over(
        self,
        bar: Progress,
        place: FitPosition,
        interruption: Interruption,
        keeper: Keeper | None,
        started: float,
        skipped: int,
    ) -> None:
        """Train on what is left of an epoch, or until Ctrl-C; ``place`` moves along."""
        if place.trained:
            return
        for number, batch in enumerate(bar):
            if number < skipped:
                continue
            if keeper is not None and keeper.waiting is not None:
                place.seconds = time.monotonic() - started
                keeper.settle(self.run, place)
                if interruption.requested:
                    break
            self._step(bar, place, batch)
            interruption.agree(self.steps)
            if keeper is not None:
                keeper.after_step(self.steps, interruption.requested)
            elif interruption.requested:
                break
        else:
            place.trained = True
            if keeper is not None and interruption.requested:
                keeper.after_step(self.steps, True)
                keeper.settle(self.run, place)
        if place.mean is None:
            raise ValueError("batches is empty: there is nothing to train on")
        self._warn(int(place.first_bad))

    def _step(self, bar: Progress, place: FitPosition, batch: Any) -> None:
        mean = place.mean
        if mean is None:
            self.names = self.names or jax.eval_shape(self.plain, self.run, batch)[1]
            mean = RunningMean.zeros(self.names)
        mean, place.first_bad = self.place((mean, place.first_bad))
        self.run, mean, place.first_bad = bar.call(
            self.step, self.run, mean, place.first_bad, batch=batch, known=self.known
        )
        place.mean = in_step(mean)
        place.batches += 1
        self.steps += 1
        bar.show(mean.compute)

    def _warn(self, step: int) -> None:
        if step >= 0 and not self.warned:
            self.warned = True
            warnings.warn(
                f"a metric was not finite at step {step}, so means of this run may be nan from there on: lower the "
                "learning rate, clip (optim.clip_by_global_norm), skip such steps (optim.skip_nonfinite), or find "
                "the layer with fn.nan_guard",
                RuntimeWarning,
                stacklevel=4,
            )
