"""Parameters by position."""

from collections.abc import Iterable
from typing import Any, overload

from funcnet.nn.containers.base import HoldsParameters, ListOfParts

__all__ = ["ParameterList"]


class ParameterList(HoldsParameters, ListOfParts):
    """Hold parameters by position; arrays become parameters that start from them.

    Args:
        values: what it starts with: `Parameter` declarations, arrays, or any other values.

    >>> weights = nn.ParameterList([fn.Parameter((2,), nn.init.ones()), jnp.zeros(3)])
    >>> params, state = fn.functionalize(weights).init(jax.random.key(0))
    >>> params["1"].shape
    (3,)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ParameterList.html
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        if values is not None:
            self.extend(values)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> "ParameterList": ...

    def __getitem__(self, index: int | slice) -> Any:
        """Return one value, or several as a `ParameterList`."""
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return vars(self)[self._name(index)]
