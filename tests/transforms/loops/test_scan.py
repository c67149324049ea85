"""scan: JAX's, with segments computed again, an early end and a progress bar."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T
from tests.tracing import CountingJit

XS = {"x": jnp.linspace(0.1, 1.0, 11), "n": jnp.arange(11)}


def step(carry, x):
    new = jnp.sin(carry * x["x"]) + 0.1
    return new, {"y": new * 2, "n": x["n"]}


def both(scan, **options):
    def measure(init, xs):
        carry, ys = scan(step, init, xs, **options)
        return carry + (ys["y"] ** 2).sum(), (carry, ys)

    return jax.jit(jax.value_and_grad(measure, has_aux=True))(0.7, XS)


def close(a, b):
    # float32: eleven steps, each with three roundings of 6e-8 that the next steps shrink, forwards and backwards
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a, b)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [None, 1, 3, 11, 50, "sqrt"])
def test_values_and_gradients_are_jax_s(checkpoint, reverse):
    close(both(T.scan, checkpoint=checkpoint, reverse=reverse), both(jax.lax.scan, reverse=reverse))


def test_sqrt_keeps_the_square_root_of_the_steps():
    def kept(checkpoint):
        loss = lambda c: T.scan(
            lambda c, x: (jnp.sin(c) * x, None), c, jnp.ones(100), checkpoint=checkpoint
        )[0].sum()
        _, pullback = jax.vjp(loss, jnp.ones(7))
        return sum(leaf.size for leaf in jax.tree.leaves(pullback) if leaf.size % 7 == 0)

    assert kept(None) >= 100 * 7
    assert kept("sqrt") <= 12 * 7


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [None, 3])
def test_early_end(reverse, checkpoint):
    first = jax.tree.map(lambda x: x[:6], XS)
    expected = jax.lax.scan(step, 0.7, first, reverse=reverse)
    options = {"reverse": reverse, "checkpoint": checkpoint}
    close(T.scan(step, 0.7, XS, length=6, **options), expected)
    traced = CountingJit(lambda n: T.scan(step, 0.7, XS, length=n, **options))
    for length in (6, 0, 11):
        carry, ys = traced(jnp.int32(length))
        part = jax.tree.map(lambda x, n=length: x[:n], XS)
        close(
            (carry, jax.tree.map(lambda y, n=length: y[:n], ys)),
            jax.lax.scan(step, 0.7, part, reverse=reverse),
        )
        assert not np.any(ys["y"][length:])
    assert traced.traces == 1


def test_gradients_through_a_traced_end():
    def loss(c, n):
        return T.scan(step, c, XS, length=n)[0]

    expected = jax.grad(lambda c: loss(c, 4))(0.7)
    # float32: a product of four cosines, a dozen roundings of 6e-8
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(0.7, jnp.int32(4)), expected, rtol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_progress(capsys, reverse):
    run = jax.jit(lambda c: T.scan(step, c, XS, progress="steps", reverse=reverse))
    with pytest.raises(TypeError, match='label of the bar, as progress="steps"; got True'):
        T.scan(step, 0.7, XS, progress=True)
    for _ in range(2):
        close(run(0.7), jax.lax.scan(step, 0.7, XS, reverse=reverse))
        jax.effects_barrier()
        shown = capsys.readouterr().err
        assert "steps: 100%" in shown
        assert "11/11" in shown
    jax.jit(jax.grad(lambda c: T.scan(step, c, XS, progress="back", checkpoint=4)[0]))(0.7)
    jax.effects_barrier()
    assert "back: 100%" in capsys.readouterr().err


def test_without_xs():
    carry, ys = T.scan(lambda c, _: (c + 1, c), 0, length=4, checkpoint=2)
    assert carry == 4
    assert ys.tolist() == [0, 1, 2, 3]


def test_errors():
    with pytest.raises(ValueError, match="needs length="):
        T.scan(step, 0.7)
    with pytest.raises(ValueError, match="needs a leading axis to loop over; got a scalar"):
        T.scan(step, 0.7, 3.0)
    with pytest.raises(ValueError, match="length=12 is more than the 11 steps"):
        T.scan(step, 0.7, XS, length=12)
    with pytest.raises(ValueError, match="a number of steps or 'sqrt'; got 'log'"):
        T.scan(step, 0.7, XS, checkpoint="log")
    with pytest.raises(ValueError, match=r"different leading axes: \[2, 3\]"):
        T.scan(step, 0.7, (jnp.ones(2), jnp.ones(3)))
