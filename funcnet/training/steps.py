"""The two functions at the heart of every loop: a training step and an evaluation step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim import LossScaleState, apply_updates, scale_loss
from funcnet.optim.gradients.conjugate import conjugated
from funcnet.training.loss_scaling import DynamicLossScale, scale_of
from funcnet.training.objective import Metrics, Objective
from funcnet.training.train_state import TrainState

__all__ = ["make_eval_step", "make_train_step"]


def make_train_step(
    objective: Objective, optimizer: Any, *, loss_scale: DynamicLossScale | None = None
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """Make ``step(train_state, batch) -> (train_state, metrics)``, a pure function to be jitted.

    Args:
        objective: see `Objective`.
        optimizer: a pair ``(init, update)`` from `funcnet.optim` or Optax. With `optim.loss_scale` in it, the loss is
            scaled here.
        loss_scale: for a model in float16, `dynamic_loss_scale`; `TrainState.create` is given the same.

    Returns:
        The step. Under ``jax.jit(step, donate_argnums=0)`` parameters are updated in place. A step that a loss scale
        skips leaves parameters, buffers and the optimizer's state as they were.

    Raises:
        TypeError: raised by the step: the run was made without the ``loss_scale``.

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
    if loss_scale is not None:
        optimizer = loss_scale.wrap(optimizer)

    def step(run: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        if loss_scale is not None and not isinstance(run.opt_state, LossScaleState):
            raise TypeError(
                "the step has a loss scale, but the run's optimizer state has none: write "
                "TrainState.create(net, optimizer, key, loss_scale=scale)"
            )
        scaler = scale_of(run.opt_state)
        key = jax.random.fold_in(run.key, run.step)

        def loss(params: Any) -> tuple[Array, tuple[Metrics, Any]]:
            value, aux = objective(params, run.state, batch, key, True)
            return value if scaler is None else scale_loss(scaler, value), aux

        (_, (metrics, state)), grads = jax.value_and_grad(loss, has_aux=True)(run.params)
        # JAX's gradient for a complex parameter is the conjugate of the direction of steepest ascent
        grads = conjugated(grads)
        updates, opt_state = optimizer.update(grads, run.opt_state, run.params)
        params = apply_updates(run.params, updates)
        if scaler is not None:
            taken = _skipped(opt_state) == scaler.skipped
            state = jax.tree.map(lambda new, old: jnp.where(taken, new, old), state, run.state)
        return TrainState(params, state, opt_state, run.step + 1, run.key), metrics

    return step


def _skipped(opt_state: Any) -> Array:
    """Return how many steps a loss scale has skipped."""
    scaler = scale_of(opt_state)
    assert scaler is not None  # the state before had one
    return scaler.skipped


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
