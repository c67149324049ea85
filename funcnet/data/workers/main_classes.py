"""Classes of the main program by value: what each kind of class needs to be made again elsewhere.

A class is made in two steps, so that its methods may name it: first a skeleton without what its body
defines, then the body. What Python itself makes for each class is left out of the body, because the
new class has its own.
"""

import dataclasses
import enum
import functools
import sys
import types
import typing
from typing import Any

__all__ = ["reduce_class", "reduce_dispatcher", "reduce_special"]

_PYTHONS_OWN = frozenset(
    {"__dict__", "__weakref__", "__annotate__", "__annotate_func__", "__annotations_cache__"}
    | {"_abc_impl", "__static_attributes__", "__firstlineno__"}
)
_EARLY = ("__slots__", "__doc__", "__orig_bases__", "__module__", "__annotations__")
_ENUMS_OWN = frozenset(
    {"__new__", "__members__", "__reduce_ex__", "_generate_next_value_", "_use_args_"}
    | {"_member_names_", "_member_map_", "_member_type_", "_value2member_map_"}
    | {"_new_member_", "__new_member__", "_value_repr_", "_unhashable_values_", "_hashable_values_"}
    | {"_unhashable_values_map_", "_flag_mask_", "_singles_mask_", "_all_bits_", "_boundary_"}
    | {"_inverted_", "_add_alias_", "_add_value_alias_"}
)
_SENTINELS = {id(value): name for name, value in vars(dataclasses).items()}
_LRU_CACHE = type(functools.lru_cache(len))
_BY_NAME = (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple, typing.NewType)
_TYPES = {value: name for name, value in vars(types).items() if isinstance(value, type)}


def reduce_class(cls: type) -> tuple[Any, ...]:
    """Return what `pickle` needs to make a class again, in the form of ``__reduce__``."""
    if typing.is_typeddict(cls):
        keys = [getattr(cls, name) for name in ("__required_keys__", "__optional_keys__")]
        annotations = dict(cls.__annotations__)
        return _make_typed_dict, (cls.__name__, cls.__module__, annotations, cls.__total__, *keys)
    slots = cls.__dict__.get("__slots__", ())
    skip = _PYTHONS_OWN | ({slots} if isinstance(slots, str) else set(slots))
    if issubclass(cls, enum.Enum):
        skip |= _ENUMS_OWN | set(cls.__members__)
    body = {name: value for name, value in vars(cls).items() if name not in skip}
    early = {name: body.pop(name) for name in _EARLY if name in body}
    if issubclass(cls, enum.Enum):
        early |= _enum_body(cls)
    arguments = (type(cls), cls.__name__, cls.__bases__, early)
    return _make_class, arguments, (body, _member_attributes(cls)), None, None, _fill_class


def reduce_special(value: Any) -> Any:
    """Return how `pickle` makes again what is known by its identity or by a name in the main program.

    Returns:
        ``NotImplemented`` for everything that `pickle` itself does right.
    """
    kind: Any = type(value)
    if kind in (_LRU_CACHE, *_BY_NAME) and _in_a_module(value):
        return NotImplemented  # the worker imports it
    if kind is types.MappingProxyType:
        return types.MappingProxyType, (dict(value),)
    if kind is type and value in _TYPES:  # they are not found under the names that they bear
        return getattr, (types, _TYPES[value])
    if kind is functools.singledispatchmethod:  # from Python 3.13 on it holds weak references
        state = {"dispatcher": value.dispatcher, "func": value.func}
        return functools.singledispatchmethod, (_undefined,), state
    if kind is types.ClassMethodDescriptorType:
        return _class_method, (value.__objclass__, value.__name__)
    if kind is _LRU_CACHE:
        # As a name it would be found in the unfinished class: in its base, silently.
        made = functools.partial(functools.lru_cache, **value.cache_parameters())
        return _make_cached, (made, value.__wrapped__)
    if kind is functools.cached_property:  # up to Python 3.11 it holds a lock
        return _make_cached_property, (value.func, getattr(value, "attrname", None))
    if kind in _BY_NAME[:3]:
        return _make_type_variable, (kind, *_type_variable(value))
    if kind is typing.NewType:
        return typing.NewType, (value.__name__, value.__supertype__)
    if kind.__module__ == "dataclasses" and id(value) in _SENTINELS:
        return getattr, (dataclasses, _SENTINELS[id(value)])
    main = getattr(value, "__module__", None) == "__main__"
    if main and kind.__module__ != "__main__" and not isinstance(value, type):
        reduced = value.__reduce_ex__(5)
        if isinstance(reduced, str):
            raise TypeError(
                f"{reduced} is a {kind.__name__} of the main program that goes by its name, which means"
                " nothing in a worker process. Define it in a module that can be imported."
            )
        return reduced
    return NotImplemented


