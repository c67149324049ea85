"""What an optimizer is given: numbers and schedules, each declared once with its range.

A factory's signature has the names and defaults; its one `Settings` says what is allowed, and which
terms take no part. From it come the state's vector of numbers and, at every step, typed `Numbers`.
"""

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameters

__all__ = ["Declared", "Numbers", "Settings", "bound", "number", "numbers", "optional"]


class Numbers:
    """The numbers of one step, as attributes in one dtype: ``h.lr``, ``h.eps``, ``h.momentum``.

    Each hyperparameter is an array under its own name; those below differ in type, or are there
    for every optimizer.

    Attributes:
        step: the count of steps, this one included.
        betas: a hyperparameter of several numbers is a tuple.
        weight_decay: ``None`` where the term takes no part, as with every `optional` number.
        memory: numbers that the whole tree shares, as attributes.
        sums: what was measured over all leaves, as attributes.
    """

    step: Array
    betas: tuple[Array, ...]
    weight_decay: Array | None
    memory: "Numbers"
    sums: "Numbers"

    def __init__(self, **numbers: Any) -> None:
        self.__dict__.update(numbers)

    def __getattr__(self, name: str) -> Array:
        there = ", ".join(self.__dict__) or "none"
        raise AttributeError(f"no number {name!r} at this step; there are: {there}")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name}: the numbers of a step are not changed, only read")


@dataclass(frozen=True)
class Declared:
    """A hyperparameter as an optimizer declares it: what was given, and what is allowed.

    Plain numbers are checked; the values of arrays and schedules are not known yet.

    Attributes:
        value: a number or a schedule, or a tuple of them.
        low: the least number allowed.
        high: the largest, which is itself allowed if ``closed``.
        closed: see ``high``.
        count: how many numbers a tuple has; ``None`` for a single number.
        optional: whether a plain 0 switches the term off, so that it is no part of the state.
    """

    value: Any
    low: float = 0.0
    high: float = math.inf
    closed: bool = False
    count: int | None = None
    optional: bool = False

    def checked(self, name: str) -> Any:
        """Return the value, ``None`` for a term that is switched off, or say what is wrong."""
        if self.count is not None:
            if not isinstance(self.value, tuple | list) or len(self.value) != self.count:
                raise ValueError(f"{name} takes {self.count} numbers; got {self.value!r}")
            return tuple(replace(self, value=one, count=None).checked(name) for one in self.value)
        _check_scalar(name, self.value)
        plain = isinstance(self.value, int | float | np.number)
        if plain and not (self.low <= self.value < self.high or self._is_at_the_end()):
            finite = "finite and " if math.isinf(self.value) else ""
            raise ValueError(f"{name} must be {finite}{self._range()}; got {self.value!r}")
        return None if self.optional and plain and self.value == 0 else self.value

    def _is_at_the_end(self) -> bool:
        return self.closed and self.value == self.high

    def _range(self) -> str:
        if self.high == math.inf:
            return f"at least {self.low:g}"
        if self.low == -math.inf:
            return f"at most {self.high:g}"
        return f"in [{self.low:g}, {self.high:g}{']' if self.closed else ')'}"


def number(
    value: Any, at_least: float = 0.0, at_most: float = math.inf, below: float = math.inf
) -> Declared:
    """Declare one number of an optimizer, with its range.

    Example:
        >>> Settings(rho=number(1.5, at_most=1))
        Traceback (most recent call last):
        ValueError: rho must be in [0, 1]; got 1.5
    """
    closed = at_most < below
    return Declared(value, at_least, at_most if closed else below, closed)


def numbers(value: Any, count: int, below: float = math.inf) -> Declared:
    """Declare a tuple of numbers, such as ``betas``, with the range of each.

    Example:
        >>> Settings(betas=numbers((0.9, 1.0), 2, below=1))
        Traceback (most recent call last):
        ValueError: betas must be in [0, 1); got 1.0
    """
    return Declared(value, high=below, count=count)


def bound(value: Any) -> Declared:
    """Declare a bound of something that is not negative; infinity leaves it unbounded.

    Example:
        >>> "max_norm" in Settings(max_norm=bound(math.inf))
        True
    """
    return Declared(value, closed=True)


def optional(value: Any, at_least: float = 0.0) -> Declared:
    """Declare a number whose term takes no part where it is a plain 0.

    An array of 0 keeps the term, so that its number can be changed later.

    Example:
        >>> "weight_decay" in Settings(weight_decay=optional(0.0))
        False
    """
    return Declared(value, at_least, optional=True)


