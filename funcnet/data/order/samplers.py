"""Samplers: what an epoch visits, as a pure function of (seed, epoch).

A sampler has one method, ``order(seed, epoch)``, which returns an order (`order.permutation`). A batch
sampler has ``batches(seed, epoch)``, which returns a sequence of index arrays. The loader also
takes any iterable of indices as a sampler, or of lists of indices as a batch sampler, as PyTorch's
does.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np

from funcnet.core.checks import check_count, check_positive
from funcnet.data.loading.pytorch_names import RANDOM, teaches
from funcnet.data.order.drawn import DrawnOrder
from funcnet.data.order.indices import as_indices, number_vector
from funcnet.data.order.permutation import Order, Permutation, SequentialOrder

__all__ = [
    "DistributedSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StratifiedSampler",
    "WeightedRandomSampler",
    "as_order",
]


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))


class Sampler(ABC):
    """A base class for samplers: define ``order(seed, epoch)``.

    Example:
        >>> class Backwards(data.Sampler):
        ...     def order(self, seed, epoch):
        ...         return np.arange(5)[::-1]
        >>> list(Backwards())
        [4, 3, 2, 1, 0]
    """

    @abstractmethod
    def order(self, seed: int, epoch: int) -> Order:
        """Return the indices of an epoch, as an order."""

    def __len__(self) -> int:
        return len(self.order(0, 0))

    def __iter__(self) -> Iterator[int]:
        """Iterate over the indices of seed 0, epoch 0."""
        order = self.order(0, 0)
        for start in range(0, len(order), 8192):
            yield from np.asarray(order[start : start + 8192]).tolist()


class SequentialSampler(Sampler):
    """Every sample once, in order.

    Args:
        data_source: the dataset, for its length.

    Example:
        >>> list(data.SequentialSampler("abc"))
        [0, 1, 2]
    """

    def __init__(self, data_source: Any) -> None:
        self.length = len(data_source)

    def order(self, seed: int, epoch: int) -> Order:
        """Return ``0, 1, 2, …``."""
        return SequentialOrder(self.length)


class RandomSampler(Sampler):
    """Every sample once in random order, or any number of samples with replacement.

    Args:
        data_source: the dataset, for its length.
        replacement: draw each sample independently of the others.
        num_samples: samples an epoch; the dataset's length when left out. Without replacement, more
            than that go on with another permutation.

    Raises:
        ValueError: ``num_samples`` is not positive.

    Example:
        >>> sorted(data.RandomSampler("abcd"))
        [0, 1, 2, 3]
    """

    @teaches("RandomSampler", RANDOM)
    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None
    ) -> None:
        self.length = len(data_source)
        self.replacement = replacement
        self.num_samples = self.length if num_samples is None else num_samples
        check_count("num_samples", self.num_samples)
        check_positive("num_samples", self.num_samples)

    def __len__(self) -> int:
        return self.num_samples

    def order(self, seed: int, epoch: int) -> Order:
        """Return a keyed permutation, or a table of independent draws."""
        if self.replacement:
            return _generator(seed, epoch).integers(self.length, size=self.num_samples)
        if self.num_samples == self.length:
            return Permutation(self.length, seed, epoch)
        passes = ceil(self.num_samples / self.length)
        parts = [Permutation(self.length, seed, epoch * passes + k)[:] for k in range(passes)]
        return np.concatenate(parts)[: self.num_samples]


class WeightedRandomSampler(Sampler):
    r"""Samples drawn with probabilities proportional to weights.

    Without replacement the ``num_samples`` largest of ``u ** (1 / w)``, with ``u`` uniform, are
    drawn.

    Args:
        weights: a non-negative number for each sample; they need not add up to one.
        num_samples: samples an epoch.
        replacement: whether a sample may be drawn again.

    Raises:
        ValueError: a weight is negative, NaN or infinite, or too few are positive.

    Example:
        >>> list(data.WeightedRandomSampler([0.0, 1.0, 0.0], 3))
        [1, 1, 1]

    Reference:
        P. Efraimidis and P. Spirakis, "Weighted random sampling with a reservoir", 2006.
    """

    @teaches("WeightedRandomSampler", RANDOM)
    def __init__(
        self, weights: Sequence[float] | np.ndarray, num_samples: int, replacement: bool = True
    ) -> None:
        self.weights = number_vector("weights", weights).astype(np.float64)
        check_count("num_samples", num_samples)
        check_positive("num_samples", num_samples)
        if self.weights.size and self.weights.min() < 0:
            where = int(self.weights.argmin())
            raise ValueError(
                f"weights must not be negative; got {self.weights[where]} for sample {where}"
            )
        positive = int(np.count_nonzero(self.weights))
        if positive < (1 if replacement else num_samples):
            raise ValueError(
                f"WeightedRandomSampler needs enough positive weights; got {positive} to draw"
                f" {num_samples} samples {'with' if replacement else 'without'} replacement"
            )
        self.num_samples = num_samples
        self.replacement = replacement

    def __len__(self) -> int:
        return self.num_samples

    def order(self, seed: int, epoch: int) -> Order:
        """Return independent draws, made as they are asked for, or a table of distinct indices."""
        weights = self.weights / self.weights.max()  # the sum of huge weights would be infinite
        if self.replacement:
            return DrawnOrder(np.cumsum(weights), self.num_samples, seed, epoch)
        possible = np.flatnonzero(weights)
        with np.errstate(divide="ignore", over="ignore"):
            keys = -np.log(_generator(seed, epoch).random(len(possible))) / weights[possible]
        if self.num_samples < len(possible):  # sort no more than what is drawn
            drawn = np.argpartition(keys, self.num_samples)[: self.num_samples]
            possible, keys = possible[drawn], keys[drawn]
        return possible[np.lexsort((possible, keys))]


class StratifiedSampler(Sampler):
    r"""Every sample once, at random, with the classes in every batch as in the whole.

    The ``j``-th sample of a class with ``n`` samples takes the place ``(j + u) / n``, with one
    uniform ``u`` for the class; the epoch runs through the places in order. So any batch has, of
    each class, its share to within one sample either way.

    Args:
        labels: the class of each sample.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1, 1])
        >>> order = list(data.StratifiedSampler(labels))
        >>> [int(labels[order[i : i + 3]].sum()) for i in (0, 3)]
        [1, 1]
    """

    def __init__(self, labels: Sequence[Any] | np.ndarray) -> None:
        values = np.asarray(labels)
        if values.ndim != 1:
            raise ValueError(f"labels must be one for each sample; got shape {values.shape}")
        _, self.labels = np.unique(values, return_inverse=True)

    def __len__(self) -> int:
        return len(self.labels)

    def order(self, seed: int, epoch: int) -> Order:
        """Return a table of the indices."""
        rng = _generator(seed, epoch)
        shuffled = Permutation(len(self.labels), seed, epoch)[:]
        by_class = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        counts = np.bincount(self.labels)
        rank = np.arange(len(by_class)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = (rank + np.repeat(rng.random(len(counts)), counts)) / np.repeat(counts, counts)
        return by_class[np.argsort(places, kind="stable")]


class DistributedSampler(Sampler):
    """Every ``num_replicas``-th sample, as PyTorch's sampler of that name.

    A loader's ``shard=(rank, num_replicas)`` is usually better: there ``batch_size`` is that of all
    hosts together, and a saved position means the same at any number of them.

    Args:
        dataset: for its length.
        num_replicas: how many hosts there are.
        rank: which of them this is.
        shuffle: whether each epoch has an order of its own.
        seed: mixed with the loader's.
        drop_last: leave out the samples that do not fill a round; otherwise the first are repeated.

    Raises:
        ValueError: the rank is not below ``num_replicas``.

    Example:
        >>> list(data.DistributedSampler(range(5), 2, 1, shuffle=False))
        [1, 3, 0]
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int,
        rank: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        check_count("num_replicas", num_replicas)
        check_positive("num_replicas", num_replicas)
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank must lie in [0, {num_replicas}); got {rank}")
        self.length = len(dataset)
        self.num_replicas = num_replicas
        self.rank = rank
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last

    def order(self, seed: int, epoch: int) -> Order:
        """Return a table of this host's indices."""
        length, replicas = self.length, self.num_replicas
        rounds = length // replicas if self.drop_last else ceil(length / replicas)
        positions = np.arange(self.rank, rounds * replicas, replicas) % length
        return (
            Permutation(length, seed + self.seed, epoch)[positions] if self.shuffle else positions
        )


def as_order(sampler: Any, seed: int, epoch: int) -> Order:
    """Return the order of a sampler, or of any iterable of indices.

    >>> from funcnet.data.order.samplers import as_order
    >>> as_order([2, 0], seed=0, epoch=0)[:]
    array([2, 0])
    """
    if hasattr(sampler, "order"):
        return sampler.order(seed, epoch)
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    known = isinstance(sampler, (np.ndarray, range))
    return as_indices(f"the sampler {type(sampler).__name__}", sampler if known else list(sampler))
