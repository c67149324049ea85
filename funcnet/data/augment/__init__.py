"""Transforms of images, arrays and batches in NumPy; images are ``(H, W)`` or ``(H, W, C)``.

A transform is a small object with its settings, called with an image; a random one also takes
``rng``. Give them to a loader's ``transforms``, through `On` for one entry of a sample.
"""

from typing import Any

from funcnet.data.augment.color import ColorJitter, Grayscale, Normalize, ToFloat
from funcnet.data.augment.compose import Compose, On, RandomApply
from funcnet.data.augment.crops import CenterCrop, Pad, RandomCrop, RandomResizedCrop
from funcnet.data.augment.erasing import RandomErasing
from funcnet.data.augment.flips import RandomHorizontalFlip, RandomVerticalFlip
from funcnet.data.augment.mixing import CutMix, MixUp
from funcnet.data.augment.resize import Resize, resize
from funcnet.data.augment.rotation import RandomRotation

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Grayscale",
    "MixUp",
    "Normalize",
    "On",
    "Pad",
    "RandomApply",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToFloat",
    "resize",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from funcnet.core.torch_hints import missing_name  # needed in this case alone

    raise AttributeError(missing_name(__name__, name, __all__), name=name)


def __dir__() -> list[str]:
    return list(__all__)
