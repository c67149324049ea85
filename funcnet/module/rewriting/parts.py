"""Rewriting: what functions share that make one model of another.

They take and return ``(module, params, state)``: ask for the layers (`chosen_layers`) and for all arrays by their
paths (`arrays_by_path`), change both, make the new description by `replaced`, and have its trees made (`trees_of`).
What they were given stays as it was.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from funcnet.core.aliases import Array, Params, State
from funcnet.core.paths import matches, nest
from funcnet.module.binding.bind import describe
from funcnet.module.description import layout_of
from funcnet.module.functionalize import Functional
from funcnet.module.layout import match_paths, placed
from funcnet.module.module import Module

__all__ = ["arrays_by_path", "chosen_layers", "description_of", "trees_of"]


def description_of(model: Module | Functional) -> Module:
    """Return the description behind what a user calls the model: itself, a bound module, or a `Functional`.

    It is not asked for its attribute ``module``, which wrappers such as `Repeat` have too.

    Example:
        >>> from funcnet.module.rewriting.parts import description_of
        >>> description_of(fn.functionalize(nn.Repeat(nn.Linear(3, 3), 2)))
        Repeat(
          n=2, remat='costly', unroll=1
          (module): Linear(in_features=3, out_features=3)
        )
    """
    return describe(model.module if isinstance(model, Functional) else model)


def chosen_layers(
    module: Module, patterns: str | Iterable[str], kinds: type | tuple[type, ...]
) -> dict[str, Any]:
    """Return the layers of some classes whose dotted paths match, in the order of the model.

    Args:
        module: a description.
        patterns: globs on paths of modules, ``*`` also crosses dots; a name of one layer of a stack stands for all.
        kinds: classes of layers.

    Raises:
        ValueError: a pattern matches no layer of these classes.
        TypeError: a pattern is not a string.

    Example:
        >>> from funcnet.module.rewriting.parts import chosen_layers
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> list(chosen_layers(model, "*", nn.Linear))
        ['0', '2']
    """
    layout = layout_of(describe(module))
    layers = {path: layer for path, layer in layout.modules.items() if isinstance(layer, kinds)}
    named = {path: (path, *layout.module_names[path]) for path in layers}
    globs = (patterns,) if isinstance(patterns, str) else _strings(patterns)
    chosen: set[str] = set()
    for glob in globs:
        found = {
            path for path, names in named.items() if any(matches(glob, name) for name in names)
        }
        if not found:
            classes = " or ".join(
                kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,))
            )
            there = ", ".join(path or "''" for path in layers) or "none"
            named_arrays = any(matches(glob, path) for path in layout.specs)
            hint = ". Patterns name layers, not their arrays" if named_arrays else ""
            raise ValueError(f"{glob!r} matches no {classes}; there are: {there}{hint}")
        chosen |= found
    return {path: layer for path, layer in layers.items() if path in chosen}


def _strings(patterns: Iterable[Any]) -> tuple[str, ...]:
    globs = tuple(patterns) if isinstance(patterns, Iterable) else (patterns,)
    for glob in globs:
        if not isinstance(glob, str):
            said = glob.__name__ if isinstance(glob, type) else repr(glob)
            raise TypeError(
                f'patterns are globs on the dotted paths of layers, such as "*", "0" or ["encoder.*"]; got {said}'
            )
    return globs


def arrays_by_path(module: Module, params: Params, state: State) -> dict[str, Array]:
    """Return every array of a model by its dotted path, after checking that they fit.

    Raises:
        ParameterTreeError: the trees are not those of the model.

    Example:
        >>> from funcnet.module.rewriting.parts import arrays_by_path
        >>> layer = nn.Linear(3, 2)
        >>> list(arrays_by_path(layer, *fn.functionalize(layer).init(jax.random.key(0))))
        ['weight', 'bias']
    """
    layout = layout_of(module)
    leaves = placed(layout, params, "params") | placed(layout, state, "state")
    return {path: leaves[id(spec)] for path, spec in layout.specs.items()}


def trees_of(module: Module, arrays: Mapping[str, Array]) -> tuple[Params, State]:
    """Return the params and state of a description, from all its arrays by their paths.

    Raises:
        ParameterTreeError: arrays are missing or left over.

    Example:
        >>> from funcnet.module.rewriting.parts import trees_of
        >>> trees_of(nn.Linear(3, 2, bias=False), {"weight": np.ones((2, 3))})[0]["weight"].shape
        (2, 3)
    """
    layout = layout_of(describe(module))
    match_paths(layout.specs, dict(arrays), "what was made")
    return (
        nest({path: arrays[path] for path in layout.parameters}),
        nest({path: arrays[path] for path in layout.buffers}),
    )
