"""Small artifacts, with programs of fixed sizes only, written without verification: quick, and of any kind."""

import io
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from funcnet.core.files import write_atomically
from funcnet.export.artifact.archive import ArchiveWriter
from funcnet.export.artifact.building import build_programs
from funcnet.export.artifact.manifest_text import manifest_text
from funcnet.export.artifact.records import FunctionRecord, Manifest
from funcnet.export.flat import flatten_entry


def write(path, entries, params, state, sizes=(None,), platforms=("cpu",), metadata=None) -> Path:
    """Write entries by name; ``sizes`` as `build_programs` takes them."""
    file, records, functions, weights = io.BytesIO(), {}, {}, {}
    with ArchiveWriter(file) as archive:
        flats = {name: flatten_entry(entry, params, state) for name, entry in entries.items()}
        for flat in flats.values():
            weights.update(flat.weights)
        text = save({name: np.array(value) for name, value in weights.items()})
        records["weights.safetensors"] = archive.add("weights.safetensors", len(text), [text], 64)
        for name, flat in flats.items():
            chosen = sizes if flat.symbols else (None,)
            built = build_programs(name, flat, chosen, platforms)
            for each in built:
                records[each.record.file] = archive.add(
                    each.record.file, len(each.program), [each.program]
                )
            functions[name] = FunctionRecord(
                weights=tuple(flat.weights),
                trainable=flat.trainable,
                inputs=flat.inputs,
                outputs=flat.outputs,
                symbols=flat.symbols,
                inputs_tree=None,
                outputs_tree=None,
                returns_state=False,
                programs=tuple(each.record for each in built),
            )
        versions = {"funcnet": "0", "jax": "0", "stablehlo": "1.13.0"}
        manifest = Manifest("model", metadata or {}, versions, functions, None, None, records)
        content = manifest_text(manifest)
        archive.add("manifest.json", len(content), [content])
    return write_atomically(path, file.getvalue())
