"""Layers of transposed convolution in one to three dimensions."""

from collections.abc import Sequence

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.functional.convolution.settings import resolve_settings
from funcnet.functional.convolution.transposed import convolve_transposed
from funcnet.functional.windows import spatial_axes
from funcnet.nn.convolution.base import FilterLayer

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class ConvTransposeBase(FilterLayer):
    """What the transposed convolutions of one, two and three dimensions share.

    Attributes:
        weight: ``(in_channels, out_channels / groups, *kernel_size)``, from ``U(-k, k)``, where ``1 / k²`` is
            ``out_channels / groups`` times the size of the kernel.
        bias: ``(out_channels,)``, likewise; or ``None``.
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        *,
        channels_last: bool = False,
        dtype: DType = jnp.float32,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f"transposed convolution has only padding_mode 'zeros'; got {padding_mode!r}"
            )
        settings = resolve_settings(
            self.axes, stride, padding, dilation, groups, channels_last, output_padding
        )
        sizes = (in_channels, out_channels, kernel_size)
        self._declare(*sizes, settings, padding_mode, bias, dtype, transposed=True)

    def _output_padding(self, input: Array, output_size: Sequence[int]) -> tuple[int, ...]:
        """Return what to add to the smallest output to reach the size asked for."""
        if input.ndim <= self.axes:  # `convolve_transposed` says what is missing
            return self.output_padding
        if len(output_size) not in (self.axes, input.ndim):
            raise ValueError(
                f"output_size must hold {self.axes} numbers, or {input.ndim} as the input; got {tuple(output_size)}"
            )
        where = spatial_axes(input.ndim, self.axes, self.channels_last)
        full = len(output_size) == input.ndim and input.ndim != self.axes
        wanted = [output_size[axis] for axis in where] if full else list(output_size)
        smallest = [
            (input.shape[axis] - 1) * s - 2 * p + d * (k - 1) + 1
            for axis, s, p, d, k in zip(
                where, self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        ]
        extra = tuple(w - m for w, m in zip(wanted, smallest, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            largest = [m + s - 1 for m, s in zip(smallest, self.stride, strict=True)]
            raise ValueError(
                f"output_size must lie between {smallest} and {largest} for input of shape {input.shape}; got {wanted}"
            )
        return extra

    def __call__(self, input: Array, output_size: Sequence[int] | None = None) -> Array:
        """Spread each element of the input over a window of the output.

        Args:
            input: the data.
            output_size: of the spatial axes, or of all, in place of the constructor's ``output_padding``.

        Raises:
            ValueError: no ``output_padding`` below the stride leads to ``output_size``.
        """
        settings = self._settings()
        if output_size is not None:
            extra = self._output_padding(input, output_size)
            settings = settings._replace(output_padding=extra)
        return convolve_transposed(input, self.weight, self.bias, settings)


class ConvTranspose1d(ConvTransposeBase):
    """Spread each element of a sequence over a window of the output: the transpose of `Conv1d`.

    It maps shapes back as `Conv1d` with the same settings maps them forth; it is not its inverse.

    * input ``(..., C_in, L)``, any number of batch axes; ``(..., L, C_in)`` if ``channels_last``
    * output ``(..., C_out, L_out)``; an axis of size ``L`` becomes
      ``(L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1``
    * ``weight`` ``(C_in, C_out / groups, K)``, ``bias`` ``(C_out,)``, both drawn from
      ``U(-k, k)`` with ``k = 1 / sqrt(C_out / groups * K)``

    Args:
        in_channels: ``C_in``.
        out_channels: ``C_out``.
        kernel_size: elements of a window.
        stride: distance in the output between neighbours of the input.
        padding: elements cut off on both sides of the output.
        output_padding: elements added at its end; less than the stride or the dilation.
        groups: number of blocks of channels that do not mix.
        bias: whether to add a learned number to each channel.
        dilation: distance between the elements of a filter.
        padding_mode: ``"zeros"``, the only one.
        channels_last: channels are the last axis of input and output; weights stay as they are.
        dtype: of the parameters.

    Raises:
        ValueError: ``groups`` does not divide both channels, or a setting is out of range.

    Example:
        >>> net = fn.functionalize(nn.ConvTranspose1d(3, 8, 4, stride=2, padding=1))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 10)))[0].shape
        (2, 8, 20)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ConvTranspose1d.html
    """

    axes = 1


class ConvTranspose2d(ConvTransposeBase):
    """Spread each element of an image over a window of the output: the transpose of `Conv2d`.

    It maps shapes back as `Conv2d` with the same settings maps them forth; it is not its inverse.

    * input ``(..., C_in, H, W)``, any number of batch axes; ``(..., H, W, C_in)`` if ``channels_last``
    * output ``(..., C_out, H_out, W_out)``; an axis of size ``L`` becomes
      ``(L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1``
    * ``weight`` ``(C_in, C_out / groups, K_h, K_w)``, ``bias`` ``(C_out,)``, both drawn from
      ``U(-k, k)`` with ``k = 1 / sqrt(C_out / groups * K_h * K_w)``

    Args:
        in_channels: ``C_in``.
        out_channels: ``C_out``.
        kernel_size: elements of a window. One number, or one an axis; so are the next four.
        stride: distance in the output between neighbours of the input.
        padding: elements cut off on both sides of the output.
        output_padding: elements added at its end; less than the stride or the dilation.
        groups: number of blocks of channels that do not mix.
        bias: whether to add a learned number to each channel.
        dilation: distance between the elements of a filter.
        padding_mode: ``"zeros"``, the only one.
        channels_last: channels are the last axis of input and output; weights stay as they are.
        dtype: of the parameters.

    Raises:
        ValueError: ``groups`` does not divide both channels, or a setting is out of range.

    Example:
        >>> net = fn.functionalize(nn.ConvTranspose2d(3, 8, 4, stride=2, padding=1))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 5, 6)))[0].shape
        (2, 8, 10, 12)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html
    """

    axes = 2


class ConvTranspose3d(ConvTransposeBase):
    """Spread each element of a volume over a window of the output: the transpose of `Conv3d`.

    It maps shapes back as `Conv3d` with the same settings maps them forth; it is not its inverse.

    * input ``(..., C_in, D, H, W)``, any number of batch axes; ``(..., D, H, W, C_in)`` if ``channels_last``
    * output ``(..., C_out, D_out, H_out, W_out)``; an axis of size ``L`` becomes
      ``(L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1``
    * ``weight`` ``(C_in, C_out / groups, K_d, K_h, K_w)``, ``bias`` ``(C_out,)``, both drawn from
      ``U(-k, k)`` with ``k = 1 / sqrt(C_out / groups * K_d * K_h * K_w)``

    Args:
        in_channels: ``C_in``.
        out_channels: ``C_out``.
        kernel_size: elements of a window. One number, or one an axis; so are the next four.
        stride: distance in the output between neighbours of the input.
        padding: elements cut off on both sides of the output.
        output_padding: elements added at its end; less than the stride or the dilation.
        groups: number of blocks of channels that do not mix.
        bias: whether to add a learned number to each channel.
        dilation: distance between the elements of a filter.
        padding_mode: ``"zeros"``, the only one.
        channels_last: channels are the last axis of input and output; weights stay as they are.
        dtype: of the parameters.

    Raises:
        ValueError: ``groups`` does not divide both channels, or a setting is out of range.

    Example:
        >>> net = fn.functionalize(nn.ConvTranspose3d(3, 8, 2, stride=2))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 2, 5, 6)))[0].shape
        (2, 8, 4, 10, 12)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ConvTranspose3d.html
    """

    axes = 3
