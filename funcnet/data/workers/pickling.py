"""Pickling for worker processes: arrays by reference to memory, local functions by value.

Worker processes do not run the user's main program again: functions and classes that are defined
there, in a notebook, or inside another function travel as code objects together with the globals
they name. Everything else is pickled as usual. Large arrays travel as descriptors of shared memory,
and memory maps as the name of their file.
"""

import builtins
import dis
import importlib
import io
import marshal
import pickle
import sys
import types
import weakref
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np

from funcnet.data.workers.main_classes import reduce_class, reduce_dispatcher, reduce_special
from funcnet.data.workers.shared_memory import (
    Arena,
    SharedFile,
    address,
    attach,
    mapped_file,
    open_map,
    shared_base,
)

__all__ = ["Payload", "SharedCopies", "dumps", "fingerprint"]


class SharedCopies:
    """Copies of large arrays in shared memory, kept from one pickle to the next.

    Attributes:
        kept: by the array's ``id``: the array itself, so that the id stays its own, its copy, and
            the copy's memory.
    """

    def __init__(self) -> None:
        self.kept: dict[int, tuple[np.ndarray, np.ndarray, SharedFile]] = {}
        self.arena = Arena()


Payload: TypeAlias = tuple[bytes, list[SharedFile]]
"""A pickle, and the files whose descriptors the process that reads it must inherit."""

_LARGE = 1 << 16  # bytes from which an array is worth a mapping of its own


def dumps(value: Any, copies: SharedCopies | None = None) -> Payload:
    """Pickle a value for a worker process of this machine.

    Args:
        value: the dataset and what is done with it.
        copies: the large arrays that were copied into shared memory before: written again, as they may
            have changed; those that are not needed any more are dropped.

    Returns:
        The pickle, and the files that the process must inherit under the same numbers.

    Example:
        >>> import pickle
        >>> from funcnet.data.workers.pickling import dumps
        >>> double = pickle.loads(dumps(lambda x: 2 * x)[0])
        >>> double(4)
        8
    """
    file = io.BytesIO()
    copies = SharedCopies() if copies is None else copies
    pickler = _Pickler(file, copies)
    try:
        pickler.dump(value)
    except Exception as error:
        error.add_note(
            "The dataset and its transforms are sent to the worker processes: open files and locks there,"
            ' at first use, or take workers="thread".'
        )
        raise
    copies.kept = {key: copies.kept[key] for key in pickler.copied}
    return file.getvalue(), [pickler.files[fd] for fd in sorted(pickler.files)]


def fingerprint(content: bytes) -> bytes:
    """Return what tells one pickle from another, without keeping it.

    >>> from funcnet.data.workers.pickling import fingerprint
    >>> len(fingerprint(b"any"))
    16
    """
    return blake2b(content, digest_size=16).digest()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, copies: SharedCopies) -> None:
        super().__init__(file, protocol=5)
        self.files: dict[int, SharedFile] = {}
        self.copied: set[int] = set()
        self.copies = copies

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in (np.ndarray, np.memmap):  # a subclass has more than its numbers
            return self._array(obj)
        if isinstance(obj, types.FunctionType) and not _importable(obj):
            return reduce_dispatcher(obj) or _reduce_function(obj)
        if isinstance(obj, type) and _by_value(obj):
            return reduce_class(obj)
        if isinstance(obj, types.ModuleType):
            return importlib.import_module, (obj.__name__,)
        if isinstance(obj, (staticmethod, classmethod)):
            return type(obj), (obj.__func__,)
        if isinstance(obj, property):
            return property, (obj.fget, obj.fset, obj.fdel, obj.__doc__)
        return reduce_special(obj)

    def _array(self, array: np.ndarray) -> Any:
        mapped = mapped_file(array)
        if mapped is not None:
            return open_map, (*mapped, array.dtype, array.shape, array.strides)
        base = shared_base(array)
        if base is None:
            if array.nbytes < _LARGE or array.dtype.hasobject:
                return NotImplemented
            array, base = self._copied(array)
        self.files[base.fd] = base
        offset = address(array) - address(np.frombuffer(base, np.uint8))
        return attach, (base.fd, offset, array.dtype, array.shape, array.strides)

    def _copied(self, array: np.ndarray) -> tuple[np.ndarray, SharedFile]:
        found = self.copies.kept.get(id(array))
        if found is None or found[1].shape != array.shape or found[1].dtype != array.dtype:
            copy, base = self.copies.arena.empty(array.shape, array.dtype)
            found = self.copies.kept[id(array)] = (array, copy, base)
        if id(array) not in self.copied:
            self.copied.add(id(array))
            found[1][...] = array
        return found[1:]


