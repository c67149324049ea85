"""What the tests of models share: plain PyTorch models under the names of their files, loading, comparing."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet import checkpoint

torch = pytest.importorskip("torch")
T = torch.nn
TF = torch.nn.functional


# ---- loading and comparing -----------------------------------------------------------------------


def renamed(arrays, table):
    """Rename by the first pattern that fits; its ``*`` fill those of the new name, None leaves out."""
    rules = {re.compile("(.*?)".join(map(re.escape, old.split("*")))): old for old in table}
    unused, new = set(table), {}
    for name, array in arrays.items():
        fitting = ((old, found) for rule, old in rules.items() if (found := rule.fullmatch(name)))
        old, found = next(fitting, (None, None))
        unused.discard(old)
        if found is None:
            new[name] = array
        elif table[old] is not None:
            texts = iter(found.groups())
            new[re.sub(r"\*", lambda _, texts=texts: next(texts), table[old])] = array
    assert not unused, f"patterns that match nothing: {unused}"
    return new


def load(path, model, rename=None, strict=True):
    """Load a file's weights into a description."""
    return checkpoint.load_weights(path, model, strict, rename=rename)


def saved(model, folder):
    """Save a PyTorch model's state dict as safetensors."""
    from safetensors.torch import save_file

    path = Path(folder) / "model.safetensors"
    save_file({name: array.contiguous() for name, array in model.state_dict().items()}, path)
    return path


def arrays_of(named):
    """Copy PyTorch's named tensors to NumPy."""
    return {name: tensor.detach().numpy().copy() for name, tensor in named}


def randomize(model, seed=0):
    """Give every array of a PyTorch model random values: biases and norms start from zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, array in model.state_dict().items():
            if not array.is_floating_point():
                continue
            noise = torch.randn(array.shape, generator=generator)
            if name.endswith("running_var"):
                array.add_(0.3 * noise.abs())
            else:
                array.add_((0.1 if array.ndim < 2 else array.shape[1:].numel() ** -0.5 / 2) * noise)
    return model


def far(ours, theirs):
    """The largest difference, relative to the largest value."""
    theirs = np.asarray(theirs)
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def applied(model, params, state, *args, **settings):
    """Call a model, compiled."""
    net = fn.functionalize(model)
    return jax.jit(lambda params, state: net.apply(params, state, *args, **settings))(params, state)


# ---- models --------------------------------------------------------------------------------------


def conv_norm(inputs, outputs, size, stride=1):
    conv = T.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return conv, T.BatchNorm2d(outputs)


class Block(T.Module):
    """A block of torchvision's ResNet: sizes of its convolutions, and where the stride is."""

    def __init__(self, inputs, widths, sizes, stride, strided):
        super().__init__()
        self.count, last = len(widths), inputs
        for i, (width, size) in enumerate(zip(widths, sizes, strict=True), start=1):
            conv, norm = conv_norm(last, width, size, stride if i == strided else 1)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", norm)
            last = width
        self.downsample = None
        if stride != 1 or inputs != last:
            self.downsample = T.Sequential(*conv_norm(inputs, last, 1, stride))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y if i == self.count else y.relu()
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(T.Module):
    """torchvision's ResNet, by its parameter names."""

    def __init__(self, depths, bottleneck, width, classes):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(3, width, 7, 2)
        last = width
        for number, depth in enumerate(depths):
            inner = width * 2**number
            widths, sizes = ([inner] * 2, [3, 3])
            if bottleneck:
                widths, sizes = ([inner, inner, 4 * inner], [1, 3, 1])
            blocks = []
            for i in range(depth):
                stride = 2 if number and i == 0 else 1
                blocks.append(Block(last, widths, sizes, stride, 2 if bottleneck else 1))
                last = widths[-1]
            self.add_module(f"layer{number + 1}", T.Sequential(*blocks))
        self.fc = T.Linear(last, classes)

    def forward(self, x):
        x = TF.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return self.fc(x.mean((2, 3)))


class Holder(T.Module):
    """A module that holds others under given names."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def double_conv(inputs, outputs):
    layers = [*conv_norm(inputs, outputs, 3), T.ReLU(), *conv_norm(outputs, outputs, 3), T.ReLU()]
    return Holder(double_conv=T.Sequential(*layers))


class UNet(T.Module):
    """U-Net, by the names of ``milesial/Pytorch-UNet``."""

    def __init__(self, channels, classes, width):
        super().__init__()
        self.inc = double_conv(channels, width)
        for i in range(4):
            n = width * 2**i
            pooled = T.Sequential(T.MaxPool2d(2), double_conv(n, 2 * n))
            self.add_module(f"down{i + 1}", Holder(maxpool_conv=pooled))
            up = Holder(up=T.ConvTranspose2d(2 * n, n, 2, stride=2), conv=double_conv(2 * n, n))
            self.add_module(f"up{4 - i}", up)
        self.outc = Holder(conv=T.Conv2d(width, classes, 1))

    def forward(self, x):
        levels = [self.inc.double_conv(x)]
        for i in range(1, 5):
            pool, conv = getattr(self, f"down{i}").maxpool_conv
            levels.append(conv.double_conv(pool(levels[-1])))
        x = levels.pop()
        for i in range(1, 5):
            part, bridge = getattr(self, f"up{i}"), levels.pop()
            x = part.up(x)
            dy, dx = (bridge.shape[axis] - x.shape[axis] for axis in (2, 3))
            x = TF.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = part.conv.double_conv(torch.cat([bridge, x], 1))
        return self.outc.conv(x)


class LSTMLM(T.Module):
    """The language model of PyTorch's example, batch first."""

    def __init__(self, vocabulary, embedded, hidden, layers, tied):
        super().__init__()
        self.encoder = T.Embedding(vocabulary, embedded)
        self.rnn = T.LSTM(embedded, hidden, layers, batch_first=True)
        self.decoder = T.Linear(hidden, vocabulary)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, tokens, memory=None):
        x, memory = self.rnn(self.encoder(tokens), memory)
        return self.decoder(x), memory
