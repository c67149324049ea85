"""Forms of attention, forward and backward: `python -m benchmarks.attention [length ...]`.

On CPUs: blocks of queries against the plain formula, with and without a causal mask, and the memory of each, from
which the thresholds in `funcnet/functional/attention/implementations.py` come. On NVIDIA GPUs, in bfloat16: the fused
kernel against both, by length, mask and layout, and PyTorch's best.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.interleave import interleave, table
from benchmarks.results_file import ResultsFile, add_json_argument
from funcnet import functional as F

CPU_SHAPES = {128: (16, 4, 4, 32), 512: (2, 8, 8, 64), 1024: (1, 8, 8, 64), 2048: (1, 4, 4, 64)}
"""Examples, heads, heads of keys and features, by length."""
GPU_SHAPES = {
    (16, 12, 12, 1024, 64): ("causal", "none", "booleans", "padding"),
    (2, 12, 12, 4096, 64): ("causal",),
    (8, 32, 8, 1024, 128): ("causal",),
    (128, 12, 12, 128, 64): ("causal",),
    (64, 12, 12, 256, 64): ("causal",),
    (32, 12, 12, 512, 64): ("causal",),
}


def masks(kind: str, batch: int, length: int) -> dict[str, Any]:
    if kind == "booleans":
        return {"attn_mask": jnp.tril(jnp.ones((length, length), bool))}
    if kind == "padding":
        lengths = length - 7 * jnp.arange(batch)
        return {"attn_mask": (jnp.arange(length) < lengths[:, None])[:, None, None]}
    return {"is_causal": kind == "causal"}


def side(form: str, arrays: list[Any], options: dict[str, Any]) -> tuple[Callable[[], Any], int]:
    """Return a call that computes value and gradients, and the bytes of its temporary arrays."""

    def attend(query: Any, key: Any, value: Any) -> Any:
        return F.scaled_dot_product_attention(
            query, key, value, enable_gqa=True, implementation=form, **options
        )

    def both(*arrays: Any) -> Any:
        output, pull = jax.vjp(attend, *arrays)
        return output, pull(output)

    run = jax.jit(both).lower(*arrays).compile()
    memory = run.memory_analysis()
    return lambda: jax.block_until_ready(run(*arrays)), memory.temp_size_in_bytes


def torch_sides(sizes: tuple[int, ...], kind: str) -> dict[str, Callable[[], Any]]:
    """Return PyTorch's kernels for a causal mask, or for none."""
    try:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:
        return {}
    if not torch.cuda.is_available() or kind not in ("causal", "none"):
        return {}
    batch, heads, kv_heads, length, features = sizes

    def draw(heads: int) -> Any:
        shape = (batch, heads, length, features)
        return torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True)

    query, key, value = draw(heads), draw(kv_heads), draw(kv_heads)

    def call(backend: Any) -> Callable[[], Any]:
        def run() -> None:
            query.grad = key.grad = value.grad = None
            with sdpa_kernel(backend):
                output = torch.nn.functional.scaled_dot_product_attention(
                    query, key, value, is_causal=kind == "causal", enable_gqa=heads != kv_heads
                )
            output.backward(output.detach())
            torch.cuda.synchronize()

        return run

    backends = SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION
    return {f"torch {backend.name.lower()}": call(backend) for backend in backends}


def compare(
    sizes: tuple[int, ...], kind: str, dtype: Any, forms: tuple[str, ...], results: ResultsFile
) -> None:
    batch, heads, kv_heads, length, features = sizes
    shapes = [(batch, n, length, features) for n in (heads, kv_heads, kv_heads)]
    arrays = [jax.random.normal(jax.random.key(n), s, dtype) for n, s in enumerate(shapes)]
    sides: dict[str, Callable[[], Any]] = {}
    memory: dict[str, float] = {}
    for form in forms:
        sides[form], used = side(form, arrays, masks(kind, batch, length))
        memory[form] = used / 2**20
    sides |= torch_sides(sizes, kind)
    gpu = jax.default_backend() == "gpu"
    clock = time.perf_counter if gpu else time.process_time
    medians = interleave(sides, rounds=10, clock=clock)
    print(table(f"{sizes} {kind}", medians, "plain", memory), flush=True)
    results.add(f"{sizes} {kind}", medians, "plain", mebibytes=memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lengths", nargs="*", type=int, help="default: all")
    add_json_argument(parser)
    args = parser.parse_args()
    lengths, gpu = args.lengths, jax.default_backend() == "gpu"
    results = ResultsFile(args.json, "attention", "wall clock" if gpu else "processor time")
    if gpu:
        for sizes, kinds in GPU_SHAPES.items():
            for kind in kinds:
                if not lengths or sizes[3] in lengths:
                    compare(sizes, kind, jnp.bfloat16, ("plain", "chunked", "fused"), results)
        return
    for length in lengths or CPU_SHAPES:
        batch, heads, kv_heads, features = CPU_SHAPES[length]
        for kind in ("causal", "none"):
            sizes = batch, heads, kv_heads, length, features
            compare(sizes, kind, jnp.float32, ("plain", "chunked"), results)


if __name__ == "__main__":
    main()
