"""Read PyTorch's names and arguments from the file that `collect` writes."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["FILE", "TorchName", "torch_names", "torch_version"]

FILE = Path(__file__).with_name("torch_names.txt")


@dataclass(frozen=True)
class TorchName:
    """One public name of PyTorch.

    Attributes:
        package: ``torch.nn``.
        name: ``Linear``.
        arguments: names of its arguments and their defaults as they are written, "" where there is none; None where
            PyTorch does not tell them.
    """

    package: str
    name: str
    arguments: dict[str, str] | None


@cache
def torch_names() -> dict[str, tuple[TorchName, ...]]:
    """Return the names by package."""
    found: dict[str, list[TorchName]] = {}
    package = ""
    for line in FILE.read_text().splitlines()[1:]:
        if line.startswith("["):
            package = line.strip("[]")
            found[package] = []
        elif line:
            name, opened, rest = line.partition("(")
            arguments = _arguments(rest[:-1]) if opened else None
            found[package].append(TorchName(package, name, arguments))
    return {package: tuple(names) for package, names in found.items()}


def torch_version() -> str:
    """Return the version of PyTorch that the file is of."""
    return FILE.read_text().split()[1]


def _arguments(text: str) -> dict[str, str]:
    parts: list[str] = []
    depth = 0
    for part in text.split(", "):  # a default may be a tuple
        if depth:
            parts[-1] += f", {part}"
        elif part:
            parts.append(part)
        depth += sum(map(part.count, "([")) - sum(map(part.count, ")]"))
    return {name: default for name, _, default in (part.partition("=") for part in parts)}
