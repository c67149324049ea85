"""What an error leaves of a run: where it was, and what was trained until then."""

import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import training
from tests.training.loop.small_run import equal, fit, make_batches, pieces, start


def after(steps):
    return fit(steps=steps)[0]


def notes_of(error):
    return "\n".join(error.__notes__)


def misshapen(at):
    batches = make_batches()
    batches[at] = {"x": batches[at]["x"][:, :2], "y": batches[at]["y"]}
    return batches


def test_an_error_in_a_step_says_where_and_with_what():
    with pytest.raises(TypeError) as caught:  # as jax raises it
        fit([*make_batches(3), *misshapen(0)[:1]], epochs=2)
    assert (
        "in epoch 1, at step 3, with a batch of {'x': float32[4, 2], 'y': float32[4, 2]}"
        in notes_of(caught.value)
    )
    assert "run, history = fn.training.rescued()" in notes_of(caught.value)
    run, history = training.rescued(caught.value)
    equal(run, fit(make_batches(3), epochs=1)[0])
    assert history.records == []


def test_an_error_in_an_evaluation_and_in_a_loader():
    with pytest.raises(TypeError) as caught:
        fit(steps=8, evaluation=misshapen(1), evaluate_every=3)
    said = "in the evaluation after step 3, in epoch 1, with a batch of {'x': float32[4, 2]"
    assert said in notes_of(caught.value)
    equal(training.rescued(caught.value)[0], after(3))

    def loader():
        yield from make_batches()[:2]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as caught:
        fit(loader(), epochs=1)
    assert "in epoch 1, when the batch after step 2 was loaded" in notes_of(caught.value)
    equal(training.rescued(caught.value)[0], after(2))


def test_what_was_trained_is_found_by_the_prompts_last_error(monkeypatch):
    monkeypatch.delattr(sys, "last_exc", raising=False)
    monkeypatch.delattr(sys, "last_value", raising=False)
    with pytest.raises(ValueError, match="there is none"):
        training.rescued()
    with pytest.raises(TypeError) as caught:
        fit(misshapen(2))
    monkeypatch.setattr(sys, "last_value", caught.value, raising=False)
    equal(training.rescued()[0], after(2))
    try:
        raise RuntimeError("of a program around fit") from caught.value
    except RuntimeError as error:
        equal(training.rescued(error)[0], after(2))
    with pytest.raises(ValueError, match="KeyError is not an error that ended a fit"):
        training.rescued(KeyError("x"))


def test_a_checkpoint_goes_on_after_an_error(tmp_path):
    with pytest.raises(TypeError) as caught:
        fit(misshapen(3), checkpoint=tmp_path)
    assert f"up to step 3 is saved in {tmp_path}" in notes_of(caught.value)
    equal(fit(checkpoint=tmp_path)[0], after(10))
    equal(training.rescued(caught.value)[0], after(3))


def raising(params, state, batch, key, train):
    """An objective whose step fails while it runs, once its arrays are taken over."""
    objective, _ = pieces()
    loss, (_, state) = objective(params, state, {"x": batch["x"], "y": batch["y"]}, key, train)

    def check(bad):
        if bad:
            raise RuntimeError("boom on the device")
        return np.float32(0)

    shape = jax.ShapeDtypeStruct((), jnp.float32)
    reported = loss + jax.pure_callback(check, shape, batch["bad"].any())
    return loss, ({"loss": reported}, state)


@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "kept"])
def test_arrays_that_a_failed_step_took_over_are_told_of(kept, tmp_path):
    batches = [batch | {"bad": np.zeros(4, bool)} for batch in make_batches()]
    batches[3]["bad"] = np.ones(4, bool)
    options = {"checkpoint": tmp_path} if kept else {}
    if kept:
        fit(batches[:3], epochs=1, objective=raising, **options)
    with pytest.raises(Exception, match="boom on the device") as caught:
        fit(batches, epochs=2, objective=raising, **options)
    said = notes_of(caught.value)
    assert "is lost: the" in said
    assert ("the last checkpoint is of step 3" if kept else "checkpoint=folder") in said
    with pytest.raises(RuntimeError, match="what was trained is lost"):
        training.rescued(caught.value)


@pytest.fixture
def ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_the_second_ctrl_c_leaves_the_run_too():
    class Impatient(training.Observer):
        every = 4

        def on_step(self, loop):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(observers=[Impatient()])
    equal(training.rescued(caught.value)[0], after(4))
    assert "observers[0], Impatient.on_step" in notes_of(caught.value)


def test_what_the_caller_gave_stays_whole():
    run = start()
    before = jax.device_get((run.params, run.state))
    with pytest.raises(TypeError):
        fit(misshapen(2), run)
    equal(before, (run.params, run.state))
