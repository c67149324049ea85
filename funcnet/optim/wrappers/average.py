"""An average of the parameters, kept beside an optimizer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree, Schedule
from funcnet.core.checks import check_fraction
from funcnet.core.leaf_kinds import is_none, is_trainable
from funcnet.optim.leaf_rule import counted, jax_leaf, remembered, require_state, whole
from funcnet.optim.protocol import (
    GradientTransformation,
    apply_updates,
    of_same_kind,
    require_optimizer,
    require_params,
    with_extra,
)
from funcnet.optim.settings import if_known

__all__ = ["AverageState", "average"]


class AverageState(NamedTuple):
    """State of `average`: the count of steps, the averaged parameters, the inner state.

    Example:
        >>> optimizer = optim.average(optim.sgd(1.0), decay=0.5)
        >>> state = optimizer.init(jnp.array([2.0]))
        >>> state._fields, state.average.tolist()
        (('step', 'average', 'inner'), [2.0])
    """

    step: Array
    average: PyTree
    inner: PyTree


def average(
    optimizer: GradientTransformation,
    decay: float | Schedule | None = 0.999,
    *,
    start: int = 0,
    every: int = 1,
) -> GradientTransformation:
    r"""Keep an average of the parameters beside an optimizer that it does not disturb.

    .. math:: a_t = d\, a_{t-1} + (1 - d)\, p_t \qquad\text{or}\qquad
              a_t = a_{t-1} + (p_t - a_{t-1}) / n, \qquad n = (t - t_0) / k

    The average is ``state.average``, of the parameters' structure; evaluate with it. It is kept in float32
    where parameters have 16 bits, in which an average of a thousand steps would not move.

    Args:
        optimizer: the optimizer inside.
        decay: *d* of the exponential average: a number, or a schedule that is called with *n*, such as
            ``optim.schedules.ema_decay(0.999)``; ``None`` for the plain mean of stochastic weight averaging.
        start: :math:`t_0`; until after that many steps the average is the latest parameters. With
            1, the exponential average is that of PyTorch's ``AveragedModel``.
        every: *k*; parameters are taken into the average at every k-th step after ``start`` alone.

    Returns:
        An optimizer with an `AverageState`; its ``update`` needs the parameters.

    Raises:
        ValueError: ``decay`` is not in [0, 1], ``start`` no whole number from 0 on, or ``every`` none from 1 on.

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
    require_optimizer("average", optimizer)
    if decay is not None and not callable(decay):
        if_known(check_fraction, "decay", decay)
    start, every = whole("start", start, at_least=0), whole("every", every)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), remembered(params), optimizer.init(params))

    def update(
        grads: PyTree, state: AverageState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, AverageState]:
        require_state("average", state, AverageState)
        require_params("average", params)
        updates, inner = inner_update(grads, state.inner, params, **extra)
        count = counted(state.step)
        since = count - start
        share = _share(decay, jnp.maximum(since // every, 1))
        weight = jnp.where(since > 0, share, 1.0)
        between = (since > 0) & (since % every != 0)

        def blend(p: Any, old: Any, u: Any) -> Any:
            if not is_trainable(p):
                return p
            new = jax_leaf(apply_updates(p, u)).astype(old.dtype)
            mean = old + weight.astype(old.dtype) * (new - old)
            return mean if every == 1 else jnp.where(between, old, mean)

        mean = jax.tree.map(blend, params, state.average, updates, is_leaf=is_none)
        return updates, AverageState(count, mean, inner)

    return of_same_kind(optimizer, init, update)


def _share(decay: Any, taken: Array) -> Any:
    """Return how much of the newest parameters an average takes that has been taken some times."""
    if decay is None:
        return 1 / taken.astype(float)
    return 1 - (jnp.asarray(decay(taken), float) if callable(decay) else decay)
