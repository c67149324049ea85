"""MNIST: the embedded sample, or the IDX files of a folder."""

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from funcnet.data.datasets.arrays import ArrayDataset
from funcnet.data.sources.idx import read_idx

__all__ = ["mnist"]


def mnist(root: str | Path | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """Return handwritten digits as ``(train, test)`` datasets.

    Without a folder: the embedded sample of 5,000 training and 1,000 test digits, balanced over the
    ten classes (CC BY-SA 3.0, see ``funcnet/data/samples/LICENSE.md``). With one: its IDX files,
    raw or gzipped, under any of the usual names (``train-images-idx3-ubyte``,
    ``train-images.idx3-ubyte``, each with or without ``.gz``). Fashion-MNIST and KMNIST come in the
    same files.

    Images stay ``uint8``, which keeps memory and batches small. Scale them in the step, on the
    device::

        x = batch["image"][:, None].astype(jnp.float32) / 255    # (N, 1, 28, 28)
        x = (x - 0.1307) / 0.3081    # mean and standard deviation of the training set

    Args:
        root: a folder with the four files, or ``None``.

    Returns:
        Two datasets of ``{"image": uint8 (28, 28), "label": int32 ()}``.

    Raises:
        FileNotFoundError: a file is missing; the message lists the names that were looked for.
        ValueError: a file is truncated, too long or not an IDX file.

    Example:
        >>> train, test = data.mnist()
        >>> len(train), len(test), train[0]["image"].shape, train[0]["label"].dtype
        (5000, 1000, (28, 28), dtype('int32'))

    Reference:
        Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document
        recognition", 1998.
    """
    if root is not None:
        return _split(Path(root), "train"), _split(Path(root), "t10k")
    with (
        as_file(files("funcnet.data") / "samples" / "mnist_sample.npz") as path,
        np.load(path) as sample,
    ):
        train, test = (
            ArrayDataset(
                {
                    "image": sample[f"{split}_images"],
                    "label": sample[f"{split}_labels"].astype(np.int32),
                }
            )
            for split in ("train", "test")
        )
    return train, test


def _split(root: Path, split: str) -> ArrayDataset:
    images = read_idx(_find(root, split, "images", 3))
    labels = read_idx(_find(root, split, "labels", 1))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"the {split} files of {root} must hold images (N, height, width) and labels (N,); got"
            f" {images.shape} and {labels.shape}"
        )
    return ArrayDataset({"image": images, "label": labels.astype(np.int32)})


def _find(root: Path, split: str, kind: str, axes: int) -> Path:
    names = [
        f"{split}-{kind}{separator}idx{axes}-ubyte{suffix}"
        for separator in "-."
        for suffix in ("", ".gz")
    ]
    for name in names:
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(f"no {split} {kind} in {root}; looked for {', '.join(names)}")
