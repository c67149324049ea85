"""Put a built site where people open it: a folder a version, and a page that leads to the newest."""

import json
import os
import re
import shutil
from pathlib import Path

__all__ = ["publish", "versions"]

LEADS = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>funcnet</title>
<meta http-equiv="refresh" content="0; url={newest}/index.html">
<link rel="canonical" href="{newest}/index.html">
<p>The documentation of <a href="{newest}/index.html">funcnet {newest}</a>.</p>
</html>
"""

NUMBER = re.compile(r"\d+(\.\d+)+\w*")


def publish(built: Path, out: Path, version: str) -> Path:
    """Copy a built site to ``out/version``; versions that are there stay.

    The folder appears with one rename, so that there is no half site, whenever the copy ends.

    Returns:
        the version's folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    beside, before, place = out / f".{version}.new", out / f".{version}.old", out / version
    for left in (beside, before):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(built, beside, ignore=shutil.ignore_patterns(".buildinfo*", ".doctrees"))
    if place.exists():
        place.rename(before)
    beside.rename(place)
    shutil.rmtree(before, ignore_errors=True)
    known = versions(out)
    _write(out / "versions.js", f"window.FUNCNET_VERSIONS = {json.dumps(known)};\n")
    _write(out / "index.html", LEADS.format(newest=known[0]))
    if (text := out / known[0] / "llms.txt").exists():
        _write(out / "llms.txt", text.read_text())
    return place


def versions(out: Path) -> list[str]:
    """List the versions that a folder holds, the newest first."""
    found = [path.name for path in out.iterdir() if path.is_dir() and NUMBER.fullmatch(path.name)]
    return sorted(found, key=_order, reverse=True)


def _order(version: str) -> list[tuple[int, str]]:
    """1.10 comes after 1.9, and 1.0 after 1.0rc1."""
    parts = re.findall(r"\d+|[a-z]+", version)
    ordered = [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
    return [*ordered, (0, "")]


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(path)
