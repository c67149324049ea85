"""What is drawn: activations, schedules with settings that show what they do, and losses of one number."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import functional as F
from funcnet.optim import schedules as s

__all__ = ["ACTIVATIONS", "LOSSES", "SCHEDULES", "LossPicture", "SchedulePicture"]

ACTIVATIONS: dict[str, tuple[str, Callable[[jax.Array], jax.Array]]] = {
    "celu": ("CELU", F.celu),
    "elu": ("ELU", F.elu),
    "gelu": ("GELU", F.gelu),
    "hardshrink": ("Hardshrink", F.hardshrink),
    "hardsigmoid": ("Hardsigmoid", F.hardsigmoid),
    "hardswish": ("Hardswish", F.hardswish),
    "hardtanh": ("Hardtanh", F.hardtanh),
    "leaky_relu": ("LeakyReLU", partial(F.leaky_relu, negative_slope=0.1)),
    "logsigmoid": ("LogSigmoid", F.logsigmoid),
    "mish": ("Mish", F.mish),
    "prelu": ("PReLU", lambda x: F.prelu(x, jnp.float32(0.25))),
    "relu": ("ReLU", F.relu),
    "relu6": ("ReLU6", F.relu6),
    "rrelu": ("RReLU", F.rrelu),
    "selu": ("SELU", F.selu),
    "sigmoid": ("Sigmoid", F.sigmoid),
    "silu": ("SiLU", F.silu),
    "softplus": ("Softplus", F.softplus),
    "softshrink": ("Softshrink", F.softshrink),
    "softsign": ("Softsign", F.softsign),
    "tanh": ("Tanh", F.tanh),
    "tanhshrink": ("Tanhshrink", F.tanhshrink),
    "threshold": ("Threshold", lambda x: F.threshold(x, 1.0, -1.0)),
}
"""Functions of one number, by their names: the layer's name, and the function to draw."""

RANGES = {
    "relu6": (-4.0, 10.0),
    "hardtanh": (-3.0, 3.0),
    "hardshrink": (-2.0, 2.0),
    "softshrink": (-2.0, 2.0),
}
"""From where to where an activation is drawn, if not from -5 to 5."""

WHERE = {
    "leaky_relu": "with a slope of 0.1",
    "prelu": "with a slope of 0.25",
    "rrelu": "outside training",
    "threshold": "with threshold 1 and value \u22121",
}
"""What is said about the arguments that a curve has, where these are not the defaults."""


@dataclass(frozen=True)
class SchedulePicture:
    """One schedule.

    Attributes:
        code: how it is called.
        schedule: what that gives.
        steps: how many of them are drawn.
        what: what the schedule is of.
    """

    code: str
    schedule: Callable[[Any], Any]
    steps: int
    what: str = "learning rate"


def _schedule(code: str, steps: int, what: str = "learning rate") -> SchedulePicture:
    names = {name: getattr(s, name) for name in s.__all__}
    return SchedulePicture(code, eval(code, {"jnp": jnp}, names), steps, what)


SCHEDULES: dict[str, SchedulePicture] = {
    "chained": _schedule("chained([constant(1.0, 0.5, 10), exponential(1.0, 0.95)])", 60),
    "constant": _schedule("constant(1.0, factor=0.5, total_iters=20)", 60),
    "cosine": _schedule("cosine(1.0, T_max=50)", 100),
    "cosine_warm_restarts": _schedule("cosine_warm_restarts(1.0, T_0=20, T_mult=2)", 140),
    "cyclic": _schedule("cyclic(0.1, 1.0, step_size_up=20, mode='triangular2')", 120),
    "ema_decay": _schedule("ema_decay(0.9)", 150, "decay of the average"),
    "exponential": _schedule("exponential(1.0, 0.95)", 80),
    "inverse_sqrt": _schedule("inverse_sqrt(1.0, warmup_steps=20)", 200),
    "lambda_": _schedule("lambda_(1.0, lambda t: 0.97**t)", 80),
    "linear": _schedule("linear(1.0, start_factor=0.25, total_iters=30)", 60),
    "multi_step": _schedule("multi_step(1.0, [30, 60], gamma=0.5)", 90),
    "multiplicative": _schedule("multiplicative(1.0, lambda t: 0.97)", 80),
    "one_cycle": _schedule("one_cycle(1.0, total_steps=100)", 100),
    "one_cycle_momentum": _schedule("one_cycle_momentum(total_steps=100)", 100, "momentum"),
    "piecewise": _schedule("piecewise([1.0, 0.5, 0.1], [30, 60])", 90),
    "polynomial": _schedule("polynomial(1.0, total_iters=60, power=2.0)", 80),
    "sequential": _schedule(
        "sequential([linear(1.0, 0.1, 1.0, 20), exponential(1.0, 0.95)], [20])", 80
    ),
    "step": _schedule("step(1.0, step_size=20, gamma=0.5)", 90),
    "swa": _schedule("swa(1.0, 0.2, anneal_epochs=30)", 60),
    "warmup_cosine": _schedule("warmup_cosine(1.0, warmup_steps=20, total_steps=100)", 110),
    "warmup_stable_decay": _schedule("warmup_stable_decay(1.0, 20, 30, 100)", 110),
}


