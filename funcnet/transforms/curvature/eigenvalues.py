"""The largest eigenvalues of a matrix known only by its products, and how all are distributed."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, PyTree
from funcnet.core.checks import check_positive
from funcnet.transforms.curvature.lanczos import lanczos
from funcnet.transforms.tree_vectors import Matvec, as_vector

__all__ = ["spectral_density", "top_eigenvalues"]


def top_eigenvalues(
    matvec: Matvec, like: PyTree, key: Key, k: int = 1, steps: int | None = None
) -> tuple[Array, PyTree]:
    """Return the ``k`` eigenvalues largest in magnitude of a symmetric matrix, and eigenvectors.

    Args:
        matvec: ``v -> A v`` with symmetric ``A``, for trees of the structure of ``like``.
        like: a tree of that structure; its values are not used.
        key: for the start.
        k: how many.
        steps: Lanczos steps; ``2 k + 20`` by default, and never more than there are elements.

    Returns:
        The eigenvalues, largest magnitude first, and the eigenvectors: a tree of the structure of
        ``like`` with a leading axis of length ``k``.

    >>> matvec = lambda v: {"w": jnp.array([1.0, -5.0, 4.0]) * v["w"]}
    >>> values, vectors = transforms.top_eigenvalues(matvec, {"w": jnp.zeros(3)}, jax.random.key(0), 2)
    >>> [round(float(value), 3) for value in values], vectors["w"].shape
    ([-5.0, 4.0], (2, 3))
    """
    vector, as_tree = as_vector(like)
    check_positive("k", k)
    steps = min(vector.size, 2 * k + 20 if steps is None else steps)
    found = lanczos(matvec, like, key, steps)
    order = jnp.argsort(-jnp.abs(found.eigenvalues))[:k]
    return found.eigenvalues[order], jax.vmap(as_tree)(found.vectors[order])


def spectral_density(
    matvec: Matvec,
    like: PyTree,
    key: Key,
    points: Array,
    *,
    width: float | Array,
    steps: int = 64,
    samples: int = 4,
) -> Array:
    r"""Estimate how a symmetric matrix's eigenvalues are distributed, smoothed by a Gaussian.

    .. math:: \phi(t) = \frac1n \sum_{i=1}^n \mathcal N(t;\ \lambda_i, \sigma^2)
              \approx \frac1m \sum_{s=1}^m \sum_k w_k^{(s)}\, \mathcal N(t;\ \theta_k^{(s)}, \sigma^2)

    Args:
        matvec: ``v -> A v`` with symmetric ``A``, for trees of the structure of ``like``.
        like: a tree of that structure; its values are not used.
        key: for the random starts.
        points: where to evaluate the density, shape ``(p,)``.
        width: the Gaussian's standard deviation.
        steps: Lanczos steps of each start, and never more than there are elements.
        samples: how many starts to average over.

    Returns:
        The density at the points; it integrates to one.

    >>> density = transforms.spectral_density(lambda v: 2 * v, jnp.zeros(5), jax.random.key(0),
    ...                                       jnp.array([2.0, 9.0]), width=0.1)
    >>> [round(float(value), 3) for value in density]
    [3.989, 0.0]

    Reference: Ghorbani, Krishnan & Xiao, 2019, "An investigation into neural net optimization via
    Hessian eigenvalue density".
    """
    vector, _ = as_vector(like)
    steps = min(steps, vector.size)

    def one(key: Key) -> Array:
        found = lanczos(matvec, like, key, steps)
        bumps = jax.scipy.stats.norm.pdf(points[:, None], found.eigenvalues, width)
        return bumps @ found.weights

    return jax.lax.map(one, jax.random.split(key, samples)).mean(0)
