"""Roots and fixed points, with derivatives that do not go through the steps that found them.

The derivatives come from the implicit function theorem.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice, check_positive
from funcnet.core.leaf_kinds import is_trainable

__all__ = ["fixed_point", "root"]

_Vector = Array
_Function = Callable[[_Vector], _Vector]

_DENSE_UP_TO = 256


def root(
    fun: Callable[..., PyTree],
    init: PyTree,
    *args: Any,
    tol: float | None = None,
    max_steps: int = 50,
    linear_solver: str = "auto",
) -> PyTree:
    r"""Find ``x`` with ``fun(x, *args) = 0`` by Newton's method, differentiably in ``args``.

    .. math:: \frac{\partial x}{\partial a}
              = -\left(\frac{\partial f}{\partial x}\right)^{-1} \frac{\partial f}{\partial a}

    The derivative does not depend on how the root was found: it costs one linear solve at the root,
    no memory for the steps, and works forwards, backwards and repeatedly.

    Args:
        fun: ``fun(x, *args)``, with the structure and shapes of ``x``; it may also close over what
            is differentiated. It needs a forward derivative, which everything has except a
            ``custom_vjp``.
        init: where to start, any tree of real arrays; it has no influence on derivatives.
        *args: passed on.
        tol: stop after a step of at most ``tol (1 + |x|)`` in every element; the square root of the
            type's precision by default, because the error is squared once more.
        max_steps: stop after so many steps in any case.
        linear_solver: ``"dense"`` forms the matrix, ``"gmres"`` takes products only; ``"auto"``
            is dense up to 256 elements.

    Returns:
        The root, with the structure of ``init``.

    Raises:
        TypeError: a leaf is not real.

    >>> square_root = lambda a: transforms.root(lambda x, a: x**2 - a, 1.0, a)
    >>> round(float(square_root(2.0)), 4), round(float(transforms.grad(square_root)(2.0)), 4)
    (1.4142, 0.3536)

    Reference: Blondel et al., 2022, "Efficient and modular implicit differentiation".
    """
    start, as_tree = _vector_of_reals(init)
    solve = _linear_solver(linear_solver, start.size)
    precision = float(jnp.finfo(start.dtype).eps)
    tolerance = precision**0.5 if tol is None else tol

    def residual(x: _Vector) -> _Vector:
        return _like(fun(as_tree(x), *args), start, "fun")

    def newton(f: _Function, x: _Vector) -> _Vector:
        def step(x: _Vector) -> _Vector:
            value, slope = jax.linearize(f, x)
            return -solve(slope, value)

        return _repeat(step, x, tolerance, max_steps)

    return as_tree(jax.lax.custom_root(residual, start, newton, solve))


def fixed_point(
    fun: Callable[..., PyTree],
    init: PyTree,
    *args: Any,
    tol: float | None = None,
    max_steps: int = 1000,
    damping: float = 1.0,
    linear_solver: str = "auto",
) -> PyTree:
    r"""Find ``x = fun(x, *args)`` by iteration, differentiably in ``args``.

    .. math:: x_{k+1} = (1 - \lambda)\, x_k + \lambda\, f(x_k, a), \qquad
              \frac{\partial x}{\partial a}
              = \left(I - \frac{\partial f}{\partial x}\right)^{-1} \frac{\partial f}{\partial a}

    As `root`: the derivative is that of the fixed point, not of the iteration.

    Args:
        fun: ``fun(x, *args)``, with the structure and shapes of ``x``; a contraction near the
            fixed point. It needs a forward derivative, which everything has except a
            ``custom_vjp``.
        init: where to start, any tree of real arrays; it has no influence on derivatives.
        *args: passed on.
        tol: stop when no element changes by more than ``tol (1 + |x|)``; ten times the type's
            precision by default.
        max_steps: stop after so many steps in any case.
        damping: the share :math:`\lambda` of the new value in each step.
        linear_solver: for the derivative: ``"dense"``, ``"gmres"`` or ``"auto"``; see `root`.

    Returns:
        The fixed point, with the structure of ``init``.

    Raises:
        TypeError: a leaf is not real.

    >>> cosine = lambda a: transforms.fixed_point(lambda x, a: jnp.cos(a * x), 0.5, a)
    >>> round(float(cosine(1.0)), 4)
    0.7391

    Reference: Bai, Kolter & Koltun, 2019, "Deep equilibrium models".
    """
    check_positive("damping", damping)
    start, as_tree = _vector_of_reals(init)
    solve = _linear_solver(linear_solver, start.size)
    precision = float(jnp.finfo(start.dtype).eps)
    tolerance = 10 * precision if tol is None else tol

    def change(x: _Vector) -> _Vector:
        return _like(fun(as_tree(x), *args), start, "fun") - x

    def iterate(f: _Function, x: _Vector) -> _Vector:
        return _repeat(lambda x: jnp.asarray(damping, x.dtype) * f(x), x, tolerance, max_steps)

    return as_tree(jax.lax.custom_root(change, start, iterate, solve))


def _vector_of_reals(tree: PyTree) -> tuple[_Vector, Callable[[_Vector], PyTree]]:
    for leaf in jax.tree.leaves(tree):
        if not is_trainable(leaf) or jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
            raise TypeError(f"init must hold real arrays; got a leaf of {jnp.result_type(leaf)}")
    vector, as_tree = ravel_pytree(tree)
    return jax.lax.stop_gradient(vector), as_tree


def _like(value: PyTree, start: _Vector, name: str) -> _Vector:
    """Return what the function gave as a vector of the start's length and type."""
    vector, _ = ravel_pytree(value)
    if vector.size != start.size:
        raise ValueError(
            f"{name} must return the structure and shapes of init: {start.size} elements; "
            f"got {vector.size}"
        )
    return vector.astype(start.dtype)


def _repeat(step: _Function, x: _Vector, tolerance: float, max_steps: int) -> _Vector:
    """Take steps until one is small compared with the point, or ``max_steps`` are done."""

    def take(state: Any) -> Any:
        x, _, count = state
        taken = step(x)
        small = (jnp.abs(taken) <= jnp.asarray(tolerance, x.dtype) * (1 + jnp.abs(x))).all()
        return x + taken, small, count + 1

    def unfinished(state: Any) -> Array:
        _, small, count = state
        return ~small & (count < max_steps)

    return jax.lax.while_loop(unfinished, take, (x, jnp.bool_(False), jnp.int32(0)))[0]


def _linear_solver(name: str, size: int) -> Callable[[_Function, _Vector], _Vector]:
    """Return ``solve(matvec, b)``, itself linear in ``b`` and transposable."""
    check_choice("linear_solver", name, ("auto", "dense", "gmres"))
    dense = name == "dense" or (name == "auto" and size <= _DENSE_UP_TO)
    return _dense_solve if dense else _gmres_solve


def _dense_solve(matvec: _Function, b: _Vector) -> _Vector:
    matrix = jax.vmap(matvec, out_axes=1)(jnp.eye(b.size, dtype=b.dtype))
    return jnp.linalg.solve(matrix, b)


def _gmres_solve(matvec: _Function, b: _Vector) -> _Vector:
    accuracy = float(jnp.finfo(b.dtype).eps) * 100

    def solve(matvec: _Function, b: _Vector) -> _Vector:
        options = {"tol": accuracy, "restart": min(b.size, 50), "maxiter": 100}
        return jax.scipy.sparse.linalg.gmres(matvec, b, **options)[0]

    return jax.lax.custom_linear_solve(matvec, b, solve=solve, transpose_solve=solve)
