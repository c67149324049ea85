"""Convolution of many images as CPUs do it fastest: channels last inside, with a gradient in parts.

XLA convolves channels last on CPU. Asked for channels first, it fuses the change of layout into every operation that
reads the result or makes the gradient, and each of them then walks through memory in large steps, several times. Here
the layout changes once, in a loop that nothing is fused into. The gradient of the weights, which XLA computes as a
convolution with a filter of the images' size, is computed for a part of the batch at a time.
"""

from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from funcnet.core.aliases import Array

__all__ = ["ImageFilter", "convolve_on_cpu", "is_quicker_on_cpu"]

# A step of `python -m benchmarks.models --only cnn` on two cores, channels first: 1.3 of PyTorch, and 1.8 without this
# file; channels last 1.0 and 1.2; ResNet-18 is as fast. The gradient of the weights gains from parts where images are
# large, and loses where they are small.
_LEAST_ELEMENTS = 1 << 18
"""Elements of input and output together from which all of this is worth its compilation."""
_LEAST_PIXELS = 100
"""Pixels of the output from which the gradient is computed in parts."""
_MOST_PARTS = 8


class ImageFilter(NamedTuple):
    """How filters of two axes move over images."""

    stride: tuple[int, ...]
    margins: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]


def is_quicker_on_cpu(
    images: Array, weight: Array, stride: tuple[int, ...], groups: int, channels_last: bool
) -> bool:
    """Say whether `convolve_on_cpu` takes these arrays: many images on one device, without groups."""
    if len(stride) != 2 or groups != 1 or not jnp.issubdtype(images.dtype, jnp.floating):
        return False
    if not all(isinstance(size, int) for size in images.shape) or not _is_one_device():
        return False  # exported for any number of images, or these may be spread over devices
    pixels = images.size // images.shape[-1 if channels_last else 1]
    outputs = pixels // prod(stride) * weight.shape[0]
    return images.size + outputs >= _LEAST_ELEMENTS and _parts(len(images)) > 1


def _is_one_device() -> bool:
    """Say whether there is but one device: a batch in parts, spread over many, each would compute whole."""
    return jax.device_count() == 1


# Compiled here, because outside of jit the loops would be compiled each time.
@partial(jax.jit, static_argnums=(2, 3))
def convolve_on_cpu(
    images: Array, weight: Array, settings: ImageFilter, channels_last: bool
) -> Array:
    """Convolve images ``(N, C, H, W)``, or ``(N, H, W, C)``, with filters ``(O, C, H, W)``."""
    if channels_last:
        return _convolve(settings, images, weight)
    output = _convolve(settings, _moved(images, (0, 2, 3, 1)), weight)
    return _moved(output, (0, 3, 1, 2))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _convolve(settings: ImageFilter, images: Array, weight: Array) -> Array:
    """Convolve channels last; a filter of one pixel is a matrix."""
    stride, margins, dilation = settings
    if prod(weight.shape[2:]) == 1 and not any(map(any, margins)):
        seen = images[:, :: stride[0], :: stride[1]]
        return lax.dot_general(seen, weight[:, :, 0, 0], (((3,), (1,)), ((), ())))
    return lax.conv_general_dilated(
        images,
        weight,
        stride,
        margins,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
    )


def _convolve_jvp(settings: ImageFilter, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Differentiate by one side at a time: the weights' side in parts, whose transpose is a sum over parts."""
    (images, weight), (images_dot, weight_dot) = primals, tangents
    output = _convolve(settings, images, weight)
    terms = []
    if not isinstance(images_dot, SymbolicZero):
        terms.append(_convolve(settings, images_dot, weight))
    if not isinstance(weight_dot, SymbolicZero):
        parts = jnp.split(images, _parts_of_gradient(images, output))
        done = [_convolve(settings, part, weight_dot) for part in parts]
        terms.append(jnp.concatenate(done) if len(done) > 1 else done[0])
    return output, sum(terms[1:], terms[0]) if terms else jnp.zeros_like(output)


_convolve.defjvp(_convolve_jvp, symbolic_zeros=True)


def _parts_of_gradient(images: Array, output: Array) -> int:
    # each part's sum of 16-bit floats would be rounded
    wide = jnp.finfo(images.dtype).bits >= 32
    return _parts(len(images)) if wide and prod(output.shape[1:3]) >= _LEAST_PIXELS else 1


def _parts(images: int) -> int:
    """Return into how many equal parts to cut a batch: the largest divisor that is small enough."""
    return max((n for n in range(1, _MOST_PARTS + 1) if images % n == 0), default=1)


def _moved(images: Array, axes: tuple[int, ...]) -> Array:
    """Transpose images, in a loop over parts of the batch: XLA fuses nothing into a loop."""
    if axes == (0, 2, 3, 1) and images.shape[1] == 1:
        return images.transpose(axes)  # moves nothing
    parts = _parts(len(images))
    some = images.reshape(parts, len(images) // parts, *images.shape[1:])
    moved = lax.map(lambda part: part.transpose(axes), some)
    return moved.reshape(-1, *moved.shape[2:])
