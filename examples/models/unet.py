"""U-Net: segmentation by a network that goes down to a coarse image and up again, with bridges between.

    model = UNet(UNetConfig(channels=3, classes=2))
    params, state = checkpoint.load_weights("unet.safetensors", model)
    logits, _ = fn.functionalize(model).apply(params, state, images)

Names are those of the PyTorch implementation that is used most, ``milesial/Pytorch-UNet``, with transposed
convolutions on the way up: its files load as they are.

Reference: Ronneberger, Fischer and Brox, U-Net, 2015, https://arxiv.org/abs/1505.04597; with padding, so that
the output has the size of the image, and batch norm.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from funcnet import functional as F
from funcnet import nn


@dataclass(frozen=True)
class UNetConfig:
    """What goes in and comes out, and how wide the first level is; each level has twice as many channels."""

    channels: int = 3
    classes: int = 2
    width: int = 64


class DoubleConv(nn.Module):
    """Two convolutions, each with a norm and a rectifier."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        return self.double_conv(x)


class Down(nn.Module):
    """Half the image, then twice the channels."""

    def __init__(self, inputs: int) -> None:
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, 2 * inputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, C, H, W)`` to ``(N, 2 C, H / 2, W / 2)``."""
        return self.maxpool_conv(x)


class Up(nn.Module):
    """Twice the image, joined with what the way down had at this size, then half the channels."""

    def __init__(self, inputs: int) -> None:
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2)
        self.conv = DoubleConv(inputs, inputs // 2)

    def __call__(self, x: jax.Array, bridge: jax.Array) -> jax.Array:
        """Map ``(N, C, H, W)`` and ``(N, C / 2, 2 H, 2 W)`` to ``(N, C / 2, 2 H, 2 W)``."""
        x = self.up(x)
        rows, columns = bridge.shape[2] - x.shape[2], bridge.shape[3] - x.shape[3]
        # where a side is odd, the way down has lost a pixel
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return self.conv(jnp.concatenate([bridge, x], 1))


class OutConv(nn.Module):
    """Logits of the classes, pixel by pixel."""

    def __init__(self, inputs: int, classes: int) -> None:
        self.conv = nn.Conv2d(inputs, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, C, H, W)`` to ``(N, classes, H, W)``."""
        return self.conv(x)


class UNet(nn.Module):
    """Four levels down and four up."""

    def __init__(self, config: UNetConfig) -> None:
        width = config.width
        self.inc = DoubleConv(config.channels, width)
        self.down1, self.down2 = Down(width), Down(2 * width)
        self.down3, self.down4 = Down(4 * width), Down(8 * width)
        self.up1, self.up2 = Up(16 * width), Up(8 * width)
        self.up3, self.up4 = Up(4 * width), Up(2 * width)
        self.outc = OutConv(width, config.classes)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images ``(N, channels, H, W)`` of at least 16 pixels to logits ``(N, classes, H, W)``."""
        x = self.inc(images)
        bridges = []
        for down in (self.down1, self.down2, self.down3, self.down4):
            bridges.append(x)
            x = down(x)
        for up in (self.up1, self.up2, self.up3, self.up4):
            x = up(x, bridges.pop())
        return self.outc(x)
