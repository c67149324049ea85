"""GPipe: microbatches run through the stages one after another; the gradient is that of an ordinary function."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from funcnet.core.aliases import Array, PyTree, State
from funcnet.core.dtypes import is_float
from funcnet.parallel.pipeline.settings import PipelineSettings

__all__ = ["on_stages", "run_gpipe", "sent_on", "with_copies"]


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

    specs = (told.of_stages, told.of_microbatches, told.of_microbatches, PartitionSpec())
    leaves, specs, restore = with_copies(told, (layers, xs, cut, whole), specs)
    outputs = (told.of_both, told.of_stages)
    ys, state = on_stages(told, lambda leaves: run(*restore(leaves)), (specs,), outputs)(leaves)
    return jax.tree.map(lambda leaf: leaf[-1], ys), state  # the last stage's


def with_copies(
    told: PipelineSettings, trees: tuple[PyTree, ...], specs: tuple[PartitionSpec, ...]
) -> tuple[list[Array], list[PartitionSpec], Callable[[list[Array]], tuple[PyTree, ...]]]:
    """Give each device a copy of its own of 16-bit floats that several devices read.

    Their gradient is a sum over those devices. Left to `jax.shard_map` it is a sum of 16 bits in a program of which
    some axes are the compiler's, at which XLA ends the whole process on CPUs; of copies it is an ordinary sum.

    Args:
        told: the settings.
        trees: what every stage is given.
        specs: how each of them is spread.

    Returns:
        The leaves, how each is spread, and what puts a device's leaves back into trees.
    """
    leaves, treedef = jax.tree.flatten(trees)
    spread = [spec for spec, tree in zip(specs, trees, strict=True) for _ in jax.tree.leaves(tree)]
    shared = [
        _unnamed(told, spec) if _is_narrow(leaf) else ()
        for leaf, spec in zip(leaves, spread, strict=True)
    ]

    def copies(leaf: Array, axes: tuple[str, ...]) -> Array:
        count = math.prod(told.mesh.shape[axis] for axis in axes)
        return jnp.broadcast_to(leaf, (count, *leaf.shape)) if axes else leaf

    def restore(own: list[Array]) -> tuple[PyTree, ...]:
        pairs = zip(own, shared, strict=True)
        return treedef.unflatten([leaf[0] if axes else leaf for leaf, axes in pairs])

    leaves = [copies(*pair) for pair in zip(leaves, shared, strict=True)]
    pairs = zip(spread, shared, strict=True)
    return leaves, [PartitionSpec(axes, *spec) if axes else spec for spec, axes in pairs], restore


def _is_narrow(leaf: Any) -> bool:
    return is_float(leaf) and leaf.dtype.itemsize < 4


def _unnamed(told: PipelineSettings, spec: PartitionSpec) -> tuple[str, ...]:
    """Return the axes in our hands over which an array is not spread."""
    named = [axis for entry in spec for axis in (entry if isinstance(entry, tuple) else (entry,))]
    return tuple(axis for axis in (told.axis, *told.rows) if axis not in named)


def on_stages(
    told: PipelineSettings,
    run: Callable[..., Any],
    inputs: tuple[Any, ...],
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
