"""What an optimizer's factory is called with in PyTorch and Optax, met where it is typed."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__: list[str] = []

P = ParamSpec("P")
R = TypeVar("R")

_LEAVE_OUT = "the whole update is one program, compiled with the step: leave it out"
_KEYWORDS = {
    "params": "the parameters go to init and update: {name}(...).init(params)",
    "learning_rate": "it is called lr",
    "b1": "write betas=(b1, b2)",
    "b2": "write betas=(b1, b2)",
    **dict.fromkeys(("foreach", "fused", "capturable", "differentiable"), _LEAVE_OUT),
}


def factory(function: Callable[P, R]) -> Callable[P, R]:
    """Let an optimizer's factory say what to write for parameters and keywords of other libraries.

    Example:
        >>> optim.sgd({"w": jnp.ones(2)}, lr=0.1)
        Traceback (most recent call last):
        TypeError: sgd takes no parameters; they go to init: state = sgd(lr=...).init(params)
    """
    known = inspect.signature(function).parameters
    first, name = next(iter(known)), function.__name__

    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> R:
        given = args[0] if args else None
        if isinstance(given, list | tuple) and given and isinstance(given[0], dict):
            raise TypeError(
                f"{name} takes no list of groups; groups are patterns of the parameters' paths: "
                f'optim.groups({{"head.*": {{"lr": 1e-3}}, "*": {{}}}}, optim.{name}, {first}=...)'
            )
        if args and first in kwargs:
            raise TypeError(
                f"{name} takes no parameters; they go to init: state = {name}({first}=...).init(params)"
            )
        for keyword in kwargs:
            if keyword not in known and keyword in _KEYWORDS:
                instead = _KEYWORDS[keyword].format(name=name)
                raise TypeError(f"{name} takes no {keyword}=: {instead}")
        return function(*args, **kwargs)

    return make
