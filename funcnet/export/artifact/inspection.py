"""``inspect``: what an artifact holds, for people."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from funcnet.core.errors import ExportError
from funcnet.core.files import as_path
from funcnet.export.artifact.loaded import Artifact
from funcnet.export.artifact.loading import load
from funcnet.export.artifact.probing import probe
from funcnet.export.records import FunctionRecord, ProgramRecord

__all__ = ["add_arguments", "report_lines", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which file, and whether its programs are printed."""
    parser.add_argument("file", help="an artifact that export.save wrote")
    parser.add_argument(
        "--program", metavar="NAME", help="print this program (such as call.cpu) as StableHLO"
    )


def run(asked: argparse.Namespace) -> int:
    """Load the file, which checks it, and print what is in it; its author may be anybody."""
    path = as_path(asked.file)
    path.open("rb").close()  # a file that is not there is no file made to harm
    probe(path, compiles=False)
    artifact = load(path)
    lines = report_lines(artifact) if asked.program is None else _program(artifact, asked.program)
    sys.stdout.writelines(f"{_printable(line)}\n" for line in lines)
    return 0


def _program(artifact: Artifact, name: str) -> list[str]:
    """Give the lines of a program, whose file may be named with or without its folder and ending."""
    known = [each for each in artifact.manifest.files if each.startswith("programs/")]
    named = [each for each in known if name in (each, Path(each).name, Path(each).stem)]
    if not named:
        raise ExportError(f"there is no program {name!r}, but {', '.join(known)}")
    return artifact.text(named[0]).splitlines()


def _printable(line: str) -> str:
    """Spell out what would steer a terminal: names and metadata are of the file's author."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)


def report_lines(artifact: Artifact) -> Iterator[str]:
    """Describe an artifact line by line.

    >>> from funcnet.export.artifact.inspection import report_lines
    >>> net = fn.functionalize(nn.Linear(3, 2))
    >>> path = fn.export.save("model.fnx", net, *net.init(jax.random.key(0)), fn.export.spec(("batch", 3)))
    >>> print(next(report_lines(fn.export.load(path))))
    call: 2 arrays of weights, 32 bytes
    """
    manifest = artifact.manifest
    arrays = artifact.stored
    size = sum(array.nbytes for array in arrays.values())
    yield f"{manifest.name}: {len(arrays)} arrays of weights, {size} bytes"
    yield "written by " + ", ".join(f"{k} {v}" for k, v in manifest.written_by.items())
    for key, value in manifest.metadata.items():
        yield f"{key}: {value}"
    for name, function in manifest.functions.items():
        yield ""
        yield from _function_lines(name, function)


def _function_lines(name: str, function: FunctionRecord) -> Iterator[str]:
    state = len(function.weights) - function.trainable
    yield f"{name}, of {function.trainable} trained arrays and {state} of state"
    for what, specs in (("takes", function.inputs), ("returns", function.outputs)):
        for spec in specs:
            yield f"  {what} {spec.name}: {spec}"
    yield from map(_program_line, function.programs)
    if function.gradient is not None:
        yield "  differentiable:"
        yield from map(_program_line, function.gradient.programs)


def _program_line(program: ProgramRecord) -> str:
    sizes = ", ".join(f"{name}={n}" for name, n in (program.sizes or {}).items())
    told = [program.platform, sizes or "lengths as above"]
    told += ["runs on any platform"] if program.portable else []
    told += [] if program.checked else ["was not run when it was written"]
    return f"  {program.file} ({', '.join(told)})"
