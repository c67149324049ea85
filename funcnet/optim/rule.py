"""One rule for one array, lifted once to pytrees.

Every optimizer of this folder is a rule: given this step's numbers, how one array moves. What is
the same for all of them is here: walking the tree, step counts, hyperparameters and schedules,
16-bit and complex arrays, leaves without a gradient.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.optim.hyperparameters import Hyperparameters, Settings, namespace
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation, require_params

__all__ = ["Move", "Rule", "RuleState", "from_rule"]

Move = Callable[[Array, Any, dict[str, Array]], tuple[Array, dict[str, Array]]]
"""``move(gradient, parameter, slots) -> (update, slots)``, for one array."""

Rule = Callable[[SimpleNamespace], Move]
"""``rule(numbers) -> move``: what depends on the step's numbers alone is computed once."""


class RuleState(NamedTuple):
    """The state of an optimizer made by `from_rule`.

    Attributes:
        step: the count of steps taken, ``int32``.
        hyper: the hyperparameters as of the latest step.
        slots: by name, a pytree shaped like the parameters: ``slots["exp_avg"]["fc"]["weight"]``.
    """

    step: Array
    hyper: Hyperparameters
    slots: dict[str, PyTree]


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _trainable(leaf: Any) -> bool:
    """Tell arrays that a gradient moves from ``None``, integers, booleans and keys."""
    if leaf is None or getattr(leaf, "dtype", None) == jax.dtypes.float0:
        return False
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


def compute_dtype(dtype: Any) -> Any:
    """Choose the dtype of the arithmetic: real, and at least 32 bits."""
    return np.promote_types(jnp.finfo(dtype).dtype, jnp.float32)


def _to_compute(x: Array, dtype: Any) -> Array:
    if jnp.iscomplexobj(x):
        x = jnp.stack([x.real, x.imag], axis=-1)
    return x if x.dtype == dtype else x.astype(dtype)


def _to_storage(x: Array, like: Any) -> Array:
    if jnp.issubdtype(like, jnp.complexfloating):
        x = jax.lax.complex(x[..., 0], x[..., 1])
    return x if x.dtype == like else x.astype(like)


def apply_move(
    move: Move, dtype: Any, g: Array, p: Any, slots: dict[str, Array]
) -> tuple[Array, dict[str, Array]]:
    """Run a rule on one array: 16 bits computed in 32, complex numbers as pairs of reals."""
    update, new = move(
        _to_compute(g, dtype),
        None if p is None else _to_compute(jnp.asarray(p), dtype),
        {name: _to_compute(slot, dtype) for name, slot in slots.items()},
    )
    return (
        _to_storage(update, jnp.result_type(g if p is None else p)),
        {name: _to_storage(new[name], slot.dtype) for name, slot in slots.items()},
    )


def init_slots(slots: Callable[[Array], dict[str, Array]], params: PyTree) -> dict[str, PyTree]:
    """Make each leaf's slots and turn them inside out: by name, then by path."""
    leaves, treedef = jax.tree.flatten(params, is_leaf=_is_none)
    each = [slots(jnp.asarray(p)) if _trainable(p) else {} for p in leaves]
    names = dict.fromkeys(name for one in each for name in one)
    return {name: treedef.unflatten([one.get(name) for one in each]) for name in names}


def map_leaves(
    name: str,
    move_of: Callable[[Any], Move],
    grads: PyTree,
    slots: dict[str, PyTree],
    params: PyTree = None,
) -> tuple[PyTree, dict[str, PyTree]]:
    """Run ``move_of(dtype)`` on every leaf that has a gradient; the others stay as they are."""
    leaves, treedef = jax.tree.flatten(grads, is_leaf=_is_none)

    def aligned(what: str, tree: PyTree) -> list[Any]:
        try:
            return treedef.flatten_up_to(tree)
        except ValueError as error:
            raise ValueError(
                f"{name}: the {what} do not have the structure of the gradients ({error})"
            ) from None

    p_leaves = aligned("parameters", params) if params is not None else [None] * len(leaves)
    old = {slot: aligned(f"slots {slot!r}", tree) for slot, tree in slots.items()}
    new: dict[str, list[Any]] = {slot: list(values) for slot, values in old.items()}
    updates: list[Any] = list(leaves)
    for i, (g, p) in enumerate(zip(leaves, p_leaves, strict=True)):
        if not _trainable(g) or (params is not None and not _trainable(p)):
            continue
        g = jnp.asarray(g)
        mine = {slot: values[i] for slot, values in old.items() if values[i] is not None}
        dtype = compute_dtype(jnp.result_type(g if p is None else p))
        updates[i], moved = apply_move(move_of(dtype), dtype, g, p, mine)
        for slot, value in moved.items():
            new[slot][i] = value
    return treedef.unflatten(updates), {s: treedef.unflatten(values) for s, values in new.items()}


def oriented(g: Array, p: Any, h: SimpleNamespace, maximize: bool, coupled: bool) -> Array:
    """Give the direction that rules start from: ``±g``, plus ``weight_decay * p`` where coupled."""
    g = -g if maximize else g
    return g + h.weight_decay * p if coupled else g


def from_rule(
    name: str,
    rule: Rule,
    slots: Callable[[Array], dict[str, Array]] = lambda p: {},
    *,
    reads_params: bool = False,
    shaped: bool = False,
    hyper: dict[str, Any] | None = None,
) -> GradientTransformation:
    """Lift a rule for one array to an optimizer of pytrees.

    ``rule(numbers)`` gets the hyperparameters of the step as attributes (and ``numbers.step``,
    counted from 1) and returns ``move(g, p, slots) -> (update, slots)`` for one array.

    Args:
        name: the optimizer's name, for messages.
        rule: the rule. Arithmetic is real and at least 32 bits wide; complex arrays come with a
            last axis of length two, as in PyTorch.
        slots: what to remember of one parameter, by name.
        reads_params: whether ``move`` needs ``p``, so that ``update`` must be given the parameters.
        shaped: whether the result depends on the shape or norm of each leaf.
        hyper: numbers or schedules by name, tuples of them, or ``None`` for those not in use.

    Returns:
        An optimizer whose state is a `RuleState`.

    Example:
        >>> def momentum(lr, decay=0.9):
        ...     def rule(h):
        ...         def move(g, p, slots):
        ...             velocity = h.decay * slots["velocity"] - h.lr * g
        ...             return velocity, {"velocity": velocity}
        ...         return move
        ...     zeros = optim.zeros_slot("velocity")
        ...     return optim.from_rule("momentum", rule, zeros, hyper={"lr": lr, "decay": decay})
        >>> optimizer = momentum(0.5)
        >>> updates, state = optimizer.update(jnp.ones(2), optimizer.init(jnp.zeros(2)))
        >>> updates.tolist()
        [-0.5, -0.5]
    """
    settings = Settings(hyper or {})

    def init(params: PyTree) -> RuleState:
        return RuleState(jnp.zeros((), jnp.int32), settings.init(), init_slots(slots, params))

    def update(
        grads: PyTree, state: RuleState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, RuleState]:
        if reads_params:
            require_params(name, params)
        hyper_now = settings.at(state.hyper, state.step)
        count = state.step + jnp.ones((), jnp.int32)
        moves: dict[Any, Move] = {}

        def move_of(dtype: Any) -> Move:
            if dtype not in moves:
                moves[dtype] = rule(namespace(hyper_now, count, dtype))
            return moves[dtype]

        updates, new = map_leaves(name, move_of, grads, state.slots, params)
        return updates, RuleState(count, hyper_now, new)

    return (ShapedTransformation if shaped else GradientTransformation)(init, update)
