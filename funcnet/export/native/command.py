"""``python -m funcnet.export native DIR``: lay out the runner's sources."""

import argparse
import sys

from funcnet.export.native.layout import native

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.description = "Write the C++ runner of artifacts into a folder, ready for CMake."
    parser.add_argument("directory", help="of the sources; made if it is missing")


def run(asked: argparse.Namespace) -> int:
    """Write the files, and say how to build them."""
    try:
        folder = native(asked.directory)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"cmake -S {folder} -B {folder}/build && cmake --build {folder}/build\n")
    return 0
