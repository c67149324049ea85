"""Lanczos' iteration: eigenvalues of a symmetric matrix from its products with vectors."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, PyTree
from funcnet.core.checks import check_positive
from funcnet.transforms.tree_vectors import Matvec, as_vector

__all__ = ["Lanczos", "lanczos"]


class Lanczos(NamedTuple):
    """The result of a Lanczos iteration of ``m`` steps on vectors of length ``n``.

    Attributes:
        eigenvalues: the Ritz values, ascending, shape ``(m,)``.
        vectors: the Ritz vectors as rows, shape ``(m, n)``.
        weights: the squared first components of the tridiagonal matrix's eigenvectors, shape
            ``(m,)``: the weights of Gauss quadrature for the spectral density.

    Example:
        >>> matvec = lambda v: jnp.array([1.0, 2.0, 4.0]) * v
        >>> found = transforms.lanczos(matvec, jnp.zeros(3), jax.random.key(0), 3)
        >>> found.vectors.shape, round(float(found.weights.sum()), 3)
        ((3, 3), 1.0)
    """

    eigenvalues: Array
    vectors: Array
    weights: Array


def lanczos(matvec: Matvec, like: PyTree, key: Key, steps: int) -> Lanczos:
    r"""Run Lanczos' iteration from a random start, with full reorthogonalisation.

    .. math:: \beta_{k+1} q_{k+1} = A q_k - \alpha_k q_k - \beta_k q_{k-1}

    Args:
        matvec: ``v -> A v`` with symmetric ``A``, for trees of the structure of ``like``, such as
            ``lambda v: hvp(loss, (params,), (v,))[1][0]``.
        like: a tree of that structure; its values are not used.
        key: for the start.
        steps: how many products to take; at most the number of elements, which then gives every
            eigenvalue that the start has a part in.

    Returns:
        Ritz values, vectors and quadrature weights.

    Raises:
        ValueError: more steps than there are elements.

    >>> matvec = lambda v: jnp.array([1.0, 2.0, 4.0]) * v
    >>> found = transforms.lanczos(matvec, jnp.zeros(3), jax.random.key(0), 3)
    >>> [round(float(value), 3) for value in found.eigenvalues]
    [1.0, 2.0, 4.0]

    Reference: Golub & Van Loan, "Matrix Computations", chapter 10.
    """
    vector, as_tree = as_vector(like)
    check_positive("steps", steps)
    if steps > vector.size:
        raise ValueError(
            f"steps must be at most the number of elements; got {steps}, {vector.size}"
        )
    small = jnp.finfo(vector.dtype).eps

    def normalised(candidate: Array, basis: Array, scale: Array) -> tuple[Array, Array]:
        # twice is enough (Parlett): what rounding left of the basis after the first goes in the second
        for _ in range(2):
            candidate = candidate - basis.T @ (basis @ candidate)
        square = candidate @ candidate
        kept = square > (small * scale) ** 2  # else the space is exhausted: the rest is zero
        norm = jnp.sqrt(jnp.where(kept, square, 1))  # whose slope is finite at zero too
        return jnp.where(kept, candidate / norm, 0), jnp.where(kept, norm, 0)

    def step(carry: Any, index: Array) -> tuple[Any, Array]:
        basis, latest, scale = carry
        basis = basis.at[index].set(latest)
        product = as_vector(matvec(as_tree(latest)))[0]
        alpha = latest @ product
        scale = jnp.maximum(scale, jnp.linalg.norm(jax.lax.stop_gradient(product)))
        following, beta = normalised(product, basis, scale)
        return (basis, following, scale), jnp.stack([alpha, beta])

    start = jax.random.normal(key, vector.shape, vector.dtype)
    start = start / jnp.linalg.norm(start)
    empty = jnp.zeros((steps, vector.size), vector.dtype)
    carry = (empty, start, jnp.zeros((), vector.dtype))
    (basis, _, _), entries = jax.lax.scan(step, carry, jnp.arange(steps))
    alphas, betas = entries[:, 0], entries[:-1, 1]
    tridiagonal = jnp.diag(alphas) + jnp.diag(betas, 1) + jnp.diag(betas, -1)
    values, columns = jnp.linalg.eigh(tridiagonal)
    return Lanczos(values, columns.T @ basis, columns[0] ** 2)
