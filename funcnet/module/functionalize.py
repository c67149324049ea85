"""functionalize: from a module to two pure functions; functional_call: one call by dotted names."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from funcnet.core.aliases import Key, Params, State
from funcnet.core.keys import is_key
from funcnet.module.binding import Observer, bind_node, state_of
from funcnet.module.description import Node, is_module, layout_of, walk
from funcnet.module.initialize import draw
from funcnet.module.layout import nested
from funcnet.module.lazy_shapes import learned_specs
from funcnet.module.module import Module
from funcnet.module.state_dict import load_state_dict

__all__ = ["Functional", "functional_call", "functionalize"]


@runtime_checkable
class Observable(Protocol):
    """A model whose modules' outputs an observer can see and replace: what stands behind ``net.apply``."""

    @property
    def module(self) -> Module:
        """The description."""
        ...

    def apply_observed(
        self, observer: Observer | None, params: Params, state: State, *args: Any, **kwargs: Any
    ) -> tuple[Any, State]:
        """Apply with an observer of every module's output: ``observer(path, module, output) -> output``."""
        ...


class Functional(NamedTuple):
    """A model as two pure functions.

    Attributes:
        init: ``init(key, *example_inputs) -> (params, state)``. The inputs are needed only by modules that
            learn shapes from them (`Lazy*`).
        apply: ``apply(params, state, *args, key=None, train=False, **kwargs) -> (output, state)``.
    """

    init: Callable[..., tuple[Params, State]]
    apply: Callable[..., tuple[Any, State]]

    @property
    def observable(self) -> Observable:
        """The model behind ``apply``; also behind ``jax.jit(apply)`` and other wrappers that say what they wrap.

        Raises:
            TypeError: ``apply`` is a function that does not tell which model it calls.
        """
        inner = getattr(inspect.unwrap(self.apply), "__self__", None)
        if not isinstance(inner, Observable):
            raise TypeError(
                f"{self.apply!r} is not what fn.functionalize returned, and no __wrapped__ leads there: capture, "
                "intervene and the like first, and wrap the apply that they return"
            )
        return inner

    @property
    def module(self) -> Module:
        """The description that was functionalized."""
        return self.observable.module


def functionalize(module: Module | Callable[..., Any]) -> Functional:
    """Turn a module into two pure functions.

    ``apply`` binds the arrays, calls the object, and collects the buffers; nothing else happens. The
    description is read once, here: what is assigned to it afterwards changes nothing in the functions, so
    change the description first, or functionalize it again.

    Args:
        module: a module; a bound method of one (``functionalize(model.decode)``), to call that instead;
            or a module bound by `bind`, for a transform over a part of a model.

    Returns:
        ``Functional(init, apply)``: both work under every transform of JAX.

    Raises:
        TypeError: the argument is not a module or a method of one.
        ModuleDefinitionError: the module cannot become a tree of arrays; the message says why.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, state = net.apply(params, state, jnp.ones((5, 3)))
        >>> output.shape, state
        ((5, 2), {})
    """
    owner: Any = module
    method = "__call__"
    if isinstance(module, MethodType):
        owner, method = module.__self__, module.__name__
    if not is_module(owner):
        if isinstance(module, type):
            raise TypeError(
                f"functionalize takes a module, not its class: write functionalize({module.__name__}(...))"
            )
        raise TypeError(
            "functionalize takes a funcnet Module or a bound method of one; got "
            f"{type(module).__name__}. A pure function needs no functionalize"
        )
    defined = {name for base in type(owner).__mro__ for name in vars(base)}
    if method not in defined and "forward" in defined:
        raise TypeError(
            f"{type(owner).__name__} defines no __call__: PyTorch's `forward` is `__call__` here"
        )
    binding = vars(owner).get("_binding")
    pure = PureModule(walk(owner) if binding is None else binding.node, method)
    _ = pure.node.layout  # a module that cannot become a tree of arrays is told so here
    return Functional(pure.init, pure.apply)


@dataclass(frozen=True, eq=False)
class PureModule:
    """The pair behind a `Functional`: a snapshot of a description, and which method is the call."""

    node: Node
    method: str

    @property
    def module(self) -> Module:
        """The description."""
        return self.node.value

    def init(self, key: Key, *inputs: Any, **kwargs: Any) -> tuple[Params, State]:
        """Draw initial params and state; see `Functional`."""
        if not is_key(key):
            raise TypeError(
                f"init takes a random key, such as jax.random.key(0); got {type(key).__name__}"
            )
        layout = self.node.layout
        specs = layout.specs
        if layout.incomplete:
            specs = specs | learned_specs(self.node, self.method, inputs, kwargs)
        drawn = draw(layout, specs, key)
        arrays = {id(spec): drawn[path] for path, spec in layout.specs.items()}
        return nested(layout.params_tree, arrays), nested(layout.state_tree, arrays)

    def apply(
        self,
        params: Params,
        state: State,
        *args: Any,
        key: Key | None = None,
        train: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, State]:
        """Bind, call, collect the buffers; see `Functional`."""
        return self.apply_observed(None, params, state, *args, key=key, train=train, **kwargs)

    def apply_observed(
        self,
        observer: Observer | None,
        params: Params,
        state: State,
        *args: Any,
        key: Key | None = None,
        train: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, State]:
        """Apply with an observer of every module's output; see `Observable`."""
        bound = bind_node(self.node, params, state, key=key, train=train, observer=observer)
        output = getattr(bound, self.method)(*args, **kwargs)
        return output, state_of(bound)


def functional_call(
    module: Module,
    arrays: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    key: Key | None = None,
    train: bool = False,
    strict: bool = False,
) -> Any:
    """Call a module with arrays given by their dotted names.

    For code that comes from PyTorch; where there is ``net = fn.functionalize(module)``,
    ``net.apply`` does the same with nested dicts, and returns the new state too.

    Args:
        module: a description.
        arrays: dotted names to arrays, as ``fn.state_dict`` returns them; or several such mappings,
            such as parameters and buffers.
        args: the positional arguments, a tuple; a single one may stand alone.
        kwargs: the arguments by name.
        key: for layers that draw random numbers.
        train: the mode.
        strict: raise for names that the module does not have. A name that is missing always raises.

    Returns:
        What the module returns.

    Raises:
        StateDictError: names are missing or, with ``strict``, unexpected; a shape does not fit.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> weights = {"weight": jnp.ones((2, 3)), "bias": jnp.zeros(2)}
        >>> fn.functional_call(layer, weights, jnp.ones(3)).tolist()
        [3.0, 3.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.func.functional_call.html
    """
    parts = [arrays] if isinstance(arrays, Mapping) else arrays
    given = {name: value for part in parts for name, value in part.items()}
    if not strict:
        layout = layout_of(module)
        known = {name for aliases in layout.names.values() for names in aliases for name in names}
        given = {name: value for name, value in given.items() if name in known}
    params, state = load_state_dict(module, given)
    args = args if isinstance(args, tuple) else (args,)
    apply = functionalize(module).apply
    return apply(params, state, *args, key=key, train=train, **(kwargs or {}))[0]
