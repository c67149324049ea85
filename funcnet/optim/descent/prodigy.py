"""Prodigy: Adam that finds its learning rate from the distance it has come."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_positive
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Measure, Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import decayed, from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, if_known, number, numbers, optional

__all__ = ["prodigy"]


@factory
def prodigy(
    lr: Hyperparameter = 1.0,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    beta3: float | None = None,
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    use_bias_correction: bool = False,
    safeguard_warmup: bool = False,
    d0: float = 1e-6,
    d_coef: float = 1.0,
    growth_rate: float = float("inf"),
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adam whose learning rate is an estimate *d* of the distance to the solution.

    .. math::
        r_t &= \beta_3 r_{t-1} + \tfrac{d_t}{d_0} \gamma_t d_t \langle g_t, p_0 - p_t\rangle, \qquad
        s_t = \beta_3 s_{t-1} + \tfrac{d_t}{d_0} \gamma_t d_t \, g_t, \qquad
        d_{t+1} = \max\!\left(d_t, c\,\frac{r_t}{\|s_t\|_1}\right) \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, d_t g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, d_t^2 g_t^2 \\
        p &\leftarrow p - \gamma_t d_t \left(
            \frac{m_t}{\sqrt{v_t} + d_{t+1} \epsilon} + \lambda p\right)

    Args:
        lr: multiplies *d*; leave it at one, or give a schedule that begins there.
        betas: how slowly the two moments forget.
        beta3: how slowly the estimate forgets; ``None`` for the root of the second beta.
        eps: ε, added to the denominator.
        weight_decay: λ, decoupled.
        use_bias_correction: correct the moments' bias, in the learning rate.
        safeguard_warmup: keep the learning rate out of *s*, for schedules that begin near zero.
        d0: the first estimate.
        d_coef: *c*; multiplies the estimate.
        growth_rate: the most by which the estimate may grow in one step.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg``, ``exp_avg_sq``, ``s``, ``p0``; ``state.memory["d"]``
        is the estimate.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer, params = optim.prodigy(), jnp.array([1.0])
        >>> state = optimizer.init(params)
        >>> for _ in range(50):
        ...     updates, state = optimizer.update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(state.memory["d"] > 1e-3)
        True

    Reference: Mishchenko and Defazio, "Prodigy: An Expeditiously Adaptive Parameter-Free Learner",
    ICML 2024
    """
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )
    if_known(check_positive, "d0", d0)

    def slots(p: Array) -> Slots:
        zeros = {name: jnp.zeros_like(p) for name in ("exp_avg", "exp_avg_sq", "s")}
        return {**zeros, "p0": jnp.array(p, copy=True)}

    def rates(h: Numbers, d: Array) -> tuple[Array, Array, Array]:
        """Give the learning rate, the weight of a gradient in *s*, and beta3."""
        rate = d * h.lr
        if use_bias_correction:
            root = jnp.sqrt(bias_correction(h.betas[1], h.step))
            rate = rate * root / bias_correction(h.betas[0], h.step)
        weight = d / d0 * (d if safeguard_warmup else rate)
        return rate, weight, jnp.sqrt(h.betas[1]) if beta3 is None else jnp.full_like(d, beta3)

    def measure(h: Numbers) -> Measure:
        _, weight, keep = rates(h, h.memory.d)

        def of_leaf(g: Array, p: Array, slots: Slots) -> dict[str, Array]:
            g = -g if maximize else g
            s = keep * slots["s"] + weight * g
            return {"dot": jnp.sum(g * (slots["p0"] - p)), "size": jnp.sum(jnp.abs(s))}

        return of_leaf

    def advance(h: Numbers, sums: dict[str, Array]) -> dict[str, Array]:
        d = h.memory.d
        rate, _, keep = rates(h, d)
        numerator = keep * h.memory.numerator + d / d0 * rate * sums["dot"]
        size = sums["size"]
        estimate = jnp.where(size > 0, d_coef * numerator / jnp.where(size > 0, size, 1), d)
        largest = jnp.maximum(h.memory.d_max, estimate)
        d_next = jnp.maximum(d, jnp.minimum(largest, d * growth_rate))
        d_next = jnp.where(d == d0, jnp.maximum(d, estimate), d_next)
        return {"d": d_next, "d_max": largest, "numerator": numerator, "d_before": d}

    def rule(h: Numbers) -> Move:
        d = h.memory.d_before
        mean, mean_square = map(moving_average, h.betas)
        rate, weight, keep = rates(h, d)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=False)
            m = mean(slots["exp_avg"], d * g)
            v = mean_square(slots["exp_avg_sq"], jnp.square(d * g))
            step = m / (jnp.sqrt(v) + h.memory.d * h.eps)
            step = decayed(step, p, h)
            s = keep * slots["s"] + weight * g
            return -rate * step, {"exp_avg": m, "exp_avg_sq": v, "s": s, "p0": slots["p0"]}

        return move

    return from_rule(
        "prodigy",
        rule,
        slots,
        hyper=hyper,
        reads_params=True,
        memory={"d": d0, "d_max": d0, "numerator": 0.0, "d_before": d0},
        measure=measure,
        advance=advance,
    )
