"""Compilation of a function, with a limit on how often it may be traced."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, overload

import jax

from funcnet.core.checks import check_positive
from funcnet.transforms.compilation.retracing import limited

__all__ = ["jit"]

_Names = str | Iterable[str]


@overload
def jit(
    fun: Callable[..., Any],
    /,
    *,
    max_traces: float | None = None,
    donate: _Names | None = None,
    static: _Names | None = None,
    **options: Any,
) -> jax.stages.Wrapped: ...


@overload
def jit(
    fun: None = None,
    /,
    *,
    max_traces: float | None = None,
    donate: _Names | None = None,
    static: _Names | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], jax.stages.Wrapped]: ...


def jit(
    fun: Callable[..., Any] | None = None,
    /,
    *,
    max_traces: float | None = None,
    donate: _Names | None = None,
    static: _Names | None = None,
    **options: Any,
) -> Any:
    """Compile ``fun``, as `jax.jit`, with a limit on how often it may be traced.

    What is returned is `jax.jit`'s own object: a call costs what a call of it costs. With
    ``max_traces`` the function's traces are written down while tracing, in its ``traces``
    attribute; calls that need no trace never see it.

    Args:
        fun: the function; without it, ``jit(...)`` is a decorator.
        max_traces: how many times the function may be traced, each for other shapes, types or
            static values. The call that would need one more raises; ``math.inf`` only records.
        donate: names of arguments whose memory the outputs may reuse.
        static: names of arguments that are compile-time constants; they must be hashable.
        **options: passed on to `jax.jit`: ``in_shardings``, ``static_argnums``, ….

    Returns:
        The compiled function.

    Raises:
        RetraceError: when called, if ``max_traces`` is exceeded: the message lists the path of each
            argument that differs from the most similar earlier trace, and what differs.
        ValueError: a name is not an argument of the function.

    >>> step = transforms.jit(lambda x: x + 1, max_traces=1)
    >>> float(step(1.0)), len(step.traces)
    (2.0, 1)
    """
    if fun is None:
        return lambda function: jit(
            function, max_traces=max_traces, donate=donate, static=static, **options
        )
    for option, names in (("donate_argnames", donate), ("static_argnames", static)):
        if names is not None:
            options[option] = _checked_names(fun, names, option.removesuffix("_argnames"))
    if max_traces is None:
        return jax.jit(fun, **options)
    check_positive("max_traces", max_traces)
    recorded, traces = limited(fun, max_traces)
    compiled = jax.jit(recorded, **options)
    setattr(compiled, "traces", traces)  # noqa: B010 - jax.stages.Wrapped does not declare it
    return compiled


def _checked_names(fun: Callable[..., Any], names: _Names, option: str) -> tuple[str, ...]:
    """Return the names as a tuple, or raise for one that the function does not take."""
    names = (names,) if isinstance(names, str) else tuple(names)
    parameters = inspect.signature(fun).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in names:
        if name not in parameters and not takes_any:
            raise ValueError(
                f"{option}={name!r} is not an argument of {fun}; it has {', '.join(parameters)}"
            )
    return names
