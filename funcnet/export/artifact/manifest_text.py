"""A manifest as JSON, and back: what is read is believed only after it was checked piece by piece."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from funcnet.core.errors import ExportError
from funcnet.core.safetensors_format import strict_json
from funcnet.export.lengths import evaluate_length, symbols_of
from funcnet.export.records import (
    ArtifactManifest,
    FileRecord,
    FunctionRecord,
    GradientRecord,
    ProgramRecord,
    dtype_name,
    stored_dtype,
)
from funcnet.export.specs import ArraySpec
from funcnet.export.trees import check_description

__all__ = ["MANIFEST_VERSION", "check_word", "manifest_text", "parse_manifest"]

MANIFEST_VERSION = 1

_FORMAT = "funcnet.export"
_LONGEST = 2**28
_MOST_AXES = 32
_LARGEST = 2**63 - 1
_FILE = re.compile(r"programs/[A-Za-z0-9_.,=+-]{1,200}\.mlirbc")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HASH = re.compile(r"[0-9a-f]{64}")
_T = TypeVar("_T")


def manifest_text(manifest: ArtifactManifest) -> bytes:
    """Spell a manifest as plain ASCII, the same for the same manifest."""
    functions = {name: _function_json(each) for name, each in manifest.functions.items()}
    files = {name: {"bytes": f.bytes, "sha256": f.sha256} for name, f in manifest.files.items()}
    content = {
        "format": _FORMAT,
        "version": MANIFEST_VERSION,
        "name": manifest.name,
        "metadata": dict(sorted(manifest.metadata.items())),
        "written_by": dict(manifest.written_by),
        "trees": {"params": manifest.params_tree, "state": manifest.state_tree},
        "functions": functions,
        "files": files,
    }
    return (json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode(
        "ascii"
    )


def _function_json(function: FunctionRecord) -> dict[str, Any]:
    made = {
        "weights": list(function.weights),
        "trainable": function.trainable,
        "inputs": list(map(_spec_json, function.inputs)),
        "outputs": list(map(_spec_json, function.outputs)),
        "symbols": list(function.symbols),
        "trees": {"inputs": function.inputs_tree, "outputs": function.outputs_tree},
        "returns_state": function.returns_state,
        "programs": list(map(_program_json, function.programs)),
    }
    if function.gradient is not None:
        made["gradient"] = {
            "weights": list(function.gradient.weights),
            "inputs": list(function.gradient.inputs),
            "outputs": list(function.gradient.outputs),
            "programs": list(map(_program_json, function.gradient.programs)),
        }
    return made


def _spec_json(spec: ArraySpec) -> dict[str, Any]:
    name = str(spec.name)
    return {"name": name, "dtype": dtype_name(spec.dtype, name), "shape": list(spec.shape)}


def _program_json(program: ProgramRecord) -> dict[str, Any]:
    return {
        "file": program.file,
        "platform": program.platform,
        "sizes": None if program.sizes is None else dict(program.sizes),
        "portable": program.portable,
        "checked": program.checked,
    }


def parse_manifest(text: bytes) -> ArtifactManifest:
    """Read a manifest of any origin.

    Raises:
        ExportError: it is none, contradicts itself, or is of a version that this funcnet does not know.
    """
    if len(text) > _LONGEST:
        raise ExportError(f"manifest.json has {len(text)} bytes, more than any model needs")
    try:
        content = strict_json(text)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT!r}")
        _check_version(content.get("version"))
        return _manifest(content)
    except (ValueError, TypeError) as error:  # TypeError: halves of characters
        raise ExportError(f"manifest.json cannot be read: {error}") from None


def _check_version(version: Any) -> None:
    if type(version) is not int or version < 1:
        raise ValueError(f"its version is {str(version)[:40]!r}, not a number from 1")
    if version > MANIFEST_VERSION:
        raise ValueError(
            f"it is of version {version} and this funcnet reads up to {MANIFEST_VERSION}: use a newer funcnet, or "
            "export the model again with this one"
        )


def _manifest(content: dict[str, Any]) -> ArtifactManifest:
    trees = _get(content, "trees", dict)
    functions = _get(content, "functions", dict)
    if not functions:
        raise ValueError("it has no functions")
    return ArtifactManifest(
        name=_get(content, "name", str),
        metadata=_texts(content, "metadata"),
        written_by=_texts(content, "written_by"),
        functions={
            check_word(name): _within(name, _function, functions[name]) for name in functions
        },
        params_tree=_tree(trees, "params"),
        state_tree=_tree(trees, "state"),
        files={
            name: _within(name, _file, value)
            for name, value in _get(content, "files", dict).items()
        },
    )


def _within(place: str, read: Callable[[Any], _T], value: Any) -> _T:
    """Read a part, and have a message say which."""
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{place[:100]}: {error}") from None


def _get(content: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    value = content.get(name)
    if type(value) is not kind:  # a bool is an int to Python, and not here
        raise ValueError(f"{name!r} is {str(value)[:40]!r}, not a {kind.__name__}")
    return value


def _texts(content: Mapping[str, Any], name: str) -> dict[str, str]:
    texts = _get(content, name, dict)
    return {key: _get(texts, key, str) for key in texts}


def check_word(name: str) -> str:
    """Return a name that any language can spell.

    Raises:
        ValueError: it is none.
    """
    if not _WORD.fullmatch(name):
        raise ValueError(f"{name[:100]!r} is no name: letters, digits and _")
    return name


def _tree(content: Mapping[str, Any], name: str) -> Any:
    _within(name, check_description, content.get(name))
    return content.get(name)


def _each(content: Mapping[str, Any], name: str, read: Callable[[Any], _T]) -> tuple[_T, ...]:
    return tuple(
        _within(f"{name}[{i}]", read, each) for i, each in enumerate(_get(content, name, list))
    )


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{str(value)[:40]!r} is not an object")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is not text")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError(f"{str(value)[:40]!r} is no count")
    return value


def _file(value: Any) -> FileRecord:
    digest = _get(_object(value), "sha256", str)
    if not _HASH.fullmatch(digest):
        raise ValueError("sha256 is not 64 hexadecimal digits")
    return FileRecord(_count(value.get("bytes")), digest)


def _spec(value: Any) -> ArraySpec:
    shape = _each(_object(value), "shape", _length)
    if len(shape) > _MOST_AXES:
        raise ValueError(f"it has {len(shape)} axes")
    return ArraySpec(shape, stored_dtype(value.get("dtype")), _get(value, "name", str))


def _length(value: Any) -> int | str:
    if isinstance(value, str):
        evaluate_length(value, dict.fromkeys(symbols_of([value]), 1))
        return value
    return _count(value)


def _function(value: Any) -> FunctionRecord:
    trees = _get(_object(value), "trees", dict)
    gradient = value.get("gradient")
    made = FunctionRecord(
        weights=_each(value, "weights", _text),
        trainable=_count(value.get("trainable")),
        inputs=_each(value, "inputs", _spec),
        outputs=_each(value, "outputs", _spec),
        symbols=tuple(map(check_word, _each(value, "symbols", _text))),
        inputs_tree=_tree(trees, "inputs"),
        outputs_tree=_tree(trees, "outputs"),
        returns_state=_get(value, "returns_state", bool),
        programs=_each(value, "programs", _program),
        gradient=None if gradient is None else _within("gradient", _gradient, gradient),
    )
    _check_function(made)
    return made


def _program(value: Any) -> ProgramRecord:
    file = _get(_object(value), "file", str)
    if not _FILE.fullmatch(file):
        raise ValueError(f"{file[:100]!r} is no file of a program")
    sizes = value.get("sizes")
    return ProgramRecord(
        file=file,
        platform=check_word(_get(value, "platform", str)),
        sizes=None
        if sizes is None
        else {check_word(k): _count(v) for k, v in _object(sizes).items()},
        portable=_get(value, "portable", bool),
        checked=_get(value, "checked", bool),
    )


def _gradient(value: Any) -> GradientRecord:
    return GradientRecord(
        weights=_each(_object(value), "weights", _text),
        inputs=_each(value, "inputs", _count),
        outputs=_each(value, "outputs", _count),
        programs=_each(value, "programs", _program),
    )


def _check_function(function: FunctionRecord) -> None:
    """Refuse a function that contradicts itself."""
    named = [length for each in function.inputs for length in each.shape]
    if function.symbols != tuple(symbols_of(named)):
        raise ValueError(f"its symbols are not those of its inputs: {', '.join(function.symbols)}")
    unknown = set(symbols_of([n for o in function.outputs for n in o.shape])) - {*function.symbols}
    if unknown:
        raise ValueError(f"outputs have lengths that no input has: {', '.join(sorted(unknown))}")
    _check_trees(function)
    if function.trainable > len(function.weights):
        raise ValueError(f"{function.trainable} of {len(function.weights)} weights are trainable")
    _check_unique("weights", function.weights)
    _check_unique("inputs", [str(each.name) for each in function.inputs])
    if not function.programs:
        raise ValueError("it has no program")
    gradient = function.gradient
    for program in (*function.programs, *(gradient.programs if gradient else ())):
        if program.sizes is not None and {*program.sizes} != {*function.symbols}:
            raise ValueError(f"{program.file} does not have a size for each symbol")
    if gradient is not None:
        _check_gradient(function, gradient)


def _check_trees(function: FunctionRecord) -> None:
    pairs = (
        (function.inputs_tree, function.inputs),
        (function.outputs_tree, function.outputs),
    )
    for tree, arrays in pairs:
        if check_description(tree) != len(arrays):
            raise ValueError(
                f"a tree of {check_description(tree)} arrays does not hold {len(arrays)}"
            )
    if not isinstance(function.inputs_tree, dict) or "tuple" not in function.inputs_tree:
        raise ValueError("the inputs are no tuple")
    if function.returns_state:
        pair = function.outputs_tree
        if not (isinstance(pair, dict) and len(pair.get("tuple", ())) == 2):
            raise ValueError("it does not return an output and a state")


def _check_gradient(function: FunctionRecord, gradient: GradientRecord) -> None:
    _check_unique("gradient.weights", gradient.weights)
    _check_unique("gradient.inputs", gradient.inputs)
    _check_unique("gradient.outputs", gradient.outputs)
    known = (
        {*gradient.weights} <= {*function.weights}
        and all(n < len(function.inputs) for n in gradient.inputs)
        and all(n < len(function.outputs) for n in gradient.outputs)
    )
    if not known or not gradient.programs:
        raise ValueError("its gradient is of arrays that it does not have, or has no program")


def _check_unique(what: str, names: Sequence[Any]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"{what}: a name stands twice")
