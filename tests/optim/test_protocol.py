"""The protocol: composition, both ways with Optax, and leaves of every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.optim import problem
from tests.tracing import CountingJit

# Every optimizer; a new one is one row here. Some take matrices only, or real numbers only.
OPTIMIZERS = {
    "sgd": lambda: optim.sgd(0.1, momentum=0.9, dampening=0.1, weight_decay=0.1),
    "asgd": lambda: optim.asgd(0.1, t0=1.0),
    "rprop": lambda: optim.rprop(0.1),
    "lion": lambda: optim.lion(0.1, weight_decay=0.1),
    "adam": lambda: optim.adam(0.1),
    "adamw": lambda: optim.adamw(0.1, amsgrad=True),
    "adamax": lambda: optim.adamax(0.1),
    "nadam": lambda: optim.nadam(0.1),
    "radam": lambda: optim.radam(0.1),
    "adagrad": lambda: optim.adagrad(0.1, initial_accumulator_value=0.1),
    "adadelta": lambda: optim.adadelta(1.0, eps=1e-3),
    "rmsprop": lambda: optim.rmsprop(0.1, momentum=0.9, centered=True, eps=1e-2),
    "yogi": lambda: optim.yogi(0.1),
    "adan": lambda: optim.adan(0.1),
    "sophia": lambda: optim.sophia(0.1),
    "lars": lambda: optim.lars(1.0, trust_coefficient=0.1),
    "lamb": lambda: optim.lamb(0.1),
    "novograd": lambda: optim.novograd(0.1),
    "schedule_free_sgd": lambda: optim.schedule_free_sgd(0.3),
    "schedule_free_adamw": lambda: optim.schedule_free_adamw(0.1),
    "prodigy": lambda: optim.prodigy(d0=1e-2),
    "adafactor": lambda: optim.adafactor(0.1, eps=(None, 0.5)),
    "sm3": lambda: optim.sm3(0.3),
    "shampoo": lambda: optim.shampoo(0.1),
    "soap": lambda: optim.soap(0.1),
    "muon": lambda: optim.muon(0.1),
    "sparse_adam": lambda: optim.sparse_adam(0.1),
}
# PyTorch has no such optimizer to compare complex parameters with (test_torch_agreement.py).
COMPLEX = ["lion", "yogi", "adan", "sophia", "lamb", "novograd", "schedule_free_sgd", "prodigy"]
MATRICES_ONLY = {"muon"}


@pytest.fixture(params=OPTIMIZERS)
def name(request):
    return request.param


@pytest.fixture
def optimizer(name):
    return OPTIMIZERS[name]()


def test_the_table_has_every_optimizer():
    made = {
        one
        for one in optim.__all__
        if callable(getattr(optim, one)) and "lr" in signature_of(getattr(optim, one))
    }
    assert made == {*OPTIMIZERS, "lbfgs"}


def signature_of(function):
    return getattr(function, "__annotations__", {})


def matrix_tree(dtype="float32"):
    rows = jnp.arange(1.0, 7.0).reshape(2, 3) / 3
    return {"a": {"w": rows.astype(dtype)}, "b": [1 - rows.T.astype(dtype)]}


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.smoke
def test_init_under_jit_eval_shape_and_vmap():
    params = {"a": {"w": jnp.ones((2, 3))}, "b": [jnp.ones(4)]}
    for optimizer in (optim.sgd(0.1, momentum=0.9), optim.adamw(optim.schedules.cosine(1.0, 9))):
        state = optimizer.init(params)
        assert shapes(jax.eval_shape(optimizer.init, params)) == shapes(state)
        assert shapes(jax.jit(optimizer.init)(params)) == shapes(state)
        stacked = jax.tree.map(lambda x: jnp.stack([x, x]), params)
        ensemble = jax.vmap(optimizer.init)(stacked)
        for one, many in zip(jax.tree.leaves(state), jax.tree.leaves(ensemble), strict=True):
            assert many.shape == (2, *one.shape)


def test_step_two_recompiles_nothing_under_donation_vmap_and_16_bits(optimizer):
    """One compiled program a row: an ensemble of two in bfloat16 and float32, donated."""
    tree = {"float": matrix_tree()["a"], "half": matrix_tree("bfloat16")["b"]}
    params = jax.tree.map(lambda x: jnp.stack([x, -x]), tree)

    def whole(params, state):
        updates, state = optimizer.update(params, state, params)
        return updates, optim.apply_updates(params, updates), state

    step = CountingJit(jax.vmap(whole), donate_argnums=(0, 1))
    state = jax.vmap(optimizer.init)(params)
    expected = shapes(state)
    for _ in range(3):
        updates, params, state = step(params, state)
    assert step.traces == 1
    assert shapes(state) == expected
    assert shapes(updates) == shapes(params)
    for leaf in jax.tree.leaves(params):
        assert np.isfinite(np.asarray(leaf, np.float32)).all()
    # The two members began as mirror images and stay so.
    np.testing.assert_allclose(
        params["float"]["w"][0], -params["float"]["w"][1], rtol=1e-4, atol=1e-5
    )


def test_descends_a_quadratic(optimizer):
    """The shortest problem: ``|p|^2 / 2``, whose gradient is ``p``; with ill-scaled columns."""
    params = matrix_tree()
    scale = jnp.array([1.0, 3.0, 9.0])

    def loss(params):
        return sum(
            0.5 * jnp.sum(x**2 * (scale if x.shape[-1] == 3 else scale[:, None]))
            for x in jax.tree.leaves(params)
        )

    def one(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optim.apply_updates(params, updates)
        return (params, state), loss(params)

    _, losses = jax.jit(lambda p: jax.lax.scan(one, (p, optimizer.init(p)), None, length=60))(
        params
    )
    assert float(losses[-1]) < 0.5 * float(loss(params))


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_leaves_are_pairs_of_reals(name, x64):
    """A complex leaf moves as its real and imaginary parts would, side by side."""
    params, noise = problem.make(3, complex, shapes={"z": (2, 3)})

    def as_real(tree):
        return {"z": np.stack([tree["z"].real, tree["z"].imag], -1)}

    path, _ = problem.run(OPTIMIZERS[name](), params, noise)
    expected, _ = problem.run(OPTIMIZERS[name](), as_real(params), as_real(noise))
    problem.assert_same(as_real(path), expected)


def test_odd_leaves(name):
    if name in MATRICES_ONLY:
        pytest.skip("takes matrices only")
    optimizer = OPTIMIZERS[name]()
    params = {
        "empty": jnp.zeros((0, 3)),
        "scalar": jnp.ones(()),
        "count": jnp.array([3, 4]),
        "none": None,
        "nothing": {},
    }
    grads = {**params, "count": np.zeros(2, jax.dtypes.float0), "scalar": jnp.ones(())}
    update = jax.jit(
        lambda scalar, state, p: optimizer.update({**grads, "scalar": scalar}, state, p)
    )
    updates, state = update(grads["scalar"], optimizer.init(params), params)
    assert updates["empty"].shape == (0, 3)
    assert updates["none"] is None
    assert bool(jnp.isfinite(updates["scalar"]))
    assert int(state.step) == 1


def test_integers_and_none_are_not_updated():
    params = {"count": jnp.array([3, 4]), "none": None, "w": jnp.ones(1)}
    grads = {"count": np.zeros(2, jax.dtypes.float0), "none": None, "w": jnp.ones(1)}
    optimizer = optim.adam(0.1)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    new = optim.apply_updates(params, updates)
    assert new["none"] is None
    assert new["count"].tolist() == [3, 4]
    assert float(new["w"][0]) < 1


def test_empty_tree_and_bare_array():
    optimizer = optim.adamw(0.1)
    updates, _ = optimizer.update({}, optimizer.init({}), {})
    assert updates == {}
    updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))
    assert updates.shape == (2,)


def test_a_gradient_of_none_leaves_the_slot():
    optimizer = optim.sgd(0.1, momentum=0.9)
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    _, state = optimizer.update(params, optimizer.init(params))
    updates, after = optimizer.update({"a": jnp.ones(2), "b": None}, state, params)
    assert updates["b"] is None
    buffer = "momentum_buffer"
    np.testing.assert_array_equal(after.slots[buffer]["b"], state.slots[buffer]["b"])
    assert optim.apply_updates(params, updates)["b"] is params["b"]


def test_structure_errors_are_legible():
    optimizer = optim.adam()
    state = optimizer.init({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match="differ in structure"):
        optimizer.update({"v": jnp.ones(2)}, state, {"v": jnp.ones(2)})
    with pytest.raises(TypeError, match=r"argument 1 is 0\.1"):
        optim.chain(optim.sgd(), 0.1)
    with pytest.raises(ValueError, match="chain of 1"):
        optim.chain(optim.sgd()).update({}, ())


def test_extra_arguments_reach_those_that_take_them():
    seen = []

    def greedy(grads, state, params=None, **extra):
        seen.append(extra)
        return grads, state

    def picky(grads, state, params=None, *, value):
        seen.append({"value": value})
        return grads, state

    def bare(grads, state, params=None):
        seen.append({})
        return grads, state

    parts = [optim.GradientTransformation(lambda p: (), f) for f in (greedy, picky, bare)]
    chained = optim.chain(*parts)
    chained.update(1.0, chained.init(1.0), value=2.0, other=3.0)
    assert seen == [{"value": 2.0, "other": 3.0}, {"value": 2.0}, {}]


@pytest.fixture
def optax(x64):
    """Optax, whose arithmetic relies on implicit promotion of dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield pytest.importorskip("optax")


