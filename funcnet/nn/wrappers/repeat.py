"""A block repeated: copies that differ in their arrays only, compiled once."""

from collections.abc import Callable
from typing import Any

import jax

from funcnet.core.aliases import Key, Params, State
from funcnet.core.checks import check_positive
from funcnet.module import Module
from funcnet.module.binding.bind import infers_shapes
from funcnet.module.functionalize import TransformedPart
from funcnet.nn.wrappers.base import (
    Keep,
    ModuleWrapper,
    check_same_structure,
    keeping,
    policy_of,
)
from funcnet.nn.wrappers.remat import Remat

__all__ = ["Repeat"]


class Repeat(ModuleWrapper):
    """Apply ``n`` copies of a block one after the other: ``x = block_i(x)`` for each ``i``.

    The copies differ only in their arrays, which are stacked on a leading axis and scanned: the program is
    that of one block, so compile time does not grow with ``n``. Initial values, and the names in a
    ``state_dict`` (``"0.weight"``, ``"1.weight"``, …), are those of ``nn.Sequential`` of ``n`` blocks.

    Args:
        block: a module whose output has the shape and dtype of its first input.
        n: how many copies.
        remat: what the backward pass computes again instead of keeping it for every block. ``"costly"``: all
            that is cheap; kept are results of matrix products (not attention's scores), convolutions,
            attention and what ``transforms.checkpoint_name`` marks. ``True``: everything, so that memory holds
            only the values between blocks. ``False``: nothing. A function: one of
            ``jax.checkpoint_policies``; another word: as in ``transforms.saving_policy``. A block that is a `Remat`
            says itself what is kept, unless something else than ``"costly"`` is given here; within a block, what is
            kept here is kept of a `Remat` too.
        unroll: how many blocks the loop's body holds.

    Shape:
        As the block's. Further arguments of the call are passed to every copy alike.

    Example:
        >>> net = fn.functionalize(nn.Repeat(nn.Linear(4, 4), 3))
        >>> params, state = net.init(jax.random.key(0))
        >>> params["module"]["weight"].shape, net.apply(params, state, jnp.ones((2, 4)))[0].shape
        ((3, 4, 4), (2, 4))
        >>> sorted(fn.state_dict(nn.Repeat(nn.Linear(4, 4), 2), *fn.functionalize(
        ...     nn.Repeat(nn.Linear(4, 4), 2)).init(jax.random.key(0))))
        ['0.bias', '0.weight', '1.bias', '1.weight']
    """

    def __init__(self, block: Module, n: int, *, remat: Keep = "costly", unroll: int = 1) -> None:
        check_positive("n", n)
        check_positive("unroll", unroll)
        self.module = block
        self.n = n
        policy_of("Repeat", remat)  # raises here rather than in a call
        self.remat = remat
        self.unroll = unroll

    @property
    def part_names(self) -> dict[str, str | int]:
        """Where the copies' names stand: ``n`` of them instead of the attribute's."""
        return {"module": self.n}

    @property
    def policy(self) -> Callable[..., bool] | None:
        """What the backward pass keeps of each block; None for everything."""
        policy = policy_of("Repeat", self.remat)
        return None if self.remat == "costly" and isinstance(self.module, Remat) else policy

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the copies in turn."""
        if infers_shapes(self):
            return self.module(input, *args, **kwargs)
        policy = self.policy
        gather = "call" if policy is None else "region"
        part = TransformedPart(self.module, self.n, gather=gather)

        def body(x: Any, layer: tuple[Params, State, Key | None, Any]) -> tuple[Any, Any]:
            y, left = part(*layer, x, *args, **kwargs)
            check_same_structure("Repeat", y, x)
            return y, left

        layers = (part.params, part.state, self.keys(self.n), part.indices)
        output, left = jax.lax.scan(
            keeping(body, part.policy(policy)),
            input,
            layers,
            self.n,
            unroll=self.unroll,
        )
        part.finish(*left)
        return output
