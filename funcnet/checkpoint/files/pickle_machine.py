"""A machine that reads pickle streams and runs nothing of what they name.

A pickle is a program for a stack: it pushes numbers and text, gathers them into containers, and asks for
functions by name to call them. This machine knows the instructions that PyTorch writes. A name is looked up in a
table that its user gives, of functions that only describe arrays; any other name becomes a `Foreign`, which
says what stood there and does nothing. Nothing is imported, and no attribute is asked for, by a name of the file.

Reference: https://github.com/python/cpython/blob/main/Lib/pickletools.py describes the instructions.
"""

import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

__all__ = ["Foreign", "PickleMachine", "checked_key"]

LONGEST_NAME = 500
"""How many bytes the name of a module, or of a function, may have."""

LONGEST_NUMBER = 255
"""How many bytes a whole number may have: larger ones make arithmetic and printing slow."""

MOST_ARGUMENTS = 32

KEYS = (str, int, float, bytes, type(None))
"""What may be a key, or an item of a set: the hash of a container can take for ever."""

COPIED = (list, set, dict)
"""What a function may copy."""

PLACE = 8
"""What a reference to an object takes, in bytes; the sizes below are CPython's, rounded up."""

OBJECT, CONTAINER, ENTRY = 32, 64, 104


@dataclass(frozen=True, eq=False)
class Foreign:
    """What stands in place of an object that the machine does not know.

    Attributes:
        what: the name under which the file asks for it.
    """

    what: str


