"""save and load: any pytree in one safetensors file."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from funcnet.checkpoint.arrays import PYTORCH_SUFFIXES
from funcnet.checkpoint.files.formats import open_arrays
from funcnet.checkpoint.files.safetensors_file import write_safetensors
from funcnet.checkpoint.trees.loading import SavedTree
from funcnet.checkpoint.trees.pieced_array import PiecedArray
from funcnet.checkpoint.trees.structure import take_apart
from funcnet.core.aliases import PyTree
from funcnet.core.files import as_path

__all__ = ["load", "save"]

STRUCTURE = "funcnet.tree"
"""The metadata's entry that describes the tree."""


def save(
    path: str | os.PathLike[str], tree: PyTree, *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write any pytree to one safetensors file, whole or not at all.

    Its arrays lie there under dotted names (``params.blocks.0.weight``, ``opt_state.exp_avg.blocks.0.weight``),
    which any reader of safetensors opens; what else belongs to the tree is JSON in the file's metadata. An array
    that stands in several places is written once.

    Args:
        path: of the file; missing folders are made.
        tree: dicts, lists, tuples, named tuples and classes registered with JAX, such as a `TrainState`, of arrays
            of JAX and NumPy, random keys, Python's and NumPy's numbers, text, bytes and None.
        metadata: text by name, to keep beside the tree.

    Returns:
        The path.

    Raises:
        TypeError: something in the tree cannot be saved; the message says where, and what to write instead.
        ValueError: the path is named as PyTorch's files are, or an array's memory was donated, or lies on devices of
            other processes.

    Example:
        >>> tree = {"layers": [{"weight": jnp.ones((2, 2))}], "key": jax.random.key(0), "lr": 0.1}
        >>> path = fn.checkpoint.save("tree.safetensors", tree)
        >>> fn.checkpoint.load(path)["layers"][0]["weight"].shape
        (2, 2)

    Reference: https://huggingface.co/docs/safetensors
    """
    if as_path(path).suffix in PYTORCH_SUFFIXES:
        raise ValueError(
            f"{path} is named as a file of PyTorch, and this would be one of safetensors: name it .safetensors; "
            "save_weights and save_arrays write PyTorch's format"
        )
    structure, arrays = take_apart(tree)
    for name, array in arrays.items():
        if not getattr(array, "is_fully_addressable", True):
            raise ValueError(
                f"{name} lies on devices of other processes too: checkpoint.Checkpointer(folder).save(step, tree) "
                "writes each process's part"
            )
    reserved = [name for name in metadata or {} if name.startswith("funcnet.")]
    if reserved:
        raise ValueError(f"names of metadata do not begin with 'funcnet.'; got {reserved[0]!r}")
    described = json.dumps({"version": 1, "tree": structure}, separators=(",", ":"))
    return write_safetensors(path, arrays, {**(metadata or {}), STRUCTURE: described})


def load(
    path: str | os.PathLike[str],
    like: PyTree = None,
    *,
    select: str | Iterable[str] | None = None,
    strict: bool = True,
    classes: Iterable[type] = (),
    dtype: Any = None,
) -> PyTree:
    """Read a pytree that `save` wrote, as it was or into a template.

    No code is run, and no module imported, because a file names it. Without a template, named tuples and
    registered dataclasses of funcnet (if imported) and of ``classes`` come back as themselves, others as named
    tuples of the same name and fields; any other registered class needs a template. With one, leaves are matched by
    their dotted names, and each takes the kind (JAX, NumPy, number) and the sharding of the template's leaf: no
    device gets more of an array than its own part.

    Args:
        path: of the file.
        like: a tree built as the saved one was, of arrays or of `jax.ShapeDtypeStruct`, such as
            ``jax.eval_shape(create)`` gives; its values do not matter.
        select: a glob or several (``"encoder.*"``); only leaves whose names match are read. The others are as in
            the template; without one they are left out of dicts, and None in other containers.
        strict: raise for leaves that are missing, left over or of another shape or dtype. Otherwise what fits is
            taken, and a warning lists the rest, which stays as in the template.
        classes: named tuples and dataclasses that may be made again without a template.
        dtype: None: arrays keep the saved dtype, which must be the template's. ``"like"``: they are cast to the
            template's, floats to floats and integers to integers that hold them. A float dtype: all floats are
            cast to it.

    Returns:
        The tree.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or holds no tree, or has a part that needs a template.
        TreeMismatchError: it does not fit the template; everything that differs is listed.

    Warns:
        UserWarning: something did not fit, and ``strict`` is false.

    Example:
        >>> path = fn.checkpoint.save("run.safetensors", {"encoder": {"w": jnp.ones(2)}, "head": jnp.zeros(3)})
        >>> fn.checkpoint.load(path, select="encoder.*")
        {'encoder': {'w': Array([1., 1.], dtype=float32)}}
        >>> template = {"encoder": {"w": np.zeros(2, np.float32)}, "head": jnp.zeros(3)}
        >>> fn.checkpoint.load(path, template)["encoder"]["w"]
        array([1., 1.], dtype=float32)
    """
    return _opened(path).load(like, select, strict, classes, dtype)


def _opened(path: str | os.PathLike[str]) -> SavedTree:
    file = open_arrays(path)
    metadata: Mapping[str, str] = getattr(file, "metadata", {})
    if STRUCTURE not in metadata:
        raise ValueError(
            f"{path} holds arrays without a tree's structure: read them with checkpoint.load_arrays(path), or a "
            "model's weights with checkpoint.load_weights(path, module)"
        )
    if any(array.checksum is None for array in file.values()):
        raise ValueError(
            f"{path} is damaged, or was written anew by another program: the checksums that belong to its tree are "
            "missing"
        )
    return SavedTree(
        os.fspath(path),
        read_structure(metadata[STRUCTURE], os.fspath(path)),
        lambda name: PiecedArray.whole(f"{path}: {name}", file[name]) if name in file else None,
    )


def read_structure(text: str, origin: str) -> Any:
    """Read the JSON that describes a tree.

    >>> read_structure('{"version": 1, "tree": {"list": [1]}}', "a file")
    {'list': [1]}
    """
    try:
        content = json.loads(text)
        version, structure = content["version"], content["tree"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(
            f"{origin} is damaged: the description of its tree cannot be read"
        ) from None
    if version != 1:
        raise ValueError(
            f"{origin} was written by a newer funcnet (version {version}): update funcnet"
        )
    return structure
