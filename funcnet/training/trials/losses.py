"""What all trials share: a step that tells the loss, on a copy of the run, and batches that do not end."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, Params, State
from funcnet.training.loss_scaling import DynamicLossScale
from funcnet.training.objective import Metrics, Objective, Supervised
from funcnet.training.steps import make_train_step
from funcnet.training.train_state import TrainState

__all__ = ["again_and_again", "copied", "loss_step"]


def loss_step(
    objective: Objective, optimizer: Any, loss_scale: DynamicLossScale | None = None
) -> Callable[[TrainState, Any], tuple[TrainState, Array]]:
    """Make ``step(run, batch) -> (run, loss)``, whatever metrics an objective reports."""

    def told(
        params: Params, state: State, batch: Any, key: Key | None, train: bool
    ) -> tuple[Array, tuple[Metrics, State]]:
        loss, (_, state) = objective(params, state, batch, key, train)
        return loss, ({"loss": loss}, state)

    # what `supervised` makes reports its loss itself, and may compute it in parts
    telling = objective if isinstance(objective, Supervised) else told
    plain = make_train_step(telling, optimizer, loss_scale=loss_scale)

    def step(run: TrainState, batch: Any) -> tuple[TrainState, Array]:
        run, metrics = plain(run, batch)
        return run, metrics["loss"].astype(jnp.float32)

    return step


def copied(run: TrainState) -> TrainState:
    """Return a copy, whose arrays a trial may use up; the run given stays as it was.

    Raises:
        TypeError: it is no `TrainState`.
    """
    if not isinstance(run, TrainState):
        raise TypeError(
            f"a trial takes a run, training.TrainState.create(net, optimizer, key); got {type(run).__name__}"
        )
    return jax.tree.map(jnp.copy, run)


def again_and_again(batches: Iterable[Any]) -> Iterator[Any]:
    """Give batches epoch after epoch; of an iterator, which has one epoch only, until it ends.

    Raises:
        ValueError: there is none.
    """
    number = 0
    while True:
        before = number
        for batch in batches:
            number += 1
            yield batch
        if not number:
            raise ValueError("batches is empty: there is nothing to try on")
        if iter(batches) is batches or number == before:
            return
