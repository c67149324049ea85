"""Look at, or replace, what parts of a model return, by the parts' dotted paths."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from funcnet.core.aliases import Params, State
from funcnet.core.paths import select
from funcnet.module.binding import Observer
from funcnet.module.description import layout_of
from funcnet.module.functionalize import Functional, Observable
from funcnet.module.module import Module, binding_of

__all__ = ["capture", "intervene"]


def capture(net: Functional, patterns: str | Iterable[str]) -> Functional:
    """Return a model whose output also holds what the named modules returned.

    The result is pure like the model itself: jit it, vmap it, differentiate through what is
    captured.

    Args:
        net: what `functionalize` returned.
        patterns: a glob, or several, on the modules' dotted paths; ``*`` also crosses dots.

    Returns:
        ``Functional(init, apply)``, where ``apply`` returns ``((output, captured), state)``;
        ``captured`` is a dict from path to output, in the order of the calls. A module that is called
        again has its later outputs under ``"path#2"``, ``"path#3"``, ….

    Raises:
        ValueError: a glob matches no module; the message lists the paths there are.
        TransformScopeError: a named module is called inside a transform opened within the model's
            ``__call__`` (a scanned layer), where its output is not one value.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
        >>> params, state = net.init(jax.random.key(0))
        >>> seeing = fn.capture(net, "1")
        >>> (output, captured), state = seeing.apply(params, state, jnp.ones((5, 3)))
        >>> {path: value.shape for path, value in captured.items()}
        {'1': (5, 4)}
    """
    inner = _behind(net, "capture")
    return Functional(net.init, Capturing(inner, _chosen(inner, patterns)).apply)


def intervene(net: Functional, edits: Mapping[str, Callable[[Any], Any]]) -> Functional:
    """Return a model in which the named modules' outputs are replaced by functions of them.

    Args:
        net: what `functionalize` returned.
        edits: from a glob on dotted paths to ``edit(output) -> output``. Where several match, they
            are applied in order.

    Returns:
        ``Functional(init, apply)``, used as the model is.

    Raises:
        ValueError: a glob matches no module; the message lists the paths there are.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
        >>> params, state = net.init(jax.random.key(0))
        >>> ablated = fn.intervene(net, {"0": jnp.zeros_like})
        >>> output, state = ablated.apply(params, state, jnp.ones(3))
        >>> bool((output == params["1"]["bias"]).all())
        True
    """
    inner = _behind(net, "intervene")
    plan = [(_chosen(inner, pattern), edit) for pattern, edit in edits.items()]
    return Functional(net.init, Intervening(inner, plan).apply)


class Observed:
    """A model with an observer of its own, which other observers can follow."""

    def __init__(self, inner: Observable):
        self.inner = inner

    @property
    def module(self) -> Module:
        """The description."""
        return self.inner.module

    def apply(self, params: Params, state: State, *args: Any, **kwargs: Any) -> tuple[Any, State]:
        """Apply with this observer alone."""
        return self.apply_observed(None, params, state, *args, **kwargs)

    def apply_observed(
        self, observer: Observer | None, params: Params, state: State, *args: Any, **kwargs: Any
    ) -> tuple[Any, State]:
        """Apply with this observer, then another."""
        raise NotImplementedError


class Capturing(Observed):
    """A model that also returns what some of its modules returned."""

    def __init__(self, inner: Observable, chosen: set[str]):
        super().__init__(inner)
        self.chosen = chosen

    def apply_observed(
        self, observer: Observer | None, params: Params, state: State, *args: Any, **kwargs: Any
    ) -> tuple[Any, State]:
        """Collect the outputs of one call."""
        captured: dict[str, Any] = {}
        calls: dict[str, int] = {}

        def observe(path: str, module: Module, output: Any) -> Any:
            if path in self.chosen:
                binding_of(module, "is captured").check_scope(f"capturing {path}")
                calls[path] = calls.get(path, 0) + 1
                captured[path if calls[path] == 1 else f"{path}#{calls[path]}"] = output
            return output if observer is None else observer(path, module, output)

        output, state = self.inner.apply_observed(observe, params, state, *args, **kwargs)
        return (output, captured), state


class Intervening(Observed):
    """A model in which the outputs of some modules are edited."""

    def __init__(self, inner: Observable, plan: list[tuple[set[str], Callable[[Any], Any]]]):
        super().__init__(inner)
        self.plan = plan

    def apply_observed(
        self, observer: Observer | None, params: Params, state: State, *args: Any, **kwargs: Any
    ) -> tuple[Any, State]:
        """Edit the outputs of one call."""

        def observe(path: str, module: Module, output: Any) -> Any:
            for chosen, edit in self.plan:
                if path in chosen:
                    output = edit(output)
            return output if observer is None else observer(path, module, output)

        return self.inner.apply_observed(observe, params, state, *args, **kwargs)


def _behind(net: Functional, name: str) -> Observable:
    if not isinstance(net, Functional):
        raise TypeError(
            f"{name} takes what fn.functionalize(module) returned; got {type(net).__name__}"
        )
    return net.observable


def _chosen(inner: Observable, patterns: str | Iterable[str]) -> set[str]:
    return select(patterns, [path for path in layout_of(inner.module).modules if path])
