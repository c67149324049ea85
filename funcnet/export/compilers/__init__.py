"""Other compilers of the same StableHLO, each in a process of its own: TensorFlow, and LiteRT for phones."""

from funcnet.export.compilers.lite import litert
from funcnet.export.compilers.saved_model import tensorflow

__all__ = ["litert", "tensorflow"]
