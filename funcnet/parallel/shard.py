"""shard: a model whose arrays lie on a mesh as rules say."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from funcnet.module import Functional
from funcnet.module.functionalize import PureModule
from funcnet.module.initial_values.lazy_shapes import learned_specs
from funcnet.module.sharding.placement import Placement
from funcnet.module.specs import Spec
from funcnet.parallel.rules.places import batch_axes
from funcnet.parallel.rules.table import Rules, placed_arrays, placed_outputs

__all__ = ["batch_sharding", "shard"]


def shard(net: Functional, mesh: Mesh, rules: Rules, *example_inputs: Any) -> Functional:
    """Return the model with its arrays spread over a mesh as rules say.

    Its ``init`` makes every array where it lies: no device ever holds the whole of one that is spread. Its ``apply``
    keeps arrays, and their gradients, where they lie. The values are those of the model that is not sharded.

    Args:
        net: what `functionalize` returned.
        mesh: the devices, with automatic axes: ``parallel.mesh(data=-1, model=2)``.
        rules: globs on the dotted paths of params and state, to places; ``*`` also crosses dots, and the first match
            wins. What none matches is whole on every device. A place is

            - ``None``: whole on every device;
            - a tuple or a PartitionSpec with an entry for each dimension of the array as its layer declares it: the
              name of an axis of the mesh, a tuple of names, or None. Axes that `nn.Repeat` stacks on are added;
            - ``"fsdp"``: spread over the data axis, and gathered where it is used; `fsdp` for that beside a tuple;
            - `copies`: for arrays of several copies, such as experts;
            - `output`: the pattern then names modules, and what they return is spread.
        *example_inputs: arrays or shapes, for a model with layers that learn their shapes (``Lazy*``).

    Returns:
        A model like ``net``, whose ``placement`` tells where everything lies: ``print(net.placement.describe())``.

    Raises:
        ValueError: a pattern that matches nothing, or only what earlier ones match; an axis that the mesh has not, or
            twice in one array; a dimension that does not divide; a mesh with explicit axes.
        TypeError: a place that is none of the above, or ``net`` is no model.

    Example:
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)))
        >>> net = fn.parallel.shard(net, mesh, {"*.weight": "fsdp"})
        >>> params, state = net.init(jax.random.key(0))
        >>> params["0"]["weight"].sharding.spec
        P('data',)

    Reference: https://docs.jax.dev/en/latest/notebooks/Distributed_arrays_and_automatic_parallelization.html
    """
    if not hasattr(net, "observable"):
        raise TypeError(
            f"shard takes net = fn.functionalize(module) first; got {type(net).__name__}"
        )
    _check_mesh(mesh)
    if not isinstance(rules, Mapping):
        raise TypeError(
            "rules are patterns of paths and their places, a dict: {'*.weight': 'fsdp'}, or a set of them such as "
            f"parallel.fully_sharded(); got {rules!r}"
        )
    pure = net.observable
    if pure.around is not None:
        raise ValueError(
            "shard takes a whole model: this is a part of a bound one, whose placement it has already"
        )
    layout = pure.node.layout
    specs = _complete_specs(pure, example_inputs)
    arrays = placed_arrays(mesh, rules, layout, specs)
    outputs = placed_outputs(mesh, rules, layout)
    pure = replace(pure, placement=Placement(mesh, arrays, outputs))
    return Functional(pure.init, pure.apply)


def _check_mesh(mesh: Any) -> None:
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"shard takes a mesh of devices: parallel.mesh(data=-1); got {type(mesh).__name__}"
        )
    if AxisType.Auto in mesh.axis_types and len(set(mesh.axis_types)) == 1:
        return
    raise ValueError(
        "rules say how parameters are spread and leave the rest to XLA: that needs a mesh with automatic axes, "
        "parallel.mesh(data=-1, model=2). On explicit axes, jax.make_mesh's default, an array's type says how it is "
        "spread: there, place params and batch by jax.device_put, without rules"
    )


def _complete_specs(pure: PureModule, inputs: tuple[Any, ...]) -> dict[str, Spec]:
    layout = pure.node.layout
    if not layout.incomplete:
        return layout.specs
    if not inputs:
        raise ValueError(
            f"the shapes of {', '.join(layout.incomplete)} are learned from an example, and rules need them: write "
            "parallel.shard(net, mesh, rules, x) with an input, or its jax.ShapeDtypeStruct"
        )
    return layout.specs | learned_specs(pure.node, pure.method, inputs, {})


def batch_sharding(mesh: Mesh, axis: str = "data") -> NamedSharding:
    """Return how a batch lies on a mesh: its leading axis over the axes for data.

    Args:
        mesh: the devices.
        axis: for data; an axis named ``fsdp`` takes part too, if there is one.

    Returns:
        A sharding for ``jax.device_put(batch, ...)`` or `data.prefetch_to_device`.

    Raises:
        ValueError: the mesh has no such axis.

    Example:
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> batch = jax.device_put(jnp.ones((8, 3)), fn.parallel.batch_sharding(mesh))
        >>> batch.sharding.spec
        P('data',)
    """
    axes = batch_axes(mesh, axis)
    leading = axes if len(axes) > 1 else next(iter(axes))
    return NamedSharding(mesh, PartitionSpec(leading))
