"""Run the code of pages from the top, as the site does, without Jupyter: ``python -m tests.docs.pages.run_page FILE``.

A cell tagged ``raises-exception`` must raise, no other may. Without a file it serves `runner`: it reads names of files,
a line each, and answers each with a line of JSON.
"""

import ast
import gc
import io
import json
import os
import sys
import traceback
import types
from contextlib import redirect_stdout
from pathlib import Path

from docs.generation.cells import read_cells
from docs.generation.repository import ROOT


def run_cell(code, place, names):
    """Run a cell; show its last expression, as a notebook does."""
    tree = ast.parse(code, place)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, place, "exec"), names)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), place, "eval"), names)
        if shown is not None:
            print(repr(shown))


def run_page(path):
    """Run a page in a fresh ``__main__``.

    Returns:
        ``{"passed": True}``, ``{"missing": ...}`` of a package that is not installed, or ``{"failed": ...}``.
    """
    os.chdir(ROOT / "notebooks")
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module  # `pickle` and `inspect` find there what a cell defines
    for number, cell in enumerate((c for c in read_cells(path) if c.is_code), 1):
        place = f"{path.name}, cell {number}, line {cell.line}"
        try:
            run_cell(cell.text, place, vars(module))
        except ImportError as error:
            if not cell.fails:
                return {"missing": f"{place}: {error}"}
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
            if not cell.fails:
                return {"failed": f"{place}\n{traceback.format_exc()}"}
        else:
            if cell.fails:
                return {"failed": f"{place} is tagged raises-exception and raised nothing"}
    return {"passed": True}


def serve():
    """Answer requests where standard output was; what pages and their processes print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        with redirect_stdout(io.StringIO()):
            answer = run_page(Path(line.strip()))
        gc.collect()  # what one page holds is gone before the next
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        told = run_page(Path(sys.argv[1]).resolve())
        sys.exit(None if told.get("passed") else "\n".join(told.values()))
    serve()
