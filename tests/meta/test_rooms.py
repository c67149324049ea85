"""The folder tree is a map: small rooms, a layer where its function is, one meaning for each public name."""

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest

from funcnet import functional, nn
from tests.meta.source import FILES, PACKAGE, name_of, tree

pytestmark = pytest.mark.smoke

MOST_FILES = 12

ROOMS = sorted({path.parent for path in FILES} - {PACKAGE})

FUNCTIONS = {
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "CircularPad": "pad",
    "ConstantPad": "pad",
    "GRU": "recurrent",
    "LSTM": "recurrent",
    "MixtureOfExperts": "route_tokens",
    "MultiheadAttention": "multi_head_attention_forward",
    "RNN": "recurrent",
    "ReflectionPad": "pad",
    "ReplicationPad": "pad",
    "SyncBatchNorm": "batch_norm",
    "UpsamplingBilinear": "upsample_bilinear",
    "UpsamplingNearest": "upsample_nearest",
    "ZeroPad": "pad",
}
"""The functions of layers (without ``1d``, ``2d``, ``3d``) whose own names do not tell which."""

SAME_NAME_TWICE = {
    "Profile": "where a loader's time goes, and a trace of a run's steps: each in its own namespace",
    "add_arguments": "every subcommand of `python -m funcnet.export` has one",
    "constant": "PyTorch's name of an initializer, the field's name of a schedule: both are public API",
    "linear": "PyTorch's name of a function, the field's name of a schedule: both are public API",
    "load": "a tree from a file, or a model without its code: both are public API",
    "orthogonal": "PyTorch's name of an initializer and of a parametrization: both are public API",
    "pad": "PyTorch's name of a function of arrays, the field's name of what fills up a batch: both are public API",
    "run": "every subcommand of `python -m funcnet.export` has one",
    "save": "a tree to a file, or a model without its code: both are public API",
}
"""Public names that two files may define, each with the reason why no other name would do."""


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


# ---- rooms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ROOMS, ids=place)
def test_a_room_is_at_most_two_folders_deep(room):
    assert len(room.relative_to(PACKAGE).parts) <= 2


@pytest.mark.parametrize("room", ROOMS, ids=place)
def test_a_room_has_at_most_a_dozen_files(room):
    files = sorted(path.stem for path in room.glob("*.py") if path.stem != "__init__")
    assert len(files) <= MOST_FILES, f"{place(room)} has {len(files)}: {', '.join(files)}"


def singular(word: str) -> str:
    """``loss`` of ``losses``, ``image`` of ``images``; ``attention`` stays."""
    return word.removesuffix("es") if word.endswith("sses") else word.removesuffix("s")


@pytest.mark.parametrize("room", ROOMS, ids=place)
def test_nothing_in_a_room_repeats_the_rooms_name(room):
    inside = {path.stem for path in room.iterdir() if path.stem[0] != "_"}
    prefixes = tuple(f"{word}_" for word in (room.name, singular(room.name)))
    repeats = sorted(name for name in inside if name.startswith(prefixes))
    assert not repeats, f"{place(room)} holds {', '.join(repeats)}: drop the prefix"


# ---- twins ---------------------------------------------------------------------------------------


def public(module) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }


def function_name(layer: str) -> str | None:
    """Find the function that a layer calls by its name: ``MSELoss`` calls ``mse_loss``, ``Softmax2d`` ``softmax``."""
    known = {name.replace("_", ""): name for name in public(functional)}
    lower, plain = layer.lower(), re.sub(r"\dd$", "", layer)
    for spelling in (lower, lower.removesuffix("loss"), plain.lower()):
        if spelling in known:
            return known[spelling]
    return FUNCTIONS.get(plain)


def twins() -> list[tuple[str, str]]:
    """Layers and their functions; a lazy layer belongs to the layer that it becomes."""
    layers = [
        name
        for name, value in public(nn).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and not name.startswith("Lazy")
    ]
    return [(name, found) for name in layers if (found := function_name(name))]


def test_the_table_of_functions_is_current():
    """Each entry names a function that exists, and is needed."""
    layers = {re.sub(r"\dd$", "", name) for name in public(nn)}
    for layer, function in FUNCTIONS.items():
        assert layer in layers, layer
        assert hasattr(functional, function), function
    assert {function_name(name) for name in ("Conv2d", "MSELoss", "LPPool2d", "Softmax2d")} == {
        "conv2d",
        "mse_loss",
        "lp_pool2d",
        "softmax",
    }


@pytest.mark.parametrize(("layer", "function"), twins())
def test_a_layer_is_in_the_room_and_file_of_its_function(layer, function):
    of_layer = getattr(nn, layer).__module__.removeprefix("funcnet.nn.")
    of_function = getattr(functional, function).__module__.removeprefix("funcnet.functional.")
    assert of_layer == of_function, f"nn.{layer} and F.{function}"


# ---- names ---------------------------------------------------------------------------------------


def assigned(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def is_type_variable(node: ast.Assign | ast.AnnAssign) -> bool:
    call = node.value.func if isinstance(node.value, ast.Call) else None
    return isinstance(call, ast.Name) and call.id in {"TypeVar", "ParamSpec"}


def exported(path: Path) -> set[str]:
    for node in tree(path).body:
        if "__all__" in assigned(node):
            return {ast.literal_eval(item) for item in node.value.elts}
    return set()


def defined(path: Path) -> set[str]:
    """The public names that a file itself gives a meaning: functions, classes, constants, and what it exports."""
    names = set()
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not is_type_variable(node):
            listed = exported(path)
            names |= {name for name in assigned(node) if name.isupper() or name in listed}
    return {name for name in names if not name.startswith("_")}


def shared_names() -> dict[str, list[str]]:
    homes = defaultdict(list)
    for path in FILES:
        for name in defined(path):
            homes[name].append(name_of(path).removeprefix("funcnet."))
    return {name: sorted(places) for name, places in sorted(homes.items()) if len(places) > 1}


def test_no_two_files_define_different_things_under_one_public_name():
    found = shared_names()
    new = [f"{name}: {', '.join(found[name])}" for name in found if name not in SAME_NAME_TWICE]
    assert not new, "rename all but one, or make them private to their files:\n" + "\n".join(new)
    assert not SAME_NAME_TWICE.keys() - found.keys(), "remove what is no longer defined twice"
