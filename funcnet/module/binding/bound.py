"""What a bound module knows of itself, and how its calls go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax

from funcnet.core.aliases import Key
from funcnet.core.errors import MissingKeyError, TransformScopeError
from funcnet.core.jax_internals.compilation import trace_state
from funcnet.core.keys import fold_path
from funcnet.core.paths import join
from funcnet.core.torch_hints import note_for
from funcnet.module.binding.unbind import assign_all
from funcnet.module.description import Node, rebuild
from funcnet.module.layout import Layout
from funcnet.module.module import Module
from funcnet.module.precision.policy import Rounding
from funcnet.module.sharding.gathering import call_gathering, taken
from funcnet.module.sharding.placement import Placement

__all__ = ["Binding", "OutputObserver", "Scope", "bind_leaves"]

OutputObserver = Callable[[str, Module, Any], Any]
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
    observer: OutputObserver | None
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
                    output = call_gathering(self, module, call, args, kwargs, assign_all)
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

    def rebuilt(self, leaves: dict[int, Any], observer: OutputObserver | None) -> Any:
        """Bind the module anew, under the same paths and keys, in the trace that runs now."""
        scope = self.scope
        inner = Scope(scope.train, scope.key, observer, scope.layout, draws=scope.draws)
        inner.placement = scope.placement
        inner.rounding = None if scope.rounding is None else scope.rounding.again()
        return bind_leaves(self.node, taken(scope.layout, scope.placement, leaves), inner)


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


def _read_only(value: Any) -> Any:
    """Freeze a container of buffers: an item assigned in place would escape every check."""
    if isinstance(value, list):
        return tuple(value)
    return MappingProxyType(value) if isinstance(value, dict) else value
