"""load: an artifact from its file, of which nothing is believed."""

import mmap
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from funcnet.core.errors import ExportError
from funcnet.core.files import as_path
from funcnet.export.artifact.archive import find_members, is_intact
from funcnet.export.artifact.loaded import Artifact
from funcnet.export.artifact.manifest_text import parse_manifest
from funcnet.export.artifact.probing import digest_of, probe
from funcnet.export.artifact.weights import map_weights
from funcnet.export.programs.signatures import check_programs
from funcnet.export.records import ArtifactManifest
from funcnet.export.trees import leaf_paths

__all__ = ["load"]


def load(path: str | os.PathLike[str], *, apart: bool = False) -> Artifact:
    """Load a model that `save` wrote.

    Its functions are called without the model's code, on any JAX that funcnet supports, also within `jax.jit` and
    `jax.vmap`, and are differentiated if they were exported with ``differentiable=True``. Weights are mapped, not read,
    until they are used. Nothing in the file is run by loading it.

    Every part is held to a SHA-256 that is written in the file, which finds damage, and to what the manifest says of
    it. For a file whose author you do not know, ``apart=True`` first has another process read and compile its programs:
    MLIR's parser may end the process that gives it bytes made to harm.

    Args:
        path: of the file.
        apart: whether another process tries first.

    Returns:
        The artifact: call it, or its functions by name.

    Raises:
        FileNotFoundError: there is no such file.
        ExportError: it is no artifact, is damaged, contradicts itself or is of a newer version.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> params, state = net.init(jax.random.key(0))
        >>> path = fn.export.save("model.fnx", net, params, state, fn.export.spec(("batch", 3)))
        >>> fn.export.load(path)(jnp.ones((5, 3))).shape
        (5, 2)
    """
    path = as_path(path)
    try:
        return _load(path, apart)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from None


def _load(path: Path, apart: bool) -> Artifact:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise ExportError("it is empty")
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        members = find_members(file, content)
        if "manifest.json" not in members:
            raise ExportError("it has no manifest.json: it is no artifact")
        text = bytes(members.pop("manifest.json"))
        manifest = parse_manifest(text)
        _check_files(manifest, members)
        names = leaf_paths(manifest.params_tree) + leaf_paths(manifest.state_tree)
        stored = members.pop("weights.safetensors")
        file.seek(_offset(content, stored))
        weights = map_weights(file, stored, names)
    if apart and probe(path) != digest_of(text):
        raise ExportError("it was replaced while it was read")
    for name, function in manifest.functions.items():
        check_programs(name, function, weights, members)
    return Artifact(manifest, weights, members, digest_of(text))


def _offset(content: memoryview, part: memoryview) -> int:
    whole = np.frombuffer(content, np.uint8).ctypes.data
    return np.frombuffer(part, np.uint8).ctypes.data - whole if len(part) else 0


def _check_files(manifest: ArtifactManifest, members: Mapping[str, memoryview]) -> None:
    """Hold the members to what the manifest says of them: all are there, no others, unchanged."""
    if manifest.files.keys() != members.keys() or "weights.safetensors" not in members:
        differing = sorted({*manifest.files} ^ {*members}) or ["weights.safetensors"]
        raise ExportError(
            f"its members are not those of its manifest: {', '.join(differing)[:200]}"
        )
    for name, record in manifest.files.items():
        if not is_intact(members[name], record):
            raise ExportError(
                f"{name} is not what was written: its length or SHA-256 is another. Use another copy of the file"
            )
    programs = {
        program.file
        for function in manifest.functions.values()
        for program in (
            *function.programs,
            *(function.gradient.programs if function.gradient else ()),
        )
    }
    if programs | {"weights.safetensors"} != {*members}:
        raise ExportError(
            "a function names a program that is not there, or one is there that none names"
        )
