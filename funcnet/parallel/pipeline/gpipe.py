"""GPipe: microbatches run through the stages one after another; the gradient is that of an ordinary function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from funcnet.core.aliases import PyTree, State
from funcnet.parallel.pipeline.settings import PipelineSettings

__all__ = ["on_stages", "run_gpipe", "sent_on"]


def run_gpipe(
    told: PipelineSettings,
    stage: Callable[..., Any],
    layers: PyTree,
    xs: PyTree,
    cut: PyTree,
    whole: PyTree,
) -> tuple[PyTree, State]:
    """Run microbatches through a pipeline: at tick ``t`` stage ``s`` has microbatch ``t - s``.

    Args:
        told: the settings.
        stage: ``stage(layers, micro, x, given) -> (y, state)``, what the blocks of a stage compute.
        layers: params, state and keys of all blocks, stacked; a block's state goes from microbatch to microbatch.
        xs: inputs, microbatches on the leading axis.
        cut: further arguments, likewise.
        whole: further arguments for every microbatch.

    Returns:
        Outputs like ``xs``, and the state that the last microbatch left.
    """
    axis, stages, count = told.axis, told.stages, told.microbatches

    def run(layers: Any, xs: Any, cut: Any, whole: Any) -> Any:
        params, state, keys = layers
        here = jax.lax.axis_index(axis)
        micros = jnp.arange(count + stages - 1) - here
        # before its first microbatch and after its last a stage computes one again and drops it: values
        # that no microbatch has could be infinite, and infinity times a gradient of zero is not zero
        safe = jnp.clip(micros, 0, count - 1)
        arriving, further = jax.tree.map(lambda leaf: leaf[safe], (xs, cut))

        def tick(carry: Any, now: Any) -> Any:
            (received, state), (micro, at, x, more) = carry, now
            x = jax.tree.map(lambda new, old: jnp.where(here == 0, new, old), x, received)
            y, left = stage((params, state, keys), at, x, {**more, **whole})
            counts = micro == at
            state = jax.tree.map(lambda new, old: jnp.where(counts, new, old), left, state)
            return (sent_on(told, y), state), y

        first = jax.tree.map(lambda leaf: leaf[0], xs)
        scanned = (micros, safe, arriving, further)
        (_, state), ys = jax.lax.scan(tick, (first, state), scanned)
        return jax.tree.map(lambda leaf: leaf[None, stages - 1 :], ys), state

    inputs = (told.of_stages, told.of_microbatches, told.of_microbatches, PartitionSpec())
    run = on_stages(told, run, inputs, (told.of_both, told.of_stages))
    ys, state = run(layers, xs, cut, whole)
    return jax.tree.map(lambda leaf: leaf[-1], ys), state  # the last stage's


def on_stages(
    told: PipelineSettings,
    run: Callable[..., Any],
    inputs: tuple[PartitionSpec, ...],
    outputs: tuple[PartitionSpec, ...],
) -> Callable[..., Any]:
    """Run a function on every stage, given of its inputs and outputs which part a device has."""
    # these axes are in our hands, the others in the compiler's; blocks need not know that they run on part of
    # a mesh, so values have no types that say so (check_vma)
    run = jax.shard_map(
        run,
        mesh=told.mesh,
        in_specs=inputs,
        out_specs=outputs,
        axis_names={told.axis, *told.rows},
        check_vma=False,
    )
    return jax.jit(run)


def sent_on(told: PipelineSettings, tree: PyTree, back: bool = False) -> PyTree:
    """Send values to the next stage, or to the one before; where nothing arrives there are zeros."""
    pairs = [(stage, stage + 1) for stage in range(told.stages - 1)]
    if back:
        pairs = [(target, source) for source, target in pairs]
    return jax.tree.map(lambda leaf: jax.lax.ppermute(leaf, told.axis, pairs), tree)