class Settings:
    """What an optimizer was given: numbers and schedules by name, in the order of the state.

    Each is declared by `number`, `numbers`, `bound` or `optional`; one given as it is has no range, and
    ``None`` takes no part.

    Example:
        >>> settings = Settings(lr=number(0.1), weight_decay=optional(0.0))
        >>> "lr" in settings, "weight_decay" in settings
        (True, False)
    """

    def __init__(self, **declared: Any) -> None:
        self.entries: dict[str, Any] = {}
        self.unused: dict[str, None] = {}
        for name, value in declared.items():
            value = value.checked(name) if isinstance(value, Declared) else value
            if isinstance(value, tuple | list):
                self.entries.update({f"{name}.{i}": one for i, one in enumerate(value)})
            elif value is not None:
                self.entries[name] = value
            else:
                self.unused[name] = None
        for name, value in self.entries.items():
            _check_scalar(name, value)
        self.schedules = {name: value for name, value in self.entries.items() if callable(value)}
        # Plain numbers are where the state starts from. An array may be another one whenever the
        # optimizer is made anew, as `optax.inject_hyperparams` does at every step.
        self.has_arrays = any(map(_is_array, self.entries.values()))

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def init(self) -> Hyperparameters:
        """Make the vector that the state starts from."""
        values = self._evaluated(jnp.zeros((), jnp.int32)) if self.entries else None
        both = None if values is None else jnp.concatenate([values, values])
        return Hyperparameters(both, tuple(self.entries), tuple(self.schedules))

    def _evaluated(self, step: Array) -> Array:
        values = [_value(name, value, step) for name, value in self.entries.items()]
        return jnp.stack([value.astype(float) for value in values])

    def at(self, current: Hyperparameters, step: Array) -> Hyperparameters:
        """Give the numbers of a step.

        A schedule is evaluated, unless a number was set by hand in its place. A plain number stays as the
        state has it, except where the state followed a schedule that this optimizer does not have. An array
        counts where it is another one than before.
        """
        if current.names != tuple(self.entries):
            raise ValueError(
                f"a state with the hyperparameters {', '.join(current.names) or 'none'} came to an "
                f"optimizer with {', '.join(self.entries) or 'none'}: take the state that this "
                "optimizer's init returns"
            )
        if current.values is None or not (self.schedules or current.scheduled or self.has_arrays):
            return current
        # The names are static: they stay what they are wherever they can, so that nothing recompiles.
        new = tuple(name for name in self.schedules if name not in current.scheduled)
        current = replace(current, scheduled=current.scheduled + new)
        return self._chosen(current, set(current.scheduled) - set(current.held), step)

    def _chosen(self, current: Hyperparameters, own: set[str], step: Array) -> Hyperparameters:
        """Take this optimizer's own value of the numbers named, and of arrays that are others than before."""
        old = current.values
        assert old is not None
        dtype = old.dtype

        def cast(value: Any) -> Array:
            return jnp.asarray(value).astype(dtype)

        def entry(position: int) -> Array:
            return jax.lax.index_in_dim(old, position, keepdims=False)

        count = len(self.entries)
        numbers, given = [], old[count:]
        for position, (name, value) in enumerate(self.entries.items()):
            number = entry(position)
            if name in own:
                number = cast(_value(name, value, step))
            elif _is_array(value):
                told = cast(value)
                number = jnp.where(told != entry(count + position), told, number)
                given = given.at[position].set(told)
            numbers.append(number)
        return replace(current, values=jnp.concatenate([jnp.stack(numbers), given]))

    def step_numbers(
        self,
        current: Hyperparameters,
        count: Array,
        dtype: Any = None,
        memory: Mapping[str, Array] = MappingProxyType({}),
        sums: Mapping[str, Array] = MappingProxyType({}),
    ) -> Numbers:
        """Give a step's numbers in one dtype; ``None`` stands for the default dtype.

        Args:
            current: the hyperparameters of this step.
            count: of the steps, this one included.
            dtype: of the arithmetic.
            memory: numbers that the whole tree shares.
            sums: what was measured over all leaves.
        """
        dtype = jnp.zeros(()).dtype if dtype is None else dtype
        return Numbers(
            step=count.astype(dtype),
            memory=Numbers(**{name: value.astype(dtype) for name, value in memory.items()}),
            sums=Numbers(**{name: value.astype(dtype) for name, value in sums.items()}),
            **self.unused,
            **current.as_dict(dtype),
        )


def if_known(check: Callable[[str, Any], None], name: str, value: Any) -> None:
    """Check a number of an optimizer, unless its value is not known while tracing.

    `optax.inject_hyperparams` gives such numbers to a factory.

    >>> from funcnet.core.checks import check_positive
    >>> if_known(check_positive, "eps", 1e-8)
    """
    if not isinstance(value, Tracer):
        check(name, value)


def _value(name: str, value: Any, step: Array) -> Array:
    """Give a number, or what a schedule makes of a step."""
    found = jnp.asarray(value(step) if callable(value) else value)
    if found.ndim:
        raise ValueError(
            f"the schedule of {name} must give one number; got an array of shape {found.shape}"
        )
    return found


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array | np.ndarray)


def _check_scalar(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float | np.number | np.ndarray | jax.Array)
    if not callable(value) and not (is_number and jnp.ndim(value) == 0):
        raise TypeError(
            f"{name} must be a number or a schedule; got {reprlib.repr(value)}. (The parameters "
            "go to init and update, not to the optimizer itself.)"
        )
