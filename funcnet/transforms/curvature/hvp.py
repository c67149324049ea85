"""Second derivatives by their products with vectors: no matrix is ever formed."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.transforms.derivatives.jvp import jvp, vjp
from funcnet.transforms.derivatives.grad import value_and_grad

__all__ = ["empirical_fisher_vp", "fisher_vp", "gauss_newton_vp", "hvp", "vhp"]


def _value_and_gradients(
    fun: Callable[..., Any], count: int, has_aux: bool
) -> Callable[..., tuple[Any, Any]]:
    """Return ``fun`` as ``args -> (gradients, value or (value, aux))``."""
    both = value_and_grad(fun, tuple(range(count)), has_aux)

    def gradients(*args: Any) -> tuple[Any, Any]:
        value, derivatives = both(*args)
        return derivatives, value

    return gradients


def hvp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
) -> tuple[Any, ...]:
    r"""Return a scalar function's value and its Hessian's product with a vector.

    .. math:: (x, v) \mapsto \left(f(x),\ \nabla^2 f(x)\, v\right)

    Forward over reverse: about four times the work of ``fun`` and a constant factor of its memory.
    The arguments are laid out as those of `jvp`; integer leaves are constants.

    Args:
        fun: returns a real scalar, or ``(scalar, aux)`` if ``has_aux``.
        primals: the arguments, a tuple or list: all are differentiated.
        tangents: the vector, with the structure of ``primals``.
        has_aux: whether ``fun`` also returns something that is passed through.

    Returns:
        ``(value, product)``, or ``(value, product, aux)``; the product is a tuple with one entry
        an argument.

    >>> value, (product,) = transforms.hvp(lambda x: (x**3).sum(), (jnp.array([1.0, 2.0]),),
    ...                                    (jnp.array([1.0, 1.0]),))
    >>> float(value), product.tolist()
    (9.0, [6.0, 12.0])

    Reference: Pearlmutter, 1994, "Fast exact multiplication by the Hessian".
    """
    gradients = _value_and_gradients(fun, len(primals), has_aux)
    _, product, value = jvp(gradients, primals, tangents, has_aux=True)
    return (value[0], product, value[1]) if has_aux else (value, product)


def vhp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    cotangents: Sequence[Any],
    has_aux: bool = False,
) -> tuple[Any, ...]:
    r"""Return a scalar function's value and a vector's product with its Hessian.

    .. math:: (x, w) \mapsto \left(f(x),\ w^\top \nabla^2 f(x)\right)

    Reverse over reverse: equal to `hvp` for functions with continuous second derivatives, and the
    way when ``fun`` contains something that has no forward derivative, such as a ``custom_vjp``.

    Args:
        fun: returns a real scalar, or ``(scalar, aux)`` if ``has_aux``.
        primals: the arguments, a tuple or list: all are differentiated.
        cotangents: the vector, with the structure of ``primals``.
        has_aux: whether ``fun`` also returns something that is passed through.

    Returns:
        ``(value, product)``, or ``(value, product, aux)``; the product is a tuple with one entry
        an argument.

    >>> value, (product,) = transforms.vhp(lambda x: (x**3).sum(), (jnp.array([1.0, 2.0]),),
    ...                                    (jnp.array([1.0, 1.0]),))
    >>> product.tolist()
    [6.0, 12.0]
    """
    gradients = _value_and_gradients(fun, len(primals), has_aux)
    _, pullback, value = vjp(gradients, *primals, has_aux=True)
    product = pullback(tuple(cotangents))
    return (value[0], product, value[1]) if has_aux else (value, product)


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


def fisher_vp(
    model: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    likelihood: str = "categorical",
) -> tuple[Any, Any]:
    r"""Return the model's output and the Fisher information matrix's product with a vector.

    .. math:: v \mapsto \frac1n \sum_{i=1}^n J_i^\top\, F(z_i)\, J_i\, v,
              \qquad F(z) = \mathbb E_{y\sim p(\cdot\mid z)}
              \left[\nabla_z \log p(y\mid z)\, \nabla_z \log p(y\mid z)^\top\right]

    The expectation is over the model's own predictions, in closed form: no labels, no sampling.

    Args:
        model: from the primals to ``z``, one array with examples on its leading axes.
        primals: the model's arguments, a tuple or list: all are differentiated.
        tangents: the vector, with the structure of ``primals``.
        likelihood: what ``z`` parametrises: ``"categorical"`` (logits, classes on the last axis),
            ``"bernoulli"`` (logits, each element its own) or ``"normal"`` (means, unit variance).

    Returns:
        ``(z, product)``; the product is a tuple with one entry an argument.

    >>> model = lambda w: w * jnp.array([[1.0, -1.0]])
    >>> _, (product,) = transforms.fisher_vp(model, (0.0,), (1.0,))
    >>> float(product)
    1.0

    Reference: Martens, 2020, "New insights and perspectives on the natural gradient method".
    """
    check_choice("likelihood", likelihood, tuple(_METRICS))
    outputs, pushed = jvp(model, primals, tangents)
    _, pullback = vjp(model, *primals)
    examples = outputs.size // outputs.shape[-1] if likelihood == "categorical" else len(outputs)
    return outputs, pullback(_METRICS[likelihood](outputs, pushed) / examples)


def _categorical_metric(logits: Array, vector: Array) -> Array:
    probabilities = jax.nn.softmax(logits)
    return probabilities * (vector - (probabilities * vector).sum(-1, keepdims=True))


def _bernoulli_metric(logits: Array, vector: Array) -> Array:
    return jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits) * vector


_METRICS: dict[str, Callable[[Array, Array], Array]] = {
    "bernoulli": _bernoulli_metric,
    "categorical": _categorical_metric,
    "normal": lambda means, vector: vector,
}


def empirical_fisher_vp(
    log_likelihoods: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    r"""Return per-example values and their gradients' second moment's product with a vector.

    .. math:: v \mapsto \frac1n \sum_{i=1}^n g_i\, (g_i^\top v),
              \qquad g_i = \nabla_\theta \ell_i(\theta)

    With losses at the given labels this is the empirical Fisher matrix; with labels drawn from
    the model, an unbiased estimate of the Fisher matrix.

    Args:
        log_likelihoods: from the primals to one value for each example, of shape ``(n,)``.
        primals: the arguments, a tuple or list: all are differentiated.
        tangents: the vector, with the structure of ``primals``.

    Returns:
        ``(values, product)``; the product is a tuple with one entry an argument.

    >>> losses = lambda w: w * jnp.array([1.0, 3.0])
    >>> _, (product,) = transforms.empirical_fisher_vp(losses, (2.0,), (1.0,))
    >>> float(product)
    5.0
    """
    values, pushed = jvp(log_likelihoods, primals, tangents)
    _, pullback = vjp(log_likelihoods, *primals)
    return values, pullback(pushed / values.size)
