"""Functions of trees whose derivatives of every order are known in closed form.

Each function is ``f(tree) = profile(0.2 + <weights, tree>)``. Along a line it is
``phi(t) = f(tree + t * direction) = profile(a + b * t)``. What a composition of transforms makes of
``phi`` is written as a polynomial in two commuting operators: ``D``, the derivative, and the shift
that takes ``phi(t)`` to ``phi(t + 1)``. NumPy alone computes the answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Polynomial = dict[tuple[int, int], float]
"""``{(order, shift): coefficient}``: the sum of ``coefficient * phi^(order)(t + shift)``."""

IDENTITY: Polynomial = {(0, 0): 1.0}
D: Polynomial = {(1, 0): 1.0}
TWICE: Polynomial = {(0, 0): 1.0, (0, 1): 1.0}  # phi(t) + phi(t + 1)


def plus(left: Polynomial, right: Polynomial, factor: float = 1.0) -> Polynomial:
    keys = {**left, **right}
    return {key: left.get(key, 0.0) + factor * right.get(key, 0.0) for key in keys}


def times(left: Polynomial, right: Polynomial) -> Polynomial:
    product: Polynomial = {}
    for (order, shift), a in left.items():
        for (more, further), b in right.items():
            key = (order + more, shift + further)
            product[key] = product.get(key, 0.0) + a * b
    return product


@dataclass(frozen=True)
class Row:
    """A function of a tree, the tree, a direction, and ``phi``'s derivatives in closed form."""

    name: str
    make_tree: Callable[[], Any]
    profile: Callable[[Any], Any]
    derivative: Callable[[int, Any], Any]  # (order, argument) -> value
    step: complex  # the direction's elements: such that |b|, the scale of each derivative, is about 0.75
    is_complex: bool = False

    def __str__(self):
        return self.name

    def weights(self, leaf):
        return (0.5 / np.arange(1, leaf.size + 1).reshape(leaf.shape)).astype(leaf.dtype)

    def direction(self, leaf):
        return np.full(leaf.shape, self.step, leaf.dtype)

    def function(self, tree):
        total = 0.2
        for leaf in moving(tree):
            total = total + (self.weights(leaf) * leaf).sum()
        return self.profile(total) * factor(tree)

    def answer(self, tree, polynomial: Polynomial):
        """Return what the polynomial makes of ``phi`` at zero, and the sum of its terms' sizes."""
        a = 0.2 + sum((self.weights(leaf) * np.asarray(leaf)).sum() for leaf in moving(tree))
        b = sum((self.weights(leaf) * self.direction(leaf)).sum() for leaf in moving(tree))
        terms = [
            coefficient * b**order * self.derivative(order, a + b * shift)
            for (order, shift), coefficient in polynomial.items()
        ]
        size = sum(abs(term) for term in terms) * factor(tree)
        return np.asarray(sum(terms) * factor(tree)), np.asarray(size)


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
    return jnp.array([0.4, -0.7])


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


def sine(k, u):
    return np.sin(u + k * np.pi / 2)


def exponential(k, u):
    return np.exp(u)


def cubic(k, u):
    return [u**3, 3 * u**2, 6 * u, 6.0][k] if k < 4 else 0.0


ROWS = [
    Row("sine of a vector", plain, jnp.sin, sine, 1.0),
    Row("exponential of a nested tree", nested, jnp.exp, exponential, 0.6),
    Row("cubic of a vector", plain, lambda u: u * u * u, cubic, 1.0),
    Row("complex exponential", complex_pair, jnp.exp, exponential, 0.9 - 0.4j, is_complex=True),
]


def along(row: Row, tree):
    """Return the direction as a tangent of the tree: nothing for constants."""
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


def contract_twice(row: Row, tree, matrix):
    """Apply a matrix laid out as the tree inside the tree to the direction on both sides."""
    leaves, treedef = jax.tree.flatten(tree)
    total = 0.0
    for leaf, inner in zip(leaves, treedef.flatten_up_to(matrix), strict=True):
        if not is_moving(leaf) or not leaf.size:
            continue
        for part in moving(inner):
            axes = part.ndim - leaf.ndim
            if part.size:
                right = row.direction(part[(0,) * leaf.ndim])
                product = jnp.tensordot(part, right, axes) if axes else part * right
                total = total + (product * row.direction(leaf)).sum()
    return total
