"""Threads that make batches ahead of time, in order. They share the dataset's memory."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from funcnet.data.loading.batch_memory import Allocate, MemoryPool
from funcnet.data.loading.errors import Failure
from funcnet.data.order.batch_plan import Task

__all__ = ["read_ahead", "run_here", "run_threads"]

_Item = TypeVar("_Item")

_Work = Callable[[Task, Allocate], Any]


def run_here(work: _Work, tasks: Iterator[Task], pool: MemoryPool) -> Iterator[tuple[Task, Any]]:
    """Do the tasks one after the other, each when its result is asked for.

    The result of a task that fails is a `Failure`.

    >>> from funcnet.data.workers.threads import MemoryPool, run_here
    >>> next(run_here(lambda task, allocate: task + 1, iter([1]), MemoryPool(4)))
    (1, 2)
    """
    allocate = pool.take()
    try:
        for task in tasks:
            try:
                result = work(task, allocate)
            except Exception as error:
                result = Failure(error)
            yield task, result
            del result  # see `run_threads`
    finally:
        pool.give_back(allocate)


def run_threads(
    work: _Work,
    tasks: Iterator[Task],
    workers: int,
    prefetch: int,
    timeout: float | None,
    pool: MemoryPool,
) -> Iterator[tuple[Task, Any]]:
    """Do the tasks in threads, ``workers * prefetch`` of them ahead, and yield them in order.

    The result of a task that fails is a `Failure`.

    Closing the iterator, also by leaving it to the garbage collector, ends the threads once each
    has finished the task in hand.

    Args:
        work: makes a result of a task and an allocator.
        tasks: taken one by one, as room for them comes free.
        workers: threads.
        prefetch: tasks ahead for each thread.
        timeout: seconds to wait for a result; ``None`` waits for ever.
        pool: where the threads take their batch memory from.

    Raises:
        TimeoutError: a result took longer.

    Example:
        >>> from funcnet.data.workers.threads import MemoryPool, run_threads
        >>> list(run_threads(lambda task, allocate: task + 1, iter([1, 2]), 2, 2, None, MemoryPool(4)))
        [(1, 2), (2, 3)]
    """
    jobs: queue.SimpleQueue[tuple[Task, Future] | None] = queue.SimpleQueue()
    closed = threading.Event()
    for number in range(workers):
        threading.Thread(
            target=_serve,
            args=(work, jobs, closed, pool),
            name=f"funcnet-data-{number}",
            daemon=True,
        ).start()
    ahead: deque[tuple[Task, Future]] = deque()
    try:
        while True:
            while len(ahead) < workers * prefetch and (task := next(tasks, None)) is not None:
                ahead.append((task, Future()))
                jobs.put(ahead[-1])
            if not ahead:
                return
            task, future = ahead.popleft()
            try:
                failed = future.exception(timeout)
            except TimeoutError as error:
                raise TimeoutError(
                    f"a batch was not ready after timeout={timeout} seconds; its first samples are"
                    f" {task.indices[:8].tolist()}"
                ) from error
            result = Failure(failed) if isinstance(failed, Exception) else future.result()
            del failed
            del future  # it refers to the result
            yield task, result
            # No reference may stay in this frame while the next batch is made: the memory of this one
            # is written again only when nobody refers to it.
            del result
    finally:
        closed.set()
        for _ in range(workers):
            jobs.put(None)


def _serve(
    work: _Work, jobs: "queue.SimpleQueue[Any]", closed: threading.Event, pool: MemoryPool
) -> None:
    allocate = pool.take()
    while (job := jobs.get()) is not None and not closed.is_set():
        task, future = job
        del job
        try:
            future.set_result(work(task, allocate))
        except BaseException as error:
            future.set_exception(error)
        # While this thread waits for a task, it must not keep the last batch's memory from reuse.
        del task, future
    pool.give_back(allocate)


def read_ahead(items: Iterator[_Item], count: int, timeout: float | None) -> Iterator[_Item]:
    """Read items in a thread of their own, some ahead of those that are asked for.

    Args:
        items: only the thread ever touches it. What it raises is raised where the item would be.
        count: how many may lie ready.
        timeout: seconds to wait for an item; ``None`` waits for ever.

    Raises:
        TimeoutError: an item took longer.

    Example:
        >>> from funcnet.data.workers.threads import read_ahead
        >>> list(read_ahead(iter("abc"), 2, None))
        ['a', 'b', 'c']
    """
    ready: queue.SimpleQueue[tuple[list[_Item], BaseException | None]] = queue.SimpleQueue()
    room = threading.Semaphore(count)
    closed = threading.Event()

    def read() -> None:
        while room.acquire() and not closed.is_set():
            try:
                ready.put(([next(items)], None))
            except BaseException as error:  # StopIteration, too
                ready.put(([], error))
                return

    threading.Thread(target=read, name="funcnet-data-reader", daemon=True).start()
    try:
        while True:
            try:
                found, error = ready.get(timeout=timeout)
            except queue.Empty:
                raise TimeoutError(
                    f"the dataset gave no samples within timeout={timeout} seconds"
                ) from None
            room.release()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield found.pop()
    finally:
        closed.set()
        room.release()
