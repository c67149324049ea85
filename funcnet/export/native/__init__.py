"""C and C++ without Python: a runner of artifacts in source, with what it takes to build it."""

from funcnet.export.native.layout import native

__all__ = ["native"]
