"""Weights that are stored in parts, gathered where they are used and not kept for the backward pass.

A layer that owns such weights is called under `jax.checkpoint`, with a policy that keeps everything except the
gathered weights and what is only another layout of them: the backward pass gathers them again. Blocks that
compute everything again anyway (`nn.Repeat`, `nn.Remat`) gather as the block begins.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from funcnet.core.jax_internals.compilation import makes_or_moves
from funcnet.module.description import Node, read
from funcnet.module.layout import Layout
from funcnet.module.observe import Observation

if TYPE_CHECKING:
    from funcnet.module.binding.bound import Binding
    from funcnet.module.sharding.placement import Placement, ShardedArray

__all__ = [
    "call_gathering",
    "checkpointed",
    "gathered_arrays",
    "gathering_modules",
    "keeps_no_gathered",
    "taken",
]


def keeps_no_gathered(
    policy: Callable[..., bool] | None, arrays: "Iterable[ShardedArray]"
) -> Callable[..., bool]:
    """Return a policy of `jax.checkpoint` that also never keeps gathered weights.

    Args:
        policy: what else is kept; None to keep everything else.
        arrays: that are gathered.
    """
    known = frozenset(one.shape for one in arrays)

    def saveable(primitive: Any, *operands: Any, **params: Any) -> Any:
        if makes_or_moves(known, primitive, *operands):
            return False
        return True if policy is None else policy(primitive, *operands, **params)

    return saveable


def checkpointed(run: Callable[[Any], Any], policy: Callable[..., bool], arrays: Any) -> Any:
    """Call ``run(arrays)`` under `jax.checkpoint`; its output may hold what is no array, too."""
    told: list[Any] = []

    def arrays_of(arrays: Any) -> list[Any]:
        leaves, tree = jax.tree.flatten(run(arrays))
        is_array = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]
        rest = [None if array else leaf for leaf, array in zip(leaves, is_array, strict=True)]
        told[:] = [tree, is_array, rest]
        return [leaf for leaf, array in zip(leaves, is_array, strict=True) if array]

    found = iter(jax.checkpoint(arrays_of, policy=policy)(arrays))
    tree, is_array, rest = told
    filled = (next(found) if array else leaf for array, leaf in zip(is_array, rest, strict=True))
    return tree.unflatten(filled)


def gathered_arrays(layout: Layout, placement: "Placement") -> list[int]:
    """List the arrays to gather, by the ``id`` of their specs; not those that wait in a stack for their layer."""
    return [
        id(spec)
        for path, spec in layout.specs.items()
        if path in placement.spread and not layout.sizes[path]
    ]


def taken(layout: Layout, placement: "Placement | None", leaves: dict[int, Any]) -> dict[int, Any]:
    """Return arrays by the ``id`` of their specs, gathered where they are stored in parts."""
    if placement is None or not placement.spread:
        return leaves
    there = [spec for spec in gathered_arrays(layout, placement) if spec in leaves]
    return leaves | {spec: placement.taken(layout.first_path[spec], leaves[spec]) for spec in there}


def gathering_modules(layout: Layout, placement: "Placement") -> frozenset[Any]:
    """Return which modules gather as they are called, by path or by the ``id`` of their node.

    Those that own an array that is stored in parts. Not one that holds a wrapper: what the wrapper does not
    keep for the backward pass would be kept by the policy around it.
    """
    wrappers = [path for path, module in layout.modules.items() if module.part_names]
    found: set[Any] = set()
    for spec in gathered_arrays(layout, placement):
        owner = layout.owner(layout.first_path[spec])
        below = f"{owner}." if owner else ""
        if not any(other == owner or other.startswith(below) for other in wrappers):
            found |= {owner, *(node for node, _ in layout.owners.get(spec, ()))}
    return frozenset(found)


def call_gathering(
    binding: "Binding",
    module: Any,
    call: Callable[..., Any],
    args: Any,
    kwargs: Any,
    assign: Callable[[Node, Any, dict[int, Any]], None],
) -> Any:
    """Call a bound module that gathers its weights, and gathers them again for the backward pass.

    Args:
        binding: of the module.
        module: bound.
        call: its class's ``__call__``.
        args: of the call.
        kwargs: likewise, by name.
        assign: puts buffers, by the ``id`` of their specs, in a bound module.
    """
    scope, node = binding.scope, binding.node
    region = region_of_call(scope.observer)
    before = arrays_in(node, module, scope.stored)
    specs = list(before)  # in the order of the tree: a dict by id would be in no order

    def run(arrays: list[Any]) -> Any:
        bound = binding.rebuilt(dict(zip(specs, arrays, strict=True)), region)
        start: dict[int, Any] = {}
        left: dict[int, Any] = {}
        read(node, bound, start, buffers_only=True)
        output = call(bound, *args, **kwargs)
        read(node, bound, left, buffers_only=True)
        changed = any(value is not start[spec] for spec, value in left.items())
        return output, list(left.items()) if changed else (), getattr(region, "seen", {})

    assert scope.placement is not None  # who gathers has one
    policy = keeps_no_gathered(None, scope.placement.spread.values())
    output, left, seen = checkpointed(run, policy, list(before.values()))
    if left:
        assign(node, module, dict(left))
    if seen and isinstance(scope.observer, Observation):
        binding.check_scope(f"capturing what lies within {binding.path}")
        scope.observer.take(region, seen)
    return output


def region_of_call(observer: Any) -> Any:
    """Return who sees the modules within a call that runs as a region of its own."""
    if isinstance(observer, Observation):
        return replace(observer, seen={}, around=None)  # counts of calls stay shared
    return observer


def arrays_in(node: Node, built: Any, stored: dict[int, tuple[Any, Any]]) -> dict[int, Any]:
    """Return the arrays that a bound module holds, those that are stored in parts as they are stored.

    Args:
        node: of the module.
        built: the bound module.
        stored: by the ``id`` of their specs, arrays as they were gathered and as they are stored. A buffer that was
            assigned since is no longer the one that was gathered.
    """
    found: dict[int, Any] = {}
    read(node, built, found)
    for spec, (whole, parts) in stored.items():
        if found.get(spec) is whole:
            found[spec] = parts
    return found
