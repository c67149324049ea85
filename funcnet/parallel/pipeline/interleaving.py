"""Forward and backward passes of microbatches interleaved, so that a stage keeps few of their inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import at_least_float32
from funcnet.core.leaf_kinds import is_trainable
from funcnet.parallel.pipeline.gpipe import sent_on
from funcnet.parallel.pipeline.loss_arguments import LossArguments
from funcnet.parallel.pipeline.microbatches import is_array, slice_at
from funcnet.parallel.pipeline.repeat import run_blocks
from funcnet.parallel.pipeline.severed_loss import Reached, SeveredLoss
from funcnet.parallel.pipeline.timetables import Timetable

__all__ = ["Interleaving", "Sums"]


@dataclass
class Sums:
    """What adds up over microbatches: of gradients and values each times its weight."""

    blocks: list[Array]
    rest: list[Array]
    value: Array
    weight: Array
    aux: PyTree


jax.tree_util.register_dataclass(Sums, ["blocks", "rest", "value", "weight", "aux"], [])


@dataclass
class Interleaving:
    """One stage's work, within `jax.shard_map`: each tick a microbatch forward, one backward, or both.

    Attributes:
        loss: in two parts.
        arguments: of the loss.
        weight: of a microbatch's mean, from what the loss returns beside it; None for equal weights.
        blocks: the parameters of this stage's blocks that gradients move.
        rest: likewise those outside of the blocks.
        name_blocks, name_rest: put them, and those that no gradient moves, under their dotted paths.
        cut, whole: the arrays of ``arguments`` on this device.
        table: which microbatch when.
    """

    loss: SeveredLoss
    arguments: LossArguments
    weight: Callable[[Any], Any] | None
    blocks: list[Array]
    rest: list[Array]
    name_blocks: Callable[[list[Array]], dict[str, Any]]
    name_rest: Callable[[list[Array]], dict[str, Any]]
    cut: dict[str, Array]
    whole: dict[str, Array]
    table: Timetable

    # ---- the parts of the loss, for one microbatch

    @cached_property
    def here(self) -> Array:
        """The number of this stage."""
        return jax.lax.axis_index(self.loss.repeat.pipeline.axis)

    @property
    def last(self) -> int:
        """The number of the last stage."""
        return self.loss.repeat.pipeline.stages - 1

    def reached(self, rest: list[Array], micro: Array) -> Reached:
        """Return what reaches the Repeat."""
        args, kwargs = self.arguments.of(self.cut, self.whole, micro)
        return self.loss.before(self.name_rest(rest), self.name_blocks(self.blocks), args, kwargs)

    def entry(self, rest: list[Array], micro: Array) -> tuple[PyTree, list[Array]]:
        """Return the first block's input, and the other arguments that gradients may move."""
        reached = self.reached(rest, micro)
        if not all(
            is_array(leaf) and is_trainable(leaf) for leaf in jax.tree.leaves(reached.input)
        ):
            raise TypeError(
                "pipeline_value_and_grad needs floats for the first argument of the pipelined nn.Repeat: pass integers "
                "and booleans as further arguments"
            )
        return reached.input, _moving(reached)

    def stage(self, blocks: list[Array], x: PyTree, moving: list[Array], micro: Array) -> PyTree:
        """Apply this stage's blocks to a microbatch."""
        reached, repeat = self.reached(self.rest, micro), self.loss.repeat
        layers = (self.loss.block_params(self.name_blocks(blocks)), {}, self._own(reached.keys))
        return run_blocks(repeat, reached.part, layers, x, *_given(reached, moving))[0]

    def _own(self, keys: Array | None) -> Array | None:
        """Return the keys of this stage's blocks, of those of all blocks."""
        if keys is None:
            return None
        count = keys.shape[0] // (self.last + 1)
        return jax.lax.dynamic_slice_in_dim(keys, self.here * count, count)

    def exit(self, rest: list[Array], y: PyTree, micro: Array) -> tuple[Array, Any]:
        """Return the loss of a microbatch from its last block's output, and what else the loss returns."""
        args, kwargs = self.arguments.of(self.cut, self.whole, micro)
        blocks = self.name_blocks(self.blocks)
        value, aux = self.loss.after(self.name_rest(rest), blocks, y, args, kwargs)
        value = jnp.asarray(value)
        if value.ndim or not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(
                f"the loss must be a real scalar, a mean or sum over its batch; got {value.dtype.name} of shape "
                f"{value.shape}"
            )
        return value, aux

    # ---- the ticks

    def run(self, divides: bool) -> tuple[Array, PyTree, list[Array], list[Array]]:
        """Run all microbatches; return the value, aux (of the last stage), and both gradients.

        Args:
            divides: whether the value is a mean over microbatches, rather than a sum.
        """
        told, micro = self.loss.repeat.pipeline, jnp.int32(0)
        x, _ = jax.eval_shape(self.entry, self.rest, micro)
        value, aux = jax.eval_shape(self.exit, self.rest, x, micro)
        nothing = jax.tree.map(_zeros_like, x)
        kept = jax.tree.map(lambda leaf: jnp.zeros((self.table.kept, *leaf.shape), leaf.dtype), x)
        every = jax.tree.map(lambda leaf: _stacked(leaf, told.microbatches), aux)
        zero = jnp.zeros((), jnp.float32)
        start = Sums(
            [_room(leaf) for leaf in self.blocks],
            [_room(leaf) for leaf in self.rest],
            _room(value),
            zero,
            every,
        )

        def tick(carry: Any, row: Any) -> tuple[Any, None]:
            received, pulled, kept, sums = carry
            to_run, to_pull = (numbers[self.here] for numbers in row)
            kept, sent = jax.lax.cond(
                to_run >= 0, self.forward, lambda *held: (held[1], nothing), received, kept, to_run
            )
            sums, back = jax.lax.cond(
                to_pull >= 0,
                self.backward,
                lambda *held: (held[2], nothing),
                pulled,
                kept,
                sums,
                to_pull,
            )
            return (sent_on(told, sent), sent_on(told, back, back=True), kept, sums), None

        rows = (jnp.asarray(self.table.forward), jnp.asarray(self.table.backward))
        sums = jax.lax.scan(tick, (nothing, nothing, kept, start), rows)[0][-1]
        alone = (sums.rest, sums.value, sums.weight)
        rest, total, weight = jax.lax.psum(alone, (told.axis, *told.rows))
        in_parts = jax.lax.psum(sums.blocks, told.rows) if told.rows else sums.blocks
        share = 1 / weight if divides else jnp.ones_like(weight)
        blocks = [_scaled(*pair, share) for pair in zip(in_parts, self.blocks, strict=True)]
        rest = [_scaled(*pair, share) for pair in zip(rest, self.rest, strict=True)]
        aux = jax.tree.map(lambda leaf: leaf[None], sums.aux)
        return _scaled(total, value, share), aux, blocks, rest

    def forward(self, received: PyTree, kept: PyTree, micro: Array) -> tuple[PyTree, PyTree]:
        """Keep the input of a microbatch, and run the blocks; the last stage does so in its backward pass."""
        x = jax.lax.cond(self.here == 0, lambda: self.entry(self.rest, micro)[0], lambda: received)
        place = micro % self.table.kept
        kept = jax.tree.map(lambda all, new: all.at[place].set(new), kept, x)

        def go_on() -> PyTree:
            return self.stage(self.blocks, x, _moving(self.reached(self.rest, micro)), micro)

        return kept, jax.lax.cond(self.here == self.last, lambda: x, go_on)

    def backward(
        self, pulled: PyTree, kept: PyTree, sums: Sums, micro: Array
    ) -> tuple[Sums, PyTree]:
        """Run the blocks again from what was kept, and pull the gradient back through them."""
        x = slice_at(kept, micro % self.table.kept)
        moving = _moving(self.reached(self.rest, micro))
        y, pull = jax.vjp(
            lambda blocks, x, moving: self.stage(blocks, x, moving, micro), self.blocks, x, moving
        )
        gradient, sums = jax.lax.cond(
            self.here == self.last,
            lambda sums: self.begin(y, sums, micro),
            lambda sums: (pulled, sums),
            sums,
        )
        blocks, to_input, to_moving = pull(gradient)
        sums = _with(sums, blocks=_added(sums.blocks, blocks))

        def end(sums: Sums) -> Sums:
            at_input = jax.tree.map(lambda g: jnp.where(self.here == 0, g, 0), to_input)
            _, pull = jax.vjp(lambda rest: self.entry(rest, micro), self.rest)
            return _with(sums, rest=_added(sums.rest, pull((at_input, to_moving))[0]))

        # further arguments that are floats may come from parameters, on every stage
        ends_here = self.here == 0 if not moving else jnp.bool_(True)
        return jax.lax.cond(ends_here, end, lambda sums: sums, sums), to_input

    def begin(self, y: PyTree, sums: Sums, micro: Array) -> tuple[PyTree, Sums]:
        """Compute the loss of a microbatch and the gradient where the last block ends."""
        value, pull, aux = jax.vjp(
            lambda rest, y: self.exit(rest, y, micro), self.rest, y, has_aux=True
        )
        weight = jnp.ones((), jnp.float32) if self.weight is None else _scalar(self.weight(aux))
        parts = (value, *pull(jnp.ones_like(value)))
        # the mean of nothing is 0 / 0, and so is its gradient
        value, rest, gradient = jax.tree.map(
            lambda part: jnp.where(weight == 0, 0, part * weight.astype(part.dtype)), parts
        )
        return gradient, _with(
            sums,
            rest=_added(sums.rest, rest),
            value=sums.value + value.astype(sums.value.dtype),
            weight=sums.weight + weight,
            aux=jax.tree.map(lambda all, new: all.at[micro].set(new), sums.aux, aux),
        )