@dataclass(frozen=True)
class LossPicture:
    """One loss, as a function of one number.

    Attributes:
        layer: the layer's name.
        across: what the number is.
        curves: functions by their labels.
        low, high: the number's range.
    """

    layer: str
    across: str
    curves: dict[str, Callable[[jax.Array], jax.Array]]
    low: float = -3.0
    high: float = 3.0


def _of(loss: Callable[..., jax.Array], target: float, **options: Any):
    def cost(x: jax.Array) -> jax.Array:
        return loss(x, jnp.full_like(x, target), **options)

    return cost


def _ranked(x: jax.Array) -> jax.Array:
    zero = jnp.zeros_like(x)
    return F.margin_ranking_loss(x, zero, jnp.ones_like(x), margin=0.5)


LOSSES: dict[str, LossPicture] = {
    "l1_loss": LossPicture("L1Loss", "input \u2212 target", {"loss": _of(F.l1_loss, 0)}),
    "mse_loss": LossPicture("MSELoss", "input \u2212 target", {"loss": _of(F.mse_loss, 0)}),
    "huber_loss": LossPicture(
        "HuberLoss",
        "input \u2212 target",
        {f"delta = {d:g}": _of(F.huber_loss, 0, delta=d) for d in (0.5, 1.0, 2.0)},
    ),
    "smooth_l1_loss": LossPicture(
        "SmoothL1Loss",
        "input \u2212 target",
        {f"beta = {b:g}": _of(F.smooth_l1_loss, 0, beta=b) for b in (0.5, 1.0, 2.0)},
    ),
    "soft_margin_loss": LossPicture(
        "SoftMarginLoss",
        "input",
        {f"target {t:+d}".replace("-", "\u2212"): _of(F.soft_margin_loss, t) for t in (1, -1)},
    ),
    "hinge_embedding_loss": LossPicture(
        "HingeEmbeddingLoss",
        "distance",
        {f"target {t:+d}".replace("-", "\u2212"): _of(F.hinge_embedding_loss, t) for t in (1, -1)},
        low=0.0,
    ),
    "margin_ranking_loss": LossPicture(
        "MarginRankingLoss",
        "first score \u2212 second score, target 1, margin 0.5",
        {"loss": _ranked},
    ),
    "binary_cross_entropy": LossPicture(
        "BCELoss",
        "probability",
        {f"target {t}": _of(F.binary_cross_entropy, t) for t in (1, 0)},
        low=0.005,
        high=0.995,
    ),
    "binary_cross_entropy_with_logits": LossPicture(
        "BCEWithLogitsLoss",
        "logit",
        {f"target {t}": _of(F.binary_cross_entropy_with_logits, t) for t in (1, 0)},
        low=-4.0,
        high=4.0,
    ),
    "poisson_nll_loss": LossPicture(
        "PoissonNLLLoss",
        "logarithm of the rate",
        {f"target {t}": _of(F.poisson_nll_loss, t) for t in (0, 1, 3)},
        low=-2.0,
        high=2.0,
    ),
}
"""Losses of one number, by the functions' names."""
