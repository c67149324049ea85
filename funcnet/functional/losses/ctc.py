"""Connectionist temporal classification: the likelihood of a label sequence without alignment."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.dtypes import widened
from funcnet.functional.explicit_meshes import let_xla_place, spread_like
from funcnet.functional.indices import check_indices, check_integers, known_values
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

    ``-log Σ_a Π_t p_t(a_t)``, over the alignments ``a``: sequences with a label or a blank at each time, which yield
    the target when repetitions are merged and blanks are left out.

    The gradient takes the log-probabilities to be normalized, as PyTorch's does: with respect to
    them it is ``exp(log_probs)`` minus the posterior of each label.

    Args:
        log_probs: ``(T, N, C)`` or ``(T, C)``, logarithms of probabilities that sum to one over C.
        targets: labels ``(N, S)``, or all sequences joined, ``(sum of target_lengths,)``.
        input_lengths: ``(N,)`` or ``()``, 0 to T each.
        target_lengths: ``(N,)`` or ``()``, 0 to S each. Lengths that are known while tracing (numbers,
            NumPy arrays, arrays that a traced function closes over) need less memory than traced ones.
        blank: the label that stands for none.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``: divided by the target's length, then averaged.
        zero_infinity: whether targets that are too long for their inputs cost 0 instead of infinity.
        where: mask ``(N,)`` of the sequences that count.

    Returns:
        A scalar, or one value for each sequence.

    Raises:
        ValueError: shapes or lengths that do not fit, or a ``blank`` that is no label.
        TypeError: log-probabilities that are no floats; targets or lengths that are not integers.
        IndexError: a label outside of ``0 … C-1`` among those that count. Inside ``jax.jit``, where
            values are not known, such a label or length costs NaN.

    Example:
        >>> log_p = jnp.log(jnp.full((2, 1, 2), 0.5))
        >>> loss = F.ctc_loss(log_p, jnp.array([[1]]), [2], [1], reduction="none")
        >>> jnp.exp(-loss).round(2).tolist()  # three of the four alignments: -1, 1-, 11
        [0.75]

    Reference: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891
    """
    reduction = resolve_reduction(reduction)
    dtype, scores = widened("ctc_loss", log_probs=log_probs)
    known = known_values(targets)  # as NumPy, so that a trace knows them still after they are cut
    given: Any = jnp.asarray(targets) if known is None else known
    _check_shapes(scores, given, blank)
    batched = scores.ndim == 3
    scores = scores if batched else scores[:, None]
    time, count, classes = scores.shape
    steps = _lengths("input_lengths", input_lengths, count, time)
    most = given.shape[1] if given.ndim == 2 else given.size
    sizes = _lengths("target_lengths", target_lengths, count, most)
    labels = _padded(given, sizes, count)
    named = np.arange(labels.shape[1]) < sizes[:, None]
    _check_labels(labels, named, classes)
    labels = jnp.asarray(labels)
    proper = jnp.all(((labels >= 0) & (labels < classes)) | ~named, axis=1)
    proper &= (steps >= 0) & (steps <= time) & (sizes >= 0) & (sizes <= labels.shape[1])
    if where is not None:
        mask = jnp.broadcast_to(jnp.asarray(where, bool), (count,))
        scores = jnp.where(mask[:, None], scores, 0)
    whole = partial(_log_likelihood, blank=blank)
    total = let_xla_place(whole, scores, labels, steps, sizes, kept=(1,))
    possible = total > _IMPOSSIBLE / 2
    loss = jnp.where(possible, -total, 0 if zero_infinity else jnp.inf)
    loss = jnp.where(proper, loss, jnp.nan)
    loss = loss + _normalization_gradient(scores, steps, possible)
    if reduction == "mean":
        loss = loss / jnp.maximum(sizes, 1).astype(loss.dtype)
    if not batched:
        loss, where = loss[0], None if where is None else jnp.asarray(where).reshape(())
    return reduce_loss(loss, dtype, reduction, where)


