"""Parameter and Buffer: what a module declares before it holds arrays."""

import copy
import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike, DType, Initializer
from funcnet.core.errors import UnboundModuleError
from funcnet.core.torch_hints import refused_keyword

__all__ = ["Buffer", "Parameter"]

Size = int | None
"""The length of an axis; ``None`` is learned from the first example (``Lazy*`` layers)."""


def _makes_initializers(init: Any) -> TypeGuard[FunctionType]:
    """Whether this is `nn.init.ones` itself, say, instead of what its call returns."""
    if not isinstance(init, FunctionType):
        return False
    return getattr(sys.modules.get("funcnet.nn.init"), init.__name__, None) is init


class Spec:
    """A declared array: its shape, how it starts, its dtype. It has no value.

    Any attempt to compute with it raises `UnboundModuleError`.

    Attributes:
        shape: the lengths of its axes; None for one learned from the first example.
        init: ``(key, shape, dtype) -> array``.
        dtype: of the array that ``init`` draws.
        drawn_with: another array, whose key ``init`` is given instead of one of its own, so that it can
            compute its values from the other's. See `Hooks` in ``module/module.py``.
        optional: whether a file may lack it: it then starts as ``init`` makes it.
            So do the counters of batch norm, which files older than PyTorch 0.4.1 lack.
        trained: whether it is a parameter; a class of one's own inherits this from `Parameter` or `Buffer`.
    """

    __slots__ = ("drawn_with", "dtype", "init", "optional", "shape")

    trained: ClassVar[bool] = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse what PyTorch's constructor takes and this one does not, saying what to write instead."""
        for name in kwargs:
            hint = refused_keyword(cls.__name__, name)
            if hint is not None:
                raise TypeError(hint)
        return object.__new__(cls)

    def __init__(
        self, shape: Any, init: Initializer | None = None, dtype: DType | None = None
    ) -> None:
        if init is None:
            shape, init, dtype = _from_array(type(self).__name__, shape, dtype)
        sizes = (shape,) if shape is None or isinstance(shape, int) else tuple(shape)
        if any(size is not None and not hasattr(size, "__index__") for size in sizes):
            raise TypeError(f"the sizes of a shape must be whole numbers, or None; got {shape!r}")
        if any(size is not None and operator.index(size) < 0 for size in sizes):
            raise ValueError(f"the sizes of a shape must not be negative; got {shape!r}")
        if not callable(init):
            raise TypeError(
                "init must be a function (key, shape, dtype) -> array, such as nn.init.zeros() or "
                f"nn.init.constant(0.5); got {init!r}"
            )
        if _makes_initializers(init):
            raise TypeError(f"an initializer is made by a call: nn.init.{init.__name__}(...)")
        self.shape: tuple[Size, ...] = tuple(
            None if s is None else operator.index(s) for s in sizes
        )
        self.init = init
        self.dtype = jnp.dtype(jnp.float32 if dtype is None else dtype)
        self.drawn_with: Spec | None = None
        self.optional = False

    @property
    def complete(self) -> bool:
        """Whether every size of the shape is known."""
        return None not in self.shape

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape, complete."""
        return tuple(size for size in self.shape if size is not None)

    def completed(self, shape: tuple[int, ...], init: Initializer | None = None) -> Self:
        """Return a copy with a shape that was learned, and perhaps another start."""
        new = copy.copy(self)
        new.shape = shape
        new.init = self.init if init is None else init
        return new

    def __repr__(self) -> str:
        """Show it as it was written."""
        return f"{type(self).__name__}({self.shape}, {self.init!r}, {self.dtype.name})"

    def __getattr__(self, name: str) -> NoReturn:
        """Raise for an attribute that only an array has."""
        if name.startswith("__"):  # protocols such as copying ask for methods that may be absent
            raise AttributeError(name)
        raise UnboundModuleError(_no_value(self, f"it has no attribute {name!r}"))


@dataclass(frozen=True, eq=False)
class Given:
    """An initializer that returns one array; equal only to itself."""

    value: Any

    def __call__(self, key: Any, shape: Any, dtype: Any = jnp.float32) -> Array:
        """Return the array."""
        return jnp.broadcast_to(jnp.asarray(self.value, dtype), tuple(shape))

    def __repr__(self) -> str:
        """Show its shape."""
        return f"array({jnp.shape(self.value)})"


def _from_array(kind: str, value: Any, dtype: DType | None) -> tuple[Any, Initializer, DType]:
    """Take an array of JAX, NumPy or PyTorch, or a number, in place of a shape and an initializer."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")) and not isinstance(value, float):
        raise TypeError(
            f"{kind} takes a shape and an initializer, {kind}((3, 4), nn.init.normal()), or an array to start "
            f"from, {kind}(jnp.zeros((3, 4))); got {value!r} alone"
        )
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    dtype = jax.dtypes.canonicalize_dtype(value.dtype) if dtype is None else dtype
    return value.shape, Given(value), dtype


