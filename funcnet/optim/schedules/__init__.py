"""Learning-rate schedules: pure functions ``step -> value``.

Any hyperparameter of any optimizer takes one. To plot one: ``jax.vmap(schedule)(jnp.arange(n))``.
"""

from funcnet.optim.schedules.decays import constant, cosine, exponential, linear, step
from funcnet.optim.schedules.warmups import warmup_cosine

__all__ = [
    "constant",
    "cosine",
    "exponential",
    "linear",
    "step",
    "warmup_cosine",
]
