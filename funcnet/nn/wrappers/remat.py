"""A module whose inner values are computed again in the backward pass."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from funcnet.core.aliases import Key, Params, State
from funcnet.module import Module
from funcnet.module.binding.bind import infers_shapes
from funcnet.module.functionalize import TransformedPart
from funcnet.nn.wrappers.base import ModuleWrapper, policy_of

__all__ = ["Remat"]


class Remat(ModuleWrapper):
    """Recompute a module's inner values in the backward pass instead of keeping them.

    Names in a ``state_dict`` are those of the module itself.

    Arguments that are no arrays (flags, names, functions) reach the module as they are.

    Args:
        module: what to wrap.
        policy: which values to keep all the same: ``"costly"`` for those that `Repeat` keeps, another word of
            ``transforms.saving_policy``, or one of ``jax.checkpoint_policies``.
        static_argnums: positions of arguments that reach the module as they are even if they are arrays.

    Raises:
        TypeError: a policy that is no word or function.
        ValueError: no policy has that name.

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
        policy: str | Callable[..., bool] | None = None,
        static_argnums: tuple[int, ...] = (),
    ) -> None:
        self.module = module
        if isinstance(policy, bool):
            raise TypeError(
                "Remat always computes again: give policy=None to keep nothing, 'everything' to keep all, or leave "
                f"the wrapper out; got policy={policy!r}"
            )
        self.policy = None if policy is None else policy_of("Remat", policy)
        self.static_argnums = static_argnums

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module."""
        if infers_shapes(self):
            return self.module(*args, **kwargs)
        part = TransformedPart(self.module, gather="region")
        static = [number % len(args) for number in self.static_argnums] if args else []
        kept = {number: args[number] for number in static}
        traced = [None if number in kept else arg for number, arg in enumerate(args)]
        leaves, tree = jax.tree.flatten((traced, kwargs))
        arrays = [leaf if _is_array(leaf) else None for leaf in leaves]

        def run(params: Params, state: State, key: Key | None, arrays: list[Any]) -> Any:
            both = zip(arrays, leaves, strict=True)
            given, named = tree.unflatten(leaf if array is None else array for array, leaf in both)
            positional = [kept.get(number, arg) for number, arg in enumerate(given)]
            return part(params, state, key, None, *positional, **named)

        run = jax.checkpoint(run, policy=part.policy(self.policy))
        output, left = run(part.params, part.state, self.keys(), arrays)
        part.finish(*left)
        return output


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)
