"""The models of `benchmarks.export`: one in funcnet and one in PyTorch with the same weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as TF
from torch import nn as T

import funcnet as fn
from benchmarks import models_funcnet, models_torch
from benchmarks.models_data import VOCABULARY
from examples.models.resnet import resnet
from funcnet import nn

__all__ = ["MODELS", "Pair", "make"]


@dataclass(frozen=True)
class Pair:
    """A model on both sides: ``input_name`` is what the exports call its one input."""

    name: str
    net: fn.Functional
    params: Any
    state: Any
    theirs: T.Module
    x: np.ndarray


def digits() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 10),
    )


class BasicBlock(T.Module):
    """Two convolutions around a shortcut, under torchvision's names."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = T.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = T.BatchNorm2d(width)
        self.conv2 = T.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = T.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or inputs != width:
            projection = T.Conv2d(inputs, width, 1, stride, bias=False)
            self.downsample = T.Sequential(projection, T.BatchNorm2d(width))

    def forward(self, x: Any) -> Any:
        """Compute the output."""
        kept = x if self.downsample is None else self.downsample(x)
        x = TF.relu(self.bn1(self.conv1(x)))
        return TF.relu(self.bn2(self.conv2(x)) + kept)


class ResNet18(T.Module):
    """ResNet-18 for images of any size, under torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = T.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = T.BatchNorm2d(64)
        inputs = 64
        for number in range(4):
            width = 64 * 2**number
            blocks = BasicBlock(inputs, width, 2 if number else 1), BasicBlock(width, width, 1)
            self.add_module(f"layer{number + 1}", T.Sequential(*blocks))
            inputs = width
        self.fc = T.Linear(512, 1000)

    def forward(self, x: Any) -> Any:
        """Compute the output."""
        x = TF.max_pool2d(TF.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


Model = tuple[Callable[[], nn.Module], Callable[[], T.Module], tuple[int, ...]]

MODELS: dict[str, Model] = {
    "MNIST CNN": (digits, models_torch.cnn, (1, 28, 28)),
    "ResNet-18, 64x64": (lambda: resnet(18), ResNet18, (3, 64, 64)),
    "ResNet-18, 224x224": (lambda: resnet(18), ResNet18, (3, 224, 224)),
    "transformer, 4 layers of 128, 128 tokens": (
        models_funcnet.GPT,
        models_torch.GPT,
        (128,),
    ),
}


def make(name: str, batch: int) -> Pair:
    """Build both sides; PyTorch's weights are loaded into funcnet's model."""
    ours, theirs, shape = MODELS[name]
    torch.manual_seed(0)
    model, description = theirs().eval(), ours()
    arrays = {key: array.numpy() for key, array in model.state_dict().items()}
    params, state = fn.load_state_dict(description, arrays)
    rng = np.random.default_rng(0)
    if len(shape) == 1:
        x: Any = rng.integers(0, VOCABULARY, (batch, *shape), np.int64).astype(np.int32)
    else:
        x = rng.standard_normal((batch, *shape), np.float32)
    return Pair(name, fn.functionalize(description), params, state, model, x)
