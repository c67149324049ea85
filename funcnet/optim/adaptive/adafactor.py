"""Adafactor: the second moment of a matrix from its row means and column means alone."""

import math

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import decoupled_decay, from_rule, oriented, refuse_complex
from funcnet.optim.settings import Numbers, Settings, number, optional

__all__ = ["adafactor"]


@factory
def adafactor(
    lr: Hyperparameter = 1e-2,
    beta2_decay: Hyperparameter = -0.8,
    eps: tuple[Hyperparameter | None, Hyperparameter] = (None, 1e-3),
    d: Hyperparameter = 1.0,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adafactor: the second moment of a matrix from its row means and column means alone.

    .. math::
        \hat\beta_t &= 1 - t^\tau, \quad \rho_t = \min(\gamma, t^{-1/2}), \quad
        \alpha_t = \max(\epsilon_2, \mathrm{RMS}(p)) \, \rho_t \\
        R_t &= \hat\beta_t R_{t-1} + (1 - \hat\beta_t) \, \overline{g_t^2}^{\,\text{row}}, \quad
        C_t = \hat\beta_t C_{t-1} + (1 - \hat\beta_t) \, \overline{g_t^2}^{\,\text{col}}, \quad
        v_t = \frac{R_t C_t}{\max(\overline{R_t}, \epsilon_1)} \\
        u_t &= \frac{g_t}{\max(\sqrt{v_t}, \epsilon_1)}, \qquad
        p \leftarrow (1 - \gamma\lambda) p - \alpha_t \frac{u_t}{\max(1, \mathrm{RMS}(u_t) / d)}

    The last two axes are factored; a scalar or a vector keeps its whole second moment.

    Args:
        lr: γ, the largest relative step size.
        beta2_decay: τ, at most 0.
        eps: :math:`\epsilon_1` (``None``: the machine epsilon) and :math:`\epsilon_2`.
        d: the bound on the root mean square of a step.
        weight_decay: λ, decoupled.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``row_var``, ``col_var`` and ``variance``.

    Raises:
        ValueError: a number out of its range.
        TypeError: a parameter is complex.

    Example:
        >>> optimizer = optim.adafactor()
        >>> state = optimizer.init({"weight": jnp.ones((4, 3)), "bias": jnp.ones(3)})
        >>> state.slots["row_var"]["weight"].shape, state.slots["col_var"]["weight"].shape
        ((4, 1), (1, 3))

    Reference: Shazeer and Stern, "Adafactor", ICML 2018;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adafactor.html
    """
    if not isinstance(eps, tuple | list) or len(eps) != 2:
        raise ValueError(f"eps takes 2 numbers; got {eps!r}")
    hyper = Settings(
        lr=number(lr),
        beta2_decay=number(beta2_decay, at_least=-math.inf, at_most=0),
        eps1=None if eps[0] is None else number(eps[0]),
        eps2=number(eps[1]),
        d=number(d, at_least=1),
        weight_decay=optional(weight_decay),
    )

    def slots(p: Array) -> Slots:
        refuse_complex("adafactor", p)
        if p.ndim < 2:
            return {"variance": jnp.zeros_like(p)}
        return {
            "row_var": jnp.zeros((*p.shape[:-1], 1), p.dtype),
            "col_var": jnp.zeros((*p.shape[:-2], 1, p.shape[-1]), p.dtype),
        }

    def rms(x: Array) -> Array:
        return jnp.sqrt(jnp.sum(x * x) / max(x.size, 1))

    def rule(h: Numbers) -> Move:
        fresh = jnp.power(h.step, h.beta2_decay)
        rho = jnp.minimum(h.lr, 1 / jnp.sqrt(h.step))
        shrink = decoupled_decay(h)

        def second_moment(g: Array, slots: Slots, eps1: Array | float) -> tuple[Array, Slots]:
            square = g * g
            if g.ndim < 2:
                v = slots["variance"] + fresh * (square - slots["variance"])
                return v, {"variance": v}
            row, col = slots["row_var"], slots["col_var"]
            row = row + fresh * (square.mean(-1, keepdims=True) - row)
            col = col + fresh * (square.mean(-2, keepdims=True) - col)
            v = row * col / jnp.maximum(row.mean(-2, keepdims=True), eps1)
            return v, {"row_var": row, "col_var": col}

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            if g.size == 0:
                return g, {}
            g = oriented(g, p, h, maximize, coupled=False)
            eps1 = h.eps1 if "eps1" in hyper else float(jnp.finfo(g.dtype).eps)
            v, new = second_moment(g, slots, eps1)
            u = g / jnp.sqrt(jnp.maximum(v, eps1 * eps1))
            alpha = jnp.maximum(h.eps2, rms(p)) * rho
            return shrink(-alpha * u / jnp.maximum(1, rms(u) / h.d), p), new

        return move

    return from_rule("adafactor", rule, slots, hyper=hyper, reads_params=True, shaped=True)
