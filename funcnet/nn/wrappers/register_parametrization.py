"""A layer's weight computed from other parameters each time that it is read.

As in PyTorch, the layer is changed in place: the parameter moves to
``layer.parametrizations.weight.original`` and ``layer.weight`` becomes a property.
"""

from functools import cache
from typing import Any, TypeVar

from funcnet.core.aliases import Array
from funcnet.module import Module
from funcnet.module.specs import Spec, is_spec

__all__ = ["ParametrizationList", "register_parametrization"]

ModuleT = TypeVar("ModuleT", bound=Module)


class ParametrizationList(Module):
    """The original parameters of one attribute, and the modules that make its value of them.

    Made by `register_parametrization`: ``layer.parametrizations["weight"]``.

    Args:
        originals: the arrays by name.
        parametrization: the module that takes them.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 4))
        >>> layer.parametrizations["weight"].original_names
        ('original0', 'original1')

    Reference: ``torch.nn.utils.parametrize.ParametrizationList``.
    """

    def __init__(self, originals: dict[str, Any], parametrization: Module) -> None:
        for name, spec in originals.items():
            setattr(self, name, spec)
        self._originals = tuple(originals)
        self._count = 0
        self.append(parametrization)

    @property
    def original_names(self) -> tuple[str, ...]:
        """The names of the arrays that the value is computed of."""
        return self._originals

    def append(self, parametrization: Module) -> None:
        """Apply one more parametrization to what the present ones make."""
        setattr(self, str(self._count), parametrization)
        self._count += 1

    def __call__(self) -> Array:
        """Compute the value."""
        value = getattr(self, "0")(*(getattr(self, name) for name in self._originals))
        for number in range(1, self._count):
            value = getattr(self, str(number))(value)
        return value


def register_parametrization(module: ModuleT, tensor_name: str, parametrization: Module) -> ModuleT:
    """Compute a parameter of a layer by a module each time that it is read.

    Several parametrizations of one parameter are applied one after the other.

    Args:
        module: the layer; it is changed and returned.
        tensor_name: the name of the parameter (or buffer).
        parametrization: a module whose call turns the original array into the one to use.

    Returns:
        The layer.

    Raises:
        ValueError: the layer has no parameter of that name.

    Example:
        >>> class Symmetric(nn.Module):
        ...     def __call__(self, x):
        ...         return jnp.triu(x) + jnp.triu(x, 1).T
        >>> layer = nn.parametrizations.register_parametrization(
        ...     nn.Linear(3, 3), "weight", Symmetric())
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> weight = fn.bind(layer, params, state).weight
        >>> bool((weight == weight.T).all())
        True

    Reference: ``torch.nn.utils.parametrize.register_parametrization``.
    """
    earlier = vars(module).get("parametrizations", {})
    if tensor_name in earlier:
        earlier[tensor_name].append(parametrization)
        return module
    return add_parametrization(
        module, {"original": take_parameter(module, tensor_name)}, tensor_name, parametrization
    )


def take_parameter(module: Module, name: str) -> Spec:
    """Take a parameter out of a layer."""
    spec = vars(module).get(name)
    if not is_spec(spec):
        raise ValueError(no_parameter_message(module, name))
    delattr(module, name)
    return spec


def no_parameter_message(module: Module, name: str) -> str:
    """Say that a layer lacks a parameter, and which it has."""
    there = ", ".join(key for key, value in vars(module).items() if is_spec(value))
    return f"{type(module).__name__} has no parameter {name!r}; it has: {there or 'none'}"


def add_parametrization(
    module: ModuleT, originals: dict[str, Any], name: str, parametrization: Module
) -> ModuleT:
    """Move parameters of a layer to a parametrization, and make a property of the attribute they were."""
    if "parametrizations" not in vars(module):
        module.parametrizations = {}  # pyright: ignore[reportAttributeAccessIssue]
    vars(module)["parametrizations"][name] = ParametrizationList(originals, parametrization)

    # Python looks properties up on the class alone, so that the layer gets a class of its own
    names = tuple(vars(module)["parametrizations"])
    module.__class__ = parametrized_class(plain_class(module), names)  # pyright: ignore[reportAttributeAccessIssue]
    return module


class Parametrized:
    """Marks the classes that `parametrized_class` makes, and says how to pickle their objects."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the class by what it is made of: pickle cannot find it in a file."""
        names = tuple(vars(self)["parametrizations"])
        return _empty, (plain_class(self), names), vars(self)


def plain_class(module: Any) -> type:
    """Return the class of a layer as it was before any of its parameters was parametrized."""
    return next(base for base in type(module).__mro__ if not issubclass(base, Parametrized))


@cache
def parametrized_class(base: type, names: tuple[str, ...]) -> type:
    """Make a class of layers of which some parameters are computed each time that they are read."""

    def reader(name: str) -> property:
        return property(lambda self: vars(self)["parametrizations"][name]())

    members = {name: reader(name) for name in names}
    about = {"__module__": base.__module__, "__doc__": base.__doc__}
    return type(f"Parametrized{base.__name__}", (Parametrized, base), members | about)


def _empty(base: type, names: tuple[str, ...]) -> Any:
    return object.__new__(parametrized_class(base, names))
