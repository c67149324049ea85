"""A server for one artifact."""

import ipaddress
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

from funcnet.core.errors import ExportError
from funcnet.core.files import as_path
from funcnet.export.serving.application import Service, make_application
from funcnet.export.serving.compiled import served_functions
from funcnet.export.serving.limits import ServerLimits

__all__ = ["serve"]

_LOG = logging.getLogger("funcnet.export.serving")

_SECONDS_TO_FINISH = 5
"""Beyond the time that a request may take, for answers to be sent."""


def serve(
    path: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    limits: ServerLimits | None = None,
    hosts: Sequence[str] | None = None,
) -> None:
    """Serve an artifact over HTTP until the process is asked to stop; what was accepted is finished then.

    ``POST /predict`` (or ``/predict/FUNCTION``) takes ``{"inputs": {"image": nested lists}}`` as
    ``application/json``, or the bytes of a safetensors file as ``application/octet-stream``, and answers alike.
    ``GET /metadata`` tells inputs and outputs, ``/health/live`` and ``/health/ready`` what their names say, and
    ``/metrics`` counts. Requests that come together are computed together. Needs the extra ``serve``.

    Args:
        path: of an artifact, as `save` writes it. Nothing else is loaded, and no code.
        host: the address to listen on. Other machines reach the server only if it is changed; there is no encryption
            and no password, so put a proxy before it.
        port: to listen on; 0 for any that is free, which is logged.
        limits: of sizes, numbers and times.
        hosts: names that clients may call the server by; default: this machine's own on loopback, all names
            elsewhere.

    Raises:
        ImportError: the extra is not installed.
        FileNotFoundError: there is no such file.
        ValueError: the file is no artifact.
        OSError: the port is taken.
        ExportError: the artifact does not run here.

    Example:
        >>> fn.export.serve("missing.funcnet")
        Traceback (most recent call last):
        FileNotFoundError: there is no file missing.funcnet to serve
    """
    if not as_path(path).is_file():
        raise FileNotFoundError(f"there is no file {os.fspath(path)} to serve")
    limits = limits or ServerLimits()
    uvicorn = _uvicorn()
    service = Service(*served_functions(path, limits), limits)
    with _listening(host, port) as listener:
        names = _host_names(host, hosts)
        server = uvicorn.Server(_config(uvicorn, make_application(service, names), limits))
        service.on_failure = lambda: setattr(server, "should_exit", True)
        _LOG.info("serving %s on %s", ", ".join(service.functions), _address(listener))
        server.run(sockets=[listener])
    if service.problem:
        raise ExportError(f"{os.fspath(path)} does not run here: {service.problem}")


def _uvicorn() -> Any:
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ImportError(
            f"serving needs {error.name}: pip install 'funcnet[serve]'", name=error.name
        ) from None
    return uvicorn


def _config(uvicorn: Any, application: Any, limits: ServerLimits) -> Any:
    return uvicorn.Config(
        application,
        log_config=None,  # the user's own logging stays as it is
        access_log=False,
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(limits.answer_seconds) + _SECONDS_TO_FINISH,
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {host} port {port}: {error.strerror}"
        ) from None


def _host_names(host: str, hosts: Sequence[str] | None) -> list[str] | None:
    """Choose the names that the server answers to, and warn where other machines can reach it."""
    if not _is_loopback(host):
        _LOG.warning("%s is open to other machines: there is no encryption and no password", host)
    if hosts:
        return list(hosts)
    return None if _is_loopback(host) else ["*"]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
