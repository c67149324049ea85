"""unbind: from a bound module back to trees of arrays; and buffers put back from one."""

from typing import Any

from funcnet.core.aliases import Params, State
from funcnet.core.errors import UnboundModuleError
from funcnet.core.paths import flatten
from funcnet.module.description import Node, read, rebuild
from funcnet.module.layout import match_paths, nested
from funcnet.module.module import Module
from funcnet.module.sharding.gathering import arrays_in
from funcnet.module.specs import is_spec

__all__ = ["assign_all", "state_of", "unbind", "unbind_stored", "update_state"]


def unbind(module: Module) -> tuple[Params, State]:
    """Return the params and state that a bound module, or a part of one, now holds.

    Paths are relative to the module given, so that the trees fit ``fn.functionalize(module)``. In mixed precision
    the parameters are given in 32 bits, and the part rounds them again: in a loop over steps that share them,
    their gradient is a sum over the steps, which in 16 bits stops growing.

    Raises:
        UnboundModuleError: the module is a description.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> again, _ = fn.unbind(fn.bind(layer, params, state))
        >>> again["weight"] is params["weight"]
        True
    """
    binding = vars(module).get("_binding")
    if binding is None:
        raise UnboundModuleError(
            f"{type(module).__name__} is a description and holds no arrays: unbind takes what fn.bind returned, "
            "or a part of it"
        )
    found: dict[int, Any] = {}
    read(binding.node, module, found)
    layout = binding.node.layout
    if (rounding := binding.scope.rounding) is not None:
        found |= rounding.parameters_in_full(layout, found)
    return nested(layout.params_tree, found), nested(layout.state_tree, found)


def unbind_stored(module: Module) -> tuple[Params, State]:
    """Return the params and state of a bound module: arrays that are stored in parts as they are stored."""
    binding = vars(module)["_binding"]
    layout = binding.node.layout
    found = arrays_in(binding.node, module, binding.scope.stored)
    return nested(layout.params_tree, found), nested(layout.state_tree, found)


def state_of(module: Any) -> State:
    """Return the state that a bound module now holds."""
    node = vars(module)["_binding"].node
    if not node.has_buffers:
        return {}
    found: dict[int, Any] = {}
    read(node, module, found, buffers_only=True)
    return nested(node.layout.state_tree, found)


def update_state(module: Module, state: State) -> None:
    """Assign all buffers of a bound module, or of a part of one, from a tree.

    For the state that comes out of a part lifted through a transform: see `TransformScopeError`.

    Args:
        module: a bound module, such as ``self.block`` within ``__call__``.
        state: a tree as `unbind` gives it for that module.

    Raises:
        ParameterTreeError: the tree has other entries than the module.

    Example:
        >>> class Twice(nn.Module):
        ...     def __init__(self):
        ...         self.norm = nn.BatchNorm1d(3)
        ...     def __call__(self, xs):
        ...         norm, (params, state) = fn.functionalize(self.norm), fn.unbind(self.norm)
        ...         def body(state, x):
        ...             y, state = norm.apply(params, state, x, train=self.training)
        ...             return state, y
        ...         state, ys = jax.lax.scan(body, state, xs)
        ...         fn.update_state(self.norm, state)
        ...         return ys
        >>> net = fn.functionalize(Twice())
        >>> params, state = net.init(jax.random.key(0))
        >>> _, state = net.apply(params, state, jnp.ones((4, 8, 3)), train=True)
        >>> int(state["norm"]["num_batches_tracked"])
        4
    """
    binding = vars(module).get("_binding")
    if binding is None:
        raise UnboundModuleError(f"{type(module).__name__} is a description and has no buffers")
    layout = binding.node.layout
    values = match_paths(layout.buffers, flatten(state), "state")
    assign_all(binding.node, module, {id(layout.buffers[path]): v for path, v in values.items()})


def assign_all(node: Node, built: Any, values: dict[int, Any]) -> None:
    """Assign buffers where they lie; a container of them as a whole."""
    for name, part in node.parts:
        if not part.has_buffers:
            continue
        if is_spec(part.value):
            setattr(built, name, values[id(part.value)])
        elif name in node.buffer_containers:
            new = rebuild(part, values, _keep, {})
            setattr(built, name, new)
        else:
            assign_all(
                part, built.__dict__[name] if node.attributes is not None else built[name], values
            )


def _keep(node: Node, new: Any) -> Any:
    del node
    return new
