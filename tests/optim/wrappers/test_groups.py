"""Groups, masks and frozen leaves, by dotted path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from funcnet.core.paths import leaves_with_paths

PARAMS = {
    "encoder": {"weight": jnp.array([1.5, -0.0, jnp.nan]), "bias": jnp.ones(2)},
    "layers": [{"weight": jnp.ones((2, 2)), "bias": jnp.ones(2)}],
    "head": {"weight": jnp.ones((2, 3)), "bias": jnp.ones(3)},
}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)


def step(optimizer, params=PARAMS, grads=GRADS):
    updates, state = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    return optim.apply_updates(params, updates), state


@pytest.mark.smoke
def test_each_leaf_gets_the_first_pattern_that_matches():
    optimizer = optim.groups({"encoder.*": None, "*.bias": optim.sgd(0.1), "*": optim.sgd(0.01)})
    new, state = step(optimizer)
    np.testing.assert_allclose(new["layers"][0]["bias"], 0.9)
    np.testing.assert_allclose(new["head"]["bias"], 0.9)
    np.testing.assert_allclose(new["head"]["weight"], 0.99)
    assert set(optim.hyperparams(state)) == {"*.bias.lr", "*.lr"}


def test_frozen_leaves_stay_bit_for_bit():
    for optimizer in (
        optim.groups({"encoder.*": None, "*": optim.adamw(0.1)}),
        optim.freeze(optim.adamw(0.1), "encoder.*"),
    ):
        new, state = step(optimizer)
        for name, before in PARAMS["encoder"].items():
            assert np.asarray(new["encoder"][name]).tobytes() == np.asarray(before).tobytes()
        assert not any("encoder" in path for path in state["*"].slots["exp_avg"])
        assert np.asarray(new["head"]["bias"]).max() < 1


def test_settings_that_differ_from_the_common_ones():
    rate = optim.schedules.exponential(0.1, 0.5)
    optimizer = optim.groups(
        {"*.bias": {"weight_decay": 0.0}, "head.*": {"lr_scale": 10.0}, "*": {}},
        optim.adamw,
        lr=rate,
        weight_decay=0.5,
    )
    _, state = step(optimizer)
    read = optim.hyperparams(state)
    np.testing.assert_allclose(read["*.bias.lr"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(read["head.*.lr"], 1.0, rtol=1e-6)
    assert "*.bias.weight_decay" not in read
    np.testing.assert_allclose(read["*.weight_decay"], 0.5)


def test_describe_names_every_leaf_once():
    optimizer = optim.groups({"encoder.*": None, "*.bias": optim.sgd(0.1), "*": optim.adam()})
    text = optimizer.describe(jax.eval_shape(lambda: PARAMS))
    lines = text.splitlines()
    assert lines[0] == "encoder.*: frozen, 2 arrays, 5 numbers"
    assert lines[3] == "*.bias: lr=0.1, 2 arrays, 5 numbers"
    assert lines[6].startswith("*: lr=0.001, betas=(0.9, 0.999)")
    paths = [path for path, _ in leaves_with_paths(PARAMS)]
    assert sorted(line.split()[0] for line in lines if line.startswith("  ")) == sorted(paths)


def test_patterns_that_cannot_be_meant_raise():
    with pytest.raises(ValueError, match=r"'decoder.\*' matches no path"):
        optim.groups({"decoder.*": optim.sgd(), "*": optim.sgd()}).init(PARAMS)
    with pytest.raises(ValueError, match=r"no pattern matches .*head\.weight"):
        optim.groups({"*.bias": optim.sgd()}).init(PARAMS)
    with pytest.raises(ValueError, match="matches no path"):
        optim.freeze(optim.sgd(), "nothing.*").init(PARAMS)
    with pytest.raises(TypeError, match="name the optimizer"):
        optim.groups({"*": {"lr": 0.1}})
    with pytest.raises(TypeError, match="give lr"):
        optim.groups({"*": {"lr_scale": 0.1}}, optim.sgd)
    with pytest.raises(TypeError, match="None to freeze"):
        optim.groups({"*": 0.1})


def test_mask_passes_the_others_on():
    optimizer = optim.chain(
        optim.mask(optim.add_decayed_weights(0.5), ["head.weight", "layers.*.weight"]),
        optim.sgd(1.0),
    )
    new, _ = step(optimizer)
    np.testing.assert_allclose(new["head"]["weight"], 1 - 1.5)
    np.testing.assert_allclose(new["layers"][0]["weight"], 1 - 1.5)
    np.testing.assert_allclose(new["head"]["bias"], 0.0)


def test_members_may_be_optax_and_extra_trees_are_split():
    optax = pytest.importorskip("optax")
    with jax.numpy_dtype_promotion("standard"):
        new, _ = step(optim.groups({"head.*": optax.sgd(0.5), "*": optim.sgd(0.25)}))
    np.testing.assert_allclose(new["head"]["bias"], 0.5)
    np.testing.assert_allclose(new["layers"][0]["bias"], 0.75)
    optimizer = optim.groups({"encoder.*": None, "*": optim.sophia(0.1)})
    updates, state = optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS, hessian=GRADS)
    np.testing.assert_allclose(updates["head"]["bias"], -0.1)
    np.testing.assert_allclose(state["*"].slots["hessian_avg"]["head.bias"], 0.01, rtol=1e-5)


def test_nested_groups_see_whole_paths():
    inner = optim.groups({"*.bias": optim.sgd(0.5), "*": optim.sgd(0.25)})
    new, _ = step(optim.groups({"head.*": inner, "*": None}))
    np.testing.assert_allclose(new["head"]["bias"], 0.5)
    np.testing.assert_allclose(new["head"]["weight"], 0.75)


def test_a_pattern_behind_the_one_that_matches_all_is_refused():
    with pytest.raises(ValueError, match="put it last, behind 'head"):
        optim.groups({"*": {}, "head.*": {"lr_scale": 10.0}}, optim.adamw, lr=1e-3)


@pytest.mark.parametrize("patterns", ["*", ["a", "*"], ["*", "a"]])
def test_everything_can_be_frozen(patterns):
    optimizer = optim.freeze(optim.sgd(1.0), patterns)
    params = {"a": jnp.ones(2), "b": jnp.ones(1)}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))


def test_a_mask_of_everything_is_the_transformation():
    scaled = optim.mask(optim.scale(3.0), "*")
    updates, _ = scaled.update({"a": jnp.ones(1)}, scaled.init({"a": jnp.ones(1)}))
    assert updates["a"].tolist() == [3.0]
