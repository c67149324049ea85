"""Transforms of images, arrays and batches in NumPy; images are ``(H, W)`` or ``(H, W, C)``.

A transform is a small object with its settings, called with an image; a random one also takes
``rng``. Give them to a loader's ``transforms``, through `On` for one entry of a sample.
"""

from typing import TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes
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

if not TYPE_CHECKING:
    __getattr__, __dir__ = package_attributes(__name__, __all__)
