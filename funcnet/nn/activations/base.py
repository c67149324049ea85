"""What activation layers share: each holds the settings of one function and applies it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, dataclass_transform

from funcnet.core.aliases import Array
from funcnet.module import Module

__all__ = ["ActivationLayer"]


@dataclass_transform(eq_default=False)
class ActivationLayer(Module):
    """A layer without parameters, made of a function and the fields that are its settings.

    A subclass ``class ELU(ActivationLayer, function=elu)`` with the field ``alpha: float = 1.0`` has the
    constructor ``ELU(alpha=1.0)`` and computes ``elu(input, alpha=self.alpha)``.
    """

    function: ClassVar[Callable[..., Array]]

    def __init_subclass__(cls, function: Callable[..., Array] | None = None, **kwargs: Any) -> None:
        """Write the constructor from the fields."""
        super().__init_subclass__(**kwargs)
        if function is not None:
            dataclass(eq=False, repr=False)(cls)
            cls.function = staticmethod(function)

    def __post_init__(self) -> None:
        """Refuse the array to apply the layer to, given to the constructor."""
        name = type(self).__name__
        for field in fields(type(self)):  # pyright: ignore[reportArgumentType]
            if getattr(getattr(self, field.name), "ndim", 0):
                raise TypeError(
                    f"{name} makes a layer of its settings, and {field.name} is an array: call what it makes, "
                    f"nn.{name}()(x), or write the function, F.{self.function.__name__}(x)"
                )

    def __call__(self, input: Array) -> Array:
        """Apply the function to an array."""
        settings = {field.name: getattr(self, field.name) for field in fields(type(self))}  # pyright: ignore[reportArgumentType]
        return self.function(input, **settings)