class PickleMachine:
    """Read one pickle of a stream.

    Args:
        stream: the bytes of a file, or of a part of it.
        known: full names, such as ``"torch.Size"``, to what stands for them. Where a pickle calls one, what
            stands for it must be callable, and is given the tuple of arguments; it raises ValueError for others.
        persistent: makes an object of what the stream says about one that is kept outside of it.
        room: how many bytes the objects may take in memory.

    Raises:
        ValueError: the stream is no pickle, is cut off, or asks for what the machine does not do.
    """

    def __init__(
        self,
        stream: memoryview,
        known: Mapping[str, Any],
        persistent: Callable[[Any], Any],
        room: int,
    ) -> None:
        self._stream = stream
        self._known = known
        self._persistent = persistent
        self._room = room
        self.foreign: list[Foreign] = []
        self.steps = 0
        self._begin()

    def _begin(self) -> None:
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, begin: int = 0) -> tuple[Any, int]:
        """Run the pickle that begins at a byte, and return its value and the byte behind it."""
        self._begin()
        self._at = begin
        while True:
            code = self._take(1)[0]
            self.steps += 1
            if code == STOP:
                return self._result(), self._at
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                raise ValueError(f"instruction {bytes([code])!r} is none that PyTorch writes")
            instruction(self)

    def _result(self) -> Any:
        if len(self._stack) != 1 or self._marked:
            raise ValueError("the pickle ends with a stack that does not hold exactly its value")
        return self._stack.pop()

    # ---- bytes -------------------------------------------------------------------------------------

    def _take(self, count: int) -> memoryview:
        """Take the next bytes; a length beyond the stream is refused before anything is made of it."""
        end = self._at + count
        if count < 0 or end > len(self._stream):
            raise ValueError(
                f"it asks for {count} bytes where {len(self._stream) - self._at} are left"
            )
        taken = self._stream[self._at : end]
        self._at = end
        return taken

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        """Take the text up to the end of the line."""
        ahead = bytes(self._stream[self._at : self._at + LONGEST_NAME])
        length = ahead.find(b"\n")
        if length < 0:
            raise ValueError(f"a name has no end within {LONGEST_NAME} bytes")
        return str(self._take(length + 1)[:-1], "utf-8")

    # ---- stack -------------------------------------------------------------------------------------

    def _push(self, value: Any, size: int = OBJECT) -> None:
        self._spend(size + PLACE)
        self._stack.append(value)

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise ValueError("its objects would take far more memory than the file has bytes")

    def _pop(self) -> Any:
        if not self._stack:
            raise ValueError("an instruction needs a value, and the stack is empty")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        if not self._marked:
            raise ValueError("an instruction needs a mark, and there is none")
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _mark(self) -> None:
        self._spend(CONTAINER)
        self._marked.append(self._stack)
        self._stack = []

    # ---- containers --------------------------------------------------------------------------------

    def _tuple(self, items: list[Any]) -> None:
        self._push(tuple(items), CONTAINER + PLACE * len(items))

    def _extend(self, items: list[Any]) -> None:
        """Append to the list, or the set, on top of the stack."""
        target = self._pop()
        self._stack.append(target)
        if isinstance(target, Foreign):
            return
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            self._spend(ENTRY * len(items))
            target.update(map(checked_key, items))
        else:
            raise ValueError(f"it appends to {_kind(target)}, which is no list")

    def _set_items(self, items: list[Any]) -> None:
        """Give the dict on top of the stack its entries: keys and values in turn."""
        target = self._pop()
        self._stack.append(target)
        if len(items) % 2:
            raise ValueError("a key has no value")
        if isinstance(target, Foreign):
            return
        if not isinstance(target, dict):
            raise ValueError(f"it sets an entry of {_kind(target)}, which is no dict")
        self._spend(ENTRY * len(items))
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    # ---- names and calls ---------------------------------------------------------------------------

    def _find(self, module: str, name: str) -> None:
        full = f"{PYTHON_2.get(module, module)}.{name}"
        if full in self._known:
            self._push(self._known[full], 0)
            return
        self._push_foreign(full)

    def _push_foreign(self, what: str) -> None:
        self.foreign.append(Foreign(what))
        self._push(self.foreign[-1], CONTAINER + len(what))

    def _call(self) -> None:
        """Let what stands for a function describe what the call would have made."""
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple):
            raise ValueError(f"it calls with {_kind(arguments)} in place of a tuple of arguments")
        if len(arguments) > MOST_ARGUMENTS:
            raise ValueError(f"it calls with {len(arguments)} arguments")
        unknown = next((x for x in (function, *arguments) if isinstance(x, Foreign)), None)
        if unknown is not None:
            self._push(unknown)  # what is made of something foreign is foreign
        elif isinstance(function, FunctionType):
            self._spend(sum(map(_copy_size, arguments)))
            self._push(function(arguments), 2 * CONTAINER)
        else:
            raise ValueError(f"it calls {_kind(function)}, which is no function")

    def _call_by_names(self) -> None:
        """Take a call with arguments by name, which only foreign classes need."""
        function = [self._pop(), self._pop(), self._pop()][-1]
        self._push_foreign(
            function.what if isinstance(function, Foreign) else "copyreg.__newobj_ex__"
        )

    def _set_state(self) -> None:
        """Leave out what an object holds beside its entries, such as the versions in a state dict."""
        self._pop()
        target = self._pop()
        if not isinstance(target, (dict, Foreign)):
            raise ValueError(f"it sets the attributes of {_kind(target)}")
        self._stack.append(target)

    def _outside(self) -> None:
        self._push(self._persistent(self._pop()), 2 * CONTAINER)

    # ---- memo --------------------------------------------------------------------------------------

    def _remember(self, place: int) -> None:
        value = self._pop()
        self._stack.append(value)
        self._spend(ENTRY)
        self._memo[place] = value

    def _recall(self, place: int) -> None:
        if place not in self._memo:
            raise ValueError(f"it asks for object {place}, which it did not keep")
        self._push(self._memo[place], 0)

    # ---- values ------------------------------------------------------------------------------------

    def _text(self, length: int) -> None:
        value = str(self._take(length), "utf-8")
        self._push(value, sys.getsizeof(value))  # a character takes one byte to four

    def _bytes(self, length: int) -> None:
        raw = self._take(length)
        self._spend(CONTAINER + length)
        self._push(bytes(raw), 0)

    def _long(self, length: int) -> None:
        if length > LONGEST_NUMBER:
            raise ValueError(f"a number of {length} bytes, where {LONGEST_NUMBER} are the most")
        self._push(int.from_bytes(self._take(length), "little", signed=True), CONTAINER + length)

    def _protocol(self) -> None:
        version = self._number("<B")
        if version > 5:
            raise ValueError(f"pickle protocol {version}, where 5 is the latest known")

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise ValueError(f"it asks for {_kind(name)} of {_kind(module)} by name")
        if len(name) + len(module) > LONGEST_NAME:
            raise ValueError(f"a name is longer than {LONGEST_NAME} bytes")
        self._find(module, name)


PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def _kind(value: Any) -> str:
    return value.what if isinstance(value, Foreign) else f"a {type(value).__name__}"


def _copy_size(argument: Any) -> int:
    """Tell what a copy of an argument may take, in memory and in work: it may be large, and used again and again."""
    if isinstance(argument, COPIED):
        return ENTRY * len(argument)
    return len(argument) if isinstance(argument, str | bytes) else 0


def checked_key(key: Any) -> Any:
    """Refuse keys that are not plain.

    Raises:
        ValueError: a container, or something that only a program could rebuild.
    """
    if not isinstance(key, KEYS):
        raise ValueError(f"{_kind(key)} is a key, where only text and numbers are")
    return key


STOP = ord(".")

INSTRUCTIONS: dict[int, Callable[[Any], object]] = {
    0x80: lambda m: m._protocol(),
    0x95: lambda m: m._take(
        8
    ),  # how long the coming frame is, which readers of files in memory need not know
    ord("N"): lambda m: m._push(None, 0),
    0x88: lambda m: m._push(True, 0),
    0x89: lambda m: m._push(False, 0),
    ord("J"): lambda m: m._push(m._number("<i")),
    ord("K"): lambda m: m._push(m._number("<B"), 0),
    ord("M"): lambda m: m._push(m._number("<H")),
    0x8A: lambda m: m._long(m._number("<B")),
    0x8B: lambda m: m._long(m._number("<i")),
    ord("G"): lambda m: m._push(m._number(">d")),
    ord("X"): lambda m: m._text(m._number("<I")),
    0x8C: lambda m: m._text(m._number("<B")),
    0x8D: lambda m: m._text(m._number("<Q")),
    ord("U"): lambda m: m._text(m._number("<B")),  # Python 2's str
    ord("T"): lambda m: m._text(m._number("<i")),
    ord("C"): lambda m: m._bytes(m._number("<B")),
    ord("B"): lambda m: m._bytes(m._number("<I")),
    0x8E: lambda m: m._bytes(m._number("<Q")),
    ord("("): lambda m: m._mark(),
    ord(")"): lambda m: m._push((), 0),
    0x85: lambda m: m._tuple([m._pop()]),
    0x86: lambda m: m._tuple([m._pop(), m._pop()][::-1]),
    0x87: lambda m: m._tuple([m._pop(), m._pop(), m._pop()][::-1]),
    ord("t"): lambda m: m._tuple(m._pop_to_mark()),
    ord("]"): lambda m: m._push([], CONTAINER),
    ord("a"): lambda m: m._extend([m._pop()]),
    ord("e"): lambda m: m._extend(m._pop_to_mark()),
    ord("}"): lambda m: m._push({}, CONTAINER),
    ord("s"): lambda m: m._set_items([m._pop(), m._pop()][::-1]),
    ord("u"): lambda m: m._set_items(m._pop_to_mark()),
    0x8F: lambda m: m._push(set(), 4 * CONTAINER),
    0x90: lambda m: m._extend(m._pop_to_mark()),
    0x91: lambda m: (m._pop_to_mark(), m._push_foreign("builtins.frozenset")),
    0x96: lambda m: (m._take(m._number("<Q")), m._push_foreign("builtins.bytearray")),
    ord("q"): lambda m: m._remember(m._number("<B")),
    ord("r"): lambda m: m._remember(m._number("<I")),
    0x94: lambda m: m._remember(len(m._memo)),
    ord("h"): lambda m: m._recall(m._number("<B")),
    ord("j"): lambda m: m._recall(m._number("<I")),
    ord("c"): lambda m: m._find(m._line(), m._line()),
    0x93: lambda m: m._stack_global(),
    ord("R"): lambda m: m._call(),
    0x81: lambda m: m._call(),
    0x92: lambda m: m._call_by_names(),
    ord("b"): lambda m: m._set_state(),
    ord("Q"): lambda m: m._outside(),
}
"""What each instruction does, by its byte; Python's pickletools calls them by longer names."""
