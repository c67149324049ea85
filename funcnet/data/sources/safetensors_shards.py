"""Safetensors files as one dataset, mapped into memory."""

import errno
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from funcnet.core.safetensors_format import read_header
from funcnet.data.datasets.arrays import ArrayDataset
from funcnet.data.datasets.concat import ConcatDataset

__all__ = ["safetensors_shards"]


def safetensors_shards(paths: str | Path | Sequence[str | Path]) -> ArrayDataset | ConcatDataset:
    """Open safetensors files as a dataset, mapped into memory: nothing is read before it is needed.

    Args:
        paths: one file or several; each holds arrays of the same names, whose first axis is the
            samples.

    Returns:
        A dataset of dicts, the files one after the other.

    Raises:
        ValueError: a file is not of this format, is damaged, or has a type that NumPy lacks.

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import save_file
        >>> path = tempfile.mkdtemp() + "/0.safetensors"
        >>> save_file({"x": np.arange(6.0).reshape(3, 2), "y": np.arange(3)}, path)
        >>> data.safetensors_shards(path)[2]["x"]
        array([4., 5.])

    Reference:
        https://github.com/huggingface/safetensors, section "Format".
    """
    several = [paths] if isinstance(paths, (str, Path)) else list(paths)
    parts = []
    for path in several:
        try:
            parts.append(ArrayDataset(_map_safetensors(Path(path))))
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            raise OSError(
                errno.EMFILE,
                f"each of the {len(several)} files takes a descriptor while it is mapped, and there are"
                " no more: raise the limit (ulimit -n) or merge files",
                str(path),
            ) from error
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


def _map_safetensors(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        entries, _ = read_header(file, path)
    # One map for all arrays of a file: each takes a descriptor.
    whole = np.memmap(path, np.uint8, "r")
    return {
        name: np.frombuffer(whole[entry.begin : entry.end], entry.dtype).reshape(entry.shape)
        if entry.begin < entry.end
        else np.zeros(entry.shape, entry.dtype)
        for name, entry in entries.items()
    }
