"""Gaussian noise on gradients, which fades."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_non_negative
from funcnet.core.dtypes import at_least_float32
from funcnet.optim.leaf_rule import counted, is_gradient, jax_leaf, moves, require_state
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation, require_params
from funcnet.optim.row_sparse import RowSparse
from funcnet.optim.settings import if_known

__all__ = ["NoiseState", "add_noise"]


class NoiseState(NamedTuple):
    """State of `add_noise`: the count of steps, and the words of a random key.

    Example:
        >>> optim.add_noise(eta=1.0).init(jnp.zeros(3))._fields
        ('step', 'key')
    """

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
    if_known(check_non_negative, "eta", eta)

    def init(params: PyTree) -> NoiseState:
        words = jax.random.key_data(jax.random.key(seed))
        return NoiseState(jnp.zeros((), jnp.int32), words)

    def update(
        grads: PyTree, state: NoiseState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, NoiseState]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        require_state("add_noise", state, NoiseState)
        leaves, treedef = jax.tree.flatten(grads, is_leaf=is_gradient)
        owners: list[Any] = (
            [None] * len(leaves) if params is None else treedef.flatten_up_to(params)
        )
        deviation = jnp.sqrt(eta / jnp.power(1 + state.step.astype(float), gamma))

        def noisy(one: Array, g: Any, p: Any) -> Any:
            if not moves(g):
                return g
            if isinstance(g, RowSparse):
                require_params("add_noise to a RowSparse gradient", params)
                g = g.add_to(jnp.zeros(jnp.shape(p), g.values.dtype))
            g = jax_leaf(g)
            noise = jax.random.normal(one, g.shape, at_least_float32(g.dtype))
            scaled = deviation.astype(noise.dtype) * noise
            return (g.astype(noise.dtype) + scaled).astype(g.dtype)

        # The keys are counted as if leaves without a gradient were not there.
        there = [leaf is not None for leaf in leaves]
        keys = iter(jax.random.split(key, max(sum(there), 1)))
        moved = [
            noisy(next(keys), g, p) if known else g
            for known, g, p in zip(there, leaves, owners, strict=True)
        ]
        return treedef.unflatten(moved), state._replace(step=counted(state.step))

    return ShapedTransformation(init, update)
