"""Optimizer state lies where the parameters lie, or is spread further, for every optimizer; the numbers stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, optim, parallel
from funcnet.core.paths import leaves_with_paths
from funcnet.optim.protocol import ShapedTransformation
from tests.optim.test_protocol import MATRICES_ONLY, OPTIMIZERS
from tests.parallel.rules.models import only_sampled

SINGLE = [name for name in OPTIMIZERS if name not in MATRICES_ONLY]  # these are within groups below
WRAPPED = {
    "accumulate": lambda: optim.accumulate(optim.adam(1e-2), 2),
    "average": lambda: optim.average(optim.adam(1e-2)),
    "chain": lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1, momentum=0.9)),
    "freeze": lambda: optim.freeze(optim.adam(1e-2), "*.bias"),
    "groups": lambda: optim.groups(
        {"*.bias": {"lr": 1e-3}, "0.*": None, "*": optim.muon(1e-2)}, optim.adamw, lr=1e-2
    ),
    "lookahead": lambda: optim.lookahead(optim.sgd(0.1)),
    "master copy": lambda: optim.master_copy(optim.adam(1e-2)),
    "packed": lambda: optim.packed(optim.adam(1e-2), limit=64),
    "scheduled": lambda: optim.adam(optim.schedules.cosine(1e-2, 10)),
    "finite": lambda: optim.skip_nonfinite(optim.adam(1e-2)),
}
# Their preconditioners of few gradients are singular: the last bit of a sum decides about eigenvectors of zero.
ILL_CONDITIONED = {"shampoo", "soap"}
OPTAX = ["adamw", "adafactor", "lion", "lamb"]

SAMPLE = {
    "adafactor",
    "schedule_free_adamw",
    "groups",
    "packed",
    "optax adamw",
}
"""What is tried without --grid=full: one of each layout of a state."""


def made(name):
    if name.startswith("optax "):
        return getattr(pytest.importorskip("optax"), name.split()[1])(1e-2)
    return WRAPPED[name]() if name in WRAPPED else OPTIMIZERS[name]()


MESH = parallel.mesh(data=2, model=2)
NET = fn.functionalize(nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 16)))
RULES = {
    "0.weight": parallel.fsdp(("model", None), smallest=1),
    "*.weight": (None, "model"),
    "0.bias": ("model",),
}
SHARDED = parallel.shard(NET, MESH, RULES)


def three_steps(optimizer, net):
    params, _ = net.init(jax.random.key(0))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        grads = jax.tree.map(lambda p: 0.3 * p + 0.1, params)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    first = state
    for _ in range(3):
        params, state = step(params, state)
    return params, first, state


def placed(array, *spec):
    return array.sharding.is_equivalent_to(
        jax.sharding.NamedSharding(MESH, jax.sharding.PartitionSpec(*spec)), array.ndim
    )


@pytest.mark.parametrize("name", [*SINGLE, *WRAPPED, *(f"optax {name}" for name in OPTAX)])
def test_three_steps_are_those_of_one_device(request, name):
    only_sampled(request, name, SAMPLE)
    with jax.numpy_dtype_promotion("standard"):
        expected, _, expected_state = three_steps(made(name), NET)
        zero = "data" if sum(map(ord, name)) % 2 else None
        optimizer = parallel.shard_optimizer(made(name), SHARDED, zero=zero)
        params, first, state = three_steps(optimizer, SHARDED)
    ours, theirs = (params, state), (expected, expected_state)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.dtype == other.dtype
        assert np.isfinite(one).all()
        if name not in ILL_CONDITIONED:
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
    for path, array in leaves_with_paths(params):
        assert array.sharding.is_equivalent_to(SHARDED.placement.sharding(path), array.ndim), path
    for (path, before), after in zip(leaves_with_paths(first), jax.tree.leaves(state), strict=True):
        assert after.sharding.is_equivalent_to(before.sharding, after.ndim), path
        like = [p for p in RULES if p in path and after.ndim and zero is None]
        if "0.weight" in like and after.shape == (8, 16):
            assert placed(after, "model", "data"), path
        if "0.bias" in like and after.shape == (8,):
            assert placed(after, "model"), path
        if "2.weight" in path and after.shape == (16, 8) and zero:
            assert placed(after, "data", "model"), path


@pytest.mark.parametrize("name", sorted(ILL_CONDITIONED))
def test_eigenvectors_of_covariances_without_a_null_space_are_those_of_one_device(name, x64):
    net = fn.functionalize(nn.Linear(12, 12, dtype=jnp.float64))
    spread = parallel.shard(net, MESH, {"weight": parallel.fsdp(("model",), smallest=1)})
    inputs = np.random.default_rng(0).standard_normal((256, 12))

    def trained(net, optimizer):
        def loss(params):
            return jnp.mean(jnp.sin(net.apply(params, {}, inputs)[0] - inputs[:, ::-1]) ** 2)

        @jax.jit
        def step(params, state):
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return optim.apply_updates(params, updates), state

        params, _ = net.init(jax.random.key(0))
        state = optimizer.init(params)
        for _ in range(3):
            params, state = step(params, state)
        return params

    ours = trained(spread, parallel.shard_optimizer(made(name), spread, zero="data"))
    jax.tree.map(
        # float64; roundings of the gradient grow by the condition of its covariances
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        ours,
        trained(net, made(name)),
    )


def test_what_a_kind_of_optimizer_knows_stays():
    groups = optim.groups({"*.bias": None, "*": optim.sgd(0.5)})
    ours = parallel.shard_optimizer(groups, SHARDED)
    params, _ = SHARDED.init(jax.random.key(0))
    assert ours.describe(params) == groups.describe(params)
    assert isinstance(parallel.shard_optimizer(optim.muon(0.1), SHARDED), ShapedTransformation)
    with pytest.raises(TypeError, match="packed joins leaves"):
        optim.packed(parallel.shard_optimizer(optim.lamb(0.1), SHARDED))


def test_buffers_of_packed_are_spread_by_zero():
    optimizer = parallel.shard_optimizer(
        optim.packed(optim.adam(1e-2), limit=64), SHARDED, zero="data"
    )
    state = optimizer.init(SHARDED.init(jax.random.key(0))[0])
    (buffer,) = state.inner.slots["exp_avg"]["packed"]["float32"][:1]
    assert placed(buffer, "data")


def test_leaves_without_a_gradient_and_rows_stay():
    optimizer = parallel.shard_optimizer(optim.sgd(0.1), SHARDED)
    params, _ = SHARDED.init(jax.random.key(0))
    grads = {
        "0": {"weight": optim.RowSparse(jnp.array([1]), jnp.ones((1, 16))), "bias": None},
        "2": params["2"],
    }
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    after = optim.apply_updates(params, updates)
    np.testing.assert_array_equal(after["0"]["bias"], params["0"]["bias"])
    np.testing.assert_allclose(after["0"]["weight"][1], params["0"]["weight"][1] - 0.1, rtol=1e-6)
    np.testing.assert_array_equal(after["0"]["weight"][2], params["0"]["weight"][2])


def test_scalars_and_factors_of_a_matrix():
    state = parallel.shard_optimizer(optim.adafactor(), SHARDED).init(
        SHARDED.init(jax.random.key(0))[0]
    )
    assert placed(state.slots["row_var"]["0"]["weight"], "model")
    assert placed(state.slots["col_var"]["0"]["weight"], None, "data")
    assert placed(state.step)


@pytest.mark.parametrize(
    ("net", "zero", "message"),
    [
        (NET, None, "shard_optimizer takes the model that parallel.shard returned"),
        (SHARDED, "fsdp", "is no axis"),
    ],
)
def test_what_does_not_fit_is_refused(net, zero, message):
    with pytest.raises(ValueError, match=message):
        parallel.shard_optimizer(optim.sgd(0.1), net, zero=zero)
