"""SOAP: Adam, run in the eigenbasis of Shampoo's covariances."""

import math

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_positive
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import decoupled_decay, from_rule, oriented, refuse_complex
from funcnet.optim.second_order.matrix_axes import along, gram
from funcnet.optim.settings import Numbers, Settings, if_known, number, numbers, optional

__all__ = ["soap"]


@factory
def soap(
    lr: Hyperparameter = 3e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.95, 0.95),
    shampoo_beta: Hyperparameter = 0.95,
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 1e-2,
    precondition_frequency: int = 10,
    max_size: int = 4096,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""SOAP: Adam, run in the slowly turning eigenbasis of Shampoo's covariances.

    .. math::
        L_t &= \beta_s L_{t-1} + (1 - \beta_s) g_t g_t^\top, \qquad
        R_t = \beta_s R_{t-1} + (1 - \beta_s) g_t^\top g_t \\
        g'_t &= Q_L^\top g_t Q_R, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t'^2, \qquad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        p &\leftarrow (1 - \gamma\lambda) p
            - \gamma\, Q_L \frac{Q_L^\top \hat m_t Q_R}{\sqrt{\hat v_t} + \epsilon} Q_R^\top

    The bases are the eigenvectors of the first step's covariances, and every so many steps one
    power iteration with a QR decomposition turns them. Vectors and scalars get AdamW; of an array
    with more axes the axes after the first are taken as one.

    Args:
        lr: the learning rate γ.
        betas: how slowly the two moments forget.
        shampoo_beta: how slowly the covariances forget.
        eps: ε, added to the denominator.
        weight_decay: λ, decoupled.
        precondition_frequency: how many steps a basis is used for.
        max_size: a side longer than this keeps the standard basis.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg``, ``exp_avg_sq``, and for matrices ``left``,
        ``right``, ``left_basis``, ``right_basis``.

    Raises:
        ValueError: a number out of its range.
        TypeError: a parameter is complex.

    Example:
        >>> optimizer = optim.soap(0.1, weight_decay=0.0)
        >>> params = jnp.ones((3, 2))
        >>> updates, state = optimizer.update(params, optimizer.init(params))
        >>> state.slots["left_basis"].shape, state.slots["right_basis"].shape
        ((3, 3), (2, 2))

    Reference: Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", ICLR 2025
    """
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        shampoo_beta=shampoo_beta,
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )
    if_known(check_positive, "precondition_frequency", precondition_frequency)

    def sides(p: Array) -> dict[str, int]:
        if p.ndim < 2 or p.size == 0:
            return {}
        sizes = {"left": p.shape[0], "right": math.prod(p.shape[1:])}
        return {side: size for side, size in sizes.items() if size <= max_size}

    def slots(p: Array) -> Slots:
        refuse_complex("soap", p)
        made = {"exp_avg": jnp.zeros_like(p), "exp_avg_sq": jnp.zeros_like(p)}
        for side, size in sides(p).items():
            made[side] = jnp.zeros((size, size), p.dtype)
            made[f"{side}_basis"] = jnp.eye(size, dtype=p.dtype)
        return made

    def rule(h: Numbers) -> Move:
        beta1, beta2 = h.betas
        mean, mean_square, mean_gram = map(moving_average, (beta1, beta2, h.shampoo_beta))
        first, due = h.step == 1, h.step % precondition_frequency == 0
        step_size = h.lr / bias_correction(beta1, h.step)
        shrink = decoupled_decay(h)
        inverse_root = 1 / jnp.sqrt(bias_correction(beta2, h.step))

        def rotate(x: Array, bases: dict[str, Array], back: bool) -> Array:
            flat = x.reshape(x.shape[0], -1) if bases else x
            for side, basis in bases.items():
                axis = 0 if side == "left" else 1
                flat = along(flat, axis, basis if back else basis.T)
            return flat.reshape(x.shape)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=False)
            own, new, bases = sides(g), {}, {}
            matrix = g.reshape(g.shape[0], -1) if own else g
            for side in own:
                new[side] = mean_gram(slots[side], gram(matrix, 0 if side == "left" else 1))
                old = slots[f"{side}_basis"]
                bases[side] = jax.lax.cond(
                    first, lambda c, q: jnp.linalg.eigh(c)[1], lambda c, q: q, new[side], old
                )
            m = mean(slots["exp_avg"], g)
            turned = rotate(g, bases, back=False)
            v = mean_square(slots["exp_avg_sq"], turned * turned)
            step = rotate(m, bases, back=False) / (jnp.sqrt(v) * inverse_root + h.eps)
            update = shrink(-step_size * rotate(step, bases, back=True), p)
            for side, basis in bases.items():
                new[f"{side}_basis"] = jax.lax.cond(
                    due, lambda c, q: jnp.linalg.qr(c @ q)[0], lambda c, q: q, new[side], basis
                )
            return update, {"exp_avg": m, "exp_avg_sq": v, **new}

        return move

    reads_params = "weight_decay" in hyper
    return from_rule("soap", rule, slots, hyper=hyper, reads_params=reads_params, shaped=True)
