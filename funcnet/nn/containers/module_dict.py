"""Modules by name."""

from collections.abc import Iterable, Mapping

from funcnet.module import Module
from funcnet.nn.containers.base import DictOfParts

__all__ = ["ModuleDict"]


class ModuleDict(DictOfParts):
    """Hold modules by name.

    Args:
        modules: a mapping, or pairs of name and module.

    >>> heads = nn.ModuleDict({"class": nn.Linear(8, 10), "box": nn.Linear(8, 4)})
    >>> list(heads), heads["box"].out_features
    (['class', 'box'], 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleDict.html
    """

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        if modules is not None:
            self.update(modules)
