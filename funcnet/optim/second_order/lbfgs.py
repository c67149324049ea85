"""L-BFGS: a quasi-Newton method that remembers a few steps instead of a Hessian."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice, check_positive
from funcnet.optim.hyperparameters import Hyperparameter, Hyperparameters
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation, require_params
from funcnet.optim.second_order.line_search import Point, strong_wolfe
from funcnet.optim.settings import Settings, number

__all__ = ["LBFGSState", "lbfgs"]


class LBFGSState(NamedTuple):
    """State of `lbfgs`: all of the tree as one vector of *n* numbers.

    Attributes:
        n_iter: iterations in all.
        func_evals: evaluations of the loss in all.
        hyper: the learning rate.
        direction: the latest direction, ``(n,)``.
        t: the latest step length.
        old_dirs: differences of gradients, newest last, ``(history_size, n)``.
        old_stps: differences of parameters, likewise.
        ro: one over their inner products; 0 marks a place not in use.
        h_diag: the scale of the first guess of the inverse Hessian.
        prev_flat_grad: the latest gradient but one.
    """

    n_iter: Array
    func_evals: Array
    hyper: Hyperparameters
    direction: Array
    t: Array
    old_dirs: Array
    old_stps: Array
    ro: Array
    h_diag: Array
    prev_flat_grad: Array


class _Loop(NamedTuple):
    state: LBFGSState
    x: Array
    value: Array
    grad: Array
    iterations: Array
    evals: Array
    stop: Array


def lbfgs(
    lr: Hyperparameter = 1.0,
    max_iter: int = 20,
    max_eval: int | None = None,
    tolerance_grad: float = 1e-7,
    tolerance_change: float = 1e-9,
    history_size: int = 100,
    line_search_fn: str | None = None,
) -> GradientTransformation:
    r"""L-BFGS, of which one update makes up to ``max_iter`` iterations.

    .. math:: p \leftarrow p - t_k H_k g_k

    where :math:`H_k` is built from the latest differences of parameters and gradients, and
    :math:`t_k` is ``lr`` or comes from a line search. The loss is evaluated within the update, all
    of which compiles to one program: pass it, and its value and gradient at ``params``::

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value, loss=loss)

    Of complex parameters ``grads`` come conjugated, as for every optimizer: `conjugate`.

    Args:
        lr: the step length, or the first that the line search tries; in the first iteration of all
            it is divided by the gradient's sum of absolute values where that is above one.
        max_iter: iterations of one update.
        max_eval: evaluations of one update; ``None`` for ``max_iter * 5 // 4``.
        tolerance_grad: an update ends when no component of the gradient is larger.
        tolerance_change: an update ends when parameters or value change by less.
        history_size: how many differences are kept; the state has twice that many copies of the
            parameters.
        line_search_fn: ``"strong_wolfe"`` or ``None``.

    Returns:
        An optimizer with an `LBFGSState`.

    Raises:
        ValueError: an unknown line search, a size that is not positive; at ``update``, if the loss
            or its value is missing.

    Example:
        >>> def loss(p):
        ...     return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
        >>> optimizer = optim.lbfgs(line_search_fn="strong_wolfe", max_iter=100, history_size=10)
        >>> params = jnp.array([-1.0, 1.5])
        >>> value, grads = jax.value_and_grad(loss)(params)
        >>> updates, state = jax.jit(optimizer.update, static_argnames="loss")(
        ...     grads, optimizer.init(params), params, value=value, loss=loss)
        >>> bool(jnp.abs(params + updates - 1).max() < 1e-2)
        True

    Reference: Nocedal and Wright, "Numerical Optimization", algorithm 7.4;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.LBFGS.html
    """
    settings = Settings(lr=number(lr))
    check_choice("line_search_fn", line_search_fn, (None, "strong_wolfe"))
    check_positive("max_iter", max_iter)
    check_positive("history_size", history_size)
    most = max_iter * 5 // 4 if max_eval is None else max_eval

    def init(params: PyTree) -> LBFGSState:
        x = _flatten(params)
        zero, count = jnp.zeros((), x.dtype), jnp.zeros((), jnp.int32)
        history = jnp.zeros((history_size, x.size), x.dtype)
        return LBFGSState(
            n_iter=count,
            func_evals=count.copy(),
            hyper=settings.init(),
            direction=jnp.zeros_like(x),
            t=zero,
            old_dirs=history,
            old_stps=history.copy(),
            ro=jnp.zeros((history_size,), x.dtype),
            h_diag=jnp.ones((), x.dtype),
            prev_flat_grad=jnp.zeros_like(x),
        )

    def update(
        grads: PyTree,
        state: LBFGSState,
        params: PyTree = None,
        *,
        value: Any = None,
        loss: Callable[[PyTree], Array] | None = None,
        **extra: Any,
    ) -> tuple[PyTree, LBFGSState]:
        require_params("lbfgs", params)
        if loss is None or value is None:
            raise ValueError(
                "lbfgs evaluates the loss along its way: call update(grads, state, params, "
                "value=value, loss=loss), where loss(params) is a scalar and value its value"
            )
        begin = _flatten(params)

        def evaluate(x: Array) -> tuple[Array, Array]:
            value, grads = jax.value_and_grad(loss)(_unflatten(x, params))
            # JAX's gradient of a complex parameter points uphill once conjugated.
            return value.astype(x.dtype), _flatten(jax.tree.map(jnp.conj, grads))

        state = state._replace(
            hyper=settings.at(state.hyper, state.n_iter), func_evals=state.func_evals + 1
        )
        rate = state.hyper.as_dict(begin.dtype)["lr"]
        one = jnp.ones((), jnp.int32)
        gradient = _flatten(grads)
        settled = _largest(gradient) <= tolerance_grad
        value = jnp.asarray(value).astype(begin.dtype)
        loop = _Loop(state, begin, value, gradient, 0 * one, one, settled)

        def move(loop: _Loop, t: Array) -> tuple[Point, Array]:
            if line_search_fn is None:
                return _step(evaluate, loop, t, last=loop.iterations == max_iter)
            return _search(evaluate, loop, t, most - loop.evals, tolerance_change)

        def iterate(loop: _Loop) -> _Loop:
            state = _remember(loop.state, loop.grad)
            loop = loop._replace(state=state, iterations=loop.iterations + 1)
            first = state.n_iter == 1
            t = jnp.where(first, jnp.minimum(1, 1 / jnp.sum(jnp.abs(loop.grad))), 1) * rate
            loop = loop._replace(state=state._replace(t=t))
            uphill = jnp.vdot(loop.grad, state.direction) > -tolerance_change
            return jax.lax.cond(
                uphill, lambda loop: loop._replace(stop=jnp.array(True)), advance, loop
            )

        def advance(loop: _Loop) -> _Loop:
            point, used = move(loop, loop.state.t)
            direction, evals = loop.state.direction, loop.evals + used
            stop = (
                (loop.iterations == max_iter)
                | (evals >= most)
                | (_largest(point.grad) <= tolerance_grad)
                | (_largest(direction * point.t) <= tolerance_change)
                | (jnp.abs(point.value - loop.value) < tolerance_change)
            )
            state = loop.state._replace(t=point.t, func_evals=loop.state.func_evals + used)
            x = loop.x + point.t * direction
            return _Loop(state, x, point.value, point.grad, loop.iterations, evals, stop)

        loop = jax.lax.while_loop(lambda loop: ~loop.stop, iterate, loop)
        return _unflatten(loop.x - begin, params), loop.state

    return ShapedTransformation(init, update)


def _step(
    evaluate: Callable[[Array], tuple[Array, Array]], loop: _Loop, t: Array, last: Array
) -> tuple[Point, Array]:
    """Go the fixed step; after the last one the loss is not needed."""
    direction = loop.state.direction
    value, grad, used = jax.lax.cond(
        last,
        lambda x: (loop.value, loop.grad, jnp.zeros((), jnp.int32)),
        lambda x: (*evaluate(x), jnp.ones((), jnp.int32)),
        loop.x + t * direction,
    )
    return Point(t, value, grad, jnp.zeros_like(value)), used


def _search(
    evaluate: Callable[[Array], tuple[Array, Array]],
    loop: _Loop,
    t: Array,
    max_steps: Array,
    tolerance_change: float,
) -> tuple[Point, Array]:
    direction = loop.state.direction

    def at(t: Array) -> Point:
        value, grad = evaluate(loop.x + t * direction)
        return Point(t, value, grad, jnp.vdot(grad, direction))

    start = Point(jnp.zeros_like(t), loop.value, loop.grad, jnp.vdot(loop.grad, direction))
    size = _largest(direction)
    return strong_wolfe(at, start, t, size, max_steps, tolerance_change=tolerance_change)


def _remember(state: LBFGSState, grad: Array) -> LBFGSState:
    """Take the latest step into the memory and compute the next direction, ``-H g``."""
    fresh = state.n_iter == 0
    y, s = grad - state.prev_flat_grad, state.direction * state.t
    ys = jnp.vdot(y, s)
    take = ~fresh & (ys > 1e-10)

    def push(history: Array, new: Array) -> Array:
        return jnp.where(take, jnp.concatenate([history[1:], new[None]]), history)

    safe = jnp.where(take, ys, 1)
    dirs, stps = push(state.old_dirs, y), push(state.old_stps, s)
    ro = push(state.ro, 1 / safe)
    h_diag = jnp.where(take, safe / jnp.where(take, jnp.vdot(y, y), 1), state.h_diag)
    return state._replace(
        n_iter=state.n_iter + 1,
        old_dirs=dirs,
        old_stps=stps,
        ro=ro,
        h_diag=h_diag,
        direction=_two_loops(-grad, dirs, stps, ro, h_diag),
        prev_flat_grad=grad,
    )


def _two_loops(q: Array, dirs: Array, stps: Array, ro: Array, h_diag: Array) -> Array:
    """Multiply a vector by the inverse Hessian; places not in use have ``ro = 0``."""

    def backward(q: Array, memory: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        y, s, r = memory
        alpha = r * jnp.vdot(s, q)
        return q - alpha * y, alpha

    def forward(r: Array, memory: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        y, s, ro, alpha = memory
        return r + s * (alpha - ro * jnp.vdot(y, r)), None

    q, alphas = jax.lax.scan(backward, q, (dirs, stps, ro), reverse=True)
    return jax.lax.scan(forward, q * h_diag, (dirs, stps, ro, alphas))[0]


def _largest(x: Array) -> Array:
    return jnp.max(jnp.abs(x), initial=0.0)


def _flatten(tree: PyTree) -> Array:
    """Join all leaves to one real vector, in the widest of their dtypes."""
    leaves = [jnp.asarray(x) for x in jax.tree.leaves(tree)]
    parts = [
        jnp.stack([x.real, x.imag], -1).ravel() if jnp.iscomplexobj(x) else x.ravel()
        for x in leaves
    ]
    if not parts:
        return jnp.zeros((0,))
    wide = np.result_type(*[part.dtype for part in parts])
    return jnp.concatenate([part.astype(wide) for part in parts])


def _unflatten(x: Array, like: PyTree) -> PyTree:
    """Cut a vector into leaves of the shapes and dtypes of another tree."""
    leaves, treedef = jax.tree.flatten(like)
    cut, begin = [], 0
    for leaf in leaves:
        shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
        double = jnp.issubdtype(dtype, jnp.complexfloating)
        size = math.prod(shape) * (2 if double else 1)
        part = x[begin : begin + size].reshape((*shape, 2) if double else shape)
        part = jax.lax.complex(part[..., 0], part[..., 1]) if double else part
        cut.append(part.astype(dtype))
        begin += size
    return treedef.unflatten(cut)
