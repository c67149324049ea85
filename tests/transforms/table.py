"""Functions with closed-form derivatives of every order, and transforms as operators on them.

Each function is ``f(tree) = profile(offset + <weights, tree>)``. Along a line it is
``phi(t) = f(tree + t * direction) = profile(a + b * t)``, whose derivatives are known. Each
transform is used as an operator from such functions to such functions whose effect on ``phi`` is
known too: ``D`` (a derivative), ``DD``, ``S`` (the sum ``phi(t) + phi(t + 1)``), ``ID + D`` or
nothing. So any composition of them has a closed-form answer, computed here by NumPy alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import transforms as T


@dataclass(frozen=True)
class Row:
    """A function of a tree, the tree, a direction, and ``phi``'s derivatives in closed form."""

    name: str
    make_tree: Callable[[], Any]
    profile: Callable[[Any], Any]
    derivative: Callable[[int, Any], Any]  # (order, argument) -> value
    is_complex: bool = False

    def weights(self, leaf):
        count = np.arange(1, leaf.size + 1).reshape(leaf.shape)
        return (0.3 * (-1.0) ** count / count).astype(leaf.dtype)

    def direction(self, leaf):
        return np.full(leaf.shape, 0.5 - 0.25j if self.is_complex else 0.5).astype(leaf.dtype)

    def function(self, tree):
        total = 0.2
        for leaf in moving(tree):
            total = total + (self.weights(leaf) * leaf).sum()
        return self.profile(total) * factor(tree)

    def closed_form(self, tree, orders):
        """Sum ``coefficient * phi^(order)(shift)`` over the terms."""
        a = 0.2 + sum((self.weights(leaf) * np.asarray(leaf)).sum() for leaf in moving(tree))
        b = sum((self.weights(leaf) * self.direction(leaf)).sum() for leaf in moving(tree))
        terms = [
            coefficient * b**order * self.derivative(order, a + b * shift)
            for (order, shift), coefficient in orders.items()
        ]
        return np.asarray(sum(terms) * factor(tree))


def is_moving(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def moving(tree) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if is_moving(leaf)]


def factor(tree) -> Any:
    """Use the integer and boolean leaves, so that they are part of the function."""
    if not isinstance(tree, dict) or "count" not in tree:
        return 1.0
    picked = jnp.where(tree["mask"], tree["count"], 0)
    return picked.sum().astype(jnp.float32) if isinstance(picked, jax.Array) else picked


def plain():
    return jnp.array([0.4, -0.7, 1.1])


def nested():
    return {
        "layers": [{"weight": jnp.array([[0.4], [-0.7]])}, (jnp.float32(1.1),)],
        "empty": jnp.zeros((0, 2)),
        "none": None,
        "count": jnp.array([2, 3]),
        "mask": jnp.array([True, False]),
        "key": jax.random.key(7),
    }


def complex_pair():
    return (jnp.array([0.4 + 0.2j, -0.7j]), {"step": jnp.array(3)})


ROWS = [
    Row("sine of a vector", plain, jnp.sin, lambda k, u: np.sin(u + k * np.pi / 2)),
    Row("exponential of a nested tree", nested, jnp.exp, lambda k, u: np.exp(u)),
    Row(
        "cubic of a nested tree",
        nested,
        lambda u: u * u * u,
        lambda k, u: [u**3, 3 * u**2, 6 * u, 6.0][k] if k < 4 else 0.0,
    ),
    Row("complex exponential", complex_pair, jnp.exp, lambda k, u: np.exp(u), is_complex=True),
]


def along(row: Row, tree):
    """Return the direction as a tangent of the tree: zeros or nothing for constants."""
    return jax.tree.map(lambda leaf: row.direction(leaf) if is_moving(leaf) else None, tree)


def shifted(row: Row, tree, by):
    def shift(leaf):
        if not is_moving(leaf):
            return leaf
        return leaf + row.direction(leaf) * jnp.asarray(by, leaf.dtype)

    return jax.tree.map(shift, tree)


def contract(row: Row, derivative):
    """Apply a derivative laid out as the tree to the direction."""
    parts = [(part * row.direction(part)).sum() for part in moving(derivative) if part.size]
    return sum(parts[1:], parts[0])


