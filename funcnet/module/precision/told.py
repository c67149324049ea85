"""What a summary tells of dtypes: what a layer's arrays have, what it computes in, and who widened."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import jax

from funcnet.module.layout import Layout
from funcnet.module.module import Module, binding_of
from funcnet.module.precision.policy import PrecisionPolicy, is_real

__all__ = ["Dtypes", "stored_in"]


def stored_in(arrays: list[Any]) -> str:
    """Name the dtypes of arrays, most numbers first.

    >>> import numpy as np
    >>> from funcnet.module.precision.told import stored_in
    >>> stored_in([np.zeros((), np.int32), np.zeros(3, np.float32)])
    'float32 and int32'
    """
    count: Counter[str] = Counter()
    for array in arrays:
        count[array.dtype.name] += array.size
    return " and ".join(name for name, _ in count.most_common())


@dataclass
class Dtypes:
    """What a call of a model in mixed precision shows of its layers.

    Attributes:
        precision: of the model; None if it has none.
        layout: of the model.
        wide: the layers of 16 bits that were called with, or returned, floats of 32, by path.
    """

    precision: PrecisionPolicy | None
    layout: Layout
    wide: dict[str, str] = field(default_factory=dict)

    def note(self, path: str, module: Module, output: Any) -> None:
        """Note what a module was given and what it returned."""
        if self.precision is None or path in self.precision.modules:
            return
        binding = binding_of(module, "is summarised")
        rounding = binding.scope.rounding
        compute = self.precision.compute
        within = f"{path}." if path else ""
        found = [
            leaf for leaf in jax.tree.leaves(output) if is_real(leaf) and leaf.dtype != compute
        ]
        if path and rounding is not None and binding.path in rounding.given_wide:
            self.wide[path] = f", given {rounding.given_wide[binding.path]}"
        if found and not any(
            told.startswith(", returns") and below.startswith(within)
            for below, told in self.wide.items()
        ):
            self.wide[path] = self.wide.get(path, "") + f", returns {found[0].dtype.name}"

    def told(self, path: str) -> str:
        """Say in which dtype a module computes, and what is odd about it."""
        if self.precision is None:
            return ""
        kind = self.precision.modules.get(path, "any")
        return (self.precision.compute.name if kind == "any" else "float32") + self.wide.get(
            path, ""
        )
