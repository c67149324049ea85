"""Products of the Fisher information matrix, and of the empirical one, with vectors."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.transforms.derivatives.jvp import jvp
from funcnet.transforms.derivatives.vjp import vjp

__all__ = ["empirical_fisher_vp", "fisher_vp"]


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
