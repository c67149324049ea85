"""Averages that add up: what a loss gives for the rows of a batch that are real, and how much that stands for."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array, State
from funcnet.functional.losses.reductions import Average, average_of
from funcnet.module import Functional, functionalize
from funcnet.nn.losses.base import LossLayer

__all__ = ["BoundLoss", "Rows", "as_function", "number_of_rows", "weighed"]

Weight = Array | None
"""What a mean stands for: rows, tokens, class weights; None of a sum, which adds up over batches."""


@dataclass(frozen=True, eq=False)
class BoundLoss:
    """A loss layer with its buffers, such as the weights of classes, as a function."""

    net: Functional
    state: State

    def __call__(self, outputs: Any, targets: Any, *, where: Any = None) -> Array:
        """Compute the loss."""
        return self.net.apply({}, self.state, outputs, targets, where=where)[0]

    def unreduced(self) -> "BoundLoss":
        """Return the loss of which this one is the mean."""
        layer: Any = copy.copy(self.net.module)
        layer.reduction = "none"
        return BoundLoss(functionalize(layer), self.state)


def as_function(loss: Any) -> Callable[..., Any]:
    """Let a loss layer be called as a function, also one that holds the weights of classes.

    Raises:
        ValueError: it has parameters.

    Example:
        >>> from funcnet.training.averages import as_function
        >>> float(as_function(nn.NLLLoss(weight=[1.0, 3.0]))(jnp.array([[-1.0, -2.0]]), jnp.array([1])))
        2.0
    """
    return _bound(loss) if isinstance(loss, LossLayer) else loss


@lru_cache(
    maxsize=64
)  # the same function for the same layer, which caches of compiled steps know again
def _bound(loss: LossLayer) -> BoundLoss:
    net = functionalize(loss)
    with jax.ensure_compile_time_eval():  # what is kept must not belong to a trace
        params, state = net.init(jax.random.key(0))
    if params:
        raise ValueError(
            f"{type(loss).__name__} has parameters of its own, which have to be trained: make it a part of the model, "
            "so that the model returns the loss, and pass loss=lambda outputs, targets: outputs"
        )
    return BoundLoss(net, state)


class Rows(NamedTuple):
    """A batch as losses and metrics see it.

    Attributes:
        outputs: of the model.
        targets: as the batch has them.
        valid: which rows are real, ``(N,)``; None: all.
        weights: what each row stands for in a loss written by hand, ``(N,)``; None: one.
    """

    outputs: Any
    targets: Any
    valid: Array | None = None
    weights: Array | None = None

    def number(self) -> Array:
        """Return what the real rows stand for together."""
        if self.weights is not None:
            counted = self.weights if self.valid is None else jnp.where(self.valid, self.weights, 0)
            return counted.sum(dtype=jnp.float32)
        if self.valid is not None:
            return self.valid.sum(dtype=jnp.float32)
        return jnp.asarray(number_of_rows(self.targets), jnp.float32)


def weighed(
    function: Callable[..., Any], rows: Rows, *, by_rows: bool = False
) -> tuple[Array, Weight]:
    """Return what a loss or metric gives for the real rows of a batch, and what that stands for.

    A loss of funcnet that is returned as it is tells what it divided by. Any other mean stands for the rows.

    Args:
        function: ``function(outputs, targets) -> scalar``, maybe with ``where=``.
        rows: the batch.
        by_rows: whether `Rows.weights` say what the mean stands for, whatever the loss tells itself.

    Example:
        >>> from funcnet.training.averages import Rows, weighed
        >>> rows = Rows(jnp.zeros((3, 2)), jnp.array([0, 1, -100]))
        >>> [round(float(number), 3) for number in weighed(F.cross_entropy, rows)]
        [0.693, 2.0]
    """
    outputs, targets, valid = rows[:3]

    def whole(**options: Any) -> tuple[Array, Any]:
        return _told(average_of(function, outputs, targets, **options))

    own = rows.number() if by_rows else None
    if valid is None:
        return _standing(whole(), own, rows)
    taken = _arguments(function)
    if "where" in taken:
        terms = _terms(function, outputs, targets, taken)
        mask = valid if terms is None else jnp.broadcast_to(_column(valid, terms), terms)
        return _standing(whole(where=mask), own, rows)
    kinds: list[Weight] = []

    def all_rows() -> tuple[Array, Array]:
        value, weight = _standing(whole(), own, rows)
        kinds.append(weight)
        return value, jnp.ones(()) if weight is None else jnp.asarray(weight, jnp.float32)

    def each_row() -> tuple[Array, Array]:
        value, weight = _of_real_rows(function, rows, by_rows)
        return value, jnp.ones(()) if weight is None else weight

    # most batches have no padding: what looks at all rows together is then given all of them
    value, weight = lax.cond(valid.all(), all_rows, each_row)
    return value, None if kinds[0] is None else weight


def _of_real_rows(function: Any, rows: Rows, by_rows: bool) -> tuple[Array, Weight]:
    """Call a function on each row alone, and put the real ones together.

    A padded row is a copy of a real one, so nothing it computes is not finite unless theirs is.
    """
    outputs, targets, valid, weights = rows
    assert valid is not None
    length = valid.shape[0]
    leaves, tree = jax.tree.flatten((outputs, targets))
    # what has no rows, such as one number for the batch, is given to each row as it is
    has_rows = [jnp.ndim(leaf) > 0 and jnp.shape(leaf)[0] == length for leaf in leaves]

    def one(*row: Any) -> Average | Array:
        kept = [leaf[None] if has else leaf for leaf, has in zip(row, has_rows, strict=True)]
        return average_of(function, *tree.unflatten(kept))

    if not any(has_rows[: tree.children()[0].num_leaves]):
        # the model put all rows together, those that fill the batch with them: nothing can be said of the others
        return jnp.full_like(jnp.asarray(function(outputs, targets)), jnp.nan), rows.number()
    each = jax.vmap(one, in_axes=[0 if has else None for has in has_rows])(*leaves)
    told = isinstance(each, Average)
    dtype = each.value.dtype if told else each.dtype
    if told and each.weight is None:
        return jnp.where(valid, each.total, 0).sum().astype(dtype), None
    share = jnp.ones(length, jnp.float32) if weights is None else weights
    if told and not by_rows:
        # totals, because a row of which nothing counts has no mean, and no gradient of one
        totals, share = each.total, jnp.asarray(each.weight)
    else:
        totals = (each.value if told else each) * share
    share = jnp.where(valid, share, 0).astype(jnp.float32)
    number = share.sum()
    total = jnp.where(share != 0, totals, 0).sum()
    return (total / number).astype(dtype), number


def _told(found: Any) -> tuple[Array, Any]:
    """Take apart what a loss gave: its value and what it stands for, ``...`` if it does not say."""
    if isinstance(found, Average):
        return found.value, found.weight
    return jnp.asarray(found), ...


def _standing(found: tuple[Array, Any], own: Array | None, rows: Rows) -> tuple[Array, Weight]:
    value, weight = found
    if weight is None and own is not None:
        raise ValueError(
            "weight= says what a mean stands for, and the loss is a sum: reduction='mean' goes with it; sums add up "
            "over batches without it"
        )
    if weight is None:
        return value, None
    if own is not None or weight is ...:
        return value, rows.number()
    return value, jnp.asarray(weight, jnp.float32)


def _terms(function: Any, outputs: Any, targets: Any, taken: set[str]) -> tuple[int, ...] | None:
    """Return the shape of what a loss of funcnet takes the mean of: its mask has a value for each; None of others."""
    if "reduction" in taken:
        return jax.eval_shape(lambda: function(outputs, targets, reduction="none")).shape
    if isinstance(function, BoundLoss):
        return jax.eval_shape(lambda: function.unreduced()(outputs, targets)).shape
    return None


def _column(valid: Array, shape: tuple[int, ...]) -> Array:
    """Give a mask of rows as many axes as what it masks."""
    return valid.reshape(valid.shape[0], *(1,) * (len(shape) - 1))


def _arguments(function: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def number_of_rows(tree: Any) -> int:
    """Return the number of samples of a batch: the length of its arrays' first axis.

    Raises:
        ValueError: the arrays do not agree.

    Example:
        >>> from funcnet.training.averages import number_of_rows
        >>> number_of_rows({"x": jnp.ones((3, 2)), "y": jnp.ones(3)})
        3
    """
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(tree) if getattr(leaf, "ndim", 0)}
    if len(lengths) > 1:
        raise ValueError(
            f"a batch's arrays have first axes of {sorted(lengths)}, so its number of samples is not known: let them "
            "agree, or say what each row stands for: supervised(..., weight=), or a method weight(batch) of an "
            "objective written by hand"
        )
    return lengths.pop() if lengths else 1
