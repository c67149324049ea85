"""Where the processes of a job report: in the launcher, or beside process 0 of a cluster's job.

One TCP connection for each process, lines of JSON. A connection that ends without a word tells at once
that a process is gone; JAX's own service would find out after its heartbeat.
"""

import json
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Hub", "Lines", "split_address"]

Message = dict[str, Any]


def split_address(address: str) -> tuple[str, int]:
    """Split ``host:port``; brackets around an IPv6 host are dropped."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Lines:
    """Messages on a socket: whole lines of JSON out of the pieces that arrive.

    Args:
        connection: the socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._rest = b""

    def send(self, kind: str, **more: Any) -> bool:
        """Send a message; False if the other side is gone."""
        try:
            self.socket.sendall(json.dumps({"kind": kind, **more}).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[Message] | None:
        """Return the messages that have come whole; None if the other side is gone."""
        try:
            piece = self.socket.recv(1 << 16)
        except (BlockingIOError, TimeoutError):
            return []
        except OSError:
            return None
        if not piece:
            return None
        *whole, self._rest = (self._rest + piece).split(b"\n")
        return [found for line in whole if (found := _parsed(line))]


def _parsed(line: bytes) -> Message | None:
    """Read a line; what a stranger to the job sends is passed over."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "kind" in found else None


class Hub:
    """The side that listens.

    Args:
        selector: the loop's; the hub registers its sockets with the callbacks that read them.
        host: where to listen; the empty string means everywhere.
        port: 0 for a free one.
        job: the name that processes of this job give.
        handle: called with a rank and its message; kind ``"gone"`` for a connection that ended without ``"bye"``.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        host: str,
        port: int,
        job: str,
        handle: Callable[[int, Message], None],
    ) -> None:
        self._selector, self._job, self._handle = selector, job, handle
        self._server = _listen(host, port)
        self.port: int = self._server.getsockname()[1]
        self.members: dict[int, Lines] = {}
        self.heard: dict[int, float] = {}
        self.left: set[int] = set()
        self._intervals: dict[int, float] = {}
        self._unknown: set[Lines] = set()
        selector.register(self._server, selectors.EVENT_READ, self._accept)

    def broadcast(self, kind: str, but: int | None = None, **more: Any) -> None:
        """Tell all processes, or all but one."""
        for process, lines in self.members.items():
            if process != but:
                lines.send(kind, **more)

    def silent(self, seconds: float) -> dict[int, float]:
        """Return for how long those were silent that should have given a sign of life."""
        now = time.monotonic()
        return {
            process: now - self.heard[process]
            for process in self.members
            if now - self.heard[process] > seconds
        }

    def frozen(self) -> dict[int, float]:
        """Return for how long those were silent that have missed several signs of life."""
        quiet = self.silent(0.5)
        return {
            process: seconds
            for process, seconds in quiet.items()
            if seconds > 0.5 + 3 * self._intervals.get(process, 1.0)
        }

    def close(self) -> None:
        """Stop listening and end all connections."""
        sockets = [self._server]
        sockets += [lines.socket for lines in (*self.members.values(), *self._unknown)]
        for one in sockets:
            self._selector.unregister(one)
            one.close()
        self.members, self._unknown = {}, set()

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        connection.settimeout(1.0)
        lines = Lines(connection)
        self._unknown.add(lines)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(lines, None))

    def _read(self, lines: Lines, process: int | None) -> None:
        received = lines.receive()
        if received is None:
            self._drop(lines, process)
            return
        for message in received:
            if process is None:
                process = self._greeted(lines, message)
                if process is None:
                    return
            self.heard[process] = time.monotonic()
            if message["kind"] == "bye":
                self.left.add(process)
            self._handle(process, message)

    def _greeted(self, lines: Lines, message: Message) -> int | None:
        """Take a process in, or turn away who belongs to another job."""
        process = message.get("process")
        stranger = message["kind"] != "hello" or message.get("job") != self._job
        if stranger or not isinstance(process, int):
            self._drop(lines, None)
            return None
        self._unknown.discard(lines)
        self.members[process] = lines
        self._intervals[process] = message.get("interval", 1.0)
        read = lambda: self._read(lines, process)  # noqa: E731
        self._selector.modify(lines.socket, selectors.EVENT_READ, read)
        return process

    def _drop(self, lines: Lines, process: int | None) -> None:
        self._selector.unregister(lines.socket)
        lines.socket.close()
        self._unknown.discard(lines)
        if process is not None and self.members.pop(process, None) and process not in self.left:
            self._handle(process, {"kind": "gone"})


def _listen(host: str, port: int) -> socket.socket:
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server((host, port))
