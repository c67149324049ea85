"""Batch norms folded into convolutions and linear layers: the outputs stay, PyTorch's arrays come out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, parallel
from tests.sampling import sampled

SIZES = {1: (9,), 2: (6, 5), 3: (4, 5, 3)}


def started(module, seed=0):
    """Draw a model's arrays, the running statistics and the norms' weights too."""
    params, state = fn.functionalize(module).init(jax.random.key(seed))
    rng = np.random.default_rng(seed)

    def drawn(x):
        return jnp.asarray(rng.uniform(0.5, 2, x.shape), x.dtype) if x.dtype != jnp.int32 else x

    return jax.tree.map(drawn, params), jax.tree.map(drawn, state)


def same_outputs(module, fuse, x, **options):
    """Fuse a model, compare outputs in evaluation, and return what came out."""
    params, state = started(module)
    before = fn.functionalize(module).apply(params, state, x)[0]
    made = fuse(module, params, state, **options)
    after = fn.functionalize(made[0]).apply(*made[1:], x)[0]
    assert after.dtype == before.dtype
    # float32: products in another order
    np.testing.assert_allclose(after, before, rtol=2e-6, atol=1e-6 * float(jnp.abs(before).max()))
    return made


GRID = list(
    itertools.product((1, 2, 3), (False, True), (1, 2), (False, True), (False, True), (False, True))
)


@pytest.mark.parametrize("number", range(len(GRID)), ids=lambda n: "-".join(map(str, GRID[n])))
def test_outputs_stay(number, request):
    sampled(request, number % 40 == 0)
    axes, transpose, groups, bias, affine, channels_last = GRID[number]
    kind = f"ConvTranspose{axes}d" if transpose else f"Conv{axes}d"
    conv = getattr(nn, kind)(
        4, 6, 2, stride=2, groups=groups, bias=bias, channels_last=channels_last
    )
    norm = getattr(nn, f"BatchNorm{axes}d")(6, affine=affine, channels_last=channels_last)
    spatial = SIZES[axes]
    shape = (2, *spatial, 4) if channels_last else (2, 4, *spatial)
    x = jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)
    model = nn.Sequential(conv, norm, nn.ReLU())
    fused, params, state = same_outputs(model, nn.utils.fuse_conv_bn, x)
    assert isinstance(fused[1], nn.Identity)
    assert not state
    assert {path: sorted(tree) for path, tree in params.items()} == {"0": ["bias", "weight"]}
    assert isinstance(model[1], getattr(nn, f"BatchNorm{axes}d"))


@pytest.mark.parametrize(
    ("kind", "args", "transpose"),
    [("Conv2d", (4, 6, 3), False), ("ConvTranspose2d", (4, 6, 3), True)],
)
@pytest.mark.parametrize(("bias", "affine"), [(True, True), (False, True), (True, False)])
def test_arrays_are_pytorchs(kind, args, transpose, bias, affine):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    conv, norm = getattr(torch.nn, kind)(*args, bias=bias), torch.nn.BatchNorm2d(6, affine=affine)
    with torch.no_grad():
        for tensor in (*norm.parameters(), norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 2)
    theirs = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval(), transpose=transpose)
    model = nn.Sequential(getattr(nn, kind)(*args, bias=bias), nn.BatchNorm2d(6, affine=affine))
    given = torch.nn.Sequential(conv, norm).state_dict()
    arrays = fn.load_state_dict(model, {name: tensor.numpy() for name, tensor in given.items()})
    _, params, _ = nn.utils.fuse_conv_bn(model, *arrays)
    for name, tensor in theirs.state_dict().items():
        # float32
        np.testing.assert_allclose(params["0"][name], tensor, rtol=1e-6, atol=1e-6)


def test_linear_layers_are_pytorchs():
    torch = pytest.importorskip("torch")
    linear, norm = torch.nn.Linear(3, 5, bias=False), torch.nn.BatchNorm1d(5)
    linear = torch.nn.Linear(3, 5)
    norm.running_mean.uniform_(0.5, 2)
    theirs = torch.nn.utils.fusion.fuse_linear_bn_eval(linear.eval(), norm.eval())
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    given = torch.nn.Sequential(linear, norm).state_dict()
    arrays = fn.load_state_dict(model, {name: tensor.numpy() for name, tensor in given.items()})
    _, params, _ = nn.utils.fuse_linear_bn(model, *arrays)
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(params["0"][name], tensor.detach(), rtol=1e-6, atol=1e-6)
    same_outputs(model, nn.utils.fuse_linear_bn, jnp.ones((4, 3)))
    last = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5, channels_last=True))
    same_outputs(last, nn.utils.fuse_linear_bn, jnp.ones((4, 2, 3)))


class Block(nn.Module):
    def __init__(self, width):
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.Identity(), nn.BatchNorm2d(width)
        )

    def __call__(self, x):
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        return jax.nn.relu(self.bn2(self.conv2(y)) * 0.01 + self.shortcut(x))


PAIRS = [("conv1", "bn1"), ("conv2", "bn2")]


def test_blocks_by_the_names_of_their_parts_also_in_stacks():
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 4, 6, 6)), jnp.float32)
    model = nn.Sequential(nn.Conv2d(4, 4, 1), Block(4), nn.Repeat(Block(4), 2))
    fused, params, state = same_outputs(model, nn.utils.fuse_conv_bn, x, pairs=PAIRS)
    assert not state
    assert params["2"]["module"]["conv1"]["bias"].shape == (2, 4)
    names = fn.state_dict(fused, params, state)
    assert set(names) == {
        name.replace(*swap)
        for name in fn.state_dict(model, *fn.functionalize(model).init(jax.random.key(0)))
        for swap in [("bn", "conv"), ("shortcut.2", "shortcut.0")]
        if not any(
            gone in name.replace(*swap) for gone in ("running", "num_batches", "bn", "shortcut.2")
        )
    }
    some, _, left = same_outputs(
        model, nn.utils.fuse_conv_bn, x, pairs=PAIRS, patterns=["1.*", "2.*.conv1"]
    )
    assert isinstance(some[1].bn2, nn.Identity)
    assert list(left) == ["2"]


def test_functionals_transforms_and_sixteen_bits():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, dtype=jnp.bfloat16), nn.BatchNorm2d(3, dtype=jnp.bfloat16)
    )
    params, state = started(model)

    @jax.jit
    def fused(params, state):
        return nn.utils.fuse_conv_bn(fn.functionalize(model), params, state)[1:]

    made, _ = fused(params, state)
    assert {array.dtype for array in jax.tree.leaves(made)} == {jnp.dtype(jnp.bfloat16)}
    many = jax.vmap(fused)(*jax.tree.map(lambda x: jnp.stack([x, x]), (params, state)))
    np.testing.assert_array_equal(many[0]["0"]["weight"][1], made["0"]["weight"])


def _tied():
    first, second = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    second.weight = first.weight
    return nn.Sequential(first, nn.BatchNorm2d(2), second)


def _twice():
    conv = nn.Conv2d(2, 2, 1)
    return nn.Sequential(conv, nn.BatchNorm2d(2), conv)


def _norm_twice():
    norm = nn.BatchNorm2d(2)
    return nn.Sequential(nn.Conv2d(2, 2, 1), norm, nn.Conv2d(2, 2, 1), norm)


class Own(nn.Conv2d):
    def __call__(self, input):
        return super().__call__(input) + 1


MISTAKES = {
    "no running statistics": (
        nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)),
        {},
    ),
    "tied": (_tied(), {}),
    "used twice": (_twice(), {}),
    "a norm used twice": (_norm_twice(), {}),
    "nothing": (nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)), {}),
    "a call of its own": (nn.Sequential(Own(2, 2, 1), nn.BatchNorm2d(2)), {}),
    "its own call by name": (
        nn.Sequential(Own(2, 2, 1), nn.BatchNorm2d(2)),
        {"pairs": [("0", "1")]},
    ),
    "channels": (nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(3)), {}),
    "channels_last": (nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, channels_last=True)), {}),
    "no such names": (Block(2), {"pairs": [("conv3", "bn1")]}),
    "no norm": (Block(2), {"pairs": [("conv1", "conv2")]}),
    "two norms": (Block(2), {"pairs": [("conv1", "bn1"), ("conv1", "bn2")]}),
    "no pair": (Block(2), {"pairs": ["conv1"]}),
    "pattern": (Block(2), {"patterns": "conv3"}),
}
SENTENCES = {
    "no running statistics": "track_running_stats=False",
    "tied": "is tied to another",
    "used twice": "0 stands in 2 places",
    "a norm used twice": "1 stands in 2 places",
    "nothing": "found no convolution",
    "a call of its own": "found no convolution",
    "its own call by name": "0 is no plain layer",
    "channels": "1 has 3 channels, but 0 makes 2",
    "channels_last": "same channels_last",
    "no such names": "no module of the model has both",
    "no norm": "conv2 is no batch norm",
    "two norms": "name one of them",
    "no pair": "two names each",
    "pattern": "matches no convolution",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    module, options = MISTAKES[name]
    arrays = fn.functionalize(module).init(jax.random.key(0))
    with pytest.raises(ValueError, match=SENTENCES[name]):
        nn.utils.fuse_conv_bn(module, *arrays, **options)


def test_a_wrapper_is_not_taken_for_what_it_wraps():
    x = jnp.ones((1, 2, 3, 3))
    module = nn.Repeat(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)), 2)
    fused, params, _ = same_outputs(module, nn.utils.fuse_conv_bn, x)
    assert isinstance(fused, nn.Repeat)
    assert params["module"]["0"]["bias"].shape == (2, 2)


def test_what_is_tied_can_be_left_out():
    x = jnp.ones((1, 2, 3, 3))
    model = nn.Sequential(_tied(), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    fused, _, state = same_outputs(model, nn.utils.fuse_conv_bn, x, patterns="1")
    assert list(state) == ["0"]
    assert fused[0][0].weight is fused[0][2].weight
    shared = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    same_outputs(nn.Sequential(shared, nn.ReLU(), shared), nn.utils.fuse_conv_bn, x)


def test_arrays_that_lie_on_a_mesh_stay_there(request):
    sampled(request)
    mesh = parallel.mesh(data=-1)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 4, 1), nn.BatchNorm2d(4)
    )
    net = parallel.shard(fn.functionalize(model), mesh, {"*weight": "fsdp"})
    params, state = net.init(jax.random.key(0))
    x = jnp.ones((4, 4, 2, 2))
    before, _ = net.apply(params, state, x)
    fused, params, state = nn.utils.fuse_conv_bn(net, params, state)
    after, _ = fn.functionalize(fused).apply(params, state, x)
    np.testing.assert_allclose(after, before, rtol=2e-6, atol=1e-6)  # float32: sums over devices
    vector = nn.utils.parameters_to_vector(params)
    back = nn.utils.vector_to_parameters(vector, params)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    clipped, norm = jax.jit(nn.utils.clip_grad_norm)(params, 1.0)
    np.testing.assert_allclose(nn.utils.get_total_norm(clipped), 1, rtol=1e-5)
    assert jax.tree.leaves(clipped)[0].sharding.device_set == set(mesh.devices.flat)
    np.testing.assert_allclose(norm, jnp.linalg.norm(vector), rtol=1e-6)


def test_in_64_bits(x64):
    model = nn.Sequential(nn.Conv1d(2, 3, 2, dtype=jnp.float64), nn.BatchNorm1d(3))
    params, state = started(model)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 2, 5)))
    before, _ = fn.functionalize(model).apply(params, state, x)
    fused, params, state = nn.utils.fuse_conv_bn(model, params, state)
    # the norm's arrays are of 32 bits, the arithmetic is of 64
    np.testing.assert_allclose(
        fn.functionalize(fused).apply(params, state, x)[0], before, rtol=1e-12
    )
