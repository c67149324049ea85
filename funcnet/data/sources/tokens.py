"""Token files: one long array of numbers, mapped from disk, cut into windows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.core.checks import check_positive
from funcnet.data.datasets.arrays import ArrayDataset
from funcnet.data.loading.batch_memory import Allocate, BatchLayout, fresh
from funcnet.data.order.indices import as_indices, checked_index

__all__ = ["TokenFile", "write_tokens"]


class TokenFile:
    """Windows of a file of raw tokens, memory-mapped: any size, no copy, shared by all workers.

    Args:
        path: a file of nothing but tokens, such as `write_tokens` makes; or ``.npy``.
        length: tokens a window. For a language model one more than the context, to have the
            targets.
        dtype: of the tokens in the file; a ``.npy`` file says itself.
        stride: from one window to the next; ``length`` when left out. ``length - 1`` makes the last
            token of a window the first of the next, so that each token is a target once.
        offset: bytes to skip at the start of a raw file.

    Raises:
        ValueError: the file is no whole number of tokens, or a token does not fit int32.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/tokens.bin"
        >>> data.write_tokens(path, [range(10)])
        10
        >>> windows = data.TokenFile(path, 4, stride=3)
        >>> len(windows), windows[1]
        (3, array([3, 4, 5, 6], dtype=int32))
    """

    def __init__(
        self,
        path: str | Path,
        length: int,
        *,
        dtype: Any = np.uint16,
        stride: int | None = None,
        offset: int = 0,
    ) -> None:
        check_positive("length", length)
        check_positive("stride", length if stride is None else stride)
        self.path = Path(path)
        self.length = length
        self.stride = length if stride is None else stride
        if self.path.suffix == ".npy":
            tokens: Any = ArrayDataset.load(self.path).arrays
        else:
            size = self.path.stat().st_size - offset
            if size <= 0 or size % np.dtype(dtype).itemsize:
                raise ValueError(
                    f"{path} must hold a whole number of {np.dtype(dtype)} tokens after {offset}"
                    f" bytes; it has {size} bytes"
                )
            tokens = np.memmap(self.path, dtype, mode="r", offset=offset)
        self.tokens = np.asarray(tokens)
        if self.tokens.ndim != 1 or self.tokens.dtype.kind not in "iu":
            raise ValueError(
                f"{path} must hold one row of integers; got {self.tokens.dtype} {self.tokens.shape}"
            )

    def __len__(self) -> int:
        return max((len(self.tokens) - self.length) // self.stride + 1, 0)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return one window as int32."""
        start = checked_index(index, len(self), self) * self.stride
        return self._narrow(self.tokens[start : start + self.length]).astype(np.int32)

    def _narrow(self, window: np.ndarray) -> np.ndarray:
        """Check that tokens of a wider type fit in 32 bits; NumPy would cut them off."""
        if window.dtype.itemsize >= 4 and window.dtype != np.int32 and window.size:
            low, high = window.min(), window.max()
            if low < -(2**31) or high >= 2**31:
                raise ValueError(f"tokens of {self.path} must fit int32; got {low} to {high}")
        return window

    def gather(self, indices: np.ndarray, allocate: Allocate = fresh) -> np.ndarray:
        """Return windows as int32 ``(len(indices), length)``."""
        indices = as_indices("gather", indices)
        layout = BatchLayout([(np.int32, (len(indices), self.length))])
        (out,) = layout.views(*allocate(layout.nbytes))
        for row, start in enumerate((indices * self.stride).tolist()):
            out[row] = self._narrow(self.tokens[start : start + self.length])
        return out

    def __repr__(self) -> str:
        return f"TokenFile({str(self.path)!r}, {len(self)} windows of {self.length})"


def write_tokens(
    path: str | Path, documents: Iterable[Iterable[int]], dtype: Any = np.uint16
) -> int:
    """Write documents of tokens one after the other into a raw file.

    Args:
        path: the file; replaced if there is one.
        documents: the tokens of each.
        dtype: how to store them; ``uint16`` holds vocabularies up to 65,536.

    Returns:
        How many tokens were written.

    Raises:
        ValueError: a token does not fit the dtype.

    Example:
        >>> import tempfile
        >>> data.write_tokens(tempfile.mkdtemp() + "/t.bin", [[1, 2], [3]])
        3
    """
    limits = np.iinfo(dtype)
    count = 0
    with Path(path).open("wb") as file:
        for document in documents:
            tokens = as_indices(
                "write_tokens", document if isinstance(document, np.ndarray) else list(document)
            )
            if tokens.size and not limits.min <= tokens.min() <= tokens.max() <= limits.max:
                raise ValueError(
                    f"tokens must fit {np.dtype(dtype)}; got some from {tokens.min()} to"
                    f" {tokens.max()}"
                )
            file.write(tokens.astype(dtype).tobytes())
            count += tokens.size
    return count
