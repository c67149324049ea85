"""Artifacts from the command line: ``python -m funcnet.export inspect FILE``; without arguments, what there is."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from funcnet.core.errors import ExportError

__all__ = ["command_line"]

COMMANDS = {
    "web": ("funcnet.export.web.command", "write a page that runs an ONNX model"),
    "serve": ("funcnet.export.serving.command", "serve an artifact over HTTP"),
    "inspect": ("funcnet.export.artifact.inspection", "show what an artifact holds, and check it"),
    "native": ("funcnet.export.native.command", "write the C++ runner of artifacts into a folder"),
}
"""Each has a module with ``add_arguments(parser)`` and ``run(asked) -> int``, imported when it is asked for."""


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: of the command line; None for those of the process.

    Returns:
        0, or 1 if it refused.

    Example:
        >>> from funcnet.export.__main__ import command_line
        >>> command_line(["inspect", "none.fnx"])
        1
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser("python -m funcnet.export", description=__doc__)
    parts = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, told) in COMMANDS.items():
        part = parts.add_parser(name, help=told, description=told)
        if given[:1] == [name]:
            importlib.import_module(module).add_arguments(part)
    if not given:
        parser.print_help()
        return 0
    asked = parser.parse_args(given)
    try:
        return importlib.import_module(COMMANDS[asked.command][0]).run(asked)
    except OSError as error:
        told = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        sys.stderr.write(f"{told}\n")
        return 1
    except (ExportError, ImportError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(command_line())
