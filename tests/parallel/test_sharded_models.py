"""A model that parallel.shard returned does what a model does: transforms, capture, buffers, loading, parts."""

import copy
import pickle

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet import nn, parallel, transforms
from funcnet.core.paths import leaves_with_paths
from tests.parallel.rules.models import only_sampled
from tests.parallel.sharded_models import (
    INPUT,
    KEY,
    MESH,
    Block,
    both,
    lies,
    same,
    value_and_grad,
)

NET, SHARDED = both(nn.Sequential(Block(), nn.Repeat(Block(), 2)))
PARAMS, PARTS = NET.init(KEY)[0], SHARDED.init(KEY)[0]


def loss(net):
    return lambda params, x: (net.apply(params, {}, x)[0] ** 2).mean()


TRANSFORMS = {
    "eager": lambda f: lambda p: f(p, INPUT),
    "eager grad": lambda f: jax.grad(lambda p: f(p, INPUT)),
    "forward mode": lambda f: jax.jit(lambda p: jax.jvp(lambda p: f(p, INPUT), (p,), (p,))),
    "hessian times vector": lambda f: jax.jit(
        lambda p: jax.jvp(jax.grad(lambda p: f(p, INPUT)), (p,), (p,))[1]
    ),
    "reverse over reverse": lambda f: jax.jit(
        jax.grad(lambda p: sum(map(jnp.vdot, *map(jax.tree.leaves, (jax.grad(f)(p, INPUT), p)))))
    ),
    "gradient of each example": lambda f: jax.jit(
        lambda p: jax.vmap(jax.grad(f), (None, 0))(p, INPUT[:, None])
    ),
    "checkpoint": lambda f: jax.jit(jax.grad(lambda p: jax.checkpoint(f)(p, INPUT))),
    "scan": lambda f: jax.jit(
        jax.grad(lambda p: jax.lax.scan(lambda c, x: (c + f(p, x), None), 0.0, INPUT[:, None])[0])
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_work_as_on_one_device(request, name):
    only_sampled(request, name, {"eager", "hessian times vector"})
    transform = TRANSFORMS[name]
    same(transform(loss(SHARDED))(PARTS), transform(loss(NET))(PARAMS), atol=1e-4, rtol=1e-4)


def test_params_from_elsewhere_are_put_in_place():
    same(SHARDED.apply(PARAMS, {}, INPUT)[0], NET.apply(PARAMS, {}, INPUT)[0])


def test_arrays_of_other_shapes_are_told_as_on_one_device():
    wrong = {**PARTS, "0": {**PARTS["0"], "up": {**PARTS["0"]["up"], "weight": jnp.ones((3, 3))}}}
    with pytest.raises(fn.errors.ShapeMismatchError, match=r"0.up.weight has shape \(3, 3\)"):
        SHARDED.apply(wrong, {}, INPUT)


def test_loaded_arrays_are_put_where_they_lie_once(tmp_path):
    path = fn.checkpoint.save_weights(tmp_path / "w.safetensors", SHARDED.module, PARTS, {})
    params, _ = map(SHARDED.placement.kept, fn.checkpoint.load_weights(path, SHARDED.module))
    lies(params, SHARDED.placement)
    same(params, PARAMS, atol=0, rtol=0)


def test_a_placement_is_copied_and_not_pickled():
    assert copy.deepcopy(SHARDED).placement is SHARDED.placement
    with pytest.raises(TypeError, match=r"call parallel\.shard where they are loaded"):
        pickle.dumps(SHARDED)


def test_capture_and_intervene_keep_the_placement():
    patterns = ["0.up", "1.*.up", "0.norm"]
    seeing = [fn.capture(net, patterns) for net in (NET, SHARDED)]
    assert seeing[1].placement is SHARDED.placement
    expected, found = (
        jax.jit(lambda p, net=net: net.apply(p, {}, INPUT)[0])(p)
        for net, p in zip(seeing, (PARAMS, PARTS), strict=True)
    )
    assert list(found[1]) == list(expected[1])
    same(found, expected)
    edited = [fn.intervene(net, {"0.up": jnp.zeros_like}) for net in (NET, SHARDED)]
    same(edited[1].apply(PARTS, {}, INPUT)[0], edited[0].apply(PARAMS, {}, INPUT)[0])


def test_a_layer_that_is_called_twice_is_captured_twice():
    class Twice(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(8, 8)

        def __call__(self, x):
            return self.layer(self.layer(x))

    nets = [fn.capture(net, "layer") for net in both(Twice())]
    expected, found = (net.apply(net.init(KEY)[0], {}, INPUT)[0] for net in nets)
    assert list(found[1]) == ["layer", "layer#2"]
    same(found, expected)


class Counting(nn.Module):
    """Normalizes twice, so that the second call reads what the first assigned; its parent assigns as well."""

    def __init__(self):
        self.norm = nn.BatchNorm1d(8)
        self.other = nn.BatchNorm1d(8)
        self.other.running_var = self.norm.running_var

    def __call__(self, x):
        self.norm.running_mean = self.norm.running_mean + 1
        return self.other(self.norm(3 * self.norm(x) + 1))


@pytest.mark.parametrize("name", ["called", "remat"])
def test_buffers_in_parts_that_are_assigned_more_than_once(request, name):
    only_sampled(request, name, {"called"})
    net, sharded = both(nn.Remat(Counting()) if name == "remat" else Counting())
    (params, state), (parts, left) = net.init(KEY), sharded.init(KEY)
    assert any(sharded.placement.specs[path] for path, _ in leaves_with_paths(left))
    found = value_and_grad(sharded)(parts, left, INPUT)
    same(found, value_and_grad(net)(params, state, INPUT))
    lies(found[0][1], sharded.placement)


def test_a_loop_around_a_layer_with_buffers_in_parts():
    """In evaluation nothing is assigned, so nothing leaks out of the loop."""

    class Looped(nn.Module):
        def __init__(self):
            self.norm = nn.BatchNorm1d(8)

        def __call__(self, xs):
            return jax.lax.map(lambda x: self.norm(x[None])[0], xs)

    net, sharded = both(Looped())
    same(sharded.apply(*sharded.init(KEY), INPUT)[0], net.apply(*net.init(KEY), INPUT)[0])


def test_outputs_and_arguments_that_are_no_arrays():
    class Tagged(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter((8, 8), nn.init.normal())
            self.count = nn.Buffer((), nn.init.zeros(), jnp.int32)

        def __call__(self, x, name, scale=None):
            self.count = self.count + 1
            return {"name": name, "value": x @ self.weight, "scale": scale}

    _, sharded = both(Tagged())
    params, state = sharded.init(KEY)
    output, state = sharded.apply(params, state, INPUT, "features", scale=None)
    assert output["name"] == "features"
    assert output["scale"] is None
    assert int(state["count"]) == 1


def test_a_part_that_is_lifted_by_hand():
    class Lifted(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(8, 8)

        def __call__(self, xs):
            layer, (params, state) = fn.functionalize(self.layer), fn.unbind(self.layer)
            return jax.lax.map(lambda x: jnp.tanh(layer.apply(params, state, x)[0]), xs)

    net, sharded = both(Lifted())
    params, parts = net.init(KEY)[0], sharded.init(KEY)[0]
    same(jax.grad(loss(sharded))(parts, INPUT), jax.grad(loss(net))(params, INPUT))


def test_only_some_params_are_trained():
    trained, frozen = transforms.partition(PARTS, "0.*")

    @jax.jit
    def grads(trained):
        return jax.grad(lambda t: loss(SHARDED)(transforms.merge(t, frozen), INPUT))(trained)

    expected = jax.grad(loss(NET))(PARAMS, INPUT)["0"]
    same(jax.tree.leaves(grads(trained)), jax.tree.leaves(expected))


def test_inside_shard_map_an_array_is_a_part_and_stays_as_it_is():
    spec = jax.sharding.PartitionSpec
    net = parallel.shard(fn.functionalize(nn.Linear(8, 4)), MESH, {})
    params, _ = net.init(KEY)
    run = jax.shard_map(
        lambda p, x: net.apply(p, {}, x)[0],
        mesh=MESH,
        in_specs=(spec(), spec("data")),
        out_specs=spec("data"),
    )
    same(run(params, jnp.asarray(INPUT)), net.apply(params, {}, INPUT)[0])


def test_summary_of_the_description():
    assert (
        fn.summary(SHARDED.module, (4, 8)).parameters == fn.summary(NET.module, (4, 8)).parameters
    )
