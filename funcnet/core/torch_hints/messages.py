"""The sentences of errors: what is missing, what to write instead, which name was perhaps meant."""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

from funcnet.core.torch_hints.objects import REFUSED

__all__ = [
    "KEYWORDS",
    "instead_of",
    "missing_attribute",
    "method",
    "missing_name",
    "note_for",
    "package_attributes",
    "public_names",
    "refused_keyword",
]

Table = dict[str, dict[str, str]]
"""Owners, then names, then sentences."""


@cache
def tables() -> tuple[Table, ...]:
    """Load the sentences, which takes some milliseconds: with the first mistake, not with the import."""
    from funcnet.core.torch_hints.arrays import OF_ARRAYS
    from funcnet.core.torch_hints.autodiff import OF_AUTODIFF
    from funcnet.core.torch_hints.distributions import OF_DISTRIBUTIONS
    from funcnet.core.torch_hints.methods import OF_METHODS
    from funcnet.core.torch_hints.objects import OF_OBJECTS
    from funcnet.core.torch_hints.optimizers import OF_OPTIMIZERS
    from funcnet.core.torch_hints.packages import OF_PACKAGES
    from funcnet.core.torch_hints.processes import OF_PROCESSES
    from funcnet.core.torch_hints.quantization import OF_QUANTIZATION
    from funcnet.core.torch_hints.settings import OF_SETTINGS
    from funcnet.core.torch_hints.utilities import OF_UTILITIES

    return (
        OF_ARRAYS,
        OF_AUTODIFF,
        OF_DISTRIBUTIONS,
        OF_METHODS,
        OF_OBJECTS,
        OF_OPTIMIZERS,
        OF_PACKAGES,
        OF_PROCESSES,
        OF_QUANTIZATION,
        OF_SETTINGS,
        OF_UTILITIES,
    )


def instead_of(owner: str) -> Mapping[str, str]:
    """Return the sentences about one kind of object or one package, by the names that PyTorch's has.

    >>> from funcnet.core.torch_hints import instead_of
    >>> instead_of("array")["numpy"]
    'np.asarray(x)'
    """
    return ChainMap(*(table[owner] for table in tables() if owner in table))


def missing_attribute(kind: str, owner: str, name: str) -> str:
    """Say that an attribute is missing, and what to write where PyTorch has one of that name.

    >>> missing_attribute("Module", "Linear", "cuda")[:42]
    "'Linear' object has no attribute 'cuda'. I"
    """
    message = f"{owner!r} object has no attribute {name!r}"
    instead = instead_of(kind).get(name)
    if instead is None and kind == "Functional":  # whatever a module is asked for
        instead = instead_of("Module").get(name)
    return message if instead is None else f"{message}. In funcnet: {instead}"


def refused_keyword(owner: str, name: str) -> str | None:
    """Say what to write instead of a keyword that PyTorch's constructors have; None for any other.

    >>> refused_keyword("Dropout", "inplace")
    'Dropout takes no inplace=: arrays are immutable, so there is nothing to do in place: leave it out'
    """
    return f"{owner} takes no {name}=: {REFUSED[name]}" if name in REFUSED else None


KEYWORDS = frozenset(REFUSED)


def note_for(error: Exception) -> str | None:
    """Say what to write where JAX has no method or argument that PyTorch's tensors have.

    Args:
        error: what was raised: by an array, or by a function of ``jax.numpy``.

    >>> try:
    ...     jnp.ones(3).unsqueeze(0)
    ... except AttributeError as error:
    ...     note_for(error)
    'In JAX: jnp.expand_dims(x, axis), or x[:, None]'
    """
    told = instead_of("array")
    name = None
    if isinstance(error, AttributeError) and type(error.obj).__module__.startswith("jax"):
        sentence = method(error.name or "")
        return None if sentence is None else f"In JAX: {sentence}"
    elif isinstance(error, AttributeError) and getattr(error.obj, "__name__", "") == "jax.numpy":
        name = error.name
    elif isinstance(error, TypeError | ValueError | NotImplementedError):
        text = str(error)
        name = next((word for sign, word in _SIGNS if sign in text), None)
    return None if name is None or name not in told else f"In JAX: {told[name]}"


def method(name: str) -> str | None:
    """Say what to write instead of a tensor's method; None if PyTorch has none of that name.

    >>> method("gather")
    'jnp.take_along_axis(x, indices, axis); indices are as long as x in all other axes, or 1 long'
    >>> method("add_")
    'arrays are immutable, so assign the result: `x + y`; alpha= is a factor: `x + alpha * y`'
    """
    told = {**instead_of("funcnet"), **instead_of("array")}
    if name in told:
        return told[name].replace("{name}", name)
    if name.endswith("_") and not name.startswith("_"):
        return _VALUE.format(told.get(name[:-1], f"x = ... in place of x.{name}(...)"))
    return None


_VALUE = "arrays are immutable, so assign the result: {}"

_SIGNS = (
    ("unexpected keyword argument 'dim'", "dim"),
    ("unexpected keyword argument 'keepdim'", "keepdim"),
    ("unexpected keyword argument 'inplace'", "inplace"),
    ("Unexpected value for 'order' argument", "flatten"),
    ("as a data type", "view"),
    ("array.view()", "view"),
    ("'int' object is not callable", "size"),
    ("torch.Tensor", "a tensor"),
)
"""Words of JAX's messages by which a tensor's method is known."""


def package_attributes(
    package: str, public: Iterable[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``: hints for what is missing, and public names alone.

    Args:
        package: its dotted name.
        public: its public names.
    """
    names = sorted(set(public))

    def attribute(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        raise AttributeError(missing_name(package, name, names), name=name)

    return attribute, lambda: names


def missing_name(package: str, name: str, names: Iterable[str]) -> str:
    """Say that a package has no such name, and which was perhaps meant.

    >>> missing_name("funcnet.optim", "AdamW", ["adam", "adamw"])
    "module 'funcnet.optim' has no attribute 'AdamW'. In funcnet: optim.adamw"
    """
    message = f"module {package!r} has no attribute {name!r}"
    short = package.removeprefix("funcnet.").replace("funcnet", "fn").replace("functional", "F")
    told = instead_of(package)
    instead = told.get(name)
    if instead is None and name.endswith("_"):
        value = f"{short}.{name[:-1]}" if name[:-1] in names else told.get(name[:-1])
        instead = None if value is None else _VALUE.format(value)
    if instead is None:
        same = [known for known in names if _plain(known) == _plain(name)]
        instead = f"{short}.{same[0]}" if same else None
    if instead is not None:
        return message + ". In funcnet: " + instead.replace("{name}", name)
    import difflib  # needed in this case alone

    near = difflib.get_close_matches(name, list(names), 3, 0.75)
    return f"{message}. Did you mean {' or '.join(near)}?" if near else message


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def public_names(package: ModuleType, also: Iterable[str] = ()) -> list[str]:
    """List what a package's star imports brought: its names that are neither private nor files.

    Args:
        package: imported.
        also: folders that are public.
    """
    found = [
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
    return sorted({*found, *also})
