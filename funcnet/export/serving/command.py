"""``python -m funcnet.export serve FILE``: serve an artifact over HTTP."""

import argparse
import logging
import sys
from dataclasses import fields

from funcnet.core.errors import ExportError
from funcnet.export.serving.limits import ServerLimits
from funcnet.export.serving.server import serve

__all__: list[str] = []

_SHOWN = {
    "wait_seconds": "how long a batch waits for more requests",
    "queue": "requests that may wait; further ones are answered 503",
    "body_bytes": "of one request at most",
    "queue_bytes": "of all that wait together, at most",
    "body_seconds": "for a body to arrive",
    "answer_seconds": "for a request to be answered",
    "programs": "kept for lengths that were not prepared",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", help="an artifact, as export.save writes it")
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine alone")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument("--allow-host", action="append", help="a name that clients call it by")
    parser.add_argument("--batches", help="numbers of rows to compile for, such as 1,8,32")
    for each in fields(ServerLimits):
        if each.name != "batches":
            option = "--" + each.name.replace("_", "-")
            parser.add_argument(
                option, type=type(each.default), default=each.default, help=_SHOWN[each.name]
            )


def run(asked: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    given = {name: getattr(asked, name) for name in _SHOWN}
    try:
        limits = ServerLimits(batches=_batches(asked.batches), **given)
        serve(asked.file, asked.host, asked.port, limits=limits, hosts=asked.allow_host)
    except (ValueError, OSError, ImportError, ExportError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _batches(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError:
        raise ValueError(f"--batches takes numbers, such as 1,8,32; got {text!r}") from None
