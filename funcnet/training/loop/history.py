"""History: what a run reported."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["History"]

_SHOWN = 12
"""Records that a printed history has at most."""


@dataclass(repr=False)
class History:
    """What a run reported; printed, it is a short table.

    Attributes:
        records: one dict for each end of an epoch and each evaluation within one, at most one a step: ``epoch``,
            ``step``, ``seconds``, and each metric as ``train/loss``, ``eval/accuracy``, and so on. ``seconds`` and
            what begins with ``train/`` are of what came since the record before.
        interrupted: whether Ctrl-C, or the end of a job of several processes, ended it.
        reason: why an observer stopped it, see `Loop.stop`.
        arrays: the newest values of metrics that are arrays, such as ``"eval/confusion_matrix"``: records hold floats.

    Example:
        >>> fn.training.History([{"epoch": 1, "step": 5, "seconds": 0.21, "train/loss": 1.5}])
        epoch  step  seconds  train/loss
            1     5     0.21         1.5
    """

    records: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False
    reason: str | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict, compare=False)

    def series(self, name: str) -> list[float]:
        """Return one metric over the records that have it, such as ``"eval/accuracy"``.

        Raises:
            KeyError: there is no such metric; the message lists them.
        """
        known = sorted({key for record in self.records for key in record})
        if name not in known:
            raise KeyError(f"no metric {name!r}; there are: {', '.join(known) or 'none yet'}")
        return [record[name] for record in self.records if name in record]

    def __repr__(self) -> str:
        """Return a table of the records; of many, the first and the last ones."""
        if not self.records:
            return "History: no records yet"
        names = list(dict.fromkeys(name for record in self.records for name in record))
        rows = [[_shown(record.get(name)) for name in names] for record in self.records]
        if len(rows) > _SHOWN:
            rows = [*rows[: _SHOWN // 2], ["..."] * len(names), *rows[-_SHOWN // 2 :]]
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        lines = [
            "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            for row in [names, *rows]
        ]
        if self.interrupted or self.reason:
            lines.append("interrupted" if self.interrupted else f"stopped: {self.reason}")
        return "\n".join(lines)


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4g}"
