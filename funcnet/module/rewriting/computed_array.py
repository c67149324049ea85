"""A module in the place of an array: what a layer's attribute holds whose array is computed each time it is read."""

from abc import abstractmethod
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.module.module import Module
from funcnet.module.specs import is_spec

__all__ = ["ArrayReader", "ComputedArray", "array_behind"]


class ComputedArray(Module):
    """A module that stands for an array, such as a weight in few bits.

    Its own arrays have names behind the array's: ``0.weight.values``. The class of the layer that holds it has an
    `ArrayReader` under the attribute's name, so that ``layer.weight`` is the array for whoever reads it.

    Attributes:
        shape: of the array.
        dtype: of the array.
    """

    shape: tuple[int, ...]
    dtype: Any

    @abstractmethod
    def compute(self, dtype: Any) -> Array:
        """Compute the array, in a dtype; bound modules only."""

    @property
    def complete(self) -> bool:
        """Whether every size of the shape is known, as of a declared array."""
        return True

    @property
    def ndim(self) -> int:
        """The number of axes of the array."""
        return len(self.shape)


class ArrayReader:
    """The attribute of a layer's class that reads a `ComputedArray`; a description has the module itself there."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        return self if layer is None else array_behind(layer, self.name)

    def __set__(self, layer: Any, value: Any) -> None:
        vars(layer)[self.name] = value


def array_behind(layer: Any, name: str) -> Any:
    """Return the array of an attribute of a layer, computed if it is a `ComputedArray`.

    It has the dtype that the layer computes in, where the model computes in mixed precision.
    """
    held = vars(layer)[name]
    if is_spec(held) or not isinstance(held, ComputedArray) or "_binding" not in vars(held):
        return held
    return held.compute(_computed_in(layer, held))


def _computed_in(layer: Any, held: ComputedArray) -> Any:
    binding = vars(layer).get("_binding") or vars(held)["_binding"]
    rounding = binding.scope.rounding
    floats = jnp.issubdtype(held.dtype, jnp.floating)
    if rounding is None or not floats:
        return held.dtype
    kept = rounding.precision.modules.get(binding.path, "any") != "any"
    return held.dtype if kept else rounding.precision.compute
