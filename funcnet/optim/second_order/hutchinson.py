"""Hutchinson's estimate of the diagonal of a loss's Hessian, for `sophia`."""

from collections.abc import Callable

import jax

from funcnet.core.aliases import Array, Key, PyTree
from funcnet.core.keys import probe_diagonal
from funcnet.core.leaf_kinds import trainable_leaves
from funcnet.optim.leaf_rule import jax_leaf

__all__ = ["hutchinson"]


def hutchinson(loss: Callable[[PyTree], Array], key: Key) -> Callable[[PyTree], PyTree]:
    r"""Estimate the diagonal of a loss's Hessian with one random vector of signs.

    .. math:: \hat h = u \odot \nabla^2 f(p)\, u, \qquad u_i = \pm 1, \qquad
              \mathbb{E}\,\hat h = \mathrm{diag}\, \nabla^2 f(p)

    Args:
        loss: a function of the parameters alone.
        key: for the signs.

    Returns:
        A function of the parameters that returns a pytree like them; integers and other constants
        stay as they are.

    Example:
        >>> optim.hutchinson(lambda p: jnp.sum(p**3), jax.random.key(0))(jnp.ones(2)).tolist()
        [6.0, 6.0]

    Reference: Hutchinson, "A Stochastic Estimator of the Trace of the Influence Matrix", 1989
    """

    def estimate(params: PyTree) -> PyTree:
        leaves, rebuild = trainable_leaves(params)
        leaves = [jax_leaf(leaf) for leaf in leaves]

        def hessian_times(vector: list[Array]) -> list[Array]:
            gradient = jax.grad(lambda leaves: loss(rebuild(leaves)))
            return jax.jvp(gradient, (leaves,), (vector,))[1]

        return rebuild(probe_diagonal(hessian_times, leaves, key))

    return estimate
