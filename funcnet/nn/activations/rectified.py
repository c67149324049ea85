"""Activations as layers: each holds the settings of one function and applies it.

Most are no more than that, and are declared as such: the function, then its settings with defaults.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, dataclass_transform

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_positive
from funcnet.functional.activations import rectified as activations
from funcnet.module import Module, Parameter
from funcnet.nn.init import constant

__all__ = [
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "Softshrink",
    "Threshold",
]


@dataclass_transform(eq_default=False)
class Activation(Module):
    """A layer without parameters, made of a function and the fields that are its settings.

    A subclass ``class ELU(Activation, function=elu)`` with the field ``alpha: float = 1.0`` has the
    constructor ``ELU(alpha=1.0)`` and computes ``elu(input, alpha=self.alpha)``.
    """

    function: ClassVar[Callable[..., Array]]

    def __init_subclass__(cls, function: Callable[..., Array] | None = None, **kwargs: Any) -> None:
        """Write the constructor from the fields."""
        super().__init_subclass__(**kwargs)
        if function is not None:
            dataclass(eq=False, repr=False)(cls)
            cls.function = staticmethod(function)

    def __call__(self, input: Array) -> Array:
        """Apply the function to an array."""
        settings = {field.name: getattr(self, field.name) for field in fields(type(self))}  # pyright: ignore[reportArgumentType]
        return self.function(input, **settings)


class ReLU(Activation, function=activations.relu):
    """Rectify each element: ``max(x, 0)``, with gradient 0 at 0.

    >>> nn.ReLU()(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]

    Reference: `funcnet.functional.relu`, ``torch.nn.ReLU``.
    """


class ReLU6(Activation, function=activations.relu6):
    """Clip each element to ``[0, 6]``.

    >>> nn.ReLU6()(jnp.array([-1.0, 8.0])).tolist()
    [0.0, 6.0]

    Reference: `funcnet.functional.relu6`, ``torch.nn.ReLU6``.
    """


class Hardtanh(Activation, function=activations.hardtanh):
    """Clip each element to ``[min_val, max_val]``.

    Args:
        min_val: lower end of the linear region.
        max_val: upper end of it.

    Raises:
        ValueError: the lower end is not below the upper one.

    >>> nn.Hardtanh(-2.0, 2.0)(jnp.array([-3.0, 1.0])).tolist()
    [-2.0, 1.0]

    Reference: `funcnet.functional.hardtanh`, ``torch.nn.Hardtanh``.
    """

    min_val: float = -1.0
    max_val: float = 1.0

    def __post_init__(self) -> None:
        """Check the interval."""
        if self.max_val <= self.min_val:
            raise ValueError(f"max_val must exceed min_val; got {self.max_val} and {self.min_val}")


class Threshold(Activation, function=activations.threshold):
    """Keep the elements above a threshold and set the others to a value.

    Args:
        threshold: elements ``x <= threshold`` are replaced.
        value: what replaces them.

    >>> nn.Threshold(1.0, -7.0)(jnp.array([0.5, 2.0])).tolist()
    [-7.0, 2.0]

    Reference: `funcnet.functional.threshold`, ``torch.nn.Threshold``.
    """

    threshold: float
    value: float


class LeakyReLU(Activation, function=activations.leaky_relu):
    """Rectify with a small slope below zero: ``x if x > 0 else negative_slope * x``.

    Args:
        negative_slope: slope of the negative side.

    >>> nn.LeakyReLU(0.5)(jnp.array([-10.0, 2.0])).tolist()
    [-5.0, 2.0]

    Reference: `funcnet.functional.leaky_relu`, ``torch.nn.LeakyReLU``.
    """

    negative_slope: float = 0.01


class Hardshrink(Activation, function=activations.hardshrink):
    """Set the elements between ``-lambd`` and ``lambd`` to zero and keep the others.

    Args:
        lambd: half-width of the interval, which includes its ends.

    >>> nn.Hardshrink()(jnp.array([0.25, 2.0])).tolist()
    [0.0, 2.0]

    Reference: `funcnet.functional.hardshrink`, ``torch.nn.Hardshrink``.
    """

    lambd: float = 0.5


class Softshrink(Activation, function=activations.softshrink):
    """Move each element towards zero by ``lambd``, and to zero those nearer than that.

    Args:
        lambd: how far to move; not negative.

    >>> nn.Softshrink()(jnp.array([0.25, 2.0])).tolist()
    [0.0, 1.5]

    Reference: `funcnet.functional.softshrink`, ``torch.nn.Softshrink``.
    """

    lambd: float = 0.5


class Hardsigmoid(Activation, function=activations.hardsigmoid):
    """Approximate the sigmoid by straight lines: ``clip(x / 6 + 1/2, 0, 1)``.

    >>> nn.Hardsigmoid()(jnp.array([-4.0, 0.0])).tolist()
    [0.0, 0.5]

    Reference: `funcnet.functional.hardsigmoid`, ``torch.nn.Hardsigmoid``.
    """


class Hardswish(Activation, function=activations.hardswish):
    """Approximate SiLU by pieces: ``x * hardsigmoid(x)``.

    >>> nn.Hardswish()(jnp.array([0.0, 4.0])).tolist()
    [0.0, 4.0]

    Reference: `funcnet.functional.hardswish`, ``torch.nn.Hardswish``.
    """


class RReLU(Module):
    """Rectify with a slope below zero that is random in training, and its mean otherwise.

    Args:
        lower: least slope.
        upper: greatest slope.

    >>> fn.bind(nn.RReLU(0.25, 0.75), {}, {})(-jnp.ones(1)).tolist()
    [-0.5]

    Reference: `funcnet.functional.rrelu`, ``torch.nn.RReLU``.
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        self.lower = lower
        self.upper = upper

    def __call__(self, input: Array) -> Array:
        """Rectify an array; draws a key in training."""
        key = self.next_key() if self.training else None
        return activations.rrelu(input, self.lower, self.upper, self.training, key=key)


class PReLU(Module):
    """Rectify with learned slopes below zero: ``x if x > 0 else weight * x``.

    Args:
        num_parameters: one slope for all, or one for each channel (axis 1).
        init: where the slopes start.
        dtype: of the slopes.

    Attributes:
        weight: ``(num_parameters,)``.

    Raises:
        ValueError: ``num_parameters`` is not positive.

    >>> net = fn.functionalize(nn.PReLU())
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.array([-4.0, 1.0]))[0].tolist()
    [-1.0, 1.0]

    Reference: `funcnet.functional.prelu`, ``torch.nn.PReLU``.
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: DType = jnp.float32
    ) -> None:
        check_positive("num_parameters", num_parameters)
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter((num_parameters,), constant(init), dtype)

    def __call__(self, input: Array) -> Array:
        """Rectify an array."""
        return activations.prelu(input, self.weight)
