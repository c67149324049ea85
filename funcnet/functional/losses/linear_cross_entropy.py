"""Cross entropy of a linear layer's logits, a chunk of the batch at a time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_choice, check_probability
from funcnet.core.dtypes import as_floats, at_least_float32, widest
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.indices import check_indices
from funcnet.functional.losses.chunks import logits_of, map_in_chunks, sum_in_chunks
from funcnet.functional.losses.cross_entropy import (
    cross_entropy,
    read_class_targets,
    true_class_losses,
)
from funcnet.functional.losses.reductions import reduce_loss, reduced, resolve_reduction

__all__ = ["LinearCrossEntropyOptions", "linear_cross_entropy"]

FEWEST_ROWS, MOST_ROWS, FEWEST_LOGITS = 1024, 4096, 2**25
"""A chunk has at least so many rows, or logits if that is more, and at most so many rows. Each chunk adds to the
gradient of the whole weight: with fewer rows that costs more than it saves (``python -m benchmarks.gpu``).
"""
CHUNKS, NARROW_CHUNKS = 8, 4
"""Between these, a batch is cut into so many chunks; into fewer where logits have 16 bits."""


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` cuts its batch, so that all logits never exist at once.

    Args:
        allow_retain_graph: accepted and without effect.
        batch_chunk_size: rows of a chunk; all of them by default.
        chunking_method: ``"aspect_ratio"`` gives a chunk's logits about the size of the input,
            ``"aspect_ratio:N"`` an N-th of it, ``"auto"`` takes an eighth of a large batch, or a quarter if
            ``acc_dtype`` has 16 bits, ``None`` leaves it to ``batch_chunk_size``.
        acc_policy: accepted and without effect: logits are normalized in float32 at least.
        acc_dtype: dtype in which the products of logits are summed; by default the input's, or float32
            if that has 16 bits. bfloat16, which PyTorch's autocast takes, needs less time and memory.

    Raises:
        ValueError: a value that is none of these.

    Example:
        >>> F.LinearCrossEntropyOptions(batch_chunk_size=128).rows(1024, 64, 32000)
        128

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LinearCrossEntropyOptions.html
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: DType | None = None

    def __post_init__(self) -> None:
        check_choice("acc_policy", self.acc_policy, ("auto", "accurate", "balanced", "compact"))
        if self.chunking_method not in (None, "auto"):
            name, _, factor = self.chunking_method.partition(":")
            valid = factor.isdigit() and int(factor) > 0 if ":" in self.chunking_method else True
            if name != "aspect_ratio" or not valid:
                raise ValueError(f"invalid chunking_method: {self.chunking_method!r}")
        size = self.batch_chunk_size
        if size is not None and not (isinstance(size, int) and size > 0):
            raise ValueError(f"batch_chunk_size must be a positive integer or None; got {size!r}")
        if self.acc_dtype is not None and not jnp.issubdtype(self.acc_dtype, jnp.floating):
            raise ValueError(f"acc_dtype must be a floating-point dtype; got {self.acc_dtype!r}")

    def rows(self, batch: int, in_features: int, num_classes: int) -> int:
        """Return the number of rows of a chunk.

        Raises:
            ValueError: both a size and a method are given, and they disagree.
        """
        size, method = self.batch_chunk_size, self.chunking_method
        if method == "auto" and size is None:
            narrow = self.acc_dtype is not None and jnp.dtype(self.acc_dtype).itemsize < 4
            share = batch // (NARROW_CHUNKS if narrow else CHUNKS)
            rows = min(max(share, FEWEST_ROWS), MOST_ROWS)
            most = max(rows, FEWEST_LOGITS // num_classes)
            return -(-batch // max(1, -(-batch // most)))  # chunks of one size, if that can be
        if method in (None, "auto"):
            return max(1, batch if size is None else min(size, batch))
        factor = int(method.partition(":")[2] or 1)
        shrink = -(-num_classes // in_features)
        power = 1 << (-(-batch // shrink) - 1).bit_length()
        chosen = max(1, min(power // factor, batch))
        if size is not None and size != chosen:
            raise ValueError(
                f"batch_chunk_size={size} and chunking_method={method!r}, which gives {chosen}, "
                "disagree: pass one of them"
            )
        return chosen


def linear_cross_entropy(
    input: Array,
    linear_weight: Array,
    target: Array,
    *,
    linear_bias: Array | None = None,
    weight: Array | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross entropy of the logits ``x Wᵀ + b``.

    The logits of a large batch never exist at once: their mean or sum takes its gradients chunk by chunk while
    the logits are there. With ``reduction="none"`` only ``options`` cut the batch, and a chunk's logits are
    computed again for the gradient.

    Args:
        input: ``(N, F)`` or ``(F,)``.
        linear_weight: ``(C, *, F)``; the axes ``*`` become axes of the logits ``(N, C, *)``.
        target: class indices ``(N, *)``, or probabilities ``(N, C, *)``.
        linear_bias: ``(C, *)``.
        weight: factor of each class, ``(C,)``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        ignore_index: samples of this class do not count; -100 by default.
        label_smoothing: share of the target that is spread evenly over the classes.
        options: how to cut the batch; by default as ``LinearCrossEntropyOptions()`` does, and for
            ``reduction="none"`` not at all.
        where: mask ``(N, *)`` of the samples that count.

    Returns:
        A scalar, or one value for each sample.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> loss = F.linear_cross_entropy(jnp.ones((4, 3)), jnp.zeros((5, 3)), jnp.arange(4))
        >>> round(float(loss), 3)
        1.609

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LinearCrossEntropyLoss.html
    """
    reduction = resolve_reduction(reduction)
    check_probability("label_smoothing", label_smoothing)
    (input,) = as_floats("linear_cross_entropy", input=input)
    _check_shapes(input, linear_weight, linear_bias)
    classes, *extra = linear_weight.shape[:-1]
    logits_shape = (*input.shape[:-1], classes, *extra)
    probabilities = np.shape(target) == logits_shape
    dtype = input.dtype
    if probabilities:
        dtype = as_floats("linear_cross_entropy", input=input, target=target)[0].dtype
    if probabilities and ignore_index is not None:
        raise ValueError("ignore_index needs class indices, not probabilities")
    ignored = -100 if ignore_index is None else ignore_index
    input = _counting_rows(input, target, extra, None if probabilities else ignored, where)
    factor = widest(input.dtype, linear_weight.dtype)
    summed: Any = at_least_float32(factor)
    if options is not None and options.acc_dtype is not None:
        summed = options.acc_dtype
    if probabilities:
        shape = (*input.shape[:-1], *extra)
        counts = jnp.broadcast_to(jnp.asarray(True if where is None else where, bool), shape)
        index, each_weight = None, None
    else:
        # Values are known here, and not inside of the loop over chunks.
        check_indices("target", target, classes, ignored=ignored)
        index, each_weight, counts = read_class_targets(
            logits_shape, target, weight, ignored, where
        )
    losses = partial(_losses, ignored, label_smoothing)
    if reduction == "none" or input.ndim == 1:
        one_by_one = partial(_one_by_one, losses, (factor, summed), options)
        loss = one_by_one(input, target, linear_weight, linear_bias, weight)
        return reduce_loss(loss, dtype, reduction, counts, each_weight)
    rows = (options or LinearCrossEntropyOptions()).rows(*_sizes(input, linear_weight))
    shares = counts.astype(at_least_float32(summed))
    if each_weight is not None:
        shares = jnp.where(counts, each_weight.astype(shares.dtype), 0)
    if index is not None and label_smoothing == 0:
        total = partial(_total_of_true_classes, (factor, summed), rows)
        arrays = (input, linear_weight, index, counts, shares, linear_bias)
    else:
        total = partial(_total, losses, (factor, summed), rows)
        arrays = (input, linear_weight, jnp.asarray(target), counts, linear_bias, weight)
    loss = let_xla_place(total, *arrays, kept=0)
    by = jnp.sum(shares, dtype=loss.dtype) if reduction == "mean" else None
    return reduced(loss, by, dtype)


