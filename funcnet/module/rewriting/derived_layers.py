"""Layers of classes that are made of other classes: as `nn.lora` adapts, and quantization rounds, any layer of a kind.

The layer stays one of the class that it was, with its attributes, so that whoever asks for a `Linear` finds one.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from funcnet.module.module import Module

__all__ = ["DerivedLayer", "class_before", "derived_layer", "how_made", "made_again"]


class DerivedLayer(Module):
    """The base of what such classes have in common: each subclass of it is a kind, for ``isinstance``.

    The class of a layer is made of a kind and of the layer's class before, and comes before it: ``super().__call__`` of
    the kind is the layer's own call.
    """

    derived_prefix: ClassVar[str]
    """What stands before the name of the class: ``"LoRA"`` of ``LoRALinear``."""

    _made_by: ClassVar[tuple[Any, ...]]
    """The kind, the class before, and names that the kind was given."""

    @classmethod
    def derived_members(cls, *names: str) -> Mapping[str, Any]:
        """Return what the class has besides the kind's own: descriptors that hide attributes of the class before."""
        del names
        return {}

    def __reduce__(self) -> Any:
        """Pickle by the class before; the class made of it has no name to import."""
        return _empty, (how_made(type(self)),), dict(vars(self))


def derived_layer(
    kind: type[DerivedLayer], cls: type, attributes: Mapping[str, Any], *names: str
) -> Any:
    """Make a layer of the class that a kind makes of another.

    Args:
        kind: a subclass of `DerivedLayer`.
        cls: the class of the layer before.
        attributes: of the new layer.
        *names: for the kind.

    Example:
        >>> from funcnet.module.rewriting.derived_layers import DerivedLayer, class_before, derived_layer
        >>> class Doubled(DerivedLayer):
        ...     derived_prefix = "Doubled"
        ...     def __call__(self, *args):
        ...         return 2 * super().__call__(*args)
        >>> layer = derived_layer(Doubled, nn.Identity, {})
        >>> type(layer).__name__, isinstance(layer, nn.Identity), class_before(type(layer)).__name__
        ('DoubledIdentity', True, 'Identity')
    """
    made = object.__new__(_derived_class(kind, cls, *names))
    vars(made).update(attributes)
    return made


@cache
def _derived_class(kind: type[DerivedLayer], cls: type, *names: str) -> Any:
    about = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    members = dict(kind.derived_members(*names)) | about | {"_made_by": (kind, cls, *names)}
    return type(f"{kind.derived_prefix}{cls.__name__}", (kind, cls), members)


def class_before(cls: type) -> Any:
    """Return the class that a class was made of; a class that was not made is its own."""
    return vars(cls)["_made_by"][1] if "_made_by" in vars(cls) else cls


def how_made(cls: type) -> Any:
    """Return what pickle can write of a class: itself, or of what it was made.

    Example:
        >>> from funcnet.module.rewriting.derived_layers import how_made, made_again
        >>> cls = type(nn.lora(nn.Linear(3, 4), "*"))
        >>> how_made(nn.Linear), made_again(how_made(cls)) is cls
        (<class 'funcnet.nn.linear.Linear'>, True)
    """
    if "_made_by" not in vars(cls):
        return cls
    kind, before, *names = vars(cls)["_made_by"]
    return (kind, how_made(before), *names)


def made_again(how: Any) -> Any:
    """Return the class that `how_made` was asked about."""
    if isinstance(how, type):
        return how
    kind, before, *names = how
    return _derived_class(kind, made_again(before), *names)


def _empty(how: Any) -> Any:
    return object.__new__(made_again(how))
