"""Mixture of experts: each token is computed by a few of many networks."""

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_positive
from funcnet.functional.experts import RoutingReport, expert_capacity, route_tokens
from funcnet.module import Module
from funcnet.nn.linear import Linear
from funcnet.nn.wrappers.vmap import Vmap

__all__ = ["MixtureOfExperts"]


class MixtureOfExperts(Module):
    """Send each token to its ``top_k`` best experts and add up what they return, weighted.

    ``y = Σ_{e in top_k} p_e expert_e(x)``, with ``p = softmax(gate(x))``. Input ``(*, S, embed_dim)``;
    the output has the features that experts return. The S tokens of a row share the experts' places, so
    that no example of a batch depends on the others. Tokens are sorted by dense products with masks of
    shape ``(*, S, num_experts, capacity)``: shapes are fixed, and experts can be sharded.

    The choice of places is not causal: a later token's first choice goes before an earlier one's second.
    With ``capacity_factor=None`` no choice is dropped, and tokens do not depend on each other at all.

    Args:
        expert: a module from ``(*, embed_dim)`` to ``(*, features)``; there will be copies of it.
        embed_dim: number of features of a token.
        num_experts: how many copies.
        top_k: how many of them compute each token.
        capacity_factor: places of an expert, relative to its even share; ``None`` for all tokens.
        normalize: divide a token's weights by their sum over the chosen experts.
        dtype: of the gate.

    Attributes:
        gate: `Linear` without bias, ``(num_experts, embed_dim)``.
        experts: `Vmap` of the expert; its names on disk are ``experts.0.…``, ``experts.1.…``, ….

    Raises:
        ValueError: ``top_k`` is not between 1 and ``num_experts``, or a size is not positive.

    Example:
        >>> expert = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        >>> net = fn.functionalize(nn.MixtureOfExperts(expert, 8, num_experts=4))
        >>> params, state = net.init(jax.random.key(0))
        >>> (output, report), _ = jax.jit(net.apply)(params, state, jnp.ones((2, 10, 8)))
        >>> output.shape, report.load.shape, round(float(report.load.sum()), 4)
        ((2, 10, 8), (4,), 1.0)

    Reference: Lepikhin et al., GShard, 2020, https://arxiv.org/abs/2006.16668; Fedus et al., Switch
    Transformers, 2021, https://arxiv.org/abs/2101.03961.
    """

    def __init__(
        self,
        expert: Module,
        embed_dim: int,
        num_experts: int,
        top_k: int = 2,
        capacity_factor: float | None = 1.25,
        *,
        normalize: bool = True,
        dtype: DType = jnp.float32,
    ) -> None:
        check_positive("num_experts", num_experts)
        if not 1 <= top_k <= num_experts:
            raise ValueError(f"top_k must lie between 1 and num_experts={num_experts}; got {top_k}")
        if capacity_factor is not None:
            check_positive("capacity_factor", capacity_factor)
        self.embed_dim = embed_dim
        self.num_experts = num_experts
        self.top_k = top_k
        self.capacity_factor = capacity_factor
        self.normalize = normalize
        self.gate = Linear(embed_dim, num_experts, bias=False, dtype=dtype)
        self.experts = Vmap(expert, num_experts)

    def __call__(self, input: Array) -> tuple[Array, RoutingReport]:
        """Compute each token by its experts.

        Args:
            input: shape ``(*, S, embed_dim)``.

        Returns:
            The output, ``(*, S, features)``; and a `funcnet.functional.RoutingReport` with the
            losses to add.

        Raises:
            ValueError: the input lacks the axis of tokens, or has other features.
        """
        if input.ndim < 2 or input.shape[-1] != self.embed_dim:
            raise ValueError(f"input must have shape (*, S, {self.embed_dim}); got {input.shape}")
        capacity = expert_capacity(
            input.shape[-2], self.num_experts, self.top_k, self.capacity_factor
        )
        routing = route_tokens(self.gate(input), self.top_k, capacity, normalize=self.normalize)
        sorted_in = jnp.einsum("...sec,...sd->e...cd", routing.dispatch.astype(input.dtype), input)
        sorted_out = self.experts(sorted_in)
        combine = routing.combine.astype(sorted_out.dtype)
        output = jnp.einsum("...sec,e...cd->...sd", combine, sorted_out)
        return output, routing.report
