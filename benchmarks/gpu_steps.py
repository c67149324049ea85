"""Whole training steps of `benchmarks.gpu`: bfloat16 with weights kept in float32, beside PyTorch.

Both sides compute the same model from the same sizes; weights and data are random.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu_sides import Row, Work, jax_work, torch_device, torch_work

# ---- funcnet -------------------------------------------------------------------------------------


def _funcnet(
    net: Any, loss: Callable[..., Any], optimizer: Any, batch: Any, narrow: bool = True
) -> Work:
    """One step; ``loss(apply, params, state, batch)`` returns the loss and the new state."""
    import jax
    import jax.numpy as jnp

    from funcnet import optim

    params, state = net.init(jax.random.key(0))
    start = (params, state, optimizer.init(params))
    del params, state

    def step(carried: Any, batch: Any) -> Any:
        params, state, optimizer_state = carried

        def of_params(params: Any) -> Any:
            if narrow:
                params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
            return loss(net.apply, params, state, batch)

        (value, state), gradients = jax.value_and_grad(of_params, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return (optim.apply_updates(params, updates), state, optimizer_state), value

    return jax_work(step, start, jax.device_put(batch), carries=True)


def _tokens(sizes: Any, seed: int) -> np.ndarray:
    batch, time, vocabulary = sizes
    return np.random.default_rng(seed).integers(0, vocabulary, (batch, time + 1), np.int32)


GPT_SIZES = {False: (16, 1024, 50304, 12, 12, 768), True: (2, 16, 128, 2, 2, 32)}
"""Batch, time, vocabulary, layers, heads, width; the vocabulary is padded to a round number."""


def _gpt2_funcnet(tiny: bool, repeated: bool = False) -> Work:
    import jax.numpy as jnp

    import funcnet as fn
    from examples.models import gpt2
    from funcnet import functional as F
    from funcnet import nn, optim

    batch, time, vocabulary, layers, heads, width = GPT_SIZES[tiny]
    config = gpt2.GPT2Config(vocabulary, time, width, layers, heads, 0.0, 0.0, 0.0)

    class Loss(fn.Module):
        """The model with its loss: the logits of all tokens never exist at once."""

        def __init__(self) -> None:
            self.model = gpt2.GPT2(config)
            if repeated:
                transformer: Any = self.model.transformer
                transformer.h = [nn.Repeat(gpt2.Block(config), config.n_layer)]

        def __call__(self, tokens: Any) -> Any:
            features = self.model.transformer(tokens[:, :-1]).reshape(-1, width)
            weight = self.model.lm_head.weight
            # logits of 16 bits, as autocast has them
            options = F.LinearCrossEntropyOptions(acc_dtype=jnp.bfloat16)
            targets = tokens[:, 1:].reshape(-1)
            return F.linear_cross_entropy(features, weight, targets, options=options)

    tokens = _tokens((batch, time, vocabulary), 0)
    net = fn.functionalize(Loss())
    return _funcnet(net, lambda apply, *a: apply(*a, train=True), optim.adamw(1e-4), tokens)


def _resnet_funcnet(tiny: bool) -> Work:
    import jax.numpy as jnp

    import funcnet as fn
    from examples.models import resnet
    from funcnet import functional as F
    from funcnet import optim

    images, labels = _images(tiny)
    net = fn.functionalize(resnet.resnet(18 if tiny else 50))

    def loss(apply: Any, params: Any, state: Any, batch: Any) -> Any:
        logits, state = apply(params, state, batch[0], train=True)
        return F.cross_entropy(logits, batch[1]), state

    optimizer = optim.sgd(0.1, momentum=0.9)
    return _funcnet(net, loss, optimizer, (jnp.asarray(images, jnp.bfloat16), labels))


def _images(tiny: bool) -> tuple[np.ndarray, np.ndarray]:
    batch, size = (2, 32) if tiny else (128, 224)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, size, size), np.float32)
    return images, rng.integers(0, 1000, batch, np.int32)


LSTM_SIZES = {False: (128, 64, 1024), True: (5, 2, 8)}
"""Time, batch, width."""


def _lstm_funcnet(tiny: bool) -> Work:
    import jax.numpy as jnp

    import funcnet as fn
    from funcnet import nn, optim

    time, batch, width = LSTM_SIZES[tiny]
    x = np.random.default_rng(0).standard_normal((time, batch, width), np.float32)
    net = fn.functionalize(nn.LSTM(width, width, 2))

    def loss(apply: Any, params: Any, state: Any, x: Any) -> Any:
        (output, _), state = apply(params, state, x, train=True)
        return jnp.mean(jnp.square(output.astype(jnp.float32))), state

    return _funcnet(net, loss, optim.adamw(1e-4), jnp.asarray(x, jnp.bfloat16))


DEEP = {False: (100, 64, 32), True: (5, 8, 4)}
"""Layers, width, batch."""


def _deep_funcnet(tiny: bool, packed: bool = False) -> Work:
    import funcnet as fn
    from funcnet import functional as F
    from funcnet import nn, optim

    layers, width, batch = DEEP[tiny]
    stack = [part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())]
    optimizer = optim.adamw(1e-3)

    def loss(apply: Any, params: Any, state: Any, x: Any) -> Any:
        output, state = apply(params, state, x, train=True)
        return F.mse_loss(output, x), state

    x = np.random.default_rng(0).standard_normal((batch, width), np.float32)
    optimizer = optim.packed(optimizer) if packed else optimizer
    return _funcnet(fn.functionalize(nn.Sequential(*stack)), loss, optimizer, x, narrow=False)


# ---- PyTorch -------------------------------------------------------------------------------------


def _torch(
    model: Any,
    loss: Callable[..., Any],
    make: Callable[..., Any],
    batch: Any,
    *,
    compiled: bool,
    narrow: bool | str = "autocast",
) -> Work:
    """One step. Narrow weights are either autocast's or, as in funcnet, copies taken at its beginning."""
    import torch

    device = torch_device()
    model = model.to(device)
    batch = tuple(part.to(device) for part in batch)
    optimizer = make(model.parameters())

    def copies() -> Any:
        named = {name: p.to(torch.bfloat16) for name, p in model.named_parameters()}
        return lambda *a: torch.func.functional_call(model, named, a)

    def of_batch(*batch: Any) -> Any:
        if narrow == "copies":
            return loss(copies(), *batch)
        with torch.autocast(device, torch.bfloat16, enabled=bool(narrow)):
            return loss(model, *batch)

    of_batch = torch.compile(of_batch) if compiled else of_batch

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        of_batch(*batch).backward()
        optimizer.step()

    return torch_work(step)


