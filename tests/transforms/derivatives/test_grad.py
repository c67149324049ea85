"""Gradients on any tree: constants, selections, and everything else as JAX has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T

# float32: at most a dozen roundings of 6e-8, and no term cancels another
ROUNDINGS = 1e-6


def tree():
    return {
        "weight": jnp.array([1.0, -2.0]),
        "count": jnp.array([3, 4], jnp.int16),
        "mask": np.array([True, False]),
        "number": 2,
        "scale": 3.0,
        "empty": jnp.zeros((0, 3)),
        "key": jax.random.key(1),
        "none": None,
    }


def loss(p):
    noise = jax.random.normal(p["key"], (2,))
    total = (p["weight"] ** 2 * p["count"].astype(jnp.float32) + 0.0 * noise).sum()
    return total * p["scale"] * jnp.where(p["mask"], 1.0, 0.5).sum() * float(p["number"])


def test_constants_have_zero_gradients_of_their_own_type():
    params = tree()
    value, grads = T.value_and_grad(loss)(params)
    assert value == loss(params)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    np.testing.assert_allclose(grads["weight"], [1 * 2 * 3 * 9, -2 * 2 * 4 * 9], rtol=ROUNDINGS)
    for name, dtype in (("count", jnp.int16), ("mask", jnp.bool_), ("number", jnp.int32)):
        assert grads[name].dtype == dtype
        assert grads[name].shape == np.shape(params[name])
        assert not np.any(grads[name])
    assert grads["key"].dtype == jax.dtypes.float0
    assert grads["empty"].shape == (0, 3)


def test_an_update_leaves_constants_alone():
    params = {name: leaf for name, leaf in tree().items() if name in ("weight", "count")}
    grads = T.grad(lambda p: (p["weight"] ** 2).sum())(params)
    new = jax.tree.map(lambda p, g: p - (0.1 * g.astype(float)).astype(p.dtype), params, grads)
    np.testing.assert_array_equal(new["count"], params["count"])
    np.testing.assert_allclose(new["weight"], 0.8 * params["weight"], rtol=ROUNDINGS)


def test_under_jit_and_vmap_too():
    params = tree()
    grads = jax.jit(T.grad(lambda w: loss({**params, **w})))(
        {"weight": params["weight"], "count": params["count"]}
    )
    np.testing.assert_allclose(grads["weight"], [54.0, -144.0], rtol=ROUNDINGS)
    many = {"weight": jnp.ones((3, 2)), "count": jnp.ones((3, 2), int)}
    rows = jax.vmap(T.grad(lambda w: loss({**params, **w})))(many)
    assert rows["count"].shape == (3, 2)
    assert rows["weight"].shape == (3, 2)


def test_leaves_that_are_no_arrays_have_gradient_none():
    model = {"weight": jnp.ones(2), "activation": jnp.tanh, "name": "dense"}
    grads = T.grad(lambda m: m["activation"](m["weight"]).sum())(model)
    np.testing.assert_allclose(grads["weight"], 1 - np.tanh(1.0) ** 2 * np.ones(2), rtol=ROUNDINGS)
    assert grads["activation"] is None
    assert grads["name"] is None


def test_allow_int_is_accepted_as_jax_accepts_it():
    fun = lambda p: p["x"] ** 2 * p["n"].astype(jnp.float32)
    p = {"x": jnp.float32(2.0), "n": jnp.array(3)}
    for derivative in (T.grad, T.jacrev):
        found = derivative(fun, allow_int=True)(p)
        assert (found["x"], found["n"]) == (12.0, 0)


def test_nothing_to_differentiate():
    value, grads = T.value_and_grad(lambda p: jnp.float32(p["a"].sum()))({"a": jnp.arange(3)})
    assert value == 3
    np.testing.assert_array_equal(grads["a"], np.zeros(3, int))


@pytest.mark.parametrize("argnums", [0, 1, -1, (0, 2), (2,), [1, 0]])
def test_argnums_and_aux_are_jax_s(argnums):
    def fun(x, y, z, *, power):
        total = (x["a"] * y) ** power + z
        return total, {"aux": total * 2}

    args = ({"a": 2.0}, 3.0, 4.0)
    ours = T.value_and_grad(fun, argnums, has_aux=True)(*args, power=2.0)
    theirs = jax.value_and_grad(fun, argnums, has_aux=True)(*args, power=2.0)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    gradient, aux = T.grad(fun, argnums, has_aux=True)(*args, power=2.0)
    jax.tree.map(np.testing.assert_array_equal, gradient, theirs[1])
    assert aux == theirs[0][1]


def test_the_jaxpr_is_jax_s_own():
    fun = lambda p, x: (jnp.tanh(x @ p["w"]) + p["b"]).sum()
    params, x = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}, jnp.ones((4, 3))
    ours = jax.make_jaxpr(T.value_and_grad(fun))(params, x)
    assert str(ours) == str(jax.make_jaxpr(jax.value_and_grad(fun))(params, x))


def test_errors_teach():
    with pytest.raises(TypeError, match="asks for positional argument 1, but the call has 1"):
        T.grad(lambda x: x, argnums=1)(1.0)
    with pytest.raises(TypeError, match="scalar-output"):
        T.grad(lambda x: x * 2)(jnp.ones(2))
    with pytest.raises(ValueError, match=r"'head\.\*' matches no path; there are: body"):
        T.grad(lambda p: p["body"].sum(), wrt="head.*")({"body": jnp.ones(2)})
    with pytest.raises(TypeError, match="wrt must be a glob, several globs or predicate"):
        T.grad(lambda p: p["body"].sum(), wrt=3)({"body": jnp.ones(2)})


def test_complex_leaves():
    z = {"z": jnp.array(1.0 + 2.0j), "n": 3}
    holomorphic = T.grad(lambda t: t["z"] * t["z"] * 2, holomorphic=True)(z)
    np.testing.assert_array_equal(holomorphic["z"], 4.0 + 8.0j)
    assert holomorphic["n"] == 0
    real = T.grad(lambda t: jnp.abs(t["z"]) ** 2)(z)["z"]
    np.testing.assert_allclose(real, jax.grad(lambda v: jnp.abs(v) ** 2)(z["z"]), rtol=ROUNDINGS)


PARAMS = {
    "body": {"weight": jnp.array([1.0, 2.0]), "step": jnp.array(5)},
    "head": {"weight": jnp.array([3.0]), "bias": jnp.array([4.0])},
}


def squares(p):
    return sum((leaf.astype(jnp.float32) ** 2).sum() for leaf in jax.tree.leaves(p))


@pytest.mark.parametrize(
    ("wrt", "kept"),
    [
        ("head.*", {"head.weight", "head.bias"}),
        (["head.bias", "body.*"], {"head.bias", "body.weight", "body.step"}),
        (lambda path, leaf: leaf.ndim == 1 and "weight" in path, {"head.weight", "body.weight"}),
    ],
)
def test_wrt_selects_leaves(wrt, kept):
    value, grads = jax.jit(T.value_and_grad(squares, wrt=wrt))(PARAMS)
    assert value == squares(PARAMS)
    for module, leaves in PARAMS.items():
        for name, leaf in leaves.items():
            found = grads[module][name]
            if f"{module}.{name}" not in kept:
                assert found is None
            elif name == "step":
                assert found == 0
            else:
                np.testing.assert_array_equal(found, 2 * leaf)


def test_wrt_costs_no_gradient_of_the_rest():
    def fun(p, x):
        return jnp.sum((x @ p["body"]) @ p["head"])

    p, x = {"body": jnp.ones((3, 4)), "head": jnp.ones((4, 2))}, jnp.ones((5, 3))
    jaxpr = str(jax.make_jaxpr(T.grad(fun, wrt="head"))(p, x))
    assert jaxpr.count("dot_general") == 2 + 1  # two forwards, one backwards


@pytest.mark.parametrize("transform", [T.grad, T.jacrev, T.jacfwd, T.hessian, T.laplacian])
def test_an_argument_has_one_derivative_and_a_number(transform):
    """With (0, 0) the first of two derivatives would be zeros."""
    for twice in ((0, 0), (1, -1)):
        with pytest.raises(ValueError, match="names an argument twice"):
            transform(lambda x, y: jnp.sum(x * y), argnums=twice)(jnp.ones(2), jnp.ones(2))
    for name in ("y", (0, "y")):
        with pytest.raises(TypeError, match="argnums are positions"):
            transform(lambda x, y: jnp.sum(x * y), argnums=name)(jnp.ones(2), jnp.ones(2))
