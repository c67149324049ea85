"""ResNet of 18 to 152 layers that takes files of torchvision and timm as they are.

    model = resnet(50)
    params, state = checkpoint.load_weights("resnet50.safetensors", model)
    logits, _ = fn.functionalize(model).apply(params, state, images)

Hugging Face's ``ResNetForImageClassification`` has other names: `rename_hugging_face` is the table.

Reference: He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385.
As in torchvision, the stride of a bottleneck is in its 3x3 convolution.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

import funcnet as fn
from funcnet import functional as F
from funcnet import nn


@dataclass(frozen=True)
class ResNetConfig:
    """How many blocks each stage has, of which kind, and how wide they are; by default ResNet-18."""

    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    bottleneck: bool = False
    width: int = 64
    num_classes: int = 1000


RESNETS = {
    18: ResNetConfig(),
    34: ResNetConfig((3, 4, 6, 3)),
    50: ResNetConfig((3, 4, 6, 3), bottleneck=True),
    101: ResNetConfig((3, 4, 23, 3), bottleneck=True),
    152: ResNetConfig((3, 8, 36, 3), bottleneck=True),
}


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Make a convolution that keeps the variance of gradients, without a bias: a norm follows."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    start = nn.init.kaiming_normal(mode="fan_out", nonlinearity="relu")
    layer.weight = fn.Parameter(layer.weight.shape, start)
    return layer


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Make the projection of a shortcut, where the shape changes."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        self.conv1 = convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, stride)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, C, H, W)`` to ``(N, width, H / stride, W / stride)``."""
        kept = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + kept)


class Bottleneck(nn.Module):
    """Three convolutions around a shortcut: the middle one has a quarter of the channels."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        self.conv1 = convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = shortcut(inputs, 4 * width, stride)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, C, H, W)`` to ``(N, 4 * width, H / stride, W / stride)``."""
        kept = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + kept)


def stage(config: ResNetConfig, number: int) -> nn.Sequential:
    """Make one of the four stages: each halves the image, except the first, and doubles the channels."""
    grow = 4 if config.bottleneck else 1
    block = Bottleneck if config.bottleneck else BasicBlock
    width = config.width * 2**number
    inputs = config.width if number == 0 else grow * width // 2
    first = block(inputs, width, 1 if number == 0 else 2)
    return nn.Sequential(
        first, *(block(grow * width, width, 1) for _ in range(config.depths[number] - 1))
    )


class ResNet(nn.Module):
    """A stem, four stages of blocks, the mean over the image, and a linear head."""

    def __init__(self, config: ResNetConfig) -> None:
        self.conv1 = convolution(3, config.width, 7, 2)
        self.bn1 = nn.BatchNorm2d(config.width)
        self.layer1, self.layer2, self.layer3, self.layer4 = (stage(config, i) for i in range(4))
        features = config.width * (32 if config.bottleneck else 8)
        self.fc = nn.Linear(features, config.num_classes)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images ``(N, 3, H, W)`` to logits ``(N, num_classes)``."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.max_pool2d(x, 3, 2, 1)
        for part in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = part(x)
        return self.fc(jnp.mean(x, (2, 3)))


def resnet(depth: int, num_classes: int = 1000) -> ResNet:
    """Make the ResNet of 18, 34, 50, 101 or 152 layers."""
    if depth not in RESNETS:
        raise ValueError(f"there are ResNets of {', '.join(map(str, RESNETS))} layers, not {depth}")
    return ResNet(replace(RESNETS[depth], num_classes=num_classes))


def rename_hugging_face(config: ResNetConfig) -> dict[str, str]:
    """Make the table from Hugging Face's names to those of this file."""
    parts = {"convolution": "conv", "normalization": "bn"}
    table = {f"resnet.embedder.embedder.{theirs}.*": f"{ours}1.*" for theirs, ours in parts.items()}
    for number in range(4):
        place = f"resnet.encoder.stages.{number}.layers.*"
        for index, (theirs, ours) in enumerate(parts.items()):
            if number or config.bottleneck:  # a basic block of the first stage changes no shape
                table[f"{place}.shortcut.{theirs}.*"] = f"layer{number + 1}.*.downsample.{index}.*"
            for inner in range(3 if config.bottleneck else 2):
                name = f"layer{number + 1}.*.{ours}{inner + 1}.*"
                table[f"{place}.layer.{inner}.{theirs}.*"] = name
    return table | {"classifier.1.*": "fc.*"}
