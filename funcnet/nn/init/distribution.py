"""An initial distribution as a value: ``init(key, shape, dtype) -> array``.

Two that are made with the same arguments are equal and hash alike, so that `functionalize` can draw all
parameters that are alike in one call.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, Shape
from funcnet.core.dtypes import at_least_float32
from funcnet.module.initial_values.recipes import FLOATS, FlatDraw, Recipe, TellsRecipe
from funcnet.module.specs import is_spec

__all__ = ["Distribution"]


@dataclass(frozen=True, repr=False)
class Distribution(TellsRecipe):
    """An initializer: a module-level sampling function and its settings, comparable by value.

    ``tell(shape, dtype, *settings)`` returns how the same values are made without a program for each shape.

    >>> nn.init.normal(0.0, 0.02) == nn.init.normal(std=0.02)
    True
    >>> nn.init.normal(0.0, 0.02)(jax.random.key(0), (2, 3), jnp.float32).shape
    (2, 3)
    """

    sample: Callable[..., Array]
    settings: tuple[Any, ...] = ()
    tell: Callable[..., Recipe | None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse what PyTorch's initializers fill in place."""
        name = self.sample.__name__.removeprefix("draw_")
        for setting in self.settings:
            if is_spec(setting) or getattr(setting, "ndim", 0):
                raise TypeError(
                    f"{name} takes its settings and returns an initializer, given to the array that it fills: "
                    f"self.weight = nn.Parameter(shape, nn.init.{name}()); got {type(setting).__name__}"
                )

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        """Draw an array of the given shape and dtype."""
        return self.sample(key, tuple(shape), jnp.dtype(dtype), *self.settings)

    def recipe(self, shape: tuple[int, ...], dtype: Any) -> Recipe | None:
        """Return how the values are made, if that is known."""
        return None if self.tell is None else self.tell(shape, dtype, *self.settings)

    def __repr__(self) -> str:
        """Show the factory's call: ``draw_normal`` draws what ``normal`` declares."""
        name = self.sample.__name__.removeprefix("draw_")
        return f"{name}({', '.join(map(repr, self.settings))})"


def flat_draw(sample: Callable[..., Array], dtype: Any, *scales: float) -> FlatDraw | None:
    """Tell of a draw in float32, with scales that a program may be given as float32."""
    exact = all(
        type(scale) in (int, float) for scale in scales
    )  # NumPy's numbers have dtypes of their own
    return FlatDraw(sample, scales) if exact and dtype in FLOATS else None


def drawn_dtype(dtype: Any) -> Any:
    """Return the dtype to draw in: float32 for sixteen bits, which leave a generator a few hundred values.

    Raises:
        TypeError: the dtype is one of integers, which would lose what is drawn.

    >>> from funcnet.nn.init.distribution import drawn_dtype
    >>> drawn_dtype(jnp.dtype(jnp.bfloat16)).name
    'float32'
    """
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(f"random numbers are drawn for floats; got {dtype}")
    return at_least_float32(dtype)
