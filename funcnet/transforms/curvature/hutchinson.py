"""Hutchinson's estimates: the diagonal and the trace of a matrix known only by its products."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, PyTree
from funcnet.core.checks import check_positive
from funcnet.core.keys import signs_like
from funcnet.transforms.tree_vectors import Matvec, as_vector

__all__ = ["hutchinson_diagonal", "hutchinson_trace"]


def _mean_over_probes(
    measure: Callable[[Array, Array], Array], matvec: Matvec, like: PyTree, key: Key, samples: int
) -> tuple[Array, Callable[[Array], PyTree]]:
    """Average ``measure(probe, matvec(probe))`` over random signs, one probe after another."""
    check_positive("samples", samples)
    vector, as_tree = as_vector(like)

    def probe(total: Array, key: Key) -> tuple[Array, None]:
        signs = signs_like(key, vector)
        return total + measure(signs, as_vector(matvec(as_tree(signs)))[0]), None

    start = jnp.zeros_like(jax.eval_shape(measure, vector, vector))
    total, _ = jax.lax.scan(probe, start, jax.random.split(key, samples))
    return total / samples, as_tree


def hutchinson_diagonal(matvec: Matvec, like: PyTree, key: Key, samples: int = 32) -> PyTree:
    r"""Estimate the diagonal of a matrix that is known by its products with vectors.

    .. math:: \operatorname{diag}(A) = \mathbb E\left[s \odot A s\right],
              \qquad s_i = \pm 1

    Exact for a diagonal matrix from one sample; otherwise the error of an entry has variance
    ``sum_{j != i} A_ij² / samples`` for a symmetric matrix.

    Args:
        matvec: ``v -> A v`` for trees ``v`` of the structure of ``like``, such as
            ``lambda v: hvp(loss, (params,), (v,))[1][0]``.
        like: a tree of that structure; its values are not used.
        key: for the random signs.
        samples: how many products to average over.

    Returns:
        The estimate, a tree of the structure of ``like``.

    >>> matvec = lambda v: jnp.array([1.0, 2.0, 3.0]) * v
    >>> transforms.hutchinson_diagonal(matvec, jnp.zeros(3), jax.random.key(0), 1).tolist()
    [1.0, 2.0, 3.0]

    Reference: Bekas, Kokiopoulou & Saad, 2007, "An estimator for the diagonal of a matrix".
    """
    mean, as_tree = _mean_over_probes(jnp.multiply, matvec, like, key, samples)
    return as_tree(mean)


def hutchinson_trace(matvec: Matvec, like: PyTree, key: Key, samples: int = 32) -> Array:
    r"""Estimate the trace of a matrix that is known by its products with vectors.

    .. math:: \operatorname{tr}(A) = \mathbb E\left[s^\top A s\right], \qquad s_i = \pm 1

    Args:
        matvec: ``v -> A v`` for trees ``v`` of the structure of ``like``.
        like: a tree of that structure; its values are not used.
        key: for the random signs.
        samples: how many products to average over.

    Returns:
        A scalar.

    >>> matvec = lambda v: jnp.array([1.0, 2.0, 3.0]) * v
    >>> float(transforms.hutchinson_trace(matvec, jnp.zeros(3), jax.random.key(0), 1))
    6.0

    Reference: Hutchinson, 1990, "A stochastic estimator of the trace of the influence matrix for
    Laplacian smoothing splines".
    """
    return _mean_over_probes(jnp.vdot, matvec, like, key, samples)[0]
