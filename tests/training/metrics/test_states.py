"""States are pytrees: every metric under jit, vmap, scan, on a mesh and inside shard_map gives one number."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from funcnet import parallel
from funcnet.training import metrics as M

ROWS, C = 32, 4


def absolute(outputs, targets):
    return jnp.abs(outputs.max(-1) - targets)


METRICS = {
    "accuracy": (M.Accuracy(top=2), "classes"),
    "balanced": (M.Accuracy(average="balanced", classes=C), "classes"),
    "f1": (M.FBeta(C), "classes"),
    "labels": (M.Precision(C, multilabel=True), "labels"),
    "binary": (M.Recall(), "binary"),
    "confusion": (M.ConfusionMatrix(C), "classes"),
    "iou": (M.IoU(C), "classes"),
    "auc": (M.ROCAUC(C, capacity=ROWS), "classes"),
    "auc binned": (M.ROCAUC(bins=50), "binary"),
    "ap": (M.AveragePrecision(C, multilabel=True, capacity=ROWS), "labels"),
    "log loss": (M.LogLoss(), "classes"),
    "perplexity": (M.Perplexity(), "classes"),
    "calibration": (M.CalibrationError(), "classes"),
    "rmse": (M.RMSE(), "numbers"),
    "mae": (M.MAE(columns=C), "numbers"),
    "r2": (M.R2(), "numbers"),
    "pearson": (M.Pearson(columns=C), "numbers"),
    "spearman": (M.Spearman(capacity=ROWS * C), "numbers"),
    "bleu": (M.BLEU(), "tokens"),
    "mean": (M.Mean(absolute), "floats"),
    "several": (
        M.Metrics({"f1": M.FBeta(C), "both": M.Metrics([M.LogLoss(), M.IoU(C)])}),
        "classes",
    ),
}
# what is a sum of floats depends on their order in its last digits
CLOSE = {"rtol": 1e-6, "atol": 1e-7}


def data(kind):
    rng = np.random.default_rng(5)
    scores = rng.standard_normal((ROWS, C)).astype(np.float32)
    true = rng.integers(0, C, ROWS).astype(np.int32)
    return {
        "classes": (scores, true),
        "labels": (scores, (rng.random((ROWS, C)) < 0.5).astype(np.int32)),
        "binary": (scores[:, 0], true % 2),
        "numbers": (scores, scores + rng.standard_normal((ROWS, C)).astype(np.float32)),
        "floats": (scores, scores[:, 0] * 2),
        "tokens": (rng.integers(0, 3, (ROWS, 9)), rng.integers(0, 3, (ROWS, 9))),
    }[kind] + (rng.random(ROWS) < 0.7,)


def same(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), found, expected)


def batches(parts, number):
    return [part.reshape(number, -1, *part.shape[1:]) for part in parts]


@pytest.mark.product
@pytest.mark.parametrize("name", METRICS)
def test_every_transform_gives_one_number(name):
    metric, kind = METRICS[name]
    parts = data(kind)
    expected = metric.measure(*parts)
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(expected))
    stacked = batches(parts, 4)

    def scanned(*stacked):
        step = lambda state, batch: (metric.update(state, *batch), None)
        return metric.compute(jax.lax.scan(step, metric.init(), stacked)[0])

    same(jax.jit(scanned)(*stacked), expected)
    # vmap: four states, merged
    many = jax.jit(jax.vmap(lambda *batch: metric.update(metric.init(), *batch)))(*stacked)
    one, two, three, four = (jax.tree.map(lambda leaf, i=i: leaf[i], many) for i in range(4))
    same(metric.compute(metric.merge(metric.merge(one, two), metric.merge(three, four))), expected)
    each = jax.jit(jax.vmap(metric.compute))(many)
    same(jax.tree.map(lambda leaf: leaf[1], each), metric.measure(*(part[1] for part in stacked)))


@pytest.mark.product
@pytest.mark.parametrize("name", METRICS)
def test_a_mesh_gives_the_number_of_one_device(name):
    metric, kind = METRICS[name]
    parts = data(kind)
    expected = metric.measure(*parts)
    mesh = parallel.mesh(data=2, model=2, devices=jax.devices()[:4])
    spread = NamedSharding(mesh, P(("data", "model")))
    placed = jax.device_put(parts, spread)
    state = jax.jit(metric.update)(metric.init(), *placed)
    same(metric.compute(state), expected)

    axes = ("data", "model")

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=P(axes), out_specs=P())
    def counted(*parts):
        return metric.reduce(metric.update(metric.init(), *parts), axes)

    same(metric.compute(counted(*placed)), expected)

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=P("data"), out_specs=P())
    def along_one_axis(*parts):
        return metric.reduce(metric.update(metric.init(), *parts), "data")

    same(
        metric.compute(along_one_axis(*jax.device_put(parts, NamedSharding(mesh, P("data"))))),
        expected,
    )


@pytest.mark.parametrize("name", METRICS)
def test_settings_are_values_and_states_keep_their_types(name):
    metric, kind = METRICS[name]
    assert pickle.loads(pickle.dumps(metric)) == metric
    assert hash(pickle.loads(pickle.dumps(metric))) == hash(metric)
    state = metric.init()
    before = jax.tree.map(lambda leaf: np.array(leaf), state)
    after = jax.eval_shape(metric.update, state, *data(kind))
    assert jax.tree.map(jax.typeof, state) == jax.tree.map(
        lambda leaf: jax.typeof(jnp.zeros(leaf.shape, leaf.dtype)), after
    )
    jax.tree.map(np.testing.assert_array_equal, state, before)
    again = jax.eval_shape(metric.merge, after, after)
    assert again == after


def test_several_share_nothing():
    metric = M.Metrics({"a": M.Accuracy(), "b": M.Accuracy()})
    state = metric.init()
    state["a"] = M.Accuracy().update(state["a"], jnp.eye(2), jnp.arange(2))
    assert float(metric.compute(state)["a"]) == 1.0
    assert np.isnan(metric.compute(state)["b"])
    assert metric.problems(state) == []


def test_a_loop_compiles_once():
    metric = M.Metrics([M.ROCAUC(C, capacity=64), M.R2()][:1])
    traces = []

    @jax.jit
    def step(state, *batch):
        traces.append(1)
        return metric.update(state, *batch)

    state = metric.init()
    for _ in range(3):
        state = step(state, *data("classes"))
    assert len(traces) == 1


def test_in_64_bits(x64):
    for metric, kind in METRICS.values():
        outputs, targets, mask = data(kind)
        wide = outputs.astype(np.float64) if outputs.dtype == np.float32 else outputs
        if kind in ("numbers", "floats"):
            targets = targets.astype(np.float64)
        state = jax.eval_shape(metric.update, metric.init(), wide, targets, mask)
        jax.eval_shape(metric.compute, state)
        assert jax.tree.map(lambda leaf: leaf.dtype, state) == jax.tree.map(
            lambda leaf: leaf.dtype, metric.init()
        )
