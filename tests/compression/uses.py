"""What is done with a model once it is there, each as a check that the rewritten model comes out of it unchanged.

A check is given a `Made`: the rewritten ``(module, params, state)``, an input, and the output of a plain call.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import funcnet as fn
from funcnet import checkpoint, export, nn, parallel
from funcnet.core.paths import leaves_with_paths

MESH = parallel.mesh(data=-1)


@dataclass(frozen=True)
class Made:
    """A model that was rewritten.

    Attributes:
        module: its description.
        params: its parameters.
        state: its buffers.
        input: a batch.
        output: of a plain call.
        folder: for files.
        near: how much an output may differ, relative to the largest: floats added up in another order; where
            activations are rounded to integers, such a difference may move one by a whole step.
    """

    module: nn.Module
    params: Any
    state: Any
    input: jax.Array
    output: jax.Array
    folder: Path
    near: float = 1e-5

    @property
    def net(self):
        return fn.functionalize(self.module)

    def same(self, output, expected=None, near=None):
        """Compare with the plain call."""
        expected = self.output if expected is None else expected
        assert output.shape == expected.shape
        assert output.dtype == expected.dtype
        scale = float(jnp.abs(expected).max())
        bound = self.near if near is None else near
        np.testing.assert_allclose(output, expected, rtol=0, atol=bound * scale)


USES: dict[str, Callable[[Made], None]] = {}


def use(function: Callable[[Made], None]):
    USES[function.__name__] = function
    return function


@use
def jit(made):
    output, state = jax.jit(made.net.apply)(made.params, made.state, made.input)
    made.same(output)
    assert jax.tree.structure(state) == jax.tree.structure(made.state)


@use
def vmap(made):
    twice = jnp.stack([made.input, made.input[::-1]])
    outputs, _ = jax.vmap(made.net.apply, (None, None, 0))(made.params, made.state, twice)
    made.same(outputs[0])
    made.same(outputs[1], made.output[::-1])


@use
def grad(made):
    """The slope along a direction is that of the loss, and that of jit is the same."""

    def loss(params):
        return jnp.sum(made.net.apply(params, made.state, made.input)[0] ** 2)

    grads = jax.grad(loss)(made.params)
    assert jax.tree.structure(grads) == jax.tree.structure(made.params)
    for (path, slope), (_, slope_of_jit) in zip(
        leaves_with_paths(grads),
        leaves_with_paths(jax.jit(jax.grad(loss))(made.params)),
        strict=True,
    ):
        assert np.isfinite(slope).all(), path
        assert np.any(slope), path
        made.same(slope_of_jit, slope, near=max(1e-4, 10 * made.near))


@use
def no_other_leaves(made):
    """Params and state hold arrays, and the gradient's dtype is theirs."""
    for path, leaf in leaves_with_paths((made.params, made.state)):
        assert isinstance(leaf, jax.Array), path
    for path, leaf in leaves_with_paths(made.params):
        assert jnp.issubdtype(leaf.dtype, jnp.floating), path


@use
def capture(made):
    (output, seen), _ = fn.capture(made.net, "*").apply(made.params, made.state, made.input)
    made.same(output)
    whole, _ = fn.capture(made.net, "*").apply(made.params, made.state, made.input)
    assert list(whole[1]) == list(seen)
    last = [value for value in seen.values() if getattr(value, "shape", None) == output.shape]
    made.same(last[-1])


@use
def mesh(made):
    sharded = parallel.shard(made.net, MESH, {"*": parallel.fsdp(smallest=1)})
    params, state = map(sharded.placement.kept, (made.params, made.state))
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves((params, state)))
    x = jax.device_put(made.input, parallel.batch_sharding(MESH))
    output, left = jax.jit(sharded.apply)(params, state, x)
    made.same(output)
    for (path, leaf), (_, before) in zip(
        leaves_with_paths(left), leaves_with_paths(state), strict=True
    ):
        assert leaf.sharding.is_equivalent_to(before.sharding, leaf.ndim), path


@use
def shard_map(made):
    rows = PartitionSpec("data")
    run = jax.shard_map(
        lambda params, state, x: made.net.apply(params, state, x)[0],
        mesh=MESH,
        in_specs=(PartitionSpec(), PartitionSpec(), rows),
        out_specs=rows,
    )
    made.same(jax.jit(run)(made.params, made.state, made.input))


@use
def scan(made):
    def step(count, x):
        return count + 1, made.net.apply(made.params, made.state, x)[0]

    _, outputs = jax.lax.scan(step, 0, jnp.stack([made.input, made.input]))
    made.same(outputs[1])


@use
def mixed_precision(made):
    output, _ = fn.mixed_precision(made.net).apply(made.params, made.state, made.input)
    made.same(output, near=max(3e-2, 3 * made.near))  # bfloat16 has 8 bits


@use
def weights(made):
    path = checkpoint.save_weights(
        made.folder / "w.safetensors", made.module, made.params, made.state
    )
    found = checkpoint.load_weights(path, made.module)
    equal((made.params, made.state), found)


@use
def tree(made):
    path = checkpoint.save(made.folder / "tree.safetensors", (made.params, made.state))
    equal((made.params, made.state), checkpoint.load(path))


@use
def state_dict(made):
    named = fn.state_dict(made.module, made.params, made.state)
    equal((made.params, made.state), fn.load_state_dict(made.module, named))


@use
def pickled(made):
    module = pickle.loads(pickle.dumps(made.module))
    assert repr(module) == repr(made.module)
    made.same(fn.functionalize(module).apply(made.params, made.state, made.input)[0])


@use
def fresh(made):
    """The description alone is a model too: it draws arrays of the same names, shapes and dtypes."""
    found = made.net.init(jax.random.key(0))
    assert jax.tree.map(told, found) == jax.tree.map(told, (made.params, made.state))


@use
def shown(made):
    """The summary and the repr of a rewritten model name its layers."""
    text = str(fn.summary(made.net, made.input))
    for path in {path.partition(".")[0] for path, _ in leaves_with_paths(made.params)}:
        assert path in text
    assert repr(made.module).count("(") == repr(made.module).count(")")


@use
def artifact(made):
    spec = export.spec(("batch", *made.input.shape[1:]), made.input.dtype)
    path = export.save(made.folder / "m.fnx", made.net, made.params, made.state, spec, sizes=[])
    made.same(jnp.asarray(export.load(path)(np.asarray(made.input))))


@use
def onnx(made):
    """ONNX Runtime computes the same: the exporter compares before it keeps a file."""
    pytest.importorskip("onnxruntime")
    spec = export.spec(("batch", *made.input.shape[1:]), made.input.dtype)
    report = export.onnx(made.folder / "m.onnx", made.net, made.params, made.state, spec)
    quantized = [leaf for leaf in jax.tree.leaves(made.state) if leaf.dtype == jnp.int8]
    if quantized:
        assert report.operators.get("DequantizeLinear", 0) >= 1


def told(leaf):
    return leaf.shape, leaf.dtype.name


def equal(ours, theirs):
    """Assert that two trees are the same, bit for bit."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for (path, one), (_, other) in zip(
        leaves_with_paths(ours), leaves_with_paths(theirs), strict=True
    ):
        assert told(one) == told(other), path
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), path
