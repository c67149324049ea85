"""Shampoo: each axis of a gradient multiplied by a root of its own covariance."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_positive
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule, oriented, refuse_complex
from funcnet.optim.second_order.matrix_axes import along, gram
from funcnet.optim.settings import Numbers, Settings, if_known, number, optional

__all__ = ["shampoo"]


def _inverse_root(matrix: Array, power: float) -> Array:
    """Raise a symmetric positive matrix to a negative power."""
    values, vectors = jnp.linalg.eigh(matrix)
    tiny = jnp.finfo(matrix.dtype).eps * jnp.max(values)
    return (vectors * jnp.power(jnp.maximum(values, tiny), -power)) @ vectors.T


@factory
def shampoo(
    lr: Hyperparameter = 1e-1,
    momentum: Hyperparameter = 0.0,
    weight_decay: Hyperparameter = 0.0,
    eps: float = 1e-4,
    every: int = 1,
    max_size: int = 1024,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Shampoo: each axis of a gradient is multiplied by a root of its own covariance.

    .. math::
        H^{(i)}_t &= H^{(i)}_{t-1} + g_t^{(i)} g_t^{(i)\top}, \qquad H^{(i)}_0 = \epsilon I \\
        \tilde g_t &= g_t \times_1 (H^{(1)}_t)^{-1/2k} \times_2 \dots \times_k (H^{(k)}_t)^{-1/2k},
        \qquad b_t = \mu b_{t-1} + \tilde g_t, \qquad p \leftarrow p - \gamma b_t

    for an array of *k* axes, where :math:`g^{(i)}` is the gradient with axis *i* first and the
    others flattened.

    Args:
        lr: the learning rate γ.
        momentum: μ; a plain 0 keeps no buffer.
        weight_decay: λ, added to the gradient as ``λ p``.
        eps: ε.
        every: how many steps the roots are used for.
        max_size: axes longer than this are left alone.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``covariance_i`` and ``root_i`` for each axis *i*.

    Raises:
        ValueError: a number out of its range.
        TypeError: a parameter is complex.

    Example:
        >>> optimizer = optim.shampoo(1.0)
        >>> params = jnp.eye(2)
        >>> updates, _ = optimizer.update(4 * params, optimizer.init(params))
        >>> [[round(abs(float(x)), 2) for x in row] for row in updates]
        [[1.0, 0.0], [0.0, 1.0]]

    Reference: Gupta, Koren and Singer, "Shampoo: Preconditioned Stochastic Tensor Optimization",
    ICML 2018
    """
    hyper = Settings(
        lr=number(lr), momentum=optional(momentum), weight_decay=optional(weight_decay)
    )
    if_known(check_positive, "eps", eps)
    if_known(check_positive, "every", every)
    heavy = "momentum" in hyper

    def axes(p: Array) -> list[int]:
        return [i for i, size in enumerate(p.shape) if 0 < size <= max_size]

    def slots(p: Array) -> Slots:
        refuse_complex("shampoo", p)
        made = {"momentum_buffer": jnp.zeros_like(p)} if heavy else {}
        for i in axes(p):
            made[f"covariance_{i}"] = eps * jnp.eye(p.shape[i], dtype=p.dtype)
            made[f"root_{i}"] = jnp.eye(p.shape[i], dtype=p.dtype)
        return made

    def rule(h: Numbers) -> Move:
        due = (h.step - 1) % every == 0

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=True)
            new, step = {}, g
            for i in axes(g):
                covariance = new[f"covariance_{i}"] = slots[f"covariance_{i}"] + gram(g, i)
                root = new[f"root_{i}"] = jax.lax.cond(
                    due,
                    lambda matrix, old: _inverse_root(matrix, 1 / (2 * g.ndim)),
                    lambda matrix, old: old,
                    covariance,
                    slots[f"root_{i}"],
                )
                step = along(step, i, root)
            if heavy:
                step = new["momentum_buffer"] = h.momentum * slots["momentum_buffer"] + step
            return -h.lr * step, new

        return move

    reads_params = "weight_decay" in hyper
    return from_rule("shampoo", rule, slots, hyper=hyper, reads_params=reads_params, shaped=True)
