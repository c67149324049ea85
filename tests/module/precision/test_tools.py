"""Mixed precision met by what looks into a model, stores it, spreads it, and takes it elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import funcnet as fn
from funcnet import export, nn

KEY = jax.random.key(0)
FOUR = pytest.mark.skipif(len(jax.devices()) < 4, reason="needs four devices")


class Block(nn.Module):
    def __init__(self, width=16):
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def __call__(self, x):
        return x + self.down(jax.nn.gelu(self.up(self.norm(x))))


def stack():
    return nn.Sequential(
        nn.Linear(8, 16), nn.Repeat(Block(), 2), nn.BatchNorm1d(16), nn.Linear(16, 3)
    )


X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8)), jnp.float32)


def _made(compute="bfloat16", **how):
    net = fn.mixed_precision(fn.functionalize(stack()), compute, **how)
    return net, *net.init(KEY)


def _gathers(function, *args):
    """What is gathered, such as ``f16[16,8]``; not the small sums for which XLA moves vectors."""
    text = jax.jit(function).lower(*args).compile().as_text()
    found = [
        line.split(" = ")[1].split("{")[0] for line in text.splitlines() if "all-gather(" in line
    ]
    return {kind for kind in found if np.prod([int(n) for n in kind[4:-1].split(",")]) >= 128}


# ---- looking in ----------------------------------------------------------------------------------


def test_capture_and_intervene_see_what_the_layers_see():
    net, params, state = _made()
    watched = fn.capture(net, ["*.norm", "*.up", "2"])
    (_, seen), _ = jax.jit(watched.apply)(params, state, X)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(seen)} == {"bfloat16"}
    given = []

    def note(value):
        given.append(value.dtype.name)
        return jnp.zeros_like(value)

    output, _ = fn.intervene(net, {"3": note}).apply(params, state, X)
    assert given == ["bfloat16"]
    assert output.dtype == jnp.float32
    assert not output.any()


def test_nan_guard_names_the_layer_that_overflows():
    net, params, state = _made("float16")
    params["0"]["weight"] = jnp.full_like(params["0"]["weight"], 6e4)
    wide = fn.functionalize(stack()).apply(params, state, jnp.ones((8, 8)))[0]
    assert bool(jnp.isfinite(wide).all()), "in 32 bits it is finite"
    blames = []
    run = lambda params: net.apply(params, state, jnp.ones((8, 8)))[0]
    jax.jit(fn.transforms.nan_guard(run, blames.append))(params)
    jax.effects_barrier()
    assert blames[0].kind == "infinity"
    assert blames[0].site.path == "0"


def test_a_summary_shows_what_is_stored_and_what_computes():
    net, _, _ = _made(keep="3")
    rows = {row.path: row for row in fn.summary(net, X).rows}
    assert rows["0"].computes_in == "bfloat16"
    assert {rows[path].computes_in for path in ("1.norm", "2", "3") if path in rows} == {"float32"}
    assert "float32" in str(fn.summary(net, X))
    assert "computes in" in str(fn.summary(net, X))


# ---- keep= ---------------------------------------------------------------------------------------


def _kept(net):
    return {path for path, kind in net.observable.precision.modules.items() if kind == "float32"}


def test_keep_takes_several_globs_and_a_function():
    both, _, _ = _made(keep=["0", "*.up"])
    assert _kept(both) == {"0", "1.module.up"}
    large, _, _ = _made(
        keep=lambda path, layer: isinstance(layer, nn.Linear) and layer.out_features > 16
    )
    assert _kept(large) == {"1.module.up"}


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ("*attention*", "matches no path"),
        (["0", "*attention*"], "matches no path"),
        ("nrom", "norm"),
        (lambda path, layer: False, "chose none of"),
        ([], None),
    ],
)
def test_a_pattern_that_matches_nothing_is_told(keep, says):
    if says is None:
        assert not _kept(_made(keep=keep)[0])
        return
    with pytest.raises(ValueError, match=says):
        _made(keep=keep)


def test_a_function_that_does_not_answer_yes_or_no_is_told():
    with pytest.raises(TypeError, match="True or False"):
        _made(keep=lambda path, layer: "0")


def test_a_part_takes_its_precision_from_the_whole():
    class Whole(nn.Module):
        def __init__(self):
            self.part = nn.Linear(8, 3)

        def __call__(self, x):
            return fn.mixed_precision(fn.functionalize(self.part))

    net = fn.mixed_precision(fn.functionalize(Whole()))
    with pytest.raises(ValueError, match="computes in bfloat16 already"):
        net.apply(*net.init(KEY), X)
    with pytest.raises(ValueError, match="a part of a bound one"):
        fn.functionalize(Whole()).apply(*net.init(KEY), X)


# ---- storing -------------------------------------------------------------------------------------


def test_weights_on_disk_have_32_bits_and_serve_both_models(tmp_path):
    net, params, state = _made()
    fn.checkpoint.save_weights(tmp_path / "w.safetensors", net.module, params, state)
    found = fn.checkpoint.load_weights(tmp_path / "w.safetensors", net.module)
    jax.tree.map(np.testing.assert_array_equal, found, (params, state))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float32", "int32"}


# ---- elsewhere -----------------------------------------------------------------------------------


def test_an_artifact_computes_as_the_model(tmp_path):
    net, params, state = _made()
    path = export.save(tmp_path / "m.fnx", net, params, state, export.spec(("batch", 8)))
    artifact = export.load(path)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(artifact.params)} == {"float32"}
    right = net.apply(params, state, X)[0]
    made = artifact(X)
    assert made.dtype == right.dtype == jnp.float32
    np.testing.assert_allclose(made, right, atol=1e-2 * float(jnp.abs(right).max()))


def test_a_file_of_onnx_computes_as_the_model(tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    net, params, state = _made("float16")
    # JAX and ONNX Runtime round at other places; the outputs have 32 bits, of which the tolerance is guessed
    export.onnx(tmp_path / "m.onnx", net, params, state, export.spec(("batch", 8)), tolerance=1e-2)
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {session.get_inputs()[0].name: np.asarray(X)})
    right = net.apply(params, state, X)[0]
    np.testing.assert_allclose(made, right, atol=1e-2 * float(jnp.abs(right).max()))


# ---- meshes --------------------------------------------------------------------------------------


@FOUR
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_sharded_stack_gathers_16_bits(order):
    mesh = fn.parallel.mesh(data=4, devices=jax.devices()[:4])
    plain = fn.functionalize(stack())
    rules = {
        "1.*.up.weight": fn.parallel.fsdp(smallest=1),
        "0.weight": fn.parallel.fsdp(smallest=1),
    }
    spread = lambda net: fn.parallel.shard(net, mesh, rules)
    mixed = lambda net: fn.mixed_precision(
        net, jnp.float16
    )  # XLA for CPUs moves bfloat16 in 32 bits
    net = spread(mixed(plain)) if order == "before" else mixed(spread(plain))
    params, state = net.init(KEY)
    x = jax.device_put(X, fn.parallel.batch_sharding(mesh))
    loss = lambda params: (net.apply(params, state, x, train=True)[0] ** 2).mean()
    gathered = _gathers(jax.grad(loss), params)
    assert {"f16[16,8]", "f16[1,32,16]"} <= gathered
    assert {kind[:3] for kind in gathered} == {"f16"}
    grads = jax.jit(jax.grad(loss))(params)
    alone = mixed(plain)
    right = jax.jit(jax.grad(lambda p: (alone.apply(p, state, X, train=True)[0] ** 2).mean()))
    one = jax.device_put(params, jax.devices()[0])
    for ours, other in zip(jax.tree.leaves(grads), jax.tree.leaves(right(one)), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, other, atol=2e-2 * float(jnp.abs(other).max()) + 1e-6)


@FOUR
def test_shard_map():
    mesh = fn.parallel.mesh(data=4, devices=jax.devices()[:4])
    net = fn.mixed_precision(fn.functionalize(Block(8)))
    params, state = net.init(KEY)
    part = lambda params, x: net.apply(params, state, x)[0]
    run = jax.jit(jax.shard_map(part, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")))
    np.testing.assert_allclose(run(params, X), part(params, X), atol=2e-2)


@pytest.mark.parametrize("policy", ["everything", "dots"])
def test_checkpoint_around_a_model(policy):
    net, params, state = _made()
    keeps = {"everything": None, "dots": jax.checkpoint_policies.dots_saveable}[policy]
    loss = lambda params: (net.apply(params, state, X, train=True)[0] ** 2).sum()
    plain, again = (
        jax.jit(jax.grad(f))(params) for f in (loss, jax.checkpoint(loss, policy=keeps))
    )
    assert [leaf.dtype for leaf in jax.tree.leaves(again)] == [jnp.dtype(jnp.float32)] * len(
        jax.tree.leaves(plain)
    )
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    assert np.linalg.norm(flat(again) - flat(plain)) <= 5e-2 * np.linalg.norm(flat(plain))
