"""The models of `benchmarks.models` in PyTorch, eager or compiled."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.models_data import CLASSES, LR, VOCABULARY, WEIGHT_DECAY


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, CLASSES)
    )


def deep() -> nn.Module:
    return nn.Sequential(*(part for _ in range(100) for part in (nn.Linear(64, 64), nn.ReLU())))


def cnn() -> nn.Module:
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
        nn.Linear(64 * 7 * 7, CLASSES),
    )


class LSTMLM(nn.Module):
    """An embedding, one LSTM and a linear head."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: Any) -> Any:
        """Compute the output."""
        return self.head(self.lstm(self.tokens(tokens))[0])


class Block(nn.Module):
    """Self-attention and an MLP, each after a layer norm and around a shortcut."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Any) -> Any:
        """Compute the output."""
        batch, time, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, time, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.project(attended.transpose(1, 2).reshape(batch, time, width))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Four causal blocks of width 128."""

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 4, time: int = 128) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(time, width)
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)

    def forward(self, tokens: Any) -> Any:
        """Compute the output."""
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Any) -> Any:
        """Compute the output."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 with the stem for images of 32x32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(64)
        widths = (64, 64, 128, 256, 512)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(widths[i] if first else widths[i + 1], widths[i + 1], stride)
                for i in range(4)
                for first, stride in ((True, 1 if i == 0 else 2), (False, 1))
            )
        )
        self.head = nn.Linear(512, CLASSES)

    def forward(self, x: Any) -> Any:
        """Compute the output."""
        return self.head(self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


class ViT(nn.Module):
    """ViT-tiny on patches of 4x4, whose tokens are averaged."""

    def __init__(self, width: int = 192, layers: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.positions = nn.Parameter(torch.randn(64, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Any) -> Any:
        """Compute the output."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(x)).mean(1))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "deep": deep,
    "cnn": cnn,
    "lstm": LSTMLM,
    "gpt": GPT,
    "resnet": ResNet18,
    "vit": ViT,
}


def make(row: str, x: Any, y: Any, variant: str = "") -> tuple[Callable[[], object], int]:
    """Return one training step, and the number of parameters."""
    torch.manual_seed(0)
    model = MODELS[row]().train()
    count = sum(parameter.numel() for parameter in model.parameters())
    x, y = torch.tensor(x), torch.tensor(y)
    y = y if y.is_floating_point() else y.long()
    if "channels last" in variant:
        layout: Any = {"memory_format": torch.channels_last}
        model, x = model.to(**layout), x.to(**layout)
    # one pass over each parameter: the quickest that PyTorch has on CPU
    optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=WEIGHT_DECAY, fused=True)

    def loss(x: Any, y: Any) -> Any:
        output = model(x)
        if y.ndim == output.ndim:
            return F.mse_loss(output, y)
        return F.cross_entropy(output.reshape(-1, output.shape[-1]), y.reshape(-1))

    forward = torch.compile(loss) if "compile" in variant else loss

    def run() -> object:
        optimizer.zero_grad()
        value = forward(x, y)
        value.backward()
        optimizer.step()
        return value.detach()

    return run, count
