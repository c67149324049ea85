"""find_learning_rate: train a little with higher and higher rates, and see where the loss falls."""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.optim import hyperparams, with_hyperparams
from funcnet.training.loss_scaling import DynamicLossScale
from funcnet.training.objective import Objective
from funcnet.training.pictures.style import PALETTE, finished, label_axes, new_figure
from funcnet.training.train_state import TrainState
from funcnet.training.trials.losses import again_and_again, copied, loss_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RateSearch", "find_learning_rate"]

_FEWEST = 10
_MUCH_WORSE = 4.0


@dataclass(frozen=True)
class RateSearch:
    """What came of `find_learning_rate`.

    Attributes:
        rates: that were tried, rising.
        losses: of the batch that each was tried on, before its step.
        smooth: the losses, each averaged with its neighbours.
        suggestion: the rate where the smooth loss falls fastest; None if it never falls.

    Example:
        >>> net, optimizer = fn.functionalize(nn.Linear(4, 2)), optim.adam()
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}]
        >>> found = fn.training.find_learning_rate(objective, optimizer, run, batches, high=10.0)
        >>> len(found.rates) == len(found.losses) == len(found.smooth)
        True
    """

    rates: np.ndarray
    losses: np.ndarray
    smooth: np.ndarray
    suggestion: float | None

    def __str__(self) -> str:
        """Say which rate is suggested, and why."""
        low, high = self.rates[0], self.rates[-1]
        tried = f"{len(self.rates)} rates from {low:.1e} to {high:.1e}"
        if self.suggestion is None:
            return f"no learning rate found: over {tried} the loss never fell"
        lowest = self.rates[np.nanargmin(self.smooth)]
        return (
            f"learning rate {self.suggestion:.1e}: of {tried} the loss falls fastest there, and is lowest at "
            f"{lowest:.1e}"
        )

    __repr__ = __str__

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Draw the losses over the rates.

        Args:
            path: where to save the picture.
        """
        figure, grid = new_figure()
        axes = grid[0, 0]
        axes.plot(self.rates, self.losses, color=PALETTE[0], alpha=0.3, linewidth=0.8, label="loss")
        axes.plot(self.rates, self.smooth, color=PALETTE[0], label="smoothed")
        if self.suggestion is not None:
            axes.axvline(
                self.suggestion,
                color=PALETTE[1],
                linestyle="dashed",
                label=f"suggestion {self.suggestion:.1e}",
            )
        axes.set_xscale("log")
        shown = self.smooth[np.isfinite(self.smooth)]
        if shown.size and np.ptp(shown) > 0:  # a last loss of millions would hide all others
            top = min(shown.max(), shown[0] + 2 * (shown[0] - shown.min()) + 0.1 * abs(shown[0]))
            axes.set_ylim(
                shown.min() - 0.05 * (top - shown.min()), top + 0.05 * (top - shown.min())
            )
        label_axes(axes, x="learning rate", y="loss")
        axes.legend(frameon=False, fontsize="small")
        return finished(figure, path)


def find_learning_rate(
    objective: Objective,
    optimizer: Any,
    run: TrainState,
    batches: Iterable[Any],
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    loss_scale: DynamicLossScale | None = None,
) -> RateSearch:
    """Find a learning rate: train with one that grows from step to step, and see where the loss falls fastest.

    It ends early where the loss is four times what it was at its best, or not finite. The run given stays as it was.

    Args:
        objective: see `Objective`.
        optimizer: of `funcnet.optim`, whose learning rate is set at every step (of several, as of groups, all are
            scaled alike, and the largest is the one told); a schedule does not count. Of other libraries: a function
            ``lr -> optimizer``, such as ``lambda lr: optax.adam(lr)``; the optimizer's state begins anew then.
        run: from `TrainState.create`.
        batches: taken again from the first where they end.
        low: the first rate.
        high: the last rate.
        steps: how many rates to try, each on a batch.
        loss_scale: as of `make_train_step`.

    Returns:
        A `RateSearch`: ``result.suggestion``, ``result.plot("rates.png")``; print it.

    Raises:
        TypeError: the optimizer's state has no learning rate, or ``run`` is no `TrainState`.
        ValueError: rates or steps make no sense, or there are too few batches.

    Example:
        >>> net, optimizer = fn.functionalize(nn.Linear(4, 2)), optim.adam()
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}]
        >>> found = fn.training.find_learning_rate(objective, optimizer, run, batches, high=10.0)
        >>> 1e-3 < found.suggestion < 10
        True

    Reference: Smith, Cyclical Learning Rates for Training Neural Networks, 2017, https://arxiv.org/abs/1506.01186
    """
    if not 0 < low < high:
        raise ValueError(f"rates rise from low to high, both above 0; got low={low}, high={high}")
    if steps < _FEWEST:
        raise ValueError(f"{_FEWEST} rates at least are needed to see anything; got steps={steps}")
    now = copied(run)
    step, now = _rated_step(objective, optimizer, now, loss_scale)
    step = jax.jit(step, donate_argnums=0)
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    losses: list[float] = []
    for rate, batch in zip(rates, again_and_again(batches), strict=False):
        now, loss = step(now, batch, jnp.float32(rate))
        losses.append(float(loss))
        if not math.isfinite(losses[-1]) or _is_much_worse(losses):
            break
    if len(losses) < _FEWEST and math.isfinite(losses[-1]) and not _is_much_worse(losses):
        raise ValueError(
            f"batches ended after {len(losses)} of {steps} steps: an iterator is used up once; pass a list or a loader"
        )
    tried, found = rates[: len(losses)], np.array(losses)
    smooth = _smoothed(found)
    return RateSearch(tried, found, smooth, _steepest(tried, smooth))


class _Pair(NamedTuple):
    init: Callable[[Any], PyTree]
    update: Callable[..., tuple[PyTree, PyTree]]


def _rated_step(
    objective: Objective, optimizer: Any, run: TrainState, loss_scale: DynamicLossScale | None
) -> tuple[Callable[[TrainState, Any, Array], tuple[TrainState, Array]], TrainState]:
    """Return ``step(run, batch, rate)``, and the run with a state of the optimizer that the step takes."""
    if isinstance(optimizer, type) or not hasattr(optimizer, "update"):
        return _step_of_factory(objective, optimizer, run, loss_scale)
    rates = _rates_of(run.opt_state)
    if not rates:
        raise TypeError(
            "the optimizer's state has no learning rate to set: pass a function of it, such as "
            "lambda lr: optax.adam(lr)"
        )
    largest = max(rates.values())
    # of a warm-up from zero all are zero: then all are the same
    shares = {name: rate / largest if largest else 1.0 for name, rate in rates.items()}
    plain = loss_step(objective, optimizer, loss_scale)

    def with_rate(run: TrainState, rate: Any) -> TrainState:
        values = {name: rate * share for name, share in shares.items()}
        return replace(run, opt_state=with_hyperparams(run.opt_state, values))

    def step(run: TrainState, batch: Any, rate: Array) -> tuple[TrainState, Array]:
        return plain(with_rate(run, rate), batch)

    return step, with_rate(run, largest or 1.0)  # a schedule is held from here on


def _step_of_factory(
    objective: Objective, factory: Any, run: TrainState, loss_scale: DynamicLossScale | None
) -> tuple[Callable[[TrainState, Any, Array], tuple[TrainState, Array]], TrainState]:
    first: Any = factory(1.0) if callable(factory) else None
    if isinstance(first, type) or not hasattr(first, "update"):
        raise TypeError(
            f"expected an optimizer, or a function lr -> optimizer; got {type(factory).__name__}"
        )
    own = first if loss_scale is None else loss_scale.wrap(first)
    run = replace(run, opt_state=own.init(run.params))
    if _rates_of(run.opt_state):  # one of ours: the rate is in its state
        return _rated_step(objective, first, run, loss_scale)

    def step(run: TrainState, batch: Any, rate: Array) -> tuple[TrainState, Array]:
        rated: Any = factory(rate)
        return loss_step(objective, _Pair(rated.init, rated.update), loss_scale)(run, batch)

    return step, run


def _rates_of(opt_state: PyTree) -> dict[str, float]:
    """Return the learning rates in a state by name; none of a state that `funcnet.optim` has not made."""
    found = hyperparams(opt_state)
    return {name: float(value) for name, value in found.items() if name.rpartition(".")[2] == "lr"}


def _is_much_worse(losses: list[float]) -> bool:
    """Tell whether the last few losses are far above the best few."""
    recent = [np.mean(losses[i : i + 3]) for i in range(max(len(losses) - 2, 0))]
    if len(recent) < 3:
        return False
    best, first = min(recent), recent[0]
    return bool(recent[-1] > best + (_MUCH_WORSE - 1) * max(abs(best), abs(first) / _MUCH_WORSE))


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """Average each loss with its neighbours, on both sides alike, so that nothing moves to higher rates."""
    reach = max(len(losses) // 25, 1)
    weights = np.exp(-0.5 * (np.arange(-2 * reach, 2 * reach + 1) / reach) ** 2)
    real = np.isfinite(losses)
    sums, counts = (
        np.convolve(np.where(real, of, 0.0), weights)[2 * reach : 2 * reach + len(losses)]
        for of in (losses, np.ones(len(losses)))
    )
    return np.where(real, sums / np.maximum(counts, 1e-12), np.nan)


def _steepest(rates: np.ndarray, smooth: np.ndarray) -> float | None:
    """Return the rate at which the loss falls fastest on its way to its lowest point."""
    lowest = int(np.nanargmin(smooth)) if np.isfinite(smooth).any() else 0
    if lowest < 2:
        return None
    slopes = np.gradient(smooth[: lowest + 1], np.log(rates[: lowest + 1]))
    place = int(np.argmin(slopes))
    return float(rates[place]) if slopes[place] < 0 else None
