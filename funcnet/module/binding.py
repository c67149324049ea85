"""bind and unbind: from a description and its trees to an ordinary object that holds arrays, and back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Key, Params, State
from funcnet.core.errors import MissingKeyError, TransformScopeError, UnboundModuleError
from funcnet.core.jax_internals.compilation import trace_state
from funcnet.core.keys import fold_path, is_key
from funcnet.core.paths import flatten, join
from funcnet.core.torch_hints import note_for
from funcnet.module.description import Node, is_module, read, rebuild, snapshot
from funcnet.module.layout import Layout, kind_of, match_paths, nested, placed
from funcnet.module.module import Module
from funcnet.module.precision.policy import PrecisionPolicy, Rounding
from funcnet.module.sharding.gathering import (
    arrays_in,
    call_gathering,
    gathered_arrays,
    gathering_modules,
    taken,
)
from funcnet.module.sharding.placement import Placement
from funcnet.module.specs import is_spec

__all__ = ["bind", "unbind", "update_state"]

ModuleT = TypeVar("ModuleT", bound=Module)

Observer = Callable[[str, Module, Any], Any]
"""``observer(path, module, output) -> output``, called as each module's call returns."""

NOTE = "in funcnet module"


@dataclass
class Scope:
    """What one call of `bind` shares among the modules of its tree.

    Attributes:
        train: the mode.
        key: that the modules' draws are folded from.
        observer: sees, and may replace, every module's output.
        layout: of the whole tree.
        trace: which trace of JAX the tree was bound in.
        draws: how many keys each path has drawn.
        modules: the bound modules by the ``id`` of their nodes.
        infer: called before each module's call while shapes are learned from an example; else None.
        placement: where the arrays of the tree lie on a mesh, if anywhere.
        stored: the arrays that were gathered and the same as they are stored, by the ``id`` of their specs.
        gathering: the modules that gather again as they are called; see `gathering_modules`.
        rounding: what the call rounds, where the model computes in mixed precision; else None.
    """

    train: bool
    key: Key | None
    observer: Observer | None
    layout: Layout
    trace: Any = field(default_factory=trace_state)
    draws: dict[str, int] = field(default_factory=dict)
    modules: dict[int, Any] = field(default_factory=dict)
    infer: Callable[["Binding", Module, Any, Any], None] | None = None
    placement: Placement | None = None
    stored: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    gathering: frozenset[Any] = frozenset()
    rounding: Rounding | None = None


