"""The two functions at the heart of every loop: a training step and an evaluation step."""

from collections.abc import Callable
from typing import Any

import jax

from funcnet.core.aliases import Array
from funcnet.optim import apply_updates
from funcnet.optim.gradients.conjugate import conjugated
from funcnet.training.objective import Metrics, Objective
from funcnet.training.train_state import TrainState

__all__ = ["make_eval_step", "make_train_step"]


def make_train_step(
    objective: Objective, optimizer: Any
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """Make ``step(train_state, batch) -> (train_state, metrics)``, a pure function to be jitted.

    Args:
        objective: see `Objective`.
        optimizer: a pair ``(init, update)`` from `funcnet.optim` or Optax.

    Returns:
        The step. Under ``jax.jit(step, donate_argnums=0)`` parameters are updated in place.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> optimizer = optim.sgd(0.1)
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> step = jax.jit(fn.training.make_train_step(objective, optimizer))
        >>> run, metrics = step(run, {"x": jnp.ones((2, 4)), "y": jnp.array([0, 1])})
        >>> int(run.step)
        1
    """

    def step(run: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(run.key, run.step)

        def loss(params: Any) -> tuple[Array, tuple[Metrics, Any]]:
            return objective(params, run.state, batch, key, True)

        (_, (metrics, state)), grads = jax.value_and_grad(loss, has_aux=True)(run.params)
        # JAX's gradient for a complex parameter is the conjugate of the direction of steepest ascent
        grads = conjugated(grads)
        updates, opt_state = optimizer.update(grads, run.opt_state, run.params)
        params = apply_updates(run.params, updates)
        return TrainState(params, state, opt_state, run.step + 1, run.key), metrics

    return step


def make_eval_step(objective: Objective) -> Callable[[TrainState, Any], Metrics]:
    """Make ``step(train_state, batch) -> metrics``: the objective in evaluation mode.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> step = jax.jit(fn.training.make_eval_step(objective))
        >>> sorted(step(run, {"x": jnp.ones((2, 4)), "y": jnp.array([0, 1])}))
        ['loss']
    """

    def step(run: TrainState, batch: Any) -> Metrics:
        _, (metrics, _) = objective(run.params, run.state, batch, None, False)
        return metrics

    return step
