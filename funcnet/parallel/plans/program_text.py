"""A compiled program as XLA prints it: the instructions that a plan asks about, and how often each runs.

The text is what `Compiled.as_text()` gives, which is public, while the program behind it is not. Only what a plan
needs is read; a line that is not understood is passed over.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Instruction", "PrintedArray", "ProgramText", "SourceLine"]

BITS = {"pred": 8, "token": 0, "opaque": 0}
"""Bits of the element types whose names do not end with the number."""

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\]")
_CALLED = re.compile(
    r"\b(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"\b(?:branch_computations|called_computations|calls)=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")


@dataclass(frozen=True)
class PrintedArray:
    """An array's type on one device, such as ``f32[8,16]``.

    Attributes:
        dtype: XLA's name of the element type: ``f32``, ``bf16``, ``pred``.
        shape: the sizes.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def nbytes(self) -> int:
        """The bytes of the array."""
        digits = re.match(r"[a-z]+(\d+)", self.dtype)
        bits = BITS[self.dtype] if self.dtype in BITS else int(digits[1]) if digits else 0
        return (self.size * bits + 7) // 8

    def __str__(self) -> str:
        """As XLA prints it."""
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class SourceLine:
    """A place in a Python file, and the function that it is in."""

    file: str
    line: int
    function: str


@dataclass(frozen=True)
class Instruction:
    """One line of the program.

    Attributes:
        name: without the percent sign.
        operation: ``all-gather``, ``while``, ``parameter``, …
        arrays: what it gives: one array, or those of a tuple.
        rest: the operands and attributes, as printed.
        computation: the part of the program that it is in.
    """

    name: str
    operation: str
    arrays: tuple[PrintedArray, ...]
    rest: str
    computation: str

    def attribute(self, name: str) -> str:
        """Give a quoted or plain attribute of the metadata; ``""`` if it is not there."""
        found = re.search(rf'\b{name}=(?:"((?:[^"\\]|\\.)*)"|([\w.\-]+))', self.rest)
        if found is None:
            return ""
        return re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]