def _log_likelihood(scores: Array, labels: Array, steps: Any, sizes: Any, blank: int) -> Array:
    """Sum over alignments by the forward recursion over labels with blanks between them."""
    time, count = scores.shape[:2]
    padded = jnp.full((count, 2 * labels.shape[1] + 1), blank, labels.dtype).at[:, 1::2].set(labels)
    live = jnp.arange(time, dtype=steps.dtype)[:, None] < steps
    emitted = jnp.take_along_axis(scores, padded[None], axis=2, mode="clip")
    emitted = jnp.where(
        live[..., None], emitted, 0
    )  # so that NaN behind the end reaches no gradient
    # a label may follow the last one at once unless they are equal; a blank never skips one
    skips = jnp.zeros(padded.shape, bool)
    skips = skips.at[:, 3::2].set(labels[:, 1:] != labels[:, :-1])
    zero = jnp.asarray(_IMPOSSIBLE, scores.dtype)
    start = jnp.full(padded.shape, zero).at[:, 0].set(0)
    start = spread_like(spread_like(start, emitted), live)

    def shifted(alpha: Array, places: int) -> Array:
        return jnp.pad(alpha, ((0, 0), (places, 0)), constant_values=_IMPOSSIBLE)[:, :-places]

    def step(alpha: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        emission, live = at
        skipped = jnp.where(skips, shifted(alpha, 2), zero)
        reached = jnp.logaddexp(jnp.logaddexp(alpha, shifted(alpha, 1)), skipped) + emission
        reached = jnp.maximum(reached, zero)
        return jnp.where(live[:, None], reached, alpha), None

    alpha, _ = jax.lax.scan(jax.checkpoint(step, prevent_cse=False), start, (emitted, live))
    last = jnp.stack([2 * sizes, 2 * sizes - 1], axis=1)
    ends = jnp.take_along_axis(alpha, last, axis=1, mode="clip")
    return jnp.logaddexp(ends[:, 0], jnp.where(sizes > 0, ends[:, 1], zero))


def _normalization_gradient(scores: Array, steps: Any, possible: Array) -> Array:
    """Return zeros whose gradient is ``exp(log_probs)`` on the steps that count."""
    live = jnp.arange(scores.shape[0], dtype=steps.dtype)[:, None] < steps
    mass = jnp.sum(jnp.exp(jnp.where((live & possible)[..., None], scores, -jnp.inf)), (0, 2))
    return mass - jax.lax.stop_gradient(mass)


def _lengths(name: str, lengths: ArrayLike, count: int, most: int) -> Any:
    """Check lengths; return a NumPy array of those that are known, and an array of JAX of the others."""
    values = known_values(lengths)
    made = jnp.asarray(lengths) if values is None else values
    if not jnp.issubdtype(made.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers; got {made.dtype}")
    if made.ndim > 1 or made.size != count:
        raise ValueError(f"{name} must have shape ({count},); got {made.shape}")
    if values is None:
        return made.reshape(count)
    if values.size and (values.min() < 0 or values.max() > most):
        raise ValueError(f"{name} must lie in [0, {most}]; got {values.tolist()}")
    return values.reshape(count).astype(np.int32)


def _padded(targets: Any, sizes: Any, count: int) -> Any:
    """Bring targets to ``(N, S)``, with an S no longer than known lengths ask for."""
    known = isinstance(sizes, np.ndarray)
    if targets.ndim == 2:
        if targets.shape[0] != count:
            raise ValueError(f"targets must have shape ({count}, S); got {targets.shape}")
        return targets[:, : int(sizes.max(initial=0))] if known else targets
    if known and sizes.sum() != targets.size:
        raise ValueError(
            f"targets must join the {sizes.sum()} labels of target_lengths; got {targets.size}"
        )
    width = int(sizes.max(initial=0)) if known else targets.size
    if width == 0:
        return jnp.zeros((count, 0), targets.dtype)
    if known:
        places = (np.cumsum(sizes) - sizes)[:, None] + np.arange(width)
        places = np.minimum(places, targets.size - 1)
        if isinstance(targets, np.ndarray):
            return targets[places]
    else:
        places = (jnp.cumsum(sizes) - sizes)[:, None] + jnp.arange(width, dtype=sizes.dtype)
    return let_xla_place(_labels_at, jnp.asarray(targets), jnp.asarray(places), kept=0)


def _labels_at(targets: Array, places: Array) -> Array:
    return targets.at[places].get(mode="clip")


def _check_labels(labels: Any, named: Any, classes: int) -> None:
    values, counts = known_values(labels), known_values(named)
    if values is not None and counts is not None:
        check_indices("targets", values[counts], classes)


def _check_shapes(log_probs: Array, targets: Any, blank: int) -> None:
    if log_probs.ndim not in (2, 3):
        raise ValueError(f"log_probs must have shape (T, N, C) or (T, C); got {log_probs.shape}")
    if targets.ndim not in (1, 2):
        raise ValueError(f"targets must have shape (N, S) or (S,); got {targets.shape}")
    check_integers("targets", targets)
    if not 0 <= blank < log_probs.shape[-1]:
        raise ValueError(f"blank must be one of {log_probs.shape[-1]} labels; got {blank}")
