"""ONNX Runtime Web, found where npm puts it, or fetched by npm."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from funcnet.core.errors import ExportError
from funcnet.core.files import as_path
from funcnet.core.safetensors_format import strict_json

__all__: list[str] = []

_PACKAGE = "onnxruntime-web"
_KNOWN = "1.30.0"
"""The release that pages were tried with; what is fetched."""

_FILES = {
    True: ("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
    False: ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
}
"""By whether it has WebGPU: its script and its WebAssembly."""

_SECONDS = 300


@dataclass(frozen=True)
class WebRuntime:
    """The runtime's files.

    Attributes:
        code: a JavaScript module, whole.
        wasm: what it runs.
        version: of the package.
    """

    code: Path
    wasm: Path
    version: str


def find_runtime(folder: str | os.PathLike[str] | None, webgpu: bool) -> WebRuntime:
    """Find the package: in a given folder, in node_modules here or above, in the cache; else have npm fetch it.

    Raises:
        FileNotFoundError: it is not in the given folder, or nowhere, and there is no npm.
        ExportError: npm could not fetch it.
    """
    if folder is not None:
        found = next(filter(_is_package, _spellings(as_path(folder))), None)
        if found is None:
            raise FileNotFoundError(
                f"there is no {_PACKAGE} in {os.fspath(folder)}: expected the package's own folder, with its dist/, "
                f"or one with node_modules/{_PACKAGE}"
            )
        return _described(found, webgpu)
    found = next(filter(_is_package, _usual_places()), None)
    return _described(found or _fetched(), webgpu)


def _spellings(folder: Path) -> Iterator[Path]:
    yield folder
    yield folder / _PACKAGE
    yield folder / "node_modules" / _PACKAGE
    yield folder.parent  # its dist/ was given


def _usual_places() -> Iterator[Path]:
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / "node_modules" / _PACKAGE
    yield _cache() / "node_modules" / _PACKAGE


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "funcnet" / "web"


def _is_package(folder: Path) -> bool:
    return (folder / "dist").is_dir() and (folder / "package.json").is_file()


def _described(package: Path, webgpu: bool) -> WebRuntime:
    code, wasm = (package / "dist" / name for name in _FILES[webgpu])
    missing = [each.name for each in (code, wasm) if not each.is_file()]
    version = str(strict_json((package / "package.json").read_bytes()).get("version"))
    if missing:
        raise FileNotFoundError(
            f"{package} is {_PACKAGE} {version}, which has no {', '.join(missing)}: install {_PACKAGE}@{_KNOWN}"
        )
    return WebRuntime(code, wasm, version)


def _fetched() -> Path:
    npm = shutil.which("npm")
    command = f"npm install {_PACKAGE}@{_KNOWN}"
    if npm is None:
        raise FileNotFoundError(
            f"the page needs {_PACKAGE}, and npm is not here to fetch it: run `{command}` where npm is, and give the "
            f"folder: runtime='node_modules/{_PACKAGE}'"
        )
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(cache)]
    try:
        done = subprocess.run(
            [npm, "install", *options, f"{_PACKAGE}@{_KNOWN}"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"npm did not fetch {_PACKAGE} within {_SECONDS} s") from None
    if done.returncode:
        raise ExportError(f"npm could not fetch {_PACKAGE}: {done.stderr.strip()[-500:]}")
    return cache / "node_modules" / _PACKAGE