def _moving(reached: Reached) -> list[Array]:
    return [leaf for leaf in jax.tree.leaves(reached.given) if _moves(leaf)]


def _given(reached: Reached, moving: list[Array]) -> tuple[Any, Any]:
    """Return the further arguments with others in place of those that gradients move."""
    leaves, tree = jax.tree.flatten(reached.given)
    rest = iter(moving)
    return tree.unflatten(next(rest) if _moves(leaf) else leaf for leaf in leaves)


def _moves(leaf: Any) -> bool:
    return is_array(leaf) and is_trainable(leaf)


def _with(sums: Sums, **new: Any) -> Sums:
    return Sums(**(vars(sums) | new))


def _added(sums: list[Array], new: list[Array]) -> list[Array]:
    return [old + leaf.astype(old.dtype) for old, leaf in zip(sums, new, strict=True)]


def _room(leaf: Any) -> Array:
    """Return zeros to add up in: at least 32 bits wide."""
    return jnp.zeros(leaf.shape, at_least_float32(leaf.dtype))


def _scaled(leaf: Array, like: Any, share: Array) -> Array:
    """Return a sum's share of the whole, in the dtype of what was added up."""
    return (leaf * share.astype(leaf.dtype)).astype(like.dtype)


def _zeros_like(leaf: Any) -> Array:
    return jnp.zeros(leaf.shape, leaf.dtype)


def _stacked(leaf: Any, count: int) -> Array:
    return jnp.zeros((count, *leaf.shape), leaf.dtype)


def _scalar(weight: Any) -> Array:
    weight = jnp.asarray(weight).astype(jnp.float32)
    if weight.ndim:
        raise ValueError(f"weight must return a scalar for each microbatch; got {weight.shape}")
    return weight
