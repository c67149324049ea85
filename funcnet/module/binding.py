"""bind: from a description and its trees to an ordinary object that holds arrays."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import jax
from jax.extend.core import get_opaque_trace_state

from funcnet.core.aliases import Key, Params, State
from funcnet.core.errors import MissingKeyError, TransformScopeError
from funcnet.core.keys import fold_path, is_key
from funcnet.core.paths import join
from funcnet.module.description import Layout, holds_arrays, is_module, layout_of, parts
from funcnet.module.matching import kind_of, matched
from funcnet.module.module import Module
from funcnet.module.specs import is_buffer, is_spec

__all__ = ["bind"]

ModuleT = TypeVar("ModuleT", bound=Module)

Observer = Callable[[str, Module, Any], Any]
"""``observer(path, module, output) -> output``, called as each module's call returns."""

NOTE = "in funcnet module"


@dataclass
class Scope:
    """What one call of `bind` shares among the modules of its tree."""

    train: bool
    key: Key | None
    observer: Observer | None
    trace: Any = field(default_factory=lambda: get_opaque_trace_state(convention="flax"))
    draws: dict[str, int] = field(default_factory=dict)
    holders: dict[int, list[tuple[Module, str]]] = field(default_factory=dict)
    learn: Callable[["Binding", Module, Any, Any], None] | None = None


@dataclass
class Binding:
    """What one bound module knows of itself: its path, its description, its scope."""

    scope: Scope
    path: str
    description: Module

    def name_of(self, attribute: str) -> str:
        """Name an attribute for a message: its dotted path."""
        return join(self.path, attribute)

    def check_scope(self, action: str) -> None:
        """Raise inside the body of a transform that was opened after `bind`."""
        if get_opaque_trace_state(convention="flax") != self.scope.trace:
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
        declared = vars(self.description)[name]
        for holder, attribute in self.scope.holders.get(id(declared), [(module, name)]):
            vars(holder)[attribute] = _read_only(value)

    def call(self, module: Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call the module under its name, for profiles and errors; show its output to the observer."""
        __tracebackhide__ = True
        try:
            if self.scope.learn is not None:
                self.scope.learn(self, module, args, kwargs)
            with jax.named_scope(self.path or type(self.description).__name__):
                output = call(module, *args, **kwargs)
        except Exception as error:
            if not any(note.startswith(NOTE) for note in getattr(error, "__notes__", ())):
                where = f"{self.path} " if self.path else ""
                error.add_note(f"{NOTE} {where}({type(module).__name__})")
            raise
        if self.scope.observer is not None:
            output = self.scope.observer(self.path, module, output)
        return output


def bind(
    module: ModuleT, params: Params, state: State, *, key: Key | None = None, train: bool = False
) -> ModuleT:
    """Return a shallow clone of a module in which each declared array is replaced by its value.

    The clone is an ordinary Python object: read its arrays, call its parts, step through it in a
    debugger. The module itself is never touched.

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
    return bind_observed(module, params, state, key=key, train=train, observer=None)


def bind_observed(
    module: ModuleT,
    params: Params,
    state: State,
    *,
    key: Key | None,
    train: bool,
    observer: Observer | None,
) -> ModuleT:
    """Bind with an observer that sees, and may replace, the output of every module."""
    description = describe(module)
    if key is not None and not is_key(key):
        raise TypeError(
            f"key must be a random key such as jax.random.key(0); got {kind_of(key)}. An argument of the model "
            "that is itself named `key` has to be passed by position"
        )
    if not isinstance(train, bool):
        raise TypeError(f"train must be True or False, known while tracing; got {kind_of(train)}")
    layout = layout_of(description)
    values = matched(layout, params, "params") | matched(layout, state, "state")
    return clone(description, "", layout, values, Scope(train, key, observer), {})


def describe(module: ModuleT) -> ModuleT:
    """Return the description behind a bound module; a description is its own."""
    if not is_module(module):
        raise TypeError(f"expected a funcnet Module; got {kind_of(module)}")
    binding = vars(module).get("_binding")
    return module if binding is None else binding.description


def clone(
    value: Any,
    path: str,
    layout: Layout,
    values: Mapping[str, Any],
    scope: Scope,
    made: dict[int, Any],
) -> Any:
    """Copy modules and the containers that hold them; put arrays where specs are; share the rest."""
    if is_spec(value):
        return values[layout.path_of(value)]
    if not holds_arrays(value):
        return value
    if is_module(value):
        if id(value) in made:
            return made[id(value)]
        copied = object.__new__(type(value))
        made[id(value)] = copied
        for name, part in parts(value):
            new = clone(part, join(path, name), layout, values, scope, made)
            vars(copied)[name] = _read_only(new) if holds_buffers(part) else new
            if is_buffer(part):
                scope.holders.setdefault(id(part), []).append((copied, name))
        vars(copied)["_binding"] = Binding(scope, path, value)
        return copied
    items = [clone(p, join(path, name), layout, values, scope, made) for name, p in parts(value)]
    return _rebuilt(value, items)


def _rebuilt(container: Any, items: list[Any]) -> Any:
    """Make a container of the same type with other items."""
    if isinstance(container, tuple):
        return container._make(items) if hasattr(container, "_make") else tuple(items)  # pyright: ignore
    new = copy.copy(container)
    if isinstance(container, list):
        new[:] = items
    else:
        for name, item in zip(container, items, strict=True):
            new[name] = item
    return new


def holds_buffers(value: Any) -> bool:
    """Say whether a container holds buffers directly."""
    return isinstance(value, (list, tuple, dict)) and any(
        is_buffer(part) for _, part in parts(value)
    )


def _read_only(value: Any) -> Any:
    """Freeze a container of buffers: an item assigned in place would escape every check."""
    if isinstance(value, list):
        return tuple(value)
    return MappingProxyType(value) if isinstance(value, dict) else value


def learning(module: Module) -> bool:
    """Say whether a module is called only to learn the shapes of lazy layers (see `learned_specs`).

    Arrays then are those of one layer, also inside a stack, and layers that wait for a shape have none.
    """
    return vars(module)["_binding"].scope.learn is not None