def _sizes(input: Array, linear_weight: Array) -> tuple[int, int, int]:
    return input.shape[0], input.shape[-1], math.prod(linear_weight.shape[:-1])


def _losses(
    ignored: int,
    smoothing: float,
    logits: Array,
    target: ArrayLike,
    weight: Array | None,
) -> Array:
    """Return the loss of each sample."""
    return cross_entropy(
        logits,
        target,
        weight,
        ignore_index=ignored,
        reduction="none",
        label_smoothing=smoothing,
    )


def _total(
    losses: Callable[..., Array],
    dtypes: tuple[Any, Any],
    rows: int,
    input: Array,
    linear_weight: Array,
    target: Array,
    counts: Array,
    bias: Array | None,
    weight: Array | None,
) -> Array:
    """Sum the losses of the samples that count."""

    def counted(logits: Array, target: Array, counts: Array, weight: Array | None) -> Array:
        return jnp.sum(jnp.where(counts, losses(logits, target, weight), 0))

    each = (target, counts)
    return sum_in_chunks(counted, rows, dtypes, input, linear_weight, bias, each, (weight,))


def _total_of_true_classes(
    dtypes: tuple[Any, Any],
    rows: int,
    input: Array,
    linear_weight: Array,
    index: Array,
    counts: Array,
    each_weight: Array,
    bias: Array | None,
) -> Array:
    """Sum the losses of the samples that count, each by its weight."""

    def weighted(*arrays: Array) -> Array:
        return jnp.sum(true_class_losses(*arrays))

    each = (index, counts, each_weight)
    classes = jnp.arange(linear_weight.shape[0], dtype=index.dtype)
    return sum_in_chunks(weighted, rows, dtypes, input, linear_weight, bias, each, (classes,))


