"""Image files: a folder for each class."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ImageFolder", "read_image"]

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")


def read_image(file: str | Path | bytes, mode: str | None = "RGB") -> np.ndarray:
    """Decode an image with Pillow.

    Args:
        file: a path, or the encoded bytes.
        mode: Pillow's name of the pixels to convert to: ``"RGB"``, ``"L"`` for gray, ``"RGBA"``;
            ``None`` leaves them as stored.

    Returns:
        uint8 ``(H, W, C)``, or ``(H, W)`` for gray.

    Raises:
        ImportError: Pillow is not installed.

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
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        return np.array(image if mode is None or image.mode == mode else image.convert(mode))


class ImageFolder:
    """Images in one folder for each class: ``root/class/anything.png``.

    Classes are numbered in the order of their names, files in that of their paths.

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
        self.classes = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        self.paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            found = sorted(
                path
                for path in (self.root / name).rglob("*")
                if path.suffix.lower() in extensions and path.is_file()
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
        return {
            "image": read_image(self.paths[index], self.mode),
            "label": self.labels[index],
        }

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r}, {len(self)} images, {len(self.classes)} classes)"
