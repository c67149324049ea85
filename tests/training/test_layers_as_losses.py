"""Losses that are layers, and losses that the model itself computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, nn, optim, training
from funcnet import functional as F
from tests.training.test_averages import CLASSES, FEATURES, NET, WEIGHT, samples


@pytest.mark.parametrize("pad_last", [False, True])
def test_a_layer_with_weights_of_classes_is_a_loss_and_a_metric(pad_last):
    layer = nn.CrossEntropyLoss(weight=WEIGHT)
    net = fn.functionalize(nn.Linear(FEATURES, CLASSES))
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    objective = training.supervised(net, layer, inputs="x", targets="class", metrics={"ce": layer})
    loader = data.DataLoader(data.ArrayDataset(samples()), 4, pad_last=pad_last)
    found = training.evaluate(objective, run, loader, metrics={"again": layer})
    logits = net.apply(run.params, run.state, samples()["x"])[0]
    expected = float(F.cross_entropy(logits, samples()["class"], jnp.asarray(WEIGHT)))
    assert found == pytest.approx(dict.fromkeys(("loss", "ce", "again"), expected), rel=2e-6)


def test_a_layer_with_parameters_belongs_to_the_model():
    with pytest.raises(ValueError, match="make it a part of the model"):
        training.supervised(NET, nn.LinearCrossEntropyLoss(4, 3))


def test_a_loss_that_the_model_computed_is_none_where_rows_are_padded():
    class Computes(fn.Module):
        def __init__(self):
            self.dense = nn.Linear(FEATURES, CLASSES)

        def __call__(self, batch):
            return F.cross_entropy(self.dense(batch["x"]), batch["class"])

    net = fn.functionalize(Computes())
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    objective = training.supervised(
        net, lambda outputs, targets: outputs, inputs=lambda batch: batch, targets="class"
    )
    for count, known in ((8, True), (11, False)):
        dataset = data.ArrayDataset({name: value[:count] for name, value in samples().items()})
        loader = data.DataLoader(dataset, 4, pad_last=True)
        assert np.isfinite(training.evaluate(objective, run, loader)["loss"]) == known
