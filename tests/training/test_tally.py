"""Tally: a million steps lose no digits, windows are differences, what is not finite stays in its own window."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import training
from funcnet.training.loop.tally import Tally

STEPS = 1_000_000


@jax.jit
def add_many(tally, first):
    """Add a million losses near 0.1, of a batch of 1000 each."""

    def add(step, tally):
        value = 0.1 + 0.01 * (step % 7).astype(jnp.float32)
        return tally.add({"loss": value}, {"loss": 1000}, step)

    return jax.lax.fori_loop(first, first + STEPS, add, tally)


def test_a_window_after_a_million_steps_is_right_and_weights_go_on_beyond_float32():
    tally = add_many(Tally.zeros(["loss"]), 0)
    before = tally.read()
    values = np.float32(0.1) + np.float32(0.01) * (np.arange(STEPS) % 7).astype(np.float32)
    assert before.weights[0] == 1000 * STEPS  # 60 times where float32 counts no more thousands
    assert before.means()["loss"] == pytest.approx(values.mean(dtype=np.float64), rel=1e-7)
    tally = tally.add({"loss": jnp.float32(0.25)}, {"loss": 1})
    window = tally.read() - before
    # what two float32 hold of a sum of 10^8 has digits down to 10^-6
    assert window.weights[0] == 1
    assert window.means()["loss"] == pytest.approx(0.25, abs=1e-5)


def test_running_means_go_on_beyond_float32():
    @jax.jit
    def many(mean):
        return jax.lax.fori_loop(0, 100_000, lambda _, m: m.add({"loss": 0.1}, 1000), mean)

    mean = many(training.RunningMean.zeros(["loss"]))
    assert mean.compute()["loss"] == pytest.approx(np.float32(0.1), rel=1e-7)
    assert float(mean.weight.sum) + float(mean.weight.error) == 1e8


ODD = {"nan": [np.nan], "inf": [np.inf], "-inf": [-np.inf], "both": [np.inf, -np.inf]}
MEANS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "both": np.nan}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_not_finite_stays_in_its_window(kind):
    add = jax.jit(lambda tally, loss, step: tally.add({"loss": loss}, {"loss": 2}, step))
    tally = add(Tally.zeros(["loss"]), 1.0, 5)
    readings = [tally.read()]
    for number, value in enumerate(ODD[kind]):
        tally = add(tally, value, 6 + number)
    readings.append(tally.read())
    tally = add(add(tally, 3.0, 8), 5.0, 9)
    readings.append(tally.read())
    assert readings[0].means() == {"loss": 1.0}
    np.testing.assert_equal((readings[1] - readings[0]).means()["loss"], MEANS[kind])
    assert (readings[2] - readings[1]).means() == {"loss": 4.0}
    np.testing.assert_equal(readings[2].means()["loss"], MEANS[kind])
    assert [reading.first_bad for reading in readings] == [-1, 6, 6]


def test_what_has_no_weight_counts_for_nothing_whatever_it_is():
    tally = Tally.zeros(["accuracy", "loss"])
    tally = tally.add({"accuracy": jnp.nan, "loss": 1.0}, {"accuracy": 0, "loss": 2}, 0)
    assert tally.read().first_bad == -1
    np.testing.assert_equal(tally.read().means(), {"accuracy": np.nan, "loss": 1.0})
    tally = tally.add({"accuracy": 0.5, "loss": 1.0}, {"accuracy": 1, "loss": 2}, 1)
    assert tally.read().means() == {"accuracy": 0.5, "loss": 1.0}
    # a loss that is none makes gradients that are none, also where nothing counts
    tally = tally.add({"accuracy": 0.5, "loss": jnp.nan}, {"accuracy": 1, "loss": 0}, 2)
    assert tally.read().first_bad == 2
    assert tally.read().means() == {"accuracy": 0.5, "loss": 1.0}


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_told(weight):
    tally = Tally.zeros(["loss"]).add({"loss": 1.0}, {"loss": weight}, 3)
    assert tally.read().first_bad == 3
    assert not np.isfinite(tally.read().means()["loss"])


def test_sums_add_up():
    tally = Tally.zeros(["loss", "total"], ["total"])
    for loss, total in ((1.0, 4.0), (3.0, 5.0)):
        tally = tally.add({"loss": loss, "total": total}, {"loss": 1, "total": None})
    assert tally.read().means() == {"loss": 2.0, "total": 9.0}


def test_of_nothing():
    empty = Tally.zeros([])
    assert jax.jit(partial(Tally.add, values={}, weights={}))(empty).read().means() == {}
    np.testing.assert_equal(Tally.zeros(["a"]).read().means(), {"a": np.nan})


def test_it_is_saved_and_comes_back(tmp_path):
    tally = Tally.zeros(["a", "b"], ["b"]).add({"a": 2.0, "b": 3.0}, {"a": 4})
    fn.checkpoint.save(tmp_path / "t.safetensors", {"tally": tally})
    found = fn.checkpoint.load(tmp_path / "t.safetensors")["tally"]
    assert isinstance(found, Tally)
    assert found.read().means() == {"a": 2.0, "b": 3.0}
    again = jax.jit(lambda t: t.add({"a": 2.0, "b": 3.0}, {"a": 4}))(found)
    assert again.read().means() == {"a": 2.0, "b": 6.0}
