"""shard_optimizer: an optimizer whose state lies where the parameters lie, or is spread further."""

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from funcnet.core.aliases import PyTree
from funcnet.core.paths import leaves_with_paths
from funcnet.core.shardings import constrained
from funcnet.module import Functional
from funcnet.module.sharding.placement import Placement
from funcnet.optim.leaf_rule import is_gradient
from funcnet.optim.protocol import with_extra
from funcnet.parallel.rules.places import spread_further, trimmed

__all__ = ["shard_optimizer", "state_shardings"]

OptimizerT = TypeVar("OptimizerT", bound=Any)


def shard_optimizer(
    optimizer: OptimizerT, net: Functional, *, zero: str | None = None
) -> OptimizerT:
    """Return the optimizer with its state spread over devices as the parameters are, or further.

    A leaf of the state belongs to the parameter whose dotted path is part of its own, and is spread like it: moments
    alike, factored ones without the axis that they lack. What belongs to no parameter (counters, hyperparameters) is
    whole on every device.

    Args:
        optimizer: from `funcnet.optim` or Optax; also one of several parts, packed, or wrapped.
        net: a model from `shard`.
        zero: an axis of the mesh, such as ``"data"``, over which state is spread besides, on the first dimension that
            divides (ZeRO, stage 1): each device makes its part of the step, and the updates are gathered.

    Returns:
        An optimizer of the same kind, with the same numbers.

    Raises:
        ValueError: ``net`` was not sharded, or its mesh has no axis ``zero``.
        TypeError: ``optimizer`` is none.

    Example:
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> net = fn.parallel.shard(fn.functionalize(nn.Linear(64, 64)), mesh, {})
        >>> optimizer = fn.parallel.shard_optimizer(optim.adam(1e-3), net, zero="data")
        >>> params, _ = net.init(jax.random.key(0))
        >>> optimizer.init(params).slots["exp_avg"]["weight"].sharding.spec
        P('data',)

    Reference: Rajbhandari et al., ZeRO, 2020, https://arxiv.org/abs/1910.02054
    """
    if not hasattr(optimizer, "update"):
        raise TypeError(
            "shard_optimizer takes an optimizer first, and then the model: shard_optimizer(optim.adam(1e-3), net); got "
            f"{type(optimizer).__name__}"
        )
    placement = getattr(net, "placement", None)
    if not isinstance(placement, Placement):
        raise ValueError(
            "shard_optimizer takes the model that parallel.shard returned, which knows where parameters lie: "
            "net = parallel.shard(net, mesh, rules) first"
        )
    if zero is not None and zero not in placement.mesh.axis_names:
        raise ValueError(
            f"zero={zero!r} is no axis of the mesh; it has {', '.join(map(repr, placement.mesh.axis_names))}"
        )
    places = _Places(placement, zero)
    inner = with_extra(optimizer.update)

    def init(params: PyTree) -> PyTree:
        shapes = jax.eval_shape(optimizer.init, params)
        return jax.jit(optimizer.init, out_shardings=places.of_state(shapes, params))(params)

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        # where a step is made in parts, so are the gradients: a sum over devices of which each keeps its part
        updates, new = inner(places.spread(grads), state, params, **extra)
        shardings = places.of_state(new, updates if params is None else params)
        return places.like_params(updates), jax.tree.map(constrained, new, shardings)

    made = optimizer._replace(init=init, update=update)
    if hasattr(optimizer, "__dict__"):
        vars(made).update(
            vars(optimizer)
        )  # what a kind of optimizer knows besides, such as its groups
    return made


def state_shardings(
    state: PyTree, params: PyTree, placement: Placement, zero: str | None = None
) -> PyTree:
    """Return where each leaf of an optimizer's state lies; see `shard_optimizer`.

    Args:
        state: of any optimizer.
        params: that it is the state for.
        placement: of a model from `shard`.
        zero: an axis over which the state is spread besides.

    Example:
        >>> from funcnet.parallel.optimizer_state import state_shardings
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> net = fn.parallel.shard(fn.functionalize(nn.Linear(64, 64)), mesh, {"weight": ("data",)})
        >>> optimizer, (params, _) = optim.sgd(0.1, momentum=0.9), net.init(jax.random.key(0))
        >>> found = state_shardings(optimizer.init(params), params, net.placement)
        >>> found.slots["momentum_buffer"]["weight"].spec
        P('data',)
    """
    return _Places(placement, zero).of_state(state, params)


