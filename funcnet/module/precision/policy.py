"""Precision: which modules of a model compute in 16 bits, and what a call rounds where.

Parameters are rounded once, as the model is bound, before they are gathered on a mesh. Data are rounded where they
enter a module, so that what user code widened (``x + self.table``) is narrow again in the next layer. What was
rounded on its way to a module that computes in 32 bits, or on its way out, and is handed on as it is, is given
there as it was before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.dtypes import at_least_float32
from funcnet.core.jax_internals.compilation import trace_state
from funcnet.module.layout import Layout
from funcnet.module.sharding.placement import Placement

__all__ = ["ComputesIn", "PrecisionPolicy", "Rounding", "is_real"]

ComputesIn = Literal["any", "float32", "float32 arrays", "float32 result"]
"""What `Module.computes_in` says; see there."""


@dataclass(frozen=True, eq=False)
class PrecisionPolicy:
    """In which dtype each module of a model computes.

    Attributes:
        compute: the dtype of 16 bits.
        outputs: the dtype of the floats that the model returns; None for what they are.
        modules: by path, the modules that are not ``"any"``.
        arrays: the paths of the parameters that stay as they are.
    """

    compute: np.dtype
    outputs: np.dtype | None
    modules: Mapping[str, ComputesIn]
    arrays: frozenset[str]

    def __repr__(self) -> str:
        """Name the dtype."""
        return f"PrecisionPolicy({self.compute.name})"

    def narrow(self, leaf: Any) -> Any:
        """Round an array of real floats to 16 bits; anything else stays."""
        if not is_real(leaf) or leaf.dtype == self.compute:
            return leaf
        return jnp.asarray(leaf).astype(self.compute)

    def within(self, outer: Layout, inner: Layout) -> "PrecisionPolicy":
        """Return the precision of a part, by its own paths; what it returns stays as it is."""
        own = {path: outer.first_path.get(spec) for spec, path in inner.first_path.items()}
        modules = {
            path: self.modules[above]
            for path, above in own.items()
            if above is not None and above in self.modules and path in inner.modules
        }
        arrays = frozenset(
            path for path, above in own.items() if above in self.arrays and path in inner.specs
        )
        return replace(self, outputs=None, modules=modules, arrays=arrays)


@dataclass
class Rounding:
    """What one call of a model has rounded.

    Attributes:
        precision: of the model.
        trace: which trace of JAX the model was bound in.
        exact: what was rounded, by the ``id`` of the result: the result, and what it was made of.
        given_wide: the modules of 16 bits that were given wider floats, and their dtype, by path.
    """

    precision: PrecisionPolicy
    trace: Any = field(default_factory=trace_state)
    exact: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    given_wide: dict[str, str] = field(default_factory=dict)

    def again(self) -> "Rounding":
        """Begin anew in the trace that runs now."""
        return Rounding(self.precision, given_wide=self.given_wide)

    def parameters(
        self, layout: Layout, leaves: dict[int, Any], placement: Placement | None
    ) -> dict[int, Any]:
        """Return a model's arrays, by the ``id`` of their specs, with its parameters in 16 bits.

        On a mesh what is rounded lies where it is stored: XLA would else gather first, and round afterwards.
        """
        found: dict[int, Any] = {}
        for path, spec in layout.parameters.items():
            old = leaves.get(id(spec))
            if path in self.precision.arrays or (new := self.precision.narrow(old)) is old:
                continue
            if placement is not None:
                new = placement.kept(new, path)
            self.exact[id(new)] = new, old
            found[id(spec)] = new
        return leaves | found

    def parameters_in_full(self, layout: Layout, leaves: dict[int, Any]) -> dict[int, Any]:
        """Return those parameters of a part that were rounded as they were before, or at least in their dtype.

        Where they were gathered in 16 bits, only these bits are there.
        """
        found: dict[int, Any] = {}
        for spec in layout.parameters.values():
            leaf: Any = leaves.get(id(spec))
            if is_real(leaf) and leaf.dtype == self.precision.compute:
                found[id(spec)] = self._widen(leaf)
        return found

    def given(self, path: str, arguments: Any) -> Any:
        """Return what a module is called with, in the dtype that it computes in."""
        kind = self.precision.modules.get(path, "any")
        if kind == "float32 arrays":
            return arguments
        if kind != "any":
            return _changed(self._widen, arguments)
        new = _changed(self._narrow, arguments)
        if new is not arguments:
            wide = next(x for x in jax.tree.leaves(arguments) if self.precision.narrow(x) is not x)
            self.given_wide[path] = wide.dtype.name
        return new

    def returned(self, path: str, output: Any) -> Any:
        """Return what a module returned; of one that computes in 32 bits alone, in 16."""
        if self.precision.modules.get(path) == "float32":
            return _changed(self._narrow, output)
        return output

    def finished(self, output: Any) -> Any:
        """Return what the model returns, in the dtype that was asked for."""
        outputs = self.precision.outputs
        return output if outputs is None else _changed(self._finish, output)

    def _narrow(self, leaf: Any) -> Any:
        new = self.precision.narrow(leaf)
        if (
            new is not leaf and self.trace == trace_state()
        ):  # what a transform holds must not outlive it
            self.exact[id(new)] = new, leaf
        return new

    def _widen(self, leaf: Any) -> Any:
        if not is_real(leaf):
            return leaf
        exact = self.exact.get(id(leaf), (leaf, leaf))[1]
        wide = at_least_float32(exact.dtype)
        return exact if exact.dtype == wide else jnp.asarray(exact).astype(wide)

    def _finish(self, leaf: Any) -> Any:
        outputs = self.precision.outputs
        if not is_real(leaf) or outputs is None:
            return leaf
        exact = self.exact.get(id(leaf), (leaf, leaf))[1]
        return exact if exact.dtype == outputs else jnp.asarray(exact).astype(outputs)


def is_real(leaf: Any) -> bool:
    """Say whether a leaf is an array of real floats of 16 bits or more.

    >>> from funcnet.module.precision.policy import is_real
    >>> is_real(jnp.ones(2)), is_real(jnp.ones(2, int)), is_real(2.0)
    (True, False, False)
    """
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return False
    return jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize > 1


def _changed(function: Any, tree: Any) -> Any:
    """Map over a tree; a container in which nothing changes stays the same object: a call may fill a list."""
    if type(tree) in (dict, list, tuple):
        names = list(tree) if type(tree) is dict else range(len(tree))
        made = [_changed(function, tree[name]) for name in names]
        if all(one is tree[name] for one, name in zip(made, names, strict=True)):
            return tree
        return dict(zip(names, made, strict=True)) if type(tree) is dict else type(tree)(made)
    leaves, structure = jax.tree.flatten(tree)
    made = [function(leaf) for leaf in leaves]
    same = all(one is leaf for one, leaf in zip(made, leaves, strict=True))
    return tree if same else structure.unflatten(made)
