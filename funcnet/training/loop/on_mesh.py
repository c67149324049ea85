"""What fit and evaluate do on a mesh of devices: the model by rules, the run and the batches where they belong."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from funcnet.core.aliases import PyTree
from funcnet.core.shardings import put_on
from funcnet.data.devices.prefetch_to_device import DevicePrefetch, prefetch_marked
from funcnet.parallel import batch_sharding, shard, shard_optimizer
from funcnet.parallel.optimizer_state import state_shardings
from funcnet.training.objective import Objective, Supervised, with_rows
from funcnet.training.train_state import TrainState

__all__ = ["Setup", "cached", "in_step", "set_up"]


@dataclass(frozen=True, eq=False)
class Setup:
    """An objective and an optimizer as they are on a mesh, or as they are without one.

    Attributes:
        objective: over the sharded model.
        optimizer: whose state is spread as the parameters are.
        mesh: None without one.
        pads: whether batches are filled, because the objective knows which rows are real.
        by_rules: whether the run lies where the model's placement says; else whole on every device.
    """

    objective: Objective
    optimizer: Any
    mesh: Mesh | None = None
    pads: bool = False
    by_rules: bool = False

    @property
    def whole(self) -> NamedSharding | None:
        """Return the sharding of what every device holds; None without a mesh."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())

    def place_run(self, run: TrainState) -> TrainState:
        """Put a run where it belongs; arrays that lie on the mesh already stay if no rule says otherwise."""
        if self.mesh is None:
            return run
        if not self.by_rules or not isinstance(self.objective, Supervised):
            return self.place_whole(run)
        placement = self.objective.net.placement
        assert placement is not None
        params = placement.kept(run.params)
        opt_state = jax.tree.map(
            put_on, run.opt_state, state_shardings(run.opt_state, params, placement)
        )
        whole = self.place_whole((run.step, run.key))
        return TrainState(params, placement.kept(run.state), opt_state, *whole)

    def place_whole(self, tree: PyTree) -> PyTree:
        """Put what is not on the mesh whole on every device: what a step is given is alike at every step."""
        whole = self.whole
        if whole is None:
            return tree
        devices = whole.device_set

        def place(leaf: Any) -> Any:
            there = isinstance(leaf, jax.Array) and leaf.sharding.device_set == devices
            return leaf if there else put_on(leaf, whole)

        return jax.tree.map(place, tree)

    def place_batches(self, batches: Any) -> Any:
        """Send batches ahead to the mesh; a `prefetch_to_device` of the caller's does so already."""
        if self.mesh is None or batches is None or isinstance(batches, DevicePrefetch):
            return batches
        sharding = batch_sharding(self.mesh)
        return prefetch_marked(batches, sharding, with_rows if self.pads else None)


def set_up(
    objective: Any, optimizer: Any, mesh: Mesh | None, rules: Mapping[str, Any] | None
) -> Setup:
    """Shard an objective's model and an optimizer as ``mesh`` and ``rules`` say.

    Without a mesh, that of a model which is sharded already is taken.

    Raises:
        ValueError: rules without a mesh, or for a model that is sharded already.
        TypeError: rules for an objective written by hand; what is no mesh, or no table of rules.
    """
    _check_kinds(mesh, rules)
    net = objective.net if isinstance(objective, Supervised) else None
    placement = None if net is None else net.placement
    if placement is not None:
        if rules is not None or mesh not in (None, placement.mesh):
            raise ValueError(
                "the objective's model was sharded before, by parallel.shard: leave out rules=, and mesh=, which is "
                "that of the model; or pass an objective over the model that is not sharded"
            )
        return Setup(objective, optimizer, placement.mesh, pads=True)
    if mesh is None:
        if rules is not None:
            raise ValueError(
                "rules say how a model lies on a mesh: pass mesh=parallel.mesh(data=-1), too"
            )
        return Setup(objective, optimizer)
    if net is None and rules is not None:
        raise TypeError(
            "rules speak of a model, and an objective written by hand does not tell which it calls. Shard it yourself: "
            "net = parallel.shard(net, mesh, rules) before the objective is written over it, run = "
            "TrainState.create(net, parallel.shard_optimizer(optimizer, net), key); then fit(..., mesh=mesh) without "
            "rules"
        )
    if net is None or (rules is None and AxisType.Explicit in mesh.axis_types):
        return Setup(objective, optimizer, mesh, pads=net is not None)
    sharded = cached(_sharded, objective, mesh, _Table(rules or {}))
    made = None if optimizer is None else cached(_sharded_optimizer, optimizer, sharded)
    return Setup(sharded, made, mesh, pads=True, by_rules=True)


def _check_kinds(mesh: Any, rules: Any) -> None:
    if mesh is not None and not isinstance(mesh, Mesh):
        raise TypeError(
            "mesh names the devices to train on: mesh=parallel.mesh(data=-1) for all of them; "
            f"got {mesh!r}"
        )
    if rules is not None and not isinstance(rules, Mapping):
        raise TypeError(
            "rules are patterns of paths and their places, a dict: rules=parallel.fully_sharded(), or "
            f"rules={{'*.weight': 'fsdp'}}; got {rules!r}"
        )


def cached(make: Any, *arguments: Any) -> Any:
    """Call a function that `functools.lru_cache` wraps; without its memory for what has no hash.

    Example:
        >>> import functools
        >>> from funcnet.training.loop.on_mesh import cached
        >>> cached(functools.lru_cache(len), [1, 2])
        2
    """
    try:
        return make(*arguments)
    except TypeError:  # an objective, an optimizer or a place that has no hash
        return make.__wrapped__(*arguments)


def in_step(tree: PyTree) -> PyTree:
    """Wait for arrays that lie on several CPU devices, and return them.

    There a device, or a process, that gets a step ahead of the others can hang in JAX's collectives, or end the
    program after 40 s. Accelerators keep their order, and steps run ahead of the host.

    Example:
        >>> from funcnet.training.loop.on_mesh import in_step
        >>> in_step({"loss": jnp.array(1.0)})["loss"].item()
        1.0
    """
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1:
            if next(iter(leaf.sharding.device_set)).platform == "cpu":
                jax.block_until_ready(tree)
            break
    return tree


class _Table(dict[str, Any]):
    """Rules that a cache knows again: their order counts."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(tuple(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Table) and [*self.items()] == [*other.items()]


@lru_cache(maxsize=16)  # another fit on the same mesh compiles nothing again
def _sharded(objective: Supervised, mesh: Mesh, rules: _Table) -> Supervised:
    return replace(objective, net=shard(objective.net, mesh, rules))


@lru_cache(maxsize=16)
def _sharded_optimizer(optimizer: Any, objective: Supervised) -> Any:
    return shard_optimizer(optimizer, objective.net)
