"""Optimizers around an optimizer: accumulate gradients, skip bad steps, keep averages."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_positive, check_probability
from funcnet.optim.leaves import is_trainable
from funcnet.optim.protocol import (
    GradientTransformation,
    ShapedTransformation,
    apply_updates,
    require_params,
    with_extra,
)

__all__ = [
    "AccumulateState",
    "AverageState",
    "LookaheadState",
    "SkipState",
    "accumulate",
    "all_finite",
    "average",
    "lookahead",
    "skip_nonfinite",
]


def like(inner: GradientTransformation, init: Any, update: Any) -> GradientTransformation:
    """Make a transformation of the same kind as the one inside it."""
    shaped = isinstance(inner, ShapedTransformation)
    return (ShapedTransformation if shaped else GradientTransformation)(init, update)


def nothing(tree: PyTree) -> PyTree:
    """Make updates that leave every parameter as it is, bit for bit."""
    return jax.tree.map(lambda x: jnp.full_like(x, -0.0) if is_trainable(x) else x, tree)


def choose(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    """Select one of two trees, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def copied(params: PyTree) -> PyTree:
    """Copy a tree, so that it and the original may both be donated."""
    return jax.tree.map(lambda p: jnp.array(p, copy=True), params)


def _wide(x: Any) -> Any:
    return np.promote_types(jnp.result_type(x), jnp.float32)


class AccumulateState(NamedTuple):
    """State of `accumulate`: micro-steps since the last step, their mean gradient, the inner."""

    micro_step: Array
    grads: PyTree
    inner: PyTree


def accumulate(optimizer: GradientTransformation, steps: int) -> GradientTransformation:
    r"""Step once for every ``steps`` calls, with the mean of their gradients.

    Between steps the updates change nothing. The mean is taken in at least 32 bits. Where all
    micro-batches are at hand at once, ``value_and_grad(..., microbatches=k)`` does the same
    without a buffer in the state.

    Args:
        optimizer: the optimizer inside.
        steps: how many gradients make one.

    Returns:
        An optimizer with an `AccumulateState`.

    Raises:
        ValueError: ``steps`` is not positive.

    Example:
        >>> optimizer = optim.accumulate(optim.sgd(1.0), 2)
        >>> state = optimizer.init(jnp.zeros(1))
        >>> first, state = optimizer.update(jnp.array([1.0]), state)
        >>> second, state = optimizer.update(jnp.array([3.0]), state)
        >>> first.tolist(), second.tolist()
        ([-0.0], [-2.0])
    """
    check_positive("steps", steps)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> AccumulateState:
        zeros = jax.tree.map(
            lambda p: jnp.zeros(jnp.shape(p), _wide(p)) if is_trainable(p) else p, params
        )
        return AccumulateState(jnp.zeros((), jnp.int32), zeros, optimizer.init(params))

    def update(
        grads: PyTree, state: AccumulateState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, AccumulateState]:
        mean = jax.tree.map(
            lambda total, g: (
                total + jnp.asarray(g).astype(total.dtype) / steps if is_trainable(g) else total
            ),
            state.grads,
            grads,
        )

        def step(inner: PyTree) -> tuple[PyTree, PyTree, PyTree]:
            updates, inner = inner_update(mean, inner, params, **extra)
            return updates, inner, jax.tree.map(jnp.zeros_like, mean)

        def wait(inner: PyTree) -> tuple[PyTree, PyTree, PyTree]:
            shapes = jax.eval_shape(step, inner)[0]
            quiet = jax.tree.map(lambda x: jnp.full(x.shape, -0.0, x.dtype), shapes)
            return quiet, inner, mean

        last = state.micro_step == steps - 1
        updates, inner, kept = jax.lax.cond(last, step, wait, state.inner)
        micro_step = jnp.where(last, 0, state.micro_step + 1).astype(jnp.int32)
        return updates, AccumulateState(micro_step, kept, inner)

    return like(optimizer, init, update)


def all_finite(tree: PyTree) -> Array:
    """Say whether every number of a tree is finite.

    Example:
        >>> bool(optim.all_finite({"a": jnp.ones(2), "b": jnp.array([jnp.nan])}))
        False
    """
    found = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree) if is_trainable(x)]
    return jnp.stack(found).all() if found else jnp.array(True)


class SkipState(NamedTuple):
    """State of `skip_nonfinite`: steps skipped in all, and in a row; the inner state."""

    skipped: Array
    in_a_row: Array
    inner: PyTree


def skip_nonfinite(optimizer: GradientTransformation) -> GradientTransformation:
    """Skip a step whose gradients hold an infinity or a NaN, and count it.

    Neither the parameters nor the inner optimizer see such a step. Watch ``state.in_a_row``: a run
    that skips every step is not training.

    Args:
        optimizer: the optimizer inside.

    Returns:
        An optimizer with a `SkipState`.

    Example:
        >>> optimizer = optim.skip_nonfinite(optim.sgd(1.0))
        >>> updates, state = optimizer.update(jnp.array([jnp.inf]), optimizer.init(jnp.zeros(1)))
        >>> updates.tolist(), int(state.skipped)
        ([-0.0], 1)
    """
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> SkipState:
        zero = jnp.zeros((), jnp.int32)
        return SkipState(zero, zero.copy(), optimizer.init(params))

    def update(
        grads: PyTree, state: SkipState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, SkipState]:
        good = all_finite(grads)
        updates, inner = inner_update(grads, state.inner, params, **extra)
        updates = choose(good, updates, nothing(updates))
        inner = choose(good, inner, state.inner)
        bad = (~good).astype(jnp.int32)
        return updates, SkipState(state.skipped + bad, (state.in_a_row + 1) * bad, inner)

    return like(optimizer, init, update)


