"""`random_split`: cut a dataset at random into parts."""

from collections.abc import Sequence
from itertools import accumulate
from numbers import Integral
from typing import Any

from funcnet.core.checks import check_non_negative
from funcnet.data.datasets.subset import Subset
from funcnet.data.loading.pytorch_names import teaches
from funcnet.data.order.permutation import Permutation

__all__ = ["random_split"]


@teaches("random_split", {"generator": "write seed="})
def random_split(dataset: Any, lengths: Sequence[float], *, seed: int = 0) -> list[Subset]:
    """Split a dataset at random into parts that do not overlap.

    Args:
        dataset: any dataset.
        lengths: numbers of samples that add up to the whole, or fractions that add up to one: then
            each part has ``floor(fraction * len)`` samples, and what is left over goes to the first
            ones, one each.
        seed: the same seed makes the same parts.

    Returns:
        A `Subset` for each length.

    Raises:
        ValueError: the lengths do not add up.

    Example:
        >>> [len(part) for part in data.random_split(range(10), [0.75, 0.25])]
        [8, 2]
    """
    total = len(dataset)
    check_non_negative("lengths", list(lengths))
    if abs(sum(lengths) - 1) < 1e-6 and not all(isinstance(n, Integral) for n in lengths):
        counts = [int(total * fraction) for fraction in lengths]
        for part in range(total - sum(counts)):
            counts[part % len(counts)] += 1
    else:
        counts = [int(length) for length in lengths]
    if sum(counts) != total:
        raise ValueError(
            f"random_split needs lengths that add up to {total}, or fractions that add up to 1;"
            f" got {list(lengths)}"
        )
    order = Permutation(total, seed)[:]
    bounds = list(accumulate(counts))
    return [
        Subset(dataset, order[stop - count : stop])
        for count, stop in zip(counts, bounds, strict=True)
    ]
