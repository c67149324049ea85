"""count_operations: how much arithmetic each layer of a model, or of any function, does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from funcnet.module.functionalize import Functional
from funcnet.module.initial_values.lazy_shapes import traced_call
from funcnet.module.module import Module
from funcnet.module.summaries.counting import Counts, count_program
from funcnet.module.summaries.text_table import readable_count, text_table

__all__ = ["OperationCount", "OperationRow", "count_operations", "kinds_of"]


@dataclass(frozen=True)
class OperationRow:
    """What one layer does itself, without its parts.

    Attributes:
        path: dotted; of a function without a model, the scopes around the operations.
        kind: the name of its class; ``""`` without a model.
        operations: all operations on floats.
        products: those of matrix products and convolutions.
        backward: those of backward passes, of all.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(784, 10), nn.Tanh()))
        >>> params, state = net.init(jax.random.key(0))
        >>> for row in fn.count_operations(net, params, state, jnp.ones((32, 784))).rows:
        ...     print(row.path, row.kind, row.operations)
        0 Linear 502080
        1 Tanh 320
    """

    path: str
    kind: str
    operations: int
    products: int
    backward: int


@dataclass(frozen=True)
class OperationCount:
    """Operations by layer: a table when printed.

    Attributes:
        rows: one for each layer that does something.
        unknown: names of JAX's operations that could not be counted.
        open_loops: how many loops run until a test fails: one turn of each was counted.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(784, 10), nn.Tanh()))
        >>> params, state = net.init(jax.random.key(0))
        >>> count = fn.count_operations(net, params, state, jnp.ones((32, 784)))
        >>> count.within("0").products, count.unknown
        (501760, ())
    """

    rows: tuple[OperationRow, ...]
    unknown: tuple[str, ...] = ()
    open_loops: int = 0

    @property
    def operations(self) -> int:
        """All operations on floats."""
        return sum(row.operations for row in self.rows)

    @property
    def products(self) -> int:
        """The operations of matrix products and convolutions: what PyTorch's ``FlopCounterMode`` counts."""
        return sum(row.products for row in self.rows)

    @property
    def backward(self) -> int:
        """The operations of backward passes."""
        return sum(row.backward for row in self.rows)

    def within(self, path: str) -> "OperationCount":
        """Return the count of one layer and its parts.

        Args:
            path: dotted.

        Raises:
            KeyError: no such layer does anything; the message lists those that do.

        Example:
            >>> net = fn.functionalize(nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Linear(4, 2)))
            >>> count = fn.count_operations(net, *net.init(jax.random.key(0)), jnp.ones((5, 3)))
            >>> count.within("0").products
            120
        """
        rows = tuple(
            row for row in self.rows if row.path == path or row.path.startswith(f"{path}.")
        )
        if not rows:
            raise KeyError(
                f"{path!r} does nothing in this count; there are: {', '.join(row.path for row in self.rows)}"
            )
        return OperationCount(rows, self.unknown, self.open_loops)

    def __str__(self) -> str:
        """Lay the table out as text."""
        whole = max(self.operations, 1)
        heads = ("layer", "operations", "of products", "backward", "share")
        cells = [
            (
                _name(row),
                readable_count(row.operations),
                readable_count(row.products) if row.products else "",
                readable_count(row.backward) if row.backward else "",
                f"{100 * row.operations / whole:.1f} %",
            )
            for row in self.rows
        ]
        told = [
            f"{readable_count(self.operations)} operations, {readable_count(self.products)} of them in products"
        ]
        told += [f"one turn of each of {self.open_loops} loops"] if self.open_loops else []
        told += [f"without {', '.join(self.unknown)}"] if self.unknown else []
        return f"{text_table(heads, cells, heads[1:])}\n{', '.join(told)}"

    __repr__ = __str__


def count_operations(
    function: Functional | Callable[..., Any],
    *args: Any,
    net: Functional | None = None,
    **kwargs: Any,
) -> OperationCount:
    """Count the operations on floats of a model's call, or of any function such as a training step, by layer.

    The function is traced, not run. A multiply and an add are two operations, as in `summary`, which says what counts
    how. ``products`` are those of matrix products and convolutions alone, the number that PyTorch's
    ``FlopCounterMode`` gives, except for a padding that makes more places of fewer, and for gradients of grouped
    convolutions, which it counts as if there were no groups. This count also knows loops (`nn.Repeat`, recurrent
    layers), what `nn.Remat` computes again, and what is done in backward passes.

    Args:
        function: what `functionalize` returned, of which ``apply`` is counted; or a function, also a jitted one.
        *args: its arguments: for a model ``params, state, *inputs``. Arrays may be ``jax.ShapeDtypeStruct``.
        net: the model that a function calls, for its layers' paths. Without it rows are named by the scopes that
            the models' classes and modules open.
        **kwargs: keyword arguments, such as ``train=True``.

    Returns:
        A table when printed, with ``operations``, ``products``, ``backward``, ``rows`` and ``within(path)``.

    Raises:
        TypeError: ``function`` is a module, or can not be called.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(784, 10), nn.Tanh()))
        >>> params, state = net.init(jax.random.key(0))
        >>> print(fn.count_operations(net, params, state, jnp.ones((32, 784))))
        layer       operations  of products  backward   share
        ─────────────────────────────────────────────────────
        0 (Linear)       502 k        502 k            99.9 %
        1 (Tanh)           320                          0.1 %
        ─────────────────────────────────────────────────────
        502 k operations, 502 k of them in products
        >>> step = fn.grad(lambda params, x: net.apply(params, state, x)[0].sum())
        >>> fn.count_operations(step, params, jnp.ones((32, 784)), net=net).within("0").products
        1003520

    Reference: https://github.com/pytorch/pytorch/blob/main/torch/utils/flop_counter.py
    """
    if isinstance(function, Functional):
        net, function = net or function, function.apply
    elif isinstance(function, Module):
        raise TypeError(
            "count_operations takes net = fn.functionalize(model), and then params, state and inputs; "
            f"got the {type(function).__name__} itself. fn.summary(model, shape) needs no params"
        )
    if not callable(function):
        raise TypeError(
            f"count_operations takes a model or a function; got {type(function).__name__}"
        )
    program, _ = traced_call(function, args, kwargs)
    kinds = None if net is None else kinds_of(net)
    return _table(count_program(program, kinds), kinds)


def kinds_of(net: Functional) -> dict[str, str]:
    """Return the names of a model's classes by its modules' paths.

    Example:
        >>> from funcnet.module.summaries.operations import kinds_of
        >>> kinds_of(fn.functionalize(nn.Sequential(nn.Tanh())))
        {'': 'Sequential', '0': 'Tanh'}
    """
    layout = net.observable.node.layout
    return {path: type(part).__name__ for path, part in layout.modules.items()}


def _table(counts: Counts, kinds: dict[str, str] | None) -> OperationCount:
    done = counts.operations
    paths = list(done) if kinds is None else [path for path in kinds if done[path]]
    rows = tuple(
        OperationRow(
            path,
            (kinds or {}).get(path, ""),
            done[path],
            counts.products[path],
            counts.backward[path],
        )
        for path in paths
    )
    return OperationCount(rows, tuple(sorted(counts.unknown)), counts.open_loops)


def _name(row: OperationRow) -> str:
    if row.path and row.kind:
        return f"{row.path} ({row.kind})"
    return row.path or row.kind or "(outside of any scope)"
