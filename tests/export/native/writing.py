"""Small artifacts, with programs of fixed sizes only, written without verification: quick, and of any kind."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from funcnet.core.jax_internals.portable import lower_portably
from funcnet.core.safetensors_format import DTYPES
from funcnet.export.flat import flatten_entry


def write(path, entries, params, state, sizes=({},), platform="cpu", metadata=None) -> Path:
    """Write entries by name, with a program for each of the sizes."""
    functions, members, weights = {}, {}, {}
    for name, entry in entries.items():
        flat = flatten_entry(entry, params, state)
        weights.update(flat.weights)
        functions[name] = described(flat)
        for each in sizes if flat.symbols else (None,):
            file = f"programs/{name}.{platform}.{each}.mlirbc"
            members[file], calls = lower(flat, each, platform)
            record = {"file": file, "platform": platform, "sizes": each, "portable": not calls}
            functions[name]["programs"].append(record)
    members["weights.safetensors"] = save({k: np.array(v) for k, v in weights.items()})
    manifest = {
        "format": "funcnet.export",
        "version": 1,
        "name": "model",
        "metadata": metadata or {},
        "functions": functions,
    }
    return pack(path, manifest, members)


def lower(flat, sizes, platform):
    count = len(flat.weights)
    weights, inputs = flat.arguments(sizes)
    return lower_portably(
        lambda *arrays: flat.call(arrays[:count], arrays[count:]), weights + inputs, platform
    )


def described(flat) -> dict:
    return {
        "weights": list(flat.weights),
        "inputs": list(map(spec_json, flat.inputs)),
        "outputs": list(map(spec_json, flat.outputs)),
        "symbols": list(flat.symbols),
        "programs": [],
    }


def spec_json(spec) -> dict:
    (name,) = [name for name, each in DTYPES.items() if each == spec.dtype]
    return {"name": spec.name, "dtype": name, "shape": list(spec.shape)}


def pack(path, manifest: dict, members: dict[str, bytes], hashes=True, text=None) -> Path:
    """Zip members with the manifest, or the text of one; ``hashes``: those of the members, not the manifest's."""
    if hashes:
        manifest = {
            **manifest,
            "files": {name: record(content) for name, content in members.items()},
        }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest) if text is None else text)
        for name, content in members.items():
            archive.writestr(name, content)
    return Path(path)


def record(text: bytes) -> dict:
    return {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}


def unpack(path) -> tuple[dict, dict[str, bytes]]:
    """Read what `pack` wrote."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(members.pop("manifest.json")), members
