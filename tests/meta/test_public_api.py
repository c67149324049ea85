"""The public names: sorted, written down, documented, typed."""

import ast
import importlib
import inspect
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest

import funcnet as fn
from tests.meta.source import modules

LISTED = Path(__file__).with_name("public_api.txt")
FOLDERS = (
    "checkpoint",
    "compression",
    "data",
    "data.augment",
    "errors",
    "export",
    "functional",
    "module",
    "nn",
    "nn.init",
    "nn.parametrizations",
    "nn.utils",
    "nn.utils.fusion",
    "nn.utils.parametrizations",
    "nn.utils.parametrize",
    "nn.utils.rnn",
    "optim",
    "optim.schedules",
    "parallel",
    "training",
    "training.metrics",
    "training.pictures",
    "transforms",
)


def public() -> list[str]:
    names = [f"funcnet.{name}" for name in fn.__all__]
    for folder in FOLDERS:
        home = attrgetter(folder)(fn)
        names += [f"funcnet.{folder}.{name}" for name in exported(home)]
    return sorted(set(names))


def exported(home) -> list[str]:
    """The public names of a folder: `__all__`, or what its families' star imports brought."""
    if hasattr(home, "__all__"):
        return list(home.__all__)
    return [n for n, v in vars(home).items() if not n.startswith("_") and not inspect.ismodule(v)]


def test_the_public_names_are_those_written_down():
    """A change of the public API is a change of this list: `python -m tests.meta.test_public_api` writes it."""
    assert LISTED.read_text().split() == public()


def namespaces(home: ModuleType = fn, path: str = "") -> list[str]:
    """Dotted paths of the packages and modules that a package shows: in `__all__`, or imported `as` themselves."""
    shown = {*getattr(home, "__all__", ()), *_imported_as_themselves(home)}
    found = []
    for name in sorted(shown):
        value = getattr(home, name)
        if inspect.ismodule(value):
            found += [f"{path}{name}", *namespaces(value, f"{path}{name}.")]
    return found


def _imported_as_themselves(home: ModuleType) -> list[str]:
    tree = ast.parse(Path(str(home.__file__)).read_text())
    froms = [s for s in tree.body if isinstance(s, ast.ImportFrom)]
    return [a.name for s in froms for a in s.names if a.asname == a.name]


def test_every_namespace_is_listed():
    assert namespaces() == sorted(FOLDERS)


def seen_by_a_type_checker() -> dict[str, object]:
    """What each public name of funcnet is for whoever reads its `TYPE_CHECKING` blocks in order."""
    seen: dict[str, object] = {}
    for block in ast.parse(Path(fn.__file__).read_text()).body:
        if not (isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"):
            continue
        for statement in block.body:
            assert isinstance(statement, ast.ImportFrom), ast.unparse(statement)
            home = importlib.import_module(str(statement.module))
            for alias in statement.names:
                if alias.name == "*":
                    seen |= {name: getattr(home, name) for name in home.__all__}
                    continue
                # without `as` the name is private to a type checker
                assert alias.asname == alias.name, f"{alias.name} is not exported"
                if home is fn:
                    seen[alias.name] = importlib.import_module(f"funcnet.{alias.name}")
                else:
                    seen[alias.name] = getattr(home, alias.name)
    return seen


def test_a_type_checker_sees_what_runs():
    seen = seen_by_a_type_checker()
    assert sorted({*seen, "__version__"}) == fn.__all__
    other = [name for name, value in seen.items() if getattr(fn, name) is not value]
    assert not other, f"a type checker sees something else than what runs: {other}"


def test_the_folder_and_the_transform_do_not_share_a_name():
    assert inspect.ismodule(fn.checkpoint)
    assert fn.remat is fn.transforms.remat is fn.transforms.checkpoint


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.__name__)
def test_all_names_exist(module):
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name), f"{module.__name__}.{name}"


def _objects():
    for name in public():
        value = attrgetter(name.removeprefix("funcnet."))(fn)
        ours = getattr(value, "__module__", "").startswith("funcnet")
        if ours and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


def test_every_public_function_and_class_is_documented_and_annotated():
    missing = []
    for name, value in _objects():
        doc = inspect.getdoc(value) or ""
        if len(doc) < 20:
            missing.append(f"{name}: no docstring")
        elif (
            inspect.isfunction(value) and ">>>" not in doc and not name.startswith("funcnet.module")
        ):
            missing.append(f"{name}: no example")
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
            if bare or signature.return_annotation is signature.empty:
                missing.append(f"{name}: not annotated ({', '.join(bare) or 'return'})")
    assert not missing, "\n".join(missing)


if __name__ == "__main__":
    LISTED.write_text("\n".join(public()) + "\n")
