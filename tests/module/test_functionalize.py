"""From layers to pure functions: the trees, the calls, the modes, the keys, the buffers."""

import copy
import pickle
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet.core.paths import flatten
from tests.module.models import Counter, Dense, Nest, Noise, Tied, built, normal

pytestmark = pytest.mark.smoke


def test_params_are_nested_dicts_keyed_by_attribute_and_position():
    _, params, state = built(Nest())
    assert sorted(flatten(params)) == sorted(
        f"{layer}.{name}"
        for layer in ("layers.0", "layers.1.0", "heads.left", "heads.right")
        for name in ("weight", "bias")
    )
    assert flatten(state).keys() == {"counter.calls"}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves((params, state)))


def test_a_stateless_module_has_empty_state():
    net, params, state = built(Dense(3, 2))
    assert state == {}
    output, state = net.apply(params, state, jnp.ones((4, 3)))
    assert state == {}
    assert output.shape == (4, 2)


def test_a_functional_unpacks_into_two_functions():
    init, apply = fn.functionalize(Dense(3, 2))
    assert apply(*init(jax.random.key(0)), jnp.ones(3))[0].shape == (2,)


def test_apply_returns_changed_buffers_and_leaves_its_arguments_alone():
    net, params, state = built(Counter())
    _, after = net.apply(params, state, jnp.ones(2))
    _, after = net.apply(params, after, jnp.ones(2))
    assert int(after["calls"]) == 2
    assert int(state["calls"]) == 0


def test_buffers_keep_the_dtype_they_were_bound_with():
    class Mean(fn.Module):
        def __init__(self):
            self.mean = fn.Buffer((2,), jax.nn.initializers.zeros)

        def __call__(self, x):
            self.mean = x.mean(0)
            return x

    net, params, state = built(Mean())
    _, after = net.apply(params, state, jnp.ones((3, 2), jnp.bfloat16))
    assert after["mean"].dtype == jnp.float32


def test_the_description_is_never_touched():
    module = Nest()
    before = {id(m): dict(vars(m)) for m in [module, module.counter, *module.layers[:1]]}
    net, params, state = built(module)
    net.apply(params, state, jnp.ones(3), train=True, key=jax.random.key(1))
    for m in [module, module.counter, *module.layers[:1]]:
        assert vars(m) == before[id(m)]


def test_a_bound_module_is_an_ordinary_object():
    module = Nest()
    _, params, state = built(module)
    model = fn.bind(module, params, state, train=True, key=jax.random.key(0))
    assert model.layers[0].weight is params["layers"]["0"]["weight"]
    assert model.heads["left"](jnp.ones(3)).shape == (2,)
    assert model.training
    assert model.name == "nest"
    model(jnp.ones(3))
    assert int(fn.unbind(model)[1]["counter"]["calls"]) == 1
    assert fn.bind(model, params, state).training is False


def test_functionalize_takes_a_bound_method_with_arguments():
    module = Tied()
    encode = fn.functionalize(module.encode)
    params, state = encode.init(jax.random.key(0))
    output, _ = encode.apply(params, state, jnp.ones(4), scale=2.0)
    expected = 2 * (params["encoder"]["weight"] @ jnp.ones(4))
    np.testing.assert_allclose(output, expected, rtol=1e-6)  # float32, rounded once or twice


def test_part_of_a_bound_module_runs_inside_scan_with_its_own_keys_and_state():
    class Deep(fn.Module):
        def __init__(self):
            self.block = Nest()

        def __call__(self, x):
            block = fn.functionalize(self.block)
            params, state = fn.unbind(self.block)

            def body(carry, key):
                x, state = carry
                heads, state = block.apply(params, state, x, key=key, train=self.training)
                return (x + heads["left"].sum(), state), None

            keys = jax.random.split(self.next_key(), 5)
            (x, state), _ = jax.lax.scan(body, (x, state), keys)
            self.block.counter.calls = state["counter"]["calls"]
            return x

    net, params, state = built(Deep())
    _, state = jax.jit(lambda p, s, k: net.apply(p, s, jnp.ones(3), key=k, train=True))(
        params, state, jax.random.key(3)
    )
    assert int(state["block"]["counter"]["calls"]) == 5


def test_tying_is_one_leaf_whose_gradients_add_up():
    net, params, _ = built(Tied())
    assert flatten(params).keys() == {"encoder.weight", "encoder.bias", "decoder.bias"}
    x = jnp.arange(4.0)

    def untied(first, second):
        hidden = jnp.tanh(first @ x + params["encoder"]["bias"])
        return jnp.sum(second @ hidden + params["decoder"]["bias"])

    tied = jax.grad(lambda p: net.apply(p, {}, x)[0].sum())(params)["encoder"]["weight"]
    weight = params["encoder"]["weight"]
    first, second = jax.grad(untied, (0, 1))(weight, weight)
    np.testing.assert_allclose(tied, first + second, rtol=1e-5)  # float32: sums in another order


def test_a_module_reached_twice_is_stored_once_and_shares_its_buffers():
    class Twice(fn.Module):
        def __init__(self):
            self.first = Counter()
            self.again = self.first

        def __call__(self, x):
            return self.again(self.first(x))

    net, params, state = built(Twice())
    assert flatten(state).keys() == {"first.calls"}
    assert int(net.apply(params, state, jnp.ones(1))[1]["first"]["calls"]) == 2


def test_one_buffer_under_two_modules_changes_for_both():
    class Pair(fn.Module):
        def __init__(self):
            self.a, self.b = Counter(), Counter()
            self.b.calls = self.a.calls

        def __call__(self, x):
            return self.b(self.a(x))

    net, params, state = built(Pair())
    assert int(net.apply(params, state, jnp.ones(1))[1]["a"]["calls"]) == 2


