"""JAX beyond its documented names is used in one room, where each use has its reason."""

import ast

import pytest
from jax.extend.core import primitives

from tests.meta.source import FILES, name_of, tree

pytestmark = pytest.mark.smoke

HOME = "funcnet.core.jax_internals."
# Files that still have to be moved to it.
UNSTABLE = ("jax._src", "jax.core", "jax.experimental", "jax.extend", "jax.interpreters")
# JAX's documentation tells users to ask `isinstance(x, jax.core.Tracer)`; all else of `jax.core` is unstable.
STABLE = ("jax.core.Tracer",)
# What a traced function and its operations are made of.
ATTRIBUTES = {
    "aval",
    "constvars",
    "eqns",
    "invars",
    "jaxpr",
    "name_stack",
    "outvars",
    "primitive",
    "source_info",
}
PRIMITIVES = {p.name for p in vars(primitives).values() if hasattr(p, "bind")}


def offences(module: ast.Module) -> list[str]:
    """Say what a file takes from JAX that only `core/jax_internals/` may."""
    found = []
    for node in ast.walk(module):
        found += [f"line {node.lineno}: {what}" for what in _offences(node)]
    return found


def _offences(node: ast.AST):
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
        # a plain `import jax.core` only makes the attribute reachable: its uses are judged below
        yield from (name for name in names if _is_unstable(name) and name != "jax.core")
    elif isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from filter(_is_unstable, names)
    elif isinstance(node, ast.Attribute):
        if node.attr in ATTRIBUTES:
            yield f".{node.attr}"
        # `jax.core` itself is not judged, only what is taken from it
        if _is_unstable(name := ast.unparse(node)) and name != "jax.core":
            yield name
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
        yield from (f"getattr {c}" for c in _strings(node.args[1]) if c in ATTRIBUTES)
    elif isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Attribute) and side.attr == "name" for side in sides):
            words = [word for side in sides for word in _strings(side)]
            yield from (f".name and {word!r}" for word in words if word in PRIMITIVES)


def _is_unstable(name: str) -> bool:
    beyond = any(name == each or name.startswith(f"{each}.") for each in UNSTABLE)
    return beyond and name not in STABLE


def _strings(node: ast.AST) -> list[str]:
    inner = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
    return [value for value in inner if isinstance(value, str)]


@pytest.mark.parametrize(
    "path", [path for path in FILES if HOME not in f"{name_of(path)}."], ids=name_of
)
def test_no_other_file_uses_jax_beyond_its_documented_names(path):
    assert offences(tree(path)) == [], f"{path}: what it needs belongs in core/jax_internals/"


@pytest.mark.parametrize(
    "code",
    [
        "import jax.extend.core",
        "from jax.extend import core",
        "from jax import extend",
        "from jax.experimental.shard_map import shard_map",
        "import jax.interpreters.ad",
        "from jax._src import core",
        "from jax.core import Jaxpr",
        "x = jax.core.Jaxpr",
        "x = jax.experimental.enable_x64",
        "for e in closed.jaxpr: pass",
        "e.primitive.bind(x)",
        "getattr(e, 'source_info', None)",
        "e.name == 'scan'",
        "e.name in {'dot_general', 'mul'}",
        "e.name in ('while', 'cond')",
    ],
)
def test_the_rule_finds(code):
    assert offences(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "import jax.core\nisinstance(x, jax.core.Tracer)",
        "from jax.core import Tracer",
        "from jax.ad_checkpoint import checkpoint_name",
        "path.name == 'config.json'",
        "mode == 'scan'",
    ],
)
def test_the_rule_leaves_alone(code):
    assert offences(ast.parse(code)) == []
