"""Image files: a folder for each class."""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.data.loading.errors import naming
from funcnet.data.order.indices import checked_index

__all__ = ["ImageFolder", "read_image"]

_SIXTEEN_BITS = ("PNG", "PPM")  # formats whose widest gray has 16 bits, in 32-bit pixels of Pillow
_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")


def read_image(file: str | Path | bytes, mode: str | None = "RGB") -> np.ndarray:
    """Decode an image with Pillow.

    Args:
        file: a path, or the encoded bytes.
        mode: Pillow's name of the pixels to convert to: ``"RGB"``, ``"L"`` for gray, ``"RGBA"``;
            ``None`` leaves them as stored. Of 16-bit gray the upper 8 bits are taken.

    Returns:
        uint8 ``(H, W, C)``, or ``(H, W)`` for gray; with ``mode=None`` also uint16 or another dtype.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: the file is damaged or no image, or its pixels have no range of their own (32-bit
            integers, fractions): those need ``mode=None``.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> path = tempfile.mkdtemp() + "/x.png"
        >>> Image.fromarray(np.full((2, 3), 7, np.uint8)).save(path)
        >>> data.read_image(path).shape
        (2, 3, 3)
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError('reading images needs Pillow: pip install "funcnet[images]"') from error
    name = f"an image of {len(file)} bytes" if isinstance(file, bytes) else file
    with naming(name, "an image that Pillow reads"):
        try:
            return _decoded(io.BytesIO(file) if isinstance(file, bytes) else file, mode)
        except Image.DecompressionBombError as error:  # so large that it is rather damaged
            raise ValueError(str(error)) from error


def _decoded(file: Any, mode: str | None) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as image:
        if mode is None or image.mode == mode:
            return np.array(image)
        if not image.mode.startswith(("I", "F")) or mode.startswith(("I", "F")):
            return np.array(image.convert(mode))
        # Pillow clips these at 255, which makes them white.
        pixels = np.array(image)
        if image.mode == "F" or (image.mode == "I" and image.format not in _SIXTEEN_BITS):
            raise ValueError(
                f"pixels of {pixels.dtype} have no range that could become {mode}; pass mode=None and"
                " scale them in a transform"
            )
        return np.array(Image.fromarray((pixels >> 8).astype(np.uint8)).convert(mode))


class ImageFolder:
    """Images in one folder for each class: ``root/class/anything.png``.

    Classes are numbered in the order of their names, files in that of their paths. Folders that are
    symbolic links count like others; what begins with a dot is left out.

    Args:
        root: the folder of folders.
        mode: what `read_image` converts to.
        extensions: which files are images, in lower case.

    Raises:
        FileNotFoundError: there is no class, or a class has no image.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / name).mkdir()
        ...     Image.fromarray(np.zeros((2, 2), np.uint8)).save(root / name / "0.png")
        >>> dataset = data.ImageFolder(root)
        >>> dataset.classes, int(dataset[1]["label"]), dataset[1]["image"].shape
        (['cat', 'dog'], 1, (2, 2, 3))
    """

    def __init__(
        self,
        root: str | Path,
        mode: str | None = "RGB",
        extensions: Sequence[str] = _EXTENSIONS,
    ) -> None:
        self.root = Path(root)
        self.mode = mode
        self.classes = sorted(
            path.name
            for path in self.root.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        )
        self.paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            found = sorted(
                path
                for path in _files(self.root / name, set())
                if path.suffix.lower() in extensions
            )
            if not found:
                raise FileNotFoundError(
                    f"no image in {self.root / name}; looked for {', '.join(extensions)}"
                )
            self.paths += found
            labels += [label] * len(found)
        if not self.paths:
            raise FileNotFoundError(f"{self.root} must have a folder for each class; found none")
        self.labels = np.asarray(labels, np.int32)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``{"image": uint8 array, "label": int32}``."""
        index = checked_index(index, len(self), self)
        return {
            "image": read_image(self.paths[index], self.mode),
            "label": self.labels[index],
        }

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r}, {len(self)} images, {len(self.classes)} classes)"


def _files(folder: Path, above: set[tuple[int, int]]) -> Iterator[Path]:
    """Find all files in a folder, also through links, unless those lead back up."""
    status = folder.stat()
    here = above | {(status.st_dev, status.st_ino)}
    if here == above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):  # such as the "._" files that a Mac leaves beside others
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path), here)
            elif entry.is_file():
                yield Path(entry.path)
