"""Optimizers of papers equal the papers' updates in NumPy, and Optax's where it has the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.optim import papers, problem

STEPS = 12
SHAPES = {"matrix": (4, 3), "vector": (3,), "cube": (2, 3, 2)}

# The optimizer with the options that the reference has as its defaults.
PAPERS = {
    "lion": optim.lion(0.1, weight_decay=0.1),
    "lamb": optim.lamb(0.1, weight_decay=0.1),
    "lars": optim.lars(1.0, weight_decay=0.1, trust_coefficient=0.01),
    "novograd": optim.novograd(0.1, weight_decay=0.1),
    "yogi": optim.yogi(0.1),
    "adan": optim.adan(0.1, weight_decay=0.1),
    "sm3": optim.sm3(0.1),
    "shampoo": optim.shampoo(0.1, momentum=0.9),
    "soap": optim.soap(0.1, weight_decay=0.1, precondition_frequency=3, eps=1e-2),
    "schedule_free_sgd": optim.schedule_free_sgd(0.5, weight_decay=0.1, warmup_steps=4),
    "lookahead": optim.lookahead(optim.sgd(0.1), k=3),
}


@pytest.mark.parametrize("name", PAPERS)
def test_steps_equal_the_paper(name, x64):
    # The null space of a covariance has no basis of its own: keep it to one direction for SOAP.
    shapes = {**SHAPES, "cube": (3, 2, 1)} if name == "soap" else SHAPES
    params, noise = problem.make(STEPS, shapes=shapes)
    path, _ = problem.run(PAPERS[name], params, noise)
    # Eigenvectors and roots amplify rounding (SOAP divides by the size of each component in its
    # basis, some of which are zero but for rounding: hence the large eps above); the others agree to
    # a few units in the last place.
    tolerance = 1e-8 if name in ("shampoo", "soap") else 1e-11
    problem.assert_same(path, papers.run(getattr(papers, name), params, noise), tolerance)


def test_sophia_equals_the_paper(x64):
    params, noise = problem.make(STEPS, shapes=SHAPES)
    optimizer = optim.sophia(0.1, rho=0.05, weight_decay=0.1)

    def with_hessian(grads, state, params):
        hessian = jax.tree.map(lambda p: 1 + p * p, params)
        return optimizer.update(grads, state, params, hessian=hessian)

    whole = optim.GradientTransformation(optimizer.init, with_hessian)
    path, state = problem.run(whole, params, noise)
    problem.assert_same(path, papers.run(papers.sophia, params, noise))
    updates, after = optimizer.update(params, state, params)
    curvature = "hessian_avg"
    np.testing.assert_array_equal(after.slots[curvature]["cube"], state.slots[curvature]["cube"])
    assert np.isfinite(updates["cube"]).all()


@pytest.mark.parametrize(
    "case",
    [
        ("lion", {"weight_decay": 0.1}, "lion", {"weight_decay": 0.1}),
        ("lamb", {"weight_decay": 0.1}, "lamb", {"weight_decay": 0.1}),
        ("lars", {}, "lars", {}),
        ("sm3", {"eps": 1e-8}, "sm3", {}),
        (
            "prodigy",
            {"use_bias_correction": True, "weight_decay": 0.1, "d0": 1e-2},
            "contrib.prodigy",
            {"weight_decay": 0.1, "estim_lr0": 1e-2},
        ),
        (
            "prodigy",
            {"use_bias_correction": True, "safeguard_warmup": True, "d_coef": 2.0, "d0": 1e-2},
            "contrib.prodigy",
            {"safeguard_warmup": True, "estim_lr_coef": 2.0, "estim_lr0": 1e-2},
        ),
        ("schedule_free_sgd", {"momentum": 0.8}, "contrib.schedule_free_sgd", {"b1": 0.8}),
        (
            "schedule_free_adamw",
            {"weight_decay": 0.1},
            "contrib.schedule_free_adamw",
            {"weight_decay": 0.1},
        ),
        ("adam", {"betas": (0.8, 0.9)}, "adam", {"b1": 0.8, "b2": 0.9}),
        ("rmsprop", {"eps": 1e-3}, "rmsprop", {"decay": 0.99, "eps": 1e-3, "eps_in_sqrt": False}),
    ],
    ids=lambda c: f"{c[0]}-{','.join(c[1])}",
)
def test_steps_equal_optax(case, x64):
    optax = pytest.importorskip("optax")
    name, options, theirs, their_options = case
    factory = optax
    for part in theirs.split("."):
        factory = getattr(factory, part)
    params, noise = problem.make(STEPS, shapes={"matrix": (4, 3), "vector": (3,)})
    path, _ = problem.run(getattr(optim, name)(0.1, **options), params, noise)
    with jax.numpy_dtype_promotion("standard"):
        reference, _ = problem.run(factory(0.1, **their_options), params, noise)
    problem.assert_same(path, reference)


def test_schedule_free_params_are_the_average(x64):
    params, noise = problem.make(STEPS)
    path, state = problem.run(optim.schedule_free_sgd(0.5), params, noise)
    z = {name: [] for name in params}
    memory = {name: {} for name in params}
    for k in range(STEPS):
        for name in params:
            p = params[name] if k == 0 else path[name][k - 1]
            grad = 0.3 * p + noise[name][k]
            papers.schedule_free_sgd(p, grad, memory[name], k + 1, wd=0.0, warmup=1)
            z[name].append(memory[name]["z"])
    last = {name: values[-1] for name, values in path.items()}
    averaged = optim.schedule_free_params(state, last)
    for name in params:
        # With equal weights x is the mean of all z.
        np.testing.assert_allclose(averaged[name], np.mean(z[name], axis=0), rtol=1e-9)


def test_prodigy_finds_the_scale_of_the_problem():
    params = jnp.full(5, 3.0)
    optimizer = optim.prodigy()

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jnp.sign(params) + params, state, params)
        return (params + updates, state), None

    (params, state), _ = jax.jit(
        lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, length=400)
    )(params)
    assert float(jnp.abs(params).max()) < 0.3
    assert 0.1 < float(state.memory["d"]) < 10


def test_complex_parameters_are_refused_by_name():
    for name in ("shampoo", "soap", "sm3", "adafactor", "muon", "sparse_adam"):
        with pytest.raises(TypeError, match=f"{name} does not take complex"):
            getattr(optim, name)().init(jnp.ones((2, 2), jnp.complex64))
