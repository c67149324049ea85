"""Weights with a structure: identity, channels passed through, orthogonal rows or columns, mostly zeros."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_non_negative, check_positive, check_probability
from funcnet.nn.init.distribution import Distribution, drawn_dtype
from funcnet.nn.init.uniform_normal import draw_normal

__all__ = ["dirac", "eye", "orthogonal", "sparse"]


def eye() -> Distribution:
    """Fill a matrix with the identity, as far as it goes.

    >>> nn.init.eye()(jax.random.key(0), (2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    return Distribution(draw_eye)


def draw_eye(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Fill a matrix with the identity."""
    if len(shape) != 2:
        raise ValueError(f"eye needs a shape of two axes; got {shape}")
    return jnp.eye(*shape, dtype=dtype)


def dirac(groups: int = 1) -> Distribution:
    """Fill a convolution weight so that each group passes its channels through unchanged.

    >>> nn.init.dirac()(jax.random.key(0), (1, 1, 3)).tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    check_positive("groups", groups)
    return Distribution(draw_dirac, (groups,))


def draw_dirac(key: Key, shape: tuple[int, ...], dtype: Any, groups: int) -> Array:
    """Fill a weight with the identity in the middle of each window."""
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"dirac needs a shape of three to five axes; got {shape}")
    if shape[0] % groups:
        raise ValueError(f"the first axis must be divisible by groups={groups}; got {shape}")
    outputs = shape[0] // groups
    kept = np.arange(min(outputs, shape[1]))
    rows = (np.arange(groups)[:, None] * outputs + kept).ravel()
    centre = tuple(size // 2 for size in shape[2:])
    return jnp.zeros(shape, dtype).at[(rows, np.tile(kept, groups), *centre)].set(1)


def orthogonal(gain: float = 1.0) -> Distribution:
    """Draw a (semi-)orthogonal matrix, uniformly, times a gain; later axes count as columns.

    Reference: Saxe et al. 2013, https://arxiv.org/abs/1312.6120.

    >>> q = nn.init.orthogonal()(jax.random.key(0), (3, 3))
    >>> bool(jnp.allclose(q @ q.T, jnp.eye(3), atol=1e-5))
    True
    """
    return Distribution(draw_orthogonal, (gain,))


def draw_orthogonal(key: Key, shape: tuple[int, ...], dtype: Any, gain: float) -> Array:
    """Draw a matrix with orthonormal rows or columns."""
    if len(shape) < 2:
        raise ValueError(f"orthogonal needs a shape of at least two axes; got {shape}")
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    rows, columns = shape[0], math.prod(shape[1:])
    matrix = jax.random.normal(key, (max(rows, columns), min(rows, columns)), drawn_dtype(dtype))
    q, r = jnp.linalg.qr(matrix)
    q = q * jnp.sign(jnp.diagonal(r))  # makes the draw uniform over orthogonal matrices
    return (gain * (q.T if rows < columns else q)).reshape(shape).astype(dtype)


def sparse(sparsity: float, std: float = 0.01) -> Distribution:
    """Draw a normal matrix in which a fraction of each column is zero (Martens 2010).

    >>> w = nn.init.sparse(0.5)(jax.random.key(0), (4, 3))
    >>> (w == 0).sum(axis=0).tolist()
    [2, 2, 2]
    """
    check_probability("sparsity", sparsity)
    check_non_negative("std", std)
    return Distribution(draw_sparse, (sparsity, std))


def draw_sparse(key: Key, shape: tuple[int, ...], dtype: Any, sparsity: float, std: float) -> Array:
    """Draw a normal matrix with zeros in each column."""
    if len(shape) != 2:
        raise ValueError(f"sparse needs a shape of two axes; got {shape}")
    rows, columns = shape
    key_values, key_order = jax.random.split(key)
    order = jnp.broadcast_to(jnp.arange(rows)[:, None], (rows, columns))
    order = jax.random.permutation(key_order, order, axis=0, independent=True)
    values = draw_normal(key_values, shape, dtype, 0.0, std)
    return jnp.where(order < math.ceil(sparsity * rows), jnp.zeros((), dtype), values)
