"""Reference models to copy: each file stands alone and takes the weights that PyTorch's users have."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

Config = TypeVar("Config")

__all__ = ["read_config"]


def read_config(kind: type[Config], path: str | os.PathLike[str], **settings: Any) -> Config:
    """Read the sizes of a model from Hugging Face's ``config.json``.

    Args:
        kind: a config class of this folder, such as ``BertConfig``; it has defaults for what the file lacks.
        path: of the file.
        settings: what to take instead of the file's values, as ``kind`` takes it.

    Returns:
        The config.

    Raises:
        ValueError: the file asks for something that the model does not compute.
    """
    stored = json.loads(Path(path).read_text())
    rope = stored.get("rope_parameters")  # newer files say there what older ones say in two places
    if rope is not None:
        stored |= {"rope_theta": rope.get("rope_theta", 10000.0), "rope_scaling": rope}
    if "id2label" in stored:
        stored.setdefault("num_labels", len(stored["id2label"]))
    known: Any = {field.name for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    return kind(**({name: stored[name] for name in known & stored.keys()} | settings))
