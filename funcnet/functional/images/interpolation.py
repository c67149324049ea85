"""Resizing of signals, images and volumes in every mode of PyTorch's ``interpolate``."""

from collections.abc import Sequence
from typing import Any

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice, check_positive
from funcnet.core.dtypes import as_floats
from funcnet.functional.images.resampling import resample, source_table
from funcnet.functional.pooling.average import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
)
from funcnet.functional.windows import in_wide_floats, integers_per_axis

__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]

_ANY = (1, 2, 3)
_MODES = {  # the kernel along each axis, and the numbers of axes there may be
    "nearest": ("nearest", _ANY),
    "nearest-exact": ("nearest-exact", _ANY),
    "area": ("area", _ANY),
    "linear": ("linear", (1,)),
    "bilinear": ("linear", (2,)),
    "trilinear": ("linear", (3,)),
    "bicubic": ("cubic", (2,)),
    "lanczos": ("lanczos", (2,)),
}
_AREA = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)


def _check_mode(
    mode: str, axes: int, shape: Sequence[int], align_corners: bool | None, antialias: bool
) -> None:
    check_choice("mode", mode, _MODES)
    allowed = _MODES[mode][1]
    if axes not in allowed or 0 in shape[1:]:
        expected = " or ".join(str(number + 2) for number in allowed)
        raise ValueError(
            f"mode {mode!r} takes an input (N, C, ...) of {expected} axes, only N may be 0; got {tuple(shape)}"
        )
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ValueError(f"align_corners has no meaning in mode {mode!r}; leave it out")
    if antialias and mode not in ("bilinear", "bicubic", "lanczos"):
        raise ValueError(
            f"antialias has no meaning in mode {mode!r}: only bilinear, bicubic, lanczos"
        )
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError("mode 'lanczos' needs antialias=True and align_corners=False")


def _sizes(
    sizes: Sequence[int], size: Any, scale_factor: Any, recompute: bool
) -> tuple[tuple[int, ...], list[float | None]]:
    """Return the output's sizes, and the scales to place its elements by where they are not the ratio."""
    axes = len(sizes)
    if (size is None) == (scale_factor is None):
        raise ValueError("give either size or scale_factor")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor needs a scale_factor, not a size")
        if isinstance(size, Sequence) and len(size) != axes:
            raise ValueError(f"size must be one number or {axes}; got {size!r}")
        return integers_per_axis("size", size, axes), [None] * axes
    factors = list(scale_factor) if isinstance(scale_factor, Sequence) else [scale_factor] * axes
    if len(factors) != axes:
        raise ValueError(f"scale_factor must be one number or {axes}; got {scale_factor!r}")
    output = tuple(int(n * float(f)) for n, f in zip(sizes, factors, strict=True))
    return output, [None if recompute else float(factor) for factor in factors]


def interpolate(
    input: Array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Array:
    """Resize the spatial axes, to a size or by a factor.

    * ``"nearest"``, ``"nearest-exact"``: copy the nearest element; the latter looks from the middles of
      elements, as Pillow does, the former from their starts.
    * ``"linear"``, ``"bilinear"``, ``"trilinear"``: weigh the two neighbours along each axis.
    * ``"bicubic"``: weigh four neighbours along each axis by Keys' kernel (``a = -0.75``).
    * ``"area"``: average what each output covers, `adaptive_avg_pool2d`.
    * ``"lanczos"``: a windowed sinc of six neighbours; only with ``antialias``.

    Args:
        input: ``(N, C, L)``, ``(N, C, H, W)`` or ``(N, C, D, H, W)``, as the mode allows.
        size: of the spatial axes of the output, one number for all or one each; or
        scale_factor: by what to multiply those of the input (and round down).
        mode: one of the above.
        align_corners: keep the corner elements' middles in place, instead of their outer edges.
        recompute_scale_factor: place elements by the ratio of the rounded sizes, not by ``scale_factor``.
        antialias: when shrinking, weigh all that an output covers (bilinear, bicubic and lanczos).

    Returns:
        The resized array.

    Raises:
        ValueError: the mode does not go with the input or the other settings; not one of the sizes is given.
        TypeError: whole numbers are to be weighed.

    Example:
        >>> F.interpolate(jnp.array([[[1.0, 2.0]]]), scale_factor=2, mode="linear")
        Array([[[1.  , 1.25, 1.75, 2.  ]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.interpolate.html
    """
    axes = input.ndim - 2
    if not mode.startswith("nearest"):
        (input,) = as_floats("interpolate", input=input)
    _check_mode(mode, axes, input.shape, align_corners, antialias)
    kernel = _MODES[mode][0]
    recompute = bool(recompute_scale_factor) or (kernel == "area" and size is None)
    output, scales = _sizes(input.shape[2:], size, scale_factor, recompute)
    if kernel == "area":
        return _AREA[axes - 1](input, output)
    check_positive("the output's size", output)

    def resize(input: Array) -> Array:
        for axis in reversed(range(axes)):
            settings = (input.shape[axis + 2], output[axis], scales[axis])
            table = source_table(kernel, *settings, bool(align_corners), antialias, axes)
            input = resample(input, axis + 2, table)
        return input

    return in_wide_floats(resize, input)


def upsample(
    input: Array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Array:
    """Call `interpolate`, whose older name this is.

    Args:
        input: ``(N, C, ...)`` with one to three spatial axes.
        size: of the output's spatial axes; or
        scale_factor: by what to multiply those of the input.
        mode: as of `interpolate`.
        align_corners: as of `interpolate`.

    Returns:
        The resized array.

    Raises:
        ValueError: as `interpolate`.

    Example:
        >>> F.upsample(jnp.ones((1, 1, 2, 2)), scale_factor=3).shape
        (1, 1, 6, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.upsample.html
    """
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Array:
    """Call `interpolate` with ``mode="nearest"``.

    Args:
        input: ``(N, C, ...)`` with one to three spatial axes.
        size: of the output's spatial axes; or
        scale_factor: by what to multiply those of the input.

    Returns:
        The resized array.

    Raises:
        ValueError: as `interpolate`.

    Example:
        >>> F.upsample_nearest(jnp.array([[[1, 2]]]), scale_factor=2)
        Array([[[1, 1, 2, 2]]], dtype=int32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.upsample_nearest.html
    """
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(
    input: Array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Array:
    """Call `interpolate` with ``mode="bilinear"`` and ``align_corners=True``.

    Args:
        input: ``(N, C, H, W)``.
        size: ``(H_out, W_out)``, or one number for both; or
        scale_factor: by what to multiply those of the input.

    Returns:
        ``(N, C, H_out, W_out)``.

    Raises:
        ValueError: as `interpolate`.

    Example:
        >>> F.upsample_bilinear(jnp.array([[[[1.0, 2.0]]]]), size=(1, 3))
        Array([[[[1. , 1.5, 2. ]]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.upsample_bilinear.html
    """
    return interpolate(input, size, scale_factor, "bilinear", True)
