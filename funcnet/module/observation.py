"""What `capture` and `intervene` do while a model runs, also where parts of it run inside a transform.

An `Observation` is shown every module's output. Inside a scan, a vmap or a checkpoint that a wrapper opens
(`nn.Repeat`, `nn.Remat`, …) a value cannot simply be noted: it would leak. There an observation of the
region notes it in a dict that the wrapper returns from the transform (`Observation.region`), and the values,
stacked by then, are handed to the observation around it (`Observation.take`), which at last gives each layer
of a stack its own name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.paths import join
from funcnet.module.layout import Layout
from funcnet.module.module import Module, binding_of

__all__ = ["Capture", "Edit", "Observation", "chosen_names"]

Seen = dict[tuple[int, str, int], Any]
"""The number of the step, the module's path and the number of its call, to the output."""


def chosen_names(layout: Layout) -> dict[str, tuple[str, ...]]:
    """Return the path of each module but the root to the names it can be chosen by: one a layer."""
    return {path: names for path, names in layout.module_names.items() if path}


class Step(Protocol):
    """One thing that is done with the outputs of the modules it has chosen."""

    @property
    def names(self) -> frozenset[str]:
        """The names it has chosen."""
        ...

    @property
    def patterns(self) -> Mapping[str, frozenset[str]]:
        """What the user wrote, and the names that it stands for."""
        ...


@dataclass(frozen=True)
class Capture:
    """Note the outputs of some modules."""

    names: frozenset[str]
    patterns: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Edit:
    """Replace the outputs of some modules by a function of them."""

    names: frozenset[str]
    patterns: Mapping[str, frozenset[str]]
    function: Callable[[Any], Any]


@dataclass
class Observation:
    """What is done with outputs in one call of a model, or in one region of it.

    Attributes:
        steps: in the order in which they are done.
        layout: of the whole model.
        prefix: the path in it of the module that this observation sees as its root.
        layer: in a region of a stack, the number of the layer, which is traced; else None.
        around: the bound module whose part this observes, where a part is applied on its own.
        seen: what is noted.
        met: the names that outputs were seen for.
        calls: how often each path was called.
    """

    steps: tuple[Capture | Edit, ...]
    layout: Layout
    prefix: str = ""
    layer: Any = None
    around: Any = None
    seen: Seen = field(default_factory=dict)
    met: set[str] = field(default_factory=set)
    calls: dict[str, int] = field(default_factory=dict)

    def __call__(self, path: str, module: Module, output: Any) -> Any:
        """Do every step that has chosen this module."""
        path = join(self.prefix, path)
        names = self.layout.module_names.get(path, (path,))
        self.met.update(names)
        self.calls[path] = count = self.calls.get(path, 0) + 1
        for number, step in enumerate(self.steps):
            layers = np.array([name in step.names for name in names])
            if not layers.any():
                continue
            if isinstance(step, Capture):
                for binding in (binding_of(module, "is captured"), self.around):
                    if binding is not None:
                        binding.check_scope(f"capturing {path}")
                self.seen[number, path, count] = output
            elif layers.all() or self.layer is None:
                output = step.function(output)
            else:
                chosen = jnp.asarray(layers)[self.layer]
                output = jax.lax.cond(chosen, step.function, lambda same: same, output)
        return output

    def wants(self, path: str) -> bool:
        """Say whether a module at or below a path, from this observation's root, is chosen by any step."""
        path = join(self.prefix, path)
        below = [p for p in self.layout.modules if p == path or p.startswith(f"{path}.")]
        names = {name for p in below for name in self.layout.module_names[p]}
        return any(names & step.names for step in self.steps)

    def region(self, path: str, index: Array | None, size: int | None) -> "Observation":
        """Return the observation of a part that runs inside a transform.

        Args:
            path: the part's, from this observation's root.
            index: which of the copies is running, where the transform runs copies.
            size: how many copies there are.
        """
        layer = self.layer
        if index is not None and size is not None:
            layer = index if layer is None else layer * size + index
        return Observation(self.steps, self.layout, join(self.prefix, path), layer)

    def within(self, around: Any) -> "Observation":
        """Return this observation as a part sees it that is applied on its own.

        Args:
            around: the binding of the part.
        """
        prefix = join(self.prefix, around.path)
        return replace(self, prefix=prefix, around=around)  # what is noted stays shared

    def take(self, inner: "Observation", seen: Seen) -> None:
        """Note what a region returned: its values, which the transform has stacked."""
        self.met |= inner.met
        for (number, path, count), value in seen.items():
            self.calls[path] = max(self.calls.get(path, 0), count)
            self.seen[number, path, count] = value

    def captured(self, number: int) -> dict[str, Any]:
        """Return what one step captured, by name, each layer of a stack apart."""
        step, found = self.steps[number], {}
        for (which, path, count), value in self.seen.items():
            if which != number:
                continue
            sizes = self.layout.module_sizes.get(path, ())
            for layer, name in enumerate(self.layout.module_names.get(path, (path,))):
                if name in step.names:
                    label = name if count == 1 else f"{name}#{count}"
                    found[label] = _layer(value, sizes, layer) if sizes else value
        return found

    def check_met(self) -> None:
        """Raise if what the user named was never called.

        Raises:
            ValueError: the message names the pattern.
        """
        for step in self.steps:
            for pattern, names in step.patterns.items():
                if not names & self.met:
                    raise ValueError(
                        f"{pattern!r} names {', '.join(sorted(names)[:5])}, which this call never called: its outputs "
                        "were neither captured nor changed. Perhaps another branch or mode calls it; a part that a "
                        "transform runs is seen inside nn.Repeat, nn.Remat, nn.Scan and nn.Vmap"
                    )


def _layer(value: Any, sizes: tuple[int, ...], layer: int) -> Any:
    def take(leaf: Any) -> Any:
        return jnp.reshape(leaf, (math.prod(sizes), *leaf.shape[len(sizes) :]))[layer]

    return jax.tree.map(take, value)
