"""Parameters whose masked numbers are zero, and stay so while the others are trained."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.optim.leaf_rule import counted, is_gradient, jax_leaf, moves, require_state, whole
from funcnet.optim.masks import masked, masks_like
from funcnet.optim.protocol import (
    GradientTransformation,
    ShapedTransformation,
    require_optimizer,
    require_params,
    with_extra,
)
from funcnet.optim.row_sparse import RowSparse

__all__ = ["MaskedState", "keep_masked"]


class MaskedState(NamedTuple):
    """State of `keep_masked`.

    Attributes:
        step: the count of steps taken.
        amount: which the masks were made for; None for masks that were given.
        masks: a tree like the parameters: booleans, false for what is zero; None for what has no mask.
        inner: the state of the optimizer inside.

    Example:
        >>> optimizer = optim.keep_masked(optim.sgd(1.0), {"w": jnp.array([True, False])})
        >>> state = optimizer.init({"w": jnp.array([3.0, 4.0])})
        >>> state.masks["w"].tolist()
        [True, False]
    """

    step: Array
    amount: Array | None
    masks: PyTree
    inner: PyTree


def keep_masked(
    optimizer: GradientTransformation,
    masks: PyTree | Callable[[PyTree, Any], PyTree],
    amount: float | Callable[[Array], Any] | None = None,
    *,
    every: int = 1,
) -> GradientTransformation:
    """Hold masked parameters at zero while the others are trained; let the masks grow by a schedule.

    From the first step on, masked numbers are exactly zero. The optimizer inside sees zeros in place of them and of
    their gradients, so that its moments of them fade, norms for clipping leave them out, and weight decay does
    nothing to them. Let `keep_masked` be the outermost wrapper, around `lookahead`, `master_copy`, `groups`,
    clipping and the like: what is put around it may move what it holds. An average that the optimizer inside keeps
    (`average`, `schedule_free_sgd`) remembers what was not masked yet: give it to ``compression.apply_masks`` with
    ``state.masks`` before it is evaluated. The masks are part of the state: saved with
    it, and resumed.

    With a schedule, ``masks`` is a function that makes masks of parameters and an amount, such as those of
    `funcnet.compression`, and ``amount`` says how much is masked at each step. Every ``every`` steps, if the amount
    is another one than before, the masks are made anew of the parameters as they are; what is masked stays masked.

    Args:
        optimizer: the optimizer inside.
        masks: booleans in a tree like the parameters, or a dict by dotted path, for all arrays or some; or a function
            ``(params, amount) -> masks``, which is traced.
        amount: with a function: a fraction, a count, or a schedule of them, ``step -> amount``, which is called with
            the count of steps taken; `funcnet.compression.gradual` makes one.
        every: after how many steps the masks may change.

    Returns:
        An optimizer with a `MaskedState`; its ``update`` needs the parameters.

    Raises:
        TypeError: a function comes without an amount, or masks with one; what comes first is no optimizer.
        ValueError: when used, if a mask fits no parameter.

    Example:
        >>> optimizer = optim.keep_masked(optim.sgd(1.0), {"w": jnp.array([True, False])})
        >>> params = {"w": jnp.array([3.0, 4.0])}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> optim.apply_updates(params, updates)["w"].tolist()
        [2.0, 0.0]

    Reference: ``torch.nn.utils.prune``, whose masks are multiplied in at every call; Zhu and Gupta, "To prune, or
    not to prune", 2017, https://arxiv.org/abs/1710.01878
    """
    require_optimizer("keep_masked", optimizer)
    every = whole("every", every)
    rule = masks if callable(masks) else None
    _check_masks(masks)
    _check_amount(rule, amount)
    inner_update = with_extra(optimizer.update)

    def amount_at(step: Array) -> Any:
        return amount(step) if callable(amount) else amount

    def init(params: PyTree) -> MaskedState:
        step = jnp.zeros((), jnp.int32)
        now = None if rule is None else amount_at(step)
        # A tree without leaves stands for any: `groups` asks so for an optimizer's numbers.
        made = (masks if rule is None else rule(params, now)) if jax.tree.leaves(params) else {}
        kept = masks_like(params, made)
        inner = optimizer.init(_masked_tree(params, kept))
        return MaskedState(step, None if now is None else _own(now), kept, inner)

    def update(
        grads: PyTree, state: MaskedState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, MaskedState]:
        require_state("keep_masked", state, MaskedState)
        require_params("keep_masked", params)
        now, kept = state.amount, state.masks
        if rule is not None and callable(amount):
            now, kept = _renewed(rule, amount(state.step), state, params, every)
        quiet = _masked_tree(grads, kept)
        inside = _masked_tree(params, kept)
        updates, inner = inner_update(quiet, state.inner, inside, **_masked_losses(extra, kept))
        held = jax.tree.map(_held, updates, kept, params, is_leaf=is_gradient)
        return held, MaskedState(counted(state.step), now, kept, inner)

    return ShapedTransformation(init, update)


def _check_masks(masks: Any) -> None:
    if masks is None or isinstance(masks, int | float | GradientTransformation):
        raise TypeError(
            f"masks must be a tree of booleans, or a function that makes them; got {masks!r}: write "
            "keep_masked(optimizer, compression.magnitude_masks, 0.5)"
        )


def _check_amount(rule: Any, amount: Any) -> None:
    if rule is not None and amount is None:
        raise TypeError(
            "keep_masked was given a function that makes masks, and needs the amount to mask: "
            "keep_masked(optimizer, compression.magnitude_masks, 0.5), or a schedule in its place"
        )
    if rule is None and amount is not None:
        raise TypeError(
            "keep_masked was given masks, which leave no amount to choose: give a function in their place, "
            "keep_masked(optimizer, compression.magnitude_masks, amount)"
        )


def _own(amount: Any) -> Array:
    """Keep an amount in an array that nobody else holds."""
    return jnp.array(amount, jnp.result_type(amount), copy=True)


def _renewed(
    rule: Callable[[PyTree, Any], PyTree],
    amount: Any,
    state: MaskedState,
    params: PyTree,
    every: int,
) -> tuple[Array, PyTree]:
    """Make the masks anew where that is due; what was masked stays masked."""
    assert state.amount is not None
    amount = jnp.asarray(amount, state.amount.dtype)
    due = (state.step % every == 0) & (amount != state.amount)

    def renew() -> PyTree:
        made = masks_like(params, rule(_masked_tree(params, state.masks), amount))
        return jax.tree.map(jnp.logical_and, made, state.masks)

    masks = jax.lax.cond(due, renew, lambda: state.masks)
    return jnp.where(due, amount, state.amount), masks


def _masked_tree(tree: PyTree, masks: PyTree) -> PyTree:
    """Put zeros where masks are false; leaves that do not move stay."""

    def one(leaf: Any, mask: Any) -> Any:
        return leaf if mask is None or not moves(leaf) else masked(_whole_array(leaf, mask), mask)

    return jax.tree.map(one, tree, masks, is_leaf=is_gradient)


def _whole_array(leaf: Any, mask: Any) -> Array:
    if isinstance(leaf, RowSparse):
        return leaf.add_to(jnp.zeros(mask.shape, leaf.values.dtype))
    return jax_leaf(leaf)


def _held(update: Any, mask: Any, p: Any) -> Any:
    """Return the update that takes masked numbers to zero."""
    if mask is None or not moves(update, p):
        return update
    p, update = jax_leaf(p), _whole_array(update, mask)
    wide = np.promote_types(p.dtype, update.dtype)
    return jnp.where(mask, update.astype(wide), -p.astype(wide))


def _masked_losses(extra: dict[str, Any], masks: PyTree) -> dict[str, Any]:
    """Have an optimizer that calls the loss itself see masked parameters, and gradients of them."""
    loss = extra.get("loss")
    if not callable(loss):
        return extra
    return {**extra, "loss": lambda params: loss(_masked_tree(params, masks))}
