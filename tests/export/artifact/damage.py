"""Artifacts taken apart and put together again, with something wrong in them and the sums of the bytes in order."""

import hashlib
import io
import json
import zipfile

from funcnet.export.artifact.archive import ArchiveWriter
from tests.export.fixtures.write import FOLDER

SOUND = FOLDER / "jax_0_10_2.fnx"


def members_of(path=SOUND):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def manifest_of(members):
    return json.loads(members["manifest.json"])


def with_sums(members, manifest=None):
    """Write the lengths and sums of all members into the manifest."""
    manifest = manifest_of(members) if manifest is None else manifest
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if name != "manifest.json"
    }
    return members | {"manifest.json": json.dumps(manifest | {"files": files}).encode()}


def written(path, members):
    """Write members as `save` does."""
    with path.open("w+b") as file, ArchiveWriter(file) as archive:
        for name, content in members.items():
            archive.add(name, len(content), [content], 64 if name.startswith("weights") else 1)
    return path


def zipped(members, **settings):
    """Write members as any zip tool might."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **settings) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()
