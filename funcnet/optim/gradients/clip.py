"""Clipping: bounds on gradients, by value or by norm."""

from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_non_negative
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule
from funcnet.optim.settings import Numbers, Settings, bound, if_known

__all__ = ["adaptive_clip", "clip_by_global_norm", "clip_by_norm", "clip_by_value"]


def clip_by_global_norm(max_norm: Hyperparameter, *, eps: float = 1e-6) -> GradientTransformation:
    r"""Scale all gradients together so that their norm is at most ``max_norm``; infinity leaves them as they are.

    .. math:: g \leftarrow g \, \min\left(1, \frac{c}{\|g\| + \epsilon}\right)

    Args:
        max_norm: the bound *c*.
        eps: keeps the quotient finite; PyTorch's number.

    Returns:
        A transformation; ``hyperparams`` shows ``max_norm``.

    Raises:
        ValueError: a negative bound.

    Example:
        >>> clip = optim.clip_by_global_norm(1.0)
        >>> grads = jnp.array([30.0, 40.0])
        >>> clip.update(grads, clip.init(grads))[0].round(3).tolist()
        [0.6000000238418579, 0.800000011920929]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
    """

    def measure(h: Numbers) -> Any:
        return lambda g, p, slots: {"squares": jnp.sum(g * g)}

    def rule(h: Numbers) -> Move:
        factor = jnp.minimum(1, h.max_norm / (jnp.sqrt(h.sums.squares) + eps))
        return lambda g, p, slots: (g * factor, {})

    hyper = Settings(max_norm=bound(max_norm))
    return from_rule("clip_by_global_norm", rule, hyper=hyper, measure=measure)


def clip_by_value(max_value: Hyperparameter) -> GradientTransformation:
    r"""Clamp every number of the gradients: ``min(max(g, -max_value), max_value)``.

    Args:
        max_value: the bound.

    Returns:
        A transformation; ``hyperparams`` shows ``max_value``.

    Raises:
        ValueError: a negative bound.

    Example:
        >>> clip = optim.clip_by_value(1.0)
        >>> grads = jnp.array([0.5, -3.0])
        >>> clip.update(grads, clip.init(grads))[0].tolist()
        [0.5, -1.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_value_.html
    """

    def rule(h: Numbers) -> Move:
        return lambda g, p, slots: (jnp.clip(g, -h.max_value, h.max_value), {})

    return from_rule("clip_by_value", rule, hyper=Settings(max_value=bound(max_value)))


def clip_by_norm(max_norm: Hyperparameter, *, eps: float = 1e-6) -> GradientTransformation:
    r"""Scale each leaf on its own so that its norm is at most ``max_norm``: ``g * min(1, max_norm / (‖g‖ + ε))``.

    Args:
        max_norm: the bound.
        eps: keeps the quotient finite.

    Returns:
        A transformation; ``hyperparams`` shows ``max_norm``.

    Raises:
        ValueError: a negative bound.

    Example:
        >>> clip = optim.clip_by_norm(1.0)
        >>> grads = {"a": jnp.array([30.0, 40.0]), "b": jnp.array([0.5])}
        >>> clipped, _ = clip.update(grads, clip.init(grads))
        >>> [round(float(x), 3) for x in clipped["a"]], clipped["b"].tolist()
        ([0.6, 0.8], [0.5])
    """

    def rule(h: Numbers) -> Move:
        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            return g * jnp.minimum(1, h.max_norm / (jnp.sqrt(jnp.sum(g * g)) + eps)), {}

        return move

    hyper = Settings(max_norm=bound(max_norm))
    return from_rule("clip_by_norm", rule, hyper=hyper, shaped=True)


def adaptive_clip(clipping: Hyperparameter = 0.01, *, eps: float = 1e-3) -> GradientTransformation:
    r"""Bound the gradient of each unit by a fraction of the norm of its weights.

    .. math:: g_i \leftarrow g_i \, \min\left(1,
              \lambda \frac{\max(\|p_i\|, \epsilon)}{\|g_i\|}\right)

    A unit is a slice of the first axis, a layer's output axis; a vector or a scalar is one unit.

    Args:
        clipping: λ.
        eps: ε, the least norm of weights, so that units that begin at zero can move.

    Returns:
        A transformation whose ``update`` needs the parameters; ``hyperparams`` shows ``clipping``.

    Raises:
        ValueError: a negative number.

    Example:
        >>> clip, params = optim.adaptive_clip(0.5), jnp.array([[3.0, 4.0], [0.0, 1.0]])
        >>> grads = jnp.array([[0.0, 1.0], [0.0, 1.0]])
        >>> clip.update(grads, clip.init(params), params)[0].tolist()
        [[0.0, 1.0], [0.0, 0.5]]

    Reference: Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization",
    ICML 2021
    """
    hyper = Settings(clipping=bound(clipping))
    if_known(check_non_negative, "eps", eps)

    def rule(h: Numbers) -> Move:
        def norms(x: Array) -> Array:
            axes = tuple(range(1, x.ndim)) if x.ndim > 1 else None
            return jnp.sqrt(jnp.sum(x * x, axis=axes, keepdims=True))

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            bound = h.clipping * jnp.maximum(norms(p), eps)
            size = norms(g)
            return g * jnp.where(size > bound, bound / jnp.maximum(size, 1e-6), 1), {}

        return move

    return from_rule("adaptive_clip", rule, hyper=hyper, reads_params=True, shaped=True)
