"""Look at, or replace, what parts of a model return, by the parts' dotted paths.

`capture` and `intervene` add a step to a model; while it runs, an `Observation` is shown every module's
output. Inside a scan, a vmap or a checkpoint that a wrapper opens (`nn.Repeat`, `nn.Remat`, …) a value
cannot simply be noted: it would leak. There an observation of the region notes it in a dict that the wrapper
returns from the transform (`Observation.region`), and the values, stacked by then, are handed to the
observation around it (`Observation.take`), which at last gives each layer of a stack its own name.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.paths import join, matches, select
from funcnet.module.layout import Layout
from funcnet.module.module import Module, binding_of

if TYPE_CHECKING:
    from funcnet.module.functionalize import Functional

__all__ = ["capture", "chosen_modules", "intervene"]


def capture(net: "Functional", patterns: str | Iterable[str]) -> "Functional":
    """Return a model whose output also holds what the named modules returned.

    The result is pure like the model itself: jit it, vmap it, differentiate through what is
    captured.

    Args:
        net: what `functionalize` returned.
        patterns: a glob, or several, on the modules' dotted paths; ``*`` also crosses dots. Each layer of
            an `nn.Repeat`, and each copy of an `nn.Vmap`, has a path of its own: ``"blocks.3.attention"``.

    Returns:
        ``Functional(init, apply)``, where ``apply`` returns ``((output, captured), state)``;
        ``captured`` is a dict from path to output, in the order of the calls; what runs inside of `nn.Repeat`,
        `nn.Scan`, `nn.Remat` or `nn.Vmap` is grouped by part, all layers of one before those of the next. A
        module that is called again has its later outputs under ``"path#2"``, ``"path#3"``, …. What runs once
        for each step of an `nn.Scan`, or for each slice of an `nn.Vmap` that shares its arrays, has a leading
        axis for them.

    Raises:
        ValueError: a glob matches no module; the message lists the paths there are. Raised by ``apply``: a
            glob's modules exist, but none was called.
        TransformScopeError: a named module is called inside a transform opened by hand within the model's
            ``__call__``, where its output is not one value.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
        >>> params, state = net.init(jax.random.key(0))
        >>> seeing = fn.capture(net, "1")
        >>> (output, captured), state = seeing.apply(params, state, jnp.ones((5, 3)))
        >>> {path: value.shape for path, value in captured.items()}
        {'1': (5, 4)}
    """
    chosen = chosen_modules(net, patterns, "capture")
    step = Capture(frozenset().union(*chosen.values()), chosen)
    return net._replace(apply=net.observable.followed_by(step).apply)


def intervene(net: "Functional", edits: Mapping[str, Callable[[Any], Any]]) -> "Functional":
    """Return a model in which the named modules' outputs are replaced by functions of them.

    Args:
        net: what `functionalize` returned.
        edits: from a glob on dotted paths, as in `capture`, to ``edit(output) -> output``. Where several
            match, they are applied in order. Where only some layers of an `nn.Repeat` are meant, ``edit`` must
            keep shape and dtype.

    Returns:
        ``Functional(init, apply)``, used as the model is.

    Raises:
        ValueError: a glob matches no module; the message lists the paths there are. Raised by ``apply``: a
            glob's modules exist, but none was called.
        TypeError: raised by ``apply``: an edit returned nothing.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
        >>> params, state = net.init(jax.random.key(0))
        >>> ablated = fn.intervene(net, {"0": jnp.zeros_like})
        >>> output, state = ablated.apply(params, state, jnp.ones(3))
        >>> bool((output == params["1"]["bias"]).all())
        True
    """
    for pattern, edit in edits.items():
        chosen = chosen_modules(net, pattern, "intervene")
        net = net._replace(
            apply=net.observable.followed_by(Edit(chosen[pattern], chosen, edit)).apply
        )
    return net


def check_functional(net: Any, name: str) -> None:
    """Raise ``TypeError`` for a model in place of what `functionalize` returned.

    Args:
        net: what a function was given.
        name: of the function.

    Example:
        >>> from funcnet.module.observe import check_functional
        >>> check_functional(fn.functionalize(nn.Linear(2, 2)), "capture")
    """
    if not hasattr(net, "observable"):  # what `Functional` declares; its file is built on this one
        raise TypeError(
            f"{name} takes what fn.functionalize(module) returned; got {type(net).__name__}"
        )


def chosen_modules(
    net: "Functional", patterns: str | Iterable[str], name: str
) -> dict[str, frozenset[str]]:
    """Return each pattern with the names of modules that it stands for.

    Args:
        net: what `functionalize` returned.
        patterns: globs on the modules' dotted paths.
        name: of the function that the user called.

    Raises:
        TypeError: ``net`` is something else.
        ValueError: a glob matches no module.

    Example:
        >>> from funcnet.module.observe import chosen_modules
        >>> net = fn.functionalize(nn.Repeat(nn.Linear(3, 3), 2))
        >>> {pattern: sorted(names) for pattern, names in chosen_modules(net, "*", "capture").items()}
        {'*': ['0', '1']}
    """
    check_functional(net, name)
    names = net.observable.node.layout.module_names
    known = {path: names[path] for path in names if path}  # not the model itself
    everything = dict.fromkeys([name for names in known.values() for name in names if name])
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    found = {}
    for pattern in patterns:
        # the path inside a wrapper (`blocks.module.attention`) stands for all of its layers
        inner = {name for path in known if matches(pattern, path) for name in known[path]}
        found[pattern] = frozenset(inner or select(pattern, everything)) | frozenset(
            name for name in everything if matches(pattern, name)
        )
    return found


Seen = dict[tuple[int, str, int], Any]
"""The number of the step, the module's path and the number of its call, to the output."""


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

    def replaced(self, path: str, output: Any) -> Any:
        """Return what the function makes of an output."""
        made = self.function(output)
        if made is None and output is not None:
            raise TypeError(
                f"the edit of {path} returned None: return the output, changed or as it is"
            )
        return made


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
                output = step.replaced(path, output)
            else:
                chosen = jnp.asarray(layers)[self.layer]
                edit = partial(step.replaced, path)
                output = jax.lax.cond(chosen, edit, lambda same: same, output)
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
