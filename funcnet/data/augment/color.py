"""What the pixels are: scaling, normalising, colour jitter."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from funcnet.core.checks import check_non_negative
from funcnet.data.augment.resize import to_dtype

__all__ = ["ColorJitter", "Grayscale", "Normalize", "ToFloat"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow


@dataclass(frozen=True)
class ToFloat:
    """Scale integers to ``[0, 1]`` in float32, and put the channels first.

    Args:
        channels_first: return ``(C, H, W)``, as PyTorch's layers expect; otherwise the axes stay.

    Example:
        >>> data.augment.ToFloat()(np.full((2, 4, 3), 255, np.uint8)).shape
        (3, 2, 4)
    """

    channels_first: bool = True

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Convert one image; a gray one gets one channel."""
        if image.dtype.kind in "iu":
            values = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
        else:
            values = image.astype(np.float32)
        if not self.channels_first:
            return values
        return (
            values[None] if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values, -1, 0))
        )


@dataclass(frozen=True)
class Normalize:
    r"""Subtract a mean and divide by a deviation: ``(x - mean) / std``.

    Args:
        mean: a number, or one for each channel.
        std: likewise.
        channels_first: whether channels are the first axis, otherwise the last.

    Example:
        >>> data.augment.Normalize(0.5, 0.25)(np.ones((1, 1, 1), np.float32))
        array([[[2.]]], dtype=float32)
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]
    channels_first: bool = True

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalise one image, or a batch of them, as float32."""
        mean, std = (np.asarray(value, np.float32) for value in (self.mean, self.std))
        if self.channels_first:
            mean, std = (v.reshape(-1, 1, 1) if v.ndim else v for v in (mean, std))
        values = image.astype(np.float32)  # always a copy: what follows writes into it
        values -= mean
        values /= std
        return values


def _gray(values: np.ndarray) -> np.ndarray:
    return (values @ _LUMA)[..., None]


@dataclass(frozen=True)
class Grayscale:
    """Take the brightness of a colour image, in as many equal channels as asked for.

    Args:
        channels: 1 or 3.

    Example:
        >>> data.augment.Grayscale()(np.full((1, 1, 3), 7, np.uint8)).tolist()
        [[[7]]]
    """

    channels: int = 1

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Convert one image ``(H, W, 3)``."""
        gray = to_dtype(_gray(image.astype(np.float32)), image.dtype)
        return np.repeat(gray, self.channels, axis=-1)


def _range(name: str, value: float | tuple[float, float], centre: float) -> tuple[float, float]:
    if isinstance(value, tuple):
        return value
    check_non_negative(name, value)
    low = centre - value
    return (max(low, 0.0) if centre else low, centre + value)


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue at random, in random order.

    The first three mix the image with black, with its mean brightness and with its gray version: a
    factor of 1 leaves it, 0 takes all of it away. Hue is turned by a fraction of a full circle.

    Args:
        brightness: factors from ``1 - b`` to ``1 + b``, or ``(low, high)``.
        contrast: likewise.
        saturation: likewise.
        hue: turns from ``-h`` to ``h``, or ``(low, high)``; at most half a circle.

    Raises:
        ValueError: a setting is negative or the hue beyond 0.5.

    Example:
        >>> jitter = data.augment.ColorJitter(brightness=0.4, hue=0.1)
        >>> jitter(np.zeros((4, 4, 3), np.uint8), np.random.default_rng(0)).dtype
        dtype('uint8')
    """

    brightness: float | tuple[float, float] = 0.0
    contrast: float | tuple[float, float] = 0.0
    saturation: float | tuple[float, float] = 0.0
    hue: float | tuple[float, float] = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            _range(name, getattr(self, name), 1.0)
        if max(map(abs, _range("hue", self.hue, 0.0))) > 0.5:
            raise ValueError(f"hue must lie in [-0.5, 0.5], parts of a circle; got {self.hue!r}")

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one image ``(H, W, 3)``."""
        top = np.float32(np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1)
        values = image.astype(np.float32) / top
        for which in rng.permutation(4):
            name = ("brightness", "contrast", "saturation", "hue")[which]
            setting = getattr(self, name)
            if setting == 0.0:
                continue
            low, high = _range(name, setting, 0.0 if name == "hue" else 1.0)
            values = _JITTER[name](values, np.float32(rng.uniform(low, high)))
        return to_dtype(values * top, image.dtype)


def _blend(values: np.ndarray, other: np.ndarray | float, factor: np.float32) -> np.ndarray:
    return np.clip(other + factor * (values - other), 0, 1, dtype=np.float32)


def _turn_hue(values: np.ndarray, turn: np.float32) -> np.ndarray:
    """Turn the hue in the hexagon of HSV: value and chroma stay."""
    value, low = values.max(-1), values.min(-1)
    chroma = value - low
    safe = np.where(chroma > 0, chroma, 1)
    red, green, blue = np.moveaxis(values, -1, 0)
    hue = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turn
    # Each channel is `value` less chroma times a trapezoid of the hue.
    shift = (hue[..., None] + np.array([5, 3, 1], np.float32)) % 6
    part = np.clip(np.minimum(shift, 4 - shift), 0, 1)
    return (value[..., None] - chroma[..., None] * part).astype(np.float32)


_JITTER = {
    "brightness": lambda values, factor: _blend(values, 0.0, factor),
    "contrast": lambda values, factor: _blend(values, _gray(values).mean(), factor),
    "saturation": lambda values, factor: _blend(values, _gray(values), factor),
    "hue": _turn_hue,
}
