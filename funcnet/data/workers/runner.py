"""One way to have tasks done, whoever the worker is: this thread, threads or processes."""

from collections.abc import Iterator
from typing import Any

from funcnet.data.loading.batch_memory import MemoryPool
from funcnet.data.order.batch_plan import Task
from funcnet.data.workers.open_files import check_no_open_file
from funcnet.data.workers.pickling import SharedCopies, dumps, fingerprint
from funcnet.data.workers.processes import ProcessPool
from funcnet.data.workers.threads import run_here, run_threads

__all__ = ["TaskRunner"]


class TaskRunner:
    """Run tasks in this thread, in threads, or in processes.

    Args:
        work: makes a `TaskResult` of a task and an allocator.
        num_workers: 0 for this thread.
        kind: ``"thread"`` or ``"process"``.
        prefetch: tasks ahead for each worker.
        timeout: seconds to wait for a result; 0 waits for ever.
        persistent: keep the processes from one run to the next, unless the work has changed since.
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
        self._copies = SharedCopies()
        # The batches ahead of each worker, the one in hand and the one that the consumer has.
        self._memory = MemoryPool(prefetch + 2)

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Any]]:
        """Yield ``(task, TaskResult)`` in the order of the tasks, with a `Failure` for those that fail."""
        if self.num_workers == 0:
            return run_here(self.work, tasks, self._memory)
        if self.kind == "thread":
            return self._run_threads(tasks)
        return self._run_processes(tasks)

    def _run_threads(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Any]]:
        several = self.num_workers > 1
        if several:
            check_no_open_file(self.work)
        results = run_threads(
            self.work, tasks, self.num_workers, self.prefetch, self.timeout, self._memory
        )
        for first in results:
            if several:  # a file that is opened at first use is open now
                check_no_open_file(self.work)
            yield first
            del first  # see `run_threads`
            break
        yield from results

    def _run_processes(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Any]]:
        pool, self._kept = self._kept, None  # a second iteration at once gets a pool of its own
        payload = dumps(self.work, self._copies)
        if pool is not None and (
            pool.closed or pool.given != (fingerprint(payload[0]), payload[1])
        ):
            pool.close()  # the dataset or a transform is no longer what these workers were given
            pool = None
        if pool is None:
            pool = ProcessPool(payload, self.num_workers, self.prefetch, self.timeout)
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
