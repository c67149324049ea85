"""mixed_precision: what is rounded where, on models that meet every part of the library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

KEY = jax.random.key(0)


class Block(nn.Module):
    def __init__(self, width=8):
        self.bn1 = nn.LayerNorm(width)  # a name that says nothing
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def __call__(self, x):
        h = self.bn1(x)
        return x + self.mlp(self.attention(h, h, h, need_weights=False)[0])


class Text(nn.Module):
    """Tied weights, a table met outside of layers, a stack."""

    def __init__(self, wrap):
        self.embedding = nn.Embedding(11, 8)
        self.position = fn.Parameter((5, 8), nn.init.normal())
        self.blocks = wrap(Block())
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def __call__(self, tokens):
        h = self.embedding(tokens) + self.position
        assert h.dtype == self.position.dtype
        return self.head(self.blocks(h))


def image():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(36, 3),
    )


class Sequence(nn.Module):
    def __init__(self):
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.norm = nn.GroupNorm(2, 4)

    def __call__(self, x):
        return self.norm(self.lstm(x)[0][:, -1])


def _floats(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


TOKENS = np.arange(10).reshape(2, 5) % 11
MODELS = {
    "image": (image, _floats(4, 1, 8, 8)),
    "sequence": (Sequence, _floats(2, 5, 3)),
    "repeat": (lambda: Text(lambda block: nn.Repeat(block, 2)), TOKENS),
    "remat": (lambda: Text(nn.Remat), TOKENS),
}


def _dtypes(tree):
    return jax.tree.map(lambda leaf: leaf.dtype, tree)


def _made(name, **how):
    build, x = MODELS[name]
    net = fn.functionalize(build())
    net16 = fn.mixed_precision(net, **how)
    return net, net16, *net16.init(KEY), x


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", MODELS)
def test_computes_almost_the_same(name, compute):
    net, net16, params, state, x = _made(name, compute=compute)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, net.init(KEY)[0]))
    call = lambda net: jax.jit(lambda p, s: net.apply(p, s, x, key=KEY, train=True))
    (wide, _), (narrow, left) = call(net)(params, state), call(net16)(params, state)
    assert narrow.dtype == jnp.float32
    assert not np.array_equal(narrow, wide), "nothing was rounded"
    assert np.abs(narrow - wide).max() <= 2e-2 * np.abs(wide).max()
    assert _dtypes(left) == _dtypes(state)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_float32(name, few_objects):
    net, net16, params, state, x = _made(name)

    def loss(net):
        return lambda p: (net.apply(p, state, x, key=KEY, train=True)[0] ** 2).sum()

    with jax.checking_leaks():
        narrow = jax.jit(jax.grad(loss(net16)))(params)
    assert _dtypes(narrow) == _dtypes(params)
    narrow, wide = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])
        for grads in (narrow, jax.jit(jax.grad(loss(net)))(params))
    )
    # a sum of roundings, each of 2^-9, over the layers of the model
    assert np.linalg.norm(narrow - wide) <= 5e-2 * np.linalg.norm(wide)


def test_under_vmap_and_hvp():
    _, net, params, state, x = _made("sequence")
    alone = net.apply(params, state, x)[0]
    rows = jax.vmap(lambda row: net.apply(params, state, row[None])[0][0])(x)
    np.testing.assert_allclose(rows, alone, atol=2e-2)
    loss = lambda p: (net.apply(p, state, x)[0] ** 3).sum()
    product = fn.hvp(loss, (params,), (params,))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(product))


def test_layers_say_what_they_keep():
    _, net, _, _, x = _made("image")
    rows = {row.path: row for row in fn.summary(net, x).rows}
    assert rows["1"].computes_in == "float32"
    assert rows["0"].computes_in == rows["6"].computes_in == "bfloat16"
    assert rows[""].output == "float32[4, 3]"
    assert rows["1"].output == "bfloat16[4, 4, 6, 6]"


class Widens(nn.Module):
    """What autocast would let run on in 32 bits."""

    def __init__(self):
        self.first = nn.Linear(4, 4)
        self.table = fn.Buffer((4,), nn.init.ones())
        self.last = nn.Linear(4, 4)

    def __call__(self, x):
        return self.last(self.first(x) + self.table)


def test_what_code_widens_is_narrow_in_the_next_layer_and_told():
    net = fn.mixed_precision(fn.functionalize(nn.Sequential(Widens())))
    with jax.numpy_dtype_promotion("standard"):  # where it is strict, JAX itself refuses the sum
        shown = {row.path: row for row in fn.summary(net, (2, 4)).rows}
    assert shown["0.last"].computes_in == "bfloat16, given float32"
    assert shown["0.last"].output == "bfloat16[2, 4]"
    assert shown["0.first"].computes_in == "bfloat16"


class Clock(nn.Module):
    def __call__(self, t):
        return t * 1


class Timed(nn.Module):
    def __init__(self):
        self.clock = Clock()
        self.layer = nn.Linear(1, 1)

    def __call__(self, t):
        return self.clock(t), self.layer(t)


@pytest.mark.parametrize(("keep", "exact"), [("clock", True), ((), False)])
def test_a_kept_module_sees_the_input_in_full(keep, exact):
    net = fn.mixed_precision(fn.functionalize(Timed()), keep=keep)
    params, state = net.init(KEY)
    (time, _), _ = net.apply(params, state, jnp.array([999.0]))
    assert (float(time[0]) == 999.0) is exact


@pytest.mark.parametrize("keep", ["6", nn.Linear, ["6", "0.weight"]], ids=["path", "class", "both"])
def test_a_kept_head_leaves_in_full(keep):
    _, net16, params, state, x = _made("image", keep=keep)
    (output, seen), _ = fn.capture(net16, "*").apply(params, state, x)
    head = params["6"]
    full = F.linear(seen["5"].astype(jnp.float32), head["weight"], head["bias"])
    np.testing.assert_array_equal(output, full)
    assert seen["6"].dtype == jnp.bfloat16


def test_who_shares_a_kept_array_computes_in_it():
    _, net, params, state, x = _made("remat", keep="head")
    (_, seen), _ = fn.capture(net, ["embedding", "head"]).apply(params, state, x)
    rows = {row.path: row.computes_in for row in fn.summary(net, x).rows}
    assert rows["embedding"] == rows["head"] == "float32"
    assert {value.dtype for value in seen.values()} == {jnp.dtype(jnp.bfloat16)}


def test_a_loss_within_a_model_has_32_bits():
    class Judged(nn.Module):
        def __init__(self):
            self.layer, self.loss = nn.Linear(4, 3), nn.CrossEntropyLoss()

        def __call__(self, x, y):
            return self.loss(self.layer(x), y) * 2

    net = fn.mixed_precision(fn.functionalize(Judged()), outputs=None)
    params, state = net.init(KEY)
    assert net.apply(params, state, jnp.ones((2, 4)), jnp.array([0, 1]))[0].dtype == jnp.float32


@pytest.mark.parametrize("outputs", [None, "bfloat16", "float16", "float32"])
def test_outputs_have_the_dtype_asked_for(outputs):
    _, net, params, state, x = _made("sequence", outputs=outputs)
    assert net.apply(params, state, x)[0].dtype == (outputs or "bfloat16")


def test_integers_keys_and_complex_numbers_pass():
    class Passes(nn.Module):
        def __call__(self, x, number, z, *, note):
            note.append(number)
            return x, number, z, self.next_key()

    net = fn.mixed_precision(fn.functionalize(Passes()))
    note = []
    given = jnp.ones(2), jnp.arange(2), jnp.ones(2, jnp.complex64)
    output, _ = net.apply({}, {}, *given, note=note, key=KEY)
    assert [one.dtype for one in output[:3]] == [one.dtype for one in given]
    assert len(note) == 1, "a list that a call fills is the caller's own"


def test_intervene_and_partition():
    _, net, params, state, x = _made("image")
    still = fn.intervene(net, {"1": jnp.zeros_like})
    assert still.apply(params, state, x)[0].dtype == jnp.float32
    trained, frozen = fn.partition(params, "6.*")
    grads = jax.grad(lambda p: net.apply(fn.merge(p, frozen), state, x)[0].sum())(trained)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.float32)}


def test_a_second_step_compiles_nothing():
    _, net, params, state, x = _made("image")
    traces = []

    @jax.jit
    def step(params, state):
        traces.append(1)
        return net.apply(params, state, x, key=KEY, train=True)[1]

    step(params, step(params, state))
    assert len(traces) == 1


def _fails(**how):
    return lambda net: fn.mixed_precision(net, **how)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda net: fn.mixed_precision(net.module), TypeError, "fn.functionalize"),
        (_fails(compute=jnp.float32), TypeError, "computes in float32 as it is"),
        (_fails(compute=int), TypeError, "got int"),
        (_fails(compute="half of it"), TypeError, "float of 16 bits"),
        (_fails(outputs=int), TypeError, "outputs must be"),
        (_fails(keep="*norm*"), ValueError, "matches no path"),
        (_fails(keep=nn.LSTM), ValueError, "there are only"),
        (_fails(keep=[3]), TypeError, "keep takes globs"),
        (lambda net: fn.mixed_precision(fn.mixed_precision(net)), ValueError, "already"),
    ],
    ids=["module", "float32", "int", "word", "outputs", "nothing", "class", "number", "twice"],
)
def test_misuse(make, error, says):
    with pytest.raises(error, match=says):
        make(fn.functionalize(image()))


def test_some_layers_of_a_stack_are_refused():
    net = fn.functionalize(MODELS["repeat"][0]())
    with pytest.raises(ValueError, match="compute together"):
        fn.mixed_precision(net, keep="blocks.1.mlp")
    fn.mixed_precision(net, keep="blocks.*.mlp")


@pytest.mark.skipif(len(jax.devices()) < 4, reason="needs four devices")
def test_on_a_mesh_what_is_gathered_has_16_bits():
    mesh = fn.parallel.mesh(data=4, devices=jax.devices()[:4])
    plain = fn.functionalize(nn.Linear(16, 64))
    rules = {"weight": "fsdp"}
    x = jax.device_put(jnp.ones((8, 16)), fn.parallel.batch_sharding(mesh))
    # float16, because XLA for CPUs moves bfloat16 in 32 bits
    net = fn.mixed_precision(fn.parallel.shard(plain, mesh, rules), jnp.float16)
    params, state = net.init(KEY)
    text = jax.jit(lambda p: net.apply(p, state, x)[0]).lower(params).compile().as_text()
    gathers = [line for line in text.splitlines() if "all-gather(" in line]
    assert len(gathers) == 1
    assert "= f16[64,16]" in gathers[0]
    loss = jax.jit(jax.value_and_grad(lambda p: net.apply(p, state, x)[0].sum()))
    value, grads = loss(params)
    np.testing.assert_allclose(value, plain.apply(params, state, x)[0].sum(), rtol=2e-2)
    assert _dtypes(grads) == _dtypes(params)
    assert grads["weight"].sharding == params["weight"].sharding
    other_way = fn.parallel.shard(fn.mixed_precision(plain, jnp.float16), mesh, rules)
    np.testing.assert_array_equal(
        other_way.apply(params, state, x)[0], net.apply(params, state, x)[0]
    )
