"""What the names in PyTorch's pickles stand for: functions that describe arrays, and make plain values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from funcnet.checkpoint.files.pickle_machine import Foreign, PickleMachine, checked_key
from funcnet.checkpoint.files.pytorch_records import (
    ELEMENTS,
    STORAGE_ELEMENTS,
    ElementType,
    Storage,
    TensorRecord,
)

__all__ = ["NamedClass", "machine_for"]

MOST_AXES = 32
"""Arrays of NumPy 1 have at most so many."""

PAIRS = (list, tuple)
"""What Python 2 may make the entries of an OrderedDict of."""

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class NamedClass:
    """A class that a pickle names, without a meaning of its own here."""

    name: str


@dataclass(frozen=True)
class StorageType:
    """A class of storages, for elements of one dtype."""

    element: ElementType


def machine_for(
    stream: memoryview, room: int, storages: dict[str, Storage] | None = None
) -> PickleMachine:
    """Make a machine that knows PyTorch's names.

    Args:
        stream: the bytes that hold a pickle.
        room: how many bytes its objects may take.
        storages: is given each storage that the pickle speaks of, as it does so first.
    """

    def described(told: Any) -> Storage | Foreign:
        storage = _storage(told)
        if storages is not None and isinstance(storage, Storage):
            storages.setdefault(storage.key, storage)
        return storage

    return PickleMachine(stream, KNOWN, described, room)


# ---- storages and tensors ------------------------------------------------------------------------


def _storage(told: Any) -> Storage | Foreign:
    """Describe a storage, which lies outside of the pickle."""
    match told:
        case ("storage", StorageType(element), str(key), str(), int(numel), *rest) if numel >= 0:
            if rest not in ([], [None]):
                raise ValueError("storages within storages, which PyTorch wrote before version 0.4")
            return Storage(key, element, numel)
        case (("storage" | "module"), Foreign() as foreign, *_):
            return foreign  # of another device's storage, or of a whole module
    raise ValueError("it asks for something outside of the pickle that is no storage")


def _tensor(arguments: Arguments) -> TensorRecord:
    match arguments:
        case (Storage() as storage, int(), tuple(), tuple()):
            return _record(storage, storage.element, arguments, {})
    raise ValueError("a tensor is described with other arguments than PyTorch's")


def _tensor_v2(arguments: Arguments) -> TensorRecord:
    match arguments:
        case (Storage() as storage, int(), tuple(), tuple(), _, _, *rest):
            return _record(storage, storage.element, arguments, _flags(rest))
    raise ValueError("a tensor is described with other arguments than PyTorch's")


def _tensor_v3(arguments: Arguments) -> TensorRecord:
    match arguments:
        case (Storage() as storage, int(), tuple(), tuple(), _, _, ElementType() as element, *rest):
            return _record(storage, element, arguments, _flags(rest))
    raise ValueError("a tensor is described with other arguments than PyTorch's")


def _flags(rest: list[Any]) -> dict[str, bool]:
    """Read what a tensor's values have to go through."""
    flags = rest[0] if rest else None
    if len(rest) > 1 or not isinstance(flags, dict | None):
        raise ValueError("a tensor is described with other arguments than PyTorch's")
    unknown = [key for key in flags or {} if key not in ("conj", "neg")]
    if unknown:
        raise ValueError(
            f"a tensor has the mark {str(unknown[0])[:50]!r}, which funcnet does not know"
        )
    return {key: bool(value) for key, value in (flags or {}).items()}


def _record(
    storage: Storage, element: ElementType, arguments: Arguments, flags: dict[str, bool]
) -> TensorRecord:
    _, offset, shape, strides, *_ = arguments
    if len(shape) > MOST_AXES or len(shape) != len(strides):
        raise ValueError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
    for number in (offset, *shape, *strides):
        if not isinstance(number, int) or not 0 <= number < 2**63:
            raise ValueError(
                "a tensor has a size, a stride or an offset that is no number of elements"
            )
    return TensorRecord(storage, element, int(offset), _whole(shape), _whole(strides), **flags)


