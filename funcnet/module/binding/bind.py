"""bind: from a description and its trees to an ordinary object that holds arrays."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Key, Params, State
from funcnet.core.keys import is_key
from funcnet.module.binding.bound import OutputObserver, Scope, bind_leaves
from funcnet.module.binding.unbind import unbind
from funcnet.module.description import Node, is_module, snapshot
from funcnet.module.layout import kind_of, placed
from funcnet.module.module import Module
from funcnet.module.precision.policy import PrecisionPolicy, Rounding
from funcnet.module.sharding.gathering import gathered_arrays, gathering_modules, taken
from funcnet.module.sharding.placement import Placement

__all__ = ["bind", "bind_node", "describe", "infers_shapes", "rebound", "taken_apart"]

ModuleT = TypeVar("ModuleT", bound=Module)


def bind(
    module: ModuleT, params: Params, state: State, *, key: Key | None = None, train: bool = False
) -> ModuleT:
    """Return a shallow clone of a module in which each declared array is replaced by its value.

    The clone is an ordinary Python object: read its arrays, call its parts, step through it in a
    debugger. The module itself is never touched: modules and the lists and dicts they hold are copied.

    Args:
        module: a description; or a bound module, to bind its description anew.
        params: nested dicts of arrays, as ``init`` or `load_state_dict` return them.
        state: likewise for buffers; ``{}`` for a module without any.
        key: for layers that draw random numbers.
        train: the mode that ``module.training`` reports.

    Raises:
        ParameterTreeError: entries are missing or unexpected; the message lists them all.
        ShapeMismatchError: an array has another shape than declared.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> model = fn.bind(layer, params, state)
        >>> model.weight.shape, model(jnp.ones(3)).shape
        ((2, 3), (2,))
    """
    return bind_node(snapshot(describe(module)), params, state, key=key, train=train, observer=None)


def bind_node(
    node: Node,
    params: Params,
    state: State,
    *,
    key: Key | None,
    train: bool,
    observer: OutputObserver | None,
    placement: Placement | None = None,
    again: bool = False,
    precision: PrecisionPolicy | None = None,
) -> Any:
    """Bind what was walked before, with an observer of every module's output.

    Parameters are rounded here, before arrays that are stored in parts are gathered; ``again`` says whether the layers
    that own them gather again as they are called, in order not to keep them for a backward pass.
    """
    if key is not None and not is_key(key):
        raise TypeError(
            f"key must be a random key such as jax.random.key(0); got {kind_of(key)}. An argument of the model "
            "that is itself named `key` has to be passed by position"
        )
    if train is not True and train is not False:
        raise TypeError(
            f"train must be True or False, known while tracing; got {kind_of(train)}. Under jit it has to be static: "
            "jax.jit(net.apply, static_argnames='train'), or jit a function of your own that writes train=True"
        )
    layout = node.layout
    leaves = placed(layout, params, "params")
    leaves.update(placed(layout, state, "state"))
    scope = Scope(train, key, observer, layout, placement=placement)
    if precision is not None:
        scope.rounding = Rounding(precision)
        leaves = scope.rounding.parameters(layout, leaves, placement)
    if placement is not None:
        whole = taken(layout, placement, leaves)
        if again:
            scope.gathering = gathering_modules(layout, placement)
            spread = gathered_arrays(layout, placement)
            scope.stored = {spec: (whole[spec], leaves[spec]) for spec in spread}
        leaves = whole
    return bind_leaves(node, leaves, scope)


def describe(module: ModuleT) -> ModuleT:
    """Return the description behind a bound module; a description is its own."""
    if not is_module(module):
        hint = ": write net.module" if hasattr(module, "apply") else ""
        raise TypeError(f"expected a funcnet Module; got {kind_of(module)}{hint}")
    return module if (own := vars(module).get("_binding")) is None else own.description


def rebound(description: ModuleT, params: Params, state: State, key: Any, train: bool) -> ModuleT:
    """Bind a copy of a bound module that was taken apart by `taken_apart`."""
    if isinstance(key, tuple):
        key = jax.random.wrap_key_data(key[0], impl=key[1])
    return bind(description, params, state, key=key, train=train)


def taken_apart(module: Module) -> tuple[Module, Params, State, Any, bool]:
    """Return what a copy of a bound module is made of, in a form that can be pickled."""
    scope = vars(module)["_binding"].scope
    key = scope.key
    if key is not None and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = (jax.random.key_data(key), str(jax.random.key_impl(key)))
    return (describe(module), *unbind(module), key, scope.train)


def infers_shapes(module: Module) -> bool:
    """Say whether a module is called only to learn the shapes of lazy layers (see `learned_specs`).

    Arrays then are those of one layer, also inside a stack, and layers that wait for a shape have none.
    """
    return vars(module)["_binding"].scope.infer is not None
