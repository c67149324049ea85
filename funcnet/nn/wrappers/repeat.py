"""Modules that run another one under a transform: repeated, rematerialised, scanned, vectorised.

Each lifts the inner module out as a pure function, runs it under the transform with a key for each step,
and puts the state it returns back: the misuse that `TransformScopeError` describes, done right once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, Params, PyTree, State
from funcnet.core.checks import check_positive
from funcnet.module import Module
from funcnet.module.binding import infers_shapes
from funcnet.module.functionalize import TransformedPart

__all__ = ["Remat", "Repeat", "Scan", "Vmap"]


class Lifted(Module):
    """What the four share: an inner module as a pure function of its arrays."""

    module: Module

    @property
    def part_names(self) -> dict[str, str | int]:
        """How the inner module appears in names on disk: not at all, or with a number for each copy."""
        return {"module": ""}

    def keys(self, count: int | None = None) -> Key | None:
        """Draw a key, or an array of them; None where the model was given none."""
        if not self.has_key:
            return None
        key = self.next_key()
        return key if count is None else jax.random.split(key, count)


class Repeat(Lifted):
    """Apply ``n`` copies of a block one after the other: ``x = block_i(x)`` for each ``i``.

    The copies differ only in their arrays, which are stacked on a leading axis and scanned: the program is
    that of one block, so compile time does not grow with ``n``. Initial values, and the names in a
    ``state_dict`` (``"0.weight"``, ``"1.weight"``, …), are those of ``nn.Sequential`` of ``n`` blocks.

    Args:
        block: a module whose output has the shape and dtype of its first input.
        n: how many copies.
        remat: whether to recompute each block's inner values in the backward pass, so that memory holds only
            the values between blocks.
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

    def __init__(self, block: Module, n: int, *, remat: bool = False, unroll: int = 1) -> None:
        check_positive("n", n)
        check_positive("unroll", unroll)
        self.module = block
        self.n = n
        self.remat = remat
        self.unroll = unroll

    @property
    def part_names(self) -> dict[str, str | int]:
        """Where the copies' names stand: ``n`` of them instead of the attribute's."""
        return {"module": self.n}

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the copies in turn."""
        if infers_shapes(self):
            return self.module(input, *args, **kwargs)
        part = TransformedPart(self.module, self.n)

        def body(x: Any, layer: tuple[Params, State, Key | None, Any]) -> tuple[Any, Any]:
            y, left = part(*layer, x, *args, **kwargs)
            _check_like("Repeat", y, x)
            return y, left

        body = jax.checkpoint(body, prevent_cse=False) if self.remat else body
        layers = (part.params, part.state, self.keys(self.n), part.indices)
        output, left = jax.lax.scan(body, input, layers, self.n, unroll=self.unroll)
        part.finish(*left)
        return output


class Remat(Lifted):
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
        static = tuple(4 + number for number in self.static_argnums)
        run = jax.checkpoint(part, policy=self.policy, static_argnums=static)
        output, left = run(part.params, part.state, self.keys(), None, *args, **kwargs)
        part.finish(*left)
        return output


class Scan(Lifted):
    """Call a module once for each step of a sequence: ``carry, ys[t] = module(carry, xs[t])``.

    All steps share the parameters. The state goes from step to step; each step has a key of its own.

    Args:
        module: takes ``(carry, x)`` and returns ``(carry, y)``; shapes of ``carry`` must not change.
        axis: of the inputs and outputs that time runs along.
        reverse: whether to go from the last step to the first.
        unroll: how many steps the loop's body holds.

    Example:
        >>> class Sum(nn.Module):
        ...     def __call__(self, carry, x):
        ...         return carry + x, carry
        >>> net = fn.functionalize(nn.Scan(Sum()))
        >>> (total, before), _ = net.apply({}, {}, jnp.float32(0), jnp.arange(4.0))
        >>> float(total), before.tolist()
        (6.0, [0.0, 0.0, 1.0, 3.0])
    """

    def __init__(
        self, module: Module, *, axis: int = 0, reverse: bool = False, unroll: int = 1
    ) -> None:
        self.module = module
        self.axis = axis
        self.reverse = reverse
        self.unroll = unroll

    def __call__(self, carry: PyTree, xs: PyTree) -> tuple[PyTree, PyTree]:
        """Run over the sequence; return the last carry and the outputs along ``axis``."""
        steps = _axis_size("Scan", xs, self.axis)
        xs = jax.tree.map(lambda x: jnp.moveaxis(x, self.axis, 0), xs)
        if infers_shapes(self):
            carry, y = self.module(carry, jax.tree.map(lambda x: x[0], xs))
            ys = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (steps, *leaf.shape)), y)
        else:
            part = TransformedPart(self.module)

            def body(held: Any, step: Any) -> Any:
                (carry, state), (x, key) = held, step
                (new, y), (state, seen) = part(part.params, state, key, None, carry, x)
                _check_like("Scan", new, carry)
                return (new, state), (y, seen)

            inputs = (xs, self.keys(steps))
            (carry, state), (ys, seen) = jax.lax.scan(
                body, (carry, part.state), inputs, steps, reverse=self.reverse, unroll=self.unroll
            )
            part.finish(state, seen)
        return carry, jax.tree.map(lambda y: jnp.moveaxis(y, 0, self.axis), ys)


class Vmap(Lifted):
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
        size = self.n or _axis_size("Vmap", *mapped[0])
        if infers_shapes(self):
            return self._learn(args, axes, size)
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
        part.finish(state if self.n else jax.tree.map(_merged, state), seen)
        return output

    def _learn(self, args: Any, axes: Any, size: int) -> Any:
        """Call the module on the first slice alone, for layers that learn their shapes."""
        first = [
            arg if axis is None else jax.tree.map(lambda x, axis=axis: jnp.take(x, 0, axis), arg)
            for arg, axis in zip(args, axes, strict=True)
        ]
        return jax.tree.map(
            lambda leaf: jnp.repeat(jnp.expand_dims(leaf, self.out_axes), size, self.out_axes),
            self.module(*first),
        )


def _merged(leaf: Array) -> Array:
    return leaf.mean(0) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.max(0)


def _axis_size(layer: str, tree: PyTree, axis: int) -> int:
    sizes = {leaf.shape[axis] for leaf in jax.tree.leaves(tree)}
    if len(sizes) != 1:
        raise ValueError(
            f"{layer} needs inputs of one length along axis {axis}; got {sorted(sizes)}"
        )
    return sizes.pop()


def _check_like(layer: str, new: PyTree, old: PyTree) -> None:
    """Raise unless a value that goes from step to step keeps its structure, shapes and dtypes."""

    def kinds(tree: PyTree) -> Any:
        return jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x).name), tree)

    if kinds(new) != kinds(old):
        raise ValueError(
            f"{layer}: what one step returns must be like what it is given; it was given {kinds(old)} and returned "
            f"{kinds(new)}"
        )