def _one_by_one(
    losses: Callable[..., Array],
    dtypes: tuple[Any, Any],
    options: LinearCrossEntropyOptions | None,
    input: Array,
    target: ArrayLike,
    linear_weight: Array,
    bias: Array | None,
    weight: Array | None,
) -> Array:
    """Return the loss of each sample; with options, a chunk's logits are computed again for the gradient.

    What each of them counts is known in the backward pass only.
    """
    # Outside of the loop over chunks the weight has 32 bits, and so has the sum of its gradients.
    wide_weight = linear_weight.astype(at_least_float32(linear_weight.dtype))

    parameters = (wide_weight, bias, weight)

    def of_rows(
        input: Array, target: ArrayLike, linear_weight: Array, bias: Any, weight: Any
    ) -> Array:
        return losses(logits_of(input, linear_weight, bias, *dtypes), target, weight)

    if options is None or input.ndim == 1:
        return of_rows(input, target, *parameters)
    rows = options.rows(*_sizes(input, linear_weight))

    def in_chunks(input: Array, target: Array, *parameters: Any) -> Array:
        again = jax.checkpoint(of_rows)
        return map_in_chunks(lambda batch: again(*batch, *parameters), rows, (input, target))

    return let_xla_place(in_chunks, input, jnp.asarray(target), *parameters, kept=1)


def _counting_rows(
    input: Array, target: Any, extra: list[int], ignored: int | None, where: ArrayLike | None
) -> Array:
    """Set the rows of samples that do not count to zero, so that NaN in them reaches no weight."""
    shape = (*input.shape[:-1], *extra)
    counts = None if where is None else jnp.broadcast_to(jnp.asarray(where, bool), shape)
    if ignored is not None and np.shape(target) == shape:
        meant = jnp.asarray(target) != ignored
        counts = meant if counts is None else counts & meant
    if counts is None:
        return input
    rows = counts.any(tuple(range(input.ndim - 1, counts.ndim)))
    return jnp.where(rows[..., None], input, 0)


def _check_shapes(input: Array, linear_weight: Array, linear_bias: Array | None) -> None:
    if input.ndim not in (1, 2):
        raise ValueError(f"input must have shape (N, F) or (F,); got {input.shape}")
    if linear_weight.ndim < 2 or linear_weight.shape[-1] != input.shape[-1]:
        raise ValueError(
            f"linear_weight must have shape (C, *, {input.shape[-1]}) for an input of shape "
            f"{input.shape}; got {linear_weight.shape}"
        )
    if linear_bias is not None and linear_bias.shape != linear_weight.shape[:-1]:
        raise ValueError(
            f"linear_bias must have shape {linear_weight.shape[:-1]}; got {linear_bias.shape}"
        )
    if linear_weight.ndim > 2 and input.ndim == 1:
        raise ValueError("a weight of more than two axes needs an input (N, F)")