@dataclass
class Binding:
    """What one bound module knows of itself: its path, its description, its scope."""

    scope: Scope
    path: str
    node: Node

    @property
    def description(self) -> Module:
        """The module that was bound."""
        return self.node.value

    def name_of(self, attribute: str) -> str:
        """Name an attribute for a message: its dotted path."""
        return join(self.path, attribute)

    def declared(self, attribute: str) -> Any:
        """Return what the description has under a name; None if nothing."""
        assert self.node.attributes is not None
        return self.node.attributes.get(attribute)

    def check_scope(self, action: str) -> None:
        """Raise inside the body of a transform that was opened after `bind`."""
        if trace_state() != self.scope.trace:
            raise TransformScopeError(
                f"{action} inside a transform (vmap, scan, cond, grad, checkpoint, jit) that was opened after the "
                "module was bound: the value would leak or repeat. Lift that part of the model into a pure "
                "function: part = fn.functionalize(self.part); params, state = fn.unbind(self.part); then call "
                "part.apply(params, state, x, key=key, train=self.training) inside the transform, with a key for "
                "each step (jax.random.split(self.next_key(), n)) and the state it returns. "
                "help(fn.errors.TransformScopeError) shows a whole example"
            )

    def next_key(self) -> Key:
        """Fold the module's path and the number of earlier draws into the scope's key."""
        name = self.path or type(self.description).__name__
        if self.scope.key is None:
            raise MissingKeyError(
                f"{name} ({type(self.description).__name__}) needs random numbers, but no key was given: pass "
                "key=jax.random.key(0), a fresh one each step, to apply or bind"
            )
        self.check_scope(f"drawing a key for {name}")
        count = self.scope.draws.get(self.path, 0)
        self.scope.draws[self.path] = count + 1
        return fold_path(self.scope.key, f"{self.path}#{count}")

    def assign(self, module: Module, name: str, value: Any) -> None:
        """Set a buffer, under each attribute that shares it."""
        owners = self.scope.layout.owners.get(id(self.declared(name)))
        if owners is None:  # a container of buffers
            vars(module)[name] = _read_only(value)
            return
        for owner, attribute in owners:
            if owner in self.scope.modules:  # of a part that was bound anew others are not there
                vars(self.scope.modules[owner])[attribute] = value

    def call(self, module: Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call the module under its name, for profiles and errors; show its output to the observer."""
        __tracebackhide__ = True
        rounding = self.scope.rounding
        if rounding is not None:
            args, kwargs = rounding.given(self.path, (args, kwargs))
        try:
            if self.scope.infer is not None:
                self.scope.infer(self, module, args, kwargs)
            with jax.named_scope(self.path or type(self.description).__name__):
                if self._gathers:
                    output = call_gathering(self, module, call, args, kwargs, _assign_all)
                else:
                    output = call(module, *args, **kwargs)
        except Exception as error:
            if not any(note.startswith(NOTE) for note in getattr(error, "__notes__", ())):
                parts = (NOTE, self.path, f"({type(module).__name__})")
                error.add_note(" ".join(part for part in parts if part))
                if (hint := note_for(error)) is not None:
                    error.add_note(hint)
            raise
        if rounding is not None:
            output = rounding.returned(self.path, output)
        if self.scope.placement is not None:
            output = self.scope.placement.constrain_output(self.path, output)
        if self.scope.observer is not None:
            output = self.scope.observer(self.path, module, output)
        return output

    @property
    def _gathers(self) -> bool:
        gathering = self.scope.gathering
        return bool(gathering) and (id(self.node) in gathering or self.path in gathering)

    def rebuilt(self, leaves: dict[int, Any], observer: Observer | None) -> Any:
        """Bind the module anew, under the same paths and keys, in the trace that runs now."""
        scope = self.scope
        inner = Scope(scope.train, scope.key, observer, scope.layout, draws=scope.draws)
        inner.placement = scope.placement
        inner.rounding = None if scope.rounding is None else scope.rounding.again()
        return bind_leaves(self.node, taken(scope.layout, scope.placement, leaves), inner)


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
    observer: Observer | None,
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
        leaves = precision.narrowed(layout, leaves, placement)
    if placement is not None:
        whole = taken(layout, placement, leaves)
        if again:
            scope.gathering = gathering_modules(layout, placement)
            spread = gathered_arrays(layout, placement)
            scope.stored = {spec: (whole[spec], leaves[spec]) for spec in spread}
        leaves = whole
    return bind_leaves(node, leaves, scope)


def bind_leaves(node: Node, leaves: dict[int, Any], scope: Scope) -> Any:
    """Put arrays, by the ``id`` of their specs, into a copy of the object tree."""
    paths = scope.layout.first_path

    def finish(part: Node, new: Any) -> Any:
        own = new.__dict__
        for name in part.buffer_containers:
            own[name] = _read_only(own[name])
        own["_binding"] = Binding(scope, paths[id(part)], part)
        return new

    return rebuild(node, leaves, finish, scope.modules)


def describe(module: ModuleT) -> ModuleT:
    """Return the description behind a bound module; a description is its own."""
    if not is_module(module):
        raise TypeError(f"expected a funcnet Module; got {kind_of(module)}")
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


def _read_only(value: Any) -> Any:
    """Freeze a container of buffers: an item assigned in place would escape every check."""
    if isinstance(value, list):
        return tuple(value)
    return MappingProxyType(value) if isinstance(value, dict) else value


def infers_shapes(module: Module) -> bool:
    """Say whether a module is called only to learn the shapes of lazy layers (see `learned_specs`).

    Arrays then are those of one layer, also inside a stack, and layers that wait for a shape have none.
    """
    return vars(module)["_binding"].scope.infer is not None


def unbind_stored(module: Module) -> tuple[Params, State]:
    """Return the params and state of a bound module: arrays that are stored in parts as they are stored."""
    binding = vars(module)["_binding"]
    layout = binding.node.layout
    found = arrays_in(binding.node, module, binding.scope.stored)
    return nested(layout.params_tree, found), nested(layout.state_tree, found)


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
    binding = vars(module).get("_binding")
    if binding is None:
        raise UnboundModuleError(
            f"{type(module).__name__} is a description and holds no arrays: unbind takes what fn.bind returned, "
            "or a part of it"
        )
    found: dict[int, Any] = {}
    read(binding.node, module, found)
    layout = binding.node.layout
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
    _assign_all(binding.node, module, {id(layout.buffers[path]): v for path, v in values.items()})


def _assign_all(node: Node, built: Any, values: dict[int, Any]) -> None:
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
            _assign_all(
                part, built.__dict__[name] if node.attributes is not None else built[name], values
            )


def _keep(node: Node, new: Any) -> Any:
    del node
    return new
