"""Read an artifact of unknown origin in a process of its own, which may die of it.

Sums of the bytes find damage, and no malice: whoever makes a file to harm can compute them. MLIR's parser, which is
part of jaxlib, is not made for hostile bytes: among a few hundred programs with bytes changed at random some ended the
process or kept it busy for minutes. A child that reads and compiles all programs meets most of that first. It shows
that they can be read and compiled, not that they do what their author says, and it is no sandbox.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from funcnet.core.errors import ExportError
from funcnet.export.artifact.loaded import Artifact

__all__ = ["compile_all", "probe", "digest_of"]

_SECONDS = 300.0


def digest_of(manifest: bytes) -> str:
    """Return the sum of a manifest, which holds those of all other members."""
    return hashlib.sha256(manifest).hexdigest()


def probe(path: Path, *, compiles: bool = True, seconds: float = _SECONDS) -> str:
    """Have another process read a file and compile its programs.

    Args:
        path: of the file.
        compiles: whether programs are compiled, or read only.
        seconds: that it may take.

    Returns:
        The sum of the manifest of what was read.

    Raises:
        ExportError: the process refused the file, died of it or did not come to an end.
    """
    command = [sys.executable, "-m", "funcnet.export.artifact.probing", str(path.resolve())]
    command += ["compile"] if compiles else []
    # the child finds the package where this process has it, wherever both were started
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    settings = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "XLA_FLAGS": flags.strip(),
    }
    try:
        done = subprocess.run(
            command, env=settings, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"a process that read it did not end within {seconds:g} seconds"
        ) from None
    if done.returncode == 0:
        return done.stdout.split()[-1]
    if done.returncode == _REFUSED:
        raise ExportError(done.stderr.strip().splitlines()[-1])
    raise ExportError(
        f"a process that read its programs died of them (exit code {done.returncode}): do not load it"
    )


_REFUSED = 3


def compile_all(artifact: Artifact) -> None:
    """Compile every program, at 1 for lengths that are open; none is run.

    Raises:
        ExportError: XLA refuses one.
    """
    for function in artifact.functions.values():
        function.compile()


def _probe_here(path: str, *wishes: str) -> int:
    """Read a file, and compile it if that is wished, and print the sum of its manifest."""
    from funcnet.export.artifact.loading import load

    try:
        artifact = load(path)
        if wishes:
            compile_all(artifact)
    except ExportError as error:
        sys.stderr.write(f"\n{' '.join(str(error).split())}\n")
        return _REFUSED
    sys.stdout.write(f"\n{artifact.digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_probe_here(*sys.argv[1:]))
