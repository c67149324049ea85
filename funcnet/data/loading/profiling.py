"""Where the time of an epoch goes: reading, transforming, collating, waiting."""

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from funcnet.data.loading.work import Seconds

if TYPE_CHECKING:
    from funcnet.data.loading.epoch import Epoch

__all__ = ["Profile", "profile_epoch"]


@dataclass(frozen=True)
class Profile:
    """Seconds of one run, to be printed as a table.

    ``read``, ``transform`` and ``collate`` add up over all workers; ``wait`` is how long the
    consumer stood still for batches, and ``total`` how long the run took. If ``wait`` is most of
    ``total``, loading is what limits: look at the largest of the three, and add workers.

    Example:
        >>> loader = data.DataLoader([1, 2, 3, 4], batch_size=2)
        >>> profile = loader.profile()
        >>> profile.wait <= profile.total
        True
    """

    batches: int
    workers: int
    read: float
    transform: float
    collate: float
    wait: float
    total: float

    def __str__(self) -> str:
        rows = [("stage", "seconds", "ms a batch", "share of workers")]
        capacity = max(self.total * self.workers, 1e-12)
        for name in ("read", "transform", "collate", "wait"):
            seconds = getattr(self, name)
            share = "" if name == "wait" else f"{seconds / capacity:.0%}"
            rows.append(
                (name, f"{seconds:.3f}", f"{1e3 * seconds / max(self.batches, 1):.3f}", share)
            )
        rows.append(
            ("total", f"{self.total:.3f}", f"{1e3 * self.total / max(self.batches, 1):.3f}", "")
        )
        lines = [f"{a:<10}{b:>9}{c:>12}  {d:>16}".rstrip() for a, b, c, d in rows]
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return "\n".join([*lines, f"{self.batches} batches, {workers}"])


def profile_epoch(batches: "Epoch", count: int | None, workers: int) -> Profile:
    """Run through an epoch's iterator, as `DataLoader.profile` does."""
    sums = Seconds()
    wait, done = 0.0, 0
    begin = perf_counter()
    try:
        while count is None or done < count:
            before = perf_counter()
            try:
                seconds = batches.next_result().seconds
            except StopIteration:
                break
            finally:
                wait += perf_counter() - before
            sums = Seconds(*(a + b for a, b in zip(sums, seconds, strict=True)))
            done += 1
    finally:
        batches.close()
    return Profile(done, workers, *sums, wait, perf_counter() - begin)
