"""A loop over rows that is compiled once, with options for memory, progress and an early end."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_positive
from funcnet.transforms.loops.progress import reporter

__all__ = ["scan"]

_Body = Callable[[Any, Any], tuple[Any, Any]]


def scan(
    f: _Body,
    init: Any,
    xs: Any = None,
    length: int | Array | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    *,
    checkpoint: int | str | None = None,
    progress: str | None = None,
) -> tuple[Any, Any]:
    r"""Carry a value through a loop over the leading axis of ``xs``, as `jax.lax.scan`.

    Args:
        f: ``f(carry, x) -> (carry, y)``.
        init: the first carry, any pytree.
        xs: arrays with a leading axis to loop over, or ``None``.
        length: the number of steps; needed when ``xs`` has no leaves. With fewer than ``xs`` has,
            the loop runs over the first ``length`` of them. It may be a traced integer: then the
            loop is compiled for all of ``xs``, the steps after the end are skipped, and their ``y``
            are zeros.
        reverse: go from the last to the first.
        unroll: how many steps to put into one turn of the compiled loop.
        checkpoint: keep the carry only every so many steps for the backward pass and compute the
            steps between again: a number, or ``"sqrt"`` for the square root of the length, with
            which memory grows as :math:`\sqrt n` for one more forward pass.
        progress: show a progress bar with this label while the compiled loop runs (needs tqdm).

    Returns:
        The last carry, and the ``y`` of all steps stacked along a new leading axis.

    Raises:
        ValueError: the length is neither given nor that of ``xs``, or is longer.
        TypeError: ``progress`` is no text.

    >>> total, sums = transforms.scan(lambda c, x: (c + x, c + x), 0.0, jnp.arange(4.0))
    >>> float(total), sums.tolist()
    (6.0, [0.0, 1.0, 3.0, 6.0])

    Reference for ``"sqrt"``: Chen et al., 2016, "Training deep nets with sublinear memory cost".
    """
    size = _size(xs, length)
    early = None
    if isinstance(length, jax.Array):
        early = length
    else:
        xs = jax.tree.map(lambda x: x if x.shape[0] == size else x[:size], xs)
    options: dict[str, Any] = {"reverse": reverse, "unroll": unroll}
    if early is None and progress is None:
        step, sequence = f, xs
    else:
        step, sequence = _numbered(f, xs, size, early, progress, reverse), (jnp.arange(size), xs)
    if checkpoint is None:
        return jax.lax.scan(step, init, sequence, length=size, **options)
    segment = _segment(checkpoint, size)
    return _in_segments(step, init, sequence, size, segment, options)


def _size(xs: PyTree, length: int | Array | None) -> int:
    """Return how many steps to compile the loop for."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(xs)]
    if () in shapes:
        raise ValueError("every leaf of xs needs a leading axis to loop over; got a scalar")
    sizes = {shape[0] for shape in shapes}
    if len(sizes) > 1:
        raise ValueError(f"the leaves of xs have different leading axes: {sorted(sizes)}")
    known = sizes.pop() if sizes else None
    if length is None or isinstance(length, jax.Array):
        if known is None:
            raise ValueError("scan needs length=, a number, when xs has no leaves")
        return known
    if known is not None and length > known:
        raise ValueError(f"length={length} is more than the {known} steps that xs has")
    return length


def _numbered(
    f: _Body, xs: PyTree, size: int, early: Array | None, label: str | None, reverse: bool
) -> _Body:
    """Return the step with its number beside its ``x``: to stop early by, or to report."""
    report = None if label is None else reporter(label, size)

    def step(carry: Any, numbered: tuple[Array, Any]) -> tuple[Any, Any]:
        number, x = numbered
        if report is not None:
            report(size - 1 - number if reverse else number)
        if early is None:
            return f(carry, x)
        _, blank = jax.eval_shape(f, carry, x)
        zeros = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), blank)
        return jax.lax.cond(number < early, f, lambda carry, _: (carry, zeros), carry, x)

    return step


def _segment(checkpoint: int | str, size: int) -> int:
    if checkpoint == "sqrt":
        return max(1, math.isqrt(max(size - 1, 0)) + 1)
    if isinstance(checkpoint, str):
        raise ValueError(f"checkpoint must be a number of steps or 'sqrt'; got {checkpoint!r}")
    check_positive("checkpoint", checkpoint)
    return checkpoint


def _in_segments(
    step: _Body, init: Any, xs: PyTree, size: int, segment: int, options: dict[str, Any]
) -> tuple[Any, Any]:
    """Scan over segments, each of which is computed again in the backward pass."""
    count, left = divmod(size, segment)
    reverse = options["reverse"]
    # the odd steps go to the end of the loop: to the front of xs if the loop runs backwards
    start = left if reverse else 0
    whole = jax.tree.map(lambda x: x[start : start + count * segment], xs)
    rest = jax.tree.map(lambda x: x[:left] if reverse else x[count * segment :], xs)
    folded = jax.tree.map(lambda x: x.reshape(count, segment, *x.shape[1:]), whole)

    @jax.checkpoint
    def of_segment(carry: Any, xs: Any) -> tuple[Any, Any]:
        return jax.lax.scan(step, carry, xs, length=segment, **options)

    carry, ys = jax.lax.scan(of_segment, init, folded, length=count, reverse=reverse)
    ys = jax.tree.map(lambda y: y.reshape(count * segment, *y.shape[2:]), ys)
    if not left:
        return carry, ys
    carry, others = jax.lax.scan(step, carry, rest, length=left, **options)
    pairs = (others, ys) if reverse else (ys, others)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *pairs)