def test_containers_of_buffers_are_assigned_whole():
    class Ring(fn.Module):
        def __init__(self):
            self.cells = [fn.Buffer((2,), jax.nn.initializers.zeros) for _ in range(2)]
            self.named = {"a": fn.Buffer((), jax.nn.initializers.zeros)}

        def __call__(self, x):
            self.cells = [x, self.cells[0]]
            self.named = {"a": x.sum()}
            return self.cells[1]

    net, params, state = built(Ring())
    _, state = net.apply(params, state, jnp.ones(2))
    output, state = net.apply(params, state, jnp.zeros(2))
    np.testing.assert_array_equal(output, jnp.ones(2))
    np.testing.assert_array_equal(state["cells"]["1"], jnp.ones(2))
    assert float(state["named"]["a"]) == 0


def test_keys_differ_between_layers_and_draws_and_repeat_with_the_same_key():
    class Draws(fn.Module):
        def __init__(self):
            self.a, self.b = Noise(), Noise()

        def __call__(self, x):
            return jnp.stack([self.a(x), self.b(x), self.a(x)])

    net, params, state = built(Draws())
    run = lambda seed: net.apply(
        params, state, jnp.zeros(()), key=jax.random.key(seed), train=True
    )[0]
    assert len(set(run(0).tolist())) == 3
    np.testing.assert_array_equal(run(0), run(0))
    assert set(run(0).tolist()).isdisjoint(run(1).tolist())


def test_the_mode_and_an_absent_key_are_fine_where_nothing_is_drawn():
    net, params, state = built(Nest())
    net.apply(params, state, jnp.ones(3))


def test_two_threads_may_trace_one_module_at_once():
    net, params, state = built(Nest())
    expected = net.apply(params, state, jnp.ones(3), key=jax.random.key(0), train=True)
    failures = []

    def trace():
        for _ in range(5):
            got = jax.jit(
                lambda p, s: net.apply(p, s, jnp.ones(3), key=jax.random.key(0), train=True)
            )(params, state)
            for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
                if not np.allclose(a, b, rtol=1e-5):  # jitted or not: fused differently
                    failures.append((a, b))

    threads = [threading.Thread(target=trace) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_module_applied_inside_its_own_transform():
    module = Dense(3, 3)
    net, params, state = built(module)

    def outer(params, x):
        inner = jax.grad(lambda x: net.apply(params, state, x)[0].sum())(x)
        return net.apply(params, state, inner)[0].sum()

    gradient = jax.jit(jax.grad(outer))(params, jnp.ones(3))
    assert gradient["weight"].shape == (3, 3)


def test_plain_jax_transforms_compose(few_objects):
    net, params, state = built(Dense(3, 2))
    loss = lambda p, x: (net.apply(p, state, x)[0] ** 2).sum()
    x = jnp.ones((4, 3))
    per_sample = jax.vmap(jax.grad(loss), (None, 0))(params, x)
    whole = jax.grad(loss)(params, x)
    for a, b in zip(jax.tree.leaves(per_sample), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a.sum(0), b, rtol=1e-5)  # float32: sums in another order
    ensemble = jax.vmap(net.init)(jax.random.split(jax.random.key(0), 3))
    assert jax.vmap(net.apply, (0, 0, None))(*ensemble, x)[0].shape == (3, 4, 2)
    with jax.checking_leaks():
        jax.jit(jax.grad(loss))(params, x)


def test_the_jaxpr_is_that_of_the_plain_function():
    net, params, state = built(Dense(3, 2))

    def plain(params, x):
        return x @ params["weight"].T + params["bias"]

    ours = jax.make_jaxpr(lambda p, x: net.apply(p, state, x)[0])(params, jnp.ones((4, 3)))
    assert str(ours) == str(jax.make_jaxpr(plain)(params, jnp.ones((4, 3))))


def test_descriptions_can_be_copied_and_pickled():
    module = Dense(3, 2)
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        _, params, _ = built(again)
        assert params["weight"].shape == (2, 3)
        assert again.weight is not module.weight


def test_inherited_calls_run_once():
    class Louder(Dense):
        def __call__(self, x):
            return 2 * super().__call__(x)

    net, params, state = built(Louder(3, 2))
    seen = []
    net.apply.__self__.apply_observed(
        lambda path, module, output: seen.append(path) or output, params, state, jnp.ones(3)
    )
    assert seen == [""]


def test_parameters_may_live_in_the_root_under_any_attribute():
    class Bare(fn.Module):
        def __init__(self):
            self._scale = fn.Parameter(3, normal)

        def __call__(self, x):
            return x * self._scale

    _, params, _ = built(Bare())
    assert params["_scale"].shape == (3,)


def test_calls_with_arguments_of_applys_own_names_are_given_them():
    class Own(fn.Module):
        def __call__(self, x, *, key=None, train=False, state=None, params=None):
            drawn = None if key is None else jax.random.uniform(key)
            return x, drawn, train, state, params

    net = fn.functionalize(Own())
    key = jax.random.key(4)
    output, _ = net.apply({}, {}, 1, key=key, train=True, state="s", params="p")
    assert output == (1, jax.random.uniform(key), True, "s", "p")
    assert net.apply({}, {}, 1)[0] == (1, None, False, None, None)

    class Attends(fn.Module):
        def __call__(self, query, key, value):
            return query * key + value + jax.random.uniform(self.next_key()) * 0

    net = fn.functionalize(Attends())
    assert net.apply({}, {}, 2.0, 3.0, 4.0, key=key)[0] == 10.0
    with pytest.raises(fn.errors.MissingKeyError):
        net.apply({}, {}, 2.0, key=jnp.float32(3), value=4.0)
