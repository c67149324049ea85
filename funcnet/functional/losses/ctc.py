"""Connectionist temporal classification: the likelihood of a label sequence without alignment."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.losses.reductions import reduce_loss, resolve_reduction

__all__ = ["ctc_loss"]

_IMPOSSIBLE = -1e30
"""The logarithm of zero, finite so that differences of two of them are no NaN."""


def ctc_loss(
    log_probs: Array,
    targets: Array,
    input_lengths: ArrayLike,
    target_lengths: ArrayLike,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Negative log likelihood of label sequences, summed over all alignments with the inputs.

    The gradient takes the log-probabilities to be normalized, as PyTorch's does: with respect to
    them it is ``exp(log_probs)`` minus the posterior of each label.

    Args:
        log_probs: ``(T, N, C)`` or ``(T, C)``, logarithms of probabilities that sum to one over C.
        targets: labels ``(N, S)``, or all sequences joined, ``(sum of target_lengths,)``.
        input_lengths: ``(N,)`` or ``()``, at most T each.
        target_lengths: ``(N,)`` or ``()``. For joined targets, lengths that are known while tracing
            (numbers, NumPy arrays) need less memory than traced ones.
        blank: the label that stands for none.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``: divided by the target's length, then averaged.
        zero_infinity: whether targets that are too long for their inputs cost 0 instead of infinity.
        where: mask ``(N,)`` of the sequences that count.

    Returns:
        A scalar, or one value for each sequence.

    Raises:
        ValueError: shapes that do not fit, or a ``blank`` that is no label.
        TypeError: targets that are not integers.

    Example:
        >>> log_p = jnp.log(jnp.full((2, 1, 2), 0.5))
        >>> loss = F.ctc_loss(log_p, jnp.array([[1]]), [2], [1], reduction="none")
        >>> jnp.exp(-loss).round(2).tolist()  # three of the four alignments: -1, 1-, 11
        [0.75]

    Reference: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891
    """
    reduction = resolve_reduction(reduction)
    log_probs, targets = jnp.asarray(log_probs), jnp.asarray(targets)
    _check_arguments(log_probs, targets, blank)
    batched = log_probs.ndim == 3
    scores = log_probs if batched else log_probs[:, None]
    scores = scores.astype(at_least_float32(scores.dtype))
    count = scores.shape[1]
    steps = _lengths("input_lengths", input_lengths, count, scores.shape[0])
    sizes = _lengths("target_lengths", target_lengths, count)
    labels = _padded(targets, target_lengths, sizes, count)
    if where is not None:
        mask = jnp.broadcast_to(jnp.asarray(where, bool), (count,))
        scores = jnp.where(mask[:, None], scores, jnp.zeros((), scores.dtype))
    total = _log_likelihood(scores, labels, steps, sizes, blank)
    possible = total > _IMPOSSIBLE / 2
    limit = jnp.asarray(0 if zero_infinity else jnp.inf, total.dtype)
    loss = jnp.where(possible, -total, limit)
    loss = loss + _normalization_gradient(scores, steps, possible)
    if reduction == "mean":
        loss = loss / jnp.maximum(sizes, 1).astype(loss.dtype)
    loss = loss.astype(log_probs.dtype)
    if not batched:
        loss, where = loss[0], None if where is None else jnp.asarray(where).reshape(())
    return reduce_loss(loss, reduction, where)


def _log_likelihood(scores: Array, labels: Array, steps: Array, sizes: Array, blank: int) -> Array:
    """Sum over alignments by the forward recursion over labels with blanks between them."""
    time, count = scores.shape[:2]
    padded = jnp.full((count, 2 * labels.shape[1] + 1), blank, labels.dtype).at[:, 1::2].set(labels)
    emitted = jnp.take_along_axis(scores, padded[None], axis=2, mode="clip")
    # a label may follow the last one at once unless they are equal; a blank never skips one
    skips = jnp.zeros(padded.shape, bool)
    skips = skips.at[:, 3::2].set(labels[:, 1:] != labels[:, :-1])
    zero = jnp.asarray(_IMPOSSIBLE, scores.dtype)
    start = jnp.full(padded.shape, zero).at[:, 0].set(0)

    def shifted(alpha: Array, places: int) -> Array:
        return jnp.pad(alpha, ((0, 0), (places, 0)), constant_values=_IMPOSSIBLE)[:, :-places]

    def step(alpha: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        emission, live = at
        skipped = jnp.where(skips, shifted(alpha, 2), zero)
        reached = jnp.logaddexp(jnp.logaddexp(alpha, shifted(alpha, 1)), skipped) + emission
        reached = jnp.maximum(reached, zero)
        return jnp.where(live[:, None], reached, alpha), None

    live = jnp.arange(time, dtype=steps.dtype)[:, None] < steps
    alpha, _ = jax.lax.scan(jax.checkpoint(step, prevent_cse=False), start, (emitted, live))
    ends = jnp.take_along_axis(alpha, jnp.stack([2 * sizes, 2 * sizes - 1], axis=1), axis=1)
    return jnp.logaddexp(ends[:, 0], jnp.where(sizes > 0, ends[:, 1], zero))


def _normalization_gradient(scores: Array, steps: Array, possible: Array) -> Array:
    """Return zeros whose gradient is ``exp(log_probs)`` on the steps that count."""
    live = jnp.arange(scores.shape[0], dtype=steps.dtype)[:, None] < steps
    mass = jnp.sum(jnp.where((live & possible)[..., None], jnp.exp(scores), 0), (0, 2))
    return mass - jax.lax.stop_gradient(mass)


def _lengths(name: str, lengths: Any, count: int, most: int | None = None) -> Array:
    known = not isinstance(lengths, jax.Array)
    if known and most is not None and np.max(lengths, initial=0) > most:
        raise ValueError(f"{name} must be at most {most}; got {lengths!r}")
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers; got {lengths.dtype}")
    if lengths.ndim > 1 or lengths.size != count:
        raise ValueError(f"{name} must have shape ({count},); got {lengths.shape}")
    return lengths.reshape(count)


def _padded(targets: Array, target_lengths: Any, sizes: Array, count: int) -> Array:
    """Bring joined targets to ``(N, S)``; check lengths that are known while tracing."""
    known = not isinstance(target_lengths, Tracer)
    longest = int(np.max(target_lengths, initial=0)) if known else 0
    if targets.ndim == 2:
        if targets.shape[0] != count or targets.shape[1] < longest:
            raise ValueError(
                f"targets must have shape ({count}, S) with S at least {longest}; "
                f"got {targets.shape}"
            )
        return targets
    if known and np.sum(target_lengths) > targets.size:
        raise ValueError(f"targets must join {np.sum(target_lengths)} labels; got {targets.size}")
    if targets.size == 0:
        return jnp.zeros((count, 0), targets.dtype)
    width = longest if known else targets.shape[0]
    first = jnp.cumsum(sizes) - sizes
    places = first[:, None] + jnp.arange(width, dtype=first.dtype)
    return targets.at[places].get(mode="clip")


def _check_arguments(log_probs: Array, targets: Array, blank: int) -> None:
    if log_probs.ndim not in (2, 3):
        raise ValueError(f"log_probs must have shape (T, N, C) or (T, C); got {log_probs.shape}")
    if targets.ndim not in (1, 2):
        raise ValueError(f"targets must have shape (N, S) or (S,); got {targets.shape}")
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise TypeError(f"targets must be integers; got {targets.dtype}")
    if not 0 <= blank < log_probs.shape[-1]:
        raise ValueError(f"blank must be one of {log_probs.shape[-1]} labels; got {blank}")
