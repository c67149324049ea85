"""Weights in files, under PyTorch's names, readable by PyTorch and Hugging Face tools, and theirs here."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.checkpoint.arrays import PYTORCH_SUFFIXES, cast, floating, listed, save_arrays
from funcnet.checkpoint.files.formats import open_selected
from funcnet.checkpoint.files.stored_array import StoredArray
from funcnet.checkpoint.names import renamed, selected_names
from funcnet.core.aliases import Params, State
from funcnet.core.checks import check_choice
from funcnet.core.errors import StateDictError
from funcnet.core.files import as_path
from funcnet.module import Module, load_state_dict, state_dict
from funcnet.module.description import layout_of
from funcnet.module.state_dict import all_names, match_state_dict, other_names

__all__ = ["load_weights", "save_weights"]


def save_weights(
    path: str | os.PathLike[str],
    module: Module,
    params: Params,
    state: State | None = None,
    *,
    ties: str = "once",
    metadata: Mapping[str, str] | None = None,
    shard_bytes: int | str | None = None,
) -> Path:
    """Save a model's arrays so that PyTorch loads them strictly.

    Without tied parameters any of PyTorch's ways reads any file. With them a safetensors file, in which no two names
    can share bytes, stores a tied parameter

    - ``ties="once"``: under its first name, and the metadata tell the others, ``{"decoder.weight":
      "encoder.weight"}``. ``safetensors.torch.load_model(net, path)`` reads it, and Hugging Face's ``from_pretrained``;
    - ``ties="every name"``: ``net.load_state_dict(safetensors.torch.load_file(path))`` reads it.

    In a ``.pt`` file all names share one storage: ``net.load_state_dict(torch.load(path, weights_only=True))``.
    `load_weights` reads all of them.

    Args:
        path: of the file: a safetensors file, or PyTorch's format for ``.pt``, ``.pth`` and ``.bin``.
        module: the description that the trees belong to.
        params: the trained arrays.
        state: the buffers, such as batch norm's statistics; a model without any needs none.
        ties: how often a tied parameter is stored in a safetensors file, ``"once"`` or ``"every name"``.
        metadata: text to keep in the file's header, as for `save_arrays`.
        shard_bytes: how many bytes of arrays a file may hold, as for `save_arrays`.

    Returns:
        The path.

    Raises:
        StateDictError: the trees are not those of the module, or it has buffers and ``state`` is not given.
        TypeError: a value is no array, or has a dtype that the format lacks.
        ValueError: ``ties`` is something else.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> path = fn.checkpoint.save_weights("runs/model.safetensors", layer, params, state)
        >>> params, state = fn.checkpoint.load_weights(path, layer)

    Reference: https://huggingface.co/docs/safetensors/torch_shared_tensors
    """
    check_choice("ties", ties, ("once", "every name"))
    path = as_path(path)
    arrays = state_dict(module, params, state)
    if state is None:
        _need_no_state(module)
    if ties == "once" and Path(path).suffix not in PYTORCH_SUFFIXES:
        dropped = {other: kept for other, kept in other_names(module).items() if other in arrays}
        arrays = {name: array for name, array in arrays.items() if name not in dropped}
        metadata = {**dropped, **(metadata or {})}
    return save_arrays(path, arrays, metadata, shard_bytes=shard_bytes)


def _need_no_state(module: Module) -> None:
    """Refuse to leave out buffers without which the file would not load again."""
    left_out = [path for path, spec in layout_of(module).buffers.items() if not spec.optional]
    if left_out:
        raise StateDictError(
            f"the file would lack the model's buffers, {', '.join(left_out)}: write "
            "save_weights(path, module, params, state); parameters alone: "
            "save_arrays(path, fn.state_dict(module, params))"
        )


def load_weights(
    path: str | os.PathLike[str],
    module: Module,
    strict: bool = True,
    *,
    rename: Mapping[str, str | None] | None = None,
    select: str | Iterable[str] | None = None,
    dtype: Any = None,
    default: tuple[Params, State] | None = None,
) -> tuple[Params, State]:
    """Load the arrays of a model from a file, whoever wrote it.

    Args:
        path: of a safetensors file, an index of several, a file of ``torch.save``, or the folder of a model.
        module: the description to fit them to.
        strict: raise if a name is missing or left over.
        rename: patterns of the file's names to those of the module, ``{"model.layers.*": "blocks.*"}``. Each ``*``
            matches any text (as little as it can) and fills the one of the same place in the new name. Of several
            patterns that match a name, the first counts; what becomes None is left out on purpose.
        select: patterns of the file's names to take, before any is renamed; None takes all.
        dtype: of floating-point arrays, whatever they are stored in.
        default: ``(params, state)`` that give the values of missing names when not strict, such as ``net.init(key)``.

    Returns:
        ``(params, state)``.

    Raises:
        FileNotFoundError: there is no such file.
        StateDictError: the names or shapes do not fit; all are listed, with what may be meant.
        ValueError: it is another kind of file, is cut off or damaged; a pattern matches nothing; two names become one.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> path = fn.checkpoint.save_arrays("w.safetensors", {"fc.weight": np.ones((2, 3), np.float32),
        ...                                                    "fc.bias": np.zeros(2, np.float32)})
        >>> params, state = fn.checkpoint.load_weights(path, layer, rename={"fc.*": "*"})
        >>> params["weight"].shape
        (2, 3)
    """
    patterns = listed(select)
    other_names(module)  # whether it is one
    stored = open_selected(path, patterns)
    places = _places(stored, module, rename, patterns, path)
    match_state_dict(module, places, strict, str(path))  # before anything is read
    try:
        return load_state_dict(module, _Reading(places, floating(dtype)), strict, default=default)
    except StateDictError as error:
        raise StateDictError(f"{path}: {error}") from None


def _places(
    stored: Mapping[str, StoredArray],
    module: Module,
    rename: Mapping[str, str | None] | None,
    select: list[str] | None,
    path: Any,
) -> dict[str, StoredArray]:
    """Find the arrays of a file by the module's names; a tied one, stored once, under those that the module needs."""
    notes: Mapping[str, str] = getattr(stored, "metadata", {})
    ties = {other: kept for other, kept in notes.items() if kept in stored and other not in stored}
    names = selected_names([*stored, *ties], select, path)
    new = renamed(names, rename, path, ties.keys())
    places = {new[old]: stored[old] for old in names if old in new and old not in ties}
    firsts, known = other_names(module), all_names(module)
    held = {firsts.get(name, name) for name in places}
    for old, kept in ties.items():
        name = new.get(old)
        if name in known and firsts.get(name, name) not in held:
            places[name] = stored[kept]
    return places


class _Reading(Mapping[str, np.ndarray]):
    """Arrays that are read when they are asked for, so that one at a time lies in memory twice."""

    def __init__(self, places: Mapping[str, StoredArray], dtype: Any) -> None:
        self._places = places
        self._dtype = dtype

    def __getitem__(self, name: str) -> np.ndarray:
        return cast(self._places[name].read(), self._dtype)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
