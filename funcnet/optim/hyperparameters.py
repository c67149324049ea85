"""Hyperparameters as arrays in the state: read and changed mid-run, and nothing recompiles.

All numbers of one optimizer share one small vector, so that they cost a step one buffer.
"""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
        values: the numbers, in the default float dtype, along the last axis.
        names: static; ``"lr"``, or ``"betas.0"`` and ``"betas.1"`` for a pair.
        scheduled: static; the names that a schedule overwrites at every step.
    """

    values: Array | None
    names: tuple[str, ...] = field(metadata={"static": True})
    scheduled: tuple[str, ...] = field(metadata={"static": True})

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
        for (position, entry), number in zip(entries, numbers, strict=True):
            if entry in self.scheduled:
                raise ValueError(
                    f"{name} follows a schedule, which would overwrite a new value at the next "
                    "step; build the optimizer with a number to change it by hand"
                )
            assert values is not None
            values = values.at[..., position].set(jnp.asarray(number, values.dtype))
        return replace(self, values=values)


class Settings:
    """What a factory was given: numbers and schedules by name, ``None`` for those not in use."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.entries: dict[str, Any] = {}
        for name, value in given.items():
            if isinstance(value, tuple | list):
                self.entries.update({f"{name}.{i}": one for i, one in enumerate(value)})
            elif value is not None:
                self.entries[name] = value
        for name, value in self.entries.items():
            _check_scalar(name, value)
        self.schedules = {name: value for name, value in self.entries.items() if callable(value)}

    def _vector(self, numbers: list[Any]) -> Array | None:
        return jnp.stack([jnp.asarray(n, dtype=float) for n in numbers]) if numbers else None

    def init(self) -> Hyperparameters:
        """Make the vector that the state starts from."""
        step = jnp.zeros((), jnp.int32)
        values = [value(step) if callable(value) else value for value in self.entries.values()]
        return Hyperparameters(self._vector(values), tuple(self.entries), tuple(self.schedules))

    def at(self, current: Hyperparameters, step: Array) -> Hyperparameters:
        """Evaluate the schedules at a step; numbers stay as the state has them."""
        if current.names != tuple(self.entries):
            raise ValueError(
                f"a state with the hyperparameters {', '.join(current.names) or 'none'} came to an "
                f"optimizer with {', '.join(self.entries) or 'none'}: take the state that this "
                "optimizer's init returns"
            )
        if not self.schedules or current.values is None:
            return current
        numbers = [
            self.schedules[name](step) if name in self.schedules else current.values[position]
            for position, name in enumerate(current.names)
        ]
        numbers = [jnp.asarray(number).astype(current.values.dtype) for number in numbers]
        return replace(current, values=jnp.stack(numbers))


def namespace(
    current: Hyperparameters,
    count: Array,
    dtype: Any,
    memory: Mapping[str, Array],
    sums: Mapping[str, Array],
) -> SimpleNamespace:
    """Give a step's numbers as attributes in one dtype; ``None`` stands for the default dtype.

    ``step`` counts this step too; ``memory`` and ``sums`` are what the whole tree shares.
    """
    dtype = jnp.zeros(()).dtype if dtype is None else dtype

    def cast(numbers: Mapping[str, Array]) -> SimpleNamespace:
        return SimpleNamespace(**{name: value.astype(dtype) for name, value in numbers.items()})

    return SimpleNamespace(
        step=count.astype(dtype), memory=cast(memory), sums=cast(sums), **current.as_dict(dtype)
    )


def in_use(value: Any) -> bool:
    """Say whether a term takes part: a plain 0 switches it off, any array or schedule keeps it."""
    return not (isinstance(value, int | float) and value == 0)


def used(value: Any) -> Any:
    """Return the value, or ``None`` where `in_use` says that its term takes no part."""
    return value if in_use(value) else None


def check_numbers(below: float = math.inf, **numbers: Any) -> None:
    """Raise unless each is a schedule, a scalar array or a plain number in ``[0, below)``.

    The values of arrays are not looked at: they may be traced.
    """
    for name, value in numbers.items():
        _check_scalar(name, value)
        if isinstance(value, int | float) and not 0 <= value < below:
            bound = f"in [0, {below:g})" if below < math.inf else "at least 0"
            raise ValueError(f"{name} must be {bound}; got {value!r}")


def check_tuple(name: str, values: Any, count: int, below: float = math.inf) -> None:
    """Raise unless there are so many numbers, each as `check_numbers` wants it or ``None``."""
    if not isinstance(values, tuple | list) or len(values) != count:
        raise ValueError(f"{name} takes {count} numbers; got {values!r}")
    for value in values:
        if value is not None:
            check_numbers(below, **{name: value})


def _check_scalar(name: str, value: Any) -> None:
    number = isinstance(value, int | float | np.number | np.ndarray | jax.Array)
    if not callable(value) and not (number and jnp.ndim(value) == 0):
        raise TypeError(
            f"{name} must be a number or a schedule; got {reprlib.repr(value)}. (The parameters "
            "go to init and update, not to the optimizer itself.)"
        )


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

    Args:
        state: the state of any optimizer, chain, group or wrapper.
        values: new numbers under the names that `hyperparams` gives, for names with dots.
        named: new numbers by plain name. A name changes in every part of the state that has it.

    Returns:
        The new state.

    Raises:
        KeyError: no part of the state has such a name; the message lists the names there are. A
            term switched off by a plain 0 has no entry: give ``jnp.array(0.0)`` to change it later.
        ValueError: the hyperparameter follows a schedule.

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
