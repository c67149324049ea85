"""Sharpness-aware minimisation: the gradient at the worst point nearby."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_non_negative
from funcnet.optim.gradients.conjugate import conjugated
from funcnet.optim.gradients.global_norm import global_norm
from funcnet.optim.leaf_rule import add_wide, map_moved, moves, wide_copy
from funcnet.optim.settings import if_known

__all__ = ["sam"]


def sam(
    loss: Callable[..., Any], rho: float = 0.05, *, adaptive: bool = False, has_aux: bool = False
) -> Callable[..., tuple[Any, PyTree]]:
    r"""Differentiate a loss at the worst point nearby: sharpness-aware minimisation.

    .. math:: \hat p = p + \rho \frac{g(p)}{\|g(p)\|}, \qquad \text{and the gradient is } g(\hat p)

    Any optimizer takes the gradient; a step costs two differentiations.

    Args:
        loss: ``loss(params, *args)``, a scalar, or with ``has_aux`` a pair.
        rho: how far away the worst point is sought.
        adaptive: measure distance in proportion to each parameter's size.
        has_aux: whether the loss returns ``(value, aux)``.

    Returns:
        A function like ``jax.value_and_grad(loss)``: the value (and aux) at the parameters, the
        gradient at the worst point.

    Raises:
        ValueError: ``rho`` is negative.

    Example:
        >>> value, grads = optim.sam(lambda p: jnp.sum(p**2), rho=0.5)(jnp.array([3.0, 4.0]))
        >>> float(value), [round(float(g), 3) for g in grads]
        (25.0, [6.6, 8.8])

    Reference: Foret et al., "Sharpness-Aware Minimization", ICLR 2021; Kwon et al., "ASAM", ICML
    2021
    """
    if_known(check_non_negative, "rho", rho)
    differentiate = jax.value_and_grad(loss, has_aux=has_aux, allow_int=True)

    def value_and_grad(params: PyTree, *args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
        value, grads = differentiate(params, *args, **kwargs)

        def sized(g: Any, p: Any) -> Array:
            g = wide_copy(g)
            return jnp.abs(wide_copy(p)).astype(g.dtype) * g if adaptive else g

        scaled = map_moved(sized, grads, params)
        norm = global_norm(scaled)
        reach = rho / jnp.where(norm > 0, norm, 1)

        # The gradient of a complex parameter points uphill once conjugated.
        towards = conjugated(map_moved(sized, scaled, params))

        def away(p: Any, g: Any) -> Any:
            return add_wide(p, reach.astype(g.dtype) * g, jnp.result_type(p))

        worst = jax.tree.map(lambda p, g: away(p, g) if moves(g, p) else p, params, towards)
        return value, differentiate(worst, *args, **kwargs)[1]

    return value_and_grad
