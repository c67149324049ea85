"""Matrix preconditioners: Shampoo, and SOAP, which is Adam in Shampoo's eigenbasis."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_positive
from funcnet.optim.adaptive.adam import bias_correction
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule, oriented

__all__ = ["shampoo", "soap"]


def _along(x: Array, axis: int, matrix: Array) -> Array:
    """Multiply one axis of an array by a matrix from the left."""
    return jnp.moveaxis(jnp.tensordot(matrix, x, axes=(1, axis)), 0, axis)


def _gram(x: Array, axis: int) -> Array:
    """Sum the products of all pairs of slices along an axis."""
    others = [i for i in range(x.ndim) if i != axis]
    return jnp.tensordot(x, x, axes=(others, others))


def _inverse_root(matrix: Array, power: float) -> Array:
    """Raise a symmetric positive matrix to a negative power."""
    values, vectors = jnp.linalg.eigh(matrix)
    tiny = jnp.finfo(matrix.dtype).eps * jnp.max(values)
    return (vectors * jnp.power(jnp.maximum(values, tiny), -power)) @ vectors.T


def _refuse_complex(name: str, p: Array) -> None:
    if jnp.iscomplexobj(p):
        raise TypeError(f"{name} does not take complex parameters")


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
    check_numbers(lr=lr, momentum=momentum, weight_decay=weight_decay)
    check_positive("eps", eps)
    check_positive("every", every)
    decayed, heavy = in_use(weight_decay), in_use(momentum)

    def axes(p: Array) -> list[int]:
        return [i for i, size in enumerate(p.shape) if 0 < size <= max_size]

    def slots(p: Array) -> dict[str, Array]:
        _refuse_complex("shampoo", p)
        made = {"momentum_buffer": jnp.zeros_like(p)} if heavy else {}
        for i in axes(p):
            made[f"covariance_{i}"] = eps * jnp.eye(p.shape[i], dtype=p.dtype)
            made[f"root_{i}"] = jnp.eye(p.shape[i], dtype=p.dtype)
        return made

    def rule(h: SimpleNamespace) -> Move:
        due = (h.step - 1) % every == 0

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, decayed)
            new, step = {}, g
            for i in axes(g):
                covariance = new[f"covariance_{i}"] = slots[f"covariance_{i}"] + _gram(g, i)
                root = new[f"root_{i}"] = jax.lax.cond(
                    due,
                    lambda matrix, old: _inverse_root(matrix, 1 / (2 * g.ndim)),
                    lambda matrix, old: old,
                    covariance,
                    slots[f"root_{i}"],
                )
                step = _along(step, i, root)
            if heavy:
                step = new["momentum_buffer"] = h.momentum * slots["momentum_buffer"] + step
            return -h.lr * step, new

        return move

    return from_rule(
        "shampoo",
        rule,
        slots,
        reads_params=decayed,
        shaped=True,
        hyper={"lr": lr, "momentum": used(momentum), "weight_decay": used(weight_decay)},
    )


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
    check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
    check_tuple("betas", betas, 2, below=1.0)
    check_positive("precondition_frequency", precondition_frequency)
    decayed = in_use(weight_decay)

    def sides(p: Array) -> dict[str, int]:
        if p.ndim < 2 or p.size == 0:
            return {}
        sizes = {"left": p.shape[0], "right": math.prod(p.shape[1:])}
        return {side: size for side, size in sizes.items() if size <= max_size}

    def slots(p: Array) -> dict[str, Array]:
        _refuse_complex("soap", p)
        made = {"exp_avg": jnp.zeros_like(p), "exp_avg_sq": jnp.zeros_like(p)}
        for side, size in sides(p).items():
            made[side] = jnp.zeros((size, size), p.dtype)
            made[f"{side}_basis"] = jnp.eye(size, dtype=p.dtype)
        return made

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2 = h.betas
        first, due = h.step == 1, h.step % precondition_frequency == 0
        step_size = h.lr / bias_correction(beta1, h.step)
        inverse_root = 1 / jnp.sqrt(bias_correction(beta2, h.step))

        def rotate(x: Array, bases: dict[str, Array], back: bool) -> Array:
            flat = x.reshape(x.shape[0], -1) if bases else x
            for side, basis in bases.items():
                axis = 0 if side == "left" else 1
                flat = _along(flat, axis, basis if back else basis.T)
            return flat.reshape(x.shape)

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled=False)
            own, new, bases = sides(g), {}, {}
            matrix = g.reshape(g.shape[0], -1) if own else g
            for side in own:
                gram = _gram(matrix, 0 if side == "left" else 1)
                new[side] = h.shampoo_beta * slots[side] + (1 - h.shampoo_beta) * gram
                old = slots[f"{side}_basis"]
                bases[side] = jax.lax.cond(
                    first, lambda c, q: jnp.linalg.eigh(c)[1], lambda c, q: q, new[side], old
                )
            m = beta1 * slots["exp_avg"] + (1 - beta1) * g
            turned = rotate(g, bases, back=False)
            v = beta2 * slots["exp_avg_sq"] + (1 - beta2) * turned * turned
            step = rotate(m, bases, back=False) / (jnp.sqrt(v) * inverse_root + h.eps)
            update = -step_size * rotate(step, bases, back=True)
            update = update - h.lr * h.weight_decay * p if decayed else update
            for side, basis in bases.items():
                new[f"{side}_basis"] = jax.lax.cond(
                    due, lambda c, q: jnp.linalg.qr(c @ q)[0], lambda c, q: q, new[side], basis
                )
            return update, {"exp_avg": m, "exp_avg_sq": v, **new}

        return move

    return from_rule(
        "soap",
        rule,
        slots,
        reads_params=decayed,
        shaped=True,
        hyper={
            "lr": lr,
            "betas": betas,
            "shampoo_beta": shampoo_beta,
            "eps": eps,
            "weight_decay": used(weight_decay),
        },
    )
