"""The program of a worker process: receive a task, make the batch in shared memory, say where."""

import mmap
import os
import pickle
import signal
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from funcnet.core.trees import map_tree
from funcnet.data.loading.errors import Failure
from funcnet.data.workers.slots import Slot

__all__ = ["main"]


def main(connection_fd: int, life_fd: int, payload_fd: int, *slot_fds: int) -> None:
    """Serve until the parent closes the connection, or is gone.

    Args:
        connection_fd: a socket: tasks come in, descriptions of batches go out.
        life_fd: a pipe that the parent never writes to: it ends when the parent does.
        payload_fd: the pickled work.
        *slot_fds: the shared memory of the batches.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    threading.Thread(target=_end_with_parent, args=(life_fd,), daemon=True).start()
    connection = Connection(connection_fd)
    slots = [Slot(fd) for fd in slot_fds]
    try:
        work = _load(payload_fd)
    except BaseException as error:
        _send_error(connection, -1, error)
        os._exit(1)
    while True:
        try:
            number, which, count, more, fields = pickle.loads(connection.recv_bytes())
            slot = slots[which]
            slot.begin()
            content = slot.reserve(count * 8 + more)
            indices = np.frombuffer(content, np.int64, count).astype(np.intp)
            samples = content[count * 8 : count * 8 + more].tobytes()
            del content  # the task is read, so the batch may be written over it
            task = fields._replace(indices=indices, samples=samples)
            _serve(connection, work, number, slot, task)
        except (EOFError, OSError):
            os._exit(0)


def _serve(connection: Connection, work: Any, number: int, slot: Slot, task: Any) -> None:
    try:
        if task.samples is not None:
            task = task._replace(samples=pickle.loads(task.samples) if task.samples else None)
        result = work(task, slot)
        value = slot.place(map_tree(_portable, result.value) if result.failed else result.value)
        message = pickle.dumps((number, slot.used, value, result.seconds, None), protocol=5)
    except BaseException as error:
        _send_error(connection, number, error)
    else:
        connection.send_bytes(message)


def _load(fd: int) -> Any:
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as payload:
        return pickle.loads(payload)


def _send_error(connection: Connection, number: int, error: BaseException) -> None:
    kept, note = _packed(error)
    connection.send_bytes(pickle.dumps((number, 0, kept, None, note)))


def _packed(error: BaseException) -> tuple[bytes, str]:
    """Pickle an exception, and write its traceback down."""
    text = "".join(traceback.format_exception(error))
    note = f"\nIn worker process {os.getpid()}:\n{text}"
    try:
        kept = pickle.dumps(error)
        pickle.loads(kept)
    except Exception:  # an exception that cannot travel: its text does
        kept = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return kept, note


def _portable(leaf: Any) -> Any:
    if not isinstance(leaf, Failure):
        return leaf
    kept, note = _packed(leaf.error)
    error = pickle.loads(kept)
    error.add_note(note)
    return Failure(error)


def _end_with_parent(fd: int) -> None:
    os.read(fd, 1)
    os._exit(1)
