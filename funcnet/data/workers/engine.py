"""One way to have tasks done, whoever does them."""

from collections.abc import Iterator
from typing import Any

from funcnet.data.loading.buffers import Spare
from funcnet.data.order.plan import Task
from funcnet.data.workers.processes import ProcessPool
from funcnet.data.workers.threads import run_here, run_threads
from funcnet.data.workers.transport import Copies

__all__ = ["Engine"]


class Engine:
    """Run tasks in this thread, in threads, or in processes.

    Args:
        work: makes a `Made` of a task and an allocator.
        num_workers: 0 for this thread.
        kind: ``"thread"`` or ``"process"``.
        prefetch: tasks ahead for each worker.
        timeout: seconds to wait for a result; 0 waits for ever.
        persistent: keep the processes from one run to the next.
    """

    def __init__(
        self,
        work: Any,
        num_workers: int,
        kind: str,
        prefetch: int,
        timeout: float,
        persistent: bool,
    ) -> None:
        self.work = work
        self.num_workers = num_workers
        self.kind = kind
        self.prefetch = prefetch
        self.timeout = timeout or None
        self.persistent = persistent
        self._kept: ProcessPool | None = None
        self._copies: Copies = {}
        # The batches ahead of each worker, the one in hand and the one that the consumer has.
        self._spare = Spare(prefetch + 2)

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Any]]:
        """Yield ``(task, Made)`` in the order of the tasks."""
        if self.num_workers == 0:
            return run_here(self.work, tasks, self._spare)
        if self.kind == "thread":
            return run_threads(
                self.work, tasks, self.num_workers, self.prefetch, self.timeout, self._spare
            )
        return self._run_processes(tasks)

    def _run_processes(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Any]]:
        pool, self._kept = self._kept, None  # a second iteration at once gets a pool of its own
        if pool is None or pool.closed:
            pool = ProcessPool(
                self.work, self.num_workers, self.prefetch, self.timeout, self._copies
            )
        keep = False
        try:
            yield from pool.run(tasks)
            keep = True
        except GeneratorExit:
            keep = True
            raise
        finally:  # after any other exception a message may be half read
            if keep and self.persistent and self._kept is None and not pool.closed:
                self._kept = pool
            else:
                pool.close()

    def close(self) -> None:
        """End the processes that are kept between runs."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
