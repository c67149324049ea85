"""What a program sends between devices, read from its text."""

import math
import re
from typing import Any, NamedTuple

BYTES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "pred": 1, "i32": 4, "i1": 1}
KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"


class Collective(NamedTuple):
    """One exchange between devices: what kind, of what, how many bytes, and where it stands."""

    kind: str
    dtypes: tuple[str, ...]
    bytes: int
    in_loop: bool
    in_branch: bool


def compiled_collectives(text: str) -> list[Collective]:
    """List the collectives of a compiled program: `jit(f).lower(...).compile().as_text()`."""
    lines: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if opened := re.match(r"\s*(?:ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{\s*$", line):
            name = opened[1]
        lines.setdefault(name, []).append(line)
    in_loop, in_branch = _reached(lines, _LOOP), _reached(lines, _BRANCH)
    found = []
    for name, body in lines.items():
        for line in body:
            if match := re.search(rf"= (.*?) ({KINDS})(?:-start)?\(", line):
                shapes = re.findall(r"(\w+)\[([\d,]*)\]", match[1])
                size = sum(_size(dtype, dims.split(",")) for dtype, dims in shapes)
                dtypes = tuple(dtype for dtype, _ in shapes)
                places = (name in in_loop, name in in_branch)
                found.append(Collective(match[2], dtypes, size, *places))
    return found


_LOOP = r"(?:body|condition)=(%?[\w.\-]+)"
_BRANCH = r"(?:true_computation|false_computation)=(%?[\w.\-]+)|branch_computations=\{([^}]*)\}"
_CALL = r"(?:to_apply|calls)=(%?[\w.\-]+)"


def _reached(lines: dict[str, list[str]], edge: str) -> set[str]:
    """Name the computations that are called from a loop, or from a branch."""
    texts = {name: "\n".join(body) for name, body in lines.items()}
    found: set[str] = set()
    pending = set().union(*(_names(edge, text) for text in texts.values()))
    while pending:
        found |= pending
        reached = [_names(rf"{_CALL}|{_LOOP}|{_BRANCH}", texts.get(name, "")) for name in pending]
        pending = set().union(*reached) - found
    return found


def _names(pattern: str, text: str) -> set[str]:
    groups = [" ".join(match.groups(default="")) for match in re.finditer(pattern, text)]
    return set(re.findall(r"[\w.\-]+", " ".join(groups)))


def lowered_collectives(traced: Any, platform: str = "cuda") -> list[Collective]:
    """List the all-reduces that a traced program asks for on another platform.

    Those that the program writes itself, inside of `jax.shard_map`, with the dtypes that travel: on CPUs XLA
    adds up in float32 what is asked for in 16 bits.
    """
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    found = []
    for match in re.finditer(r'"stablehlo\.all_reduce".*?\}\) : \(([^)]*)\)', text, re.DOTALL):
        tensors = [t.split("x") for t in re.findall(r"tensor<([^>]*)>", match[1])]
        size = sum(_size(dims[-1], dims[:-1]) for dims in tensors)
        found.append(Collective("all-reduce", tuple(t[-1] for t in tensors), size, False, False))
    return found


def _size(dtype: str, dims: list[str]) -> int:
    return BYTES[dtype] * math.prod(int(n) for n in dims if n)
