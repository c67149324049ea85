"""EarlyStop: the end of a run that gets no better; and what watches a metric for this and other observers."""

import math
import re
from collections.abc import Mapping
from typing import Any

from funcnet.core.checks import check_choice, check_count, check_non_negative, check_positive
from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.observers.log import check_every

__all__ = ["EarlyStop", "Monitor"]

_LESS_IS_BETTER = re.compile(r"loss|err|perplexity|nll|mse|mae|distance|cost", re.IGNORECASE)


class Monitor:
    """A metric to be watched, and which of its values are good.

    Args:
        name: as records have it, ``"eval/loss"``.
        mode: ``"min"`` or ``"max"``; None: ``"min"`` if the name tells of a loss, an error, a perplexity, a distance
            or a cost, else ``"max"``, as `funcnet.checkpoint.Checkpointer` decides it.
        min_delta: how much better a value has to be.

    Example:
        >>> from funcnet.training.observers.early_stop import Monitor
        >>> Monitor("eval/loss").better(0.5, None), Monitor("eval/accuracy").better(0.5, 0.6)
        (True, False)
    """

    def __init__(self, name: str, mode: str | None = None, min_delta: float = 0.0) -> None:
        if not isinstance(name, str):
            raise TypeError(f"monitor is the name of a metric, such as 'eval/loss'; got {name!r}")
        if mode is not None:
            check_choice("mode", mode, ("min", "max"))
        check_non_negative("min_delta", min_delta)
        self.name, self.min_delta = name, float(min_delta)
        self.mode = mode or ("min" if _LESS_IS_BETTER.search(name) else "max")
        self.seen = -1

    def check_evaluated(self, loop: Loop, owner: str) -> None:
        """Complain of a metric of evaluations in a run without any, before its first step.

        Raises:
            KeyError: there never will be such a metric.
        """
        if self.name.startswith("eval/") and loop.settings.get("evaluation") is False:
            raise KeyError(
                f"{owner} watches {self.name!r}, but nothing is evaluated: give fit evaluation=, or watch 'train/loss'"
            )

    def better(self, value: float, best: float | None) -> bool:
        """Tell whether a value is better than the best one so far; NaN never is."""
        if math.isnan(value) or best is None:
            return not math.isnan(value)
        gain = best - value if self.mode == "min" else value - best
        return gain > self.min_delta

    def new_value(self, loop: Loop, owner: str) -> float | None:
        """Return the metric of a record that was not looked at before; None if it has none.

        Raises:
            KeyError: there is no such metric, and there never will be.
        """
        step = int(loop.record.get("step", loop.step))
        if step == self.seen:
            return None
        if self.name not in loop.record:
            self._check_comes(loop, owner)
            return None
        self.seen = step
        return float(loop.record[self.name])

    def _check_comes(self, loop: Loop, owner: str) -> None:
        evaluated = any(name.startswith("eval/") for name in loop.record)
        if self.name.startswith("eval/") and not evaluated:
            return  # this epoch ends without an evaluation
        there = ", ".join(name for name in loop.record if "/" in name) or "none"
        raise KeyError(f"{owner} watches {self.name!r}, but the metrics are {there}")


class EarlyStop(Observer):
    """Stop a run whose metric has not improved for a while, or is no number any more.

    With ``fit(checkpoint=...)`` what it counts is kept, so that a run that was interrupted stops where it would have
    stopped. Where ``patience`` ended it, the same call makes no further step; with more ``patience`` it goes on.

    Args:
        monitor: the metric, as records have it: ``"eval/loss"``, ``"train/accuracy"``.
        patience: stop when so many evaluations in a row (or epochs, of a training metric) brought nothing better.
        mode: ``"min"`` or ``"max"``: which values are good; without it ``"min"`` for what is named like a loss, an
            error, a perplexity, a distance or a cost.
        min_delta: by how much a value has to beat the best one.
        nan: whether a metric that is NaN stops the run at once. If not, it counts as no better.
        every: look at the training metrics at multiples of so many steps, too, and stop where one of them is not
            finite, except those with a ``/`` in their names, such as `GradientNorms` measures; None: at records only.

    Attributes:
        best: the best value so far; None before the first.
        best_step: the step that it is of.

    Raises:
        KeyError: raised by `fit`, no record has such a metric.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.0), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}]
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.0), run, batches, epochs=100, evaluation=batches, progress=False,
        ...     observers=[fn.training.EarlyStop("eval/loss", patience=3)])  # it learns nothing
        >>> int(run.step), history.reason
        (4, 'eval/loss has not improved on 0.865249 of step 1 for 3 evaluations')
    """

    def __init__(
        self,
        monitor: str = "eval/loss",
        patience: int = 3,
        *,
        mode: str | None = None,
        min_delta: float = 0.0,
        nan: bool = True,
        every: int | None = None,
    ) -> None:
        check_count("patience", patience)
        check_positive("patience", patience)
        self.monitor = Monitor(monitor, mode, min_delta)
        self.patience, self.nan = int(patience), nan
        self.every = check_every("every", every)
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_step, self.waited, self.monitor.seen = 0, 0, -1
        self._loaded = False

    def on_start(self, loop: Loop) -> None:
        """Begin anew, unless the run goes on; of a checkpoint that it stopped, stop again."""
        self.monitor.check_evaluated(loop, "EarlyStop")
        if loop.began == 0:
            self._forget()
        elif self._loaded:
            self._stop_if_over(loop)
        self._loaded = False

    def on_step(self, loop: Loop) -> None:
        """Stop where a training metric is not finite."""
        # the norms of a step that a loss scale skips are infinite, and no reason to stop
        means = {name: value for name, value in loop.metrics.items() if "/" not in name}
        bad = {name: value for name, value in means.items() if not math.isfinite(value)}
        if bad:
            said = ", ".join(f"{name} is {value}" for name, value in bad.items())
            loop.stop(f"{said} at step {loop.step}")

    def on_evaluation(self, loop: Loop) -> None:
        """Look at the evaluation."""
        self._look(loop)

    def on_epoch(self, loop: Loop) -> None:
        """Look at the epoch."""
        self._look(loop)

    def _look(self, loop: Loop) -> None:
        value = self.monitor.new_value(loop, "EarlyStop")
        if value is None:
            return
        name = self.monitor.name
        if self.nan and math.isnan(value):
            loop.stop(f"{name} is nan at step {loop.step}")
        elif self.monitor.better(value, self.best):
            self.best, self.best_step, self.waited = value, loop.step, 0
        else:
            self.waited += 1
        self._stop_if_over(loop)

    def _stop_if_over(self, loop: Loop) -> None:
        name = self.monitor.name
        if self.waited >= self.patience:
            best = "no number" if self.best is None else f"{self.best:.6g} of step {self.best_step}"
            loop.stop(f"{name} has not improved on {best} for {self.waited} evaluations")

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and for how long there was none better."""
        found = {"best": self.best, "best_step": self.best_step, "waited": self.waited}
        return found | {"seen": self.monitor.seen}

    def load_state_dict(self, kept: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.best, self.best_step = kept["best"], kept["best_step"]
        self.waited, self.monitor.seen = kept["waited"], kept["seen"]
        self._loaded = True
