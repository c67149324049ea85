"""Say how the arguments of a function here differ from those that PyTorch's function of that name has."""

import inspect
from typing import Any

from docs.generation.dictionary.torch_names import TorchName

__all__ = ["differences"]

ALIKE = {
    "func": "fun", "in_dims": "in_axes", "out_dims": "out_axes", "collate_fn": "collate", "prefetch_factor": "prefetch",
    "padded_sequences": "padded", "modules": "originals", "parameters_and_buffers": "arrays", "model": "module",
    "parameter_and_buffer_dicts": "arrays", "process_group": "axis_name", "parameters": "grads", "v": "tangents",
    "inputs": "primals", "mapping": "patterns", "modules_to_fuse": "names", "lr_lambda": "function",
}  # fmt: skip
"""What arguments are called here."""

COMMON = frozenset(
    [
        "device",
        "inplace",
        "dtype",
        "params",
        "foreach",
        "fused",
        "capturable",
        "differentiable",
        "optimizer",
        "last_epoch",
    ]
)
"""Arguments that are never there: a page says why once."""

GONE = {
    "generator": "a seed or a key decides",
    "create_graph": "derivatives of derivatives need no flag",
    "strict": "`fn.strict` checks it",
    "unsafe": "nothing is changed in place",
    "error_if_nonfinite": "look at the norm",
    "out": "results are returned",
    "tie_weights": "tying is assignment",
    "pin_memory": "`data.prefetch_to_device` copies ahead",
    "pin_memory_device": "as above",
    "worker_init_fn": "a transform's `rng` is of its sample",
    "multiprocessing_context": "`workers='process'`",
    "in_order": "batches come in order",
    "randomness": "keys decide",
    "min_value": "`min_val=`",
    "max_value": "`max_val=`",
}
"""Why an argument is not there."""

LIMIT = 8
"""How many arguments a row tells of; with more, it shows those that the function has."""


def differences(name: TorchName, value: Any) -> str:
    """Return what a user of PyTorch has to know of the arguments, in Markdown; "" if they are the same."""
    ours = _ours(value)
    theirs = name.arguments
    if ours is None or theirs is None or any(part.startswith("*") for part in theirs):
        return ""
    renamed = {a: b for a, b in ALIKE.items() if a in theirs and a not in ours and b in ours}
    gone = [a for a in theirs if a not in ours and a not in renamed and a[0] != "_"]
    added = [a for a in ours if a not in theirs and a not in renamed.values()]
    rare = [a for a in gone if a not in COMMON]
    if len(rare) > LIMIT or (rare and added and next(iter(ours)) in added):
        return f"takes `({_written(ours)})`"
    said = [f"`{old}=` is `{new}=`" for old, new in renamed.items()]
    if gone:
        said.append("without " + ", ".join(_gone(argument) for argument in gone))
    if added:
        more = "`" + "=`, `".join(added[:LIMIT]) + "=`" + (", …" if len(added) > LIMIT else "")
        said.append(f"also {more}")
    return "; ".join(said)


def _gone(argument: str) -> str:
    return f"`{argument}=`" + (f" ({GONE[argument]})" if argument in GONE else "")


def _written(ours: dict[str, inspect.Parameter]) -> str:
    names = [n if p.default is p.empty else f"{n}=" for n, p in ours.items()]
    return ", ".join(names[:LIMIT]) + (", ..." if len(names) > LIMIT else "")


def _ours(value: Any) -> dict[str, inspect.Parameter] | None:
    if not callable(value):
        return None
    try:
        found = inspect.signature(value).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in found.values()):
        return None
    return {name: p for name, p in found.items() if name[0] != "_"}
