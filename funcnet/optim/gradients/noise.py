"""Gaussian noise on gradients, which fades."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_non_negative
from funcnet.core.leaf_kinds import is_trainable
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation

__all__ = ["NoiseState", "add_noise"]


class NoiseState(NamedTuple):
    """State of `add_noise`: the count of steps, and the words of a random key."""

    step: Array
    key: Array


def add_noise(eta: float = 0.01, gamma: float = 0.55, seed: int = 0) -> GradientTransformation:
    r"""Add Gaussian noise that fades: :math:`g + \mathcal{N}(0, \sigma_t^2)`.

    .. math:: \sigma_t^2 = \frac{\eta}{(1 + t)^\gamma}, \qquad t = 0, 1, \dots

    Args:
        eta: η, the first variance.
        gamma: γ, how fast it falls.
        seed: of the noise; the same seed gives the same noise.

    Returns:
        A transformation with a `NoiseState`.

    Raises:
        ValueError: ``eta`` is negative.

    Example:
        >>> noise = optim.add_noise(eta=1.0)
        >>> updates, state = noise.update(jnp.zeros(3), noise.init(jnp.zeros(3)))
        >>> bool((updates != 0).all())
        True

    Reference: Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks",
    2015
    """
    check_non_negative("eta", eta)

    def init(params: PyTree) -> NoiseState:
        words = jax.random.key_data(jax.random.key(seed))
        return NoiseState(jnp.zeros((), jnp.int32), words)

    def update(
        grads: PyTree, state: NoiseState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, NoiseState]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        leaves, treedef = jax.tree.flatten(grads)
        deviation = jnp.sqrt(eta / jnp.power(1 + state.step.astype(float), gamma))
        noisy = [
            g
            + deviation.astype(jnp.finfo(g.dtype).dtype) * jax.random.normal(one, g.shape, g.dtype)
            if is_trainable(g)
            else g
            for one, g in zip(jax.random.split(key, max(len(leaves), 1)), leaves, strict=False)
        ]
        return treedef.unflatten(noisy), state._replace(step=state.step + jnp.ones((), jnp.int32))

    return ShapedTransformation(init, update)
