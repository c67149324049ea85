"""`window`: stack neighbouring samples of a dataset."""

from typing import Any

from funcnet.core.checks import check_positive
from funcnet.data.datasets.base import DerivedDataset, dataset_name, read_sample
from funcnet.data.loading.collate import collate
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["window"]


class _WindowedDataset(DerivedDataset):
    def __init__(self, dataset: Any, size: int, stride: int) -> None:
        self.dataset = dataset
        self.size = size
        self.stride = stride

    def __len__(self) -> int:
        return max((len(self.dataset) - self.size) // self.stride + 1, 0)

    def sample(self, index: int, sample_rng: SampleRng) -> Any:
        start = index * self.stride
        return collate([read_sample(self.dataset, start + k, sample_rng) for k in range(self.size)])

    def __repr__(self) -> str:
        return f"window({dataset_name(self.dataset)}, {self.size}, {self.stride})"


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
    return _WindowedDataset(dataset, size, stride)
