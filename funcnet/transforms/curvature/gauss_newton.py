"""Products of the Gauss-Newton matrix with vectors: the curvature of the loss, not of the model."""

from collections.abc import Callable, Sequence
from typing import Any

from funcnet.transforms.curvature.hvp import hvp
from funcnet.transforms.derivatives.jvp import jvp
from funcnet.transforms.derivatives.vjp import vjp

__all__ = ["gauss_newton_vp"]


def gauss_newton_vp(
    model: Callable[..., Any],
    loss: Callable[[Any], Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
) -> tuple[Any, Any]:
    r"""Return the loss and the generalised Gauss-Newton matrix's product with a vector.

    .. math:: v \mapsto J^\top\, \nabla^2 \ell(z)\, J\, v,
              \qquad z = f(\theta),\quad J = \partial f(\theta)

    The Hessian of ``loss(model(...))`` without the model's own curvature: positive semi-definite
    where ``loss`` is convex in the model's output.

    Args:
        model: from the primals to outputs (logits, predictions).
        loss: from those outputs to a real scalar; close over the targets.
        primals: the model's arguments, a tuple or list: all are differentiated.
        tangents: the vector, with the structure of ``primals``.

    Returns:
        ``(value, product)``; the product is a tuple with one entry an argument.

    >>> model = lambda w: w * jnp.array([1.0, 2.0])
    >>> value, (product,) = transforms.gauss_newton_vp(model, lambda z: (z**2).sum(), (1.0,), (1.0,))
    >>> float(value), float(product)
    (5.0, 10.0)

    Reference: Schraudolph, 2002, "Fast curvature matrix-vector products for second-order gradient
    descent".
    """
    outputs, pushed = jvp(model, primals, tangents)
    value, (bent,) = hvp(loss, (outputs,), (pushed,))
    _, pullback = vjp(model, *primals)
    return value, pullback(bent)
