"""Convolution, pooling and resizing against plain JAX and PyTorch: ``python -m benchmarks.layers_spatial``.

Forward, and gradients of everything, on one thread, the sides in turn. Plain JAX is what comes first to mind:
``lax.conv_general_dilated``, ``lax.reduce_window``, ``jax.image.resize``; else the function says.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false " + os.environ.get("XLA_FLAGS", "")

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.interleave import interleave, table
from funcnet import functional as F

NCHW = ("NCHW", "OIHW", "NCHW")


def compare(title: str, ours: Callable, plain: Callable, theirs: Callable, *shapes: tuple) -> None:
    """Print forward and gradients of one function of arrays of some shapes, on all sides."""
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]
    tensors = [torch.tensor(np.asarray(array), requires_grad=True) for array in arrays]

    def forward(function: Callable) -> Callable[[], Any]:
        run = jax.jit(function)
        return lambda: jax.block_until_ready(run(*arrays))

    def gradients(function: Callable) -> Callable[[], Any]:
        def loss(*arrays: Any) -> Any:
            return jnp.sum(function(*arrays) ** 2)

        run = jax.jit(jax.grad(loss, argnums=tuple(range(len(arrays)))))
        return lambda: jax.block_until_ready(run(*arrays))

    def torch_forward() -> None:
        with torch.no_grad():
            theirs(*tensors)

    sides = {"plain JAX": forward(plain), "funcnet": forward(ours), "PyTorch": torch_forward}
    print(table(f"{title}: forward", interleave(sides, rounds=7), "plain JAX"))
    sides = {
        "plain JAX": gradients(plain),
        "funcnet": gradients(ours),
        "PyTorch": lambda: torch.autograd.grad((theirs(*tensors) ** 2).sum(), tensors),
    }
    print(table(f"{title}: gradients", interleave(sides, rounds=7), "plain JAX"))


def convolutions() -> None:
    import torch.nn.functional as TF

    def conv(groups: int = 1) -> Callable:
        return lambda x, w: lax.conv_general_dilated(
            x, w, (1, 1), [(1, 1)] * 2, dimension_numbers=NCHW, feature_group_count=groups
        )

    def transposed(x: Any, w: Any) -> Any:
        w = jnp.flip(w, (2, 3)).swapaxes(0, 1)
        return lax.conv_general_dilated(
            x, w, (1, 1), [(2, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=NCHW
        )

    compare(
        "conv2d, depthwise 3x3, 8x64x56x56",
        lambda x, w: F.conv2d(x, w, padding=1, groups=64),
        conv(64),
        lambda x, w: TF.conv2d(x, w, padding=1, groups=64),
        (8, 64, 56, 56),
        (64, 1, 3, 3),
    )
    compare(
        "conv2d, 64 to 64, 3x3, 4x64x56x56",
        lambda x, w: F.conv2d(x, w, padding=1),
        conv(),
        lambda x, w: TF.conv2d(x, w, padding=1),
        (4, 64, 56, 56),
        (64, 64, 3, 3),
    )
    compare(
        "conv_transpose2d, 64 to 32, 4x4, stride 2, 8x64x32x32",
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
        transposed,
        lambda x, w: TF.conv_transpose2d(x, w, stride=2, padding=1),
        (8, 64, 32, 32),
        (64, 32, 4, 4),
    )


def pooling() -> None:
    import torch.nn.functional as TF

    def window(initial: float, operation: Any, k: int, s: int, p: int) -> Callable:
        padding = [(0, 0), (0, 0), (p, p), (p, p)]
        return lambda x: lax.reduce_window(
            x, np.float32(initial), operation, (1, 1, k, k), (1, 1, s, s), padding
        )

    for k, s, p in ((2, 2, 0), (3, 2, 1)):
        compare(
            f"max_pool2d({k}, {s}, {p}), 16x64x56x56",
            lambda x, k=k, s=s, p=p: F.max_pool2d(x, k, s, p),
            window(-np.inf, lax.max, k, s, p),
            lambda x, k=k, s=s, p=p: TF.max_pool2d(x, k, s, p),
            (16, 64, 56, 56),
        )
    compare(
        "avg_pool2d(3, 2), 16x64x56x56",
        lambda x: F.avg_pool2d(x, 3, 2),
        lambda x: window(0.0, lax.add, 3, 2, 0)(x) / 9,
        lambda x: TF.avg_pool2d(x, 3, 2),
        (16, 64, 56, 56),
    )


def adaptive_pooling() -> None:
    """Plain JAX: each window's elements gathered, and a sum or maximum over them."""
    import torch.nn.functional as TF

    def gathered(reduce: Callable, n: int) -> Callable:
        def along(x: Any, axis: int) -> Any:
            size = x.shape[axis]
            starts = np.arange(n) * size // n
            ends = -(-(np.arange(n) + 1) * size // n)
            offsets = np.arange((ends - starts).max())
            inside = offsets < (ends - starts)[:, None]
            taken = jnp.take(x, np.minimum(starts[:, None] + offsets, size - 1), axis)
            shape = (*inside.shape, *(1,) * (x.ndim - axis - 1))
            return reduce(taken, axis=axis + 1, where=inside.reshape(shape))

        return lambda x: along(along(x, 3), 2)

    for size, n in ((32, 7), (64, 28)):
        compare(
            f"adaptive_avg_pool2d, {size} to {n}, 8x64",
            lambda x, n=n: F.adaptive_avg_pool2d(x, n),
            gathered(jnp.mean, n),
            lambda x, n=n: TF.adaptive_avg_pool2d(x, n),
            (8, 64, size, size),
        )
    compare(
        "adaptive_max_pool2d, 32 to 7, 8x64",
        lambda x: F.adaptive_max_pool2d(x, 7),
        gathered(lambda x, **settings: jnp.max(x, initial=-np.inf, **settings), 7),
        lambda x: TF.adaptive_max_pool2d(x, 7),
        (8, 64, 32, 32),
    )


def sampling() -> None:
    """Plain JAX: ``jax.scipy.ndimage.map_coordinates`` of each image and channel."""
    import torch.nn.functional as TF

    def plain(image: Any, grid: Any) -> Any:
        sizes = np.array(image.shape[:1:-1], np.float32)
        places = jnp.moveaxis(((grid + 1) * sizes - 1) / 2, -1, 1)[:, ::-1]
        one = jax.vmap(lambda x, at: jax.scipy.ndimage.map_coordinates(x, list(at), 1), (0, None))
        return jax.vmap(one)(image, places)

    compare(
        "grid_sample, 4x32x56x56",
        lambda x, grid: F.grid_sample(x, jnp.tanh(grid), align_corners=False),
        lambda x, grid: plain(x, jnp.tanh(grid)),
        lambda x, grid: TF.grid_sample(x, grid.tanh(), align_corners=False),
        (4, 32, 56, 56),
        (4, 56, 56, 2),
    )


def unpooling() -> None:
    """Plain JAX: a scatter that says that no index comes twice."""
    import torch.nn.functional as TF

    shape, places = (4, 16, 28, 28), np.random.default_rng(0).permutation(56 * 56)[: 28 * 28]
    where = jnp.broadcast_to(places.reshape(28, 28), shape)
    windows: Any = 2

    def plain(x: Any) -> Any:
        output = jnp.zeros((4, 16, 56 * 56), x.dtype)
        output = output.at[..., places].set(x.reshape(4, 16, -1), unique_indices=True)
        return output.reshape(4, 16, 56, 56)

    compare(
        "max_unpool2d, 4x16x28x28",
        lambda x: F.max_unpool2d(x, where, windows),
        plain,
        lambda x: TF.max_unpool2d(x, torch_indices(where), windows),
        shape,
    )


def torch_indices(where: Any) -> Any:
    """Return indices as PyTorch takes them."""
    import torch

    return torch.tensor(np.asarray(where), dtype=torch.int64)


def resizing() -> None:
    import torch.nn.functional as TF

    for mode, method in (("bilinear", "linear"), ("bicubic", "cubic"), ("nearest", "nearest")):
        compare(
            f"interpolate, {mode}, twice the size, 8x64x32x32",
            lambda x, mode=mode: F.interpolate(x, scale_factor=2, mode=mode),
            lambda x, method=method: jax.image.resize(x, (8, 64, 64, 64), method, antialias=False),
            lambda x, mode=mode: TF.interpolate(x, scale_factor=2, mode=mode),
            (8, 64, 32, 32),
        )
    compare(
        "interpolate, bilinear, 32 to 50, 8x64x32x32",
        lambda x: F.interpolate(x, 50, mode="bilinear"),
        lambda x: jax.image.resize(x, (8, 64, 50, 50), "linear", antialias=False),
        lambda x: TF.interpolate(x, (50, 50), mode="bilinear"),
        (8, 64, 32, 32),
    )


if __name__ == "__main__":
    convolutions()
    pooling()
    adaptive_pooling()
    unpooling()
    sampling()
    resizing()
