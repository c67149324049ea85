"""Requests that arrive together are computed together."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from funcnet.export.serving.metrics import ServerMetrics
from funcnet.export.serving.programs import ServedFunction

__all__: list[str] = []

_LOG = logging.getLogger("funcnet.export.serving")


@dataclass(frozen=True, eq=False)
class _Request:
    arrays: Sequence[np.ndarray]
    sizes: Mapping[str, int]
    rows: int
    kind: tuple[tuple[str, int], ...]
    """The sizes that requests of one batch share."""
    answer: "asyncio.Future[list[np.ndarray]]"
    arrived: float


class Batcher:
    """Join the requests for one function; a task of its own runs `work`.

    Args:
        function: what is called.
        wait_seconds: how long a batch waits for more requests, from the first one's arrival.
        executor: where calls run; the event loop stays free.
        metrics: told of each batch.
    """

    def __init__(
        self,
        function: ServedFunction,
        wait_seconds: float,
        executor: Executor,
        metrics: ServerMetrics,
    ) -> None:
        self.function = function
        self._wait_seconds = wait_seconds
        self._executor = executor
        self._metrics = metrics
        self._queue: deque[_Request] = deque()
        self._changed = asyncio.Event()
        self._closing = False

    async def submit(
        self, arrays: Sequence[np.ndarray], sizes: Mapping[str, int]
    ) -> list[np.ndarray]:
        """Wait for the outputs. If the caller stops waiting, the request is dropped unless it runs already."""
        batch = self.function.signature.batch if self.function.joins else None
        kind = tuple(sorted((name, size) for name, size in sizes.items() if name != batch))
        rows = sizes[batch] if batch else 1
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Request(arrays, sizes, rows, kind, answer, time.monotonic()))
        self._changed.set()
        return await answer

    async def work(self) -> None:
        """Answer requests until `close` was called and all are answered."""
        while (remaining := self._remaining()) is not None or not self._closing:
            self._changed.clear()
            if remaining is None:
                await self._changed.wait()
            elif remaining > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), remaining)
            elif requests := self._next_batch():
                await self._answer(requests)

    def close(self) -> None:
        """Let `work` end when it has answered what was submitted."""
        self._closing = True
        self._changed.set()

    def _remaining(self) -> float | None:
        """Seconds until the first batch starts; None if there is none."""
        while self._queue and self._queue[0].answer.done():  # nobody waits for it any more
            self._queue.popleft()
        if not self._queue:
            return None
        first = self._queue[0]
        rows = sum(each.rows for each in self._queue if each.kind == first.kind)
        if self._closing or not self.function.joins or rows >= self.function.largest:
            return 0.0
        return first.arrived + self._wait_seconds - time.monotonic()

    def _next_batch(self) -> list[_Request]:
        """Take the first request and those like it, in order, as many as have room."""
        chosen: list[_Request] = []
        left: deque[_Request] = deque()
        room = self.function.largest
        for request in self._queue:
            fits = not chosen or (self.function.joins and request.rows <= room)
            if request.answer.done():
                continue
            if fits and (not chosen or request.kind == chosen[0].kind):
                chosen.append(request)
                room -= request.rows
            else:
                left.append(request)
        self._queue = left
        return chosen

    async def _answer(self, requests: list[_Request]) -> None:
        loop = asyncio.get_running_loop()
        self._metrics.batch_sizes.add(self.function.signature.name, sum(r.rows for r in requests))
        try:
            results = await loop.run_in_executor(self._executor, self._compute, requests)
        except Exception as error:
            _LOG.exception("%s failed", self.function.signature.name)
            for request in requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        for request, outputs in zip(requests, results, strict=True):
            if not request.answer.done():
                request.answer.set_result(outputs)

    def _compute(self, requests: list[_Request]) -> list[list[np.ndarray]]:
        """Run one call for all, and give each its rows."""
        if len(requests) == 1:
            return [self.function.run(requests[0].arrays, requests[0].sizes)]
        joined = [np.concatenate(each) for each in zip(*(r.arrays for r in requests), strict=True)]
        batch = str(self.function.signature.batch)
        outputs = self.function.run(joined, {**requests[0].sizes, batch: len(joined[0])})
        ends = np.cumsum([request.rows for request in requests])[:-1]
        return [list(each) for each in zip(*(np.split(o, ends) for o in outputs), strict=True)]
