"""Arrays in memory or mapped from disk as a dataset: any tree of them with one first axis."""

from pathlib import Path
from typing import Any

import numpy as np

from funcnet.core.trees import fill_tree, map_tree, named_leaves
from funcnet.data.loading.batch_memory import Allocate, BatchLayout, fresh
from funcnet.data.loading.containers import numpy_leaf, plain_tree
from funcnet.data.loading.errors import naming
from funcnet.data.order.indices import as_indices

__all__ = ["ArrayDataset"]


class ArrayDataset:
    """A dataset over a tree of arrays whose first axes all have the same length.

    Sample ``i`` is the tree of ``array[i]``. A loader gathers a whole batch at a time from each
    array (``numpy.take`` into aligned memory), never sample by sample. Arrays may be ``np.memmap``:
    then a batch reads only the pages it needs.

    Args:
        arrays: dicts, lists and tuples, nested, with arrays at the leaves: NumPy's, or what
            ``np.asarray`` takes, such as PyTorch's on the CPU. Other mappings and dataclasses become
            dicts.

    Raises:
        ValueError: there is no array, one has no axis or holds Python objects, or the first axes
            differ.

    Example:
        >>> dataset = data.ArrayDataset({"image": np.zeros((10, 28, 28)), "label": np.arange(10)})
        >>> len(dataset), int(dataset[3]["label"]), dataset[3]["image"].shape
        (10, 3, (28, 28))
        >>> dataset[:4]["label"]
        array([0, 1, 2, 3])
    """

    def __init__(self, arrays: Any) -> None:
        plain = plain_tree(arrays)
        # A memory map, too, becomes a plain array.
        self.arrays = fill_tree(
            plain, (numpy_leaf(leaf, path) for path, leaf in named_leaves(plain))
        )
        named = list(named_leaves(self.arrays))
        if not named:
            raise ValueError("ArrayDataset needs at least one array; got an empty tree")
        lengths: dict[str, int] = {}
        for path, array in named:
            if array.ndim == 0:
                raise ValueError(
                    f"ArrayDataset needs arrays with a first axis of samples; got a scalar at"
                    f" {path or 'the root'}. Lists are containers: write np.asarray(values)."
                )
            if array.dtype.hasobject:
                raise ValueError(
                    f"ArrayDataset holds numbers and fixed-length strings; got Python objects at"
                    f" {path or 'the root'}. Pass a list of samples to DataLoader instead."
                )
            lengths[path or "array"] = len(array)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"ArrayDataset needs arrays of one length; got {lengths}")
        self._flat = [array for _, array in named]
        # Of an array with gaps, `take` would first make a whole copy.
        self._dense = [array.flags.c_contiguous and array.flags.aligned for array in self._flat]
        self._layouts: dict[int, BatchLayout] = {}

    @classmethod
    def load(cls, path: str | Path, *, memory_map: bool = True) -> "ArrayDataset":
        """Open a ``.npy`` file (as a memory map, unless told otherwise) or an ``.npz`` archive.

        Args:
            path: the file.
            memory_map: map a ``.npy`` file instead of reading it; an archive is always read.

        Returns:
            A dataset of one array, or of a dict of the archive's arrays.

        Raises:
            ValueError: the file is damaged, or of another format.

        Example:
            >>> import tempfile
            >>> path = tempfile.mkdtemp() + "/x.npy"
            >>> np.save(path, np.arange(5))
            >>> data.ArrayDataset.load(path)[2]
            np.int64(2)
        """
        path = Path(path)
        if path.suffix == ".npz":
            # Opened here: of a damaged archive `numpy.load` would leave the file open.
            with (
                naming(path, "an .npz archive of arrays"),
                path.open("rb") as file,
                np.load(file) as archive,
            ):
                return cls({name: archive[name] for name in archive.files})
        with naming(path, "an .npy file"):
            mapped = np.load(path, mmap_mode="r")
            expected = mapped.offset + mapped.nbytes
            if path.stat().st_size != expected:
                raise ValueError(f"its array ends at byte {expected} of {path.stat().st_size}")
            return cls(mapped if memory_map else np.array(mapped))

    def __len__(self) -> int:
        return len(self._flat[0])

    def __getitem__(self, index: Any) -> Any:
        """Return one sample, or the tree of slices for a slice, a mask or an array of indices.

        As with NumPy, a sample and a slice are views of the arrays.
        """
        if isinstance(index, (bool, np.bool_)):  # NumPy would add an axis
            raise TypeError(f"an index is an integer; got the boolean {index} for {self!r}")
        return map_tree(lambda array: array[index], self.arrays)

    def gather(self, indices: np.ndarray, allocate: Allocate = fresh) -> Any:
        """Return the batch of the samples at the indices, in memory of its own.

        Args:
            indices: one-dimensional integers in ``[0, len)``; the caller answers for the range.
            allocate: where the memory comes from.

        Returns:
            A tree of arrays ``(len(indices), ...)``.

        Example:
            >>> data.ArrayDataset(np.arange(5) * 10).gather(np.array([3, 0]))
            array([30,  0])
        """
        if indices.dtype.kind not in "iu":  # `take` would read a mask as zeros and ones
            indices = as_indices("gather", indices)
        count = len(indices)
        layout = self._layouts.get(count)
        if layout is None:
            layout = BatchLayout([(array.dtype, (count, *array.shape[1:])) for array in self._flat])
            self._layouts[count] = layout
        block, start = allocate(layout.nbytes)
        views: list[np.ndarray] = []
        # One loop without calls of our own: small batches are made at the speed of these few lines.
        for array, dense, (dtype, shape, offset) in zip(
            self._flat, self._dense, layout.arrays, strict=True
        ):
            view = np.ndarray(shape, dtype, block, start + offset)
            if dense:
                # "clip" writes in place, where "raise" would go through a second buffer.
                array.take(indices, 0, view, "clip")
            else:
                view[...] = array[indices]
            views.append(view)
        return views[0] if self.arrays is self._flat[0] else fill_tree(self.arrays, iter(views))

    def __getstate__(self) -> dict[str, Any]:
        return {"arrays": self.arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["arrays"])

    def __repr__(self) -> str:
        shown = [
            f"{path + ': ' if path else ''}{array.dtype}{list(array.shape[1:])}"
            for path, array in named_leaves(self.arrays)
        ]
        return f"ArrayDataset({len(self)} samples of {', '.join(shown)})"
