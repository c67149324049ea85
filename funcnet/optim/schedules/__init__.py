"""Learning-rate schedules: pure functions ``step -> value``.

Any hyperparameter of any optimizer takes one. To plot one: ``jax.vmap(schedule)(jnp.arange(n))``.
"""

from typing import TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes
from funcnet.optim.schedules.averaging import ema_decay, swa
from funcnet.optim.schedules.cycles import (
    cosine_warm_restarts,
    cyclic,
    one_cycle,
    one_cycle_momentum,
)
from funcnet.optim.schedules.decays import (
    constant,
    cosine,
    exponential,
    linear,
    multi_step,
    polynomial,
    step,
)
from funcnet.optim.schedules.joins import (
    chained,
    lambda_,
    multiplicative,
    piecewise,
    sequential,
    values,
)
from funcnet.optim.schedules.plateau import Plateau, PlateauState, reduce_on_plateau
from funcnet.optim.schedules.steps import Recurrence
from funcnet.optim.schedules.warmups import inverse_sqrt, warmup_cosine, warmup_stable_decay

__all__ = [
    "Plateau",
    "PlateauState",
    "Recurrence",
    "chained",
    "constant",
    "cosine",
    "cosine_warm_restarts",
    "cyclic",
    "ema_decay",
    "exponential",
    "inverse_sqrt",
    "lambda_",
    "linear",
    "multi_step",
    "multiplicative",
    "one_cycle",
    "one_cycle_momentum",
    "piecewise",
    "polynomial",
    "reduce_on_plateau",
    "sequential",
    "step",
    "swa",
    "values",
    "warmup_cosine",
    "warmup_stable_decay",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = package_attributes(__name__, __all__)
