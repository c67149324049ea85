"""Pickling for worker processes: arrays by reference to memory, local functions by value.

Worker processes do not run the user's main program again: functions and classes that are defined
there, in a notebook, or inside another function travel as code objects together with the globals
they name. Everything else is pickled as usual. Large arrays travel as descriptors of shared memory,
and memory maps as the name of their file.
"""

import builtins
import importlib
import io
import marshal
import pickle
import sys
import types
from typing import Any, TypeAlias

import numpy as np

from funcnet.data.workers.shared_memory import SharedFile, address, attach, mapped_file, shared_base

__all__ = ["SharedCopies", "dumps"]

SharedCopies: TypeAlias = dict[int, tuple[np.ndarray, np.ndarray, SharedFile]]
"""By the array's ``id``: the array itself, so that the id stays its own, its copy, the copy's memory."""

_LARGE = 1 << 16  # bytes from which an array is worth a mapping of its own


def dumps(value: Any, copies: SharedCopies) -> tuple[bytes, list[int]]:
    """Pickle a value for a worker process of this machine.

    Args:
        value: the dataset and what is done with it.
        copies: the large arrays that were copied into shared memory before; added to.

    Returns:
        The pickle, and the file descriptors that the process must inherit under the same numbers.

    Example:
        >>> import pickle
        >>> from funcnet.data.workers.pickling import dumps
        >>> double = pickle.loads(dumps(lambda x: 2 * x, {})[0])
        >>> double(4)
        8
    """
    file = io.BytesIO()
    pickler = _Pickler(file, copies)
    try:
        pickler.dump(value)
    except Exception as error:
        error.add_note(
            "The dataset and its transforms are sent to the worker processes: open files and locks there,"
            ' at first use, or take workers="thread".'
        )
        raise
    return file.getvalue(), sorted(pickler.fds)


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, copies: SharedCopies) -> None:
        super().__init__(file, protocol=5)
        self.fds: set[int] = set()
        self.copies = copies

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray):
            return self._array(obj)
        if isinstance(obj, types.FunctionType) and not _importable(obj):
            return _reduce_function(obj)
        if isinstance(obj, type) and obj.__module__ == "__main__" and not _importable(obj):
            return _reduce_class(obj)
        if isinstance(obj, types.ModuleType):
            return importlib.import_module, (obj.__name__,)
        if isinstance(obj, (staticmethod, classmethod)):
            return type(obj), (obj.__func__,)
        if isinstance(obj, property):
            return property, (obj.fget, obj.fset, obj.fdel, obj.__doc__)
        return NotImplemented

    def _array(self, array: np.ndarray) -> Any:
        mapped = mapped_file(array)
        if mapped is not None:
            return _open_map, (*mapped, array.dtype, array.shape, array.strides)
        base = shared_base(array)
        if base is None:
            if array.nbytes < _LARGE or array.dtype.hasobject:
                return NotImplemented
            array, base = self._copied(array)
        self.fds.add(base.fd)
        offset = address(array) - address(np.frombuffer(base, np.uint8))
        return attach, (base.fd, offset, array.dtype, array.shape, array.strides)

    def _copied(self, array: np.ndarray) -> tuple[np.ndarray, SharedFile]:
        found = self.copies.get(id(array))
        if found is None:
            base = SharedFile.create(array.nbytes)
            copy = np.ndarray(array.shape, array.dtype, base)
            copy[...] = array
            found = self.copies[id(array)] = (array, copy, base)
        return found[1:]


def _open_map(file: str, offset: int, dtype: Any, shape: Any, strides: Any) -> np.ndarray:
    whole = np.memmap(file, np.uint8, mode="r")
    return np.ndarray(shape, dtype, whole, offset, strides)


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


def _names(code: types.CodeType) -> set[str]:
    """List the global names that a function and the functions inside it mention.

    Names of attributes are among them, because the compiler keeps both in one list; one that is a
    global by chance is sent along needlessly, which does no harm.
    """
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _reduce_function(function: types.FunctionType) -> tuple[Any, ...]:
    # In two parts: an empty function first, which the pickler remembers, and then what it refers to.
    # So functions that call themselves or each other can be sent.
    cells = function.__closure__ or ()
    variables = function.__globals__
    state = {
        "globals": {n: variables[n] for n in sorted(_names(function.__code__)) if n in variables},
        "cells": [_content(cell) for cell in cells],
        "defaults": function.__defaults__,
        "keywords": function.__kwdefaults__,
        "attributes": function.__dict__,
    }
    # `marshal` is of one Python release, which is safe: the worker runs the same interpreter.
    arguments = (marshal.dumps(function.__code__), function.__module__, len(cells))
    return _make_function, arguments, state, None, None, _fill_function


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
    for cell, content in zip(function.__closure__ or (), state["cells"], strict=True):
        if content:
            cell.cell_contents = content[0]
    function.__defaults__ = state["defaults"]
    function.__kwdefaults__ = state["keywords"]
    function.__dict__.update(state["attributes"])


def _reduce_class(cls: type) -> tuple[Any, ...]:
    # As functions: an empty class first, so that its methods may name it. What Python itself makes
    # for each class, such as the descriptors of slots, belongs to the old one and is left out.
    skip = {"__dict__", "__weakref__", "__annotations__", "__annotate__", "__annotate_func__"}
    slots = cls.__dict__.get("__slots__", ())
    skip |= {slots} if isinstance(slots, str) else set(slots)
    body = {name: value for name, value in vars(cls).items() if name not in skip}
    early = {name: body.pop(name) for name in ("__slots__", "__doc__") if name in body}
    arguments = (type(cls), cls.__name__, cls.__bases__, {**early, "__module__": cls.__module__})
    return _make_class, arguments, body, None, None, _fill_class


def _make_class(metaclass: Any, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
    cls = metaclass(name, bases, body)
    # So that instances sent back are found under the same name in the main program.
    setattr(sys.modules["__main__"], name, cls)
    return cls


def _fill_class(cls: type, body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name not in ("__module__", "__qualname__"):
            setattr(cls, name, value)
    cls.__qualname__ = body.get("__qualname__", cls.__name__)
