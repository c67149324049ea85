"""Gradients of complex parameters, turned to what an optimizer descends."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.leaf_kinds import is_trainable
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

    def flip(g: Any) -> Any:
        return jnp.conj(g) if is_trainable(g) and jnp.iscomplexobj(g) else g

    return stateless(lambda grads, params: jax.tree.map(flip, grads))
