"""Lazy datasets with random access: `map`, `zip`, `window`, `cache`.

What they return still has a length and items, so it can be shuffled globally and resumed anywhere.
`filter`, `flat_map` and `pack`, whose length is not known beforehand, are streams (`data.flows`).
"""

import builtins
import threading
from collections.abc import Callable, Sequence
from typing import Any

from funcnet.core.checks import check_positive
from funcnet.core.trees import map_tree
from funcnet.data.datasets.base import Derived, describe, read
from funcnet.data.loading.collate import collate
from funcnet.data.order.randomness import Draw, Step
from funcnet.data.streams.flows import Flow, apply, as_stream
from funcnet.data.streams.iterable import Stream

__all__ = ["Map", "cache", "map", "window", "zip"]


class Map(Derived):
    """The dataset that `map` returns."""

    def __init__(self, dataset: Any, step: Step) -> None:
        self.dataset = dataset
        self.step = step

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, draw: Draw) -> Any:
        """Read and transform."""
        return self.step(read(self.dataset, index, draw), draw)

    def __repr__(self) -> str:
        return f"map({describe(self.dataset)}, {self.step.name})"


def map(dataset: Any, function: Callable[..., Any]) -> Any:
    """Apply a function to each sample, when it is read.

    Args:
        dataset: any dataset, stream or iterable.
        function: ``function(sample)``, or ``function(sample, rng)`` for a random one: ``rng`` is a
            NumPy generator that depends on the loader's seed, the epoch and the index alone.

    Returns:
        A dataset of the same length; of a stream, or of an iterable, a stream.

    Example:
        >>> data.map([1, 2, 3], lambda x: x * 10)[1]
        20
    """
    step = Step(function)
    if isinstance(as_stream(dataset), Flow) and not isinstance(dataset, Stream):
        return Map(dataset, step)
    return apply(dataset, step, "map")


class _Zip(Derived):
    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = tuple(datasets)

    def __len__(self) -> int:
        return min(len(dataset) for dataset in self.datasets)

    def sample(self, index: int, draw: Draw) -> Any:
        return tuple(read(dataset, index, draw) for dataset in self.datasets)

    def __repr__(self) -> str:
        return f"zip({', '.join(builtins.map(describe, self.datasets))})"


def zip(*datasets: Any) -> Any:
    """Read datasets side by side, as tuples, to the end of the shortest.

    Args:
        *datasets: at least one.

    Returns:
        A dataset of tuples.

    Raises:
        ValueError: there is no dataset.

    Example:
        >>> list(data.zip("abc", [1, 2]))
        [('a', 1), ('b', 2)]
    """
    if not datasets:
        raise ValueError("zip needs at least one dataset; got none")
    return _Zip(datasets)


class _Window(Derived):
    def __init__(self, dataset: Any, size: int, stride: int) -> None:
        self.dataset = dataset
        self.size = size
        self.stride = stride

    def __len__(self) -> int:
        return max((len(self.dataset) - self.size) // self.stride + 1, 0)

    def sample(self, index: int, draw: Draw) -> Any:
        start = index * self.stride
        return collate([read(self.dataset, start + k, draw) for k in range(self.size)])

    def __repr__(self) -> str:
        return f"window({describe(self.dataset)}, {self.size}, {self.stride})"


def window(dataset: Any, size: int, stride: int | None = None) -> Any:
    """Stack neighbouring samples: item ``i`` holds the samples from ``i * stride`` on.

    Args:
        dataset: any dataset.
        size: samples a window.
        stride: from one window to the next; the size when left out, so that they do not overlap.

    Returns:
        A dataset of samples with one more leading axis, of length ``size``.

    Example:
        >>> data.window([1, 2, 3, 4, 5], 3, stride=2)[1]
        array([3, 4, 5], dtype=int32)
    """
    check_positive("size", size)
    stride = size if stride is None else stride
    check_positive("stride", stride)
    return _Window(dataset, size, stride)


class _Cache(Derived):
    def __init__(self, dataset: Any, capacity: int | None) -> None:
        self.dataset = dataset
        self.capacity = capacity
        self._samples: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, draw: Draw) -> Any:
        found = self._samples.get(index)
        if found is None:
            # What is kept must not depend on who asked first: the draw of epoch 0 every time.
            found = read(self.dataset, index, Draw(0, 0, index))
            with self._lock:
                if self.capacity is None or len(self._samples) < self.capacity:
                    self._samples[index] = found
        # A transform may write into what it gets; what is kept has to stay.
        return map_tree(lambda leaf: leaf.copy() if hasattr(leaf, "copy") else leaf, found)

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "capacity": self.capacity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"cache({describe(self.dataset)})"


def cache(dataset: Any, capacity: int | None = None) -> Any:
    """Keep samples in memory once they have been read; put it before the random transforms.

    Threads share the memory; each worker process has its own.

    Args:
        dataset: any dataset; random transforms in it are drawn once, not every epoch.
        capacity: how many samples to keep; all when left out.

    Returns:
        A dataset.

    Example:
        >>> reads = []
        >>> dataset = data.cache(data.map([1, 2], lambda x: reads.append(x) or x))
        >>> dataset[0], dataset[0], reads
        (1, 1, [1])
    """
    return _Cache(dataset, capacity)
