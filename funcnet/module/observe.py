"""Look at, or replace, what parts of a model return, by the parts' dotted paths."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from funcnet.core.paths import matches, select
from funcnet.module.functionalize import Functional
from funcnet.module.observation import Capture, Edit, chosen_names

__all__ = ["capture", "intervene"]


def capture(net: Functional, patterns: str | Iterable[str]) -> Functional:
    """Return a model whose output also holds what the named modules returned.

    The result is pure like the model itself: jit it, vmap it, differentiate through what is
    captured.

    Args:
        net: what `functionalize` returned.
        patterns: a glob, or several, on the modules' dotted paths; ``*`` also crosses dots. Each layer of
            an `nn.Repeat`, and each copy of an `nn.Vmap`, has a path of its own: ``"blocks.3.attention"``.

    Returns:
        ``Functional(init, apply)``, where ``apply`` returns ``((output, captured), state)``;
        ``captured`` is a dict from path to output, in the order of the calls. A module that is called
        again has its later outputs under ``"path#2"``, ``"path#3"``, …. What runs once for each step of an
        `nn.Scan`, or for each slice of an `nn.Vmap` that shares its arrays, has a leading axis for them.

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
    chosen = _chosen(net, patterns, "capture")
    step = Capture(frozenset().union(*chosen.values()), chosen)
    return Functional(net.init, net.observable.followed_by(step).apply)


def intervene(net: Functional, edits: Mapping[str, Callable[[Any], Any]]) -> Functional:
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

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
        >>> params, state = net.init(jax.random.key(0))
        >>> ablated = fn.intervene(net, {"0": jnp.zeros_like})
        >>> output, state = ablated.apply(params, state, jnp.ones(3))
        >>> bool((output == params["1"]["bias"]).all())
        True
    """
    model = net.observable if isinstance(net, Functional) else None
    for pattern, edit in edits.items():
        chosen = _chosen(net, pattern, "intervene")
        assert model is not None  # `_chosen` refuses what is not a Functional
        model = model.followed_by(Edit(chosen[pattern], chosen, edit))
    return Functional(net.init, net.apply if model is None else model.apply)


def _chosen(net: Functional, patterns: str | Iterable[str], name: str) -> dict[str, frozenset[str]]:
    """Return each pattern with the names of modules that it stands for."""
    if not isinstance(net, Functional):
        raise TypeError(
            f"{name} takes what fn.functionalize(module) returned; got {type(net).__name__}"
        )
    known = chosen_names(net.observable.node.layout)
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
