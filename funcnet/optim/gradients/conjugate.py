"""Gradients of complex parameters, turned to what an optimizer descends."""

import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.optim.leaf_rule import map_moved, on_values
from funcnet.optim.protocol import GradientTransformation, stateless

__all__ = ["conjugate"]


def conjugate() -> GradientTransformation:
    """Conjugate complex gradients, as ``jax.grad`` gives them, to what an optimizer descends.

    For a real loss of complex parameters ``jax.grad`` returns the conjugate of the direction of
    steepest ascent, PyTorch the direction itself. Real gradients stay as they are.

    Returns:
        A transformation without a state; put it first in a chain.

    Example:
        >>> loss = lambda z: jnp.abs(z - 1j) ** 2
        >>> optimizer = optim.chain(optim.conjugate(), optim.sgd(0.5))
        >>> z = jnp.array(1.0 + 0.0j)
        >>> updates, _ = optimizer.update(jax.grad(loss)(z), optimizer.init(z))
        >>> bool(jnp.abs(z + updates - 1j) < 1e-6)
        True

    Reference: https://docs.jax.dev/en/latest/notebooks/autodiff_cookbook.html
    """
    return stateless(lambda grads, params: conjugated(grads))


def conjugated(grads: PyTree) -> PyTree:
    """Conjugate the complex leaves of gradients that ``jax.grad`` made.

    A loop that is given any optimizer does so before the optimizer's ``update``.

    >>> conjugated({"real": 1.0, "complex": jnp.array(1 + 2j), "none": None})["complex"].item()
    (1-2j)
    """

    def flip(g: Array) -> Array:
        return jnp.conj(g) if jnp.iscomplexobj(g) else g

    return map_moved(on_values(flip), grads)
