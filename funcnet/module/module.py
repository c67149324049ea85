"""Module: the base class of layers, and what a bound one can do."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import jax.numpy as jnp

from funcnet.core.aliases import Key
from funcnet.core.errors import (
    BoundAssignmentError,
    ModuleDefinitionError,
    ShapeMismatchError,
    UnboundModuleError,
)
from funcnet.core.paths import join
from funcnet.core.torch_hints import missing_attribute, refused_keyword
from funcnet.module.description import holds_arrays, layout_of, snapshot, submodules
from funcnet.module.layout import kind_of
from funcnet.module.precision.policy import ComputesIn
from funcnet.module.specs import is_buffer, is_spec

if TYPE_CHECKING:
    from funcnet.module.binding.bound import Binding

__all__ = ["Module"]


class Module:
    """The base class of layers and models.

    Declare in ``__init__``: attributes that are `Parameter` or `Buffer`, other modules (also inside
    lists, tuples and dicts), and ordinary values. Compute in ``__call__``. No ``super().__init__()``
    is needed. A module right after construction is a description without arrays;
    `funcnet.functionalize` turns it into pure functions, `funcnet.bind` into an object with arrays.

    Inside a bound module, ``self.training`` is the mode, ``self.next_key()`` draws a fresh random key,
    and assigning to a buffer updates the state that ``apply`` returns.

    A subclass may also define these hooks; everything else about a module is ordinary Python:

    ============================  ==================================================================
    ``part_names``                how parts appear in names on disk: stacked, transparent
    ``infer_shapes(*args)``       the shapes of declared arrays whose sizes are None, from an example
    ``extra_repr()``              what to show between the parentheses of ``repr``
    ``computes_in``               what a model in mixed precision keeps in 32 bits
    ============================  ==================================================================

    Example:
        >>> class MLP(nn.Module):
        ...     def __init__(self, width):
        ...         self.layers = [nn.Linear(4, width), nn.Linear(width, 2)]
        ...     def __call__(self, x):
        ...         return self.layers[1](F.relu(self.layers[0](x)))
        >>> net = fn.functionalize(MLP(8))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, state = net.apply(params, state, jnp.ones((3, 4)))
        >>> output.shape
        (3, 2)
    """

    _is_funcnet_module: ClassVar[bool] = True
    computes_in: ClassVar[ComputesIn] = "any"
    """What `mixed_precision` does with the layer; an attribute of an instance will do as well.

    ``"any"``: its parameters and data have 16 bits. ``"float32"``: they have 32, and what it returns is rounded.
    ``"float32 arrays"``: its parameters have 32, and it widens its data itself. ``"float32 result"``: as
    ``"float32"``, and what it returns is not rounded.
    """
    _binding: "Binding"

    if TYPE_CHECKING:
        # Subclasses define the call with whatever signature they need.
        __call__: Callable[..., Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse what PyTorch's constructors take and this one does not, saying what to write instead."""
        for name in kwargs:
            hint = refused_keyword(cls.__name__, name)
            if hint is not None and name not in inspect.signature(cls).parameters:
                raise TypeError(hint)
        code = getattr(cls.__init__, "__code__", None)
        if (
            code is not None
            and len(args) >= code.co_argcount
            and not code.co_flags & inspect.CO_VARARGS
        ):
            names = code.co_varnames[1 : code.co_argcount]
            extra = args[len(names)]
            hint = f" {refused_keyword(cls.__name__, 'inplace')}" if isinstance(extra, bool) else ""
            raise TypeError(
                f"{cls.__name__} takes at most {len(names)} positional arguments ({', '.join(names) or 'none'}); "
                f"got {len(args)}.{hint}"
            )
        return object.__new__(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class for names of the API, and let calls pass through the binding."""
        super().__init_subclass__(**kwargs)
        for name in RESERVED & vars(cls).keys():
            raise ModuleDefinitionError(_shadowed(cls.__name__, name))
        if any(vars(base).get("__slots__") for base in cls.__mro__ if base is not object):
            raise ModuleDefinitionError(
                f"{cls.__name__} has __slots__: a module's attributes are read from its __dict__, so leave them out"
            )
        cls._route_calls()

    @classmethod
    def _route_calls(cls) -> None:
        """Let calls pass through the binding, also where `__call__` is a mixin's or was assigned later."""
        for base in cls.__mro__:
            call = vars(base).get("__call__")
            if call is not None:
                if not hasattr(call, "_through_binding"):
                    cls.__call__ = _through_binding(call)
                return

    @property
    def training(self) -> bool:
        """Whether the module was bound with ``train=True``."""
        return binding_of(self, "reads self.training").scope.train

    @property
    def has_key(self) -> bool:
        """Whether the module was bound with a key, so that `next_key` can draw."""
        return binding_of(self, "reads self.has_key").scope.key is not None

    def next_key(self) -> Key:
        """Draw a random key that no other call and no other layer is given.

        Raises:
            MissingKeyError: ``apply`` or ``bind`` was called without ``key``.
            TransformScopeError: inside the body of a transform opened within ``__call__``.
        """
        return binding_of(self, "calls self.next_key()").next_key()

    @property
    def part_names(self) -> Mapping[str, str | int]:
        """How parts appear in names on disk, where that is not the attribute's name.

        ``{"block": 12}``: the part's arrays hold those of twelve layers on a leading axis, and the names begin
        with a layer's number; ``{"block": ""}``: the part's names are those of this module.
        """
        return {}

    def infer_shapes(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        """Return the shapes of declared arrays that wait for them, from the arguments of the first call.

        For layers that declare ``None`` for a size (``Lazy*``). An entry may also be a whole `Parameter` or
        `Buffer`, where more than the shape is learned, such as the range to draw from.
        """
        raise ModuleDefinitionError(
            f"{type(self).__name__} declares sizes of None and so must define "
            "infer_shapes(*args, **kwargs) -> {name: shape}"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """Declare an attribute; in a bound module, assign a buffer."""
        if name in RESERVED:
            raise ModuleDefinitionError(_shadowed(type(self).__name__, name))
        own = vars(self)
        binding = own.get("_binding")
        if binding is None:
            if is_spec(own.get(name)) and value is not None and not holds_arrays(value):
                kind = type(own[name]).__name__
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {kind} and would no longer be one: to start it from an "
                    f"array, assign fn.{kind}(array); to remove it, assign None; got {kind_of(value)}"
                )
            object.__setattr__(self, name, value)
            return
        declared = binding.declared(name)
        where = binding.name_of(name)
        if not _all_buffers(declared):
            raise BoundAssignmentError(_dropped(where, declared))
        value = _checked(declared, value, vars(self)[name], where)
        binding.check_scope(f"assigning {where}")
        binding.assign(self, name, value)

    def __delattr__(self, name: str) -> None:
        """Remove an attribute of a description; a bound module keeps all of its own."""
        if "_binding" in vars(self):
            raise BoundAssignmentError(
                f"{self._binding.name_of(name)} cannot be deleted from a bound module"
            )
        object.__delattr__(self, name)

    if not TYPE_CHECKING:  # a type checker should go on to report names that are missing

        def __getattr__(self, name: str) -> Any:
            """Raise for an attribute that is not there; say what PyTorch's is called here."""
            raise AttributeError(missing_attribute("Module", type(self).__name__, name))

    def extra_repr(self) -> str:
        """Return the arguments to show between the parentheses of ``repr``."""
        shown = []
        for name, value in vars(self).items():
            plain = isinstance(value, (bool, int, float, str, type(None)))
            plain = plain or (isinstance(value, tuple) and not holds_arrays(value))
            if plain and not name.startswith("_"):
                shown.append(f"{name}={value!r}")
        return ", ".join(shown)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle a bound module as its description and its arrays, which stay tied."""
        if "_binding" not in vars(self):
            return super().__reduce_ex__(protocol)
        from funcnet.module.binding.bind import rebound, taken_apart  # built on this file

        return rebound, taken_apart(self)

    def __repr__(self) -> str:
        """Show the tree of modules, as PyTorch does."""
        try:
            parts = list(submodules(snapshot(self)))
        except ModuleDefinitionError:  # an ill-defined module can still be looked at
            parts = []
        lines = [f"({name}): {part!r}".replace("\n", "\n  ") for name, part in parts]
        head = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({head})"
        body = "\n  ".join([head, *lines] if head else lines)
        return f"{type(self).__name__}(\n  {body}\n)"


RESERVED = frozenset(
    {"has_key", "training", "next_key", "_binding", "_is_funcnet_module", "_route_calls"}
)
"""Names of the API that a subclass or an instance may not take for itself."""


def binding_of(module: Module, action: str) -> "Binding":
    """Return the binding of a bound module; raise for a description."""
    binding = vars(module).get("_binding")
    if binding is None:
        raise UnboundModuleError(_unbound(module, action))
    return binding


def _unbound(module: Module, action: str) -> str:
    name = type(module).__name__
    return (
        f"{name} is a description, without arrays, mode or key, but its call {action}. "
        "Write\n    net = fn.functionalize(module)\n    params, state = net.init(jax.random.key(0))\n"
        "    output, state = net.apply(params, state, x)\n"
        "or fn.bind(module, params, state)(x)"
    )


def _through_binding(call: Callable[..., Any]) -> Callable[..., Any]:
    """Let a class's ``__call__`` pass through the binding of the object it is called on."""

    @functools.wraps(call)
    def wrapped(self: Module, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        binding = vars(self).get("_binding")
        if binding is None:
            if type(self).__call__ is wrapped and layout_of(self).specs:
                raise UnboundModuleError(_unbound(self, "needs its parameters"))
            return call(self, *args, **kwargs)
        if type(self).__call__ is not wrapped:  # reached through super().__call__
            return call(self, *args, **kwargs)
        return binding.call(self, call, args, kwargs)

    wrapped._through_binding = True  # pyright: ignore[reportAttributeAccessIssue]
    return wrapped


def _shadowed(owner: str, name: str) -> str:
    return (
        f"{owner}.{name} would shadow a part of the Module API: `{name}` belongs to funcnet. "
        f"Choose another name, such as `{name.strip('_')}_`"
    )


def _dropped(where: str, declared: Any) -> str:
    if declared is not None and holds_arrays(declared):
        return (
            f"{where} is not a buffer and keeps its value during a call. To change a parameter, change the "
            "params given to apply; to remember an array between calls, declare it as a Buffer"
        )
    name = where.rpartition(".")[2]
    return (
        f"{where} would be lost when the call returns: only buffers outlive it. Return the value, use a "
        f"local variable, or declare `self.{name} = Buffer(shape, init)` in __init__"
    )


def _all_buffers(declared: Any) -> bool:
    """Say whether an attribute is a buffer, or a container of nothing else."""
    if isinstance(declared, (list, tuple, dict)):
        return bool(declared) and all(map(_all_buffers, _items(declared).values()))
    return is_buffer(declared)


def _items(value: Any) -> dict[Any, Any]:
    return dict(value.items() if isinstance(value, Mapping) else enumerate(value))


def _checked(declared: Any, value: Any, current: Any, where: str) -> Any:
    """Cast what is assigned to a buffer to the dtype it has; refuse another shape."""
    if not is_buffer(declared):
        if type(value) is not type(declared) or _items(value).keys() != _items(current).keys():
            raise TypeError(
                f"{where} is a {type(declared).__name__} of {len(current)} buffers; got {value!r}"
            )
        items = {
            name: _checked(part, value[name], current[name], join(where, str(name)))
            for name, part in _items(declared).items()
        }
        return items if isinstance(declared, dict) else type(declared)(items.values())
    try:
        value = jnp.asarray(value)
    except TypeError as error:
        raise TypeError(f"{where} is a buffer and takes an array; got {value!r}") from error
    if value.shape != current.shape:
        raise ShapeMismatchError(
            f"{where} has shape {current.shape}; it was assigned an array of shape {value.shape}. "
            "The state must keep its shapes from call to call"
        )
    for kind in (jnp.inexact, jnp.complexfloating):
        if jnp.issubdtype(value.dtype, kind) and not jnp.issubdtype(current.dtype, kind):
            raise TypeError(
                f"{where} has dtype {current.dtype.name} and would lose what it was assigned, of dtype "
                f"{value.dtype.name}: declare the Buffer with that dtype, or write .astype(jnp.{current.dtype.name})"
            )
    return value.astype(current.dtype)
