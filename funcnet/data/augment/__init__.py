"""Transforms of images, arrays and batches in NumPy; images are ``(H, W)`` or ``(H, W, C)``.

A transform is a small object with its settings, called with an image; a random one also takes
``rng``. Give them to a loader's ``transforms``, through `On` for one entry of a sample.
"""

from funcnet.data.augment.color import ColorJitter, Grayscale, Normalize, RandomErasing, ToFloat
from funcnet.data.augment.combine import Compose, On, RandomApply
from funcnet.data.augment.geometry import (
    CenterCrop,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
)
from funcnet.data.augment.mixing import CutMix, MixUp
from funcnet.data.augment.resize import Resize, resize

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
