"""nan_guard: who is blamed, and that a healthy step is left alone."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import transforms as T


def blames_of(fun, *args, **options):
    found = []
    outputs = jax.jit(T.nan_guard(fun, found.append, **options))(*args)
    jax.block_until_ready(outputs)
    jax.effects_barrier()
    return found


def layer(w, x):
    with jax.named_scope("layers.0"):
        return jnp.log(x @ w)


@jax.jit
def called(w, x):
    return jax.checkpoint(layer)(w, x)


@jax.custom_vjp
def bad_backwards(x):
    return x


bad_backwards.defvjp(lambda x: (x, x), lambda x, g: (g / (x - x),))


def named_bad_backwards(x):
    with jax.named_scope("blocks.1.norm"):
        return bad_backwards(x).sum()


def masked_softmax(x, keep):
    with jax.named_scope("attention"):
        return jax.nn.softmax(jnp.where(keep, x, -jnp.inf))


def scanned(start, xs):
    return jax.lax.scan(lambda c, x: (c / x, c), start, xs)


def looped(key, x):
    noise = jax.random.uniform(key)
    x = jax.lax.while_loop(lambda x: x > 0.5, lambda x: x - 1.0, x + 0 * noise)
    return jax.lax.cond(x < 0, lambda x: jnp.sqrt(x), lambda x: x, x)


def turned(x):
    """As `looped`, without the branch: under vmap a batch of loops of different lengths."""
    return jnp.sqrt(jax.lax.while_loop(lambda x: x > 0.5, lambda x: x - 1.0, x))


def with_empty(tree):
    return {"x": jnp.log(tree["x"]), "e": tree["e"] * 2}


ONE = jnp.ones((2, 2))


@pytest.mark.parametrize(
    ("fun", "args", "kind", "operation", "path", "backward", "turn"),
    [
        (layer, (ONE, 0 * ONE), "infinity", "log", "layers.0", False, None),
        (called, (ONE, -ONE), "NaN", "log", "layers.0", False, None),
        (called, (ONE * 3e38, ONE), "infinity", "dot_general", "layers.0", False, None),
        (
            jax.grad(named_bad_backwards),
            (jnp.ones(3),),
            "infinity",
            "div",
            "blocks.1.norm",
            True,
            None,
        ),
        (jax.grad(lambda x: jnp.sqrt(x).sum()), (jnp.zeros(3),), "infinity", "div", "", True, None),
        (looped, (jax.random.key(0), 2.7), "NaN", "sqrt", "", False, None),
        (masked_softmax, (jnp.ones(3), jnp.zeros(3, bool)), "NaN", "sub", "attention", False, None),
        (scanned, (1.0, jnp.array([1.0, 2.0, 0.0, 3.0])), "infinity", "div", "", False, 2),
        (with_empty, ({"x": -ONE, "e": jnp.zeros((0, 2))},), "NaN", "log", "", False, None),
        (jax.vmap(turned), (jnp.array([2.7, 0.2]),), "NaN", "sqrt", "", False, None),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_culprit_is_named(fun, args, kind, operation, path, backward, turn):
    (blame,) = blames_of(fun, *args)
    assert (blame.kind, blame.turn) == (kind, turn)
    site = blame.site
    assert (site.operation, site.path, site.backward) == (operation, path, backward)
    assert site.source.startswith("test_nan_guard.py:")
    assert ("backward" if backward else "forward") in str(blame)


def test_masks_of_infinity_are_not_blamed():
    keep = jnp.array([True, False, True])
    assert blames_of(masked_softmax, jnp.ones(3), keep) == []
    # the fault is after the mask, and only the fault is named
    (blame,) = blames_of(lambda x, k: jnp.log(masked_softmax(x, k) - 1.0), jnp.ones(3), keep)
    assert blame.site.operation == "log"


def test_arguments_that_were_not_finite():
    (blame,) = blames_of(
        lambda batch, scale: batch["x"] * scale, {"x": jnp.array([1.0, jnp.nan])}, 2.0
    )
    assert blame.argument == "batch.x"
    assert blame.site is None
    assert str(blame) == "NaN: the argument batch.x already held it"


def test_a_healthy_step_is_unchanged():
    def step(params, n, label):
        return {"w": params["w"] * 2, "n": n + 1}, label

    params = {"w": jnp.ones(3)}
    out, label = jax.jit(T.nan_guard(step))(params, 1, jnp.arange(2))
    np.testing.assert_array_equal(out["w"], [2.0, 2.0, 2.0])
    assert out["n"] == 2
    np.testing.assert_array_equal(label, [0, 1])
    assert T.nan_guard(lambda n: n + 1)(3) == 4


def test_donated_arguments_and_the_number_of_the_step():
    def step(state, batch):
        return {"w": jnp.log(state["w"] - batch), "step": state["step"] + 1}

    found = []
    guarded = T.nan_guard(step, found.append, step=lambda state, batch: state["step"])
    compiled = T.jit(guarded, donate="state")
    state = {"w": jnp.full(4, 5.0), "step": jnp.array(0)}
    for batch in (1.0, 0.5, 7.0):
        old, state = state, compiled(state, batch)
        assert old["w"].is_deleted()
    jax.block_until_ready(state)
    jax.effects_barrier()
    assert [(blame.step, blame.kind, blame.site.operation) for blame in found] == [
        (2, "NaN", "log")
    ]


@pytest.mark.filterwarnings("ignore")
def test_raising_is_the_default():
    def run():
        jax.block_until_ready(jax.jit(T.nan_guard(layer))(ONE, -ONE))
        jax.effects_barrier()

    with pytest.raises(
        jax.errors.JaxRuntimeError, match="NonFiniteError: NaN: first made by `log`"
    ):
        run()


def test_a_model_s_modules_are_named():
    class Shrink(fn.Module):
        def __call__(self, x):
            return jnp.sqrt(x - 1.0)

    class Block(fn.Module):
        def __init__(self):
            self.weight = fn.Parameter((3, 3), lambda key, shape, dtype: jnp.ones(shape, dtype))
            self.shrink = Shrink()

        def __call__(self, x):
            return self.shrink(x @ self.weight)

    class Net(fn.Module):
        def __init__(self):
            self.blocks = [Block(), Block(), Block()]

        def __call__(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    net = fn.functionalize(Net())
    params, state = net.init(jax.random.key(0))

    def step(params, x):
        loss = lambda p: net.apply(p, state, x)[0].sum()
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))

    assert blames_of(step, params, jnp.ones((1, 3))) == []
    params["blocks"]["1"]["weight"] = -params["blocks"]["1"]["weight"]
    (blame,) = blames_of(step, params, jnp.ones((1, 3)))
    assert (blame.kind, blame.site.operation, blame.site.backward) == ("NaN", "sqrt", False)
    assert blame.site.path == "blocks.1.shrink"


def test_it_composes():
    fun = lambda x: jnp.sum(jnp.log(x) ** 2)
    guarded = T.nan_guard(fun)
    x = jnp.array([1.0, 2.0, 3.0])
    for transform in (jax.grad, T.checkpoint):
        # float32: compiled or not, logarithms and quotients differ by a few roundings of 6e-8
        np.testing.assert_allclose(jax.jit(transform(guarded))(x), transform(fun)(x), rtol=1e-6)
    found = []
    rows = jnp.array([[1.0], [-2.0], [3.0]])
    mapped = jax.vmap(T.nan_guard(fun, found.append))(rows)
    # float32: in one batch or by themselves, logarithms differ by a few roundings of 6e-8
    np.testing.assert_allclose(mapped, jax.vmap(fun)(rows), rtol=1e-6)
    jax.effects_barrier()
    assert [blame.site.operation for blame in found] == ["log"]


def test_a_search_that_stands_still_is_left_to_itself(monkeypatch):
    from funcnet.transforms.debugging import nan_guard as nonfinite

    monkeypatch.setattr(nonfinite, "_STALLED", 0.2)
    released = threading.Event()
    real = nonfinite.search

    def slow(*args):
        assert released.wait(20)
        return real(*args)

    monkeypatch.setattr(nonfinite, "search", slow)
    found = []
    jax.block_until_ready(jax.jit(T.nan_guard(layer, found.append))(ONE, -ONE))
    jax.effects_barrier()
    assert found == []
    released.set()
    for thread in threading.enumerate():
        if thread.name == "nan_guard":
            thread.join(20)
    assert [blame.site.operation for blame in found] == ["log"]


def normalized_twice(x):
    varied = fn.functional.layer_norm(x, (3,), eps=0.0)
    return (varied + fn.functional.layer_norm(x - x, (3,), eps=0.0)).sum()


def test_the_line_of_a_formula_whose_trace_is_remembered():
    x, line = jnp.arange(3.0), normalized_twice.__code__.co_firstlineno + 2
    assert f"test_nan_guard.py:{line} (normalized_twice)" in str(blames_of(normalized_twice, x)[0])
    assert "standardize.py:" in str(blames_of(jax.grad(normalized_twice), x)[0])