def _adamw(parameters: Any, rate: float = 1e-4) -> Any:
    import torch

    return torch.optim.AdamW(parameters, rate, fused=True)


def _gpt2_torch(tiny: bool, compiled: bool = True, narrow: str = "autocast") -> Work:
    import torch
    from torch import nn
    from torch.nn import functional as T

    batch, time, vocabulary, layers, heads, width = GPT_SIZES[tiny]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attn, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.fc, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            qkv = self.attn(self.ln_1(x)).reshape(*x.shape[:2], 3, heads, -1)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            attended = T.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(attended.transpose(1, 2).reshape(x.shape))
            return x + self.out(T.gelu(self.fc(self.ln_2(x)), approximate="tanh"))

    class GPT2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(time, width)
            self.h = nn.ModuleList(Block() for _ in range(layers))
            self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
            nn.init.normal_(self.wte.weight, std=0.02)
            self.lm_head.weight = self.wte.weight

        def forward(self, tokens: Any) -> Any:
            x = self.wte(tokens) + self.wpe(torch.arange(time, device=tokens.device))
            for block in self.h:
                x = block(x)
            return self.lm_head(self.ln_f(x))

    def loss(model: Any, tokens: Any) -> Any:
        logits = model(tokens[:, :-1])
        return T.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())

    tokens = torch.from_numpy(_tokens((batch, time, vocabulary), 0)).long()
    return _torch(GPT2(), loss, _adamw, (tokens,), compiled=compiled, narrow=narrow)


def _resnet_torch(tiny: bool, channels_last: bool = False) -> Work:
    import torch
    from torch import nn

    depths, grow = ((2, 2, 2, 2), 1) if tiny else ((3, 4, 6, 3), 4)

    def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> list[Any]:
        layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        return [layer, nn.BatchNorm2d(outputs)]

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            outputs = grow * width
            first = [*conv(inputs, width, 1), nn.ReLU()] if grow > 1 else []
            middle = conv(width if first else inputs, width, 3, stride)
            last = conv(width, outputs, 1 if first else 3)
            self.body = nn.Sequential(*first, *middle, nn.ReLU(), *last)
            same = stride == 1 and inputs == outputs
            self.shortcut = (
                nn.Identity() if same else nn.Sequential(*conv(inputs, outputs, 1, stride))
            )

        def forward(self, x: Any) -> Any:
            return torch.relu(self.body(x) + self.shortcut(x))

    parts, inputs = [*conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for number, depth in enumerate(depths):
        for index in range(depth):
            parts.append(Block(inputs, 64 * 2**number, 2 if number and not index else 1))
            inputs = grow * 64 * 2**number
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))
    images, labels = _images(tiny)
    images = torch.from_numpy(images)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    return _torch(
        model,
        lambda model, x, y: nn.functional.cross_entropy(model(x).float(), y),
        partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True),
        (images, torch.from_numpy(labels).long()),
        compiled=True,
    )


def _lstm_torch(tiny: bool) -> Work:
    import torch

    time, batch, width = LSTM_SIZES[tiny]
    x = torch.randn(time, batch, width)
    return _torch(
        torch.nn.LSTM(width, width, 2),
        lambda model, x: model(x)[0].float().square().mean(),
        _adamw,
        (x,),
        compiled=False,  # torch.compile leaves an LSTM to cuDNN
    )


def _deep_torch(tiny: bool) -> Work:
    import torch
    from torch import nn

    layers, width, batch = DEEP[tiny]
    stack = [part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())]
    return _torch(
        nn.Sequential(*stack),
        lambda model, x: nn.functional.mse_loss(model(x), x),
        _adamw,
        (torch.randn(batch, width),),
        compiled=True,
        narrow=False,
    )


ROWS = {
    "gpt2": Row(
        "GPT-2 124 M, 16x1024 tokens",
        {
            "funcnet": _gpt2_funcnet,
            "funcnet, nn.Repeat": partial(_gpt2_funcnet, repeated=True),
            "torch.compile": _gpt2_torch,
            "torch.compile, bfloat16 copies": partial(_gpt2_torch, narrow="copies"),
        },
    ),
    "resnet50": Row(
        "ResNet-50, batch 128",
        {
            "funcnet": _resnet_funcnet,
            "torch.compile": _resnet_torch,
            "torch.compile, channels last": partial(_resnet_torch, channels_last=True),
        },
    ),
    "lstm_step": Row("LSTM 2x1024, 64x128", {"funcnet": _lstm_funcnet, "torch": _lstm_torch}),
    "deep": Row(
        "100 layers of 64, AdamW",
        {
            "funcnet": _deep_funcnet,
            "funcnet, packed": partial(_deep_funcnet, packed=True),
            "torch.compile": _deep_torch,
        },
    ),
}