def _in_a_module(value: Any) -> bool:
    """Say whether another process finds a value under its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if module is None or module == "__main__" or name is None:
        return False
    return getattr(sys.modules.get(module), name, None) is value


def reduce_dispatcher(function: Any) -> tuple[Any, ...] | None:
    """Return how to make a function of `functools.singledispatch` again; ``None`` for any other."""
    registry = getattr(function, "registry", None)
    if not isinstance(registry, types.MappingProxyType) or not hasattr(function, "dispatch"):
        return None
    return _make_dispatcher, (), dict(registry), None, None, _fill_dispatcher


def _make_dispatcher() -> Any:
    return functools.singledispatch(_undefined)


def _undefined(*args: Any) -> Any:
    raise NotImplementedError(args)


def _fill_dispatcher(dispatcher: Any, registry: dict[type, Any]) -> None:
    for kind, function in registry.items():
        dispatcher.register(kind, function)
    functools.update_wrapper(dispatcher, registry[object])


def _enum_body(cls: type[enum.Enum]) -> dict[str, Any]:
    """Collect what must be there when an enumeration is made: its members, and what makes them."""
    body: dict[str, Any] = {name: member._value_ for name, member in cls.__members__.items()}
    makers = {name: vars(cls)[name] for name in ("__init__", "_missing_") if name in vars(cls)}
    if "__new_member__" in vars(cls):
        makers["__new__"] = vars(cls)["__new_member__"]
    if getattr(cls, "_member_type_", None) is object and (
        "__init__" in makers or "__new__" in makers
    ):
        # Members get their attributes as they are: made again they would need the arguments.
        makers.pop("__init__", None)
        makers["__new__"] = _bare_member
    return makers | body


def _bare_member(cls: type, *_: Any) -> Any:
    return object.__new__(cls)


def _member_attributes(cls: type) -> dict[str, dict[str, Any]]:
    """Collect what the members of an enumeration have besides name and value."""
    own = {"_value_", "_name_", "__objclass__", "_sort_order_"}
    members = cls.__members__ if issubclass(cls, enum.Enum) else {}
    return {
        name: {key: value for key, value in vars(member).items() if key not in own}
        for name, member in members.items()
    }


def _make_class(metaclass: Any, name: str, bases: tuple[type, ...], early: dict[str, Any]) -> type:
    # What `__init_subclass__` of a base did to the class comes with its body; done again it would lack
    # the arguments that the class was defined with.
    hooks = [(base, vars(base)["__init_subclass__"]) for base in _main_bases(bases)]
    for base, _ in hooks:
        type.__delattr__(base, "__init_subclass__")
    try:
        if issubclass(metaclass, enum.EnumType):
            namespace: Any = metaclass.__prepare__(name, bases)
            for key, value in early.items():
                namespace[key] = value
        else:
            namespace = early
        cls = metaclass(name, bases, namespace)
    finally:
        for base, hook in hooks:
            type.__setattr__(base, "__init_subclass__", hook)
    # So that instances sent back are found under the same name in the main program.
    if cls.__module__ == "__main__":
        setattr(sys.modules["__main__"], name, cls)
    return cls


def _main_bases(bases: tuple[type, ...]) -> list[type]:
    found = {base for direct in bases for base in direct.__mro__}
    return [b for b in found if b.__module__ == "__main__" and "__init_subclass__" in vars(b)]


def _fill_class(cls: Any, state: tuple[dict[str, Any], dict[str, dict[str, Any]]]) -> None:
    body, members = state
    for name, attributes in members.items():
        vars(cls.__members__[name]).update(attributes)
    for name, value in body.items():
        if name != "__qualname__":
            type.__setattr__(cls, name, value)
    cls.__qualname__ = body.get("__qualname__", cls.__qualname__)


def _make_typed_dict(
    name: str, module: str, annotations: dict[str, Any], total: bool, required: Any, optional: Any
) -> Any:
    cls: Any = typing.TypedDict(name, annotations, total=total)  # type: ignore[misc]
    cls.__module__ = module
    cls.__required_keys__, cls.__optional_keys__ = required, optional
    return cls


def _class_method(cls: type, name: str) -> Any:
    return vars(cls)[name]


def _make_cached(decorator: Any, function: Any) -> Any:
    return decorator()(function)


def _make_cached_property(function: Any, name: str | None) -> Any:
    made = functools.cached_property(function)
    if name is not None:
        made.__set_name__(None, name)  # type: ignore[arg-type]
    return made


def _type_variable(value: Any) -> tuple[Any, ...]:
    if isinstance(value, typing.TypeVarTuple):
        return value.__name__, (), {}
    more = {
        "covariant": value.__covariant__,
        "contravariant": value.__contravariant__,
        "bound": value.__bound__,
    }
    constraints = value.__constraints__ if isinstance(value, typing.TypeVar) else ()
    return value.__name__, constraints, more


def _make_type_variable(kind: Any, name: str, constraints: tuple[Any, ...], more: Any) -> Any:
    return kind(name, *constraints, **more)
