"""The pipelined Repeat: which blocks of a model are stages of a pipeline, and what one stage computes."""

from typing import Any

import jax
from jax.sharding import Mesh

from funcnet.core.aliases import Key, Params, State
from funcnet.module.binding.bind import infers_shapes
from funcnet.module.functionalize import TransformedPart
from funcnet.module.layout import Layout
from funcnet.nn.wrappers.base import check_same_structure, keeping
from funcnet.nn.wrappers.repeat import Repeat
from funcnet.parallel.pipeline.gpipe import run_gpipe
from funcnet.parallel.pipeline.microbatches import (
    is_array,
    joined_batch,
    rows_of_batch,
)
from funcnet.parallel.pipeline.settings import PipelineSettings

__all__ = [
    "PipelinedRepeat",
    "pipelined_copy",
    "pipelines",
    "run_blocks",
    "stack_axes",
    "stage_part",
]


class PipelinedRepeat(Repeat):
    """What `pipeline` makes of an nn.Repeat: the same blocks and names, run as a pipeline of microbatches."""

    pipeline: PipelineSettings

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the microbatches through the stages; return their outputs as one batch."""
        if infers_shapes(self):
            return self.module(input, *args, **kwargs)
        part, told = stage_part(self), self.pipeline
        if part.observer is not None:  # what is asked for are values of whole batches
            return super().__call__(input, *args, **kwargs)
        rows = rows_of_batch("the input of a pipelined nn.Repeat", input)
        leaves, tree = jax.tree.flatten((args, kwargs))
        cuts = told.cuts(self.module, args, kwargs, rows)
        cut, whole = (
            {str(i): leaf for i, leaf in enumerate(leaves) if is_array(leaf) and cuts[i] == which}
            for which in (True, False)
        )

        def stage(layers: tuple[Any, ...], micro: Any, x: Any, given: Any) -> tuple[Any, State]:
            params, state, keys = layers
            if keys is not None:  # a key for each block and each microbatch
                keys = jax.vmap(lambda key: jax.random.fold_in(key, told.number(micro)))(keys)
            both = tree.unflatten(given.get(str(i), leaf) for i, leaf in enumerate(leaves))
            return run_blocks(self, part, (params, state, keys), x, *both)

        xs = told.cut("the input of a pipelined nn.Repeat", input)
        cut = told.cut("batched=", cut) if cut else {}
        layers = (part.params, part.state, self.keys(self.n))
        ys, state = run_gpipe(told, stage, layers, xs, cut, whole)
        part.finish(state, {})
        return joined_batch(ys)


def pipelined_copy(repeat: Repeat, told: PipelineSettings) -> PipelinedRepeat:
    """Return a Repeat's description as a pipelined one."""
    made = object.__new__(PipelinedRepeat)
    vars(made).update(vars(repeat), pipeline=told)
    return made


def pipelines(layout: Layout) -> dict[str, PipelinedRepeat]:
    """Return the pipelined Repeats of a model by path; `pipeline` makes no more than one."""
    modules = layout.modules.items()
    return {path: part for path, part in modules if isinstance(part, PipelinedRepeat)}


def stack_axes(mesh: Mesh, layout: Layout, path: str) -> list[str | None]:
    """Say of each axis that stacking puts before an array's own over which mesh axis it is spread.

    Raises:
        ValueError: the stages lie on another mesh.
    """
    axes: list[str | None] = [None] * len(layout.sizes[path])
    for name, repeat in pipelines(layout).items():
        if path.startswith(f"{name}.module." if name else "module."):
            if repeat.pipeline.mesh != mesh:
                raise ValueError(
                    f"the stages of {name!r} lie on another mesh, {repeat.pipeline.mesh}: give the model that one; got "
                    f"{mesh}"
                )
            axes[0] = repeat.pipeline.axis
    return axes


def stage_part(repeat: PipelinedRepeat) -> TransformedPart:
    """Return a bound Repeat's block as a pure function."""
    gather = "call" if repeat.policy is None else "region"
    return TransformedPart(repeat.module, repeat.n, gather=gather)


def run_blocks(
    repeat: PipelinedRepeat,
    part: TransformedPart,
    layers: tuple[Params, State, Key | None],
    x: Any,
    args: Any,
    kwargs: Any,
) -> tuple[Any, State]:
    """Apply the blocks of one stage in turn; return the output, and the state that they leave.

    Args:
        repeat: that they belong to.
        part: from `stage_part`.
        layers: params, state and keys of the stage's blocks, stacked.
        x: the first block's input.
        args: further arguments of every block.
        kwargs: likewise, by name.
    """

    def body(x: Any, layer: Any) -> tuple[Any, State]:
        y, (left, _) = part(*layer, None, x, *args, **kwargs)
        check_same_structure("Repeat", y, x)
        return y, left

    body = keeping(body, part.policy(repeat.policy))
    count = repeat.n // repeat.pipeline.stages
    return jax.lax.scan(body, x, layers, count, unroll=repeat.unroll)
