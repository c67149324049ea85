"""What a manifest says: functions, their arrays and programs, and the files of the artifact."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcnet.core.safetensors_format import DTYPES
from funcnet.export.specs import ArraySpec
from funcnet.export.trees import Description

__all__ = [
    "FileRecord",
    "FunctionRecord",
    "GradientRecord",
    "ArtifactManifest",
    "ProgramRecord",
    "dtype_name",
    "stored_dtype",
]

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class ProgramRecord:
    """One program of a function.

    Attributes:
        file: the member that holds it.
        platform: that it was lowered for.
        sizes: a number for each symbol; None where the symbols stay open.
        portable: whether it is free of custom calls, so that any platform may run it.
        checked: whether it was run and compared when it was written.
    """

    file: str
    platform: str
    sizes: Mapping[str, int] | None
    portable: bool
    checked: bool = True


@dataclass(frozen=True)
class GradientRecord:
    """The programs of a function's derivative: weights, inputs and cotangents in, gradients out.

    Attributes:
        weights: the names of the weights that have gradients, which come out first.
        inputs: the numbers of the inputs that have gradients, which come out next.
        outputs: the numbers of the outputs whose cotangents go in, after all inputs.
        programs: as for the function.
    """

    weights: tuple[str, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    programs: tuple[ProgramRecord, ...]


@dataclass(frozen=True)
class FunctionRecord:
    """A function: arrays in, arrays out.

    Attributes:
        weights: the names of the arrays of the model that it takes, in order.
        trainable: how many of them, from the first, are params; the rest is state.
        inputs: what it takes besides.
        outputs: what it returns.
        symbols: the names of open lengths.
        inputs_tree: how the tuple of inputs is made of arrays.
        outputs_tree: how what it returns is.
        returns_state: whether that is a pair of the output and the new state.
        programs: that compute it.
        gradient: its derivative, if it was asked for.
    """

    weights: tuple[str, ...]
    trainable: int
    inputs: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]
    symbols: tuple[str, ...]
    inputs_tree: Description
    outputs_tree: Description
    returns_state: bool
    programs: tuple[ProgramRecord, ...]
    gradient: GradientRecord | None = None


@dataclass(frozen=True)
class FileRecord:
    """A member of the archive: its length and the SHA-256 of its bytes."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class ArtifactManifest:
    """All that an artifact says of itself.

    Attributes:
        name: of the model.
        metadata: text by name, as its author wrote it.
        written_by: versions of what wrote it.
        functions: by name.
        params_tree: how params are made of arrays.
        state_tree: how state is.
        files: the members besides the manifest.
    """

    name: str
    metadata: Mapping[str, str]
    written_by: Mapping[str, str]
    functions: Mapping[str, FunctionRecord]
    params_tree: Description
    state_tree: Description
    files: Mapping[str, FileRecord]


def dtype_name(dtype: Any, what: str) -> str:
    """Return the file's name of a dtype.

    Raises:
        TypeError: files have no such dtype.
    """
    name = _NAMES.get(np.dtype(dtype))
    if name is None:
        raise TypeError(
            f"{what} has dtype {np.dtype(dtype)}, which cannot be stored; there are {', '.join(DTYPES)}"
        )
    return name


def stored_dtype(name: Any) -> np.dtype:
    """Return the dtype of a file's name.

    Raises:
        ValueError: there is no such dtype.
    """
    if not isinstance(name, str) or name not in DTYPES:
        raise ValueError(f"{str(name)[:40]!r} is no dtype; there are {', '.join(DTYPES)}")
    return DTYPES[name]