class _Places:
    """Where gradients, updates and the leaves of a state lie."""

    def __init__(self, placement: Placement, zero: str | None) -> None:
        self.placement = placement
        self.zero = zero

    @property
    def mesh(self) -> Mesh:
        return self.placement.mesh

    def like_params(self, tree: PyTree) -> PyTree:
        """Have a tree like params lie as params do."""
        return self._lie(tree, lambda path, leaf: self._spec(path))

    def spread(self, tree: PyTree) -> PyTree:
        """Have a tree like params lie as the state does."""
        return self._lie(tree, lambda path, leaf: self._further(self._spec(path), leaf.shape))

    def _spec(self, path: str) -> PartitionSpec:
        return self.placement.specs.get(path, PartitionSpec())

    def _lie(self, tree: PyTree, spec_of: Any) -> PyTree:
        pairs = leaves_with_paths(tree, is_leaf=is_gradient)
        structure = jax.tree.structure(tree, is_leaf=is_gradient)
        placed = [
            constrained(leaf, NamedSharding(self.mesh, spec_of(path, leaf)))
            if isinstance(leaf, jax.Array)
            else leaf
            for path, leaf in pairs
        ]
        return structure.unflatten(placed)

    def of_state(self, state: PyTree, params: PyTree) -> PyTree:
        """Return the sharding of each leaf of a state, in a tree like it."""
        known = {
            path: leaf.shape for path, leaf in leaves_with_paths(params) if hasattr(leaf, "shape")
        }
        shardings = [
            NamedSharding(self.mesh, self._of_leaf(path, leaf.shape, known))
            for path, leaf in leaves_with_paths(state)
        ]
        return jax.tree.structure(state).unflatten(shardings)

    def _of_leaf(
        self, path: str, shape: tuple[int, ...], params: Mapping[str, tuple[int, ...]]
    ) -> PartitionSpec:
        owner = _owner(path, params)
        if owner is None:
            # buffers of `packed` belong to many parameters at once; all else that has no owner is small
            return self._further(PartitionSpec(), shape) if ".packed." in path else PartitionSpec()
        spec = _like(self._spec(owner), params[owner], shape)
        return self._further(spec, shape)

    def _further(self, spec: PartitionSpec, shape: tuple[int, ...]) -> PartitionSpec:
        if self.zero is None:
            return spec
        return spread_further(self.mesh, spec, shape, self.zero, largest=False)


def _owner(path: str, params: Mapping[str, Any]) -> str | None:
    """Return the parameter whose path is part of a leaf's own, the longest of several."""
    inside = f".{path}."
    found = [name for name in params if f".{name}." in inside]
    return max(found, key=len, default=None)


def _like(spec: PartitionSpec, param: tuple[int, ...], shape: tuple[int, ...]) -> PartitionSpec:
    """Return the place of a leaf from its parameter's: of the same shape, or with axes that are added, lacking or 1."""
    entries = [*spec, *[None] * (len(param) - len(spec))]
    added = len(shape) - len(param)
    if added >= 0 and shape[added:] == param:
        return trimmed([None] * added + entries)
    if added == 0:
        kept = [e if n == p else None for e, n, p in zip(entries, shape, param, strict=True)]
        fits = all(n in (1, p) for n, p in zip(shape, param, strict=True))
        return trimmed(kept) if fits else PartitionSpec()
    if added == -1:
        for axis in range(len(param)):
            if (*param[:axis], *param[axis + 1 :]) == shape:
                return trimmed(entries[:axis] + entries[axis + 1 :])
    return PartitionSpec()
