"""GPipe: microbatches run through the stages one after another; the gradient is that of an ordinary function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from funcnet.core.aliases import Array, Key, Params, PyTree, State
from funcnet.module.binding import infers_shapes
from funcnet.module.functionalize import TransformedPart
from funcnet.nn.wrappers.base import check_same_structure, keeping, policy_of
from funcnet.nn.wrappers.repeat import Repeat
from funcnet.parallel.pipeline.microbatches import (
    cut_batch,
    is_array,
    joined_batch,
    rows_of_batch,
)
from funcnet.parallel.pipeline.settings import PipelineSettings

__all__ = ["PipelinedRepeat", "on_stages", "pipelined_copy", "sent_on"]


class PipelinedRepeat(Repeat):
    """What `pipeline` makes of an nn.Repeat: the same blocks and names, run as a pipeline of microbatches."""

    pipeline: PipelineSettings

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the microbatches through the stages; return their outputs as one batch."""
        if infers_shapes(self):
            return self.module(input, *args, **kwargs)
        part = TransformedPart(self.module, self.n)
        if part.observer is not None:  # what is asked for are values of whole batches
            return super().__call__(input, *args, **kwargs)
        told, rows = self.pipeline, rows_of_batch("the input of a pipelined nn.Repeat", input)
        leaves, tree = jax.tree.flatten((args, kwargs))
        cuts = told.cuts(self.module, args, kwargs, rows)
        cut, whole = (
            {str(i): leaf for i, leaf in enumerate(leaves) if is_array(leaf) and cuts[i] == which}
            for which in (True, False)
        )

        def block(layer: Any, x: Any, given: dict[str, Any]) -> tuple[Any, State]:
            args, kwargs = tree.unflatten(given.get(str(i), leaf) for i, leaf in enumerate(leaves))
            y, (state, _) = part(*layer, None, x, *args, **kwargs)
            check_same_structure("Repeat", y, x)
            return y, state

        stage = stage_of(block, self)
        xs = cut_batch("the input of a pipelined nn.Repeat", input, told.microbatches)
        cut = cut_batch("batched=", cut, told.microbatches) if cut else {}
        layers = (part.params, self.keys(self.n))
        ys, state = run_gpipe(told, stage, layers, part.state, xs, cut, whole)
        part.finish(state, {})
        return joined_batch(ys)


def pipelined_copy(repeat: Repeat, told: PipelineSettings) -> PipelinedRepeat:
    """Return a Repeat's description as a pipelined one."""
    made = object.__new__(PipelinedRepeat)
    vars(made).update(vars(repeat), pipeline=told)
    return made


def stage_of(
    block: Callable[..., tuple[Any, State]], repeat: PipelinedRepeat
) -> Callable[..., Any]:
    """Return ``stage(layers, state, micro, x, given) -> (y, state)``: the blocks of one stage in turn."""

    def stage(
        layers: tuple[Params, Key | None], state: State, micro: Array, x: Any, given: Any
    ) -> tuple[Any, State]:
        params, keys = layers
        if keys is not None:  # a key for each block and each microbatch
            keys = jax.vmap(lambda key: jax.random.fold_in(key, micro))(keys)

        def body(x: Any, layer: Any) -> tuple[Any, State]:
            return block(layer, x, given)

        body = keeping(body, policy_of("Repeat", repeat.remat))
        count = repeat.n // repeat.pipeline.stages
        return jax.lax.scan(body, x, (params, state, keys), count, unroll=repeat.unroll)

    return stage


def run_gpipe(
    told: PipelineSettings,
    stage: Callable[..., Any],
    layers: PyTree,
    state: State,
    xs: PyTree,
    cut: PyTree,
    whole: PyTree,
) -> tuple[PyTree, State]:
    """Run microbatches through a pipeline: at tick ``t`` stage ``s`` has microbatch ``t - s``.

    Args:
        told: the settings.
        stage: from `stage_of`.
        layers: params and keys of all blocks, stacked.
        state: of all blocks, stacked; each block's goes from microbatch to microbatch.
        xs: inputs, microbatches on the leading axis.
        cut: further arguments, likewise.
        whole: further arguments for every microbatch.

    Returns:
        Outputs like ``xs``, and the state that the last microbatch left.
    """
    axis, stages, count = told.axis, told.stages, told.microbatches

    def run(layers: Any, state: State, xs: Any, cut: Any, whole: Any) -> Any:
        here = jax.lax.axis_index(axis)
        micros = jnp.arange(count + stages - 1) - here
        # before its first microbatch and after its last a stage computes one again and drops it: values
        # that no microbatch has could be infinite, and infinity times a gradient of zero is not zero
        safe = jnp.clip(micros, 0, count - 1)
        arriving, further = jax.tree.map(lambda leaf: leaf[safe], (xs, cut))

        def tick(carry: Any, now: Any) -> Any:
            (received, state), (micro, at, x, more) = carry, now
            x = jax.tree.map(lambda new, old: jnp.where(here == 0, new, old), x, received)
            y, left = stage(layers, state, at, x, {**more, **whole})
            counts = micro == at
            state = jax.tree.map(lambda new, old: jnp.where(counts, new, old), left, state)
            return (sent_on(told, y), state), y

        first = jax.tree.map(lambda leaf: leaf[0], xs)
        scanned = (micros, safe, arriving, further)
        (_, state), ys = jax.lax.scan(tick, (first, state), scanned)
        return jax.tree.map(lambda leaf: leaf[None, stages - 1 :], ys), state

    run = on_stages(told, run, inputs=(True, True, False, False, False), outputs=(True, True))
    ys, state = run(layers, state, xs, cut, whole)
    return jax.tree.map(lambda leaf: leaf[-1], ys), state  # the last stage's


def on_stages(
    told: PipelineSettings,
    run: Callable[..., Any],
    inputs: tuple[bool, ...],
    outputs: tuple[bool, ...],
) -> Callable[..., Any]:
    """Run a function on every stage; say of its inputs and outputs which are in parts along the leading axis."""

    def specs(spread: tuple[bool, ...]) -> tuple[PartitionSpec, ...]:
        return tuple(PartitionSpec(told.axis) if one else PartitionSpec() for one in spread)

    # one axis is in our hands, the others in the compiler's; blocks need not know that they run on part of
    # a mesh, so values have no types that say so (check_vma)
    run = jax.shard_map(
        run,
        mesh=told.mesh,
        in_specs=specs(inputs),
        out_specs=specs(outputs),
        axis_names={told.axis},
        check_vma=False,
    )
    return jax.jit(run)


def sent_on(told: PipelineSettings, tree: PyTree, back: bool = False) -> PyTree:
    """Send values to the next stage, or to the one before; where nothing arrives there are zeros."""
    pairs = [(stage, stage + 1) for stage in range(told.stages - 1)]
    if back:
        pairs = [(target, source) for source, target in pairs]
    return jax.tree.map(lambda leaf: jax.lax.ppermute(leaf, told.axis, pairs), tree)
