"""funcnet: PyTorch's workflow as pure functions over pytrees, on JAX primitives.

Names are loaded when first used, so that the worker processes of `funcnet.data` start without
importing JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

# What a type checker reads instead of `__getattr__`; a test holds that it sees what runs. The folders come
# last, because `funcnet.checkpoint` is the folder, not the transform (which is `funcnet.remat` here).
if TYPE_CHECKING:
    from funcnet.module import *
    from funcnet.transforms import *
if TYPE_CHECKING:
    from funcnet import checkpoint as checkpoint
    from funcnet import compression as compression
    from funcnet import data as data
    from funcnet import export as export
    from funcnet import functional as functional
    from funcnet import module as module
    from funcnet import nn as nn
    from funcnet import optim as optim
    from funcnet import parallel as parallel
    from funcnet import training as training
    from funcnet import transforms as transforms
    from funcnet.core import errors as errors

__version__ = "0.1.0"
"""The version of funcnet, as text."""

_FOLDERS = {
    "checkpoint": "funcnet.checkpoint",
    "compression": "funcnet.compression",
    "data": "funcnet.data",
    "errors": "funcnet.core.errors",
    "export": "funcnet.export",
    "functional": "funcnet.functional",
    "module": "funcnet.module",
    "nn": "funcnet.nn",
    "optim": "funcnet.optim",
    "parallel": "funcnet.parallel",
    "training": "funcnet.training",
    "transforms": "funcnet.transforms",
}

_FLAT = ("funcnet.module", "funcnet.transforms")
"""The folders whose public names are names of `funcnet` itself."""


def __getattr__(name: str) -> Any:
    """Import what a name stands for, once."""
    if name in _FOLDERS:
        return importlib.import_module(_FOLDERS[name])
    if not name.startswith("_"):
        for folder in _FLAT:
            home = importlib.import_module(folder)
            if name in home.__all__:
                globals()[name] = value = getattr(home, name)
                return value
    if name == "__all__":
        return _public()
    if name.startswith("__"):
        raise AttributeError(f"module 'funcnet' has no attribute {name!r}")
    from funcnet.core.torch_hints import missing_name

    raise AttributeError(missing_name("funcnet", name, _public()), name=name)


def __dir__() -> list[str]:
    """List the public names."""
    return _public()


def _public() -> list[str]:
    flat = [name for folder in _FLAT for name in importlib.import_module(folder).__all__]
    return sorted({*flat, *_FOLDERS, "__version__"})
