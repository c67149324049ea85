"""update_batch_norm: PyTorch's update_bn, on filled batches, in stacks, on meshes, for averages."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, nn, optim, parallel, training
from funcnet import functional as F
from tests.sampling import sampled


def model(library, momentum):
    return library.Sequential(
        library.Conv2d(2, 3, 2),
        library.BatchNorm2d(3, momentum=momentum),
        library.ReLU(),
        library.Flatten(),
        library.BatchNorm1d(12, momentum=0.0),
        library.Linear(12, 4),
        library.BatchNorm1d(4, track_running_stats=False),
        library.BatchNorm1d(4, affine=False, momentum=momentum),
    )


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((11, 2, 3, 3)) * 2 + 1).astype(np.float32)


@pytest.mark.parametrize("momentum", [0.1, None, 0.0])
def test_statistics_are_pytorchs(momentum, images):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs, ours = model(torch.nn, momentum), model(nn, momentum)
    theirs[1].running_mean += 7
    params, state = fn.load_state_dict(ours, {k: v.numpy() for k, v in theirs.state_dict().items()})
    batches = [images[:4], images[4:8], images[8:]]
    torch.optim.swa_utils.update_bn([torch.tensor(batch) for batch in batches], theirs)
    net = fn.functionalize(ours)
    before = jax.tree.map(np.array, state)
    new = training.update_batch_norm(net, params, state, batches)
    jax.tree.map(np.testing.assert_array_equal, state, before)  # what was given stays
    expected = fn.state_dict(ours, params, new)
    for name, tensor in theirs.state_dict().items():
        # float32, means of means
        np.testing.assert_allclose(expected[name], tensor, rtol=2e-6, atol=1e-6, err_msg=name)


def test_rows_that_fill_a_batch_do_not_count(images):
    net = fn.functionalize(model(nn, 0.1))
    arrays = net.init(jax.random.key(0))
    exact = training.update_batch_norm(net, *arrays, [images[:4], images[4:8], images[8:]])
    loader = data.DataLoader(data.ArrayDataset({"image": images}), batch_size=4, pad_last=True)
    filled = training.update_batch_norm(net, *arrays, loader)
    jax.tree.map(np.testing.assert_array_equal, exact, filled)
    named = data.DataLoader(data.ArrayDataset({"x": images, "y": np.arange(11)}), batch_size=4)
    for inputs in ("x", lambda batch: batch["x"]):
        same = training.update_batch_norm(net, *arrays, named, inputs=inputs)
        jax.tree.map(np.testing.assert_array_equal, exact, same)
    pairs = [(images[a : a + 4], None) for a in (0, 4, 8)]
    jax.tree.map(
        np.testing.assert_array_equal, exact, training.update_batch_norm(net, *arrays, pairs)
    )


@pytest.mark.parametrize("rules", [None, {"*weight": "fsdp"}], ids=["whole", "in parts"])
def test_on_a_mesh(rules, images, request):
    sampled(request, rules is not None)
    net = fn.functionalize(model(nn, 0.1))
    arrays = net.init(jax.random.key(0))
    exact = training.update_batch_norm(net, *arrays, [images[:4], images[4:8], images[8:]])
    mesh = parallel.mesh(data=-1)
    loader = data.DataLoader(data.ArrayDataset({"image": images}), batch_size=4)
    spread = training.update_batch_norm(net, *arrays, loader, mesh=mesh, rules=rules)
    for one, other in zip(jax.tree.leaves(spread), jax.tree.leaves(exact), strict=True):
        # sums over devices
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6)
    assert jax.tree.leaves(spread)[0].sharding.device_set == set(mesh.devices.flat)


class Block(nn.Module):
    def __init__(self):
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)

    def __call__(self, x):
        return self.dropout(self.norm(x))


def test_in_stacks_with_dropout_and_in_16_bits():
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    stacked = nn.Sequential(nn.BatchNorm1d(4), nn.Repeat(Block(), 2))
    net = fn.functionalize(stacked)
    arrays = net.init(jax.random.key(0))
    state = training.update_batch_norm(net, *arrays, [x, x + 1], key=jax.random.key(1))
    assert state["1"]["module"]["norm"]["num_batches_tracked"].tolist() == [2, 2]
    np.testing.assert_allclose(state["0"]["running_mean"], x.mean(0) + 0.5, rtol=1e-5, atol=1e-6)
    other = training.update_batch_norm(net, *arrays, [x, x + 1], key=jax.random.key(2))
    means = [s["1"]["module"]["norm"]["running_mean"][1] for s in (state, other)]
    assert (means[0] != means[1]).any()
    with pytest.raises(fn.errors.MissingKeyError):
        training.update_batch_norm(net, *arrays, [x])
    narrow = fn.mixed_precision(fn.functionalize(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))))
    params, state = narrow.init(jax.random.key(0))
    state = training.update_batch_norm(narrow, params, state, [x])
    assert state["1"]["running_mean"].dtype == jnp.float32
    made = x @ np.asarray(params["0"]["weight"]).T + np.asarray(params["0"]["bias"])
    # bfloat16 has 8 bits
    np.testing.assert_allclose(state["1"]["running_mean"], made.mean(0), atol=0.02)


def test_the_average_of_a_run_is_evaluated_with_statistics_of_its_own(images, request):
    sampled(request)
    net = fn.functionalize(
        nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    )
    objective = training.supervised(net, F.cross_entropy, inputs="image", targets="label")
    labels = np.arange(11) % 3
    loader = data.DataLoader(data.ArrayDataset({"image": images, "label": labels}), batch_size=4)
    optimizer = optim.average(optim.adam(0.01), optim.schedules.ema_decay(0.9), start=1)
    run = training.TrainState.create(net, optimizer, jax.random.key(0))
    run, _ = training.fit(objective, optimizer, run, loader, epochs=3, progress=False)
    mean = run.opt_state.average
    state = training.update_batch_norm(net, mean, run.state, loader)
    hidden = images.reshape(11, -1) @ np.asarray(mean["1"]["weight"]).T + np.asarray(
        mean["1"]["bias"]
    )
    parts = [hidden[:4].mean(0), hidden[4:8].mean(0), hidden[8:].mean(0)]
    np.testing.assert_allclose(state["2"]["running_mean"], np.mean(parts, 0), rtol=1e-4, atol=1e-5)
    found = training.evaluate(objective, replace(run, params=mean, state=state), loader)
    assert np.isfinite(found["loss"])


def test_without_batch_norms_and_without_batches(images):
    net = fn.functionalize(nn.Flatten())
    assert training.update_batch_norm(net, {}, {}, [images]) == {}
    net = fn.functionalize(nn.BatchNorm2d(2))
    arrays = net.init(jax.random.key(0))
    with pytest.raises(ValueError, match="batches is empty"):
        training.update_batch_norm(net, *arrays, [])
    with pytest.raises(TypeError, match="batches"):
        training.update_batch_norm(net, *arrays, images)
    with pytest.raises(TypeError, match="the module itself"):
        training.update_batch_norm(net.module, *arrays, [images])
