"""Rows of a table by index: embeddings, sums of them, one-hot vectors.

An index outside of the table raises, as in PyTorch, where its value is known; where it is traced, inside
``jax.jit``, it gives a row of NaN. What comes out has the dtype of the table.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.indices import check_indices, check_integers, known_values
from funcnet.functional.table_rows import limit_norms, look_up_rows, rows_with_options

__all__ = ["embedding", "embedding_bag", "embedding_renorm", "one_hot"]


def one_hot(tensor: Array, num_classes: int = -1) -> Array:
    """Turn class indices into vectors: ``output[i, c] = 1 if tensor[i] = c else 0``.

    Args:
        tensor: integers, any shape ``(*)``.
        num_classes: length of the vectors; -1 takes one more than the largest index, which must
            then be known: an array that is traced is not, one that a traced function closes over is.

    Returns:
        Integers ``(*, num_classes)``; inside ``jax.jit`` an index out of range gives zeros.

    Raises:
        TypeError: the indices are no integers.
        ValueError: ``num_classes`` is 0, or unknown while tracing or for an empty array.
        IndexError: an index out of range.

    >>> F.one_hot(jnp.array([0, 2]), 3).tolist()
    [[1, 0, 0], [0, 0, 1]]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.one_hot.html
    """
    values, tensor = known_values(tensor), jnp.asarray(tensor)
    check_integers("tensor", tensor)
    if num_classes == -1:
        if values is None:
            raise ValueError(
                "num_classes cannot be found from a traced array: pass it, or give the indices as a "
                "NumPy array or a list"
            )
        if values.size == 0:
            raise ValueError("num_classes cannot be found from an empty array: pass it")
        num_classes = int(values.max()) + 1
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least one, or -1; got {num_classes}")
    check_indices("tensor", tensor if values is None else values, num_classes)
    return (tensor[..., None] == jnp.arange(num_classes, dtype=tensor.dtype)).astype(tensor.dtype)


def embedding(
    input: Array,
    weight: Array,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Array:
    """Look rows of a table up: ``output[i] = weight[input[i]]``.

    Args:
        input: integers, any shape ``(*)``.
        weight: the table, ``(V, D)``.
        padding_idx: a row, counted from the end if negative, that gets no gradient.
        max_norm: rows of a larger norm are used as if scaled down to it. The table itself stays as
            it is; `embedding_renorm` returns one that is changed as PyTorch's is.
        norm_type: the p of that norm.
        scale_grad_by_freq: whether a row's gradient is divided by how often it is looked up.
        sparse: accepted and without effect, as gradients are dense arrays here.

    Returns:
        ``(*, D)``.

    Raises:
        TypeError: the indices are no integers.
        ValueError: ``padding_idx`` names no row, or the table has not two axes.
        IndexError: an index outside of the table.

    >>> F.embedding(jnp.array([[0, 2]]), jnp.arange(6.0).reshape(3, 2)).tolist()
    [[[0.0, 1.0], [4.0, 5.0]]]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.embedding.html
    """
    del sparse
    input, weight = _checked("embedding", input, weight, max_norm)
    padding_idx = row_index("padding_idx", padding_idx, weight.shape[0])
    settings = (padding_idx, max_norm, norm_type, scale_grad_by_freq)

    def look_up(input: Array, weight: Array) -> Array:
        return rows_with_options(look_up_rows(weight, input), input, weight.shape[0], *settings)

    return let_xla_place(look_up, input, weight, kept=input.ndim)


def embedding_renorm(weight: Array, input: Array, max_norm: float, norm_type: float = 2.0) -> Array:
    """Return the table with the rows that are looked up scaled down to at most a norm.

    ``w if ‖w‖_p ≤ max_norm else w * max_norm / ‖w‖_p``

    PyTorch's layers with ``max_norm`` change their weight so at each call. To store the same
    values, apply this to the parameter before the step.

    Args:
        weight: the table, ``(V, D)``.
        input: integers, any shape: the rows that may change.
        max_norm: the largest norm.
        norm_type: the p of that norm.

    >>> F.embedding_renorm(jnp.full((2, 1), 8.0), jnp.array([1]), max_norm=2.0).round(3).tolist()
    [[8.0], [2.0]]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.embedding.html
    """
    input, weight = _checked("embedding_renorm", input, weight, max_norm)
    index = input.reshape(-1)

    def renorm(weight: Array, index: Array) -> Array:
        return weight.at[index].set(limit_norms(look_up_rows(weight, index), max_norm, norm_type))

    return let_xla_place(renorm, weight, index, kept=2)


def embedding_bag(
    input: Array,
    weight: Array,
    offsets: Array | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Array | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Array:
    """Sum, average or maximize bags of rows of a table.

    ``output[b] = Σ_n s[b, n] weight[input[b, n]]``, where ``s`` are the weights of the samples, or 1; for
    ``"mean"`` it is divided by their number, and for ``"max"`` the largest stands in place of the sum.

    Args:
        input: integers: ``(B, N)`` for B bags of N, or ``(N,)`` for all bags joined.
        weight: the table, ``(V, D)``.
        offsets: ``(B,)``, where each bag starts in an input of one axis.
        max_norm: as in `embedding`.
        norm_type: as in `embedding`.
        scale_grad_by_freq: as in `embedding`: each row's gradient is divided by that row's own frequency, as
            PyTorch does on GPUs (on CPU it divides by that of another row); not for ``"max"``.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        sparse: accepted and without effect; not for ``"max"``.
        per_sample_weights: factor of each index, of the input's shape; for ``"sum"`` only. It does not change
            the dtype of the result; what it holds at ``padding_idx`` is never looked at.
        include_last_offset: whether ``offsets`` also holds where the last bag ends.
        padding_idx: a row that does not count and gets no gradient.

    Returns:
        ``(B, D)``, summed in float32 at least and rounded once; zeros for an empty bag. Where offsets are
        traced and do not rise from 0 to at most N, all of it is NaN.

    Raises:
        ValueError: arguments that do not fit together, or offsets that do not rise from 0 to at most N.
        TypeError: the table does not hold floats, or indices or offsets are no integers.
        IndexError: an index outside of the table.

    >>> table = jnp.arange(6.0).reshape(3, 2)
    >>> F.embedding_bag(jnp.array([0, 1, 2]), table, jnp.array([0, 2]), mode="sum").tolist()
    [[2.0, 4.0], [4.0, 5.0]]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.embedding_bag.html
    """
    (weight,) = as_floats("embedding_bag", weight=weight)
    input, weight = _checked("embedding_bag", input, weight, max_norm)
    _check_bags(input, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights)
    padding_idx = row_index("padding_idx", padding_idx, weight.shape[0])
    rising = True
    if offsets is not None:
        rising = _check_offsets(offsets, input.shape[0], include_last_offset)
        offsets = jnp.asarray(offsets)
    if per_sample_weights is not None:
        (per_sample_weights,) = as_floats("embedding_bag", per_sample_weights=per_sample_weights)
    options = (max_norm, norm_type, scale_grad_by_freq)

    def reduce_bags(first: Array, weight: Array, *others: Array | None) -> Array:
        input, factors = others
        input, offsets = (first, None) if input is None else (input, first)
        rows = rows_with_options(
            look_up_rows(weight, input), input, weight.shape[0], None, *options
        )
        counts = jnp.ones(input.shape, bool) if padding_idx is None else input != padding_idx
        bags = None if offsets is None else offsets.shape[0] - include_last_offset
        return _summed(rows, counts, factors, offsets, bags, mode)

    # along the axis of the bags the output is spread as the input, or as the offsets
    lead, rest = (input, None) if offsets is None else (offsets, input)
    whole = include_last_offset and offsets is not None  # one offset more than bags
    output = let_xla_place(
        reduce_bags, lead, weight, rest, per_sample_weights, kept=0 if whole else 1
    )
    return (
        output if rising is True else jnp.where(rising, output, jnp.full((), jnp.nan, weight.dtype))
    )


def _summed(
    rows: Array,
    counts: Array,
    factors: Array | None,
    offsets: Array | None,
    bags: int | None,
    mode: str,
) -> Array:
    """Reduce the bags of looked-up rows, in 32 bits at least, and round once."""
    dtype, rows = rows.dtype, rows.astype(at_least_float32(rows.dtype))
    bag = None
    if offsets is not None and bags is not None:
        number = jnp.arange(rows.shape[0], dtype=offsets.dtype)
        bag = jnp.searchsorted(offsets, number, side="right") - 1
        counts &= bag < bags
    # what does not count is replaced before it is computed with: zero times NaN is NaN
    rows = jnp.where(counts[..., None], rows, jnp.zeros((), rows.dtype))
    if factors is not None:
        factors = jnp.where(counts, factors.astype(rows.dtype), jnp.zeros((), rows.dtype))
        rows = rows * factors[..., None]
    if bag is None or bags is None:
        return _reduce_equal_bags(rows, counts[..., None], mode).astype(dtype)
    return _reduce_bags(rows, counts[:, None], bag, bags, mode).astype(dtype)


def _reduce_equal_bags(rows: Array, counts: Array, mode: str) -> Array:
    zero = jnp.zeros((), rows.dtype)
    if mode == "max":
        if rows.shape[1] == 0:
            return jnp.zeros((rows.shape[0], rows.shape[2]), rows.dtype)
        candidates = jnp.where(counts, jax.lax.stop_gradient(rows), -jnp.inf)
        first = jnp.argmax(candidates, axis=1, keepdims=True)
        largest = jnp.take_along_axis(rows, first, axis=1).squeeze(1)
        return jnp.where(counts.any(axis=1), largest, zero)
    total = jnp.sum(rows, axis=1)
    if mode == "sum":
        return total
    return total / jnp.maximum(jnp.sum(counts, axis=1), 1).astype(rows.dtype)


def _reduce_bags(rows: Array, counts: Array, bag: Array, bags: int, mode: str) -> Array:
    zero = jnp.zeros((), rows.dtype)
    sizes = jax.ops.segment_sum(counts.astype(jnp.int32), bag, bags)
    if mode == "max":
        lowest = jnp.full((), -jnp.inf, rows.dtype)
        candidates = jax.lax.stop_gradient(jnp.where(counts, rows, lowest))
        best = jax.ops.segment_max(candidates, bag, bags)[bag]
        position = jnp.arange(rows.shape[0])[:, None]
        is_best = (candidates == best) | jnp.isnan(candidates)
        first = jax.ops.segment_min(jnp.where(counts & is_best, position, rows.shape[0]), bag, bags)
        largest = jnp.take_along_axis(rows, first, axis=0, mode="fill", fill_value=0)
        return jnp.where(sizes > 0, largest, zero)
    total = jax.ops.segment_sum(rows, bag, bags)
    return total if mode == "sum" else total / jnp.maximum(sizes, 1).astype(rows.dtype)


# ---- checks --------------------------------------------------------------------------------------


def row_index(name: str, index: int | None, rows: int) -> int | None:
    """Count a row from the start; raise if there is none."""
    if index is None:
        return None
    if not -rows <= index < rows:
        raise ValueError(f"{name} must lie in [{-rows}, {rows - 1}] for {rows} rows; got {index}")
    return index % rows


def _checked(
    function: str, input: Array, weight: Array, max_norm: float | None
) -> tuple[Array, Array]:
    """Return indices and table as arrays of JAX, once they are found to fit each other."""
    known, index, weight = known_values(input), jnp.asarray(input), jnp.asarray(weight)
    check_integers("input", index)
    if weight.ndim != 2:
        raise ValueError(f"weight must be a table of two axes; got shape {weight.shape}")
    if max_norm is not None:
        as_floats(function, complex=True, weight=weight)
    check_indices("input", index if known is None else known, weight.shape[0])
    return index, weight


def _check_offsets(offsets: Any, length: int, include_last: bool) -> Array | bool:
    """Say whether offsets rise from 0 to at most a length; raise where they are known and do not."""
    known = known_values(offsets)
    if known is None:

        def rises(offsets: Array) -> Array:
            from_zero = (offsets[:1] == 0).all()
            return from_zero & (offsets[1:] >= offsets[:-1]).all() & (offsets[-1:] <= length).all()

        return let_xla_place(rises, offsets, kept=0)
    if not known.size:
        if include_last or length:
            raise ValueError(
                f"offsets must not be empty for an input of {length} indices"
                f"{' with include_last_offset' if include_last else ''}"
            )
        return True
    if known[0] != 0 or known[-1] > length or (np.diff(known.astype(np.int64)) < 0).any():
        raise ValueError(
            f"offsets must rise from 0 to at most {length}, the length of the input; got {known.tolist()}"
        )
    return True


def _check_bags(
    input: Array,
    offsets: Array | None,
    scale_grad_by_freq: bool,
    mode: str,
    sparse: bool,
    per_sample_weights: Array | None,
) -> None:
    check_choice("mode", mode, ("sum", "mean", "max"))
    if input.ndim not in (1, 2):
        raise ValueError(f"input must have one or two axes; got shape {input.shape}")
    if input.ndim == 2 and offsets is not None:
        raise ValueError("offsets need an input of one axis; in one of two, each row is a bag")
    if input.ndim == 1 and (offsets is None or jnp.ndim(offsets) != 1):
        raise ValueError("an input of one axis needs offsets of one axis: where each bag starts")
    if offsets is not None:
        check_integers("offsets", jnp.asarray(offsets))
    if mode == "max" and (scale_grad_by_freq or sparse):
        raise ValueError("mode 'max' does not go with scale_grad_by_freq or sparse")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(f"per_sample_weights need mode='sum'; got {mode!r}")
        if jnp.shape(per_sample_weights) != input.shape:
            raise ValueError(
                f"per_sample_weights must have the input's shape {input.shape}; "
                f"got {jnp.shape(per_sample_weights)}"
            )
