"""One start of a training script, for `benchmarks.start`: `python -m benchmarks.start_sides SIDE MODEL TIME`.

The same three models in each library, as its users write them, with Adam. Prints the seconds of each phase as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

WIDTH, HEADS, DEPTH, TOKENS, LENGTH = 128, 4, 4, 256, 128
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
BATCH = {"mlp": 128, "resnet": 8, "gpt": 8}


def data(model: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch and its classes."""
    size = BATCH[model]
    if model == "gpt":
        tokens = np.arange(size * LENGTH, dtype=np.int32).reshape(size, LENGTH) % TOKENS
        return tokens, tokens
    shape = (size, 784) if model == "mlp" else (size, 3, 32, 32)
    return np.ones(shape, np.float32), np.arange(size, dtype=np.int32) % 10


# ---- funcnet


def funcnet_side(model: str) -> Callable[[], Callable[[], Any]]:
    """Return what makes a model and a step."""
    import jax

    import funcnet as fn
    from funcnet import functional as F
    from funcnet import nn, optim

    class Residual(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
            self.norm1 = nn.GroupNorm(32, width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.norm2 = nn.GroupNorm(32, width)
            self.skip = nn.Conv2d(inputs, width, 1, stride)

        def __call__(self, x: Any) -> Any:
            y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
            return F.relu(y + self.skip(x))

    class Block(nn.Module):
        def __init__(self) -> None:
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def __call__(self, x: Any) -> Any:
            split = (*x.shape[:2], 3, HEADS, WIDTH // HEADS)
            q, k, v = self.qkv(self.norm1(x)).reshape(split).transpose(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.swapaxes(1, 2).reshape(x.shape))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class GPT(nn.Module):
        def __init__(self) -> None:
            self.tokens, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, TOKENS)

        def __call__(self, x: Any) -> Any:
            return self.head(self.norm(self.blocks(self.tokens(x) + self.places.weight)))

    def make() -> nn.Module:
        if model == "mlp":
            sizes = ((784, 512), (512, 512))
            hidden = [layer for size in sizes for layer in (nn.Linear(*size), nn.ReLU())]
            return nn.Sequential(*hidden, nn.Linear(512, 10))
        if model == "gpt":
            return GPT()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1), nn.ReLU()]
        width = 64
        for outputs, stride in STAGES:
            layers += [Residual(width, outputs, stride), Residual(outputs, outputs, 1)]
            width = outputs
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))

    def init() -> Callable[[], Any]:
        net, optimizer = fn.functionalize(make()), optim.adam(1e-3)
        params, state = net.init(jax.random.key(0))
        opt_state = optimizer.init(params)
        jax.block_until_ready((params, opt_state))
        x, y = data(model)

        @jax.jit
        def step(params: Any, state: Any, opt_state: Any) -> Any:
            def loss(params: Any) -> Any:
                logits, new = net.apply(params, state, x, train=True)
                return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1)), new

            (value, new), grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, opt = optimizer.update(grads, opt_state, params)
            return optim.apply_updates(params, updates), new, opt, value

        return lambda: jax.block_until_ready(step(params, state, opt_state))

    return init


# ---- raw JAX, Equinox, Flax NNX: their users take Optax


