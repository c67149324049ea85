"""Steps scaled by the size of past gradients: Adagrad, Adadelta, RMSprop."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["adadelta", "adagrad", "rmsprop"]


def adagrad(
    lr: Hyperparameter = 1e-2,
    lr_decay: Hyperparameter = 0.0,
    weight_decay: Hyperparameter = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: Hyperparameter = 1e-10,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adagrad: divide by the root of the sum of all squared gradients.

    .. math::
        s_t = s_{t-1} + g_t^2, \qquad
        p \leftarrow p - \frac{\gamma}{1 + (t - 1) \eta} \, \frac{g_t}{\sqrt{s_t} + \epsilon}

    Args:
        lr: the learning rate γ.
        lr_decay: η.
        weight_decay: λ, added to the gradient as ``λ p``.
        initial_accumulator_value: :math:`s_0`.
        eps: ε, added to the denominator.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slot ``sum``.

    Raises:
        ValueError: a negative number.

    Example:
        >>> optimizer = optim.adagrad(0.1)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> round(float(updates[0]), 3)
        -0.1

    Reference: Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 2011;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adagrad.html
    """
    check_numbers(
        lr=lr,
        lr_decay=lr_decay,
        weight_decay=weight_decay,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
    )
    decayed = in_use(weight_decay)

    def slots(p: Array) -> dict[str, Array]:
        first = initial_accumulator_value
        # A complex accumulator holds two reals, and both start there.
        return {"sum": jnp.full_like(p, complex(first, first) if jnp.iscomplexobj(p) else first)}

    def rule(h: SimpleNamespace) -> Move:
        step_size = h.lr / (1 + (h.step - 1) * h.lr_decay)

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, decayed)
            total = slots["sum"] + g * g
            return -step_size * g / (jnp.sqrt(total) + h.eps), {"sum": total}

        return move

    return from_rule(
        "adagrad",
        rule,
        slots,
        reads_params=decayed,
        hyper={"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": used(weight_decay)},
    )


def adadelta(
    lr: Hyperparameter = 1.0,
    rho: Hyperparameter = 0.9,
    eps: Hyperparameter = 1e-6,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adadelta: the ratio of past steps' size to past gradients' size sets the scale.

    .. math::
        v_t &= \rho v_{t-1} + (1 - \rho) g_t^2, \qquad
        \Delta_t = \frac{\sqrt{u_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}} \, g_t \\
        u_t &= \rho u_{t-1} + (1 - \rho) \Delta_t^2, \qquad
        p \leftarrow p - \gamma \Delta_t

    Args:
        lr: the learning rate γ.
        rho: how slowly the two averages forget.
        eps: ε, added under both roots.
        weight_decay: λ, added to the gradient as ``λ p``.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``square_avg`` and ``acc_delta``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.adadelta()
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> round(float(updates[0]), 5)
        -0.00316

    Reference: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adadelta.html
    """
    check_numbers(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
    if isinstance(rho, int | float) and rho > 1:
        raise ValueError(f"rho must be in [0, 1]; got {rho!r}")
    decayed = in_use(weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, decayed)
            v = h.rho * slots["square_avg"] + (1 - h.rho) * (g * g)
            delta = jnp.sqrt(slots["acc_delta"] + h.eps) / jnp.sqrt(v + h.eps) * g
            u = h.rho * slots["acc_delta"] + (1 - h.rho) * (delta * delta)
            return -h.lr * delta, {"square_avg": v, "acc_delta": u}

        return move

    return from_rule(
        "adadelta",
        rule,
        zeros_slot("square_avg", "acc_delta"),
        reads_params=decayed,
        hyper={"lr": lr, "rho": rho, "eps": eps, "weight_decay": used(weight_decay)},
    )


def rmsprop(
    lr: Hyperparameter = 1e-2,
    alpha: Hyperparameter = 0.99,
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    momentum: Hyperparameter = 0.0,
    centered: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""RMSprop: divide by a running root mean square, or standard deviation, of the gradient.

    .. math::
        v_t &= \alpha v_{t-1} + (1 - \alpha) g_t^2, \qquad
        \bar g_t = \alpha \bar g_{t-1} + (1 - \alpha) g_t \\
        d_t &= \frac{g_t}{\sqrt{v_t - \bar g_t^2 \text{ if centered}} + \epsilon}, \qquad
        b_t = \mu b_{t-1} + d_t, \qquad p \leftarrow p - \gamma b_t

    Args:
        lr: the learning rate γ.
        alpha: how slowly the averages forget.
        eps: ε, added to the denominator.
        weight_decay: λ, added to the gradient as ``λ p``.
        momentum: μ; a plain 0 keeps no buffer.
        centered: divide by the standard deviation.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slot ``square_avg`` and, where used, ``momentum_buffer`` and
        ``grad_avg``.

    Raises:
        ValueError: a negative number.

    Example:
        >>> optimizer = optim.rmsprop(0.1)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> updates.round(3).tolist()
        [-1.0]

    Reference: Tieleman and Hinton, Coursera lecture 6.5, 2012; Graves, "Generating Sequences",
    2013 (centered); https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html
    """
    check_numbers(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
    decayed, heavy = in_use(weight_decay), in_use(momentum)

    def rule(h: SimpleNamespace) -> Move:
        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, decayed)
            v = h.alpha * slots["square_avg"] + (1 - h.alpha) * (g * g)
            new = {"square_avg": v}
            if centered:
                mean = new["grad_avg"] = h.alpha * slots["grad_avg"] + (1 - h.alpha) * g
                v = v - mean * mean
            direction = g / (jnp.sqrt(v) + h.eps)
            if heavy:
                direction = h.momentum * slots["momentum_buffer"] + direction
                new["momentum_buffer"] = direction
            return -h.lr * direction, new

        return move

    names = ["square_avg", *["grad_avg"][:centered], *["momentum_buffer"][:heavy]]
    return from_rule(
        "rmsprop",
        rule,
        zeros_slot(*names),
        reads_params=decayed,
        hyper={
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": used(weight_decay),
            "momentum": used(momentum),
        },
    )
