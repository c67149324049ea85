"""What people write first and is not meant: each answered with what to write instead."""

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet import checkpoint, nn, optim, training

MODEL = nn.Sequential(nn.Linear(4, 3))
NET = fn.functionalize(MODEL)
NORM = fn.functionalize(nn.BatchNorm1d(2))
RUN = training.TrainState.create(NET, optim.sgd(0.1), jax.random.key(0))


def weights(folder):
    return checkpoint.save_weights(folder / "w.safetensors", MODEL, RUN.params, RUN.state)


MISTAKES = {
    "a tree as arrays": (
        lambda at: checkpoint.save_arrays(at / "a", RUN),
        TypeError,
        r"got TrainState: .*checkpoint\.save\(path, tree\)",
    ),
    "nested arrays": (lambda at: checkpoint.save_arrays(at / "a", RUN.params), TypeError, "dotted"),
    "a module as a tree": (
        lambda at: checkpoint.save(at / "a", {"model": MODEL}),
        TypeError,
        r"model is a .*Sequential.*save_weights\(path, module, params, state\)",
    ),
    "save: tree first": (lambda at: checkpoint.save(RUN, at / "a"), TypeError, "comes first"),
    "save_weights: module first": (
        lambda at: checkpoint.save_weights(MODEL, RUN.params, RUN.state),
        TypeError,
        "comes first",
    ),
    "save_weights of net": (
        lambda at: checkpoint.save_weights(at / "a", NET, RUN.params),
        TypeError,
        r"got a Functional: write net\.module",
    ),
    "save_weights without batch norm's state": (
        lambda at: checkpoint.save_weights(at / "a", NORM.module, NORM.init(jax.random.key(0))[0]),
        fn.errors.StateDictError,
        r"lack the model's buffers, running_mean, running_var: write .*params, state\)",
    ),
    "load_weights of a part, without the star": (
        lambda at: checkpoint.load_weights(weights(at), MODEL, strict=False, select="0"),
        ValueError,
        r"select='0' matches no name .*; what lies below '0' is '0\.\*'",
    ),
    "load_weights: params alone as default": (
        lambda at: checkpoint.load_weights(weights(at), MODEL, strict=False, default=RUN.params),
        TypeError,
        r"default is a pair, \(params, state\).*got a dict",
    ),
    "load_weights into net": (
        lambda at: checkpoint.load_weights(weights(at), NET),
        TypeError,
        r"got a Functional: write net\.module",
    ),
    "load_weights into params": (
        lambda at: checkpoint.load_weights(weights(at), RUN.params),
        TypeError,
        "got a dict",
    ),
    "load of weights": (lambda at: checkpoint.load(weights(at)), ValueError, "load_weights"),
    "load of .pt": (
        lambda at: checkpoint.load(checkpoint.save_weights(at / "w.pt", MODEL, RUN.params)),
        ValueError,
        "load_weights",
    ),
    "save to .pt": (lambda at: checkpoint.save(at / "run.pt", RUN), ValueError, "save_weights"),
    "a file as a folder": (lambda at: checkpoint.Checkpointer(weights(at)), OSError, "is a file"),
    "True as a folder": (lambda at: checkpoint.Checkpointer(True), TypeError, "got bool"),
    "a part of a step": (
        lambda at: checkpoint.Checkpointer(at, every=0.5),
        TypeError,
        "every must be a whole number; got 0.5",
    ),
    "a metric that is not there": (
        lambda at: checkpoint.Checkpointer(at, best="acc").save(1, RUN, metrics={"loss": 1.0}),
        ValueError,
        "'acc' is not among the metrics of step 1: loss",
    ),
    "saving while tracing": (
        lambda at: jax.jit(lambda x: checkpoint.save(at / "a", {"x": x}))(jnp.ones(2)),
        TypeError,
        "x is traced",
    ),
    "fn.save": (lambda at: fn.save, AttributeError, r"fn\.checkpoint\.save\(path, tree\)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered(mistake, tmp_path):
    call, error, words = MISTAKES[mistake]
    with pytest.raises(error, match=words):
        call(tmp_path)
