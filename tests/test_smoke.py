"""The ten-second check: `pytest tests/test_smoke.py -n 0`. One small use of every part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import checkpoint, data, nn, optim, training, transforms
from funcnet import functional as F


class Net(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(8, 2)

    def __call__(self, x):
        return self.head(self.dropout(F.relu(self.norm(self.inner(x)))))


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 4), np.float32)
    dataset = data.ArrayDataset({"x": x, "y": (x.sum(1) > 0).astype(np.int32)})
    loader = data.DataLoader(dataset, batch_size=16, shuffle=True)
    net, optimizer = fn.functionalize(Net()), optim.adamw(0.03)
    run = training.TrainState.create(net, optimizer, jax.random.key(0))
    objective = training.supervised(
        net, F.cross_entropy, inputs="x", targets="y", metrics={"accuracy": training.accuracy}
    )
    run, history = training.fit(objective, optimizer, run, loader, epochs=10, progress=False)
    return net, run, history


def test_training_learns(trained):
    _, run, history = trained
    assert history.series("train/accuracy")[-1] > 0.85
    assert int(run.state["norm"]["num_batches_tracked"]) == 40


def test_weights_come_back(trained, tmp_path):
    net, run, _ = trained
    path = checkpoint.save_weights(tmp_path / "net.safetensors", Net(), run.params, run.state)
    params, state = checkpoint.load_weights(path, Net())
    x = jnp.ones((3, 4))
    np.testing.assert_array_equal(
        net.apply(params, state, x)[0], fn.bind(Net(), run.params, run.state)(x)
    )


def test_transforms_compose(trained):
    net, run, _ = trained

    def loss(params, x):
        return (net.apply(params, run.state, x)[0] ** 2).sum()

    per_sample = transforms.vmap(transforms.grad(loss), (None, 0))(run.params, jnp.ones((3, 1, 4)))
    assert per_sample["head"]["weight"].shape == (3, 2, 8)


def test_mistakes_are_told():
    net = fn.functionalize(Net())
    params, state = net.init(jax.random.key(0))
    with pytest.raises(fn.errors.UnboundModuleError, match="functionalize"):
        Net()(jnp.ones((1, 4)))
    with pytest.raises(fn.errors.MissingKeyError, match="dropout"):
        net.apply(params, state, jnp.ones((2, 4)), train=True)
    with pytest.raises(fn.errors.ParameterTreeError, match=r"head\.weight"):
        net.apply({"inner": params["inner"]}, state, jnp.ones((2, 4)))


def test_the_summary_counts():
    assert fn.summary(Net(), (2, 4)).parameters == 4 * 8 + 8 + 2 * 8 + 8 * 2 + 2
