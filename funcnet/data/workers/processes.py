"""Processes that make batches ahead of time, in order, in shared memory.

They are started as new programs, never forked, so that it is safe beside JAX's threads; the main
program is not run again in them, and nothing here imports JAX. Each owns a few slots of shared
memory that batches are written into and read from in place.
"""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe, wait
from time import monotonic
from typing import Any

import numpy as np

from funcnet.data.loading.errors import Failure, WorkerDiedError
from funcnet.data.loading.work import TaskResult
from funcnet.data.order.batch_plan import Task
from funcnet.data.workers.pickling import Payload, fingerprint
from funcnet.data.workers.shared_memory import create_fd
from funcnet.data.workers.slots import Slot

__all__ = ["ProcessPool"]

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
numbers = [int(argument) for argument in sys.argv[2:]]
del sys.argv[1:]
from funcnet.data.workers.process_main import main
main(*numbers)
"""

_HELD = 2  # batches of one worker that the consumer may hold before further ones are copied

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _search_path() -> list[str]:
    """Return where modules are looked for: text only, which is also all that Python itself heeds."""
    return [
        os.fsdecode(entry) for entry in sys.path if isinstance(entry, (str, bytes, os.PathLike))
    ]


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    for name in _ONE_THREAD:
        environment.setdefault(name, "1")
    # If a user's module imports JAX all the same, it shall not take the accelerator.
    environment["JAX_PLATFORMS"] = "cpu"
    return environment


class _Member:
    """One worker process, as its parent sees it."""

    def __init__(
        self, members: list["_Member"], payload_fd: int, fds: list[int], slots: int
    ) -> None:
        with contextlib.ExitStack() as opened:  # a Ctrl-C in here leaves nothing open
            self.slots: list[Slot] = []
            opened.callback(lambda: [slot.close() for slot in self.slots])
            for _ in range(slots):
                self.slots.append(Slot(create_fd()))
            self.tasks: dict[int, tuple[Task, Slot]] = {}
            self.connection, theirs = Pipe()
            opened.callback(self.connection.close)
            # Nobody ever writes to this pipe: it ends, in the worker, when this process does.
            life, self.life = os.pipe()
            opened.callback(self._close_life)
            numbers = [theirs.fileno(), life, payload_fd, *(slot.fd for slot in self.slots)]
            try:
                self.process = subprocess.Popen(
                    [
                        sys.executable,
                        "-c",
                        _PROGRAM,
                        json.dumps(_search_path()),
                        *map(str, numbers),
                    ],
                    pass_fds=[*numbers, *fds],
                    stdin=subprocess.DEVNULL,
                    env=_environment(),
                    process_group=0,  # a Ctrl-C in the terminal is the parent's to handle
                )
                members.append(self)
            finally:
                # The worker has its own copies. While this process had them open, too, it would never
                # see the connection end when the worker dies.
                theirs.close()
                os.close(life)
            opened.pop_all()

    def free_slot(self) -> Slot | None:
        """Find a slot that neither the worker nor the consumer uses."""
        return next((slot for slot in self.slots if not slot.busy and not slot.held), None)

    def send(self, number: int, task: Task, slot: Slot) -> None:
        """Give the worker a task; what may be large goes through the slot: sending never blocks."""
        indices = np.asarray(task.indices, np.int64)
        samples = b"" if task.samples is None else pickle.dumps(task.samples, protocol=5)
        slot.begin()
        content = slot.reserve(indices.nbytes + len(samples))
        content[: indices.nbytes] = indices.view(np.uint8)
        content[indices.nbytes : indices.nbytes + len(samples)] = np.frombuffer(samples, np.uint8)
        del content  # a view of the slot: it would count as somebody who holds the batch
        slot.busy = True
        self.tasks[number] = task, slot
        fields = task._replace(indices=None, samples=None)
        message = (number, self.slots.index(slot), len(indices), len(samples), fields)
        self.connection.send_bytes(pickle.dumps(message))

    def close(self) -> None:
        """Tell the worker to end: it sees either file close, even amidst a transform."""
        self.connection.close()
        self._close_life()

    def _close_life(self) -> None:
        life, self.life = self.life, -1
        if life >= 0:
            os.close(life)


def _shut_down(members: list[_Member]) -> None:
    for member in members:
        member.close()
    for member in members:
        try:
            member.process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # in native code that does not let go
            member.process.kill()
            member.process.wait()
        for slot in member.slots:
            slot.close()
    members.clear()


class ProcessPool:
    """Worker processes that share one piece of work.

    They end with `close`, with the last reference to the pool, and with the program, however it
    ends.

    Args:
        payload: the pickled work, which makes a `TaskResult` of a task and an allocator.
        workers: processes.
        prefetch: tasks ahead for each.
        timeout: seconds to wait for a result; ``None`` waits for ever.
    """

    def __init__(
        self, payload: Payload, workers: int, prefetch: int, timeout: float | None
    ) -> None:
        if os.name != "posix":
            raise RuntimeError('worker processes need a POSIX system; use workers="thread"')
        self.prefetch = prefetch
        self.timeout = timeout
        self._count = 0
        self._members: list[_Member] = []
        self._done: dict[int, tuple[Slot, tuple[Any, ...]]] = {}
        self._stale: set[int] = set()
        self._finalizer = weakref.finalize(self, _shut_down, self._members)
        content, files = payload
        self.given = fingerprint(content), files
        # Through a file in memory, not a pipe: a pipe is full after 64 kB, and writing would wait for
        # a worker that is still starting. All workers map the same file.
        payload_fd = create_fd()
        try:
            with open(payload_fd, "wb", closefd=False) as file:
                file.write(content)
            for _ in range(workers):
                _Member(self._members, payload_fd, [file.fd for file in files], prefetch + _HELD)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(payload_fd)

    @property
    def pids(self) -> list[int]:
        """The process numbers of the workers."""
        return [member.process.pid for member in self._members]

    @property
    def closed(self) -> bool:
        """Whether the processes have been ended."""
        return not self._finalizer.alive

    def close(self) -> None:
        """End the processes and wait until they are gone."""
        self._finalizer()

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Any]]:
        """Do the tasks and yield ``(task, TaskResult)``, or a `Failure`, in their order.

        Raises:
            WorkerDiedError: a process ended by itself.
            TimeoutError: a batch took longer than the timeout.
        """
        ahead: list[tuple[int, Task]] = []
        try:
            more = True
            while True:
                while more and (member := self._idle(len(ahead))) is not None:
                    task = next(tasks, None)
                    more = task is not None
                    if task is not None:
                        ahead.append((self._submit(member, task), task))
                if not ahead and not more:
                    return
                if not ahead:  # every worker still does tasks of an iteration that was given up
                    self._await_room()
                    continue
                while self._receive(0):  # to the end: there a death shows
                    pass
                number, task = ahead[0]
                self._await(number, task)
                del ahead[0]
                yield task, self._deliver(number)
        except (WorkerDiedError, TimeoutError):
            self.close()
            raise
        finally:
            self._forget([number for number, _ in ahead])

    def _idle(self, ahead: int) -> _Member | None:
        """Find the worker with the fewest tasks that has room for another."""
        if ahead >= len(self._members) * (self.prefetch + 1):
            return None
        ready = [member for member in self._members if len(member.tasks) < self.prefetch]
        ready.sort(key=lambda member: len(member.tasks))
        return next((member for member in ready if member.free_slot() is not None), None)

    def _submit(self, member: _Member, task: Task) -> int:
        slot = member.free_slot()
        assert slot is not None
        self._count += 1
        try:
            member.send(self._count, task, slot)
        except OSError:
            raise self._death(member) from None
        return self._count

    def _await(self, number: int, task: Task) -> None:
        deadline = None if self.timeout is None else monotonic() + self.timeout
        while number not in self._done:
            left = None if deadline is None else max(deadline - monotonic(), 0)
            if not self._receive(left) and left == 0:
                raise TimeoutError(
                    f"a batch was not ready after timeout={self.timeout} seconds; its first samples"
                    f" are {task.indices[:8].tolist()}"
                )

    def _await_room(self) -> None:
        if not self._receive(self.timeout):
            raise TimeoutError(
                f"no worker was free after timeout={self.timeout} seconds: all still make batches of an"
                " iteration that was given up"
            )

    def _receive(self, timeout: float | None) -> bool:
        """Take in what the workers have sent, waiting so long for the first of it."""
        connections: dict[Any, _Member] = {member.connection: member for member in self._members}
        ready = wait(list(connections), timeout)
        for connection in ready:
            assert isinstance(connection, Connection)
            member = connections[connection]
            try:
                number, *outcome = pickle.loads(connection.recv_bytes())
            except (EOFError, OSError):
                raise self._death(member) from None
            if number < 0:  # it could not even start
                raise _error(outcome)
            _, slot = member.tasks.pop(number)
            if number in self._stale:  # of an iteration that was given up
                self._stale.discard(number)
                slot.busy = False
            else:
                self._done[number] = slot, (member, *outcome)
        return bool(ready)

    def _deliver(self, number: int) -> Any:
        slot, (member, used, value, seconds, note) = self._done.pop(number)
        # Slots are few. A consumer that keeps its batches would soon hold all of them, and the worker
        # would stand still: beyond `_HELD` it gets copies.
        slot.busy = False
        if note is not None:
            error = _error([used, value, seconds, note])
            if not isinstance(error, Exception):
                raise error
            return Failure(error)
        held = sum(other.held for other in member.slots if not other.busy and other is not slot)
        return TaskResult(slot.take(value, used, copy=held >= _HELD), seconds)

    def _forget(self, numbers: list[int]) -> None:
        """Give up tasks whose results nobody will ask for."""
        for number in numbers:
            if number in self._done:
                self._done.pop(number)[0].busy = False
            else:
                self._stale.add(number)

    def _death(self, member: _Member) -> WorkerDiedError:
        try:
            code = member.process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it closed its connection, and lives on
            member.process.kill()
            code = member.process.wait()
        which = self._members.index(member)
        how = f"with exit code {code}"
        if code < 0:
            how = f"killed by signal {-code} ({signal.Signals(-code).name})"
        tasks = [task for task, _ in member.tasks.values()]
        samples = tasks[0].indices[:8].tolist() if tasks else []
        return WorkerDiedError(
            f"worker process {which} (pid {member.process.pid}) ended {how}, at the batch whose first"
            f" samples are {samples}. If the system ran out of memory, lower num_workers, prefetch or"
            f' batch_size, or use workers="thread".'
        )


def _error(outcome: list[Any]) -> BaseException:
    _, kept, _, note = outcome
    error: BaseException = pickle.loads(kept)
    error.add_note(note)
    return error
