"""What lies in a directory of checkpoints, or in a file of arrays, as a table."""

from datetime import datetime
from pathlib import Path
from typing import Any

from funcnet.checkpoint.files.formats import open_arrays
from funcnet.checkpoint.runs.directory import list_steps, step_folder
from funcnet.checkpoint.runs.metric import best_step
from funcnet.checkpoint.runs.saved import Saved, damage_in, open_saved
from funcnet.core.files import readable_bytes

__all__ = ["describe_path"]


def describe_path(
    path: Path, check: bool = False, best: str | None = None, mode: str | None = None
) -> str:
    """Describe a directory of checkpoints (a line for each step), one of its steps, or a file of arrays.

    Args:
        path: of the directory or file.
        check: whether to read all numbers and meet their checksums too.
        best: the metric whose best step is marked.
        mode: which values of it are good; see `Checkpointer`.

    Raises:
        ValueError: there is nothing to describe; the message says what was expected.

    Example:
        >>> _ = fn.checkpoint.save("a.safetensors", {"w": np.ones((2, 3), np.float32), "b": jnp.ones(1)})
        >>> print(describe_path(Path("a.safetensors")))
        array  dtype    shape   size
        w      float32  (2, 3)  24 B
        b      float32  (1,)     4 B
        2 arrays, 28 B
    """
    if path.is_file():
        return _describe_file(path)
    steps = list_steps(path)
    if steps:
        return _describe_steps(path, steps, check, best, mode)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise ValueError(
            f"{path} holds no steps and no safetensors files: give a Checkpointer's directory, a step's, or a file"
        )
    return "\n\n".join(f"{file.name}\n{_describe_file(file)}" for file in files)


def _describe_file(path: Path) -> str:
    arrays = open_arrays(path)
    rows = [
        [name, str(array.dtype), str(array.shape), readable_bytes(array.nbytes)]
        for name, array in arrays.items()
    ]
    total = (
        f"{len(arrays)} arrays, {readable_bytes(sum(array.nbytes for array in arrays.values()))}"
    )
    return f"{_table(['array', 'dtype', 'shape', 'size'], rows, right='size')}\n{total}"


def _describe_steps(
    directory: Path, steps: list[int], check: bool, best: str | None, mode: str | None
) -> str:
    found = {step: _state_of(step_folder(directory, step), check) for step in steps}
    whole = [state for state in found.values() if isinstance(state, Saved)]
    metrics = sorted({name for saved in whole for name in saved.metrics})
    if best is not None and best not in metrics:
        raise ValueError(
            f"no step has a metric {best!r}; there are: {', '.join(metrics) or 'none'}"
        )
    marked = {max((saved.step for saved in whole), default=None): "latest"}
    for metric in metrics if best is None else [best]:
        step = best_step({saved.step: saved.metrics for saved in whole}, metric, mode)
        mark = f"best {metric}"
        marked[step] = f"{marked[step]}, {mark}" if step in marked else mark
    rows = [
        _row(step, step_folder(directory, step), state, metrics, marked.get(step, ""))
        for step, state in found.items()
    ]
    return _table(["step", "state", "size", "when", *metrics], rows, right="step size")


def _state_of(path: Path, check: bool) -> Saved | str:
    try:
        saved = open_saved(path)
    except (ValueError, OSError) as error:
        return str(error)
    return (damage_in(path) if check else None) or saved


def _row(step: int, path: Path, state: Saved | str, metrics: list[str], mark: str) -> list[str]:
    size = readable_bytes(sum(file.stat().st_size for file in path.iterdir() if file.is_file()))
    if isinstance(state, str):
        return [str(step), f"NOT WHOLE: {state}", size, "", *("" for _ in metrics)]
    marks = f"whole, {mark}" if mark else "whole"
    numbers = [_number(state.metrics.get(name)) for name in metrics]
    return [str(step), marks, size, _local(state.when), *numbers]


def _local(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.6g}"


def _table(head: list[str], rows: list[list[str]], right: str) -> str:
    """Line up columns, two blanks apart; those named in ``right`` at their right ends."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    to_right = [name in right.split() for name in head]
    return "\n".join(
        "  ".join(
            text.rjust(width) if flag else text.ljust(width)
            for text, width, flag in zip(line, widths, to_right, strict=True)
        ).rstrip()
        for line in lines
    )