def _whole(numbers: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(int(number) for number in numbers)


def _parameter(arguments: Arguments) -> TensorRecord:
    match arguments:
        case (TensorRecord() as record, _, _) | (TensorRecord() as record, _, _, _):
            return record
    raise ValueError("a parameter is made of something else than a tensor")


def _from_type(arguments: Arguments) -> Any:
    """Make a tensor that has attributes, which are left out."""
    match arguments:
        case (function, NamedClass(), tuple(inner), _) if (
            function in TENSOR_FUNCTIONS and len(inner) < 10
        ):
            if (unknown := next((x for x in inner if isinstance(x, Foreign)), None)) is not None:
                return unknown
            return function(inner)
    raise ValueError("a tensor with attributes is made by something else than PyTorch's functions")


def _from_cpu(arguments: Arguments) -> TensorRecord:
    match arguments:
        case (TensorRecord() as record, ElementType() as element, str(), _) if (
            record.element == element
        ):
            return record
    raise ValueError("a tensor of another device is made of something else than its copy")


# ---- plain values --------------------------------------------------------------------------------


def _dict(arguments: Arguments) -> dict[Any, Any]:
    match arguments:
        case ():
            return {}
        case (dict(entries),):
            return dict(entries)
        case (list(pairs),) if all(isinstance(p, PAIRS) and len(p) == 2 for p in pairs):
            return {checked_key(key): value for key, value in pairs}
    raise ValueError("a dict is made of something else than entries")


def _default_dict(arguments: Arguments) -> dict[Any, Any]:
    match arguments:
        case () | (None,):
            return {}
        case (NamedClass(),):
            return {}
    raise ValueError("a defaultdict's default is made by something else than a plain class")


def _torch_size(arguments: Arguments) -> tuple[Any, ...]:
    match arguments:
        case (tuple(sizes),) if len(sizes) <= MOST_AXES and all(isinstance(n, int) for n in sizes):
            return sizes
    raise ValueError("a torch.Size is made of something else than sizes")


def _device(arguments: Arguments) -> str:
    match arguments:
        case (str(kind),):
            return kind
        case (str(kind), int(index)):
            return f"{kind[:50]}:{index}"
    raise ValueError("a torch.device is made of something else than a kind and a number")


def _encoded(arguments: Arguments) -> bytes:
    """Make bytes, which the second pickle protocol writes as text."""
    match arguments:
        case (str(text), "latin1"):
            return text.encode("latin1")
        case ():
            return b""
    raise ValueError("bytes are written in another way than Python does")


def _set(arguments: Arguments) -> set[Any]:
    match arguments:
        case (list(items),):
            return set(map(checked_key, items))
    raise ValueError("a set is made of something else than a list")


def _complex(arguments: Arguments) -> complex:
    match arguments:
        case (float(real), float(imag)):
            return complex(real, imag)
    raise ValueError("a complex number is made of something else than two numbers")


TENSOR_FUNCTIONS: list[Callable[[Arguments], Any]] = [_tensor, _tensor_v2, _tensor_v3, _parameter]

KNOWN: dict[str, Any] = {f"torch.{name}": element for name, element in ELEMENTS.items()}
KNOWN |= {
    f"torch.{device}{name}Storage": StorageType(ELEMENTS[dtype])
    for name, dtype in STORAGE_ELEMENTS.items()
    for device in ("", "cuda.")
}
KNOWN |= {
    name: NamedClass(name)
    for name in (
        "torch.Tensor",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
        "builtins.dict",
        "builtins.float",
        "builtins.int",
        "builtins.list",
        "builtins.str",
    )
}
KNOWN |= {
    "torch.storage.UntypedStorage": StorageType(ELEMENTS["uint8"]),
    "torch.UntypedStorage": StorageType(ELEMENTS["uint8"]),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_cpu,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _torch_size,
    "torch.device": _device,
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": _default_dict,
    "builtins.bytes": _encoded,
    "builtins.set": _set,
    "builtins.complex": _complex,
    "_codecs.encode": _encoded,
}
"""Every name that a pickle may use, to what stands for it; none of them does more than describe."""
