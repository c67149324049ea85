"""The source files of the library, for the tests that hold its rules."""

import ast
import importlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "funcnet"
FILES = sorted(PACKAGE.rglob("*.py"))

RANKS = {
    "core": 0,
    "transforms": 1,
    "functional": 1,
    "optim": 1,
    "data": 1,
    "module": 2,
    "nn": 3,
    "checkpoint": 4,
    "compression": 4,
    "export": 4,
    "parallel": 4,
    "training": 5,
    "summary": 5,
    "doctor": 6,
}


def name_of(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> list[tuple[str, int]]:
    """Every module that a file imports, wherever in it, with the line."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found.append((node.module, node.lineno))
            if node.module == "funcnet":
                found += [(f"funcnet.{alias.name}", node.lineno) for alias in node.names]
    return found


def modules():
    """Every module of the library, imported."""
    return [importlib.import_module(name_of(path)) for path in FILES]
