"""Mixing the samples of a batch: for a loader's ``batch_transforms``."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from funcnet.core.checks import check_positive

__all__ = ["CutMix", "MixUp"]


def _one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    if labels.ndim == 2:
        return labels.astype(np.float32)
    return np.equal(labels[:, None], np.arange(classes)).astype(np.float32)


def _blend(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *[1] * (first.ndim - 1)).astype(np.float32)
    return first * share + second * (1 - share)


@dataclass(frozen=True)
class MixUp:
    r"""Average each sample with another one, and its label likewise.

    .. math:: x = \lambda x_i + (1 - \lambda) x_j, \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    Args:
        classes: how many classes there are; labels become ``(N, classes)`` float32 probabilities.
        alpha: of the beta distribution, drawn for each sample.
        image: the key, or position, of the images in the batch, ``(N, ...)``; they become float32.
        label: likewise of the labels, integers ``(N,)`` or probabilities ``(N, classes)``.

    Raises:
        ValueError: ``alpha`` or ``classes`` is not positive.

    Example:
        >>> batch = {"image": np.ones((4, 2, 2)), "label": np.arange(4)}
        >>> mixed = data.augment.MixUp(10)(batch, np.random.default_rng(0))
        >>> mixed["label"].shape, mixed["label"].sum(1).tolist()
        ((4, 10), [1.0, 1.0, 1.0, 1.0])

    Reference:
        H. Zhang et al., "mixup: Beyond empirical risk minimization", 2018.
    """

    classes: int
    alpha: float = 0.2
    image: str | int = "image"
    label: str | int = "label"

    def __post_init__(self) -> None:
        check_positive("classes", self.classes)
        check_positive("alpha", self.alpha)

    def __call__(self, batch: Any, rng: np.random.Generator) -> Any:
        """Mix one batch; the given one is not changed."""
        images = batch[self.image].astype(np.float32)
        labels = _one_hot(batch[self.label], self.classes)
        other = rng.permutation(len(images))
        share = rng.beta(self.alpha, self.alpha, len(images))
        return _replaced(
            batch,
            {
                self.image: _blend(images, images[other], share),
                self.label: _blend(labels, labels[other], share),
            },
        )


@dataclass(frozen=True)
class CutMix:
    r"""Paste a rectangle of another sample, and mix the labels by the areas.

    The rectangle has the image's shape, scaled by :math:`\sqrt{1 - \lambda}` with
    :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`, a random middle, and is cut at the border.

    Args:
        classes: how many classes there are; labels become ``(N, classes)`` float32 probabilities.
        alpha: of the beta distribution, drawn for each sample.
        image: the key, or position, of the images in the batch.
        label: likewise of the labels.
        channels_first: whether images are ``(N, C, H, W)``, otherwise ``(N, H, W)`` or ``(N, H, W,
            C)``.

    Raises:
        ValueError: ``alpha`` or ``classes`` is not positive.

    Example:
        >>> batch = (np.ones((4, 8, 8), np.uint8), np.arange(4))
        >>> images, labels = data.augment.CutMix(10, image=0, label=1)(batch, np.random.default_rng(0))
        >>> images.dtype, labels.shape
        (dtype('uint8'), (4, 10))

    Reference:
        S. Yun et al., "CutMix: Regularization strategy to train strong classifiers", 2019.
    """

    classes: int
    alpha: float = 1.0
    image: str | int = "image"
    label: str | int = "label"
    channels_first: bool = False

    def __post_init__(self) -> None:
        check_positive("classes", self.classes)
        check_positive("alpha", self.alpha)

    def __call__(self, batch: Any, rng: np.random.Generator) -> Any:
        """Mix one batch; the given one is not changed."""
        images = batch[self.image].copy()
        labels = _one_hot(batch[self.label], self.classes)
        other = rng.permutation(len(images))
        rows, columns = images.shape[2:4] if self.channels_first else images.shape[1:3]
        share = np.empty(len(images))
        for k in range(len(images)):
            scale = sqrt(1 - rng.beta(self.alpha, self.alpha))
            y = _span(rows, scale, rng)
            x = _span(columns, scale, rng)
            part = (slice(None), y, x) if self.channels_first else (y, x)
            images[k][part] = batch[self.image][other[k]][part]
            share[k] = 1 - (y.stop - y.start) * (x.stop - x.start) / (rows * columns)
        mixed = _blend(labels, labels[other], share)
        return _replaced(batch, {self.image: images, self.label: mixed})


def _span(length: int, scale: float, rng: np.random.Generator) -> slice:
    size, middle = int(length * scale), int(rng.integers(length))
    return slice(max(middle - size // 2, 0), min(middle - size // 2 + size, length))


def _replaced(batch: Any, entries: dict[Any, np.ndarray]) -> Any:
    if isinstance(batch, dict):
        return {**batch, **entries}
    values = list(batch)
    for position, value in entries.items():
        values[position] = value
    return type(batch)(values)
