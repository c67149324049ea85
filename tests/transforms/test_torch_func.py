"""The examples of torch.func's and torch.autograd.functional's documentation, side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet import transforms as T

torch = pytest.importorskip("torch")
# torch 2.13 uses its own deprecated compiler for forward mode
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated"),
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node"),
]
X = np.linspace(-1.0, 1.0, 5, dtype=np.float32)
W = np.sin(np.arange(15.0, dtype=np.float32)).reshape(3, 5)
V = np.cos(np.arange(5.0, dtype=np.float32))


def agree(ours, theirs, rtol=1e-5):
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        # float32: sines and exponentials of two libraries, each right to two units of 6e-8, and sums of some
        # ten of them in another order, which are absolute where terms of about one cancel
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=rtol, atol=1e-6)


def as_torch(*arrays):
    return jax.tree.map(torch.tensor, arrays)


def sine_sum(lib):
    return lambda x: lib.sin(x).sum()


def cubes(lib):
    return lambda x: x**3


def model(lib):
    return lambda weights, x: lib.tanh(weights @ x)


def exponentials(lib):
    return lambda x, y: (2 * lib.exp(x) + 3 * y, (x * y).sum())


def powers(lib):
    return lambda x, y: (2 * x**3 + 3 * x * y**2).sum()


def with_aux(lib):
    return lambda x, y: (lib.sin(x * y).sum(), x + y)


def scaled(lib):
    return lambda tree, y: (tree["each"] * y, (tree["each"] * tree["shared"] + y).sum())


def pulled_back(out, pullback, aux):
    return out, pullback(out), aux


EXAMPLES = {
    "grad": (lambda f: T.grad(f), lambda f: torch.func.grad(f), sine_sum, (X,)),
    "grad of grad": (
        lambda f: T.grad(lambda x: T.grad(f)(x).sum()),
        lambda f: torch.func.grad(lambda x: torch.func.grad(f)(x).sum()),
        sine_sum,
        (X,),
    ),
    "grad_and_value": (
        lambda f: lambda x: T.value_and_grad(f)(x)[::-1],
        lambda f: torch.func.grad_and_value(f),
        sine_sum,
        (X,),
    ),
    "vjp": (
        lambda f: lambda w, x: T.vjp(f, w, x)[1](jnp.ones(3)),
        lambda f: lambda w, x: torch.func.vjp(f, w, x)[1](torch.ones(3)),
        model,
        (W, X),
    ),
    "jvp": (
        lambda f: lambda w, x: T.jvp(f, (w, x), (w, jnp.asarray(V))),
        lambda f: lambda w, x: torch.func.jvp(f, (w, x), (w, torch.tensor(V))),
        model,
        (W, X),
    ),
    "linearize": (
        lambda f: lambda x: T.linearize(f, x)[1](jnp.asarray(V)),
        lambda f: lambda x: torch.func.linearize(f, x)[1](torch.tensor(V)),
        cubes,
        (X,),
    ),
    "jacrev": (
        lambda f: T.jacrev(f, (0, 1)),
        lambda f: torch.func.jacrev(f, (0, 1)),
        model,
        (W, X),
    ),
    "jacrev, chunked": (
        lambda f: T.jacrev(f, chunk_size=2),
        lambda f: torch.func.jacrev(f, chunk_size=2),
        model,
        (W, X),
    ),
    "jacfwd": (lambda f: T.jacfwd(f, 1), lambda f: torch.func.jacfwd(f, 1), model, (W, X)),
    "hessian": (lambda f: T.hessian(f), lambda f: torch.func.hessian(f), sine_sum, (X,)),
    "vmap": (
        lambda f: T.vmap(f, (None, 0)),
        lambda f: torch.func.vmap(f, (None, 0)),
        model,
        (W, np.stack([X, V])),
    ),
    "vmap, in_dims and out_dims": (
        lambda f: T.vmap(f, (1, None), out_axes=1),
        lambda f: torch.func.vmap(f, (1, None), out_dims=1),
        model,
        (np.stack([W, 2 * W], axis=1), X),
    ),
    "vmap, chunked": (
        lambda f: T.vmap(f, (None, 0), chunk_size=3),
        lambda f: torch.func.vmap(f, (None, 0), chunk_size=3),
        model,
        (W, np.stack([X, V, X + V, X - V])),
    ),
    "per-sample gradients": (
        lambda f: T.vmap(T.grad(lambda w, x: f(w, x).sum()), (None, 0)),
        lambda f: torch.func.vmap(torch.func.grad(lambda w, x: f(w, x).sum()), (None, 0)),
        model,
        (W, np.stack([X, V])),
    ),
    "vmap of trees": (
        lambda f: T.vmap(f, ({"each": -1, "shared": None}, 1), (-1, 0)),
        lambda f: torch.func.vmap(f, ({"each": -1, "shared": None}, 1), (-1, 0)),
        scaled,
        ({"each": W, "shared": V[:3]}, W),
    ),
    "vmap of trees, chunked": (
        lambda f: T.vmap(f, ({"each": -1, "shared": None}, 1), (-1, 0), chunk_size=2),
        lambda f: torch.func.vmap(f, ({"each": -1, "shared": None}, 1), (-1, 0), chunk_size=2),
        scaled,
        ({"each": W, "shared": V[:3]}, W),
    ),
    "grad of two arguments with aux": (
        lambda f: T.grad(f, (0, 1), has_aux=True),
        lambda f: torch.func.grad(f, (0, 1), has_aux=True),
        with_aux,
        (X, V),
    ),
    "grad of the last argument": (
        lambda f: T.grad(f, -1, True),
        lambda f: torch.func.grad(f, -1, True),
        with_aux,
        (X, V),
    ),
    "vjp with aux": (
        lambda f: lambda x, y: pulled_back(*T.vjp(f, x, y, has_aux=True)),
        lambda f: lambda x, y: pulled_back(*torch.func.vjp(f, x, y, has_aux=True)),
        with_aux,
        (X, V),
    ),
    "jvp with aux": (
        lambda f: lambda x, y: T.jvp(f, (x, y), (y, x), has_aux=True),
        lambda f: lambda x, y: torch.func.jvp(f, (x, y), (y, x), has_aux=True),
        with_aux,
        (X, V),
    ),
    "jacrev with aux": (
        lambda f: T.jacrev(f, (1, 0), has_aux=True),
        lambda f: torch.func.jacrev(f, (1, 0), has_aux=True),
        with_aux,
        (X, V),
    ),
    "jacfwd with aux": (
        lambda f: T.jacfwd(f, (1, 0), has_aux=True),
        lambda f: torch.func.jacfwd(f, (1, 0), has_aux=True),
        with_aux,
        (X, V),
    ),
    "hessian of two arguments": (
        lambda f: T.hessian(f, (0, 1)),
        lambda f: torch.func.hessian(f, (0, 1)),
        powers,
        (X, V),
    ),
    "autograd.functional.jacobian": (
        lambda f: T.jacrev(f, (0, 1)),
        lambda f: lambda x, y: torch.autograd.functional.jacobian(f, (x, y)),
        exponentials,
        (X, V),
    ),
    "autograd.functional.hessian": (
        lambda f: T.hessian(f, (0, 1)),
        lambda f: lambda x, y: torch.autograd.functional.hessian(f, (x, y)),
        powers,
        (X, V),
    ),
    "autograd.functional.vjp": (
        lambda f: lambda x, y: T.vjp(f, x, y)[1]((y, jnp.float32(1.0))),
        lambda f: lambda x, y: torch.autograd.functional.vjp(f, (x, y), (y, torch.tensor(1.0)))[1],
        exponentials,
        (X, V),
    ),
    "autograd.functional.jvp": (
        lambda f: lambda x, y: T.jvp(f, (x, y), (y, x)),
        lambda f: lambda x, y: torch.autograd.functional.jvp(f, (x, y), (y, x)),
        exponentials,
        (X, V),
    ),
    "autograd.functional.hvp of two inputs": (
        lambda f: lambda x, y: T.hvp(f, (x, y), (y, x)),
        lambda f: lambda x, y: torch.autograd.functional.hvp(f, (x, y), (y, x)),
        powers,
        (X, V),
    ),
    "autograd.functional.vhp of two inputs": (
        lambda f: lambda x, y: T.vhp(f, (x, y), (y, x)),
        lambda f: lambda x, y: torch.autograd.functional.vhp(f, (x, y), (y, x)),
        powers,
        (X, V),
    ),
    "autograd.functional.hvp": (
        lambda f: lambda x: T.hvp(f, (x,), (jnp.asarray(V),)),
        lambda f: lambda x: torch.autograd.functional.hvp(f, x, torch.tensor(V)),
        sine_sum,
        (X,),
    ),
    "autograd.functional.vhp": (
        lambda f: lambda x: T.vhp(f, (x,), (jnp.asarray(V),)),
        lambda f: lambda x: torch.autograd.functional.vhp(f, x, torch.tensor(V)),
        sine_sum,
        (X,),
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    ours, theirs, function, arguments = EXAMPLES[name]
    found = jax.jit(ours(function(jnp)))(*arguments)
    agree(found, theirs(function(torch))(*as_torch(*arguments)))


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_randomness_means_what_it_does_in_torch(randomness):
    theirs = torch.func.vmap(lambda x: torch.rand(()) + x, randomness=randomness)(torch.zeros(4))
    draw = lambda key, x: jax.random.uniform(key) + x
    ours = T.vmap(draw, (None, 0), randomness=randomness)(jax.random.key(0), jnp.zeros(4))
    assert len(set(ours.tolist())) == len(set(theirs.tolist()))
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(lambda x: torch.rand(()) + x)(torch.zeros(4))
    with pytest.raises(ValueError, match="randomness"):
        T.vmap(draw, (None, 0), randomness="error")(jax.random.key(0), jnp.zeros(4))


def test_strict_raises_where_torch_does():
    with pytest.raises(RuntimeError, match="independent"):
        torch.autograd.functional.jacobian(
            lambda x, y: x * 2, as_torch(X, V), strict=True, create_graph=False
        )
    with pytest.raises(ValueError, match="no output depends on y"):
        T.jacrev(T.strict(lambda x, y: x * 2))(jnp.asarray(X), jnp.asarray(V))
    linear = lambda x: (3 * x).sum()
    for product in (torch.autograd.functional.hvp, torch.autograd.functional.vhp):
        with pytest.raises(RuntimeError, match="independent"):
            product(linear, *as_torch(X, V), strict=True)
    with pytest.raises(RuntimeError, match="independent"):
        torch.autograd.functional.hessian(linear, *as_torch(X), strict=True)
    with pytest.raises(ValueError, match="no output depends on x"):
        T.jacfwd(T.strict(T.grad(T.strict(linear))))(jnp.asarray(X))


def test_an_ensemble_by_functional_call():
    layers = [torch.nn.Linear(5, 3) for _ in range(3)]
    params, buffers = torch.func.stack_module_state(layers)
    theirs = torch.func.vmap(
        lambda p, b, x: torch.func.functional_call(layers[0], (p, b), (x,)), (0, 0, None)
    )(params, buffers, torch.tensor(X))

    trees = [fn.load_state_dict(nn.Linear(5, 3), layer.state_dict())[0] for layer in layers]
    stacked = T.stack(trees)
    agree(stacked, {name: params[name] for name in stacked})
    call = lambda arrays, x: fn.functional_call(nn.Linear(5, 3), arrays, (x,))
    agree(T.vmap(call, (0, None))(stacked, jnp.asarray(X)), theirs)
