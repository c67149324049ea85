"""functionalize: from a module to two pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any, NamedTuple

from funcnet.core.aliases import Key, Params, State
from funcnet.core.keys import is_key
from funcnet.core.paths import nest
from funcnet.module.binding import bind_observed, describe
from funcnet.module.description import is_module, layout_of
from funcnet.module.initialize import draw
from funcnet.module.lazy_shapes import learned_specs
from funcnet.module.module import Module
from funcnet.module.unbinding import unbind

__all__ = ["Functional", "functionalize"]


class Functional(NamedTuple):
    """A model as two pure functions.

    Attributes:
        init: ``init(key, *example_inputs) -> (params, state)``. The inputs are needed only by modules that
            learn shapes from them (`Lazy*`).
        apply: ``apply(params, state, *args, key=None, train=False, **kwargs) -> (output, state)``.
    """

    init: Callable[..., tuple[Params, State]]
    apply: Callable[..., tuple[Any, State]]


def functionalize(module: Module | Callable[..., Any]) -> Functional:
    """Turn a module into two pure functions.

    ``apply`` binds the arrays, calls the object, and collects the buffers; nothing else happens.

    Args:
        module: a module; a bound method of one (``functionalize(model.decode)``), to call that instead;
            or a module bound by `bind`, for a transform over a part of a model.

    Returns:
        ``Functional(init, apply)``: both work under every transform of JAX.

    Raises:
        TypeError: the argument is not a module or a method of one.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, state = net.apply(params, state, jnp.ones((5, 3)))
        >>> output.shape, state
        ((5, 2), {})
    """
    if is_module(module):
        pure = PureModule(describe(module), "__call__")  # pyright: ignore[reportArgumentType]
    elif isinstance(module, MethodType) and is_module(module.__self__):
        pure = PureModule(describe(module.__self__), module.__name__)  # pyright: ignore[reportArgumentType]
    elif isinstance(module, type):
        raise TypeError(
            f"functionalize takes a module, not its class: write functionalize({module.__name__}(...))"
        )
    else:
        raise TypeError(
            "functionalize takes a funcnet Module or a bound method of one; got "
            f"{type(module).__name__}. A pure function needs no functionalize"
        )
    defined = {name for base in type(pure.module).__mro__ for name in vars(base)}
    if pure.method not in defined and "forward" in defined:
        kind = type(pure.module).__name__
        raise TypeError(f"{kind} defines no __call__: PyTorch's `forward` is `__call__` here")
    layout_of(pure.module)  # a module that cannot become a tree is told so here
    return Functional(pure.init, pure.apply)


@dataclass(frozen=True, eq=False)
class PureModule:
    """The pair behind a `Functional`: ``net.apply.__self__.module`` is the description."""

    module: Module
    method: str

    def init(self, key: Key, *inputs: Any, **kwargs: Any) -> tuple[Params, State]:
        """Draw initial params and state; see `Functional`."""
        if not is_key(key):
            raise TypeError(
                f"init takes a random key, such as jax.random.key(0); got {type(key).__name__}"
            )
        layout = layout_of(self.module)
        specs = layout.specs
        if layout.incomplete:
            specs = specs | learned_specs(self.module, self.method, inputs, kwargs)
        arrays = draw(layout, specs, key)
        params = nest({path: arrays[path] for path in layout.parameters})
        return params, nest({path: arrays[path] for path in layout.buffers})

    def apply(
        self,
        params: Params,
        state: State,
        *args: Any,
        key: Key | None = None,
        train: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, State]:
        """Bind, call, collect the buffers; see `Functional`."""
        return self.apply_observed(None, params, state, *args, key=key, train=train, **kwargs)

    def apply_observed(
        self,
        observer: Callable[[str, Module, Any], Any] | None,
        params: Params,
        state: State,
        *args: Any,
        key: Key | None = None,
        train: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, State]:
        """Apply with an observer of every module's output: ``observer(path, module, output) -> output``."""
        bound = bind_observed(self.module, params, state, key=key, train=train, observer=observer)
        output = getattr(bound, self.method)(*args, **kwargs)
        return output, unbind(bound)[1]
