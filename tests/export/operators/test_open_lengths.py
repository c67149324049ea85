"""Rules on arrays whose lengths are open: one file, run at several lengths."""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.export.operators.running import difference

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

W = np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4)
KERNEL = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 4, 2)

FUNCTIONS = {
    "sums": lambda x, i: (x.sum(), x.sum(0), x.sum((1, 2)), x.mean(0), i.sum(), jnp.prod(x, 0)),
    "extremes": lambda x, i: (
        x.max(0),
        x.min((0, 2)),
        i.max(),
        (x > 0).any(0),
        (x > 0).all((0, 1)),
    ),
    "places": lambda x, i: (jnp.argmax(x, 0), jnp.argmin(x, 1), jnp.argmax(x, 2)),
    "running": lambda x, i: (jnp.cumsum(x, 0), jnp.cumsum(i), lax.cummax(x, 2), lax.cumprod(x, 1)),
    "products": lambda x, i: (
        x @ W,
        jnp.einsum("nai,nbi->nab", x, x),
        jnp.einsum("nai,nbj->ij", x, x),
    ),
    "more products": lambda x, i: (jnp.einsum("nai,maj->nmij", x, x), x[:, 0] @ x[:, 1].T, i @ i),
    "convolution": lambda x, i: lax.conv(x, KERNEL, (2,), "SAME"),
    "windows": lambda x, i: (
        lax.reduce_window(x, 0.0, lax.add, (1, 2, 2), (1, 1, 2), "SAME"),
        lax.reduce_window(x, -jnp.inf, lax.max, (2, 1, 2), (1, 1, 1), [(1, 0), (0, 0), (0, 0)]),
    ),
    "take": lambda x, i: (
        x[i],
        x[:, i],
        jnp.asarray(W)[i],
        x[jnp.arange(x.shape[0]), i],
        x.at[i].get(mode="clip"),
    ),
    "along": lambda x, i: jnp.take_along_axis(
        x, jnp.broadcast_to(i[:, None, None], (x.shape[0], 1, 6)), 1
    ),
    "put": lambda x, i: (x.at[i].add(x), x.at[:, i].max(1.0), jnp.zeros((4, 6)).at[i].add(x[:, 0])),
    "put in step": lambda x, i: (x.at[jnp.arange(x.shape[0]), i].set(0.0), x.at[i, i].add(1.0)),
    "computed slices": lambda x, i: (
        lax.dynamic_slice_in_dim(x, i[0], 2, 1),
        lax.dynamic_index_in_dim(x, i[0], 0),
        lax.dynamic_update_slice(x, x[:1] * 0, (i[0], 0, 0)),
    ),
    "slices": lambda x, i: (x[1:], x[:-1], x[::2], x[:, 1:3], x[::-1], x[-1:], x[:, :, ::2]),
    "padding": lambda x, i: (
        jnp.pad(x, ((1, 2), (0, 0), (0, 1))),
        lax.pad(x, 1.0, ((0, 0, 1), (0, -1, 2), (1, 1, 0))),
        lax.pad(x, 0.0, ((-1, 2, 0), (0, 0, 0), (0, 0, 0))),
    ),
    "joins": lambda x, i: (
        jnp.concatenate([x, x[:1], x]),
        jnp.stack([x, x], 1),
        jnp.tile(x, (2, 1, 2)),
    ),
    "shapes": lambda x, i: (
        x.reshape(-1),
        x.reshape(x.shape[0], -1),
        x.reshape(-1, 2, 3),
        x.swapaxes(0, 2),
        jnp.broadcast_to(x[:1], x.shape),
        jnp.broadcast_to(x[0, 0, 0], x.shape),
    ),
    "counts": lambda x, i: (
        lax.broadcasted_iota(jnp.int32, (x.shape[0], 3), 0) + 1,
        lax.broadcasted_iota(jnp.float32, (3, x.shape[0]), 0),
        jnp.arange(2 * x.shape[0] + 1),
        jnp.eye(x.shape[0]),
        jnp.tril(jnp.ones((x.shape[0], x.shape[0]))),
        jnp.full((x.shape[0],), x.shape[0]),
    ),
    "order": lambda x, i: (jnp.sort(x, 0), jnp.argsort(i), lax.top_k(x, 3)[1], jnp.median(x, 2)),
    "elementwise": lambda x, i: (
        x + x[:1],
        x * i[:, None, None],
        jnp.where(x > 0, x, i[:, None, None]),
        jax.nn.softmax(x, 0),
    ),
}


def export(function, *specs):
    from funcnet.export.flat import flatten_entry
    from funcnet.export.onnx.exporting import build_graph
    from funcnet.export.operators import RULES
    from funcnet.export.specs import entry

    def flat(params, state, *arrays):
        return jax.tree.leaves(function(*arrays)), state

    return build_graph(flatten_entry(entry(flat, *specs), {}, {}), RULES)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_file_serves_every_length(name):
    from funcnet.export.onnx.model_file import write_model
    from funcnet.export.onnx.runtime import run_model
    from funcnet.export.specs import spec

    rng = np.random.default_rng(7)
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    try:
        graph = export(
            FUNCTIONS[name], spec(("n", 4, 6), jnp.float32, "x"), spec(("n",), jnp.int32, "i")
        )
        runs, wanted = [], []
        for length in (1, 2, 3, 4):
            x = rng.standard_normal((length, 4, 6)).astype(np.float32)
            i = rng.integers(0, length, length).astype(np.int32)
            if "put in step" in name or "set" in name:
                i = rng.permutation(length).astype(np.int32)
            runs.append({"x": x, "i": i})
            wanted.append(jax.tree.leaves(jax.jit(FUNCTIONS[name])(x, i)))
    finally:
        jax.config.update("jax_numpy_dtype_promotion", "strict")
    with tempfile.TemporaryDirectory() as folder:
        path = write_model(graph, Path(folder), "open.onnx", opset=20)[0]
        onnx.checker.check_model(str(path), full_check=True)
        results = run_model(path, runs)
    for length, want, have in zip((1, 2, 3, 4), wanted, results, strict=True):
        for number, pair in enumerate(zip(want, have, strict=True)):
            text = difference(np.asarray(pair[0]), pair[1], 1e-5, 1.0)
            assert text is None, f"output {number} at length {length}: {text}"
