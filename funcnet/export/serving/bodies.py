"""Bodies of requests, read within limits: of bytes, of time, and of all that wait together."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from funcnet.export.serving.limits import ServerLimits
from funcnet.export.serving.refusals import Refusal

__all__: list[str] = []

_SECONDS_TO_LISTEN = 1.0
"""What a client sends of a body that is refused is thrown away for so long: one that is cut off while it sends never
reads why."""

_CLOSE = {"Connection": "close"}


class BodyReader:
    """Reads bodies, and counts the bytes of those that are not answered yet."""

    def __init__(self, limits: ServerLimits) -> None:
        self.held = 0
        self._limits = limits

    async def read(self, request: Any) -> bytes:
        """Read a body; `release` its length when the request is answered.

        Raises:
            Refusal: 413, it is too long; 408, it is too slow; 503, too many wait.
        """
        stream = request.stream()
        kept = bytearray()
        try:
            self._check(_announced(request), _announced(request))
            async with asyncio.timeout(self._limits.body_seconds):
                async for chunk in stream:
                    kept += chunk
                    self.held += len(chunk)
                    self._check(len(kept), 0)
        except TimeoutError:
            self.release(len(kept))
            seconds = self._limits.body_seconds
            raise Refusal(408, f"the body did not arrive within {seconds:g} s", _CLOSE) from None
        except Refusal:
            self.release(len(kept))
            await _listen(stream)
            raise
        except BaseException:  # the client has gone
            self.release(len(kept))
            raise
        return bytes(kept)

    def release(self, length: int) -> None:
        """Let go of a body."""
        self.held -= length

    def _check(self, length: int, coming: int) -> None:
        most = self._limits.body_bytes
        if length > most:
            raise Refusal(413, f"a body has at most {most} bytes here", _CLOSE, limit=most)
        if self.held + coming > self._limits.queue_bytes:
            raise Refusal(503, "too many bytes wait to be computed", {**_CLOSE, "Retry-After": "1"})


def _announced(request: Any) -> int:
    """Give the length that the headers tell: 0 for a body in chunks."""
    told = request.headers.get("content-length", "0")
    return int(told) if told.isdecimal() and len(told) < 20 else 0


async def _listen(stream: AsyncIterator[bytes]) -> None:
    ends = time.monotonic() + _SECONDS_TO_LISTEN
    with suppress(TimeoutError):
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + _SECONDS_TO_LISTEN):
            async for _ in stream:
                if time.monotonic() > ends:  # data that is there already never waits
                    return