def _jacobian(which, row, f):
    jacobian = which(f, holomorphic=row.is_complex)
    return lambda tree: contract(row, jacobian(tree))


def _hessian(row, f):
    matrix = T.hessian(f, holomorphic=row.is_complex)

    def twice(tree):
        leaves, treedef = jax.tree.flatten(tree)
        rows = treedef.flatten_up_to(matrix(tree))
        total = 0.0
        for leaf, inner in zip(leaves, rows, strict=True):
            if not is_moving(leaf) or not leaf.size:
                continue
            for part in moving(inner):
                axes = part.ndim - leaf.ndim
                if part.size:
                    right = row.direction(part[(0,) * leaf.ndim])
                    product = jnp.tensordot(part, right, axes) if axes else part * right
                    total = total + (product * row.direction(leaf)).sum()
        return total

    return twice


def _value_and_grad(row, f):
    both = T.value_and_grad(f, holomorphic=row.is_complex)

    def summed(tree):
        value, gradient = both(tree)
        return value + contract(row, gradient)

    return summed


def _hvp(which, row, f):
    def product(tree):
        _, (vector,) = which(f, (tree,), (along(row, tree),))
        return contract(row, vector)

    return product


def _vjp(row, f):
    def pulled(tree):
        value, pullback = T.vjp(f, tree)
        return contract(row, pullback(jnp.ones_like(value))[0])

    return pulled


def _linearize(row, f):
    return lambda tree: T.linearize(f, tree)[1](along(row, tree))


def _vmap(row, f, **options):
    def both(tree):
        shifts = jnp.arange(2.0)
        return T.vmap(lambda by: f(shifted(row, tree, by)), **options)(shifts).sum()

    return both


def _scan(row, f):
    def looped(tree):
        def step(total, by):
            return total + f(shifted(row, tree, by)), None

        start = jnp.zeros((), jnp.complex64 if row.is_complex else jnp.float32)
        return T.scan(step, start, jnp.arange(2.0))[0]

    return looped


def _identity(orders):
    return orders


def _derive(times):
    return lambda orders: {(order + times, at): c for (order, at), c in orders.items()}


def _double(orders):
    return _add(orders, {(order, at + 1): c for (order, at), c in orders.items()})


def _with_derivative(orders):
    return _add(orders, _derive(1)(orders))


def _add(left, right):
    return {term: left.get(term, 0) + right.get(term, 0) for term in {**left, **right}}


# name: (operator on functions, its effect on phi, whether it takes holomorphic functions)
OPERATORS: dict[str, tuple[Any, Any, bool]] = {
    "grad": (
        lambda row, f: lambda x: contract(row, T.grad(f, holomorphic=row.is_complex)(x)),
        _derive(1),
        True,
    ),
    "value_and_grad": (_value_and_grad, _with_derivative, True),
    "jvp": (lambda row, f: lambda x: T.jvp(f, (x,), (along(row, x),))[1], _derive(1), True),
    "vjp": (_vjp, _derive(1), True),
    "linearize": (_linearize, _derive(1), True),
    "jacfwd": (lambda row, f: _jacobian(T.jacfwd, row, f), _derive(1), True),
    "jacrev": (lambda row, f: _jacobian(T.jacrev, row, f), _derive(1), True),
    "hessian": (_hessian, _derive(2), True),
    "hvp": (lambda row, f: _hvp(T.hvp, row, f), _derive(2), False),
    "vhp": (lambda row, f: _hvp(T.vhp, row, f), _derive(2), False),
    "vmap": (_vmap, _double, True),
    "vmap in chunks": (lambda row, f: _vmap(row, f, chunk_size=1), _double, True),
    "scan": (_scan, _double, True),
    "checkpoint": (lambda row, f: T.checkpoint(f, policy="nothing"), _identity, True),
    "jit": (lambda row, f: T.jit(f), _identity, True),
    "strict": (lambda row, f: T.strict(f), _identity, True),
}


def composition(row: Row, names: tuple[str, ...]):
    """Return the row's function under the named operators, innermost last, and its answer."""
    function, orders = row.function, {(0, 0): 1.0}
    for name in reversed(names):
        operator, effect, _ = OPERATORS[name]
        function, orders = operator(row, function), effect(orders)
    return function, row.closed_form(row.make_tree(), orders)
