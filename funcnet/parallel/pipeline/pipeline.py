"""pipeline: a model whose nn.Repeat is divided among devices."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar, overload

from jax.sharding import Mesh

from funcnet.module import Functional, Module
from funcnet.module.binding.bind import describe
from funcnet.module.description import layout_of, replaced, snapshot
from funcnet.nn.wrappers.repeat import Repeat
from funcnet.parallel.pipeline.repeat import pipelined_copy, pipelines
from funcnet.parallel.pipeline.settings import PipelineSettings, as_names

__all__ = ["pipeline"]

ModuleT = TypeVar("ModuleT", bound=Module)


@overload
def pipeline(
    net: ModuleT,
    mesh: Mesh,
    path: str,
    *,
    microbatches: int,
    axis: str = ...,
    batched: str | Iterable[str] = ...,
    shared: str | Iterable[str] = ...,
    rows: str | Iterable[str] = ...,
) -> ModuleT: ...
@overload
def pipeline(
    net: Functional,
    mesh: Mesh,
    path: str,
    *,
    microbatches: int,
    axis: str = ...,
    batched: str | Iterable[str] = ...,
    shared: str | Iterable[str] = ...,
    rows: str | Iterable[str] = ...,
) -> Functional: ...
def pipeline(
    net: Any,
    mesh: Mesh,
    path: str,
    *,
    microbatches: int,
    axis: str = "stage",
    batched: str | Iterable[str] = (),
    shared: str | Iterable[str] = (),
    rows: str | Iterable[str] = (),
) -> Any:
    """Divide the blocks of an nn.Repeat among the devices along an axis of a mesh.

    Each device runs some of the blocks, one stage, and holds their parameters alone if the model is sharded, even
    by no other rule: ``shard(pipeline(net, ...), mesh, {})``. A batch is cut into microbatches, and while a
    stage works on one, the stage before works on the next. All else (embedding, head, loss) is ordinary code
    on whole batches, and the gradient is that of any function: GPipe. `pipeline_value_and_grad` computes it
    with less memory. Other axes of the mesh are left to the compiler: rows of the batch spread over
    ``data`` stay so.

    What holds, compared with the model that is not divided: parameters and state have the same names; outputs
    and gradients are equal, except that each microbatch has dropout masks of its own. Buffers (batch norm's
    statistics) go from microbatch to microbatch, as if each were a batch. ``remat`` of the Repeat says what
    the backward pass computes again. `funcnet.capture` and the like, which ask for values of whole batches,
    run the blocks undivided.

    Args:
        net: from `funcnet.functionalize`, or a description.
        mesh: with an axis for the stages.
        path: the dotted path of the nn.Repeat.
        microbatches: how many parts to cut a batch into. Of the time, ``bubble_fraction`` is lost: have
            four times as many as stages or more.
        axis: the mesh axis of the stages.
        batched: names of arguments of the block, besides its input, with a row for each row of the batch
            (padding masks). They are cut as the input is.
        shared: names of those that are meant for all rows. Needed only where an array's leading axis
            happens to have as many entries as the batch has rows.
        rows: the mesh axes over which the batch is spread, ``"data"``, to let each part of a microbatch's rows go
            its own way: gradients are then summed over these axes once a step rather than once a microbatch.
            Each part has dropout masks of its own, blocks may not have buffers, and the loss of
            `pipeline_value_and_grad` is called with the rows of a part.

    Returns:
        A model of the kind given, with the same parameters.

    Raises:
        ValueError: no nn.Repeat has that path, the mesh has no such axis or explicit axes, the stages do not divide the
            blocks, or the block has no argument of a name. When called: the microbatches do not divide the
            batch, or nobody said whether an argument is cut.

    Example:
        >>> mesh = fn.parallel.mesh(stage=1, devices=jax.devices()[:1])
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.Repeat(nn.Linear(4, 4), 2))
        >>> net = fn.parallel.pipeline(fn.functionalize(model), mesh, "1", microbatches=2)
        >>> net = fn.parallel.shard(net, mesh, {})                  # each stage holds its blocks
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((6, 3)))[0].shape
        (6, 4)

    Reference: Huang et al., GPipe: Efficient Training of Giant Neural Networks using Pipeline Parallelism, 2019,
    https://arxiv.org/abs/1811.06965.
    """
    batched, shared, rows = map(as_names, (batched, shared, rows))
    told = PipelineSettings(mesh, axis, microbatches, batched, shared, rows)
    if not isinstance(net, Functional):
        return divided_model(describe(net), path, told)
    pure = net.observable
    if pure.placement is not None:
        raise ValueError(
            "the model lies on its devices already, and not by stages: write parallel.shard(parallel.pipeline(net, "
            "mesh, path, microbatches=...), mesh, rules)"
        )
    made = replace(pure, node=snapshot(divided_model(pure.module, path, told)))
    return Functional(made.init, made.apply)


def divided_model(model: ModuleT, path: str, told: PipelineSettings) -> ModuleT:
    """Return a copy of a description in which the Repeat of a path is pipelined."""
    modules = layout_of(model).modules
    found = modules.get(path)
    if not isinstance(found, Repeat):
        repeats = [f"{name!r}" for name, module in modules.items() if isinstance(module, Repeat)]
        what = "is no module" if found is None else f"is a {type(found).__name__}"
        raise ValueError(
            f"{path!r} {what}: a pipeline divides an nn.Repeat; this model has "
            f"{', '.join(repeats) or 'none: write nn.Repeat(block, n) in place of a list of equal blocks'}"
        )
    for other in pipelines(layout_of(model)):
        raise ValueError(f"{other!r} is pipelined already; a model has one pipeline")
    if layout_of(model).module_sizes[path]:
        raise ValueError(
            f"{path!r} lies inside another stack of layers: pipeline the outer nn.Repeat"
        )
    told.check(path, found.module, found.n)
    if told.rows and layout_of(found).buffers:
        raise ValueError(
            f"the blocks of {path!r} have buffers, which each part of a microbatch's rows would leave otherwise: leave "
            "out rows=, or use blocks that remember nothing (LayerNorm, GroupNorm)"
        )
    return replaced(model, lambda old, new: pipelined_copy(new, told) if old is found else new)