def raw_side(model: str) -> Callable[[], Callable[[], Any]]:
    """Return what makes a model and a step."""
    import jax
    import jax.numpy as jnp
    import optax
    from jax import lax

    keys = iter(jax.random.split(jax.random.key(0), 200))

    def dense(inputs: int, outputs: int) -> dict[str, Any]:
        bound = inputs**-0.5
        shape = (inputs, outputs)
        weight = jax.random.uniform(next(keys), shape, minval=-bound, maxval=bound)
        return {"w": weight, "b": jnp.zeros(outputs)}

    def filters(inputs: int, outputs: int, size: int) -> Any:
        shape = (outputs, inputs, size, size)
        return (2 / (inputs * size * size)) ** 0.5 * jax.random.normal(next(keys), shape)

    def scale(size: int) -> dict[str, Any]:
        return {"g": jnp.ones(size), "b": jnp.zeros(size)}

    def apply(p: Any, x: Any) -> Any:
        return x @ p["w"] + p["b"]

    def conv(w: Any, x: Any, stride: int = 1) -> Any:
        pad = w.shape[-1] // 2
        return lax.conv_general_dilated(x, w, (stride, stride), [(pad, pad)] * 2)

    def normal(x: Any, axes: Any) -> Any:
        return (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + 1e-5)

    def group_norm(p: Any, x: Any) -> Any:
        groups = x.reshape(x.shape[0], 32, -1, *x.shape[2:])
        return (
            normal(groups, (2, 3, 4)).reshape(x.shape) * p["g"][:, None, None]
            + p["b"][:, None, None]
        )

    def layer_norm(p: Any, x: Any) -> Any:
        return normal(x, -1) * p["g"] + p["b"]

    def residual(inputs: int, width: int) -> dict[str, Any]:
        return {
            "c1": filters(inputs, width, 3), "n1": scale(width), "c2": filters(width, width, 3),
            "n2": scale(width), "skip": filters(inputs, width, 1),
        }  # fmt: skip

    def block() -> dict[str, Any]:
        return {
            "n1": scale(WIDTH), "n2": scale(WIDTH), "qkv": dense(WIDTH, 3 * WIDTH), "out": dense(WIDTH, WIDTH),
            "up": dense(WIDTH, 4 * WIDTH), "down": dense(4 * WIDTH, WIDTH),
        }  # fmt: skip

    def make() -> Any:
        if model == "mlp":
            return [dense(784, 512), dense(512, 512), dense(512, 10)]
        if model == "gpt":
            tables = {
                n: jax.random.normal(next(keys), (size, WIDTH))
                for n, size in (("t", TOKENS), ("p", LENGTH))
            }
            return tables | {
                "blocks": [block() for _ in range(DEPTH)],
                "n": scale(WIDTH),
                "head": dense(WIDTH, TOKENS),
            }
        blocks, width = [], 64
        for outputs, _ in STAGES:
            blocks += [residual(width, outputs), residual(outputs, outputs)]
            width = outputs
        return {"stem": filters(3, 64, 3), "blocks": blocks, "head": dense(512, 10)}

    def forward(p: Any, x: Any) -> Any:
        if model == "mlp":
            return apply(p[2], jax.nn.relu(apply(p[1], jax.nn.relu(apply(p[0], x)))))
        if model == "gpt":
            x = p["t"][x] + p["p"]
            for b in p["blocks"]:
                split = (*x.shape[:2], 3, HEADS, WIDTH // HEADS)
                q, k, v = jnp.moveaxis(apply(b["qkv"], layer_norm(b["n1"], x)).reshape(split), 2, 0)
                mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
                x = x + apply(b["out"], mixed.reshape(x.shape))
                x = x + apply(b["down"], jax.nn.gelu(apply(b["up"], layer_norm(b["n2"], x))))
            return apply(p["head"], layer_norm(p["n"], x))
        x = jax.nn.relu(conv(p["stem"], x))
        for number, b in enumerate(p["blocks"]):
            stride = STAGES[number // 2][1] if number % 2 == 0 else 1
            y = jax.nn.relu(group_norm(b["n1"], conv(b["c1"], x, stride)))
            x = jax.nn.relu(group_norm(b["n2"], conv(b["c2"], y)) + conv(b["skip"], x, stride))
        return apply(p["head"], x.mean((2, 3)))

    def init() -> Callable[[], Any]:
        params, optimizer = make(), optax.adam(1e-3)
        opt_state = jax.jit(optimizer.init)(params)
        jax.block_until_ready((params, opt_state))
        x, y = data(model)

        @jax.jit
        def step(params: Any, opt_state: Any) -> Any:
            def loss(params: Any) -> Any:
                return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()

            value, grads = jax.value_and_grad(loss)(params)
            updates, opt = optimizer.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt, value

        return lambda: jax.block_until_ready(step(params, opt_state))

    return init


def equinox_side(model: str) -> Callable[[], Callable[[], Any]]:
    """Return what makes a model and a step."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    keys = iter(jax.random.split(jax.random.key(0), 200))

    class Residual(eqx.Module):
        parts: list[Any]

        def __init__(self, inputs: int, width: int, stride: int) -> None:
            self.parts = [
                eqx.nn.Conv2d(inputs, width, 3, stride, 1, use_bias=False, key=next(keys)),
                eqx.nn.GroupNorm(32, width),
                eqx.nn.Conv2d(width, width, 3, 1, 1, use_bias=False, key=next(keys)),
                eqx.nn.GroupNorm(32, width),
                eqx.nn.Conv2d(inputs, width, 1, stride, key=next(keys)),
            ]

        def __call__(self, x: Any, key: Any = None) -> Any:
            conv1, norm1, conv2, norm2, skip = self.parts
            return jax.nn.relu(norm2(conv2(jax.nn.relu(norm1(conv1(x))))) + skip(x))

    class Block(eqx.Module):
        norms: list[Any]
        layers: list[Any]

        def __init__(self) -> None:
            self.norms = [eqx.nn.LayerNorm(WIDTH), eqx.nn.LayerNorm(WIDTH)]
            sizes = ((1, 3), (1, 1), (1, 4), (4, 1))
            self.layers = [eqx.nn.Linear(WIDTH * i, WIDTH * o, key=next(keys)) for i, o in sizes]

        def __call__(self, x: Any) -> Any:
            qkv, out, up, down = map(jax.vmap, self.layers)
            norm1, norm2 = map(jax.vmap, self.norms)
            q, k, v = jnp.moveaxis(qkv(norm1(x)).reshape(len(x), 3, HEADS, -1), 1, 0)
            x = x + out(jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape))
            return x + down(jax.nn.gelu(up(norm2(x))))

    class GPT(eqx.Module):
        tokens: Any
        places: Any
        blocks: list[Any]
        norm: Any
        head: Any

        def __init__(self) -> None:
            self.tokens = eqx.nn.Embedding(TOKENS, WIDTH, key=next(keys))
            self.places = eqx.nn.Embedding(LENGTH, WIDTH, key=next(keys))
            self.blocks = [Block() for _ in range(DEPTH)]
            self.norm = eqx.nn.LayerNorm(WIDTH)
            self.head = eqx.nn.Linear(WIDTH, TOKENS, key=next(keys))

        def __call__(self, x: Any) -> Any:
            x = jax.vmap(self.tokens)(x) + self.places.weight
            for block in self.blocks:
                x = block(x)
            return jax.vmap(self.head)(jax.vmap(self.norm)(x))

    def make() -> Any:
        if model == "mlp":
            return eqx.nn.MLP(784, 10, 512, 2, key=next(keys))
        if model == "gpt":
            return GPT()
        layers: list[Any] = [
            eqx.nn.Conv2d(3, 64, 3, 1, 1, key=next(keys)),
            eqx.nn.Lambda(jax.nn.relu),
        ]
        width = 64
        for outputs, stride in STAGES:
            layers += [Residual(width, outputs, stride), Residual(outputs, outputs, 1)]
            width = outputs
        mean = eqx.nn.Lambda(lambda x: x.mean((1, 2)))
        return eqx.nn.Sequential([*layers, mean, eqx.nn.Linear(512, 10, key=next(keys))])

    def init() -> Callable[[], Any]:
        net, optimizer = make(), optax.adam(1e-3)
        opt_state = optimizer.init(eqx.filter(net, eqx.is_inexact_array))
        jax.block_until_ready((jax.tree.leaves(eqx.filter(net, eqx.is_array)), opt_state))
        x, y = data(model)

        @eqx.filter_jit
        def step(net: Any, opt_state: Any) -> Any:
            def loss(net: Any) -> Any:
                return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(net)(x), y).mean()

            value, grads = eqx.filter_value_and_grad(loss)(net)
            updates, opt = optimizer.update(grads, opt_state, eqx.filter(net, eqx.is_inexact_array))
            return eqx.apply_updates(net, updates), opt, value

        return lambda: jax.block_until_ready(step(net, opt_state)[2])

    return init


def nnx_side(model: str) -> Callable[[], Callable[[], Any]]:
    """Return what makes a model and a step."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    class MLP(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.a, self.b = nnx.Linear(784, 512, rngs=rngs), nnx.Linear(512, 512, rngs=rngs)
            self.c = nnx.Linear(512, 10, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.c(nnx.relu(self.b(nnx.relu(self.a(x)))))

    class Residual(nnx.Module):
        def __init__(self, inputs: int, width: int, stride: int, rngs: Any) -> None:
            self.conv1 = nnx.Conv(
                inputs, width, (3, 3), stride, padding=1, use_bias=False, rngs=rngs
            )
            self.norm1 = nnx.GroupNorm(width, 32, rngs=rngs)
            self.conv2 = nnx.Conv(width, width, (3, 3), 1, padding=1, use_bias=False, rngs=rngs)
            self.norm2 = nnx.GroupNorm(width, 32, rngs=rngs)
            self.skip = nnx.Conv(inputs, width, (1, 1), stride, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            y = self.norm2(self.conv2(nnx.relu(self.norm1(self.conv1(x)))))
            return nnx.relu(y + self.skip(x))

    class ResNet(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.stem = nnx.Conv(3, 64, (3, 3), 1, padding=1, rngs=rngs)
            blocks, width = [], 64
            for outputs, stride in STAGES:
                blocks += [
                    Residual(width, outputs, stride, rngs),
                    Residual(outputs, outputs, 1, rngs),
                ]
                width = outputs
            self.blocks = nnx.List(blocks)
            self.head = nnx.Linear(512, 10, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.relu(self.stem(jnp.moveaxis(x, 1, -1)))
            for block in self.blocks:
                x = block(x)
            return self.head(x.mean((1, 2)))

    class Block(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.norm1, self.norm2 = (
                nnx.LayerNorm(WIDTH, rngs=rngs),
                nnx.LayerNorm(WIDTH, rngs=rngs),
            )
            self.qkv = nnx.Linear(WIDTH, 3 * WIDTH, rngs=rngs)
            self.out = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
            self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
            self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            split = (*x.shape[:2], 3, HEADS, WIDTH // HEADS)
            q, k, v = jnp.moveaxis(self.qkv(self.norm1(x)).reshape(split), 2, 0)
            mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.reshape(x.shape))
            return x + self.down(nnx.gelu(self.up(self.norm2(x))))

    class GPT(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.tokens = nnx.Embed(TOKENS, WIDTH, rngs=rngs)
            self.places = nnx.Embed(LENGTH, WIDTH, rngs=rngs)
            self.blocks = nnx.List([Block(rngs) for _ in range(DEPTH)])
            self.norm, self.head = (
                nnx.LayerNorm(WIDTH, rngs=rngs),
                nnx.Linear(WIDTH, TOKENS, rngs=rngs),
            )

        def __call__(self, x: Any) -> Any:
            x = self.tokens(x) + self.places(jnp.arange(LENGTH))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    def init() -> Callable[[], Any]:
        net = {"mlp": MLP, "resnet": ResNet, "gpt": GPT}[model](nnx.Rngs(0))
        optimizer = nnx.Optimizer(net, optax.adam(1e-3), wrt=nnx.Param)
        jax.block_until_ready(jax.tree.leaves((nnx.state(net), nnx.state(optimizer))))
        x, y = data(model)

        @nnx.jit
        def step(net: Any, optimizer: Any) -> Any:
            def loss(net: Any) -> Any:
                return optax.softmax_cross_entropy_with_integer_labels(net(x), y).mean()

            value, grads = nnx.value_and_grad(loss)(net)
            optimizer.update(net, grads)
            return value

        return lambda: jax.block_until_ready(step(net, optimizer))

    return init


# ---- PyTorch, eager


def torch_side(model: str) -> Callable[[], Callable[[], Any]]:
    """Return what makes a model and a step."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
            self.norm1 = nn.GroupNorm(32, width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.norm2 = nn.GroupNorm(32, width)
            self.skip = nn.Conv2d(inputs, width, 1, stride)

        def forward(self, x: Any) -> Any:
            y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
            return F.relu(y + self.skip(x))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: Any) -> Any:
            split = (*x.shape[:2], 3, HEADS, WIDTH // HEADS)
            q, k, v = self.qkv(self.norm1(x)).reshape(split).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, TOKENS)

        def forward(self, x: Any) -> Any:
            return self.head(self.norm(self.blocks(self.tokens(x) + self.places.weight)))

    def make() -> Any:
        if model == "mlp":
            sizes = ((784, 512), (512, 512))
            hidden = [layer for size in sizes for layer in (nn.Linear(*size), nn.ReLU())]
            return nn.Sequential(*hidden, nn.Linear(512, 10))
        if model == "gpt":
            return GPT()
        layers: list[Any] = [nn.Conv2d(3, 64, 3, 1, 1), nn.ReLU()]
        width = 64
        for outputs, stride in STAGES:
            layers += [Residual(width, outputs, stride), Residual(outputs, outputs, 1)]
            width = outputs
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))

    def init() -> Callable[[], Any]:
        net = make()
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        x, y = map(torch.from_numpy, data(model))
        y = y.long().reshape(-1)

        def step() -> Any:
            optimizer.zero_grad()
            logits = net(x)
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return init


SIDES = {
    "funcnet": funcnet_side,
    "raw JAX": raw_side,
    "Flax NNX": nnx_side,
    "Equinox": equinox_side,
    "PyTorch": torch_side,
}


def main() -> None:
    """Print the seconds of each phase: wall clock, and of the processors."""
    side, model, started = sys.argv[1:]
    marks = [(float(started), 0.0)]

    def mark() -> None:
        marks.append((time.time(), time.process_time()))

    init = SIDES[side](model)
    mark()
    step = init()
    mark()
    for _ in range(2):
        step()
        mark()
    print(json.dumps([[b - a for a, b in zip(x, y, strict=True)] for x, y in pairwise(marks)]))


if __name__ == "__main__":
    main()
