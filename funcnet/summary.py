"""What a file of weights holds: ``python -m funcnet.summary FILE``.

The name `funcnet.summary` is also that of the function for models. It stays the function's, whoever imports this file.
"""

import argparse
import sys
from typing import Any

from funcnet.checkpoint.contents import describe_contents
from funcnet.module import summary

__all__: list[str] = []


def _run(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m funcnet.summary",
        description="List the arrays of a file of weights: names, dtypes, shapes, sizes, totals. Nothing in it is run.",
    )
    parser.add_argument(
        "path",
        help="a safetensors file, its index, a file of torch.save, a folder of those, or a Checkpointer's",
    )
    parser.add_argument(
        "--depth",
        type=int,
        metavar="N",
        help="one line for each beginning of N parts of the dotted names",
    )
    asked = parser.parse_args(arguments)
    try:
        text = describe_contents(asked.path, asked.depth)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1
    _say(text)
    return 0


def _say(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"  # which may have no sign for a letter in a name
    sys.stdout.write(f"{text.encode(encoding, 'backslashreplace').decode(encoding)}\n")


if __name__ == "__main__":
    sys.exit(_run())

# Importing a file makes its name an attribute of the package, which would hide the function: `fn.summary(model)` would
# call a module. Python takes for it whatever stands in `sys.modules` once the file has run: here, the function itself.
_modules: dict[str, Any] = sys.modules  # pyright: ignore[reportAssignmentType]
_modules[__name__] = summary
