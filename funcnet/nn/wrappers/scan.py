"""A module called once for each step of a sequence."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import PyTree
from funcnet.module import Module
from funcnet.module.binding.bind import infers_shapes
from funcnet.module.functionalize import TransformedPart
from funcnet.nn.wrappers.base import (
    Keep,
    ModuleWrapper,
    axis_size,
    check_same_structure,
    keeping,
    policy_of,
)

__all__ = ["Scan"]


class Scan(ModuleWrapper):
    """Call a module once for each step of a sequence: ``carry, ys[t] = module(carry, xs[t])``.

    All steps share the parameters. The state goes from step to step; each step has a key of its own.

    Args:
        module: takes ``(carry, x)`` and returns ``(carry, y)``; shapes of ``carry`` must not change.
        axis: of the inputs and outputs that time runs along.
        reverse: whether to go from the last step to the first.
        unroll: how many steps the loop's body holds.
        remat: what the backward pass computes again instead of keeping it for every step, as in `Repeat`.

    Example:
        >>> class Sum(nn.Module):
        ...     def __call__(self, carry, x):
        ...         return carry + x, carry
        >>> net = fn.functionalize(nn.Scan(Sum()))
        >>> (total, before), _ = net.apply({}, {}, jnp.float32(0), jnp.arange(4.0))
        >>> float(total), before.tolist()
        (6.0, [0.0, 0.0, 1.0, 3.0])
    """

    remat: Keep = "costly"  # here too: descriptions that were stored without it

    def __init__(
        self,
        module: Module,
        *,
        axis: int = 0,
        reverse: bool = False,
        unroll: int = 1,
        remat: Keep = "costly",
    ) -> None:
        policy_of("Scan", remat)  # raises here rather than in a call
        self.module = module
        self.axis = axis
        self.reverse = reverse
        self.unroll = unroll
        self.remat = remat

    def __call__(self, carry: PyTree, xs: PyTree) -> tuple[PyTree, PyTree]:
        """Run over the sequence; return the last carry and the outputs along ``axis``."""
        steps = axis_size("Scan", xs, self.axis)
        xs = jax.tree.map(lambda x: jnp.moveaxis(x, self.axis, 0), xs)
        if infers_shapes(self):
            carry, y = self.module(carry, jax.tree.map(lambda x: x[0], xs))
            ys = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (steps, *leaf.shape)), y)
        else:
            # the steps share their weights: gathered in each, they would be sent once a step
            part = TransformedPart(self.module, gather="before")

            def body(held: Any, step: Any) -> Any:
                (carry, state), (x, key) = held, step
                (new, y), (state, seen) = part(part.params, state, key, None, carry, x)
                check_same_structure("Scan", new, carry)
                return (new, state), (y, seen)

            inputs = (xs, self.keys(steps))
            body = keeping(body, policy_of("Scan", self.remat))
            (carry, state), (ys, seen) = jax.lax.scan(
                body, (carry, part.state), inputs, steps, reverse=self.reverse, unroll=self.unroll
            )
            part.finish(state, seen)
        return carry, jax.tree.map(lambda y: jnp.moveaxis(y, 0, self.axis), ys)