def _by_value(cls: type) -> bool:
    return (cls.__module__ == "__main__" or "<locals>" in cls.__qualname__) and not _importable(cls)


def _importable(obj: Any) -> bool:
    """Say whether another process finds the object under its name.

    Not if it is of ``__main__``: there that name means the worker's own program, and to run the
    user's program again, as `multiprocessing` does, would run all of it that no guard protects.
    """
    if obj.__module__ == "__main__" or obj.__module__ not in sys.modules:
        return False
    found: Any = sys.modules[obj.__module__]
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


_READS_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


def _names(code: types.CodeType) -> set[str]:
    """List the global names that a function and the functions inside it mention."""
    # Not `co_names`, where names of attributes are, too: a global of such a name may be anything.
    names = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in _READS_GLOBAL
    }
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _reduce_function(function: types.FunctionType) -> tuple[Any, ...]:
    # In two parts: an empty function first, which the pickler remembers, and then what it refers to.
    # So functions that call themselves or each other can be sent.
    cells = function.__closure__ or ()
    variables = function.__globals__
    names = {
        name: variables[name] for name in sorted(_names(function.__code__)) if name in variables
    }
    state = {
        "globals": names,
        "modules": _submodules(function.__code__, names),
        "cells": [_content(cell) for cell in cells],
        "defaults": function.__defaults__,
        "keywords": function.__kwdefaults__,
        "attributes": function.__dict__,
    }
    # `marshal` is of one Python release, which is safe: the worker runs the same interpreter.
    arguments = (_marshalled(function.__code__), function.__module__, len(cells))
    return _make_function, arguments, state, None, None, _fill_function


_codes: weakref.WeakKeyDictionary[types.CodeType, bytes] = weakref.WeakKeyDictionary()
"""What `marshal` writes depends on reference counts: kept, so that equal work is pickled equally."""


def _marshalled(code: types.CodeType) -> bytes:
    found = _codes.get(code)
    if found is None:
        found = _codes[code] = marshal.dumps(code)
    return found


def _submodules(code: types.CodeType, names: dict[str, Any]) -> list[str]:
    """List the modules that a function reaches through a package: ``os.path`` of ``os``."""
    packages = [v.__name__ for v in names.values() if isinstance(v, types.ModuleType)]
    attributes = _attributes(code)
    return sorted(
        name
        for name in list(sys.modules)
        for package in packages
        if name.startswith(f"{package}.")
        and attributes.issuperset(name.removeprefix(f"{package}.").split("."))
    )


def _attributes(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _attributes(constant)
    return names


def _content(cell: Any) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # the variable has no value yet
        return []


_namespaces: dict[str, dict[str, Any]] = {}
"""The globals of each module that functions came from by value: those share them, as at home."""


def _make_function(code: bytes, module: str, cells: int) -> types.FunctionType:
    namespace = _namespaces.setdefault(module, {"__builtins__": builtins, "__name__": module})
    closure = tuple(types.CellType() for _ in range(cells))
    function = types.FunctionType(marshal.loads(code), namespace, closure=closure)
    function.__module__ = module
    function.__qualname__ = function.__code__.co_qualname
    return function


def _fill_function(function: types.FunctionType, state: dict[str, Any]) -> None:
    function.__globals__.update(state["globals"])
    for name in state["modules"]:
        importlib.import_module(name)
    for cell, content in zip(function.__closure__ or (), state["cells"], strict=True):
        if content:
            cell.cell_contents = content[0]
    function.__defaults__ = state["defaults"]
    function.__kwdefaults__ = state["keywords"]
    function.__dict__.update(state["attributes"])
