"""overfit_one_batch: the first thing to try with a new model."""

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.checks import check_positive
from funcnet.core.paths import flatten
from funcnet.training.loss_scaling import DynamicLossScale
from funcnet.training.objective import Objective
from funcnet.training.pictures.style import PALETTE, finished, label_axes, new_figure
from funcnet.training.train_state import TrainState
from funcnet.training.trials.losses import copied, loss_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Overfit", "overfit_one_batch"]


@dataclass(frozen=True)
class Overfit:
    """What came of `overfit_one_batch`; printed, it says so in words.

    Attributes:
        losses: before each step, the first before any.
        target: the loss to be reached.
        unmoved: paths of parameters that no step has changed.
        seconds: how long it took, compilation included.

    Example:
        >>> net, optimizer = fn.functionalize(nn.Linear(4, 2)), optim.sgd(1.0)
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batch = {"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}
        >>> found = fn.training.overfit_one_batch(objective, optimizer, run, batch)
        >>> bool(found.losses[-1] <= found.target), found.unmoved
        (True, ())
    """

    losses: np.ndarray
    target: float
    unmoved: tuple[str, ...]
    seconds: float

    @property
    def can_learn(self) -> bool:
        """Whether the target was reached."""
        return bool(self.losses[-1] <= self.target)

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite."""
        return not math.isfinite(self.losses[-1])

    def __str__(self) -> str:
        """Say what happened, and where to look if nothing was learned."""
        first, last, steps = self.losses[0], self.losses[-1], len(self.losses) - 1
        course = f"loss {first:.4g} → {last:.4g} in {steps} steps, {self.seconds:.1f} s"
        lines = [
            f"{'can learn' if self.can_learn else 'does not learn'}: {course} (target {self.target:.4g})"
        ]
        if self.diverged:
            lines.append(
                f"the loss is not finite after {steps} steps: lower the learning rate, or find where with fn.nan_guard"
            )
        elif not self.can_learn and np.min(self.losses) < 0.9 * first:
            lines.append(
                "it goes down: try more steps, a higher learning rate, or a target= that the loss can reach"
            )
        elif not self.can_learn:
            lines.append(
                "it does not go down: look at the learning rate (training.find_learning_rate), at whether targets "
                "belong to inputs, and at whether the loss takes logits or probabilities"
            )
        if self.unmoved:
            shown = ", ".join(self.unmoved[:5]) + (", …" if len(self.unmoved) > 5 else "")
            lines.append(
                f"{len(self.unmoved)} parameters have not moved: {shown}: frozen, not used, or given no gradient"
            )
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Draw the losses.

        Args:
            path: where to save the picture.
        """
        figure, axes = new_figure()
        real = np.where(np.isfinite(self.losses), self.losses, np.nan)
        axes[0, 0].plot(real, color=PALETTE[0], label="loss of the batch")
        axes[0, 0].axhline(self.target, color=PALETTE[6], linestyle="dotted", label="target")
        if (real[np.isfinite(real)] > 0).all() and self.target > 0:
            axes[0, 0].set_yscale("log")
        axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
        label_axes(axes[0, 0], x="step", y="loss")
        axes[0, 0].legend(frameon=False, fontsize="small")
        return finished(figure, path)


def overfit_one_batch(
    objective: Objective,
    optimizer: Any,
    run: TrainState,
    batch: Any,
    *,
    steps: int = 200,
    target: float | None = None,
    loss_scale: DynamicLossScale | None = None,
) -> Overfit:
    """Train on one batch again and again: a model that cannot learn even that has a mistake in it.

    A small batch, of 2 to 16 samples, is the right one. It ends as soon as the target is reached. Dropout and
    augmentation make it harder. The run given stays as it was.

    Args:
        objective: see `Objective`.
        optimizer: a pair ``(init, update)`` from `funcnet.optim` or Optax.
        run: from `TrainState.create`.
        batch: one batch.
        steps: how many at most.
        target: the loss to reach; None: a tenth of the first loss, which needs a loss that can come near to zero.
        loss_scale: as of `make_train_step`.

    Returns:
        An `Overfit`: ``result.can_learn``, ``result.losses``; print it.

    Raises:
        TypeError: ``run`` is no `TrainState`.
        ValueError: the first loss is not above zero, and there is no target.

    Example:
        >>> net, optimizer = fn.functionalize(nn.Linear(4, 2)), optim.sgd(1.0)
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batch = {"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}
        >>> fn.training.overfit_one_batch(objective, optimizer, run, batch).can_learn
        True
    """
    check_positive("steps", steps)
    began = time.monotonic()
    now = copied(run)
    step = jax.jit(loss_step(objective, optimizer, loss_scale), donate_argnums=0)
    moved = jax.tree.map(lambda leaf: jnp.zeros((), jnp.bool_), run.params)
    losses: list[float] = []
    for _ in range(steps + 1):
        now, loss = step(now, batch)
        losses.append(float(loss))
        # after each step: of accumulated gradients, warm-ups and skipped steps the first ones move nothing
        moved = _moved(moved, run.params, now.params)
        target = _target(losses[0]) if target is None else target
        if losses[-1] <= target or not math.isfinite(losses[-1]):
            break
    unmoved = tuple(path for path, leaf in flatten(moved).items() if not leaf)
    return Overfit(np.array(losses), float(target or 0.0), unmoved, time.monotonic() - began)


def _target(first: float) -> float:
    if first <= 0:
        raise ValueError(
            f"the first loss is {first:.4g}: the default target, a tenth of it, is for losses that are above zero and "
            "can come near to it; pass target= a loss that would show that it learns"
        )
    return first / 10


@jax.jit
def _moved(moved: Any, before: Any, after: Any) -> Any:
    return jax.tree.map(lambda so_far, a, b: so_far | (a != b).any(), moved, before, after)
