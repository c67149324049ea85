"""L-BFGS: a quasi-Newton method that remembers a few steps instead of a Hessian."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice, check_positive
from funcnet.core.dtypes import at_least_float32, widest
from funcnet.core.leaf_kinds import is_trainable, trainable_leaves
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter, Hyperparameters
from funcnet.optim.leaf_rule import counted, jax_leaf, moves, require_state
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation, require_params
from funcnet.optim.row_sparse import RowSparse
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

    Example:
        >>> state = optim.lbfgs(history_size=5).init({"w": jnp.ones((2, 3))})
        >>> state.old_dirs.shape, int(state.n_iter)
        ((5, 6), 0)
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


@factory
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
        vector = _Vector(params)
        x = vector.join(vector.leaves)
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
        require_state("lbfgs", state, LBFGSState)
        require_params("lbfgs", params)
        if loss is None or value is None:
            raise ValueError(
                "lbfgs evaluates the loss along its way: call update(grads, state, params, "
                "value=value, loss=loss), where loss(params) is a scalar and value its value"
            )
        vector = _Vector(params)
        begin = vector.join(vector.leaves)
        treedef = jax.tree.structure(params)
        gradients = treedef.flatten_up_to(grads)
        mine = [gradients[i] for i in vector.places]

        def tree_at(x: Array) -> PyTree:
            rows = zip(vector.cut(x), vector.leaves, mine, strict=True)
            return vector.rebuild([new if moves(g) else old for new, old, g in rows])

        def evaluate(x: Array) -> tuple[Array, Array]:
            # Differentiated as a function of the real vector, a complex parameter is two reals.
            return jax.value_and_grad(lambda x: jnp.asarray(loss(tree_at(x))).astype(x.dtype))(x)

        state = state._replace(
            hyper=settings.at(state.hyper, state.n_iter), func_evals=counted(state.func_evals)
        )
        rate = state.hyper.as_dict(begin.dtype)["lr"]
        one = jnp.ones((), jnp.int32)
        gradient = vector.join(mine)
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
            state = loop.state._replace(t=point.t, func_evals=counted(loop.state.func_evals, used))
            x = loop.x + point.t * direction
            return _Loop(state, x, point.value, point.grad, loop.iterations, evals, stop)

        loop = jax.lax.while_loop(lambda loop: ~loop.stop, iterate, loop)
        updates = list(gradients)
        for i, g, step in zip(vector.places, mine, vector.cut(loop.x - begin), strict=True):
            updates[i] = step if moves(g) else g
        return treedef.unflatten(updates), loop.state

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
        n_iter=counted(state.n_iter),
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


class _Vector:
    """The leaves of a tree that move, as one real vector in the widest of their dtypes, float32 at least."""

    def __init__(self, params: PyTree) -> None:
        self.leaves, self.rebuild = trainable_leaves(params)
        self.places = [i for i, p in enumerate(jax.tree.leaves(params)) if is_trainable(p)]
        self.dtypes = [np.dtype(jnp.result_type(x)) for x in self.leaves]
        self.shapes = [
            (*jnp.shape(x), 2) if np.issubdtype(dtype, np.complexfloating) else jnp.shape(x)
            for x, dtype in zip(self.leaves, self.dtypes, strict=True)
        ]
        reals = [at_least_float32(jnp.finfo(dtype).dtype) for dtype in self.dtypes]
        self.dtype = widest(*reals) if reals else jnp.zeros(()).dtype
        self.size = sum(map(math.prod, self.shapes))

    def join(self, leaves: Sequence[Any]) -> Array:
        """Make the vector of the leaves that move; one without a gradient gives zeros."""
        parts = [self._flat(*row) for row in zip(leaves, self.leaves, self.shapes, strict=True)]
        return jnp.concatenate([jnp.zeros((0,), self.dtype), *parts])

    def _flat(self, leaf: Any, like: Any, shape: tuple[int, ...]) -> Array:
        if not moves(leaf):
            return jnp.zeros((math.prod(shape),), self.dtype)
        if isinstance(leaf, RowSparse):
            leaf = leaf.add_to(jnp.zeros(jnp.shape(like), leaf.values.dtype))
        x = jax_leaf(leaf)
        if jnp.iscomplexobj(x):
            x = jnp.stack([x.real, x.imag], -1)
        return x.ravel().astype(self.dtype)

    def cut(self, x: Array) -> list[Array]:
        """Cut a vector into leaves of their shapes and dtypes."""
        parts, begin = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            part = x[begin : begin + math.prod(shape)].reshape(shape)
            begin += math.prod(shape)
            if np.issubdtype(dtype, np.complexfloating):
                part = jax.lax.complex(part[..., 0], part[..., 1])
            parts.append(part.astype(dtype))
        return parts
