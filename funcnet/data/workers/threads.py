"""Threads that make batches ahead of time, in order. They share the dataset's memory."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from funcnet.data.loading.buffers import Allocate, Spare
from funcnet.data.order.plan import Task

__all__ = ["read_ahead", "run_here", "run_threads"]

T = TypeVar("T")

Work = Callable[[Task, Allocate], Any]


def run_here(work: Work, tasks: Iterator[Task], spare: Spare) -> Iterator[tuple[Task, Any]]:
    """Do the tasks one after the other, each when its result is asked for.

    >>> from funcnet.data.workers.threads import Spare, run_here
    >>> next(run_here(lambda task, allocate: task + 1, iter([1]), Spare(4)))
    (1, 2)
    """
    allocate = spare.take()
    try:
        for task in tasks:
            yield task, work(task, allocate)
    finally:
        spare.give(allocate)


def run_threads(
    work: Work,
    tasks: Iterator[Task],
    workers: int,
    prefetch: int,
    timeout: float | None,
    spare: Spare,
) -> Iterator[tuple[Task, Any]]:
    """Do the tasks in threads, ``workers * prefetch`` of them ahead, and yield them in order.

    Closing the iterator, also by leaving it to the garbage collector, ends the threads once each
    has finished the task in hand.

    Args:
        work: makes a result of a task and an allocator.
        tasks: taken one by one, as room for them comes free.
        workers: threads.
        prefetch: tasks ahead for each thread.
        timeout: seconds to wait for a result; ``None`` waits for ever.
        spare: where the threads take their memory from.

    Raises:
        TimeoutError: a result took longer.

    Example:
        >>> from funcnet.data.workers.threads import Spare, run_threads
        >>> list(run_threads(lambda task, allocate: task + 1, iter([1, 2]), 2, 2, None, Spare(4)))
        [(1, 2), (2, 3)]
    """
    jobs: queue.SimpleQueue[tuple[Task, Future] | None] = queue.SimpleQueue()
    closed = threading.Event()
    for number in range(workers):
        threading.Thread(
            target=_serve,
            args=(work, jobs, closed, spare),
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
                result = future.result(timeout)
            except TimeoutError as error:
                if future.done():  # the work itself raised it
                    raise
                raise TimeoutError(
                    f"a batch was not ready after timeout={timeout} seconds; its first samples are"
                    f" {task.indices[:8].tolist()}"
                ) from error
            del future
            yield task, result
            del result  # so that its memory is free for the next one
    finally:
        closed.set()
        for _ in range(workers):
            jobs.put(None)


def _serve(
    work: Work, jobs: "queue.SimpleQueue[Any]", closed: threading.Event, spare: Spare
) -> None:
    allocate = spare.take()
    while (job := jobs.get()) is not None and not closed.is_set():
        task, future = job
        del job
        try:
            future.set_result(work(task, allocate))
        except BaseException as error:
            future.set_exception(error)
        del task, future  # hold no batch while waiting
    spare.give(allocate)


def read_ahead(items: Iterator[T], count: int, timeout: float | None) -> Iterator[T]:
    """Draw items in a thread of their own, some ahead of those that are asked for.

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
    ready: queue.SimpleQueue[tuple[list[T], BaseException | None]] = queue.SimpleQueue()
    room = threading.Semaphore(count)
    closed = threading.Event()

    def draw() -> None:
        while room.acquire() and not closed.is_set():
            try:
                ready.put(([next(items)], None))
            except BaseException as error:  # StopIteration, too
                ready.put(([], error))
                return

    threading.Thread(target=draw, name="funcnet-data-reader", daemon=True).start()
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
