"""Every optimizer's and wrapper's state, and whole runs, come back bit for bit; those of other libraries too."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, optim
from tests.checkpoint.same import assert_same
from tests.optim.test_protocol import OPTIMIZERS, matrix_tree
from tests.tracing import CountingJit

MORE_ARGUMENTS = {
    "accumulate": (2,),
    "freeze": ("a.*",),
    "keep_masked": (fn.compression.magnitude_masks, fn.compression.gradual(0.2, 0.8, 4)),
    "mask": ("a.*",),
}


def wrappers():
    """The public functions that make an optimizer of another."""
    for name in optim.__all__:
        function = getattr(optim, name)
        if inspect.isfunction(function):
            parameters = [*inspect.signature(function).parameters]
            if parameters[:1] in (["optimizer"], ["transformation"]):
                yield name


def wrapped(name):
    return getattr(optim, name)(optim.adamw(0.1), *MORE_ARGUMENTS.get(name, ()))


CASES = {
    **OPTIMIZERS,
    **{name: (lambda name=name: wrapped(name)) for name in wrappers()},
    "lbfgs": lambda: optim.lbfgs(0.1),
    "chain": lambda: optim.chain(
        optim.clip_by_global_norm(1.0), optim.add_noise(), optim.sgd(0.1, momentum=0.9)
    ),
    "groups": lambda: optim.groups({"a.*": optim.sgd(0.1), "*": optim.adam(0.1)}),
    "schedule": lambda: optim.adamw(optim.schedules.cosine(1.0, 9)),
    "plateau": lambda: optim.sgd(optim.schedules.constant(0.1)),
}


def test_the_wrappers_are_found():
    assert {"accumulate", "average", "lookahead", "master_copy", "packed"} <= {*wrappers()}


def drawn(shape):
    """An array of a shape and dtype, its numbers unlike those of others; nothing is compiled."""
    rng = np.random.default_rng(int(np.prod(shape.shape)))
    if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        data = jax.eval_shape(jax.random.key_data, shape)
        bits = rng.integers(0, 2**32, data.shape, np.uint32)
        return jax.random.wrap_key_data(jnp.asarray(bits), impl="threefry2x32")
    return jnp.asarray(rng.integers(0, 100, shape.shape).astype(shape.dtype))


@pytest.mark.parametrize("name", CASES)
def test_a_state_comes_back(tmp_path, name):
    optimizer, params = CASES[name](), matrix_tree()
    if name == "muon":
        params = {"a": params["a"]}
    shapes = jax.eval_shape(optimizer.init, params)
    if name != "lbfgs":  # which takes more than gradients
        _, shapes = jax.eval_shape(optimizer.update, params, shapes, params)
    state = jax.tree.map(drawn, shapes)
    path = fn.checkpoint.save(tmp_path / "a.safetensors", {"opt_state": state})
    loads = [{}, {"like": {"opt_state": state}}, {"like": {"opt_state": shapes}}]
    for load in loads:
        back = fn.checkpoint.load(path, **load)
        assert_same(back, {"opt_state": state})
        assert jax.tree.structure(back["opt_state"]) == jax.tree.structure(state)


def test_a_run_goes_on_as_if_nothing_had_happened(tmp_path):
    net = fn.functionalize(
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    )
    optimizer = optim.adamw(1e-2)
    run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
    objective = fn.training.supervised(net, fn.functional.cross_entropy, inputs="x", targets="y")
    step = CountingJit(fn.training.make_train_step(objective, optimizer))
    batch = {"x": jnp.arange(24.0).reshape(6, 4) / 9, "y": jnp.arange(6) % 2}
    for _ in range(3):
        run, _ = step(run, batch)
    path = fn.checkpoint.save(tmp_path / "a.safetensors", run)
    compiled = step.traces
    for back in (fn.checkpoint.load(path), fn.checkpoint.load(path, run)):
        assert_same(back, run)
        assert_same(step(back, batch)[0], step(run, batch)[0])
    assert step.traces == compiled  # what comes back compiles nothing anew
    shapes = jax.eval_shape(
        lambda key: fn.training.TrainState.create(net, optimizer, key), jax.random.key(0)
    )
    assert_same(fn.checkpoint.load(path, shapes), run)


def test_a_state_of_fewer_layers_is_loaded_as_far_as_it_fits(tmp_path):
    small, large = {"a": jnp.ones(2)}, {"a": jnp.ones(2), "b": jnp.ones(3)}
    optimizer = optim.adamw(0.1)
    state = jax.tree.map(drawn, jax.eval_shape(optimizer.init, small))
    path = fn.checkpoint.save(tmp_path / "a.safetensors", state)
    with pytest.warns(UserWarning, match=r"missing: exp_avg\.b, exp_avg_sq\.b"):
        back = fn.checkpoint.load(path, optimizer.init(large), strict=False)
    assert_same(back.slots["exp_avg"]["a"], state.slots["exp_avg"]["a"])
    assert not back.slots["exp_avg"]["b"].any()
    assert int(back.step) == int(state.step)


def test_optax_states(tmp_path):
    optax = pytest.importorskip("optax")
    params = matrix_tree()
    optimizer = optax.chain(
        optax.clip(1.0),
        optax.masked(
            optax.adamw(optax.cosine_decay_schedule(0.1, 9)), {"a": {"w": True}, "b": [False]}
        ),
        optax.apply_if_finite(optax.sgd(0.1, momentum=0.9), 3),
    )
    state = optimizer.init(params)
    with jax.numpy_dtype_promotion("standard"):
        _, shapes = jax.eval_shape(optimizer.update, params, state, params)
    state = jax.tree.map(drawn, shapes)
    path = fn.checkpoint.save(tmp_path / "a.safetensors", state)
    back = fn.checkpoint.load(path, state)
    assert_same(back, state)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    bare = fn.checkpoint.load(path)  # named tuples of the same names and fields
    assert type(bare[1]).__name__ == type(state[1]).__name__
    assert_same(jax.tree.leaves(bare), jax.tree.leaves(state))


def test_equinox_modules(tmp_path):
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(2, 3, 4, 2, key=jax.random.key(0))
    path = fn.checkpoint.save(tmp_path / "a.safetensors", eqx.filter(model, eqx.is_array))
    names = sorted(fn.checkpoint.load_arrays(path))
    assert "layers.0.weight" in names
    other = eqx.filter(eqx.nn.MLP(2, 3, 4, 2, key=jax.random.key(1)), eqx.is_array)
    back = fn.checkpoint.load(path, other)
    assert type(back) is eqx.nn.MLP
    assert_same(jax.tree.leaves(back), jax.tree.leaves(eqx.filter(model, eqx.is_array)))


def test_flax_states(tmp_path):
    pytest.importorskip("flax")
    optax = pytest.importorskip("optax")
    from flax.core import freeze
    from flax.training.train_state import TrainState

    def state_of(scale):
        params = freeze({"dense": {"kernel": jnp.full((2, 2), scale, jnp.float32)}})
        return TrainState.create(apply_fn=lambda x: x, params=params, tx=optax.adam(0.1))

    state = state_of(2.0)
    path = fn.checkpoint.save(tmp_path / "a.safetensors", state)
    assert "params.dense.kernel" in fn.checkpoint.load_arrays(path)
    like = state_of(0.0)
    back = fn.checkpoint.load(path, like)
    assert back.apply_fn is like.apply_fn
    assert_same(jax.tree.leaves(back), jax.tree.leaves(state))
    assert jax.tree.structure(back) == jax.tree.structure(like)
    with pytest.raises(ValueError, match="only a template can make"):
        fn.checkpoint.load(path)
