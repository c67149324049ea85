"""The step at which all processes of a job stop together.

Needed from ``jax.experimental.multihost_utils``: JAX's coordination service hears of a SIGTERM in any process and
agrees on a step that none of them has reached. If it goes away, such an agreement has to be made over the
connections of `funcnet.parallel.launch`.
"""

from jax.experimental.multihost_utils import reached_preemption_sync_point

__all__ = ["reached_stop"]


def reached_stop(step: int) -> bool:
    """Tell whether this is the step at which all processes stop; every one has to ask at every step."""
    return reached_preemption_sync_point(step)
