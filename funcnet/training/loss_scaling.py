"""A dynamic loss scale for training in float16: pure functions, and what a step does with them."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.optim import GradientTransformation, LossScaleState, loss_scale, scale_loss
from funcnet.optim.protocol import identity
from funcnet.optim.wrappers.loss_scale import adapt_scale, unscale_gradients

__all__ = ["DynamicLossScale", "dynamic_loss_scale"]


@dataclass(frozen=True)
class DynamicLossScale:
    """What `dynamic_loss_scale` makes: the settings, and functions of a state that a loop carries along.

    Attributes:
        init_scale: the first scale.
        growth_factor: what it grows by.
        backoff_factor: what it shrinks by after gradients that were not finite.
        growth_interval: how many good steps make it grow.

    Example:
        >>> scale = fn.training.dynamic_loss_scale()
        >>> scaler = scale.init()
        >>> scaler = scale.update(scaler, jnp.array(False))
        >>> float(scaler.scale) / scale.init_scale
        0.5
    """

    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self) -> None:
        self.wrap(identity())  # the settings are checked there

    def init(self) -> LossScaleState:
        """Return the first state, a pytree of arrays."""
        return self.wrap(identity()).init({})

    def scaled(self, state: LossScaleState, loss: Array) -> Array:
        """Multiply a loss by the scale, before it is differentiated."""
        return scale_loss(state, loss)

    def unscale(self, state: LossScaleState, grads: PyTree) -> tuple[PyTree, Array]:
        """Divide gradients by the scale; return them, and whether all are finite."""
        return unscale_gradients(state, grads)

    def update(self, state: LossScaleState, finite: Array) -> LossScaleState:
        """Return the state for the next step."""
        factors = (self.growth_factor, self.backoff_factor, self.growth_interval)
        return adapt_scale(state, jnp.asarray(finite), *factors)

    def wrap(self, optimizer: Any) -> GradientTransformation:
        """Return `optim.loss_scale` with these settings around an optimizer."""
        return loss_scale(
            optimizer,
            self.init_scale,
            self.growth_factor,
            self.backoff_factor,
            self.growth_interval,
        )


def dynamic_loss_scale(
    init_scale: float = 2.0**16,
    growth_factor: float = 2.0,
    backoff_factor: float = 0.5,
    growth_interval: int = 2000,
) -> DynamicLossScale:
    """Scale the loss so that gradients in float16 neither vanish nor overflow, as ``torch.amp.GradScaler`` does.

    Pass it to `TrainState.create` and to `make_train_step`; the scale is saved and resumed with the run, in its
    ``opt_state``. A step whose gradients are not finite changes parameters, optimizer state and buffers in nothing,
    and halves the scale. In a loop written by hand, call its functions. On a mesh the check is of the whole
    gradients, so all devices agree; in `parallel.local_step` put ``average_gradients()`` before `optim.loss_scale`.

    Args:
        init_scale: the first scale.
        growth_factor: what it grows by.
        backoff_factor: what it shrinks by after gradients that were not finite.
        growth_interval: how many good steps make it grow.

    Raises:
        ValueError: a number that is not positive and finite.

    Example:
        >>> scale = fn.training.dynamic_loss_scale()
        >>> scaler, weight = scale.init(), jnp.ones(2)
        >>> grads = jax.grad(lambda w: scale.scaled(scaler, (3 * w).sum()))(weight)
        >>> grads, finite = scale.unscale(scaler, grads)
        >>> scaler = scale.update(scaler, finite)
        >>> grads.tolist(), bool(finite), float(scaler.scale)
        ([3.0, 3.0], True, 65536.0)

    Reference: Micikevicius et al., "Mixed Precision Training", ICLR 2018; ``torch.amp.GradScaler``
    """
    return DynamicLossScale(init_scale, growth_factor, backoff_factor, growth_interval)


def scale_of(opt_state: PyTree) -> LossScaleState | None:
    """Return the loss scale that an optimizer's state holds, if it holds one.

    Example:
        >>> from funcnet.training.loss_scaling import scale_of
        >>> scale_of(optim.sgd(0.1).init({})) is None
        True
    """
    found = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, LossScaleState))
    return next((node for node in found if isinstance(node, LossScaleState)), None)
