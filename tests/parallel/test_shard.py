"""parallel.shard: arrays are born in parts, gathered where they are used, and stay where they lie."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim, parallel, training, transforms
from funcnet.core.paths import leaves_with_paths
from funcnet.module.sharding import initial_parts
from tests.parallel.rules.models import only_sampled

KEY = jax.random.key(3)
MESH = parallel.mesh(data=-1)
SMALL = parallel.fsdp(smallest=1)


class Block(nn.Module):
    """A residual block with a norm, two linear maps and dropout."""

    def __init__(self, width=8, rate=0.0):
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(rate)

    def __call__(self, x):
        return x + self.dropout(self.down(jnp.tanh(self.up(self.norm(x)))))


MODELS = {
    "unrolled": lambda: nn.Sequential(Block(), Block()),
    "unrolled with dropout": lambda: nn.Sequential(
        Block(rate=0.5), nn.BatchNorm1d(8), Block(rate=0.5)
    ),
    "repeated": lambda: nn.Repeat(Block(rate=0.5), 2),
    "repeated, all again": lambda: nn.Repeat(Block(), 2, remat=True),
    "repeated, nothing again": lambda: nn.Repeat(Block(rate=0.5), 2, remat=False),
    "repeated, everything kept": lambda: nn.Repeat(Block(), 2, remat="everything"),
    "remat": lambda: nn.Sequential(nn.Remat(Block(rate=0.5)), nn.Remat(Block(), policy="costly")),
    "repeat of repeat": lambda: nn.Repeat(nn.Repeat(Block(), 2), 2),
    "vmapped": lambda: nn.Sequential(nn.Vmap(Block(), 4, in_axes=0)),
    "tied": lambda: nn.Sequential(shared := nn.Linear(8, 8), nn.Tanh(), shared),
    "lora": lambda: nn.lora(
        nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)), "*", rank=4
    ),
    "weight norm": lambda: nn.Sequential(nn.weight_norm(nn.Linear(8, 8)), nn.Tanh()),
    "attention": lambda: Attending(),
    "recurrent": lambda: Recurrent(),
}

SAMPLE = {"unrolled with dropout", "repeated", "attention"}


class Attending(nn.Module):
    """Attention reads the weights of its output projection without calling it."""

    def __init__(self):
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.5)

    def __call__(self, x):
        return self.attention(x[None], x[None], x[None])[0][0]


class Recurrent(nn.Module):
    """A cell that nn.Scan runs over the rows."""

    def __init__(self):
        self.scan = nn.Scan(Cell())

    def __call__(self, x):
        return self.scan(jnp.zeros(8), x)[1]


class Cell(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(8, 8)

    def __call__(self, carry, x):
        carry = jnp.tanh(self.linear(carry + x))
        return carry, carry


def both(model):
    net = fn.functionalize(model)
    return net, parallel.shard(net, MESH, {"*": SMALL})


def same(ours, theirs, **tolerance):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, **{"atol": 1e-5, "rtol": 1e-5, **tolerance})


def lies(tree, placement):
    for path, array in leaves_with_paths(tree):
        assert array.sharding.is_equivalent_to(placement.sharding(path), array.ndim), path


INPUT = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)


def value_and_grad(net):
    """Loss, gradient and state of a training step, under jit."""

    @jax.jit
    def run(params, state, x):
        def loss(params):
            output, left = net.apply(params, state, x, key=jax.random.key(1), train=True)
            return (output**2).mean(), left

        return jax.value_and_grad(loss, has_aux=True)(params)

    return run


@pytest.mark.parametrize("name", MODELS)
def test_a_sharded_model_is_the_same_model(request, name):
    only_sampled(request, name, SAMPLE)
    net, sharded = both(MODELS[name]())
    params, state = net.init(KEY)
    parts, left = sharded.init(KEY)
    same((parts, left), (params, state), atol=0, rtol=0)
    lies(parts, sharded.placement)
    assert any(any(spec) for spec in sharded.placement.specs.values())
    x = INPUT if name != "vmapped" else np.stack([INPUT] * 4)
    expected = value_and_grad(net)(params, state, x)
    found = value_and_grad(sharded)(parts, left, jax.device_put(x, parallel.batch_sharding(MESH)))
    same(found, expected)
    lies(found[1], sharded.placement)  # gradients come back in parts


# ---- born in parts -------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [1, 10**9], ids=["by each device", "by the host"])
def test_arrays_are_born_in_parts_with_the_same_bits(monkeypatch, large):
    monkeypatch.setattr(initial_parts, "LARGE", large)
    model = nn.Sequential(
        nn.Repeat(Block(), 3), nn.BatchNorm1d(8), nn.Linear(8, 12), nn.Embedding(8, 4)
    )
    net, sharded = both(model)
    expected = net.init(KEY)
    found = sharded.init(KEY)
    same(found, expected, atol=0, rtol=0)
    lies(found[0], sharded.placement)
    lies(found[1], sharded.placement)
    weight = found[0]["0"]["module"]["up"]["weight"]
    assert {part.data.shape for part in weight.addressable_shards} == {(3, 4, 8)}
    same(jax.jit(sharded.init)(KEY), expected, atol=0, rtol=0)


def test_no_device_ever_holds_the_whole_of_an_array(monkeypatch):
    """The program that draws a matrix needs a quarter of the memory of one that draws it on one device."""

    def of_one_device(init, shape, dtype, sizes, words):
        whole = jax.sharding.NamedSharding(MESH, jax.sharding.PartitionSpec())
        program = original(init, shape, dtype, sizes, whole)
        return program.lower(KEY, words).compile().memory_analysis().temp_size_in_bytes

    programs = []
    original = initial_parts._program.__wrapped__

    def noted(*args):
        program = original(*args)
        programs.append((program, args))
        return program

    monkeypatch.setattr(initial_parts, "_program", noted)
    for model in (
        nn.Linear(512, 2048, bias=False),
        nn.Repeat(nn.Linear(1024, 1024, bias=False), 2),
    ):
        sharded = parallel.shard(fn.functionalize(model), MESH, {"*": "fsdp"})
        sharded.init(KEY)
        program, args = programs.pop()
        _, shape, _, sizes, _ = args
        words = jax.ShapeDtypeStruct((max(sizes, default=1), 2), jnp.uint32)
        memory = program.lower(KEY, words).compile().memory_analysis()
        whole = int(np.prod((*sizes, *shape))) * 4
        assert memory.output_size_in_bytes == whole // 4
        assert memory.temp_size_in_bytes <= 0.26 * of_one_device(*args[:4], words)


def test_an_ensemble_of_inits():
    net, sharded = both(nn.Linear(8, 4))
    keys = jax.random.split(KEY, 4)
    params, _ = jax.vmap(sharded.init)(keys)
    same(params, jax.vmap(net.init)(keys)[0])
    outputs = jax.vmap(lambda p, x: sharded.apply(p, {}, x)[0], (0, None))(params, INPUT)
    assert outputs.shape == (4, 4, 4)


def test_lazy_layers_need_an_example():
    net = fn.functionalize(nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 4)))
    with pytest.raises(ValueError, match=r"shapes of 0.weight are learned"):
        parallel.shard(net, MESH, {"*": SMALL})
    sharded = parallel.shard(net, MESH, {"*": SMALL}, INPUT)
    params, state = sharded.init(KEY, INPUT)
    lies(params, sharded.placement)
    assert sharded.placement.specs["0.weight"]
    same(sharded.apply(params, state, INPUT)[0], net.apply(*net.init(KEY, INPUT), INPUT)[0])


# ---- everything else that a model can do ---------------------------------------------------------

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


# ---- step after step -----------------------------------------------------------------------------


@pytest.mark.parametrize("follows", [True, False], ids=["shard_optimizer", "by propagation"])
def test_everything_stays_where_it_lies_step_after_step(follows):
    model = nn.Sequential(Block(), nn.BatchNorm1d(8), nn.Linear(8, 4))
    net = parallel.shard(fn.functionalize(model), MESH, {"*": SMALL})
    optimizer = optim.adam(1e-2)
    if follows:
        optimizer = parallel.shard_optimizer(optimizer, net)
    run = training.TrainState.create(net, optimizer, KEY)
    before = jax.tree.leaves((run.params, run.state, run.opt_state.slots))
    objective = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    step = jax.jit(training.make_train_step(objective, optimizer), donate_argnums=0)
    shardings = [x.sharding for x in before]
    batch = jax.device_put({"x": INPUT, "y": np.arange(4)}, parallel.batch_sharding(MESH))
    for _ in range(3):
        run, _ = step(run, batch)
    after = jax.tree.leaves((run.params, run.state, run.opt_state.slots))
    for array, sharding in zip(after, shardings, strict=True):
        assert array.sharding.is_equivalent_to(sharding, array.ndim)


def test_batches_lie_over_the_axes_for_data():
    spec = jax.sharding.PartitionSpec
    assert parallel.batch_sharding(MESH).spec == spec("data")
    assert parallel.batch_sharding(parallel.mesh(data=2, fsdp=2)).spec == spec(("data", "fsdp"))
    assert parallel.batch_sharding(parallel.mesh(rows=4), "rows").spec == spec("rows")
    with pytest.raises(ValueError, match="no axis 'data'"):
        parallel.batch_sharding(parallel.mesh(model=4))


def test_an_fsdp_axis_comes_before_the_data_axis():
    net = parallel.shard(
        fn.functionalize(nn.Linear(8, 4)), parallel.mesh(data=2, fsdp=2), {"*": SMALL}
    )
    assert net.placement.specs["weight"] == jax.sharding.PartitionSpec(None, "fsdp")


@pytest.mark.parametrize(
    ("net", "mesh", "error", "message"),
    [
        (NET, parallel.mesh(explicit=True, data=-1), ValueError, "automatic axes"),
        (NET, {"data": 4}, TypeError, "a mesh of devices"),
        (nn.Linear(3, 2), MESH, TypeError, "functionalize"),
    ],
)
def test_what_is_no_model_or_no_mesh_of_automatic_axes(net, mesh, error, message):
    with pytest.raises(error, match=message):
        parallel.shard(net, mesh, {})
