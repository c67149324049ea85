"""The two functions at the heart of every loop: a training step and an evaluation step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Params
from funcnet.optim import LossScaleState, apply_updates, scale_loss
from funcnet.optim.gradients.conjugate import conjugated
from funcnet.optim.wrappers.loss_scale import unscale_gradients
from funcnet.training.loss_scaling import DynamicLossScale, scale_of
from funcnet.training.microbatches import gradient_in_parts
from funcnet.training.objective import Measured, Metrics, Objective, Supervised, measured
from funcnet.training.train_state import TrainState

__all__ = [
    "Taken",
    "make_eval_step",
    "make_measured_eval_step",
    "make_measured_step",
    "make_train_step",
]


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
    whole = make_measured_step(objective, optimizer, loss_scale=loss_scale, weighed=False)

    def step(run: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        run, taken = whole(run, batch)
        return run, taken.found.metrics

    return step


class Taken(NamedTuple):
    """What a step did, beside the new run.

    Attributes:
        found: what the objective measured.
        grads: as the optimizer was given them, without a loss scale; for a complex parameter the conjugate of JAX's.
        updates: what was added to the parameters.
    """

    found: Measured
    grads: Params
    updates: Params


def make_measured_step(
    objective: Objective,
    optimizer: Any,
    *,
    loss_scale: DynamicLossScale | None = None,
    weighed: bool = True,
) -> Callable[[TrainState, Any], tuple[TrainState, Taken]]:
    """Make the step of `make_train_step`, which also tells gradients, updates and what the means stand for.

    What nobody uses of it costs nothing in a jitted function.

    Example:
        >>> from funcnet.training.steps import make_measured_step
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> step = make_measured_step(objective, optim.sgd(0.1))
        >>> _, taken = step(run, {"x": jnp.ones((2, 4)), "y": jnp.array([0, 1])})
        >>> float(taken.found.weights["loss"]), taken.grads["bias"].shape
        (2.0, (3,))
    """
    if loss_scale is not None:
        optimizer = loss_scale.wrap(optimizer)

    def step(run: TrainState, batch: Any) -> tuple[TrainState, Taken]:
        if loss_scale is not None and not isinstance(run.opt_state, LossScaleState):
            raise TypeError(
                "the step has a loss scale, but the run's optimizer state has none: write "
                "TrainState.create(net, optimizer, key, loss_scale=scale)"
            )
        scaler = scale_of(run.opt_state)
        key = jax.random.fold_in(run.key, run.step)

        def loss(
            params: Any, state: Any, batch: Any, key: Any
        ) -> tuple[Array, tuple[Measured, Any]]:
            value, aux = measured(objective, params, state, batch, key, True, weighed)
            return value if scaler is None else scale_loss(scaler, value), aux

        where = (run.params, run.state, batch, key)
        if isinstance(objective, Supervised) and objective.microbatches > 1:
            grads, found, state = gradient_in_parts(loss, *where, objective.microbatches)
        else:
            (_, (found, state)), grads = jax.value_and_grad(loss, has_aux=True)(*where)
        # JAX's gradient for a complex parameter is the conjugate of the direction of steepest ascent
        grads = conjugated(grads)
        updates, opt_state = optimizer.update(grads, run.opt_state, run.params)
        params = apply_updates(run.params, updates)
        if scaler is not None:
            taken = _skipped(opt_state) == scaler.skipped
            state = jax.tree.map(lambda new, old: jnp.where(taken, new, old), state, run.state)
            grads = unscale_gradients(scaler, grads)[0]
        run = TrainState(params, state, opt_state, run.step + 1, run.key)
        return run, Taken(found, grads, updates)

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
    whole = make_measured_eval_step(objective, weighed=False)
    return lambda run, batch: whole(run, batch).metrics


def make_measured_eval_step(
    objective: Objective, *, weighed: bool = True
) -> Callable[[TrainState, Any], Measured]:
    """Make the step of `make_eval_step`, which also tells what the means stand for.

    Example:
        >>> from funcnet.training.steps import make_measured_eval_step
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.mse_loss, inputs="x", targets="y")
        >>> found = make_measured_eval_step(objective)(run, {"x": jnp.ones((2, 4)), "y": jnp.ones((2, 3))})
        >>> float(found.weights["loss"])  # the elements
        6.0
    """

    def step(run: TrainState, batch: Any) -> Measured:
        return measured(objective, run.params, run.state, batch, None, False, weighed)[1][0]

    return step
