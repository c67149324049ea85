"""Hyperparameters as arrays in the state: read and changed mid-run, and nothing recompiles.

All numbers of one optimizer share one small vector, so that they cost a step one buffer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, PyTree, Schedule
from funcnet.core.paths import join, leaves_with_paths

__all__ = ["Hyperparameter", "Hyperparameters", "hyperparams", "with_hyperparams"]

Hyperparameter = ArrayLike | Schedule
"""A number, or a schedule ``step -> value`` that is called with the count of steps taken."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyperparameters:
    """The current numbers of one optimizer: a vector, and the names of its entries.

    Attributes:
        values: the numbers, in the default float dtype, along the last axis; and once more, as the
            optimizer itself was given them.
        names: static; ``"lr"``, or ``"betas.0"`` and ``"betas.1"`` for a pair.
        scheduled: static; the names that a schedule overwrites at every step.
        held: static; the names of a schedule in whose place a number was set by hand.

    Example:
        >>> state = optim.adam(1e-3).init(jnp.ones(2))
        >>> isinstance(state.hyper, optim.Hyperparameters), state.hyper.names
        (True, ('lr', 'betas.0', 'betas.1', 'eps'))
    """

    values: Array | None
    names: tuple[str, ...] = field(metadata={"static": True})
    scheduled: tuple[str, ...] = field(metadata={"static": True})
    held: tuple[str, ...] = field(default=(), metadata={"static": True})

    def as_dict(self, dtype: Any = None) -> dict[str, Any]:
        """Give each number under its name, pairs as tuples, cast to a dtype if one is named."""
        values = self.values
        if values is None:
            return {}
        if dtype is not None and values.dtype != dtype:
            values = values.astype(dtype)
        found: dict[str, Any] = {}
        for position, name in enumerate(self.names):
            one = jax.lax.index_in_dim(values, position, axis=-1, keepdims=False)
            base, _, index = name.partition(".")
            found[base] = (*found.get(base, ()), one) if index else one
        return found

    def replaced(self, name: str, value: Any) -> "Hyperparameters":
        """Return a copy with one hyperparameter, or all of a tuple, set to new numbers."""
        values = self.values
        entries = [(i, n) for i, n in enumerate(self.names) if n.partition(".")[0] == name]
        numbers = list(value) if "." in entries[0][1] else [value]
        if len(numbers) != len(entries):
            raise ValueError(f"{name} takes {len(entries)} numbers; got {value!r}")
        for (position, _), number in zip(entries, numbers, strict=True):
            assert values is not None
            if number is None or isinstance(number, str) or callable(number):
                raise TypeError(
                    f"{name} is set to a number; got a {type(number).__name__}. A schedule goes to the optimizer "
                    "itself: optim.sgd(optim.schedules.cosine(...))"
                )
            values = values.at[..., position].set(jnp.asarray(number, values.dtype))
        set_now = {entry for _, entry in entries}
        held = tuple(n for n in self.scheduled if n in self.held or n in set_now)
        return replace(self, values=values, held=held)


def _nodes(state: PyTree) -> list[tuple[str, Hyperparameters]]:
    """List the vectors in a state with the path of the optimizer that each belongs to."""

    def is_vector(node: Any) -> bool:
        return isinstance(node, Hyperparameters)

    found = leaves_with_paths(state, is_leaf=is_vector)
    return [(path.removesuffix("hyper").rstrip("."), n) for path, n in found if is_vector(n)]


def hyperparams(state: PyTree) -> dict[str, Any]:
    """Read the hyperparameters of an optimizer's state, as used in the latest step.

    Args:
        state: the state of any optimizer, chain, group or wrapper.

    Returns:
        A dict of names to scalar arrays (tuples of them for ``betas``). A name that several parts
        of the state share is preceded by the part's path: ``"0.lr"``, ``"*.bias.lr"``.

    Example:
        >>> state = optim.adam(1e-2).init({"w": jnp.ones(3)})
        >>> round(float(optim.hyperparams(state)["lr"]), 4)
        0.01
    """
    found = [(path, name, v) for path, node in _nodes(state) for name, v in node.as_dict().items()]
    names = [name for _, name, _ in found]
    return {name if names.count(name) == 1 else join(path, name): v for path, name, v in found}


def with_hyperparams(
    state: PyTree, values: Mapping[str, Any] | None = None, /, **named: Any
) -> PyTree:
    """Return a state with some hyperparameters changed; a jitted step does not recompile.

    A number set by hand takes the place of a schedule, from then on. Only then does a jitted step
    compile once more.

    Args:
        state: the state of any optimizer, chain, group or wrapper.
        values: new numbers under the names that `hyperparams` gives, for names with dots.
        named: new numbers by plain name. A name changes in every part of the state that has it.

    Returns:
        The new state.

    Raises:
        KeyError: no part of the state has such a name; the message lists the names there are. A
            term switched off by a plain 0 has no entry: give ``jnp.array(0.0)`` to change it later.
        ValueError: a name of several numbers is given another count of them.
        TypeError: a schedule, or something else that is no number.

    Example:
        >>> state = optim.adam(1e-2).init({"w": jnp.ones(3)})
        >>> state = optim.with_hyperparams(state, lr=1e-3, betas=(0.8, 0.99))
        >>> round(float(optim.hyperparams(state)["lr"]), 4)
        0.001
    """
    wanted = {**(values or {}), **named}
    nodes = _nodes(state)
    unknown = set(wanted)
    changed = []
    for path, node in nodes:
        for name in node.as_dict():
            for key in {name, join(path, name)} & set(wanted):
                node = node.replaced(name, wanted[key])
                unknown.discard(key)
        changed.append(node)
    if unknown:
        there = ", ".join(hyperparams(state)) or "none"
        raise KeyError(f"no hyperparameter {sorted(unknown)}; the state has: {there}")
    queue = iter(changed)
    return jax.tree.map(
        lambda node: next(queue) if isinstance(node, Hyperparameters) else node,
        state,
        is_leaf=lambda node: isinstance(node, Hyperparameters),
    )