class AverageState(NamedTuple):
    """State of `average`: the count of steps, the averaged parameters, the inner state."""

    step: Array
    average: PyTree
    inner: PyTree


def average(
    optimizer: GradientTransformation, decay: float | None = 0.999, *, start: int = 0
) -> GradientTransformation:
    r"""Keep an average of the parameters beside an optimizer that it does not disturb.

    .. math:: a_t = d\, a_{t-1} + (1 - d)\, p_t \qquad\text{or}\qquad
              a_t = a_{t-1} + (p_t - a_{t-1}) / (t - t_0)

    The average is ``state.average``, of the parameters' structure; evaluate with it.

    Args:
        optimizer: the optimizer inside.
        decay: *d* of the exponential average; ``None`` for the plain mean of stochastic weight
            averaging.
        start: :math:`t_0`; until after that many steps the average is the latest parameters. With
            1, the exponential average is that of PyTorch's ``AveragedModel``.

    Returns:
        An optimizer with an `AverageState`; its ``update`` needs the parameters.

    Raises:
        ValueError: ``decay`` is not in [0, 1].

    Example:
        >>> optimizer = optim.average(optim.sgd(1.0), decay=0.5)
        >>> params = jnp.array([0.0])
        >>> state = optimizer.init(params)
        >>> updates, state = optimizer.update(jnp.array([-1.0]), state, params)
        >>> state.average.tolist()
        [0.5]

    Reference: Polyak and Juditsky, 1992; Izmailov et al., "Averaging Weights Leads to Wider Optima
    and Better Generalization", UAI 2018; ``torch.optim.swa_utils.AveragedModel``
    """
    if decay is not None:
        check_probability("decay", decay)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), copied(params), optimizer.init(params))

    def update(
        grads: PyTree, state: AverageState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, AverageState]:
        require_params("average", params)
        updates, inner = inner_update(grads, state.inner, params, **extra)
        count = state.step + jnp.ones((), jnp.int32)
        since = jnp.maximum(count - start, 1).astype(float)
        weight = 1 / since if decay is None else jnp.where(count > start, 1 - decay, 1.0)

        def blend(old: Any, p: Any) -> Any:
            if not is_trainable(p):
                return p
            return old + (weight.astype(jnp.finfo(p.dtype).dtype) * (p - old)).astype(p.dtype)

        mean = jax.tree.map(blend, state.average, apply_updates(params, updates))
        return updates, AverageState(count, mean, inner)

    return like(optimizer, init, update)


class LookaheadState(NamedTuple):
    """State of `lookahead`: the count of steps, the slow parameters, the inner state."""

    step: Array
    slow: PyTree
    inner: PyTree


def lookahead(
    optimizer: GradientTransformation, alpha: float = 0.5, k: int = 6
) -> GradientTransformation:
    r"""Let an optimizer explore for ``k`` steps, then go part of the way and start from there.

    .. math:: \phi \leftarrow \phi + \alpha (p - \phi), \qquad p \leftarrow \phi
              \qquad \text{every } k \text{ steps}

    Args:
        optimizer: the optimizer of the fast weights *p*, which are the parameters.
        alpha: how far the slow weights φ follow.
        k: how many fast steps make a slow one.

    Returns:
        An optimizer with a `LookaheadState`; its ``update`` needs the parameters.

    Raises:
        ValueError: ``k`` is not positive or ``alpha`` not in [0, 1].

    Example:
        >>> optimizer = optim.lookahead(optim.sgd(1.0), alpha=0.5, k=1)
        >>> params = jnp.array([4.0])
        >>> updates, _ = optimizer.update(jnp.array([2.0]), optimizer.init(params), params)
        >>> updates.tolist()
        [-1.0]

    Reference: Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", NeurIPS 2019
    """
    check_positive("k", k)
    check_probability("alpha", alpha)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> LookaheadState:
        return LookaheadState(jnp.zeros((), jnp.int32), copied(params), optimizer.init(params))

    def update(
        grads: PyTree, state: LookaheadState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, LookaheadState]:
        require_params("lookahead", params)
        updates, inner = inner_update(grads, state.inner, params, **extra)
        count = state.step + jnp.ones((), jnp.int32)
        sync = count % k == 0

        def slower(slow: Any, p: Any, u: Any) -> Any:
            if not is_trainable(p):
                return slow
            return jnp.where(sync, slow + alpha * (p + u.astype(p.dtype) - slow), slow)

        slow = jax.tree.map(slower, state.slow, params, updates)
        updates = jax.tree.map(
            lambda u, s, p: jnp.where(sync, (s - p).astype(u.dtype), u) if is_trainable(p) else u,
            updates,
            slow,
            params,
        )
        return updates, LookaheadState(count, slow, inner)

    return like(optimizer, init, update)