def test_chains_with_optax_agree(optax):
    cases = {
        "theirs in ours": optim.chain(optax.clip_by_global_norm(1.0), optim.adamw(0.1)),
        "ours in theirs": optax.chain(optim.clip_by_global_norm(1.0), optim.adamw(0.1)),
        "all theirs": optax.chain(
            optax.clip_by_global_norm(1.0), optax.adamw(0.1, weight_decay=1e-2)
        ),
        "all ours": optim.chain(optim.clip_by_global_norm(1.0, eps=0.0), optim.adamw(0.1)),
    }
    params, noise = problem.make(10)
    paths = {name: problem.run(one, params, noise)[0] for name, one in cases.items()}
    for name in cases:
        # Only the two libraries' eps in the norm's quotient (1e-6 and none) tells them apart.
        problem.assert_same(paths[name], paths["all theirs"], rtol=1e-5)
    problem.assert_same(paths["all ours"], paths["all theirs"])


def test_inside_optax_wrappers(optax):
    params, noise = problem.make(8)

    def pair(inner):
        return {
            "multi_transform": optax.multi_transform(
                {"a": inner(0.1), "b": optax.sgd(0.01)}, {"weight": "a", "bias": "b", "scale": "a"}
            ),
            "MultiSteps": optax.MultiSteps(inner(0.1), 2),
            "apply_if_finite": optax.apply_if_finite(inner(0.1), 3),
        }

    ours = pair(optim.adam)
    theirs = pair(optax.adam)
    for name in ours:
        path, _ = problem.run(ours[name], params, noise)
        reference, _ = problem.run(theirs[name], params, noise)
        problem.assert_same(path, reference)


def test_a_state_of_parameters_of_other_shapes_is_told_of():
    optimizer = optim.adam(1e-3)
    with pytest.raises(TypeError) as raised:
        optimizer.update({"w": jnp.ones(3)}, optimizer.init({"w": jnp.ones(2)}))
    notes = "\n".join(raised.value.__notes__)  # one of them is JAX's own
    assert "shape (3,), and the optimizer's state is of a parameter of shape (2,)" in notes
