"""Run the code of one page from the top, as the site does, without Jupyter: ``python -m tests.docs.run_page FILE``.

A cell tagged ``raises-exception`` must raise, no other may. Exit status 77 says which package is missing.
"""

import ast
import os
import sys
import traceback
import types
from pathlib import Path

from docs.generation.cells import read_cells
from docs.generation.repository import ROOT

MISSING = 77


def run(code, place, names):
    """Run a cell; show its last expression, as a notebook does."""
    tree = ast.parse(code, place)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, place, "exec"), names)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), place, "eval"), names)
        if shown is not None:
            print(repr(shown))


def main(path):
    os.chdir(ROOT / "notebooks")
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = (
        module  # what a cell defines is found there, by `pickle` and `inspect`
    )
    for number, cell in enumerate((c for c in read_cells(path) if c.is_code), 1):
        place = f"{path.name}, cell {number}, line {cell.line}"
        try:
            run(cell.text, place, vars(module))
        except ImportError as error:
            print(f"{place}: {error}", file=sys.stderr)
            if not cell.fails:
                sys.exit(MISSING)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
            if not cell.fails:
                traceback.print_exc()
                sys.exit(f"{place} raised {type(error).__name__}: {error}")
        else:
            if cell.fails:
                sys.exit(f"{place} is tagged raises-exception and raised nothing")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
