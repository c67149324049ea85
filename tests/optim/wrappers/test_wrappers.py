"""Accumulation, skipped steps, averages, precision, packing, noise, clipping, row-sparse Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.optim import problem

PARAMS = {"w": jnp.ones((2, 2)), "b": jnp.zeros(3)}


def grads_of(value):
    return jax.tree.map(lambda p: jnp.full_like(p, value), PARAMS)


def test_accumulation_equals_the_mean_gradient(x64):
    params, noise = problem.make(12)
    optimizer = optim.accumulate(optim.adamw(0.1), 4)
    path, state = problem.run(optimizer, params, noise)
    plain = optim.adamw(0.1)

    def one(carry, chunk):
        params, state = carry
        grads = jax.tree.map(lambda p, n: (0.3 * p + n).mean(0), params, chunk)
        updates, state = plain.update(grads, state, params)
        params = optim.apply_updates(params, updates)
        return (params, state), params

    chunks = jax.tree.map(lambda n: jnp.asarray(n).reshape(3, 4, *n.shape[1:]), noise)
    params = jax.tree.map(jnp.asarray, params)
    _, expected = jax.lax.scan(one, (params, plain.init(params)), chunks)
    for name in params:
        np.testing.assert_allclose(path[name][3::4], expected[name], rtol=1e-12)
        np.testing.assert_array_equal(path[name][4], path[name][3])
    assert int(state.inner.step) == 3


def test_accumulation_of_16_bits_is_exact():
    params = {"w": jnp.ones(3, jnp.bfloat16), "count": jnp.arange(2)}
    optimizer = optim.accumulate(optim.sgd(1.0), 256)
    grads = {"w": jnp.full(3, 1.0, jnp.bfloat16), "count": np.zeros(2, jax.dtypes.float0)}

    def step(state, _):
        updates, state = optimizer.update(grads, state, params)
        return state, updates["w"]

    state, updates = jax.jit(lambda s: jax.lax.scan(step, s, None, length=256))(
        optimizer.init(params)
    )
    # In bfloat16 the sum would stop growing where 1/256 is below half of its spacing.
    np.testing.assert_array_equal(updates[-1].astype(jnp.float32), -1.0)
    assert not updates[:-1].any()
    assert updates.dtype == jnp.bfloat16
    assert state.grads["w"].dtype == jnp.float32


def test_accumulation_takes_python_numbers():
    optimizer = optim.accumulate(optim.sgd(1.0), 2)
    updates, state = optimizer.update(1.0, optimizer.init(0.0), 0.0)
    assert float(updates) == 0
    updates, _ = optimizer.update(2.0, state, 0.0)
    assert float(updates) == -1.5


def test_bad_steps_are_skipped_and_counted():
    optimizer = optim.skip_nonfinite(optim.adam(0.1))
    step = jax.jit(optimizer.update)
    _, state = step(grads_of(1.0), optimizer.init(PARAMS))
    before = state.inner
    for count, bad in enumerate([jnp.nan, jnp.inf], start=1):
        grads = {**grads_of(1.0), "b": jnp.array([0.0, bad, 0.0])}
        updates, state = step(grads, state)
        assert int(state.skipped) == int(state.in_a_row) == count
        assert all(np.signbit(u).all() and not u.any() for u in jax.tree.leaves(updates))
    jax.tree.map(np.testing.assert_array_equal, state.inner, before)
    updates, state = step(grads_of(1.0), state)
    assert (int(state.skipped), int(state.in_a_row)) == (2, 0)
    assert float(updates["b"][0]) < 0
    assert step._cache_size() == 1


@pytest.mark.parametrize("decay", [0.9, None])
def test_averages_equal_pytorch(decay, x64):
    torch = pytest.importorskip("torch")
    params, noise = problem.make(10)
    ours = optim.average(optim.sgd(0.1), decay, start=0 if decay is None else 1)
    _, state = problem.run(ours, params, noise)
    path, _ = problem.run(optim.sgd(0.1), params, noise)
    swa = torch.optim.swa_utils
    module = torch.nn.ParameterDict({n: torch.tensor(p) for n, p in params.items()})
    average = swa.AveragedModel(
        module, multi_avg_fn=None if decay is None else swa.get_ema_multi_avg_fn(decay)
    )
    for k in range(10):
        for name in params:
            module[name].data = torch.tensor(path[name][k])
        average.update_parameters(module)
    for name in params:
        expected = average.module[name].detach()
        np.testing.assert_allclose(state.average[name], expected, rtol=1e-12)


def test_master_copies_let_small_steps_add_up():
    optimizer = optim.master_copy(optim.sgd(1e-3))
    params = {"w": jnp.ones(4, jnp.bfloat16), "wide": jnp.ones(2)}
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        grads = jax.tree.map(jnp.ones_like, params)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    for _ in range(100):
        params, state = step(params, state)
        rounded = state.master["w"].astype(jnp.bfloat16)
        np.testing.assert_array_equal(params["w"], rounded)
    np.testing.assert_allclose(state.master["w"], 0.9, rtol=1e-5)
    np.testing.assert_allclose(params["wide"], 0.9, rtol=1e-5)
    assert state.master["w"].dtype == jnp.float32
    assert step._cache_size() == 1


def test_loss_scale_adapts_as_pytorch_does():
    optimizer = optim.loss_scale(
        optim.sgd(1.0), init_scale=1024.0, growth_interval=3, growth_factor=4.0
    )
    step = jax.jit(optimizer.update)
    state = optimizer.init({"w": jnp.zeros(1, jnp.float16)})
    scales = []
    # By hand from the documentation of torch.amp.GradScaler: three good steps grow the scale,
    # an overflow halves it and starts the count anew.
    for good in [1, 1, 0, 1, 1, 1, 1, 0]:
        grad = jnp.full(1, 2.0 if good else jnp.inf, jnp.float16)
        updates, state = step({"w": grad}, state)
        scales.append(float(state.scale))
        assert bool(jnp.isfinite(updates["w"]).all())
    assert scales == [1024, 1024, 512, 512, 512, 2048, 2048, 1024]
    assert int(state.skipped) == 2
    assert float(optim.scale_loss(state, jnp.float16(2.0))) == 2048
    updates, _ = step({"w": jnp.full(1, 2048.0, jnp.float16)}, state)
    np.testing.assert_allclose(updates["w"], -2.0)


PACKABLE = {
    "adamw": lambda: optim.adamw(0.1),
    "clipped": lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1, 0.9)),
    "prodigy": lambda: optim.prodigy(d0=1e-2),
    "accumulated": lambda: optim.accumulate(optim.nadam(0.1), 2),
}


@pytest.mark.parametrize("name", PACKABLE)
def test_packing_changes_no_number(name, x64):
    shapes = {"a": (4, 3), "b": (3,), "c": (), "d": (0, 2), "large": (40,)}
    params, noise = problem.make(8, shapes=shapes)
    plain, _ = problem.run(PACKABLE[name](), params, noise)
    path, state = problem.run(optim.packed(PACKABLE[name](), limit=20), params, noise)
    problem.assert_same(path, plain, rtol=1e-13)
    # Leaves of more than 20 elements stay alone, and so does one that fills no buffer with another.
    sizes = {x.shape for x in jax.tree.leaves(state) if x.ndim}
    assert (16,) in sizes
    assert (40,) in sizes
    assert (4, 3) not in sizes


def test_packing_fills_several_buffers(x64):
    params, noise = problem.make(5, shapes={f"w{i}": (2, 3) for i in range(7)})
    plain, _ = problem.run(optim.adamw(0.1), params, noise)
    path, state = problem.run(optim.packed(optim.adamw(0.1), limit=20), params, noise)
    problem.assert_same(path, plain, rtol=1e-13)
    moments = state.inner.slots["exp_avg"]
    assert [x.size for x in moments["packed"]["float64"]] == [18, 18]
    assert list(moments["alone"]) == ["w6"]


def test_packing_keeps_dtypes_apart_and_other_leaves_alone():
    params = {
        "a": jnp.ones(3),
        "b": jnp.ones(2, jnp.bfloat16),
        "c": jnp.ones((2, 2)),
        "d": jnp.ones(1, jnp.bfloat16),
        "n": jnp.arange(2),
        "none": None,
    }
    optimizer = optim.packed(optim.adam(0.1))
    step = jax.jit(optimizer.update, donate_argnums=1)
    state = optimizer.init(params)
    moments = state.inner.slots["exp_avg"]
    assert {dtype: [x.size for x in xs] for dtype, xs in moments["packed"].items()} == {
        "float32": [7],
        "bfloat16": [3],
    }
    assert set(moments["alone"]) == {"n", "none"}
    for _ in range(2):
        updates, state = step(params, state)
    assert updates["b"].dtype == jnp.bfloat16
    assert updates["c"].shape == (2, 2)
    np.testing.assert_array_equal(optim.apply_updates(params, updates)["n"], [0, 1])
    assert step._cache_size() == 1
    stacked = jax.tree.map(lambda p: jnp.stack([p, p]), {"a": params["a"], "c": params["c"]})
    states = jax.vmap(optimizer.init)(stacked)
    updates, _ = jax.vmap(optimizer.update)(stacked, states)
    np.testing.assert_allclose(updates["c"], -0.1, rtol=1e-4)


def test_packing_refuses_what_depends_on_shape():
    for one in (
        optim.lamb(),
        optim.muon(),
        optim.groups({"*": optim.sgd()}),
        optim.chain(optim.sgd(), optim.clip_by_norm(1.0)),
        optim.skip_nonfinite(optim.soap()),
    ):
        with pytest.raises(TypeError, match="packed joins leaves"):
            optim.packed(one)


def test_packed_optax(x64):
    optax = pytest.importorskip("optax")
    params, noise = problem.make(6)
    with jax.numpy_dtype_promotion("standard"):
        path, _ = problem.run(optim.packed(optax.adam(0.1)), params, noise)
        expected, _ = problem.run(optax.adam(0.1), params, noise)
    problem.assert_same(path, expected, rtol=1e-13)


def test_noise_fades_and_repeats():
    noise = optim.add_noise(eta=4.0, gamma=1.0, seed=3)
    zeros = {"a": jnp.zeros(20000), "b": jnp.zeros(20000)}
    step, state = jax.jit(noise.update), noise.init(zeros)
    first, after = step(zeros, state)
    again, _ = step(zeros, state)
    second, _ = step(zeros, after)
    # 20,000 samples: the deviation is known to half a percent.
    np.testing.assert_allclose(jnp.std(first["a"]), 2.0, rtol=0.03)
    np.testing.assert_allclose(jnp.std(second["a"]), 2.0 / np.sqrt(2), rtol=0.03)
    assert abs(np.corrcoef(first["a"], first["b"])[0, 1]) < 0.05
    np.testing.assert_array_equal(first["a"], again["a"])


def test_per_leaf_and_adaptive_clipping():
    grads = {"big": jnp.full((2, 8), 3.0), "small": jnp.full(4, 0.1)}
    clip = optim.clip_by_norm(2.0)
    clipped, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(jnp.linalg.norm(clipped["big"]), 2.0, rtol=1e-5)
    np.testing.assert_allclose(clipped["small"], 0.1, rtol=1e-6)
    params = {"big": jnp.array([[1.0] * 8, [0.0] * 8]), "small": jnp.full(4, 100.0)}
    clip = optim.adaptive_clip(0.1, eps=1e-2)
    clipped, _ = clip.update(grads, clip.init(params), params)
    norms = jnp.linalg.norm(clipped["big"], axis=1)
    np.testing.assert_allclose(norms, [0.1 * np.sqrt(8), 0.1 * 1e-2], rtol=1e-5)
    np.testing.assert_allclose(clipped["small"], 0.1, rtol=1e-6)


def test_global_norm_sums_16_bits_in_32():
    tree = {"a": jnp.full(4096, 1.0, jnp.float16), "b": jnp.full(4096, 300.0, jnp.float16)}
    np.testing.assert_allclose(optim.global_norm(tree), 64 * np.sqrt(1 + 9e4), rtol=1e-6)
    assert float(optim.global_norm({})) == 0
    np.testing.assert_allclose(optim.global_norm(jnp.array([3 + 4j])), 5.0)


@pytest.mark.parametrize("dense", [False, True], ids=["rows", "dense"])
def test_sparse_adam_equals_pytorch(dense, x64, rng):
    torch = pytest.importorskip("torch")
    table = rng.normal(size=(7, 3))
    theirs = torch.tensor(table, requires_grad=True)
    options = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}
    reference = torch.optim.SparseAdam([theirs], **options)
    optimizer = optim.sparse_adam(**options)
    params = {"table": jnp.asarray(table)}
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, rows, values):
        sparse = optim.RowSparse(rows, values)
        grads = sparse.add_to(jnp.zeros_like(params["table"])) if dense else sparse
        updates, state = optimizer.update({"table": grads}, state, params)
        return optim.apply_updates(params, updates), state

    for _ in range(8):
        rows, values = rng.integers(0, 7, 4), rng.normal(size=(4, 3))
        theirs.grad = torch.sparse_coo_tensor(rows[None], values, (7, 3), check_invariants=True)
        reference.step()
        params, state = step(params, state, rows, values)
        np.testing.assert_allclose(params["table"], theirs.detach(), rtol=1e-10)
    assert step._cache_size() == 1


def test_lookahead_and_wrappers_survive_jit_vmap_and_donation():
    inner = optim.adam(0.1)
    wrappers = [
        optim.lookahead(inner),
        optim.average(inner),
        optim.skip_nonfinite(inner),
        optim.accumulate(inner, 2),
        optim.master_copy(inner),
        optim.loss_scale(inner),
        optim.packed(inner),
        optim.freeze(inner, "b"),
    ]
    stacked = jax.tree.map(lambda p: jnp.stack([p, p]), PARAMS)
    for optimizer in wrappers:

        def whole(params, state, optimizer=optimizer):
            updates, state = optimizer.update(params, state, params)
            return optim.apply_updates(params, updates), state

        step = jax.jit(jax.vmap(whole), donate_argnums=(0, 1))
        params = jax.tree.map(jnp.copy, stacked)
        state = jax.vmap(optimizer.init)(params)
        for _ in range(2):
            params, state = step(params, state)
        assert step._cache_size() == 1
        lr = optim.hyperparams(state)["lr"]
        np.testing.assert_allclose(lr, 0.1, rtol=1e-6)
