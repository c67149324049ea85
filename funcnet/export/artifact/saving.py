"""save: a model's functions and weights in one file, each program run and compared before anything is written."""

import os
from collections.abc import Mapping, Sequence
from importlib import metadata as installed
from pathlib import Path
from typing import Any

import jax

from funcnet.core.aliases import Params, PyTree, State
from funcnet.core.files import as_path, replacing
from funcnet.core.jax_internals.portable import PORTABLE_VERSION
from funcnet.export.artifact.archive import ArchiveWriter
from funcnet.export.artifact.exported import ExportedFunction, Request, export_function
from funcnet.export.artifact.manifest_text import check_word, manifest_text, parse_manifest
from funcnet.export.artifact.weights import WEIGHTS_ALIGNMENT, StoredWeights
from funcnet.export.flat import plain_arrays
from funcnet.export.records import ArtifactManifest, FileRecord
from funcnet.export.specs import check_trees, entries
from funcnet.export.trees import describe_tree

__all__ = ["save"]

_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def save(
    path: str | os.PathLike[str],
    net: Any,
    params: Params,
    state: State,
    *inputs: PyTree,
    name: str = "call",
    sizes: Sequence[Mapping[str, int]] | None = None,
    platforms: Sequence[str] = ("cpu",),
    differentiable: bool = False,
    preprocess: Any = None,
    returns_state: bool = False,
    metadata: Mapping[str, str] | None = None,
    examples: Any = None,
    symbolic: bool = True,
    **keywords: Any,
) -> Path:
    """Save a model so that it runs without its code: weights, and programs in portable StableHLO, in one file.

    Each program is run and compared with the function itself before anything is written: at its own sizes, and with
    symbols open at 1, at an odd and at an even length, so that a branch on a length that is left open
    (``if x.shape[0] % 2``) is found.

    Args:
        path: of the file, a zip.
        net: a Functional, or any ``(params, state, *inputs) -> (output, state)``; or a dict of name to
            `entry`, several functions that share the weights.
        params: the trained arrays.
        state: the buffers; ``{}`` if there are none.
        *inputs: one `spec` an input, or an example array of fixed lengths, or trees of them.
        name: of a single function.
        sizes: numbers of the symbols, for each of which there is a program of fixed shapes beside the one with
            symbols open; by default 1 and 32 of a lone symbol, else 1 of each.
        platforms: for which programs are lowered: ``"cpu"``, ``"cuda"``, ``"rocm"``, ``"tpu"``. One without
            custom calls runs on any of them.
        differentiable: whether the derivative with respect to floating-point weights and inputs is exported too.
        preprocess: a pure function that is applied to the inputs first, and becomes part of the program.
        returns_state: whether the new state is an output as well.
        metadata: text by name, to keep in the file.
        examples: inputs to compare at, where random numbers do not suit: a tuple of one for each input, or a dict of
            such tuples by function. They are cut and repeated to the lengths that are needed.
        symbolic: whether symbols are left open in a program, so that any size runs; without, the ``sizes`` alone do.
        **keywords: static arguments of the function, such as ``train=True``.

    Returns:
        The path.

    Raises:
        ExportError: a function cannot be traced, or a program does not compute the same; nothing is written.
        TypeError: arrays or inputs are not those of the function, or cannot be stored.
        ValueError: names, sizes or platforms do not fit.
        MissingKeyError: a layer draws random numbers, and the function has no key.
        IsADirectoryError: the path is that of a folder.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> params, state = net.init(jax.random.key(0))
        >>> image = fn.export.spec(("batch", 3), name="image")
        >>> path = fn.export.save("model.fnx", net, params, state, image)
        >>> fn.export.load(path)["call"]
        call(image: float32[batch, 3]) -> output: float32[batch, 2]
    """
    path = as_path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file, such as {path / 'model.fnx'}")
    check_trees(params, state)
    params, state = plain_arrays(params), plain_arrays(state)
    described = entries(net, inputs, name, preprocess, returns_state, **keywords)
    _check_names(described, metadata or {})
    request = Request(sizes, symbolic, _known_platforms(platforms), differentiable)
    given = _by_function(examples, described, isinstance(net, Mapping))
    exported = {
        each: export_function(each, entry, params, state, request, given.get(each))
        for each, entry in described.items()
    }
    trees = describe_tree(params, "params"), describe_tree(state, "state")
    write_artifact(path, name, exported, trees, metadata or {})
    return path


def _check_names(described: Mapping[str, Any], metadata: Mapping[Any, Any]) -> None:
    """Refuse names that other languages cannot spell, and metadata that are no text."""
    for name in described:
        check_word(name)
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata is a dict of texts; got {type(metadata).__name__}")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(
                f"metadata is text by name, such as {{'author': 'me'}}; got {key!r}: {value!r}"
            )


def _known_platforms(platforms: Sequence[str]) -> tuple[str, ...]:
    """Take platforms, or the name of one; JAX itself would lower for any word."""
    given = (platforms,) if isinstance(platforms, str) else tuple(platforms)
    unknown = [each for each in given if each not in _PLATFORMS]
    if unknown or not given or len(set(given)) != len(given):
        raise ValueError(
            f"platforms are some of {', '.join(_PLATFORMS)}, each once; got {', '.join(map(str, given)) or 'none'}"
        )
    return given


def _by_function(examples: Any, described: Mapping[str, Any], several: bool) -> Mapping[str, Any]:
    """Tell the examples of each function."""
    if examples is None:
        return {}
    if not several:
        return dict.fromkeys(described, examples)
    unknown = [*examples] if not isinstance(examples, Mapping) else [*({*examples} - {*described})]
    if unknown or not isinstance(examples, Mapping):
        raise TypeError(
            f"examples of several functions are a dict of tuples by {', '.join(described)}"
        )
    return examples


def write_artifact(
    path: Path,
    name: str,
    exported: Mapping[str, ExportedFunction],
    trees: tuple[Any, Any],
    metadata: Mapping[str, str],
) -> None:
    """Write the file, whole or not at all."""
    first = next(iter(exported.values()))
    weights = StoredWeights(first.flat.weights, {})
    files: dict[str, FileRecord] = {}
    with replacing(path) as file, ArchiveWriter(file) as archive:
        stored = archive.add("weights.safetensors", weights.size, weights, WEIGHTS_ALIGNMENT)
        files["weights.safetensors"] = stored
        for function in exported.values():
            for built in function.built:
                program = built.program
                files[built.record.file] = archive.add(built.record.file, len(program), [program])
        manifest = ArtifactManifest(
            name=name,
            metadata=metadata,
            written_by=_versions(),
            functions={each: function.record for each, function in exported.items()},
            params_tree=trees[0],
            state_tree=trees[1],
            files=files,
        )
        text = manifest_text(manifest)
        parse_manifest(text)  # what nobody could read is not written
        archive.add("manifest.json", len(text), [text])


def _versions() -> dict[str, str]:
    import funcnet

    return {
        "funcnet": funcnet.__version__,
        "jax": jax.__version__,
        "jaxlib": installed.version("jaxlib"),
        "stablehlo": PORTABLE_VERSION,
    }
