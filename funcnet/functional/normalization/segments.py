"""Normalization of packed sequences: each segment of a row has statistics of its own."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.sequences.masks import segment_array
from funcnet.functional.sequences.segments import check_runs, segment_runs, segment_sum

__all__ = ["check_packed", "standardize_segments"]


def check_packed(function: str, input: Array, segment_ids: ArrayLike) -> Array:
    """Return segment ids as an array, checked against an input ``(N, C, L)``.

    >>> from funcnet.functional.normalization.segments import check_packed
    >>> check_packed("group_norm", jnp.ones((1, 2, 3)), [[1, 1, 2]]).shape
    (1, 3)
    """
    check_runs(segment_ids)
    ids = segment_array("segment_ids", segment_ids)
    if input.ndim != 3 or ids.shape != (input.shape[0], input.shape[2]):
        raise ValueError(
            f"{function} takes segment ids of shape (N, L) with an input of shape (N, C, L); got {ids.shape} and "
            f"{input.shape}"
        )
    return ids


def standardize_segments(x: Array, ids: Array, groups: int, eps: float) -> Array:
    """Return ``(x - mean) / sqrt(var + eps)`` of each segment and group of channels, and zero in padding.

    Args:
        x: ``(N, C, L)``, in float32 at least.
        ids: ``(N, L)``.
        groups: of neighbouring channels.
        eps: added to the variance.

    >>> from funcnet.functional.normalization.segments import standardize_segments
    >>> x, ids = jnp.array([[[1.0, 3.0, 5.0, 9.0, 7.0]]]), jnp.array([[1, 1, 2, 2, 0]])
    >>> standardize_segments(x, ids, 1, 0.0).tolist()
    [[[-1.0, 1.0, -1.0, 1.0, 0.0]]]
    """
    batch, channels, length = x.shape
    real = (ids != 0)[:, None]
    x = jnp.where(real, x, jnp.zeros((), x.dtype))
    grouped = x.reshape(batch, groups, channels // groups, length)
    runs = segment_runs(ids)
    # The mean is measured again on small numbers, as in `standardize`.
    near = grouped - jax.lax.stop_gradient(_segment_means(grouped, runs))
    rest = _segment_means(near, runs)
    var = jnp.maximum(_segment_means(jnp.square(near), runs) - jnp.square(rest), 0)
    level = ((near - rest) * jax.lax.rsqrt(var + eps)).reshape(x.shape)
    return jnp.where(real, level, jnp.zeros((), x.dtype))


def _segment_means(x: Array, runs: Array) -> Array:
    """Give every position of ``(N, G, M, L)`` the mean of its segment and group, ``(N, G, 1, L)``."""
    size = x.shape[2]
    each = jnp.concatenate([x.sum(2), jnp.full_like(x[:, :1, 0], size)], 1)  # sums, and how many

    def means(each: Array, runs: Array) -> Array:
        sums = segment_sum(jnp.swapaxes(each, 1, 2), runs, runs.shape[1])
        here = jnp.take_along_axis(sums, jnp.maximum(runs - 1, 0)[..., None], 1)
        return here[..., :-1] / jnp.maximum(here[..., -1:], 1)

    return jnp.swapaxes(let_xla_place(means, each, runs, kept=1), 1, 2)[:, :, None]
