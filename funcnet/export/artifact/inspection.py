"""``inspect``: what an artifact holds, for people."""

import argparse
import sys
from collections.abc import Iterator

from funcnet.core.files import as_path
from funcnet.export.artifact.loaded import Artifact
from funcnet.export.artifact.loading import load
from funcnet.export.artifact.probing import probe
from funcnet.export.records import FunctionRecord, ProgramRecord

__all__ = ["add_arguments", "report_lines", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which file, and whether its programs are printed."""
    parser.add_argument("file", help="an artifact that export.save wrote")
    parser.add_argument("--program", metavar="NAME", help="print this program as StableHLO")


def run(asked: argparse.Namespace) -> int:
    """Load the file, which checks it, and print what is in it; its author may be anybody."""
    path = as_path(asked.file)
    path.open("rb").close()  # a file that is not there is no file made to harm
    probe(path, compiles=False)
    artifact = load(path)
    if asked.program is None:
        text = "\n".join(report_lines(artifact))
    else:
        text = artifact.text(asked.program)
    sys.stdout.write(text + "\n")
    return 0


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
