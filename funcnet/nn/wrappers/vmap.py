"""A module called on each slice of its inputs at once."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_positive
from funcnet.module import Module
from funcnet.module.binding.bind import infers_shapes
from funcnet.module.functionalize import TransformedPart
from funcnet.nn.wrappers.base import ModuleWrapper, axis_size

__all__ = ["Vmap"]


class Vmap(ModuleWrapper):
    """Call a module on each slice of its inputs at once.

    Without ``n`` all slices share the parameters; the buffers that the slices leave are averaged (integers:
    the largest). With ``n`` each slice has a copy of its own, parameters and buffers stacked on a leading
    axis, and a copy's names in a ``state_dict`` begin with its number. Each slice has a key of its own.

    Args:
        module: what to call.
        n: how many copies with arrays of their own.
        in_axes: for each positional argument the axis to map, or None to give every slice the whole;
            one value stands for all arguments.
        out_axes: where the mapped axis of the output goes.

    Example:
        >>> net = fn.functionalize(nn.Vmap(nn.Linear(4, 2), 3, in_axes=None))     # three heads
        >>> params, state = net.init(jax.random.key(0))
        >>> params["module"]["weight"].shape, net.apply(params, state, jnp.ones((5, 4)))[0].shape
        ((3, 2, 4), (3, 5, 2))
    """

    def __init__(
        self,
        module: Module,
        n: int | None = None,
        *,
        in_axes: int | tuple[int | None, ...] | None = 0,
        out_axes: int = 0,
    ) -> None:
        if n is not None:
            check_positive("n", n)
        elif in_axes is None or (isinstance(in_axes, tuple) and set(in_axes) == {None}):
            raise ValueError(
                "in_axes must map an argument, or n must say how many copies there are"
            )
        self.module = module
        self.n = n
        self.in_axes = in_axes
        self.out_axes = out_axes

    @property
    def part_names(self) -> dict[str, str | int]:
        """Copies have numbers; a shared module's names are its own."""
        return {"module": "" if self.n is None else self.n}

    def __call__(self, *args: Any) -> Any:
        """Call the module on every slice."""
        axes = self.in_axes if isinstance(self.in_axes, tuple) else (self.in_axes,) * len(args)
        if len(axes) != len(args):
            raise ValueError(f"in_axes has {len(axes)} entries for {len(args)} arguments")
        mapped = [(arg, axis) for arg, axis in zip(args, axes, strict=True) if axis is not None]
        size = self.n or axis_size("Vmap", *mapped[0])
        if infers_shapes(self):
            return self._infer_shapes(args, axes, size)
        part = TransformedPart(self.module, self.n)
        own = None if self.n is None else 0
        keys = self.keys(size)
        run = jax.vmap(
            part,
            (own, own, None if keys is None else 0, None if part.indices is None else 0, *axes),
            (self.out_axes, 0),
            axis_size=size,
        )
        output, (state, seen) = run(part.params, part.state, keys, part.indices, *args)
        part.finish(state if self.n else jax.tree.map(_one_of_all, state), seen)
        return output

    def _infer_shapes(self, args: Any, axes: Any, size: int) -> Any:
        """Call the module on the first slice alone, for lazy layers, whose shapes follow from it."""
        first = [
            arg if axis is None else jax.tree.map(lambda x, axis=axis: jnp.take(x, 0, axis), arg)
            for arg, axis in zip(args, axes, strict=True)
        ]
        return jax.tree.map(
            lambda leaf: jnp.repeat(jnp.expand_dims(leaf, self.out_axes), size, self.out_axes),
            self.module(*first),
        )


def _one_of_all(leaf: Array) -> Array:
    """Make one buffer of those that the slices leave: their mean, or of integers the largest."""
    return leaf.mean(0) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.max(0)
