"""A module whose inner values are computed again in the backward pass."""

from collections.abc import Callable
from typing import Any

import jax

from funcnet.module import Module
from funcnet.module.binding import infers_shapes
from funcnet.module.functionalize import TransformedPart
from funcnet.nn.wrappers.base import ModuleWrapper

__all__ = ["Remat"]


class Remat(ModuleWrapper):
    """Recompute a module's inner values in the backward pass instead of keeping them.

    Names in a ``state_dict`` are those of the module itself.

    Args:
        module: what to wrap.
        policy: which values to keep all the same, from ``jax.checkpoint_policies``.
        static_argnums: positions of arguments that are not arrays.

    Example:
        >>> net = fn.functionalize(nn.Remat(nn.Linear(4, 4)))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones(4))[0].shape
        (4,)

    Reference: https://docs.jax.dev/en/latest/gradient-checkpointing.html
    """

    def __init__(
        self,
        module: Module,
        *,
        policy: Callable[..., bool] | None = None,
        static_argnums: tuple[int, ...] = (),
    ) -> None:
        self.module = module
        self.policy = policy
        self.static_argnums = static_argnums

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module."""
        if infers_shapes(self):
            return self.module(*args, **kwargs)
        part = TransformedPart(self.module)
        static = tuple(4 + number for number in self.static_argnums)  # behind the part's own four
        run = jax.checkpoint(part, policy=self.policy, static_argnums=static)
        output, left = run(part.params, part.state, self.keys(), None, *args, **kwargs)
        part.finish(*left)
        return output
