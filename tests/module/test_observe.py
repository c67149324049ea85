"""capture, intervene and functional_call: parts of a model seen and replaced by path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.core.errors import StateDictError, TransformScopeError


class Block(nn.Module):
    def __init__(self):
        self.attention = nn.Linear(3, 3)
        self.mlp = nn.Linear(3, 3)

    def __call__(self, x):
        return x + self.mlp(jnp.tanh(self.attention(x)))


class Net(nn.Module):
    def __init__(self):
        self.blocks = [Block(), Block()]
        self.head = nn.Linear(3, 2)

    def __call__(self, x, *, twice=False):
        for block in self.blocks:
            x = block(x)
        return self.head(self.head.weight.T @ self.head(x)) if twice else self.head(x)


NET = fn.functionalize(Net())
PARAMS, STATE = NET.init(jax.random.key(0))
X = jnp.array([0.1, 0.2, 0.3])


def test_capture_returns_outputs_by_path():
    seeing = fn.capture(NET, ["*.attention", "head"])
    (output, captured), state = jax.jit(seeing.apply)(PARAMS, STATE, X)
    assert set(captured) == {"blocks.0.attention", "blocks.1.attention", "head"}
    # float32, rounded once or twice
    np.testing.assert_allclose(output, NET.apply(PARAMS, STATE, X)[0], rtol=1e-6)
    np.testing.assert_array_equal(captured["head"], output)
    first = PARAMS["blocks"]["0"]["attention"]
    expected = first["weight"] @ X + first["bias"]
    # float32, rounded once or twice
    np.testing.assert_allclose(captured["blocks.0.attention"], expected, rtol=1e-6)
    assert state == STATE
    assert jax.tree.structure(seeing.init(jax.random.key(1))) == jax.tree.structure((PARAMS, STATE))


def test_a_module_called_twice_is_captured_twice():
    (output, captured), _ = fn.capture(NET, "head").apply(PARAMS, STATE, X, twice=True)
    assert list(captured) == ["head", "head#2"]
    np.testing.assert_array_equal(captured["head#2"], output)


def test_gradients_of_what_is_captured():
    seeing = fn.capture(NET, "blocks.0")
    loss = lambda params: seeing.apply(params, STATE, X)[0][1]["blocks.0"].sum()
    grads = jax.jit(jax.grad(loss))(PARAMS)
    assert np.any(grads["blocks"]["0"]["mlp"]["weight"])
    assert not np.any(grads["blocks"]["1"]["mlp"]["weight"])


def test_under_vmap():
    seeing = fn.capture(NET, "blocks.*")
    (_, captured), _ = jax.vmap(seeing.apply, (None, None, 0))(PARAMS, STATE, jnp.stack([X, X]))
    assert captured["blocks.1.mlp"].shape == (2, 3)


def test_intervene_replaces_outputs():
    ablated = fn.intervene(NET, {"*.mlp": jnp.zeros_like, "head": lambda y: y * 2})
    output, _ = jax.jit(ablated.apply)(PARAMS, STATE, X)
    head = PARAMS["head"]
    # float32, rounded once or twice
    np.testing.assert_allclose(output, 2 * (head["weight"] @ X + head["bias"]), rtol=1e-6)


def test_they_compose_either_way():
    edit = {"blocks.0": lambda y: y + 1.0}
    seen_after = fn.capture(fn.intervene(NET, edit), "blocks.0")
    edited_after = fn.intervene(fn.capture(NET, "blocks.0"), edit)
    plain = fn.capture(NET, "blocks.0").apply(PARAMS, STATE, X)[0][1]["blocks.0"]
    (output, captured), _ = seen_after.apply(PARAMS, STATE, X)
    # float32, rounded once or twice
    np.testing.assert_allclose(captured["blocks.0"], plain + 1.0, rtol=1e-6)
    (again, captured), _ = edited_after.apply(PARAMS, STATE, X)
    # float32, rounded once or twice
    np.testing.assert_allclose(captured["blocks.0"], plain, rtol=1e-6)
    np.testing.assert_allclose(again, output, rtol=1e-6)  # float32, rounded once or twice


def test_inside_a_scan_it_refuses():
    class Scanned(nn.Module):
        def __init__(self):
            self.cell = nn.Linear(3, 3)

        def __call__(self, x):
            return jax.lax.scan(lambda c, _: (self.cell(c), None), x, length=2)[0]

    net = fn.functionalize(Scanned())
    params, state = net.init(jax.random.key(0))
    with pytest.raises(TransformScopeError, match="capturing cell inside a transform"):
        fn.capture(net, "cell").apply(params, state, X)


def test_errors():
    with pytest.raises(ValueError, match=r"matches no path; there are: blocks\.0"):
        fn.capture(NET, "tail")
    with pytest.raises(ValueError, match="pattern 'tail' matches no path"):
        fn.intervene(NET, {"tail": jnp.zeros_like})
    with pytest.raises(TypeError, match=r"not what fn\.functionalize returned"):
        fn.capture(fn.Functional(lambda key: ({}, {}), lambda p, s: (0, s)), "head")
    with pytest.raises(TypeError, match=r"capture takes what fn\.functionalize\(module\) returned"):
        fn.capture(nn.Linear(2, 2), "head")


def test_what_wraps_an_apply_is_looked_through():
    x = jnp.ones((2, 3))
    for wrap in (jax.jit, fn.jit, jax.checkpoint):
        wrapped = NET._replace(apply=wrap(NET.apply))
        assert wrapped.module is NET.module
        (_, captured), _ = fn.capture(wrapped, "blocks.0").apply(PARAMS, STATE, x)
        (_, expected), _ = fn.capture(NET, "blocks.0").apply(PARAMS, STATE, x)
        np.testing.assert_array_equal(captured["blocks.0"], expected["blocks.0"])


class Doubled:
    """A call that comes from outside the class of modules."""

    def __call__(self, x):
        return 2 * x


def test_calls_of_mixins_and_calls_assigned_later_are_seen():
    class Mixed(Doubled, nn.Module):
        pass

    class Late(nn.Module):
        pass

    Late.__call__ = lambda self, x: 3 * x

    class Both(nn.Module):
        def __init__(self):
            self.mixed = Mixed()
            self.late = Late()

        def __call__(self, x):
            return self.late(self.mixed(x))

    net = fn.capture(fn.functionalize(Both()), ["mixed", "late"])
    (_, captured), _ = net.apply({}, {}, jnp.ones(()))
    assert {path: float(value) for path, value in captured.items()} == {"mixed": 2.0, "late": 6.0}


def test_functional_call():
    layer = nn.BatchNorm1d(3)
    params, state = fn.functionalize(layer).init(jax.random.key(0))
    arrays = fn.state_dict(layer, params, state)
    x = jnp.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(
        fn.functional_call(layer, arrays, x), layer_output(layer, params, state, x)
    )
    parts = (
        {k: v for k, v in arrays.items() if k in ("weight", "bias")},
        {k: v * 1 for k, v in arrays.items() if "_" in k},
    )
    trained = fn.functional_call(layer, parts, (x,), train=True)
    # float32: four terms of size one cancel
    np.testing.assert_allclose(trained.mean(0), np.zeros(3), atol=1e-6)
    linear = {"weight": jnp.ones((2, 3)), "bias": jnp.zeros(2)}
    grads = jax.vmap(
        jax.grad(lambda a, x: fn.functional_call(nn.Linear(3, 2), a, x).sum()), (None, 0)
    )
    assert grads(linear, x)["weight"].shape == (4, 2, 3)
    with pytest.raises(StateDictError, match="missing: bias"):
        fn.functional_call(nn.Linear(3, 2), {"weight": jnp.ones((2, 3))}, x)
    with pytest.raises(StateDictError, match="unexpected: scale"):
        fn.functional_call(nn.Linear(3, 2), {**linear, "scale": 1.0}, x, strict=True)
    fn.functional_call(nn.Linear(3, 2), {**linear, "scale": 1.0}, x)


def layer_output(layer, params, state, x):
    return fn.functionalize(layer).apply(params, state, x)[0]


class Residual(nn.Module):
    def __init__(self):
        self.attention = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)

    def __call__(self, x):
        return x + jnp.tanh(self.norm(self.attention(x)))


class Deep(nn.Module):
    """One model with its blocks in a list, or repeated; its parts plain, or under transforms."""

    def __init__(self, wrap):
        self.blocks = wrap(Residual)
        self.head = nn.Linear(3, 2)

    def __call__(self, x):
        for block in self.blocks if isinstance(self.blocks, list) else [self.blocks]:
            x = block(x)
        return self.head(x)


STACKS = {
    "Repeat": lambda block: nn.Repeat(block(), 4),
    "Repeat with remat": lambda block: nn.Repeat(block(), 4, remat=True),
    "Repeat of Remat": lambda block: nn.Repeat(nn.Remat(block()), 4),
    "Repeat of Repeat": lambda block: nn.Repeat(nn.Repeat(block(), 2), 2),
    "Remat": lambda block: nn.Remat(nn.Sequential(*[block() for _ in range(4)])),
}


def _pair(wrap):
    """A wrapped model and the one of a plain list, with the same arrays."""
    plain = Deep(lambda block: [block() for _ in range(4)])
    params, state = fn.functionalize(plain).init(jax.random.key(0))
    names = fn.state_dict(plain, params, state)
    wrapped = Deep(wrap)
    if "blocks.0.0.norm.weight" in fn.state_dict(
        wrapped, *fn.functionalize(wrapped).init(jax.random.key(0))
    ):
        nested = {0: "0.0", 1: "0.1", 2: "1.0", 3: "1.1"}
        names = {_renamed(name, nested): value for name, value in names.items()}
    else:
        nested = {i: str(i) for i in range(4)}
    return plain, (params, state), wrapped, fn.load_state_dict(wrapped, names), nested


def _renamed(name, numbers):
    first, _, rest = name.partition(".")
    if first != "blocks":
        return name
    number, _, rest = rest.partition(".")
    return f"blocks.{numbers[int(number)]}.{rest}"


@pytest.mark.parametrize("wrap", STACKS.values(), ids=STACKS.keys())
@pytest.mark.parametrize("jit", [False, True])
def test_layers_under_transforms_are_captured_and_edited_one_by_one(wrap, jit):
    plain, trees, wrapped, stacked, numbers = _pair(wrap)
    x = jnp.stack([X, 2 * X])
    # tolerances: one program rounds otherwise than the other, and an edit triples that in each layer
    run = (
        (lambda net, trees: jax.jit(net.apply)(*trees, x)[0])
        if jit
        else (lambda net, trees: net.apply(*trees, x)[0])
    )
    everything = ["blocks.*.attention", "blocks.*.norm"]
    _, expected = run(fn.capture(fn.functionalize(plain), everything), trees)
    output, captured = run(fn.capture(fn.functionalize(wrapped), everything), stacked)
    assert set(captured) == {_renamed(path, numbers) for path in expected}
    for path, value in expected.items():
        np.testing.assert_allclose(captured[_renamed(path, numbers)], value, rtol=2e-6, atol=1e-5)
    for layers in ([2], [0, 3], [0, 1, 2, 3]):
        edits = {f"blocks.{i}.attention": lambda y: jnp.sin(3 * y) for i in layers}
        ours = {f"blocks.{numbers[i]}.attention": lambda y: jnp.sin(3 * y) for i in layers}
        edited = run(fn.intervene(fn.functionalize(plain), edits), trees)
        np.testing.assert_allclose(
            run(fn.intervene(fn.functionalize(wrapped), ours), stacked),
            edited,
            rtol=2e-6,
            atol=1e-5,
        )
        assert np.abs(edited - output).max() > 1e-2
        both = fn.capture(
            fn.intervene(fn.functionalize(wrapped), ours), f"blocks.{numbers[2]}.attention"
        )
        seen = run(both, stacked)[1][f"blocks.{numbers[2]}.attention"]
        again = fn.capture(fn.intervene(fn.functionalize(plain), edits), "blocks.2.attention")
        np.testing.assert_allclose(
            seen, run(again, trees)[1]["blocks.2.attention"], rtol=2e-6, atol=1e-5
        )


def test_gradients_run_through_what_a_repeated_block_shows():
    plain, trees, wrapped, stacked, _ = _pair(STACKS["Repeat"])
    path = "blocks.2.attention"
    loss = lambda net: lambda params: (net.apply(params, {}, X)[0][1][path] ** 2).sum()
    ours = jax.jit(jax.grad(loss(fn.capture(fn.functionalize(wrapped), path))))(stacked[0])
    theirs = jax.grad(loss(fn.capture(fn.functionalize(plain), path)))(trees[0])
    for i in range(4):
        np.testing.assert_allclose(
            ours["blocks"]["module"]["attention"]["weight"][i],
            theirs["blocks"][str(i)]["attention"]["weight"],
            rtol=1e-5,
            atol=1e-6,
        )


def test_an_edit_of_one_layer_keeps_what_it_would_poison_elsewhere():
    _, _, wrapped, (params, state), _ = _pair(STACKS["Repeat"])
    net = fn.intervene(
        fn.functionalize(wrapped), {"blocks.1.norm": lambda y: y / (y - y[..., :1] + 1e9)}
    )
    assert np.isfinite(
        jax.grad(lambda p: net.apply(p, state, X)[0].sum())(params)["head"]["weight"]
    ).all()


def test_copies_and_slices_of_vmap_and_steps_of_scan():
    heads = fn.functionalize(
        nn.Sequential(nn.Vmap(nn.Sequential(nn.Linear(3, 2)), 3, in_axes=None))
    )
    params, state = heads.init(jax.random.key(0))
    (output, captured), _ = fn.capture(heads, "0.1.0").apply(params, state, X)
    np.testing.assert_array_equal(captured["0.1.0"], output[1])
    edited, _ = fn.intervene(heads, {"0.2.0": jnp.zeros_like}).apply(params, state, X)
    np.testing.assert_array_equal(edited[2], 0)
    np.testing.assert_array_equal(edited[:2], output[:2])

    shared = fn.functionalize(nn.Vmap(nn.Sequential(nn.Linear(3, 2))))
    params, state = shared.init(jax.random.key(0))
    (output, captured), _ = fn.capture(shared, "0").apply(params, state, jnp.stack([X, 2 * X]))
    np.testing.assert_array_equal(captured["0"], output)

    class Cell(nn.Module):
        def __init__(self):
            self.mix = nn.Linear(3, 3)

        def __call__(self, carry, x):
            new = jnp.tanh(self.mix(carry) + x)
            return new, new

    rnn = fn.functionalize(nn.Scan(Cell()))
    params, state = rnn.init(jax.random.key(0))
    (((_, ys), captured), _) = fn.capture(rnn, "mix").apply(params, state, X, jnp.ones((5, 3)))
    assert captured["mix"].shape == (5, 3)
    np.testing.assert_allclose(jnp.tanh(captured["mix"] + 1), ys, rtol=1e-6)


class Lifting(nn.Module):
    """Applies a part as a function of its own, with or without a transform around it."""

    def __init__(self, transform):
        self.part = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
        self.transform = transform

    def __call__(self, x):
        net, (params, state) = fn.functionalize(self.part), fn.unbind(self.part)
        return self.transform(lambda x: net.apply(params, state, x)[0])(x)


def test_parts_applied_on_their_own_are_seen_and_under_a_transform_refused():
    net = fn.functionalize(Lifting(lambda f: f))
    params, state = net.init(jax.random.key(0))
    (output, captured), _ = fn.capture(net, "part.1").apply(params, state, X)
    np.testing.assert_array_equal(captured["part.1"], output)
    mapped = fn.functionalize(Lifting(jax.vmap))
    edited, _ = fn.intervene(mapped, {"part.1": lambda y: y * 0}).apply(params, state, X[None])
    np.testing.assert_array_equal(edited, 0)
    with pytest.raises(TransformScopeError, match=r"capturing part\.1"):
        fn.capture(mapped, "part.1").apply(params, state, X[None])


def test_what_was_never_called_is_an_error():
    class Branches(nn.Module):
        def __init__(self):
            self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)

        def __call__(self, x):
            return self.used(x)

    net = fn.functionalize(Branches())
    params, state = net.init(jax.random.key(0))
    for changed in (fn.capture(net, "unused"), fn.intervene(net, {"unused": jnp.zeros_like})):
        with pytest.raises(ValueError, match="'unused' names unused, which this call never called"):
            changed.apply(params, state, X)
    (_, captured), _ = fn.capture(net, "*").apply(params, state, X)
    assert list(captured) == ["used"]


def test_an_edit_that_returns_nothing_is_told_so():
    with pytest.raises(TypeError, match=r"the edit of head returned None: return the output"):
        fn.intervene(NET, {"head": lambda y: None}).apply(PARAMS, STATE, X)
    stack = fn.functionalize(nn.Repeat(nn.Linear(3, 3), 2))
    params, state = stack.init(jax.random.key(0))
    with pytest.raises(TypeError, match="returned None"):
        fn.intervene(stack, {"1": lambda y: None}).apply(params, state, X)
