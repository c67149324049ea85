"""Every optimizer at its edges: leaves of every kind, 16 bits, the last step there is, the first wrong call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.optim.test_protocol import COMPLEX, MATRICES_ONLY, OPTIMIZERS

LAST = 2**31 - 1
RULES = sorted(OPTIMIZERS)
NO_COMPLEX = {"adafactor", "muon", "shampoo", "soap", "sparse_adam"}


@pytest.mark.parametrize("name", RULES)
def test_sixteen_bits_are_remembered_in_thirty_two(name):
    """What is summed over steps moves by less than 16 bits can tell."""
    optimizer = OPTIMIZERS[name]()
    for dtype in (jnp.bfloat16, jnp.float16):
        params = jnp.ones((4, 4), dtype)
        state = jax.eval_shape(optimizer.init, params)
        for leaf in jax.tree.leaves(state):
            assert leaf.dtype not in (jnp.bfloat16, jnp.float16), name
        updates, after = jax.eval_shape(optimizer.update, params, state, params)
        assert updates.dtype == dtype
        assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)


def test_a_second_moment_in_16_bits_follows_that_in_32():
    """With beta 0.999 a bfloat16 moment would stop at the first step that is below a 256th of it."""
    optimizer = optim.adam(0.1)
    params = {"half": jnp.zeros(1, jnp.bfloat16), "full": jnp.zeros(1)}
    state = optimizer.init(params)

    def step(state, scale):
        grads = jax.tree.map(lambda p: jnp.full(p.shape, scale, p.dtype), params)
        return optimizer.update(grads, state)[1], None

    # One large gradient, then a thousand small ones: the moment has to decay by exp(-1).
    state, _ = jax.lax.scan(step, state, jnp.array([16.0] + [0.0] * 1000))
    moment = state.slots["exp_avg_sq"]
    np.testing.assert_allclose(moment["half"], moment["full"], rtol=1e-6)
    np.testing.assert_allclose(moment["full"], 0.256 * 0.999**1000, rtol=1e-4)


def test_an_average_of_bf16_weights_moves():
    optimizer = optim.average(optim.sgd(0.0), 0.999)
    params = jnp.zeros(1, jnp.bfloat16)
    state = optimizer.init(params)

    def step(state, _):
        return optimizer.update(jnp.zeros(1, jnp.bfloat16), state, jnp.ones(1, jnp.bfloat16))[
            1
        ], None

    state, _ = jax.lax.scan(step, state, None, length=1000)
    np.testing.assert_allclose(state.average, 1 - 0.999**1000, rtol=1e-4)


def test_slow_parameters_in_16_bits_move():
    optimizer = optim.lookahead(optim.sgd(1.0), alpha=1e-3, k=1)
    params = jnp.ones(1, jnp.bfloat16)
    state = optimizer.init(params)
    for _ in range(4):
        _, state = optimizer.update(jnp.full(1, 0.5, jnp.bfloat16), state, params)
    assert float(state.slow[0]) < 1


@pytest.mark.parametrize("name", RULES)
def test_the_last_step_is_like_the_one_before(name):
    optimizer = OPTIMIZERS[name]()
    params = {"w": jnp.ones((2, 2))}
    step = jax.jit(optimizer.update)
    _, state = step(params, optimizer.init(params), params)
    for count in (2**24, LAST - 1, LAST):
        updates, after = step(params, state._replace(step=jnp.int32(count)), params)
        assert int(after.step) == min(count + 1, LAST)
        for leaf in jax.tree.leaves((updates, after)):
            assert np.isfinite(leaf).all(), (name, count)


def test_counters_of_wrappers_stop_or_start_anew():
    params = {"w": jnp.ones(2)}
    inner = optim.sgd(1.0)

    def last(optimizer, names, grads=None, **changed):
        state = optimizer.init(params)._replace(**{n: jnp.int32(LAST) for n in names}, **changed)
        _, state = optimizer.update(grads or params, state, params)
        return [int(getattr(state, name)) for name in names]

    bad = {"w": jnp.array([jnp.nan, 1.0])}
    assert last(optim.average(inner, None), ["step"]) == [LAST]
    assert last(optim.average(inner, None, start=LAST), ["step"]) == [LAST]
    assert last(optim.add_noise(), ["step"]) == [LAST]
    assert last(optim.skip_nonfinite(inner), ["skipped", "in_a_row"], bad) == [LAST, LAST]
    assert last(optim.loss_scale(inner), ["skipped"], bad) == [LAST]
    assert last(optim.loss_scale(inner, growth_interval=LAST), ["good_steps"]) == [0]
    assert last(optim.lookahead(inner, k=LAST), ["step"]) == [0]
    assert last(optim.accumulate(inner, LAST), ["micro_step"]) == [0]
    for make in (optim.accumulate, lambda o, n: optim.lookahead(o, k=n)):
        for wrong in (0, -1, 2.5, 2**31, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="whole number"):
                make(inner, wrong)


def test_a_loss_scale_stays_within_bounds():
    optimizer = optim.loss_scale(optim.sgd(1.0), growth_interval=1)
    params = {"w": jnp.zeros(2, jnp.float16)}
    good, bad = {"w": jnp.ones(2, jnp.float16)}, {"w": jnp.full(2, jnp.nan, jnp.float16)}

    def run(grads, steps, state):
        one = lambda state, _: (optimizer.update(grads, state, params)[1], None)
        return jax.lax.scan(one, state, None, length=steps)[0]

    grown = run(good, 300, optimizer.init(params))
    assert float(grown.scale) == 2.0**100
    assert float(run(bad, 1, grown).scale) == 2.0**99
    fallen = run(bad, 300, grown)
    assert float(fallen.scale) == 2.0**-24
    # Whatever the scale, NaN is let through to nothing.
    updates, after = optimizer.update(bad, fallen, params)
    assert np.isfinite(np.asarray(updates["w"], np.float32)).all()
    assert float(run(good, 1, after).scale) == 2.0**-23
    for wrong in ({"init_scale": 0.0}, {"growth_factor": float("inf")}, {"backoff_factor": -1.0}):
        with pytest.raises(ValueError):
            optim.loss_scale(optim.sgd(), **wrong)


SHAPES = [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3), (), (1,), (1, 1), (2, 3, 4)]


@pytest.mark.parametrize("name", RULES)
def test_leaves_of_odd_shapes(name):
    optimizer = OPTIMIZERS[name]()
    shapes = [s for s in SHAPES if len(s) == 2 or name not in MATRICES_ONLY]
    params = {str(shape): jnp.ones(shape) for shape in shapes}
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(params, state, params)
        assert {k: u.shape for k, u in updates.items()} == {k: p.shape for k, p in params.items()}
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((updates, state)))


@pytest.mark.parametrize("name", RULES)
def test_a_row_sparse_gradient_is_the_array_it_stands_for(name):
    optimizer = OPTIMIZERS[name]()
    params = {"table": jnp.arange(8.0).reshape(4, 2) + 1, "w": jnp.ones((2, 2))}
    sparse = optim.RowSparse(jnp.array([2, 0, 2, 9, -1]), jnp.arange(10.0).reshape(5, 2) - 3)
    whole = sparse.add_to(jnp.zeros((4, 2)))
    paths = []
    for gradient in (sparse, whole):
        p, state = params, optimizer.init(params)
        for _ in range(2):
            grads = {"table": gradient, "w": p["w"]}
            updates, state = optimizer.update(grads, state, p)
            p = optim.apply_updates(p, updates)
        paths.append(p)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *paths)


def test_clipping_comes_before_a_sparse_optimizer():
    table = jnp.ones((4, 2))
    grads = optim.RowSparse(jnp.array([2, 2]), jnp.full((2, 2), 30.0))
    for clip, expected in (
        (optim.clip_by_global_norm(1.0, eps=0.0), 2**-0.5),
        (optim.clip_by_norm(1.0, eps=0.0), 2**-0.5),
        (optim.clip_by_value(1.5), 1.5),
    ):
        for params in (None, table):
            clipped, _ = clip.update(grads, clip.init(table), params)
            assert isinstance(clipped, optim.RowSparse)
            # The row is named twice: its norm is that of the sum.
            np.testing.assert_allclose(clipped.add_to(jnp.zeros((4, 2)))[2], expected, rtol=1e-6)
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sparse_adam(0.1))
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(table), table)
    new = optim.apply_updates(table, updates)
    np.testing.assert_allclose(new[:, 0], [1, 1, 0.9, 1], rtol=1e-5)
    np.testing.assert_allclose(optim.global_norm(grads), 60 * 2**0.5, rtol=1e-6)


def test_rows_are_added_up_in_32_bits():
    """In bfloat16 a sum of ones stops at 256."""
    sparse = optim.RowSparse(jnp.zeros(4096, int), jnp.ones((4096, 1), jnp.bfloat16))
    assert float(sparse.add_to(jnp.zeros((2, 1), jnp.bfloat16))[0, 0]) == 4096
    assert float(sparse.coalesced(2).values[0, 0]) == 4096
    last = optim.RowSparse(jnp.array([-1, 2]), jnp.ones((2, 1)))
    np.testing.assert_array_equal(last.add_to(jnp.zeros((2, 1))), np.zeros((2, 1)))


@pytest.mark.parametrize("name", RULES)
def test_a_state_of_another_optimizer_is_named(name):
    params = {"w": jnp.ones((2, 2))}
    mine = OPTIMIZERS[name]()
    groups = optim.groups({"w": mine})
    other = optim.groups({"*": mine})
    wrapped = [
        optim.accumulate(mine, 2),
        optim.average(mine),
        optim.lookahead(mine),
        optim.master_copy(mine),
        optim.loss_scale(mine),
        optim.skip_nonfinite(mine),
    ]
    for one in wrapped:
        with pytest.raises(TypeError, match="expected the state that init"):
            one.update(params, mine.init(params), params)
    for wrong in (mine.init(params), other.init(params), (), {}):
        with pytest.raises(ValueError, match=r"groups of \['w'\] got a state of"):
            groups.update(params, wrong, params)
    with pytest.raises(ValueError, match="chain of 2 got a state of"):
        optim.chain(mine, optim.identity()).update(params, mine.init(params), params)
    with pytest.raises(TypeError, match="expected the state that init"):
        mine.update(params, groups.init(params), params)


def test_leaves_of_one_path_are_kept_apart():
    params = {"a.b": jnp.array([1.0]), "a": {"b": jnp.array([2.0])}, "c": [{"a": jnp.ones(1)}]}
    grads = {"a.b": jnp.array([10.0]), "a": {"b": jnp.array([20.0])}, "c": [{"a": jnp.ones(1)}]}
    for optimizer in (
        optim.groups({"c.*": optim.sgd(0.5), "*": optim.sgd(1.0, momentum=0.5)}),
        optim.freeze(optim.sgd(1.0), "c.*"),
        optim.mask(optim.scale(-1.0), "a.*"),
        optim.packed(optim.sgd(1.0, momentum=0.5), limit=0),
        optim.packed(optim.sgd(1.0, momentum=0.5)),
    ):
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        assert float(updates["a.b"][0]) == -10.0
        assert float(updates["a"]["b"][0]) == -20.0


def test_lbfgs_leaves_constants_alone():
    params = {
        "n": jnp.arange(3),
        "w": 3.0,
        "b": jnp.ones(2, jnp.bfloat16),
        "flag": True,
        "none": None,
    }

    def loss(p):
        return (
            (p["w"] - 1) ** 2 + jnp.sum(p["b"].astype("float32") ** 2) + p["n"].sum().astype(float)
        )

    optimizer = optim.lbfgs(line_search_fn="strong_wolfe")
    moved = {"w": params["w"], "b": params["b"]}
    value, grads = jax.value_and_grad(lambda m: loss({**params, **m}))(moved)
    grads = {"n": np.zeros(3, jax.dtypes.float0), "flag": None, "none": None, **grads}
    updates, state = optimizer.update(grads, optimizer.init(params), params, value=value, loss=loss)
    new = optim.apply_updates(params, updates)
    np.testing.assert_allclose(new["w"], 1.0, rtol=1e-3)
    assert new["n"].tolist() == [0, 1, 2]
    assert new["flag"] is True
    assert new["none"] is None
    assert state.direction.dtype == jnp.float32
    # A leaf without a gradient stays, though the loss depends on it.
    held, _ = optimizer.update(
        {**grads, "w": None}, optimizer.init(params), params, value=value, loss=loss
    )
    assert held["w"] is None
    assert float(jnp.abs(held["b"]).max()) > 0


def test_sam_and_hutchinson_take_constants():
    params = {"n": jnp.arange(2), "w": jnp.array([3.0, 4.0]), "none": None}

    def loss(p):
        return jnp.sum(p["w"] ** 2) + p["n"].sum().astype(float)

    _, grads = optim.sam(loss, rho=0.5)(params)
    np.testing.assert_allclose(grads["w"], [6.6, 8.8], rtol=1e-6)
    _, grads = optim.sam(loss, rho=0.5, adaptive=True)(params)
    assert np.isfinite(grads["w"]).all()
    diagonal = optim.hutchinson(loss, jax.random.key(0))(params)
    np.testing.assert_allclose(diagonal["w"], [2.0, 2.0])
    assert diagonal["n"].tolist() == [0, 1]


def test_complex_gradients_are_conjugated_by_one_function():
    """What a loop that takes any optimizer has to call on the gradients of ``jax.grad``."""
    from funcnet.optim.gradients.conjugate import conjugated

    target = jnp.array([1j, -2 + 1j])

    def loss(p):
        return jnp.sum(jnp.abs(p["z"] - target) ** 2) + p["x"] ** 2

    for name in COMPLEX:
        if name in ("lamb", "prodigy"):  # Their step lengths make this problem a slow one.
            continue
        optimizer = OPTIMIZERS[name]()
        params = {"z": jnp.ones(2, jnp.complex64), "x": jnp.array(1.0)}
        state = optimizer.init(params)

        def step(carry, _, optimizer=optimizer):
            params, state = carry
            grads = conjugated(jax.grad(loss)(params))
            updates, state = optimizer.update(grads, state, params)
            return (optim.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, state), None, length=200)
        assert float(loss(params)) < 0.5, name


def test_what_is_typed_first_is_answered():
    params = {"w": jnp.ones(2)}
    for name in [*OPTIMIZERS, "lbfgs"]:
        make = getattr(optim, name)
        with pytest.raises(TypeError, match="takes no parameters; they go to init"):
            make(params, lr=0.1)
        with pytest.raises(
            TypeError, match=rf"groups are patterns.*}}, optim\.{name}, lr=\.\.\.\)"
        ):
            make([{"params": params, "lr": 0.1}], lr=0.1)
        with pytest.raises(TypeError, match="it is called lr"):
            make(learning_rate=0.1)
        with pytest.raises(TypeError, match="leave it out"):
            make(fused=True)
    optimizer = optim.adamw()
    for attribute, told in (
        ("step", "apply_updates"),
        ("zero_grad", "jax.grad"),
        ("param_groups", "with_hyperparams"),
        ("state_dict", "pytree"),
    ):
        for one in (
            optimizer,
            optim.chain(optimizer),
            optim.groups({"*": optimizer}),
            optim.muon(),
        ):
            with pytest.raises(AttributeError, match=told):
                getattr(one, attribute)
    for package, attribute, told in (
        (optim, "AdamW", r"optim\.adamw"),
        (optim, "SGD", r"optim\.sgd"),
        (optim, "SparseAdam", r"optim\.sparse_adam"),
        (optim, "lr_scheduler", "schedule"),
        (optim.schedules, "StepLR", r"schedules\.step"),
        (optim.schedules, "OneCycleLR", r"schedules\.one_cycle"),
    ):
        with pytest.raises(AttributeError, match=told):
            getattr(package, attribute)
    assert dir(optim) == sorted(optim.__all__)
    assert dir(optim.schedules) == sorted(optim.schedules.__all__)


def test_numbers_of_the_hand_and_of_the_optimizer():
    params = {"w": jnp.ones(1)}

    def rate(optimizer, state):
        updates, state = jax.jit(optimizer.update)(params, state, params)
        return -float(updates["w"][0]), state

    falling = optim.sgd(optim.schedules.exponential(1.0, 0.5))
    _, state = rate(falling, falling.init(params))
    assert rate(falling, state)[0] == 0.5
    # A number set by hand takes the place of the schedule.
    by_hand = optim.with_hyperparams(state, lr=0.125)
    for _ in range(2):
        found, by_hand = rate(falling, by_hand)
        assert found == 0.125
    # A number's optimizer goes on with its own number, and that can be changed.
    plain = optim.sgd(0.25)
    found, after = rate(plain, state)
    assert found == 0.25
    assert rate(plain, optim.with_hyperparams(after, lr=2.0))[0] == 2.0
    assert rate(plain, optim.with_hyperparams(state, lr=2.0))[0] == 2.0
    # A schedule's optimizer goes on with its schedule.
    _, state = rate(plain, plain.init(params))
    assert rate(falling, state)[0] == 0.5
    # Nothing changes in structure along a scan, whichever optimizer the state is from.
    scheduled = falling.init(params)
    scan = jax.lax.scan(lambda s, _: (plain.update(params, s)[1], None), scheduled, None, length=2)
    assert float(optim.hyperparams(scan[0])["lr"]) == 0.25


@pytest.mark.parametrize("name", [*RULES, "packed", "accumulate"])
def test_gradients_of_another_shape_are_refused(name):
    """NumPy would broadcast them: gradients of four examples, not averaged, would make four models of one."""
    params = {"w": jnp.ones((2, 2)), "v": jnp.ones((2, 2))}
    wrappers = {
        "packed": lambda: optim.packed(optim.adam(0.1)),
        "accumulate": lambda: optim.accumulate(optim.adam(0.1), 2),
    }
    optimizer = wrappers[name]() if name in wrappers else OPTIMIZERS[name]()
    state = optimizer.init(params)
    for shape in ((4, 2, 2), (2, 1), (), (4,)):
        grads = {"w": jnp.ones(shape), "v": jnp.ones((2, 2))}
        with pytest.raises(ValueError, match="averaged first"):
            optimizer.update(grads, state, params)
        with pytest.raises(ValueError, match=r"apply_updates: .*and its parameter \(2, 2\)"):
            optim.apply_updates(params, grads)
