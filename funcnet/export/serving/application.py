"""The web application: health, metadata, prediction, metrics."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from funcnet.export.lengths import symbols_of
from funcnet.export.records import ArtifactManifest, dtype_name
from funcnet.export.serving.batching import Batcher
from funcnet.export.serving.bodies import BodyReader
from funcnet.export.serving.formats import (
    arrays_from_bytes,
    arrays_to_bytes,
    inputs_from_json,
    outputs_to_json,
)
from funcnet.export.serving.limits import ServerLimits
from funcnet.export.serving.metrics import ServerMetrics
from funcnet.export.serving.programs import ServedFunction
from funcnet.export.serving.refusals import Refusal
from funcnet.export.specs import ArraySpec

__all__: list[str] = []

_LOG = logging.getLogger("funcnet.export.serving")

_JSON, _BINARY = "application/json", "application/octet-stream"
_LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]
_SMALL = 16_384
"""Bytes: below, JSON is quicker read at once than handed to a thread."""


class Service:
    """The functions of one artifact, and what their server remembers.

    Args:
        functions: by name, not warmed up yet.
        sizes: of other symbols than the batch, by function: what `warm` prepares.
        manifest: of the artifact.
        limits: of the server.

    Attributes:
        on_failure: called if the warm-up fails, after it was logged.
        problem: why it failed.
        ready: whether it is over.
    """

    def __init__(
        self,
        functions: Mapping[str, ServedFunction],
        sizes: Mapping[str, list[dict[str, int]]],
        manifest: ArtifactManifest,
        limits: ServerLimits,
    ) -> None:
        self.functions = functions
        self.manifest = manifest
        self.limits = limits
        self.metrics = ServerMetrics()
        self.bodies = BodyReader(limits)
        self.ready = False
        self.problem = ""
        self.on_failure: Callable[[], None] = lambda: None
        self.accepted = 0
        self.batchers: dict[str, Batcher] = {}
        self._sizes = sizes
        self.metrics.gauges = {
            "funcnet_queue": (
                "gauge",
                "Requests accepted and not answered.",
                lambda: self.accepted,
            ),
            "funcnet_queue_bytes": ("gauge", "Bytes of their bodies.", lambda: self.bodies.held),
            "funcnet_compilations_total": (
                "counter",
                "Programs compiled, at the start or later.",
                lambda: sum(each.compilations for each in functions.values()),
            ),
        }

    @contextlib.asynccontextmanager
    async def running(self, _: Any = None) -> AsyncIterator[None]:
        """Work while the application lives, and finish what was accepted."""
        with ThreadPoolExecutor(1, "funcnet-serving") as executor:
            self.batchers = {
                name: Batcher(function, self.limits.wait_seconds, executor, self.metrics)
                for name, function in self.functions.items()
            }
            warming = asyncio.create_task(self._warm(executor))
            working = [asyncio.create_task(each.work()) for each in self.batchers.values()]
            try:
                yield
            finally:
                warming.cancel()
                for each in self.batchers.values():
                    each.close()
                await asyncio.gather(*working)

    async def _warm(self, executor: ThreadPoolExecutor) -> None:
        started = time.monotonic()
        try:
            for name, function in self.functions.items():
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(executor, function.warm, self._sizes[name])
        except Exception as error:
            _LOG.exception("the artifact does not run here")
            self.problem = f"{type(error).__name__}: {error}"
            self.on_failure()
            return
        self.ready = True
        _LOG.warning("ready: warmed up in %.1f s", time.monotonic() - started)

    async def predict(self, name: str, request: Any) -> tuple[bytes, str]:
        """Answer a request: the body, and its type.

        Raises:
            Refusal: it cannot be served.
        """
        function = self._function(name)
        decode, encode, kind = _formats(request)
        if not self.ready:
            raise Refusal(503, self.problem or "the model is warming up", {"Retry-After": "1"})
        if self.accepted >= self.limits.queue:
            message = f"{self.limits.queue} requests wait already"
            raise Refusal(503, message, {"Retry-After": "1", "Connection": "close"})
        self.accepted += 1
        length = 0
        seconds = self.limits.answer_seconds
        try:
            async with asyncio.timeout(seconds) as limit:
                body = await self.bodies.read(request)
                length = len(body)
                arrays = await _beside(length, decode, body, function)
                outputs = await self.batchers[name].submit(arrays, function.signature.sizes(arrays))
                names = [str(each.name) for each in function.signature.outputs]
                size = sum(each.size for each in outputs)
                answer = await _beside(size, encode, dict(zip(names, outputs, strict=True)))
        except TimeoutError:
            raise Refusal(504, f"there was no answer within {seconds:g} s") from None
        finally:
            self.accepted -= 1
            self.bodies.release(length)
        del limit
        return answer, kind

    def _function(self, name: str) -> ServedFunction:
        if name not in self.functions:
            raise Refusal(
                404, f"there is no function {name!r}; there are {', '.join(self.functions)}"
            )
        return self.functions[name]

    def metadata(self) -> dict[str, Any]:
        """Describe the model and its functions."""
        return {
            "name": self.manifest.name,
            "metadata": dict(self.manifest.metadata),
            "written_by": dict(self.manifest.written_by),
            "functions": {name: _described(each) for name, each in self.functions.items()},
        }


def _described(function: ServedFunction) -> dict[str, Any]:
    signature = function.signature
    inputs, outputs = map(_arrays, (signature.inputs, signature.outputs))
    lengths = [length for each in signature.inputs for length in each.shape]
    return {
        "inputs": inputs,
        "outputs": outputs,
        "symbols": symbols_of(lengths),
        "joins": function.joins,
        "batches": list(function.batches) if function.joins else [],
    }


def _arrays(specs: Sequence[ArraySpec]) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "dtype": dtype_name(each.dtype, "an array"), "shape": list(each.shape)}
        for each in specs
    ]


def _formats(request: Any) -> tuple[Any, Any, str]:
    """Choose how a request is read and its answer written.

    Other types are refused also for safety: a web page may send them to another site, such as this machine, unasked.
    """
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in {_JSON, _BINARY}:
        advice = f"send {_JSON} (nested lists), or {_BINARY} (the bytes of a safetensors file)"
        raise Refusal(415, f"{advice}; got content type {sent!r}", {"Connection": "close"})
    wanted = request.headers.get("accept", "")
    kind = next((each for each in (_JSON, _BINARY) if each in wanted), sent)
    return (
        _from_json if sent == _JSON else _from_bytes,
        outputs_to_json if kind == _JSON else arrays_to_bytes,
        kind,
    )


def _from_json(body: bytes, function: ServedFunction) -> list[np.ndarray]:
    signature = function.signature
    return signature.in_order(inputs_from_json(body, signature.inputs))


def _from_bytes(body: bytes, function: ServedFunction) -> list[np.ndarray]:
    return function.signature.in_order(arrays_from_bytes(body))


async def _beside(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a thread where it may take long, so that the event loop goes on."""
    if size < _SMALL:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def make_application(service: Service, hosts: list[str] | None = None) -> Any:
    """Make the application, for any server that speaks ASGI.

    Args:
        service: what answers.
        hosts: names that it answers to; this machine's own by default, so that no web page reaches it under a name of
            its own. ``["*"]`` for all.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    async def live(_: Any) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Any) -> Response:
        if service.ready:
            return JSONResponse({"ready": True})
        why = service.problem or "warming up"
        return JSONResponse({"ready": False, "why": why}, 503, {"Retry-After": "1"})

    async def metadata(_: Any) -> Response:
        return JSONResponse(service.metadata())

    async def metrics(_: Any) -> Response:
        return PlainTextResponse(service.metrics.page(), media_type="text/plain; version=0.0.4")

    async def predict(request: Any) -> Response:
        started = time.monotonic()
        name = request.path_params.get("function", next(iter(service.functions)))
        try:
            body, kind = await service.predict(name, request)
            response = Response(body, media_type=kind)
        except Refusal as refusal:
            response = JSONResponse(refusal.content, refusal.status, refusal.headers)
        except Exception:
            _LOG.exception("a request failed")
            response = JSONResponse({"error": "the model failed; the server's log says why"}, 500)
        known = name if name in service.functions else ""
        service.metrics.requests[known, response.status_code] += 1
        service.metrics.seconds.add(known, time.monotonic() - started)
        return response

    async def refused(_: Any, error: Any) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    routes = [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metadata", metadata),
        Route("/metrics", metrics),
        Route("/predict", predict, methods=["POST"]),
        Route("/predict/{function}", predict, methods=["POST"]),
    ]
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=hosts or _LOOPBACK)
    return Starlette(
        routes=routes,
        middleware=[trusted],
        exception_handlers={HTTPException: refused},
        lifespan=service.running,
    )
