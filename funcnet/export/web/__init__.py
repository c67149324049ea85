"""Pages of one file that run a model in a browser, without a network."""

from funcnet.export.web.page import web

__all__ = ["web"]