class ProgramText:
    """The parts of a printed program.

    Args:
        text: of `Compiled.as_text()`.
    """

    def __init__(self, text: str) -> None:
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = ""
        self.devices = _devices(text)
        self._tables: dict[str, list[str]] = {name: [] for name in _TABLES}
        self._read(text)

    def _read(self, text: str) -> None:
        inside, table = "", ""
        for line in text.splitlines():
            if line in self._tables:
                table, inside = line, ""
            elif (header := _COMPUTATION.match(line)) is not None:
                inside, table = header[2], ""
                self.computations[inside] = []
                if header[1]:
                    self.entry = inside
            elif inside and (found := _INSTRUCTION.match(line)) is not None:
                self.computations[inside].append(_instruction(found[1], found[2], inside))
            elif table and line:
                self._tables[table].append(line)

    def __iter__(self) -> Iterator[Instruction]:
        """Give every instruction of every computation."""
        for instructions in self.computations.values():
            yield from instructions

    @cached_property
    def runs(self) -> Mapping[str, tuple[int, bool]]:
        """How often each computation runs in one call, and whether that is sure.

        Loops whose number of turns XLA does not know count as one, and are not sure. All branches of a choice
        count.
        """
        callers: dict[str, list[tuple[str, int, bool]]] = {name: [] for name in self.computations}
        for instruction in self:
            turns, sure = _turns(instruction)
            for name in _called(instruction):
                callers.setdefault(name, []).append((instruction.computation, turns, sure))
        counts: dict[str, tuple[int, bool]] = {}

        def count(name: str) -> tuple[int, bool]:
            if name not in counts:
                total, certain = int(name == self.entry), True
                for caller, turns, sure in callers[name]:
                    times, known = count(caller)
                    total, certain = total + turns * times, certain and sure and known
                counts[name] = (total, certain)
            return counts[name]

        return {name: count(name) for name in self.computations}

    def parameters(self) -> list[Instruction]:
        """List the arguments of the whole program in their order, as one device holds them."""
        instructions = self.computations.get(self.entry, [])
        found = [one for one in instructions if one.operation == "parameter"]
        return sorted(found, key=lambda one: int(re.findall(r"\d+", one.rest)[0]))

    def origin(self, instruction: Instruction) -> Instruction:
        """Give the instruction, or what it reads, that says which operation of JAX asked for it.

        XLA adds some exchanges without saying what for.
        """
        row, seen = [instruction], set[str]()
        while row and len(seen) < 20:
            one = row.pop(0)
            if one.attribute("op_name"):
                return one
            seen.add(one.name)
            operands = re.findall(r"%([\w.\-]+)", one.rest.partition(")")[0])
            row += [self._named[name] for name in operands if name in self._named.keys() - seen]
        return instruction

    @cached_property
    def _named(self) -> dict[str, Instruction]:
        return {instruction.name: instruction for instruction in self}

    def lines(self, instruction: Instruction) -> list[SourceLine]:
        """Give the lines of Python that asked for an instruction, innermost first."""
        frame = instruction.attribute("stack_frame_id")
        if frame:
            return self._frames(int(frame))
        file, line = instruction.attribute("source_file"), instruction.attribute("source_line")
        return [SourceLine(file, int(line), "")] if file and line else []

    def _frames(self, frame: int) -> list[SourceLine]:
        lines: list[SourceLine] = []
        while frame in self._stack and len(lines) < 100:
            location, parent = self._stack[frame]
            lines.append(self._locations[location])
            frame = parent
        return lines

    @cached_property
    def _stack(self) -> dict[int, tuple[int, int]]:
        """Each frame's location and parent; XLA prints a parent's number, or the number after it."""
        rows = dict(map(_fields, self._tables["StackFrames"]))
        # the first frame has no parent: what is printed there is how "none" is printed
        shift = rows[min(rows)]["parent_frame_id"] if rows else 0
        return {
            number: (row["file_location_id"], row["parent_frame_id"] - shift)
            for number, row in rows.items()
        }

    @cached_property
    def _locations(self) -> dict[int, SourceLine]:
        files, functions = (dict(map(_quoted, self._tables[name])) for name in _TABLES[:2])
        return {
            number: SourceLine(
                files[row["file_name_id"]], row["line"], functions[row["function_name_id"]]
            )
            for number, row in map(_fields, self._tables["FileLocations"])
        }


def _devices(text: str) -> int:
    """Count the devices that run the program, from its first line."""
    head = text[: text.find("\n")]
    counts = re.findall(r"\b(?:num_partitions|replica_count)=(\d+)", head)
    total = 1
    for count in counts:
        total *= int(count)
    return total


def _fields(line: str) -> tuple[int, dict[str, int]]:
    number, _, rest = line.partition(" ")
    return int(number), {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", rest)}


def _quoted(line: str) -> tuple[int, str]:
    number, _, rest = line.partition(" ")
    return int(number), rest.strip('"')


def _instruction(name: str, text: str, computation: str) -> Instruction:
    kind, rest = _split_type(text)
    operation = rest.partition("(")[0].strip()
    arrays = tuple(
        PrintedArray(dtype, _sizes(sizes)) for dtype, sizes in _ARRAY.findall(kind) if dtype
    )
    return Instruction(name, operation, arrays, rest, computation)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.replace("<=", "").split(",") if size)


def _split_type(text: str) -> tuple[str, str]:
    """Split ``f32[8]{0} add(…)`` or ``(f32[8], s32[]) while(…)`` after the type."""
    if not text.startswith("("):
        kind, _, rest = text.partition(" ")
        return kind, rest
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[: index + 1], text[index + 1 :].lstrip()
    return text, ""


def _called(instruction: Instruction) -> list[str]:
    if "=" not in instruction.rest:
        return []
    names = _CALLED.findall(instruction.rest)
    for group in _BRANCHES.findall(instruction.rest):
        names += [name.strip().lstrip("%") for name in group.split(",")]
    return names


def _turns(instruction: Instruction) -> tuple[int, bool]:
    if instruction.operation != "while":
        return 1, True
    known = _TRIPS.search(instruction.rest)
    return (int(known[1]), True) if known else (1, False)