def _no_value(spec: Any, problem: str) -> str:
    kind = type(spec).__name__
    return (
        f"{kind} of shape {spec.shape} has no value yet: {problem}. A module right after construction is "
        "a description; call it through fn.functionalize(module).apply(params, state, ...) or "
        "fn.bind(module, params, state)(...)"
    )


def _refuse(operation: str) -> Callable[..., NoReturn]:
    def method(self: Spec, *_: Any, **__: Any) -> NoReturn:
        raise UnboundModuleError(_no_value(self, f"{operation} needs an array"))

    return method


_REFUSED = (
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "truediv",
    "rtruediv",
    "floordiv",
    "rfloordiv",
    "matmul",
    "rmatmul",
    "pow",
    "rpow",
    "mod",
    "rmod",
    "neg",
    "abs",
    "getitem",
    "len",
    "iter",
    "bool",
    "float",
    "int",
    "lt",
    "le",
    "gt",
    "ge",
    "array",
)
for _operation in _REFUSED:
    setattr(Spec, f"__{_operation}__", _refuse(_operation))


if TYPE_CHECKING:
    # Layers read `self.weight` where it is an array; that is what a type checker should see.
    def Parameter(  # noqa: N802
        shape: Sequence[Size] | Size | ArrayLike,
        init: Initializer | None = None,
        dtype: DType | None = None,
    ) -> Array:
        """Declare an array that is trained."""
        ...

    def Buffer(  # noqa: N802
        shape: Sequence[Size] | Size | ArrayLike,
        init: Initializer | None = None,
        dtype: DType | None = None,
    ) -> Array:
        """Declare an array that a layer remembers between calls."""
        ...

else:

    class Parameter(Spec):
        """Declare an array that is trained.

        Args:
            shape: the lengths of its axes; ``None`` for one learned from the first example. Or, alone, an
                array of JAX, NumPy or PyTorch to start from: ``Parameter(jnp.ones(4))``.
            init: ``(key, shape, dtype) -> array``, from `funcnet.nn.init` or ``jax.nn.initializers``.
            dtype: of the array that ``init`` draws: float32, or that of the array given.

        Example:
            >>> class Scale(nn.Module):
            ...     def __init__(self, size):
            ...         self.weight = fn.Parameter((size,), nn.init.ones())
            ...     def __call__(self, x):
            ...         return x * self.weight
            >>> params, state = fn.functionalize(Scale(3)).init(jax.random.key(0))
            >>> params["weight"].shape
            (3,)
        """

        __slots__ = ()

    class Buffer(Spec):
        """Declare an array that a layer remembers between calls, and that is not trained.

        Assigning to it inside ``__call__`` changes the state that ``apply`` returns.

        Args:
            shape: the lengths of its axes; ``None`` for one learned from the first example. Or, alone, an
                array of JAX, NumPy or PyTorch to start from: ``Buffer(jnp.ones(4))``.
            init: ``(key, shape, dtype) -> array``, from `funcnet.nn.init` or ``jax.nn.initializers``.
            dtype: of the array that ``init`` draws: float32, or that of the array given.

        Example:
            >>> class Counter(nn.Module):
            ...     def __init__(self):
            ...         self.calls = fn.Buffer((), nn.init.zeros(), jnp.int32)
            ...     def __call__(self, x):
            ...         self.calls = self.calls + 1
            ...         return x
            >>> net = fn.functionalize(Counter())
            >>> params, state = net.init(jax.random.key(0))
            >>> _, state = net.apply(params, state, jnp.ones(2))
            >>> int(state["calls"])
            1
        """

        __slots__ = ()

        trained = False


def may_be_missing(declared: Any) -> Any:
    """Let a file lack a declared array, which then starts as its initializer makes it.

    >>> from funcnet.module.specs import may_be_missing
    >>> may_be_missing(fn.Buffer((), nn.init.zeros())).optional
    True
    """
    declared.optional = True
    return declared


def is_buffer(value: object) -> bool:
    """Say whether a value is a declared array that is remembered, not trained."""
    return isinstance(value, Spec) and not value.trained


def is_spec(value: object) -> TypeGuard[Spec]:
    """Say whether a value is a declared array."""
    return isinstance(value, Spec)
