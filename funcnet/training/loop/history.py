"""History: what a run reported."""

from dataclasses import dataclass, field

__all__ = ["History"]


@dataclass
class History:
    """What a run reported.

    Attributes:
        records: one dict an epoch: ``epoch``, ``step``, ``seconds``, and each metric as ``train/loss``,
            ``eval/accuracy``, and so on.
        interrupted: whether Ctrl-C, or the end of a job of several processes, ended it.
    """

    records: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False

    def series(self, name: str) -> list[float]:
        """Return one metric over the epochs, such as ``"eval/accuracy"``.

        Raises:
            KeyError: there is no such metric; the message lists them.
        """
        known = sorted({key for record in self.records for key in record})
        if name not in known:
            raise KeyError(f"no metric {name!r}; there are: {', '.join(known) or 'none yet'}")
        return [record[name] for record in self.records if name in record]
