"""TrainState: everything that a run of training changes, as one pytree."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, Params, PyTree, State
from funcnet.core.shardings import leaf_constrained
from funcnet.module import Functional
from funcnet.training.loss_scaling import DynamicLossScale

__all__ = ["TrainState"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What a step of training takes and returns.

    Attributes:
        params: the trained arrays.
        state: the model's buffers.
        opt_state: the optimizer's state.
        step: the number of steps made, an int32 scalar.
        key: the run's random key; step ``n`` uses ``jax.random.fold_in(key, n)``, so that a run resumed at
            ``n`` draws what it would have drawn.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
        >>> int(run.step), sorted(run.params)
        (0, ['bias', 'weight'])
    """

    params: Params
    state: State
    opt_state: PyTree
    step: Array
    key: Key

    @classmethod
    def create(
        cls,
        net: Functional,
        optimizer: Any,
        key: Key,
        *example_inputs: Any,
        params: Params | None = None,
        state: State | None = None,
        loss_scale: DynamicLossScale | None = None,
    ) -> "TrainState":
        """Initialise a model and its optimizer.

        To go on from a model that was trained before, or in a part, pass ``params`` and ``state``; a step that updates
        in place (``donate_argnums=0``) takes them over.

        Args:
            net: from `funcnet.functionalize`, or `funcnet.parallel.shard`: then all of it is made on the mesh.
            optimizer: a pair ``(init, update)`` from `funcnet.optim` or Optax.
            key: split between the initial values and the run.
            *example_inputs: for a model with layers that learn their shapes.
            params: to begin with, such as `funcnet.checkpoint.load_weights` returns, in place of initial ones.
            state: likewise, the model's buffers; without it initial ones, also where ``params`` is given.
            loss_scale: what `make_train_step` is given; its state is kept around the optimizer's.
        """
        if loss_scale is not None:
            optimizer = loss_scale.wrap(optimizer)
        init_key, run_key = jax.random.split(key)
        if params is None or state is None:
            made_params, made_state = net.init(init_key, *example_inputs)
            params = made_params if params is None else params
            state = made_state if state is None else state
        params, state = _given(net, params), _given(net, state)
        own = (jnp.zeros((), jnp.int32), run_key)
        if net.placement is not None:
            own = leaf_constrained(own, net.placement.whole)
        return cls(params, state, optimizer.init(params), *own)


def _given(net: Functional, tree: dict[str, Any]) -> dict[str, Any]:
    """Return arrays of JAX, where the model keeps them."""
    arrays = jax.tree.map(jnp.asarray, tree)
    return arrays if net.placement is None else net.placement.kept(arrays)
