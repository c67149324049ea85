"""A server of artifacts: requests over HTTP, joined to batches, within limits; it loads no code."""

from funcnet.export.serving.limits import ServerLimits
from funcnet.export.serving.server import serve

__all__ = ["ServerLimits", "serve"]
