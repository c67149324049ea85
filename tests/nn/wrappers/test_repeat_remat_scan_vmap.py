"""Repeat, Remat, Scan and Vmap against the same computation written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.core import errors


class Block(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)

    def __call__(self, x):
        return x + self.dropout(self.norm(self.linear(x)))


def built(module, *inputs):
    net = fn.functionalize(module)
    return net, *net.init(jax.random.key(0), *inputs)


def same(a, b, rtol=1e-5):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        # float32: a scan fuses what a loop does not
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6)


@pytest.fixture
def x(rng):
    return rng.standard_normal((5, 4), np.float32)


@pytest.mark.parametrize("options", [{}, {"remat": True}, {"unroll": 2}])
def test_repeat_is_a_sequence_of_blocks(x, options):
    stacked, plain = nn.Repeat(Block(), 3, **options), nn.Sequential(*(Block() for _ in range(3)))
    net, params, state = built(stacked)
    reference, its_params, its_state = built(plain)
    # the same initial values under the same names
    same(fn.state_dict(stacked, params, state), fn.state_dict(plain, its_params, its_state))

    def gradients(net, module):
        # without randomness: dropout's masks are drawn from different keys
        def loss(params, state):
            output, state = net.apply(params, state, x)
            return (output**2).sum(), state

        (value, _), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
            *fn.load_state_dict(module, fn.state_dict(stacked, params, state))
        )
        return value, fn.state_dict(module, grads)

    ours, theirs = gradients(net, stacked), gradients(reference, plain)
    same(ours, theirs, 1e-4)


def test_repeat_updates_each_layers_buffers_and_draws_its_own_keys(x):
    class Noisy(nn.Module):
        def __init__(self):
            self.norm = nn.BatchNorm1d(4)

        def __call__(self, x):
            return self.norm(x) + jax.random.normal(self.next_key(), (4,))

    net, params, state = built(nn.Repeat(Noisy(), 3))
    run = jax.jit(lambda key: net.apply(params, state, x, key=key, train=True))
    first, after = run(jax.random.key(1))
    assert after["module"]["norm"]["num_batches_tracked"].tolist() == [1, 1, 1]
    means = after["module"]["norm"]["running_mean"]
    assert not np.allclose(means[1], means[2])
    np.testing.assert_array_equal(first, run(jax.random.key(1))[0])
    assert not np.allclose(first, run(jax.random.key(2))[0])


def test_the_program_of_repeat_does_not_grow():
    def size(n):
        net, params, state = built(nn.Repeat(Block(), n))
        return len(
            str(jax.make_jaxpr(lambda p, s: net.apply(p, s, jnp.ones((5, 4))))(params, state))
        )

    assert size(48) < size(2) * 1.1


def test_repeats_within_repeats_and_lists(x):
    class Outer(nn.Module):
        def __init__(self):
            self.stages = [nn.Repeat(nn.Sequential(nn.Repeat(nn.Linear(4, 4), 2), nn.Tanh()), 3)]

        def __call__(self, x):
            return self.stages[0](x)

    module = Outer()
    net, params, state = built(module)
    named = fn.state_dict(module, params, state)
    assert params["stages"]["0"]["module"]["0"]["module"]["weight"].shape == (3, 2, 4, 4)
    assert len(named) == 12
    assert "stages.0.2.0.1.weight" in named
    again, _ = fn.load_state_dict(module, named)
    same(again, params, 0)
    expected = x
    for stage in range(3):
        for layer in range(2):
            name = f"stages.0.{stage}.0.{layer}"
            expected = expected @ named[f"{name}.weight"].T + named[f"{name}.bias"]
        expected = jnp.tanh(expected)
    # float32: sums in another order
    np.testing.assert_allclose(net.apply(params, state, x)[0], expected, rtol=1e-5, atol=1e-6)


def test_a_missing_layer_of_a_stack_is_named():
    module = nn.Repeat(nn.Linear(4, 4), 3)
    named = dict(fn.state_dict(module, *built(module)[1:]))
    del named["1.bias"]
    with pytest.raises(errors.StateDictError, match=r"missing: 1\.bias"):
        fn.load_state_dict(module, named)


def test_remat_changes_neither_values_nor_names(x):
    plain, wrapped = (
        nn.Sequential(Block(), Block()),
        nn.Sequential(nn.Remat(Block()), nn.Remat(Block())),
    )
    net, params, state = built(plain)
    its = fn.functionalize(wrapped)
    named = fn.state_dict(plain, params, state)
    theirs = fn.load_state_dict(wrapped, named)
    grad = lambda net, p, s: jax.grad(lambda p: (net.apply(p, s, x, train=False)[0] ** 2).sum())(p)
    same(
        fn.state_dict(plain, grad(net, params, state)),
        fn.state_dict(wrapped, grad(its, *theirs)),
    )
    assert "remat" in str(jax.make_jaxpr(lambda p: its.apply(p, theirs[1], x)[0])(theirs[0]))
    _, after = its.apply(*theirs, x, train=True, key=jax.random.key(0))
    assert int(after["0"]["module"]["norm"]["num_batches_tracked"]) == 1


class Cell(nn.Module):
    """A step that has parameters, counts, and draws."""

    def __init__(self):
        self.linear = nn.Linear(4, 4)
        self.count = nn.Buffer((), nn.init.zeros(), jnp.int32)

    def __call__(self, carry, x):
        self.count = self.count + 1
        noise = jax.random.normal(self.next_key(), x.shape) if self.training else 0.0
        carry = jnp.tanh(self.linear(carry) + x + noise)
        return carry, {"y": carry * 2}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_is_a_loop(rng, axis, reverse):
    module = nn.Scan(Cell(), axis=axis, reverse=reverse, unroll=2)
    net, params, state = built(module)
    xs = rng.standard_normal((6, 3, 4), np.float32)
    carry, ys = jax.jit(lambda xs: net.apply(params, state, jnp.zeros((3, 4)), xs)[0])(
        np.moveaxis(xs, 0, axis)
    )
    cell, expected, outputs = (
        fn.bind(Cell(), params["module"], state["module"]),
        jnp.zeros((3, 4)),
        [],
    )
    for x in xs[::-1] if reverse else xs:
        expected, y = cell(expected, x)
        outputs.append(y["y"])
    same(carry, expected)
    same(np.moveaxis(ys["y"], axis, 0), np.stack(outputs[::-1] if reverse else outputs))
    assert sorted(fn.state_dict(module, params, state)) == ["count", "linear.bias", "linear.weight"]
    _, after = net.apply(
        params,
        state,
        jnp.zeros((3, 4)),
        np.moveaxis(xs, 0, axis),
        train=True,
        key=jax.random.key(0),
    )
    assert int(after["module"]["count"]) == 6


def test_vmap_with_copies_is_a_list_of_models(x):
    module = nn.Vmap(Block(), 3, in_axes=None, out_axes=1)
    net, params, state = built(module)
    output, _ = net.apply(params, state, x)
    for copy in range(3):
        one = jax.tree.map(lambda leaf, copy=copy: leaf[copy], (params["module"], state["module"]))
        # float32: sums in another order
        np.testing.assert_allclose(output[:, copy], fn.bind(Block(), *one)(x), rtol=1e-5, atol=1e-6)
    assert "2.linear.weight" in fn.state_dict(module, params, state)
    assert not np.allclose(
        params["module"]["linear"]["weight"][0], params["module"]["linear"]["weight"][1]
    )
    _, after = net.apply(params, state, x, train=True, key=jax.random.key(0))
    assert after["module"]["norm"]["running_mean"].shape == (3, 4)


def test_vmap_without_copies_shares_parameters_and_averages_buffers(rng):
    module = nn.Vmap(nn.BatchNorm1d(4))
    net, params, state = built(module)
    xs = rng.standard_normal((3, 8, 4), np.float32)
    output, after = net.apply(params, state, xs, train=True)
    each = [
        fn.functionalize(nn.BatchNorm1d(4)).apply(params["module"], state["module"], x, train=True)
        for x in xs
    ]
    same(output, np.stack([out for out, _ in each]))
    same(after["module"]["running_var"], np.mean([s["running_var"] for _, s in each], 0))
    assert int(after["module"]["num_batches_tracked"]) == 1


def test_lazy_layers_within_wrappers(x):
    for module, example in (
        (nn.Repeat(nn.Sequential(nn.LazyLinear(4)), 3), x),
        (nn.Remat(nn.LazyLinear(4)), x),
        (nn.Vmap(nn.LazyLinear(2), 3), np.ones((3, 5, 4), np.float32)),
    ):
        net, params, state = built(module, example)
        assert jax.tree.leaves(params)[-1].shape[-1] == 4
        net.apply(params, state, example)


def test_mistakes(x):
    with pytest.raises(ValueError, match="n must be greater"):
        nn.Repeat(nn.Linear(4, 4), 0)
    net, params, state = built(nn.Repeat(nn.Linear(4, 2), 2))
    with pytest.raises(ValueError, match="must be like what it is given"):
        net.apply(params, state, x)
    with pytest.raises(ValueError, match="in_axes must map"):
        nn.Vmap(nn.Linear(4, 4), in_axes=None)
    net, params, state = built(nn.Vmap(nn.Linear(4, 4), in_axes=(0, None)))
    with pytest.raises(ValueError, match="2 entries for 1 arguments"):
        net.apply(params, state, x)

    class Tied(nn.Module):
        def __init__(self):
            self.outside = nn.Linear(4, 4)
            inside = nn.Linear(4, 4)
            inside.weight = self.outside.weight
            self.stack = nn.Repeat(inside, 2)

        def __call__(self, x):
            return self.stack(self.outside(x))

    with pytest.raises(
        errors.ModuleDefinitionError, match=r"stack\.module\.weight is tied to outside\.weight"
    ):
        fn.functionalize(Tied())


def test_a_stack_of_one(x):
    net, params, state = built(nn.Repeat(nn.Linear(4, 4), 1))
    assert params["module"]["weight"].shape == (1, 4, 4)
    expected = x @ params["module"]["weight"][0].T + params["module"]["bias"][0]
    # float32: sums in another order
    np.testing.assert_allclose(net.apply(params, state, x)[0], expected, rtol=1e-5, atol=1e-6)
