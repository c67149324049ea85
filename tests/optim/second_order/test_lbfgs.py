"""L-BFGS equals PyTorch's, update by update, with and without its line search."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.optim import problem
from tests.tracing import CountingJit


def rosenbrock(xp, p):
    x = p["x"]
    return ((1 - x[:-1]) ** 2).sum() + 100 * ((x[1:] - x[:-1] ** 2) ** 2).sum()


def quartic(xp, p):
    return ((p["x"] - 0.5) ** 4).sum() + (p["y"] ** 2).sum() + (p["x"].sum() - p["y"].sum()) ** 2


def waves(xp, p):
    return (xp.sin(3 * p["x"]) + 0.3 * p["x"] ** 2).sum() + (p["x"].sum() * p["y"].sum()) ** 2


def of_complex(xp, p):
    z, y = p["z"], p["y"]
    return (
        (xp.abs(z) ** 4).sum()
        + (xp.real(z * (1 + 2j)) ** 2).sum()
        + ((y * xp.imag(z) - 1) ** 2).sum()
    )


START = {"x": np.array([-1.2, 1.0, 0.7]), "y": np.array([[0.3], [2.0]])}
COMPLEX = {"z": np.array([1 + 2j, -0.5 + 0.3j]), "y": np.array([[0.3], [2.0]])}

CASES = [
    (rosenbrock, {"line_search_fn": "strong_wolfe"}),
    (rosenbrock, {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 7}),
    (rosenbrock, {"line_search_fn": "strong_wolfe", "lr": 0.2, "max_eval": 9}),
    (rosenbrock, {"lr": 0.01, "max_iter": 5}),
    (quartic, {}),
    (quartic, {"lr": 0.5, "history_size": 2, "tolerance_grad": 1e-3}),
    (quartic, {"line_search_fn": "strong_wolfe", "tolerance_change": 1e-4}),
    (waves, {"line_search_fn": "strong_wolfe"}),
    (waves, {"line_search_fn": "strong_wolfe", "lr": 3.0}),
    (of_complex, {"line_search_fn": "strong_wolfe", "max_iter": 6}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0].__name__}-{c[1]}")
def test_updates_equal_pytorch(case, x64):
    torch = pytest.importorskip("torch")
    function, options = case
    start = COMPLEX if function is of_complex else START
    tensors = {name: torch.tensor(x, requires_grad=True) for name, x in start.items()}
    reference = torch.optim.LBFGS(list(tensors.values()), **options)

    def closure():
        reference.zero_grad()
        value = function(torch, tensors) + 0 * tensors["y"].sum()
        value.backward()
        return value

    optimizer = optim.chain(optim.conjugate(), optim.lbfgs(**options))

    def loss(p):
        return function(jnp, p)

    @CountingJit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value, loss=loss)
        return optim.apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, start)
    state = optimizer.init(params)
    for _ in range(4):
        params, state = step(params, state)
        reference.step(closure)
        for name, tensor in tensors.items():
            # Dozens of dependent steps in a curved valley: rounding grows, the path is the same.
            np.testing.assert_allclose(params[name], tensor.detach(), rtol=1e-6, atol=1e-7)
    inside = reference.state[next(iter(tensors.values()))]
    assert int(state[1].n_iter) == inside["n_iter"]
    assert int(state[1].func_evals) == inside["func_evals"]
    assert step.traces == 1


def test_solves_logistic_regression_on_real_digits():
    x, y = problem.digits(200)
    optimizer = optim.lbfgs(line_search_fn="strong_wolfe", max_iter=60, history_size=10)

    def loss(p):
        logits = x @ p["w"] + p["b"]
        nll = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, y[:, None], -1)[:, 0]
        return nll.mean() + 1e-3 * (p["w"] ** 2).sum()

    @jax.jit
    def solve(params):
        value, grads = jax.value_and_grad(loss)(params)
        updates, _ = optimizer.update(grads, optimizer.init(params), params, value=value, loss=loss)
        params = optim.apply_updates(params, updates)
        return params, optim.global_norm(jax.grad(loss)(params))

    params, norm = solve({"w": jnp.zeros((784, 10)), "b": jnp.zeros(10)})
    assert float(norm) < 1e-2
    assert float(((x @ params["w"] + params["b"]).argmax(-1) == y).mean()) > 0.98


def test_errors_and_odd_leaves():
    optimizer = optim.lbfgs()
    params = {"z": jnp.ones(2, jnp.complex64), "e": jnp.zeros((0, 2)), "s": jnp.ones(())}
    state = optimizer.init(params)
    assert state.direction.shape == (5,)
    with pytest.raises(ValueError, match="value=value, loss=loss"):
        optimizer.update(params, state, params)
    with pytest.raises(ValueError, match="line_search_fn must be one of"):
        optim.lbfgs(line_search_fn="armijo")

    def loss(p):
        return (jnp.abs(p["z"]) ** 2).sum() + p["s"] ** 2

    value, grads = jax.value_and_grad(loss)(params)
    grads = jax.tree.map(jnp.conj, grads)
    with pytest.raises(ValueError, match="lbfgs reads the parameters"):
        optimizer.update(grads, state, value=value, loss=loss)


def test_strong_wolfe_conditions_hold_for_many_starts(x64):
    starts = jnp.linspace(-3.0, 3.0, 40)

    def search(x):
        def f(v):
            return jnp.sin(2 * v) + 0.1 * v**4

        slope = jax.grad(f)(x)
        direction = -jnp.sign(slope)

        def at(t):
            value, grad = jax.value_and_grad(f)(x + t * direction)
            return optim.Point(t, value, grad, grad * direction)

        start = at(jnp.zeros(()))
        one = jnp.ones(())
        point, _ = optim.strong_wolfe(at, start, 0.05 * one, one, jnp.int32(40))
        decrease = point.value <= start.value + 1e-4 * point.t * start.slope
        return decrease & (jnp.abs(point.slope) <= 0.9 * jnp.abs(start.slope))

    assert bool(jax.jit(jax.vmap(search))(starts).all())
