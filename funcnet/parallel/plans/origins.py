"""Where an instruction comes from: the layer, by the scopes around it, and the line of Python."""

import os
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from funcnet.core.paths import join
from funcnet.parallel.plans.program_text import SourceLine

__all__ = ["layer_of", "line_of", "without_numbers"]

LIBRARY = str(Path(__file__).parents[2]) + os.sep
HERE = str(Path(__file__).parent) + os.sep

# what JAX writes between scopes for its loops, choices, calls and rematerialisation
_STRUCTURE = re.compile(
    r"while|body|cond|scan|closed_call|eval_jaxpr|core_call|checkpoint|remat2?|rematted_computation|shard_map"
    r"|custom_(jvp|vjp)_call(_jaxpr)?|branch_\d+_fun|pjit|jit|vmap"
)


def layer_of(name: str) -> str:
    """Find the dotted path of the module that an operation belongs to.

    Args:
        name: ``op_name`` of its metadata: scopes joined by ``/``, with transforms around them, such as
            ``jit(step)/transpose(jvp(Net))/blocks/while/body/Block/mlp/dot_general``.

    Returns:
        ``"blocks.module.mlp"`` for the example; ``""`` outside of any module; of an argument its dotted path.
        Of several operations that XLA joined, the path that they share, or the first's and the last's.
    """
    layers = [layer for one in _alternatives(name.partition(";")[0]) if (layer := _layer(one))]
    parts = [layer.split(".") for layer in layers]
    shared = [ones[0] for ones in takewhile(_agree, zip(*parts, strict=False))]
    return ".".join(shared) if shared or not layers else f"{layers[0]} … {layers[-1]}"


def _agree(parts: Sequence[str]) -> bool:
    return len(set(parts)) == 1


def _alternatives(name: str) -> list[str]:
    """Split ``jit(step)/(a/mul:b/mul)``, the name of what XLA joined."""
    first, _, rest = name.partition("/(")
    if not rest.endswith(")"):
        return [name]
    return [f"{first}/{one}" for one in _split(rest[:-1], ":")]


def _layer(name: str) -> str:
    if "/" not in name:
        return ".".join(re.findall(r"[^\[\].']+", name))
    base = scope = root = ""
    fresh = True  # at the start, and within a loop or transform, the first scope is a class's name
    for part in _scopes(name)[:-1]:
        if part is None:
            fresh = True
        elif fresh and part[:1].isupper() and "." not in part:
            # a derivative within a derivative begins at the model again
            base = join(base, scope, "module") if root and part != root else ""
            scope, root, fresh = "", root or part, False
        else:
            scope, fresh = part, False
    return join(base, scope)


def _scopes(name: str) -> list[str | None]:
    """Split a name into scopes without transforms; None stands for JAX's own words."""
    parts: list[str | None] = []
    for piece in _split(name):
        transform, bracket, inner = piece.partition("(")
        if not bracket:
            parts.append(None if _STRUCTURE.fullmatch(piece) or "->" in piece else piece)
        elif transform not in ("jit", "pjit") and inner[:-1]:
            parts += [None, *_scopes(inner[:-1])]
    return parts


def _split(name: str, at: str = "/") -> list[str]:
    """Split where a character is not in brackets."""
    pieces, depth = [""], 0
    for character in name:
        depth += (character == "(") - (character == ")")
        if character == at and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces


def line_of(lines: Sequence[SourceLine], step: str = "") -> str:
    """Choose the line to show: the innermost outside of funcnet, within the step.

    Args:
        lines: innermost first.
        step: the qualified name of the step's function: what lies outside of it only called it.

    Returns:
        ``"file.py:12"``; ``""`` if no line is known.
    """
    inside = _within(lines, step)
    theirs = [line for line in inside if not line.file.startswith(LIBRARY)]
    chosen = (theirs or inside)[:1]
    return f"{_short(chosen[0].file)}:{chosen[0].line}" if chosen else ""


def _within(lines: Sequence[SourceLine], step: str) -> list[SourceLine]:
    kept: list[SourceLine] = []
    for line in lines:
        if line.file.startswith(HERE) or line.function == "<module>":
            break
        kept.append(line)
        if step and line.function == step:
            break
    return kept


def _short(file: str) -> str:
    path = Path(file)
    if file.startswith(LIBRARY):
        return path.relative_to(Path(LIBRARY).parent).as_posix()
    inside = path.is_relative_to(Path.cwd())
    return path.relative_to(Path.cwd()).as_posix() if inside else "/".join(path.parts[-2:])


def without_numbers(path: str) -> str:
    """Put stars for the numbers in a dotted path, so that repeated layers have one name."""
    return ".".join("*" if part.isdigit() else part for part in path.split("."))
