"""Which steps are kept."""

from pathlib import Path

from funcnet.checkpoint.runs.directory import held, list_steps, remove_step, step_folder
from funcnet.checkpoint.runs.manifest import Manifest
from funcnet.checkpoint.runs.metric import best_step

__all__ = ["Retention"]


class Retention:
    """Keeps the newest steps of a directory and the best one, and removes the others.

    Args:
        directory: of the run.
        keep: how many of the newest; None keeps all.
        best: the metric whose best step is kept too.
        mode: which values of it are good.
    """

    def __init__(
        self, directory: Path, keep: int | None, best: str | None, mode: str | None
    ) -> None:
        self.directory, self.keep, self.best, self.mode = directory, keep, best, mode
        self._metrics: dict[int, dict[str, float]] = {}

    def apply(self, written: int, metrics: dict[str, float]) -> None:
        """Remove what need not be kept now that a step was written; steps that are not whole stay to be seen."""
        if self.keep is None:
            return
        known = {step: self._metrics_of(step) for step in list_steps(self.directory)}
        whole = {step: numbers for step, numbers in known.items() if numbers is not None}
        self._metrics = whole | {written: metrics}
        best = best_step(self._metrics, self.best, self.mode)
        kept = {*sorted(self._metrics)[-self.keep :], written, best}
        with held(self.directory):
            for step in sorted(self._metrics.keys() - kept):
                remove_step(self.directory, step)
                del self._metrics[step]

    def _metrics_of(self, step: int) -> dict[str, float] | None:
        """Read a step's metrics once; None of a step that is not whole."""
        if step in self._metrics:
            return self._metrics[step]
        try:
            return Manifest.read(step_folder(self.directory, step)).metrics
        except (ValueError, OSError):
            return None
