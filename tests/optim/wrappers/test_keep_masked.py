"""Masked parameters are zero from the first step on, whatever the optimizer, and the others train as they would."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import compression, nn, optim, parallel
from funcnet import functional as F
from tests.sampling import sampled

RNG = np.random.default_rng(0)
PARAMS = {
    "fc": {
        "weight": jnp.asarray(RNG.normal(size=(4, 6)), jnp.float32),
        "bias": jnp.ones(4),
    },
    "head": {"weight": jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)},
}
MASKS = {
    "fc": {"weight": RNG.random((4, 6)) < 0.5, "bias": None},
    "head": {"weight": RNG.random((3, 4)) < 0.5},
}

OPTIMIZERS = {
    "sgd": lambda: optim.sgd(0.1),
    "momentum": lambda: optim.sgd(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda: optim.adam(0.1),
    "adam without eps": lambda: optim.adam(0.1, eps=0.0),
    "adamw": lambda: optim.adamw(0.1, weight_decay=0.1),
    "rmsprop": lambda: optim.rmsprop(0.1, momentum=0.9, centered=True),
    "adagrad": lambda: optim.adagrad(0.1),
    "rprop": lambda: optim.rprop(0.1),
    "lion": lambda: optim.lion(0.1, weight_decay=0.1),
    "lamb": lambda: optim.lamb(0.1),
    "lars": lambda: optim.lars(0.1, momentum=0.9),
    "muon": lambda: optim.groups({"*.weight": optim.muon(0.1), "*": optim.sgd(0.1)}),
    "shampoo": lambda: optim.shampoo(0.1),
    "adafactor": lambda: optim.adafactor(),
    "schedule_free": lambda: optim.schedule_free_adamw(0.1),
    "lookahead": lambda: optim.lookahead(optim.adam(0.1), 0.5, 2),
    "master_copy": lambda: optim.master_copy(optim.adamw(0.1)),
    "average": lambda: optim.average(optim.adam(0.1), 0.9),
    "accumulate": lambda: optim.accumulate(optim.adam(0.1), 2),
    "packed": lambda: optim.packed(optim.adamw(0.1)),
    "clipped": lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.1)),
    "noisy": lambda: optim.chain(optim.add_noise(0.1), optim.sgd(0.1)),
    "frozen head": lambda: optim.freeze(optim.adam(0.1), "head.*"),
    "skip_nonfinite": lambda: optim.skip_nonfinite(optim.adam(0.1)),
    "loss_scale": lambda: optim.loss_scale(optim.adam(0.1), init_scale=1.0),
}


def grads_of(params, step=0):
    return jax.tree.map(lambda p: (0.3 * p + 0.1 + 0.01 * step).astype(p.dtype), params)


def trained(optimizer, params, steps=4, grads=grads_of):
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    path = []
    for step in range(steps):
        updates, state = update(grads(params, step), state, params)
        params = optim.apply_updates(params, updates)
        path.append(params)
    assert update._cache_size() == 1
    return path, state


def assert_masked(params, masks):
    for path, mask in jax.tree_util.tree_leaves_with_path(masks):
        values = params
        for entry in path:
            values = values[entry.key]
        values = np.asarray(values, np.float32)
        assert not values[~np.asarray(mask)].any(), path
        assert np.isfinite(values).all(), path


WIDE = ("accumulate", "adam without eps", "lookahead", "muon")
NARROW = ("master_copy",)
"""Optimizers that are tried in every run, in 32 and in 16 bits; the others with ``--grid=full``."""


def pytest_generate_tests(metafunc):
    if "dtype" in metafunc.fixturenames:
        full = metafunc.config.getoption("grid") == "full"
        wide, narrow = (sorted(OPTIMIZERS),) * 2 if full else (WIDE, NARROW)
        pairs = [(name, "float32") for name in wide] + [(name, "bfloat16") for name in narrow]
        metafunc.parametrize(("name", "dtype"), pairs)


def test_masked_numbers_are_zero_whatever_the_optimizer(name, dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    path, state = trained(optim.keep_masked(OPTIMIZERS[name](), MASKS), params)
    for now in path:
        assert_masked(now, MASKS)
    assert jax.tree.map(jnp.result_type, path[-1]) == jax.tree.map(jnp.result_type, params)
    if dtype == "float32":  # in 16 bits a small step may be no step
        moved = np.asarray(path[-1]["fc"]["weight"] != params["fc"]["weight"])
        assert moved.all()
        assert np.asarray(path[-1]["fc"]["bias"] != params["fc"]["bias"]).all()
    assert int(state.step) == 4


@pytest.mark.parametrize("name", ["adamw", "rprop"])
def test_the_others_train_as_if_the_masked_were_never_there(name):
    """The same steps as of arrays that hold what is kept, and nothing else."""
    path, _ = trained(optim.keep_masked(OPTIMIZERS[name](), MASKS), PARAMS)
    rows = {"fc": jnp.asarray(np.asarray(PARAMS["fc"]["weight"])[MASKS["fc"]["weight"]])}
    rows["head"] = jnp.asarray(np.asarray(PARAMS["head"]["weight"])[MASKS["head"]["weight"]])
    rows["bias"] = PARAMS["fc"]["bias"]
    alone, _ = trained(OPTIMIZERS[name](), rows)
    for now, small in zip(path, alone, strict=True):
        for layer in ("fc", "head"):
            left = np.asarray(now[layer]["weight"])[MASKS[layer]["weight"]]
            np.testing.assert_allclose(left, small[layer], rtol=1e-5, atol=1e-6)


def test_masks_may_be_named_by_path_and_be_zeros_and_ones():
    flat = {"fc.weight": MASKS["fc"]["weight"].astype(np.float32)}
    path, state = trained(optim.keep_masked(optim.adam(0.1), flat), PARAMS)
    assert_masked(path[-1], {"fc": {"weight": MASKS["fc"]["weight"]}})
    assert state.masks["head"]["weight"] is None
    assert state.masks["fc"]["weight"].dtype == bool


def test_row_sparse_gradients():
    params, mask = {"table": jnp.ones((5, 2))}, np.arange(10).reshape(5, 2) % 3 > 0
    optimizer = optim.keep_masked(optim.sgd(0.5), {"table": mask})
    sparse = optim.RowSparse(jnp.array([1, 3, 1]), jnp.ones((3, 2)))
    updates, _ = optimizer.update({"table": sparse}, optimizer.init(params), params)
    expected = np.where(mask, np.array([1, 0, 1, 0.5, 1])[:, None], 0)
    np.testing.assert_array_equal(optim.apply_updates(params, updates)["table"], expected)


def test_a_loss_that_the_optimizer_calls_sees_masked_parameters():
    mask = np.array([True, False, True])
    optimizer = optim.keep_masked(optim.lbfgs(1.0, line_search_fn="strong_wolfe"), {"w": mask})
    target = jnp.array([1.0, 2.0, 3.0])

    def loss(params):
        return jnp.sum((params["w"] - target) ** 2 * jnp.array([1.0, 2.0, 5.0]))

    params = {"w": jnp.array([5.0, 5.0, 5.0])}
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value, loss=loss)
        return optim.apply_updates(params, updates), state

    # masked before, so that value and grads are of masked parameters, too
    params = compression.apply_masks(params, {"w": mask})
    for _ in range(3):
        params, state = step(params, state)
    np.testing.assert_allclose(params["w"], [1.0, 0.0, 3.0], atol=1e-4)


# ---- masks that grow -----------------------------------------------------------------------------


def share(params):
    return float(compression.sparsity(params, "*.weight").share)


def test_masks_grow_by_a_schedule_and_never_shrink():
    schedule = compression.gradual(0.0, 0.75, 6, begin=2)
    optimizer = optim.keep_masked(optim.adam(0.05), compression.magnitude_masks, schedule, every=2)
    path, state = trained(optimizer, PARAMS, steps=12)
    shares = [share(params) for params in path]
    for step, got in enumerate(shares):
        due = step // 2 * 2
        assert round(got * 36) == round(float(schedule(jnp.int32(due))) * 36), step
    assert shares[0] == 0
    assert float(state.amount) == 0.75
    assert shares[-1] == 27 / 36
    gone = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(p)]) == 0 for p in path]
    for before, after in pairwise(gone):
        assert not (before & ~after).any()


RULES = {
    "magnitude": compression.magnitude_masks,
    "by layer": partial(compression.magnitude_masks, scope="layer", patterns="*.weight"),
    "random": partial(compression.random_masks, jax.random.key(0)),
    "random rows": partial(compression.random_masks, jax.random.key(0), axis=0),
}


@pytest.mark.parametrize("name", ["by layer", "random rows"])
def test_every_kind_of_mask_serves(name):
    schedule = compression.gradual(0.0, 0.5, 4, curve="linear")
    path, state = trained(optim.keep_masked(optim.adam(0.05), RULES[name], schedule), PARAMS, 6)
    assert_masked(path[-1], state.masks)
    # of 3 rows half are 2, rounded to even
    assert share(path[-1]) == {"random rows": (12 + 8) / 36}.get(name, 0.5)


def test_masks_of_a_model_s_units_serve():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    params, state = fn.functionalize(model).init(jax.random.key(0))
    rule = partial(compression.unit_masks, model)
    optimizer = optim.keep_masked(optim.adam(0.05), rule, compression.gradual(0, 0.5, 3))
    path, found = trained(optimizer, params, 5)
    small = compression.shrink(model, path[-1], state, found.masks, verify=jnp.ones((2, 6)))
    assert small.params["0"]["weight"].shape == (4, 6)


def test_an_amount_makes_the_masks_once():
    optimizer = optim.keep_masked(optim.sgd(0.1), compression.magnitude_masks, 0.5)
    expected = compression.magnitude_masks(PARAMS, 0.5)
    path, state = trained(optimizer, PARAMS)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), state.masks, expected))
    assert_masked(path[0], expected)


def test_several_models_at_once(request):
    """Optimizers of stacked models: each has masks of its own."""
    sampled(request)
    stacked = jax.tree.map(lambda p: jnp.stack([p, -2 * p[::-1]]), PARAMS)
    optimizer = optim.keep_masked(
        optim.adam(0.1), compression.magnitude_masks, compression.gradual(0, 0.5, 2)
    )
    state = jax.jit(jax.vmap(optimizer.init))(stacked)
    update = jax.jit(jax.vmap(optimizer.update))
    both = stacked
    for _ in range(4):
        updates, state = update(grads_of(both), state, both)
        both = optim.apply_updates(both, updates)
    for i in range(2):
        alone, _ = trained(
            optimizer, jax.tree.map(lambda p, i=i: p[i], stacked), 4, lambda p, _: grads_of(p)
        )
        for a, b in zip(jax.tree.leaves(alone[-1]), jax.tree.leaves(both), strict=True):
            np.testing.assert_allclose(a, b[i], rtol=1e-6, atol=1e-7)


def test_on_a_mesh_masks_lie_where_parameters_do():
    mesh = parallel.mesh(data=2, model=2, devices=jax.devices()[:4])
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    rules = {"0.weight": ("model", None), "2.weight": (None, "model")}
    plain = fn.functionalize(model)
    net = parallel.shard(plain, mesh, rules)
    x, y = jnp.asarray(RNG.normal(size=(8, 8)), jnp.float32), jnp.arange(8) % 4
    # biases start at zero alike on one device and on many
    rule = compression.magnitude_masks
    optimizer = optim.keep_masked(optim.adamw(0.05), rule, compression.gradual(0.0, 0.5, 2))
    results = []
    for one, own in ((plain, optimizer), (net, parallel.shard_optimizer(optimizer, net))):
        params, state = one.init(jax.random.key(0))

        def step(params, found, state=state, one=one, own=own):
            def loss(params):
                return F.cross_entropy(one.apply(params, state, x)[0], y)

            updates, found = own.update(jax.grad(loss)(params), found, params)
            return optim.apply_updates(params, updates), found

        step = jax.jit(step)
        found = own.init(params)
        for _ in range(4):
            params, found = step(params, found)
        results.append((params, found))
    (params, state), (parts, spread) = results
    assert spread.masks["0"]["weight"].sharding.spec == parts["0"]["weight"].sharding.spec
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(jax.tree.leaves(state.masks), jax.tree.leaves(spread.masks), strict=True):
        np.testing.assert_array_equal(a, b)


def test_masks_are_made_on_a_mesh_with_explicit_axes():
    mesh = parallel.mesh(data=2, devices=jax.devices()[:2], explicit=True)
    rows = jax.NamedSharding(mesh, jax.P("data", None))
    plain = {"v": jnp.ones((2, 2)), "w": jnp.arange(1.0, 9).reshape(4, 2)}
    whole = jax.NamedSharding(mesh, jax.P())
    spread = {"v": jax.device_put(plain["v"], whole), "w": jax.device_put(plain["w"], rows)}
    key = jax.random.key(0)
    for make in (
        lambda params: compression.magnitude_masks(params, 0.5),
        lambda params: compression.magnitude_masks(params, 0.5, scope="layer"),
        lambda params: compression.random_masks(key, params, 0.5, axis=1),
    ):
        masks = make(spread)
        jax.tree.map(np.testing.assert_array_equal, masks, make(plain))
        assert masks["w"].sharding == rows
        again = compression.magnitude_masks(spread, 0.5, masks=masks)
        assert again["w"].sharding == rows
    schedule = compression.gradual(0.0, 0.5, 2)
    optimizer = optim.keep_masked(optim.adam(0.1), compression.magnitude_masks, schedule)
    update = jax.jit(optimizer.update)

    def after_three_steps(params):
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = update(grads_of(params), state, params)
            params = optim.apply_updates(params, updates)
        return params, state

    (params, state), (expected, _) = map(after_three_steps, (spread, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, expected)
    assert state.masks["w"].sharding == rows


# ---- mistakes ------------------------------------------------------------------------------------


def test_what_cannot_be_meant_raises():
    weights = np.ones((4, 6), bool)
    with pytest.raises(TypeError, match=r"an optimizer first, such as .*; got dict"):
        optim.keep_masked(MASKS, optim.sgd())
    for wrong in (None, 0.5):
        with pytest.raises(TypeError, match=f"masks must be a tree of booleans.*; got {wrong}"):
            optim.keep_masked(optim.sgd(), wrong)
    with pytest.raises(TypeError, match="average takes an optimizer first"):
        optim.average(0.9, optim.sgd())
    with pytest.raises(TypeError, match="needs the amount"):
        optim.keep_masked(optim.sgd(), compression.magnitude_masks)
    with pytest.raises(TypeError, match="no amount to choose"):
        optim.keep_masked(optim.sgd(), MASKS, 0.5)
    with pytest.raises(ValueError, match="every must be a whole number"):
        optim.keep_masked(optim.sgd(), compression.magnitude_masks, 0.5, every=0)
    with pytest.raises(ValueError, match=r"masks of fc.weights, but the arrays are: fc.bias"):
        optim.keep_masked(optim.sgd(), {"fc.weights": weights}).init(PARAMS)
    with pytest.raises(ValueError, match=r"has shape \(3,\); the array has \(4, 6\)"):
        optim.keep_masked(optim.sgd(), {"fc.weight": np.ones(3, bool)}).init(PARAMS)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        optim.keep_masked(optim.sgd(), {"fc.weight": 0.5 * weights}).init(PARAMS)
    with pytest.raises(TypeError, match="cannot be masked"):
        optim.keep_masked(optim.sgd(), {"n": np.ones(2, bool)}).init({"n": jnp.arange(2)})
    optimizer = optim.keep_masked(optim.sgd(), MASKS)
    with pytest.raises(ValueError, match="reads the parameters"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))
    with pytest.raises(TypeError, match="a MaskedState"):
        optimizer.update(PARAMS, (), PARAMS)
    with pytest.raises(TypeError, match="packed"):
        optim.packed(optimizer)


def test_groups_tell_of_a_masked_member():
    members = {
        "fc.*": optim.keep_masked(optim.sgd(0.5), {"fc.weight": MASKS["fc"]["weight"]}),
        "*": None,
    }
    optimizer = optim.groups(members)
    assert "lr=0.5" in optimizer.describe(PARAMS)
    path, _ = trained(optimizer, PARAMS)
    assert_masked(path[-1], {"fc": {"weight": MASKS["fc"]["weight"]}})
