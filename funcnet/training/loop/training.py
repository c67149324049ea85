"""Training: a step compiled once, and what it moves."""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.training.loop.on_mesh import Setup, cached, in_step
from funcnet.training.loop.tally import Tally
from funcnet.training.objective import Objective, weight_of
from funcnet.training.steps import make_train_step
from funcnet.training.train_state import TrainState

__all__ = ["Training"]


@lru_cache(maxsize=16)
def _train_functions(objective: Objective, optimizer: Any) -> tuple[Any, Any, set[Any]]:
    plain = make_train_step(objective, optimizer)

    def accumulate(run: TrainState, tally: Tally, batch: Any) -> tuple[TrainState, Tally]:
        before = run.step
        run, metrics = plain(run, batch)
        weight = weight_of(objective, batch)
        return run, tally.add(metrics, dict.fromkeys(metrics, weight), before)

    return plain, jax.jit(accumulate, donate_argnums=(0, 1)), set()


class Training:
    """A training step compiled once, and what it moves.

    Args:
        setup: of the objective and the optimizer.
        run: to begin with; it stays whole.
        tally: of the metrics before.

    Attributes:
        run: after the last step.
        steps: how many it has made.
        tally: of the metrics of all steps; None before the first.
    """

    def __init__(self, setup: Setup, run: TrainState, tally: Tally | None) -> None:
        self.plain, self.compiled, self.known = cached(
            _train_functions, setup.objective, setup.optimizer
        )
        self.place = setup.place_whole
        self.run = jax.tree.map(jnp.copy, run)  # the steps donate it; the caller's stays whole
        self.steps = int(run.step)
        self.tally = None if tally is None else self.place(tally)
        self._read: tuple[int, Any] = (-1, None)
        self._warned = False

    def step(self, call: Callable[..., Any], batch: Any) -> None:
        """Make a step.

        Args:
            call: `Progress.call`.
            batch: to train on.
        """
        if self.tally is None:
            names = jax.eval_shape(self.plain, self.run, batch)[1]
            self.tally = self.place(Tally.zeros(names))
        self.run, self.tally = call(
            self.compiled, self.run, self.tally, batch=batch, known=self.known
        )
        in_step(self.tally)
        self.steps += 1

    def read(self) -> Tally | None:
        """Bring the tally to the host, waiting for the device; None before the first step."""
        if self.tally is not None and self._read[0] != self.steps:
            self._read = (self.steps, jax.device_get(self.tally))
            self._warn(self._read[1].read().first_bad)
        return self._read[1]

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
