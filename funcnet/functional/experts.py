"""Routing of tokens to experts: who computes what, as arrays of fixed shape."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_positive
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.functional.explicit_meshes import devices_of, let_xla_place

__all__ = ["Routing", "RoutingReport", "expert_capacity", "route_tokens"]


class RoutingReport(NamedTuple):
    """How evenly tokens are routed, before any is dropped.

    Attributes:
        load_balancing_loss: a scalar, ``E Σ_e f_e p_e``, where ``f_e`` is the part of all choices that fell on
            expert e and ``p_e`` the mean of its probability: 1 if even, up to E if one expert has all. A usual
            weight in the loss is 0.01.
        z_loss: a scalar, the mean of ``logsumexp(logits)²``, which keeps logits small; a usual weight is 0.001.
        load: ``(E,)``, the parts ``f_e``.
        dropped: a scalar, the part of all choices for which an expert had no place left.

    Example:
        >>> report = F.route_tokens(jnp.eye(4), 1, 2).report
        >>> report.load.tolist()
        [0.25, 0.25, 0.25, 0.25]
    """

    load_balancing_loss: Array
    z_loss: Array
    load: Array
    dropped: Array


class Routing(NamedTuple):
    """Which of S tokens goes to which of C places of which of E experts.

    Attributes:
        dispatch: ``(*, S, E, C)``, one where a token takes a place, else zero.
        combine: likewise, with the token's weight for the expert instead of one.
        report: a `RoutingReport`.

    Example:
        >>> routing = F.route_tokens(jnp.eye(4), 1, 2)
        >>> routing.dispatch.shape
        (4, 4, 2)
    """

    dispatch: Array
    combine: Array
    report: RoutingReport


def expert_capacity(
    tokens: int, num_experts: int, top_k: int, capacity_factor: float | None
) -> int:
    """Return how many places an expert has: its even share of the choices, times a factor.

    ``ceil(tokens * top_k / num_experts * capacity_factor)``, at least 1 and at most ``tokens``.

    Args:
        tokens: that are routed together.
        num_experts: among which they are shared.
        top_k: choices of each token.
        capacity_factor: 1 for the even share; ``None`` for as many places as there are tokens.

    Returns:
        A whole number.

    Raises:
        ValueError: the factor is not above zero.

    Example:
        >>> F.expert_capacity(32, 8, 2, 1.25), F.expert_capacity(32, 8, 2, None)
        (10, 32)
    """
    if capacity_factor is None:
        return max(tokens, 1)
    check_positive("capacity_factor", capacity_factor)
    share = math.ceil(tokens * top_k / num_experts * capacity_factor)
    return max(1, min(share, tokens))


def route_tokens(logits: Array, top_k: int, capacity: int, *, normalize: bool = True) -> Routing:
    """Send each token to the ``top_k`` experts of highest probability, as far as they have places.

    Expert ``e`` counts with ``p_e / Σ_j p_j`` over the chosen ones, where ``p = softmax(logits)``; without
    ``normalize`` with ``p_e``.

    Places are given to first choices before second ones, and among these to earlier tokens before
    later ones. A choice without a place is dropped: it adds nothing to the token's output. Softmax and
    losses are in float32 at least, and count the choices before any is dropped.

    Args:
        logits: shape ``(*, S, E)``; tokens share places with those of their own row only.
        top_k: experts for each token.
        capacity: places of each expert, for each row; see `expert_capacity`.
        normalize: divide a token's weights by the sum over its chosen experts.

    Returns:
        A `Routing`, with masks and weights of the logits' dtype.

    Raises:
        ValueError: ``top_k`` is not between 1 and E, or ``capacity`` is not positive.
        TypeError: the logits are no floats.

    Example:
        >>> routing = F.route_tokens(jnp.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 1, capacity=1)
        >>> routing.dispatch[..., 0].tolist()  # the second token found no place
        [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]

    Reference: Lepikhin et al., GShard, 2020, https://arxiv.org/abs/2006.16668; Fedus et al., Switch
    Transformers, 2021, https://arxiv.org/abs/2101.03961; z-loss: Zoph et al., ST-MoE, 2022,
    https://arxiv.org/abs/2202.08906.
    """
    (logits,) = as_floats("route_tokens", logits=logits)
    if logits.ndim < 2:
        raise ValueError(f"logits must have shape (*, tokens, experts); got {logits.shape}")
    tokens, experts = logits.shape[-2:]
    if not 1 <= top_k <= experts:
        raise ValueError(
            f"top_k must lie between 1 and the number of experts {experts}; got {top_k}"
        )
    check_positive("capacity", capacity)
    dtype = logits.dtype
    logits = logits.astype(at_least_float32(dtype))
    probabilities = jax.nn.softmax(logits, -1)
    chosen = jnp.swapaxes(_largest(probabilities, top_k), -1, -2)
    # (*, K, S, E): flattened in this order, first choices come before second ones
    choices = jax.nn.one_hot(chosen, experts, dtype=jnp.int32)
    flat = choices.reshape(*choices.shape[:-3], top_k * tokens, experts)
    before = (jnp.cumsum(flat, -2) - flat).reshape(choices.shape)
    # a token chooses an expert once at most, so that the choices can be added up to (*, S, E)
    taken = choices.sum(-3)
    place = jnp.where(taken > 0, (choices * before).sum(-3), -1)
    dispatch = jax.nn.one_hot(place, capacity, dtype=logits.dtype)  # zeros where there is no place
    weights = probabilities * taken.astype(logits.dtype)
    if normalize:
        weights = weights / weights.sum(-1, keepdims=True)
    return Routing(
        dispatch.astype(dtype),
        (dispatch * weights[..., None]).astype(dtype),
        _report(logits, probabilities, taken.astype(logits.dtype), place >= capacity, top_k),
    )


def _largest(probabilities: Array, count: int) -> Array:
    """Return the places of the largest elements of the last axis; of equal ones the first is taken first."""
    if devices_of(probabilities) == 1:
        return jax.lax.top_k(probabilities, count)[1]

    def first(probabilities: Array) -> Array:
        # XLA gathers what it takes the largest of; what it sorts each device sorts for itself
        order = jnp.argsort(probabilities, axis=-1, stable=True, descending=True)
        return order[..., :count]

    return let_xla_place(first, probabilities, kept=probabilities.ndim - 1)


def _report(
    logits: Array, probabilities: Array, taken: Array, lost: Array, top_k: int
) -> RoutingReport:
    experts = logits.shape[-1]
    tokens = max(math.prod(logits.shape[:-1]), 1)
    load = taken.reshape(-1, experts).sum(0) / (tokens * top_k)
    mean_probability = probabilities.reshape(-1, experts).sum(0) / tokens
    return RoutingReport(
        experts * (load * mean_probability).sum(),
        (jax.nn.logsumexp(logits, -1) ** 2).sum() / tokens,
        load,
        lost.astype(logits.dtype).sum() / (tokens * top_k),
    )
