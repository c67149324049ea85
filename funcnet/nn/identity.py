"""The layer that does nothing: it stands where a model may have another."""

from funcnet.core.aliases import Array
from funcnet.module import Module

__all__ = ["Identity"]


class Identity(Module):
    """Return the input; any constructor arguments are ignored.

    >>> nn.Identity(54, unused=True)(jnp.ones(3)).shape
    (3,)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Identity.html
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, input: Array) -> Array:
        """Return the input."""
        return input
