"""The folder tree is the architecture: who may import whom, and what is never imported."""

import sys

import pytest

from tests.meta.source import FILES, PACKAGE, RANKS, imports, name_of

pytestmark = pytest.mark.smoke

FORBIDDEN = {"optax", "flax", "equinox", "haiku", "torchvision", "keras", "tensorflow"}
TORCH_ALLOWED = {"funcnet.checkpoint.torch_files"}
TENSORFLOW_ALLOWED = {"funcnet.export.compilers.child"}
"""It runs in a process of its own, as a script."""
REQUIRED = {"jax", "jaxlib", "numpy", "safetensors", "funcnet", "ml_dtypes"}


def folder(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "funcnet" and len(parts) > 1 else None


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_folder_imports_only_lower_ranks(path):
    home = folder(name_of(path))
    if home is None:
        return
    assert home in RANKS, f"{home}/ has no rank"
    for name, line in imports(path):
        other = folder(name)
        if other is None or other == home:
            continue
        assert RANKS.get(other, 99) < RANKS[home], (
            f"{path}:{line} imports {name}: {other}/ is not below {home}/"
        )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_foreign_or_private_is_imported(path):
    top_level = {
        name.split(".")[0]
        for name, line in imports(path)
        if line in {node.lineno for node in _top_level(path)}
    }
    for name, line in imports(path):
        first = name.split(".")[0]
        its_own = first == "tensorflow" and name_of(path) in TENSORFLOW_ALLOWED
        assert first not in FORBIDDEN or its_own, f"{path}:{line} imports {name}"
        assert first != "torch" or name_of(path) in TORCH_ALLOWED, f"{path}:{line} imports torch"
        assert "jax._src" not in name, f"{path}:{line} uses private JAX"
        assert not any(p.startswith("_") and p != "__future__" for p in name.split(".")), (
            f"{path}:{line}: {name}"
        )
    extras = top_level - REQUIRED - set(sys.stdlib_module_names)
    assert not extras, f"{path} imports {extras} at the top: an extra is imported where it is used"


def _top_level(path):
    from tests.meta.source import tree

    return [node for node in tree(path).body if hasattr(node, "lineno")]


def test_no_file_is_named_like_the_standard_library_or_catch_all():
    for path in FILES:
        assert path.stem == "__init__" or path.stem not in {"utils", "helpers", "misc", "common"}, (
            path
        )
        assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names, path


def test_the_tree_is_at_most_two_levels_deep_and_small_files():
    for path in FILES:
        assert len(path.relative_to(PACKAGE).parts) <= 3, path
        lines = len(path.read_text().splitlines())
        assert lines <= 400, f"{path} has {lines} lines: probably two ideas"


def test_each_folder_says_why_it_exists():
    for path in PACKAGE.rglob("__init__.py"):
        assert path.read_text().lstrip().startswith('"""'), path
