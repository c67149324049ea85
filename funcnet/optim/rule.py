"""One rule for one array, lifted once to pytrees.

Every optimizer of this folder is a rule: given this step's numbers, how one array moves. What is
the same for all of them is here: step counts, hyperparameters and schedules, numbers that the whole
tree shares, and the run over the leaves (`per_leaf.py`).
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.optim.hyperparameters import Hyperparameters
from funcnet.optim.leaf_rule import counted, require_state
from funcnet.optim.per_leaf import Leaves, Measure, Move, Slots, init_slots
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation, require_params
from funcnet.optim.settings import Numbers, Settings

__all__ = ["Rule", "RuleState", "from_rule", "oriented"]

T = TypeVar("T")

Rule = Callable[[Numbers], Move]
"""``rule(numbers) -> move``: what depends on the step's numbers alone is computed once."""


class RuleState(NamedTuple):
    """The state of an optimizer made by `from_rule`.

    Attributes:
        step: the count of steps taken, ``int32``; it stops at 2**31 - 1.
        hyper: the hyperparameters as of the latest step.
        slots: by name, a pytree shaped like the parameters: ``slots["exp_avg"]["fc"]["weight"]``.
        memory: by name, a number that the whole tree shares; most optimizers have none.

    Example:
        >>> state = optim.adam(1e-3).init({"w": jnp.ones(2)})
        >>> int(state.step), sorted(state.slots)
        (0, ['exp_avg', 'exp_avg_sq'])
    """

    step: Array
    hyper: Hyperparameters
    slots: dict[str, PyTree]
    memory: dict[str, Array]


def oriented(g: Array, p: Any, h: Numbers, maximize: bool, coupled: bool) -> Array:
    """Give the direction that rules start from: ``±g``, plus ``weight_decay * p`` where coupled.

    Example:
        >>> from types import SimpleNamespace
        >>> h = SimpleNamespace(weight_decay=0.5)
        >>> optim.oriented(jnp.ones(1), jnp.ones(1), h, maximize=True, coupled=True).tolist()
        [-0.5]
    """
    g = -g if maximize else g
    return decayed(g, p, h) if coupled else g


def decayed(x: Array, p: Any, h: Numbers) -> Array:
    """Add ``weight_decay * p`` to a gradient or a step; nothing where the term takes no part.

    Example:
        >>> decayed(jnp.ones(1), jnp.ones(1), Numbers(weight_decay=0.5)).tolist()
        [1.5]
    """
    return x if h.weight_decay is None else x + h.weight_decay * p


def decoupled_decay(h: Numbers, decoupled: bool = True) -> Callable[[Array, Any], Array]:
    """Give ``(update, p) -> update``, which also shrinks ``p`` by ``lr * weight_decay * p``.

    Where weight decay takes no part, or is not decoupled, the update stays as it is.

    Example:
        >>> shrink = decoupled_decay(Numbers(lr=0.5, weight_decay=0.5))
        >>> shrink(jnp.zeros(1), jnp.ones(1)).tolist()
        [-0.25]
    """
    if h.weight_decay is None or not decoupled:
        return lambda update, p: update
    rate = h.lr * h.weight_decay
    return lambda update, p: update - rate * p


def refuse_complex(name: str, p: Array) -> None:
    """Raise ``TypeError`` for a complex parameter, of which an optimizer makes no sense.

    Example:
        >>> refuse_complex("muon", jnp.ones((2, 2)))
    """
    if jnp.iscomplexobj(p):
        raise TypeError(f"{name} does not take complex parameters")


def from_rule(
    name: str,
    rule: Rule,
    slots: Callable[[Array], Slots] = lambda p: {},
    *,
    hyper: Mapping[str, Any] | Settings | None = None,
    reads_params: bool = False,
    shaped: bool = False,
    reads: tuple[str, ...] = (),
    memory: Mapping[str, float] | None = None,
    measure: Callable[[Numbers], Measure] | None = None,
    advance: Callable[[Numbers, dict[str, Array]], dict[str, Array]] | None = None,
) -> GradientTransformation:
    """Lift a rule for one array to an optimizer of pytrees.

    ``rule(numbers)`` gets the hyperparameters of the step as attributes (and ``numbers.step``,
    counted from 1) and returns ``move(g, p, slots) -> (update, slots)`` for one array.

    Args:
        name: the optimizer's name, for messages.
        rule: the rule. Arithmetic is real and at least 32 bits wide; complex arrays come with a
            last axis of length two, as in PyTorch.
        slots: what to remember of one parameter, by name, made of the parameter in 32 bits at least.
        hyper: numbers or schedules by name, tuples of them, or ``None`` for those not in use; or
            ``Settings`` (``funcnet.optim.settings``), which also have ranges.
        reads_params: whether ``move`` needs ``p``, so that ``update`` must be given the parameters.
        shaped: whether the result depends on the shape or norm of each leaf.
        reads: names of extra trees that ``update`` may be given; ``move`` finds them among the
            slots.
        memory: numbers that the whole tree shares, by name, with their first values.
        measure: ``measure(numbers)(g, p, slots)`` returns numbers to sum over all leaves.
        advance: ``advance(numbers, sums)`` returns the new memory; ``numbers.memory`` has the old.
            After it ``rule`` finds the new one there, and the sums in ``numbers.sums``.

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
    settings = hyper if isinstance(hyper, Settings) else Settings(**(hyper or {}))

    def init(params: PyTree) -> RuleState:
        shared = {key: jnp.asarray(value, dtype=float) for key, value in (memory or {}).items()}
        count = jnp.zeros((), jnp.int32)
        return RuleState(count, settings.init(), init_slots(slots, params), shared)

    def update(
        grads: PyTree, state: RuleState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, RuleState]:
        require_state(name, state, RuleState)
        if reads_params:
            require_params(name, params)
        given = {key: extra[key] for key in reads if extra.get(key) is not None}
        leaves = Leaves(name, grads, params, state.slots, given, reads_params)
        hyper_now = settings.at(state.hyper, state.step)
        count = counted(state.step)

        if not leaves.active:
            return grads, RuleState(count, hyper_now, state.slots, state.memory)

        def numbers(shared: dict[str, Array], sums: dict[str, Array]) -> Callable[[Any], Numbers]:
            return cache(lambda dtype: settings.step_numbers(hyper_now, count, dtype, shared, sums))

        before, sums, shared = numbers(state.memory, {}), {}, state.memory
        if measure:
            sums = leaves.sums(_by_dtype(measure, before))
        if advance:
            shared = advance(before(None), sums)
        updates, new = leaves.move(_by_dtype(rule, numbers(shared, sums)))
        return updates, RuleState(count, hyper_now, new, shared)

    return (ShapedTransformation if shaped else GradientTransformation)(init, update)


def _by_dtype(
    function: Callable[[Numbers], T], numbers: Callable[[Any], Numbers]
) -> Callable[[Any], T]:
    """Call a function of a step's numbers once for each dtype of arithmetic."""
    return cache(lambda dtype: function(numbers(dtype)))
