"""unbind and update_state: what a bound module holds, as trees, and back into it."""

from typing import Any

from funcnet.core.aliases import Params, State
from funcnet.core.errors import UnboundModuleError
from funcnet.core.paths import flatten, join, nest
from funcnet.module.description import holds_arrays, is_module, layout_of, parts
from funcnet.module.matching import match_paths
from funcnet.module.module import Module
from funcnet.module.specs import Spec, is_buffer, is_spec

__all__ = ["unbind", "update_state"]


def unbind(module: Module) -> tuple[Params, State]:
    """Return the params and state that a bound module, or a part of one, now holds.

    Paths are relative to the module given, so that the trees fit ``fn.functionalize(module)``.

    Raises:
        UnboundModuleError: the module is a description.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> again, _ = fn.unbind(fn.bind(layer, params, state))
        >>> again["weight"] is params["weight"]
        True
    """
    if "_binding" not in vars(module):
        raise UnboundModuleError(
            f"{type(module).__name__} is a description and holds no arrays: unbind takes what fn.bind returned, "
            "or a part of it"
        )
    found: dict[int, tuple[str, Spec, Any]] = {}
    _collect(vars(module)["_binding"].description, module, "", found)
    params = nest({path: value for path, spec, value in found.values() if not is_buffer(spec)})
    state = nest({path: value for path, spec, value in found.values() if is_buffer(spec)})
    return params, state


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
    values = match_paths(layout_of(binding.description).buffers, flatten(state), "state")
    for path, value in values.items():
        *above, name = path.split(".")
        owner: Any = module
        for part in above:
            owner = dict(parts(owner))[part]
        if not is_module(owner):
            raise TypeError(
                f"{path} lies in a container of buffers: assign the container as a whole"
            )
        setattr(owner, name, value)


def _collect(
    description: Any, bound: Any, path: str, found: dict[int, tuple[str, Spec, Any]]
) -> None:
    """Walk a description and its clone side by side and note each array under its first path."""
    if is_spec(description):
        found.setdefault(id(description), (path, description, bound))
        return
    if not holds_arrays(description):
        return
    values = dict(parts(bound))
    for name, part in parts(description):
        _collect(part, values[name], join(path, name), found)
