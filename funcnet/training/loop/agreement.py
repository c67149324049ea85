"""Agreement of all processes on whether one of them wants something, without waiting for the devices."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet.training.loop.on_mesh import in_step

__all__ = ["Agreement"]


class Agreement:
    """Tells every process at the same call whether any process has said yes.

    What is asked at one call is answered at the next: the exchange runs on the devices behind the step before it, and
    a device that has a step ahead of it never waits for the host.

    Example:
        >>> from funcnet.training.loop.agreement import Agreement
        >>> agreement = Agreement()
        >>> agreement.any(False), agreement.any(True)
        (False, True)
    """

    def __init__(self) -> None:
        self.alone = jax.process_count() == 1
        self.asked: Any = None
        if not self.alone:
            self.exchange, self.answers = _exchange()

    def any(self, yes: bool) -> bool:
        """Ask on behalf of this process; every process has to call this as often.

        Args:
            yes: what this process says.

        Returns:
            Of one process alone, ``yes``; of several, whether any said yes at the call before this one.
        """
        if self.alone:
            return yes
        before, self.asked = self.asked, in_step(self.exchange(self.answers[yes]))
        return before is not None and bool(before)


def _exchange() -> tuple[Any, Sequence[jax.Array]]:
    """Return a function of an answer on every device, and the answers no and yes."""
    mesh = jax.make_mesh((jax.device_count(),), ("all",), (AxisType.Auto,))
    spread, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("all",), ()))
    make = partial(jax.make_array_from_callback, (jax.device_count(),), spread)
    answers = [make(lambda index, yes=yes: np.array([yes], np.int32)) for yes in (0, 1)]
    return jax.jit(jnp.max, out_shardings=whole), answers
